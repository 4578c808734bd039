"""`make doctor STACK=`: check one by one what a deployed stack needs, and let its function do a dry run."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from shared.ports import Clock, utc_now
from tools import stack_checks as checks
from tools.deployed import AwsFailed, Deployed, Unknown, is_denied, names_of
from tools.detach import AGAIN, Service
from tools.examination import Line, State
from tools.permissions import READS, needs_of
from tools.stack_facts import Asked
from tools.stack_reader import StackReader

DRY_TTL = 60
"""Seconds for which the function tries a dry run if the cloud does not answer."""

PATIENCE = 120.0
"""Seconds to wait for the verdict of a dry run: its time to live, plus delivery."""


@dataclass(frozen=True)
class StackExamination:
    """All checks of one stack. `service` receives the verdicts of requests whose ids begin with its argument."""

    reader: StackReader
    service: Callable[[str], AbstractContextManager[Service]]
    server_id: str = ""
    volume_id: str = ""
    monotonic: Callable[[], float] = time.monotonic
    clock: Clock = utc_now

    def lines(self) -> Iterator[Line]:
        """All checks. Errors of AWS, such as a missing permission or resource, become lines."""
        for check, look in self._checks().items():
            try:
                yield from look()
            except Unknown as error:
                yield Line(check, State.FAIL, str(error).rstrip("."), "deploy this service under that name")
            except AwsFailed as error:
                yield not_read(check, error)

    def _checks(self) -> Mapping[str, Callable[[], Iterable[Line]]]:
        read, name = self.reader, self.reader.stack.name
        resume, restart = f"`make resume STACK={name}`", "`aws lambda update-event-source-mapping --enabled --uuid {}`"
        return {
            "stack": lambda: [checks.stack(read.stack)],
            "request queue": lambda: [checks.queue(read.waiting("RequestQueueUrl"))],
            "oldest request": lambda: [checks.oldest(read.oldest(), read.waiting("RequestQueueUrl").retention, name)],
            "dead letters": lambda: [checks.dead_letters(read.waiting("DeadLetterQueueUrl"), name)],
            "requests": lambda: [checks.mapping("requests", read.mapping("RequestsMappingId"), resume)],
            "reporter": lambda: [
                checks.mapping("reporter", found := read.mapping("DeadLettersMappingId"), restart.format(found.id))
            ],
            "functions": lambda: checks.functions(read.function_facts()),
            "versions": lambda: checks.versions(read.aliases(), name),
            "concurrency": lambda: checks.concurrency(read.reserved(), read.functions()),
            "secret": lambda: checks.secrets(read.secrets()),
            "login": self._login,
            "requests by bus": lambda: [checks.rule(read.rule(), read.queue_arn())],
            "sink": self._sink,
            "alarm topic": self._topics,
            "alarms": lambda: checks.alarms(read.alarms()),
            "canary": lambda: filter(None, [checks.canary(read.stack.parameters)]),
        }

    def _sink(self) -> Iterator[Line]:
        if self.reader.stack.parameters.get("SinkUrl"):
            yield checks.sink(self.reader.refused_by_sink())

    def _topics(self) -> Iterator[Line]:
        given = self.reader.stack.parameters
        if not given.get("AlarmTopicArn"):
            yield checks.no_topic(self.reader.stack.name)
        for parameter, check in checks.TOPICS.items():
            if arn := given.get(parameter):
                try:
                    yield checks.topic(check, self.reader.topic(arn))
                except AwsFailed as error:
                    yield not_read(check, error)

    # ------------------------------------------------------------------------------------------------- the dry run

    def _login(self) -> Iterator[Line]:
        """A dry run for each project; none while the stack is paused."""
        if self.reader.mapping("RequestsMappingId").state != "Enabled":
            why = "requests are not delivered to the function, so a dry run would wait"
            yield Line("login", State.NOT_TRIED, why, f"`make resume STACK={self.reader.stack.name}`")
            return
        asked = self._asked()
        known = bool(self.server_id and self.volume_id)
        yield from (checks.login(one, self.reader.stack.name, known and not one.project) for one in asked)
        yield checks.bus(asked)

    def _asked(self) -> list[Asked]:
        """Send all dry runs at once and wait for the verdicts. Each is repeated as the same request: see AGAIN."""
        session = f"by-hand-{uuid4().hex[:12]}"
        ids = {f"{session}-{at}": project for at, project in enumerate(["", *self.reader.projects()])}
        verdicts: dict[str, Asked] = {}
        with self.service(session) as service:
            bodies = {id_: self._request(service.prefix, id_, project) for id_, project in ids.items()}
            began, again = self.monotonic(), 0.0
            while len(verdicts) < len(ids) and (passed := self.monotonic() - began) < PATIENCE:
                if passed >= again:
                    for id_ in ids.keys() - verdicts.keys():
                        service.ask(bodies[id_])
                    again += AGAIN
                for event in service.heard():
                    id_, data = event["data"]["request"]["id"], event["data"]
                    if id_ in ids:
                        verdicts.setdefault(id_, Asked(id_, ids[id_], self.monotonic() - began, data))
        return [verdicts.get(id_) or Asked(id_, project, PATIENCE) for id_, project in ids.items()]

    def _request(self, prefix: str, id_: str, project: str) -> str:
        """A dry run for the named server and volume, or else for invented ids."""
        data: dict[str, Any] = {"server_id": str(uuid4()), "volume_id": str(uuid4())}
        if not project and self.server_id and self.volume_id:
            data = {"server_id": self.server_id, "volume_id": self.volume_id}
        data |= {"dry_run": True, "request_ttl": DRY_TTL} | ({"project_id": project} if project else {})
        event = {
            "specversion": "1.0",
            "id": id_,
            "source": "/by-hand",
            "type": f"{prefix}.volume.detach_requested.v1",
            "time": self.clock().isoformat(),
            "data": data,
        }
        return json.dumps(event)


def not_read(check: str, error: Exception) -> Line:
    """The line for a check that AWS did not allow or answer."""
    if isinstance(error, ClientError):
        if is_denied(error):
            return Line(check, State.NOT_TRIED, f"needs the permission {permission(error.operation_name)}")
        told = error.response["Error"]
        said = f"{error.operation_name}: {told['Code']} {told.get('Message', '')}".strip()
        return Line(check, State.FAIL, said, "check whether the resource still exists, and try again")
    return Line(check, State.FAIL, f"AWS cannot be reached ({error})", "check AWS_PROFILE, AWS_REGION and the network")


def permission(operation: str) -> str:
    """The permission for an operation: the action of a read, or else all that a dry run needs."""
    return next((action for action in READS if action.endswith(f":{operation}")), needs_of("detach"))


def of_stack(reader: StackReader, server_id: str = "", volume_id: str = "") -> StackExamination:
    """The examination of a stack, with its own queue and bus."""

    def service(session: str) -> Deployed:
        return Deployed(names_of(reader.stack.name), session)

    return StackExamination(reader, service, server_id, volume_id)
