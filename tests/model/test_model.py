"""The model is safe and live in every state, and the product decides like the model."""

import pytest

from tests.model.conformance import ARGUED, compare
from tests.model.explore import explore
from tests.model.states import Left

SMALL = (Left(0, 0, 0, 1), Left(1, 0, 0, 1), Left(0, 1, 0, 0), Left(0, 0, 1, 0))


@pytest.mark.parametrize("left", SMALL, ids=str)
def test_every_world_is_safe_and_comes_to_an_end(left: Left) -> None:
    """No step breaks an invariant, in whatever order, and from every world a way leads to a verdict."""
    found = explore(left)
    assert found.wrong is None, found.told
    assert found.ends


BROKEN = {
    "one plane": (Left(0, 0, 0, 0), "is said while it is attached"),
    "believe a 202": (Left(0, 0, 0, 0), "is said while it is attached"),
    "repeat": (Left(0, 0, 0, 0), "a second effective DELETE"),
    "no fence": (Left(1, 0, 0, 0), "a newer attachment is cut"),
    "newer is moved": (Left(1, 0, 0, 0), "a newer attachment is cut"),
    "idle once": (Left(0, 0, 0, 0), "refused_by_server is said while a detach of ours is under way"),
    "lost is no": (Left(0, 0, 0, 0), "gave_up is said while a detach of ours is under way"),
    "no is no": (Left(0, 0, 0, 1), "forbidden is said while a detach of ours is under way"),
    "ack first": (Left(0, 1, 0, 0), "nobody was told"),
}
"""Rules that are not kept, how much has to be disturbed, and what must be found."""


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_found(rule: str) -> None:
    """The model can fail: without each rule some way leads to what must not be."""
    left, violation = BROKEN[rule]
    assert violation in str(explore(left, {rule}).wrong)


def test_the_product_decides_as_the_model_does() -> None:
    """For every look at every stage the product's decision is the model's, or the difference is argued."""
    found = compare()
    assert found.looks > 5000
    assert {name: situations[:2] for name, situations in found.differ.items()} == {}
    assert set(found.argued) == set(ARGUED)
