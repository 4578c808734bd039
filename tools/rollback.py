"""`make rollback`: point the aliases of a stack's functions to other published versions, without a build."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Protocol

from shared.policy import MAX_RECEIVES
from shared.ports import Clock, utc_now
from tools.deployed import AwsFailed
from tools.exit_status import Exit
from tools.flow import Waiting
from tools.stack_facts import Alias, StackFacts, told
from tools.stack_reader import ALIAS, StackReader, described_stack

WORKER = "DetachVolumeFunction"
"""The function whose version TO= names."""

TOGETHER = timedelta(minutes=2)
"""Versions that were published within this time of each other belong to one deployment."""

SETTLING = 30
"""Seconds to wait until an alias reads back the version that was written."""


@dataclass(frozen=True, slots=True)
class Version:
    """A published version of a function: its code and its settings, which do not change."""

    number: int
    published: datetime
    description: str = ""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A function of the stack, with its logical name, its name in AWS, and its versions by number."""

    name: str
    physical: str
    alias: Alias | None
    versions: Mapping[int, Version]

    @property
    def present(self) -> Version:
        """The version that the alias points to. Raises Refused if it points to no published version."""
        if self.alias is None:
            raise Refused(f"{self.name} has no alias {ALIAS}, so it cannot be rolled back: deploy this release first.")
        number = int(self.alias.version) if self.alias.version.isdigit() else 0
        if number not in self.versions:
            raise Refused(f"The alias {ALIAS} of {self.name} points to {self.alias.version}: deploy first.")
        return self.versions[number]

    def at(self, moment: datetime) -> Version | None:
        """The newest version that was published by that time."""
        found = [one for one in self.versions.values() if one.published <= moment]
        return max(found, key=lambda one: one.number, default=None)


@dataclass(frozen=True, slots=True)
class Move:
    """A function, the version of its alias now, and the one to move to; they may be the same."""

    function: Versioned
    now: Version
    to: Version

    @property
    def text(self) -> str:
        differ = self.now.description != self.to.description
        if self.now.number == self.to.number:
            return f"  {self.function.name:26} stays at {_shown(self.now)}"
        return f"  {self.function.name:26} {_shown(self.now, differ)}  →  {_shown(self.to, differ)}"


def _shown(version: Version, described: bool = False) -> str:
    about = f", {version.description}" if described and version.description else ""
    return f"version {version.number} ({version.published:%Y-%m-%d %H:%M} UTC{about})"


class Refused(Exception):
    """The rollback is not possible; the text says what to do instead."""


# ------------------------------------------------------------------------------------------------- what goes where


def deployments(functions: Sequence[Versioned]) -> list[tuple[datetime, datetime]]:
    """The first and the last publication time of each deployment, oldest first."""
    times = sorted({one.published for function in functions for one in function.versions.values()})
    ends = [before for before, after in pairwise(times) if after - before > TOGETHER]
    starts = [after for before, after in pairwise(times) if after - before > TOGETHER]
    return list(zip([*times[:1], *starts], [*ends, *times[-1:]], strict=True))


def planned(functions: Sequence[Versioned], to: int | None) -> list[Move]:
    """Plan the moves of all functions to the versions of one deployment. Raises Refused.

    It is the deployment that published the worker's version `to`, or else the one before the newest live version. A
    function that did not exist then keeps its version.
    """
    made = deployments(functions)
    if to is None:
        begun = _during(made, max(function.present.published for function in functions))[0]
        before = [last for _, last in made if last < begun]
        if not before:
            raise Refused("There is no earlier version: nothing was changed.")
        moment = before[-1]
    else:
        moment = _during(made, _named(functions, to).published)[1]
    moves = [Move(one, one.present, one.at(moment) or one.present) for one in functions]
    if all(move.now.number == move.to.number for move in moves):
        raise Refused("All functions have these versions already: nothing was changed.")
    return moves


def _named(functions: Sequence[Versioned], to: int) -> Version:
    worker = next((one for one in functions if one.name == WORKER), functions[0])
    if to not in worker.versions:
        there = ", ".join(str(number) for number in sorted(worker.versions)[-10:])
        raise Refused(f"{worker.name} has no version {to}; it has {there}.")
    return worker.versions[to]


def _during(made: Sequence[tuple[datetime, datetime]], moment: datetime) -> tuple[datetime, datetime]:
    """The deployment at that time."""
    return next((first, last) for first, last in made if first <= moment <= last)


def check(stack: StackFacts, functions: Sequence[Versioned]) -> None:
    """Raise Refused while a deployment is under way, because it would override the rollback."""
    status, name = stack.status, stack.name
    if status.endswith("_IN_PROGRESS") and not status.endswith("CLEANUP_IN_PROGRESS"):
        stop = f"`aws cloudformation cancel-update-stack --stack-name {name}` cancels it and rolls back"
        wait = "Wait until it has finished" if status != "UPDATE_IN_PROGRESS" else stop
        raise Refused(f"A deployment of {name} is under way ({status}). {wait}.")
    if shifted := [one.name for one in functions if one.alias and one.alias.shifted]:
        raise Refused(
            f"CodeDeploy is shifting traffic of {', '.join(shifted)}. `aws deploy list-deployments "
            "--include-only-statuses InProgress` names the deployment, and `aws deploy stop-deployment --deployment-id "
            "… --auto-rollback-enabled` stops it and rolls back."
        )
    if not functions:
        raise Refused(f"The stack {name} has no functions: is it one of this service?")


def meaning(waiting: Waiting, oldest: timedelta | None, stack: str) -> str:
    """What a rollback means for the requests under way."""
    if not waiting.total:
        return "Requests: none under way."
    age = f"; the oldest message is {told(oldest)} old" if oldest is not None else ""
    return (
        f"Requests: {waiting.text}{age}. The other version takes over within seconds. If it does not know the format "
        f"of a newer continuation, it returns the message to the queue; after {MAX_RECEIVES} times the verdict is "
        "dead_lettered. If CHANGELOG.md lists different continuation formats for the two releases, answer no, and "
        f"run `make drain STACK={stack}` first."
    )


# ------------------------------------------------------------------------------------------------------ what is done


class Stack(Protocol):
    """A deployed stack. All raise one of AwsFailed."""

    def facts(self) -> StackFacts: ...

    def functions(self) -> Sequence[Versioned]: ...

    def waiting(self) -> Waiting: ...

    def oldest(self) -> timedelta | None: ...

    def move(self, function: str, version: int, revision: str = "") -> None:
        """Point the alias to the version alone; if `revision` is given, only if the alias still has it."""

    def alias(self, function: str) -> Alias | None: ...


@dataclass(frozen=True)
class Rollback:
    """Shows what it will do, asks, moves all functions or none, and waits until the aliases say so."""

    stack: Stack
    ask: Callable[[str], bool]
    say: Callable[[str], None] = print
    sleep: Callable[[float], None] = time.sleep
    clock: Clock = utc_now

    def run(self, to: int | None = None) -> Exit:
        """USAGE if nothing was changed, FAILED if it was undone, OPEN if an alias does not read back in time."""
        try:
            facts, functions = self.stack.facts(), self.stack.functions()
            check(facts, functions)
            moves = planned(functions, to)
        except Refused as error:
            self.say(str(error))
            return Exit.USAGE
        for move in moves:
            self.say(move.text)
        self.say(
            "A version is code and settings. Queues, roles, alarms and other resources of the template do not change."
        )
        self.say(meaning(self.stack.waiting(), self.stack.oldest(), facts.name))
        if not self.ask("Move them?"):
            self.say("Nothing was changed.")
            return Exit.USAGE
        began = self.clock()
        moves = [move for move in moves if move.now.number != move.to.number]
        if not self._moved(moves):
            return Exit.FAILED
        settled = self._settled(moves)
        seconds = (self.clock() - began).total_seconds()
        self.say(f"Moved {len(moves)} of {len(functions)} functions in {seconds:.1f} s.")
        self.say("The next `make deploy` of a new build replaces these versions" + self._forward(moves, facts.name))
        return Exit.DETACHED if settled else Exit.OPEN

    def _forward(self, moves: Sequence[Move], stack: str) -> str:
        worker = next((move for move in moves if move.function.name == WORKER), None)
        return f"; `make rollback STACK={stack} TO={worker.now.number}` undoes this." if worker else "."

    def _moved(self, moves: Sequence[Move]) -> bool:
        done: list[Move] = []
        try:
            for move in moves:
                done.append(move)  # before the call: an answer may be lost
                self.stack.move(move.function.physical, move.to.number, _revision(move.function))
        except AwsFailed as error:
            self.say(f"{done[-1].function.name} was not moved: {error}")
            self._back(done)
            return False
        except BaseException:
            self._back(done)
            raise
        return True

    def _back(self, done: Sequence[Move]) -> None:
        """Move the functions back; name those that cannot be."""
        for move in reversed(done):
            try:
                alias = self.stack.alias(move.function.physical)
                if alias and alias.version == str(move.to.number):
                    self.stack.move(move.function.physical, move.now.number)
                    self.say(f"{move.function.name} is back at version {move.now.number}.")
            except AwsFailed as error:
                self.say(
                    f"{move.function.name} could not be moved back ({error}): `aws lambda update-alias --function-name "
                    f"{move.function.physical} --name {ALIAS} --function-version {move.now.number}`."
                )

    def _settled(self, moves: Sequence[Move]) -> bool:
        """Whether every alias reads back its new version."""
        until = self.clock() + timedelta(seconds=SETTLING)
        for move in moves:
            while (reads := self._reads(move)) != str(move.to.number):
                if self.clock() >= until:
                    self.say(f"{move.function.name} still reads version {reads}.")
                    return False
                self.sleep(1)
        return True

    def _reads(self, move: Move) -> str:
        """The version of the alias, or a text. An error here does not undo the moves, which have succeeded."""
        try:
            alias = self.stack.alias(move.function.physical)
        except AwsFailed as error:
            return f"none ({error})"
        return alias.version if alias else "none"


def _revision(function: Versioned) -> str:
    return function.alias.revision if function.alias else ""


# -------------------------------------------------------------------------------------------------------- AWS itself


@dataclass(frozen=True)
class DeployedStack:
    """The stack in AWS."""

    reader: StackReader

    def facts(self) -> StackFacts:
        return self.reader.stack

    def functions(self) -> list[Versioned]:
        return [
            Versioned(name, physical, self.reader.alias(physical), self._versions(physical))
            for name, physical in self.reader.functions().items()
        ]

    def _versions(self, function: str) -> dict[int, Version]:
        pages = self.reader.client("lambda").get_paginator("list_versions_by_function").paginate(FunctionName=function)
        found = (one for page in pages for one in page["Versions"] if one["Version"].isdigit())
        return {
            int(one["Version"]): Version(
                int(one["Version"]),
                datetime.fromisoformat(one["LastModified"]).astimezone(UTC),
                one.get("Description", ""),
            )
            for one in found
        }

    def waiting(self) -> Waiting:
        return self.reader.waiting("RequestQueueUrl")

    def oldest(self) -> timedelta | None:
        return self.reader.oldest_if_allowed()

    def move(self, function: str, version: int, revision: str = "") -> None:
        self.reader.client("lambda").update_alias(
            FunctionName=function,
            Name=ALIAS,
            FunctionVersion=str(version),
            RoutingConfig={"AdditionalVersionWeights": {}},
            **({"RevisionId": revision} if revision else {}),
        )

    def alias(self, function: str) -> Alias | None:
        return self.reader.alias(function)


def of_stack(stack: str) -> DeployedStack:
    """Raises Unknown, one of AwsFailed."""
    return DeployedStack(StackReader(described_stack(stack)))
