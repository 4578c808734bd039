"""`make schemas`: publish the event schemas of a deployed stack in its schema registry, or remove them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import boto3
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from tools.contract.event_schemas import OURS, TYPE, EventSchema, event_schemas
from tools.deployed import AwsFailed, Unknown, described, explained
from tools.exit_status import Exit
from tools.permissions import needs_of


class Registry(Protocol):
    """A schema registry. Each method raises one of AwsFailed."""

    def find(self, name: str) -> EventSchema | None:
        """The newest version of a schema, or None if there is no schema of that name."""

    def create(self, schema: EventSchema) -> None: ...

    def update(self, schema: EventSchema) -> None:
        """Create a new version of a schema."""

    def names(self) -> Sequence[str]:
        """The names of all schemas in it."""

    def remove(self, name: str) -> None:
        """Remove a schema with all its versions."""


Changes = Iterator[tuple[str, str]]
"""Pairs of an action and the name of a schema. Raises one of AwsFailed in between."""


def put(registry: Registry, schemas: Sequence[EventSchema]) -> Changes:
    """Create missing schemas and update those that differ. The others get no new version."""
    for schema in schemas:
        found = registry.find(schema.name)
        if found is None:
            registry.create(schema)
        elif differs(found, schema):
            registry.update(schema)
        yield "created" if found is None else "updated" if differs(found, schema) else "unchanged", schema.name


def remove(registry: Registry) -> Changes:
    """Remove the schemas of this service, including those of an earlier prefix or source."""
    for name in registry.names():
        if OURS.fullmatch(name):
            registry.remove(name)
            yield "removed", name
        else:
            yield "not ours", name


def differs(found: EventSchema, wanted: EventSchema) -> bool:
    """Whether two schemas differ, apart from the formatting of their JSON."""
    try:
        content = json.loads(found.content)
    except ValueError:
        return True
    return bool(content != json.loads(wanted.content) or found.description != wanted.description)


def run(stack: str, removing: bool, trouble: Callable[[str], object], say: Callable[[str], None] = print) -> Exit:
    """Publish or remove the schemas. An error goes to `trouble`: then USAGE if nothing was changed, else FAILED.

    Raises Unknown.
    """
    done = 0
    try:
        target = target_of(stack)
        for what, name in remove(target.registry) if removing else put(target.registry, target.schemas):
            done += what not in ("unchanged", "not ours")
            say(f"{what:<10} {name}")
    except AwsFailed as error:
        trouble(explained(error, stack, needs_of("schemas")))
        return Exit.FAILED if done else Exit.USAGE
    return Exit.DETACHED


# -------------------------------------------------------------------------------------------------------- AWS itself


@dataclass(frozen=True)
class EventBridgeRegistry:
    """A registry of EventBridge Schemas."""

    client: Any
    name: str

    def find(self, name: str) -> EventSchema | None:
        try:
            found = self.client.describe_schema(RegistryName=self.name, SchemaName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NotFoundException":
                return None
            raise
        return EventSchema(name, found.get("Description", ""), found.get("Content", ""))

    def create(self, schema: EventSchema) -> None:
        self.client.create_schema(**self._written(schema))

    def update(self, schema: EventSchema) -> None:
        self.client.update_schema(**self._written(schema))

    def _written(self, schema: EventSchema) -> dict[str, str]:
        return {
            "RegistryName": self.name,
            "SchemaName": schema.name,
            "Type": TYPE,
            "Description": schema.description,
            "Content": schema.content,
        }

    def names(self) -> Sequence[str]:
        pages = self.client.get_paginator("list_schemas").paginate(RegistryName=self.name)
        return [schema["SchemaName"] for page in pages for schema in page["Schemas"]]

    def remove(self, name: str) -> None:
        self.client.delete_schema(RegistryName=self.name, SchemaName=name)


@dataclass(frozen=True)
class Target:
    """The registry of a stack, and its schemas."""

    registry: Registry
    schemas: Sequence[EventSchema]


def target_of(stack: str) -> Target:
    """Raises Unknown, one of AwsFailed."""
    found = described(stack)
    outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", ())}
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", ())}
    if missing := [name for name in ("EventTypePrefix", "EventSource") if name not in parameters]:
        raise Unknown(f"The stack {stack} has no parameter {missing[0]}: is it one of this service?")
    if "SchemaRegistryName" not in outputs:
        raise Unknown(f"The stack {stack} has no schema registry: deploy it with SchemaRegistry=on, then try again.")
    registry = EventBridgeRegistry(boto3.client("schemas"), outputs["SchemaRegistryName"])
    return Target(registry, event_schemas(parameters["EventTypePrefix"], parameters["EventSource"]))
