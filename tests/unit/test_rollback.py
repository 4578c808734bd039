"""`make rollback`: the version of each function, the warnings, and that all functions move or none."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import EndpointConnectionError  # type: ignore[import-untyped]

from tools.exit_status import Exit
from tools.flow import Waiting
from tools.rollback import WORKER, Refused, Rollback, Version, Versioned, planned
from tools.stack_facts import Alias, StackFacts

FIRST = datetime(2026, 11, 23, 8, tzinfo=UTC)
SECOND, THIRD = FIRST + timedelta(days=1), FIRST + timedelta(days=2)
NOBODY = Waiting(0, 0, 0, timedelta(days=14))


def function(name: str, published: Mapping[int, datetime], live: int) -> Versioned:
    versions = {number: Version(number, at, "Detaches") for number, at in published.items()}
    return Versioned(name, f"stack-{name}-X", Alias(str(live), {}, "r-1"), versions)


def two(live: int = 2) -> list[Versioned]:
    """Two functions that were deployed twice."""
    return [
        function(WORKER, {1: FIRST, 2: SECOND}, live),
        function("ReportDeadLetterFunction", {1: FIRST + timedelta(seconds=50), 2: SECOND}, live),
    ]


def going(functions: list[Versioned], to: int | None = None) -> dict[str, int]:
    return {move.function.name: move.to.number for move in planned(functions, to)}


def test_all_functions_go_to_the_deployment_before() -> None:
    """Without a version each goes to what was live before the newest deployment."""
    assert going(two()) == {WORKER: 1, "ReportDeadLetterFunction": 1}


def test_a_function_that_the_last_deployment_did_not_change_stays() -> None:
    """To undo a deployment that changed one function, only that function moves."""
    functions = [
        function(WORKER, {1: FIRST, 2: SECOND}, 2),
        function("ReceiveWebhookFunction", {1: FIRST, 2: SECOND, 3: THIRD}, 3),
    ]
    assert going(functions) == {WORKER: 2, "ReceiveWebhookFunction": 2}


def test_a_version_of_the_worker_names_the_deployment() -> None:
    """The others move to their versions of that time, in either direction."""
    functions = [
        function(WORKER, {1: FIRST, 2: THIRD}, 1),
        function("ReceiveWebhookFunction", {1: FIRST, 2: SECOND, 3: THIRD}, 2),
    ]
    assert going(functions, 2) == {WORKER: 2, "ReceiveWebhookFunction": 3}
    assert going([replace(one, alias=Alias("2", {})) for one in functions], 1) == {
        WORKER: 1,
        "ReceiveWebhookFunction": 1,
    }


def test_a_second_rollback_goes_one_deployment_further() -> None:
    """It starts from the live versions, not from the newest ones."""
    functions = [function(WORKER, {1: FIRST, 2: SECOND, 3: THIRD}, 2)]
    assert going(functions) == {WORKER: 1}


def test_a_function_that_did_not_exist_then_stays() -> None:
    """A function that a later release added keeps its version."""
    functions = [function(WORKER, {1: FIRST, 2: SECOND}, 2), function("RunCanaryFunction", {1: SECOND}, 1)]
    assert going(functions) == {WORKER: 1, "RunCanaryFunction": 1}


@pytest.mark.parametrize(
    ("functions", "to", "said"),
    [
        (two(1), None, "no earlier version"),
        (two(2), 2, "have these versions already"),
        (two(2), 9, "DetachVolumeFunction has no version 9; it has 1, 2"),
        ([replace(one, alias=None) for one in two()], None, "has no alias live"),
        ([replace(one, alias=Alias("$LATEST", {})) for one in two()], None, "points to"),
    ],
)
def test_an_impossible_rollback_gives_a_sentence(functions: list[Versioned], to: int | None, said: str) -> None:
    with pytest.raises(Refused, match=said.replace("$", r"\$")):
        planned(functions, to)


# ------------------------------------------------------------------------------------------------------ what is done


@dataclass
class FakeStack:
    """Aliases in memory; `fails` names the function whose move AWS refuses."""

    given: list[Versioned]
    status: str = "UPDATE_COMPLETE"
    requests: Waiting = NOBODY
    fails: str = ""
    late: int = 0
    now: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now = {one.physical: one.alias.version for one in self.given if one.alias}

    def facts(self) -> StackFacts:
        return StackFacts("s", self.status, {}, {})

    def functions(self) -> list[Versioned]:
        return self.given

    def waiting(self) -> Waiting:
        return self.requests

    def oldest(self) -> timedelta | None:
        return timedelta(minutes=12)

    def move(self, function: str, version: int, revision: str = "") -> None:
        if self.fails and self.fails in function:
            raise EndpointConnectionError(endpoint_url="https://lambda")
        self.now[function] = str(version)

    def alias(self, function: str) -> Alias | None:
        self.late -= 1
        return Alias("?", {}) if self.late >= 0 else Alias(self.now[function], {})


@dataclass
class Person:
    says: bool = True
    read: list[str] = field(default_factory=list)
    now: datetime = THIRD

    def rollback(self, stack: FakeStack, to: int | None = None) -> Exit:
        return Rollback(stack, lambda question: self.says, self.read.append, self.wait, lambda: self.now).run(to)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def test_it_shows_moves_and_how_to_undo_them() -> None:
    """Versions with dates, the effect on requests, the duration, and how to undo it."""
    stack, person = FakeStack(two(), requests=Waiting(3, 1, 0, timedelta(days=14)), late=2), Person()
    assert person.rollback(stack) is Exit.DETACHED
    assert set(stack.now.values()) == {"1"}
    text = "\n".join(person.read)
    assert "version 2 (2026-11-24 08:00 UTC)  →  version 1 (2026-11-23 08:00 UTC)" in text
    assert "3 waiting, 1 for a later look, 0 being worked on; the oldest message is 12 min old" in text
    assert "`make drain STACK=s` first" in text
    assert "Moved 2 of 2 functions in 2.0 s." in text
    assert person.read[-1].endswith("`make rollback STACK=s TO=2` undoes this.")


def test_without_requests_there_is_nothing_to_warn_of() -> None:
    person = Person()
    person.rollback(FakeStack(two()))
    assert "Requests: none under way." in person.read


def test_a_no_changes_nothing() -> None:
    stack, person = FakeStack(two()), Person(says=False)
    assert person.rollback(stack) is Exit.USAGE
    assert (set(stack.now.values()), person.read[-1]) == ({"2"}, "Nothing was changed.")


def test_all_functions_move_or_none() -> None:
    """If one cannot be moved, the others are moved back."""
    stack, person = FakeStack(two(), fails="Report"), Person()
    assert person.rollback(stack) is Exit.FAILED
    assert set(stack.now.values()) == {"2"}
    assert "ReportDeadLetterFunction was not moved" in person.read[-2]
    assert person.read[-1] == "DetachVolumeFunction is back at version 2."


def test_a_function_that_cannot_be_moved_back_is_named_with_the_command() -> None:
    class Gone(FakeStack):
        def alias(self, function: str) -> Alias | None:
            raise EndpointConnectionError(endpoint_url="https://lambda")

    person = Person()
    assert person.rollback(Gone(two(), fails="Report")) is Exit.FAILED
    assert "`aws lambda update-alias --function-name stack-DetachVolumeFunction-X --name live" in person.read[-1]


def test_an_interruption_moves_back_too() -> None:
    class Interrupted(FakeStack):
        def move(self, function: str, version: int, revision: str = "") -> None:
            super().move(function, version)
            if "Report" in function and version == 1:
                raise KeyboardInterrupt

    stack = Interrupted(two())
    with pytest.raises(KeyboardInterrupt):
        Person().rollback(stack)
    assert set(stack.now.values()) == {"2"}


def test_trouble_in_reading_back_does_not_hide_that_all_have_moved() -> None:
    """Passing trouble is waited out; lasting trouble is reported, with how to undo the move."""

    @dataclass
    class Unread(FakeStack):
        failing: int = 3

        def alias(self, function: str) -> Alias | None:
            self.failing -= 1
            if self.failing >= 0:
                raise EndpointConnectionError(endpoint_url="https://lambda")
            return super().alias(function)

    for failing, ends in ((3, Exit.DETACHED), (1000, Exit.OPEN)):
        stack, person = Unread(two(), failing=failing), Person()
        assert person.rollback(stack) is ends
        assert set(stack.now.values()) == {"1"}
        assert "Moved 2 of 2 functions" in person.read[-2]
        assert person.read[-1].endswith("TO=2` undoes this.")


def test_an_alias_that_does_not_read_back_is_open() -> None:
    person = Person()
    assert person.rollback(FakeStack(two(), late=1000)) is Exit.OPEN
    assert "DetachVolumeFunction still reads version ?." in person.read


SHIFTED = [replace(one, alias=Alias("1", {"2": 0.1})) for one in two()]


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        (FakeStack(two(), status="UPDATE_IN_PROGRESS"), "cancel-update-stack --stack-name s"),
        (FakeStack(two(), status="UPDATE_ROLLBACK_IN_PROGRESS"), "Wait until it has finished"),
        (FakeStack(SHIFTED), "stop-deployment"),
        (FakeStack([]), "no functions"),
    ],
)
def test_no_rollback_during_a_deployment(stack: FakeStack, said: str) -> None:
    """The deployment would override it, so the message says how to stop the deployment."""
    before, person = dict(stack.now), Person()
    assert person.rollback(stack) is Exit.USAGE
    assert said in person.read[0]
    assert stack.now == before


def test_a_deployment_that_only_cleans_up_is_no_obstacle() -> None:
    stack = FakeStack(two(), status="UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    assert Person().rollback(stack) is Exit.DETACHED
