"""Tests that the model is safe and always can end, that broken rules are found, and that the product agrees with it."""

import pytest

from tests.model.conformance import ACCEPTED, compare
from tests.model.explore import explore
from tests.model.states import Left

SMALL = (Left(0, 0, 0, 1), Left(1, 0, 0, 1), Left(0, 1, 0, 0), Left(0, 0, 1, 0))


@pytest.mark.parametrize("left", SMALL, ids=str)
def test_every_world_is_safe_and_comes_to_an_end(left: Left) -> None:
    """No order of steps breaks an invariant, and every world can reach an end with a verdict."""
    found = explore(left)
    assert found.wrong is None, found.report
    assert found.ends


BROKEN = {
    "one plane": (Left(0, 0, 0, 0), "is said while it is attached"),
    "believe a 202": (Left(0, 0, 0, 0), "is said while it is attached"),
    "repeat the DELETE": (Left(0, 0, 0, 0), "a second effective DELETE"),
    "no attachment check": (Left(1, 0, 0, 0), "a newer attachment is cut"),
    "newer is moved": (Left(1, 0, 0, 0), "a newer attachment is cut"),
    "idle once": (Left(0, 0, 0, 0), "refused_by_server is said while a detach of ours is under way"),
    "lost means failed": (Left(0, 0, 0, 0), "gave_up is said while a detach of ours is under way"),
    "refused means failed": (Left(0, 0, 0, 1), "forbidden is said while a detach of ours is under way"),
    "ack first": (Left(0, 1, 0, 0), "nobody was told"),
}
"""Rules to break, the disturbances that this needs, and the error that must be found."""


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found(rule: str) -> None:
    """Without the rule, the exploration finds an error."""
    left, violation = BROKEN[rule]
    assert violation in str(explore(left, {rule}).wrong)


def test_the_product_decides_as_the_model_does() -> None:
    """In every situation the product decides like the model, or the difference is listed in `ACCEPTED`."""
    found = compare()
    assert found.looks > 5000
    assert {name: situations[:2] for name, situations in found.differ.items()} == {}
    assert set(found.accepted) == set(ACCEPTED)
