"""A pytest plugin for `make mutants`: it selects the tests that judge a mutant, the nearest first.

mutmut names every test that runs the mutated function. Only the tests of the mutated package judge it, so that
a rule is covered by its own tests and not only by a run of the whole service.
"""

import os

import pytest

JUDGES = {
    "shared.decision": ("case", "failures", "gates", "meant", "requeue", "rules", "dead_letters", "model"),
    "shared.inbox": (
        "envelope_entries", "inbox", "inbox_fields", "inbox_hostile", "interop", "own_messages", "requesters", "times",
        "trace",
    ),
    "shared.outbox": ("dead_letters", "events", "failure_catalogue", "original", "outbox", "http_sink"),
    "shared.own_messages": ("own_messages", "inbox", "requesters", "outbox"),
    "shared.visit": ("visit", "visits", "detach_volume"),
}  # fmt: skip
"""The test modules that judge the mutants of a package, without `test_`."""

NEAREST = {"read": "inbox", "envelopes": "inbox", "request": "inbox_fields"}
"""The test module of a module, if it has another name."""

CHOSEN = pytest.StashKey[set[str]]()


def mutant() -> str | None:
    """The full name of the mutated function; None while mutmut does something else."""
    name = os.environ.get("MUTANT_UNDER_TEST", "")
    return name if name.startswith("shared.") else None


def pytest_configure(config: pytest.Config) -> None:
    """Collect whole files of the judging tests, because collecting hundreds of tests one by one takes seconds."""
    name = mutant()
    if name:
        config.stash[CHOSEN] = set(config.args)
        config.args[:] = judges(name, {test.partition("::")[0] for test in config.args})


def judges(name: str, files: set[str]) -> list[str]:
    """The files that judge a mutant, the one with the module's own tests first."""
    names = next(names for package, names in JUDGES.items() if name.startswith(package))
    module = name.split(".x")[0].rpartition(".")[2]
    nearest = NEAREST.get(module, module)
    return sorted((file for file in files if _stem(file) in names), key=lambda file: (_stem(file) != nearest, file))


def _stem(file: str) -> str:
    return file.rpartition("/")[2].removesuffix(".py").removeprefix("test_")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests with random cases: a mutant that is killed in one run could survive the next."""
    chosen = config.stash.get(CHOSEN, None)
    items[:] = [item for item in items if not _is_random(item) and (chosen is None or item.nodeid in chosen)]


def _is_random(item: pytest.Item) -> bool:
    return bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))
