"""Recognition of bare metal servers, and the operator's filter."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cloud import parse
from shared.decision.bare_metal import SIGNALS, SPECIAL, SYSTEM_DISK, Kind, kind, seen, signal
from shared.decision.gates import Refuse, gate
from shared.model import Flavor, Reason, Server
from shared.policy import VOLUMES, Policy, ServerKind
from tests.builders import request, server, volume

BARE_METAL_ONLY = Policy(server_kind=ServerKind.BARE_METAL)
VIRTUAL = Flavor(id="s3.large.2")

ONE_EACH: dict[str, dict[str, Any]] = {
    "metadata metering.resourcetype": {"metadata": {"metering.resourcetype": "__type_baremetal"}},
    "tag": {"tags": ("production", "__type_baremetal")},
    "flavor id": {"flavor": Flavor(id="physical.83.medium")},
    "flavor original_name": {"flavor": Flavor(name="physical.o2.medium")},
    "flavor extra_specs resource_type": {"flavor": Flavor(name="large", resource_type="ironic")},
}
"""A server with each of the signals and no other."""


def asked(machine: Server, policy: Policy = BARE_METAL_ONLY, **wish: Any) -> object:
    return gate(request(**wish), volume(), {"/dev/sdb"}, machine, policy)


@pytest.mark.parametrize("name", [one.name for one in SIGNALS])
def test_one_signal_is_enough(name: str) -> None:
    """Each signal of the table makes a server bare metal, alone."""
    machine = server(**{"metadata": {}, **ONE_EACH[name]})
    found = signal(machine)
    assert found is not None
    assert (found.name, kind(machine)) == (name, Kind.BARE_METAL)


ALMOST: list[dict[str, Any]] = [
    {"metadata": {"metering.resourcetype": "1"}, "flavor": VIRTUAL},
    {"metadata": {"resourcetype": "__type_baremetal"}, "flavor": VIRTUAL},
    {"tags": ("__type_baremetal_2", "baremetal"), "flavor": VIRTUAL},
    {"flavor": Flavor(id="nonphysical.large")},
    {"flavor": Flavor(id="physical")},
    {"flavor": Flavor(name="s3.large.2", resource_type="IOoptimizedS3_2")},
]


@pytest.mark.parametrize("changes", ALMOST, ids=str)
def test_similar_values_are_no_signal(changes: dict[str, Any]) -> None:
    """An ordinary server of Open Telekom Cloud has the same members with other values."""
    assert kind(server(**changes)) is Kind.VIRTUAL


@pytest.mark.parametrize("flavor", [Flavor(), Flavor(resource_type="other")], ids=str)
def test_without_a_flavor_the_kind_is_unknown(flavor: Flavor) -> None:
    """Only a flavor by its id or name can tell that a server is not bare metal."""
    assert kind(server(flavor=flavor)) is Kind.UNKNOWN


machines = st.builds(
    server,
    metadata=st.dictionaries(
        st.sampled_from(["metering.resourcetype", "os_type", "x"]),
        st.sampled_from(["__type_baremetal", "1", "Linux", ""]),
    ),
    tags=st.lists(st.sampled_from(["__type_baremetal", "a", ""])).map(tuple),
    flavor=st.builds(
        Flavor,
        id=st.sampled_from([None, "physical.o2.medium", "s3.large.2"]),
        name=st.sampled_from([None, "physical.o2.medium", "s3.large.2"]),
        resource_type=st.sampled_from([None, "ironic", "IOoptimizedS3_2"]),
    ),
)


@given(machines)
def test_any_combination_of_signals(machine: Server) -> None:
    """A server is bare metal if it has at least one signal. The filter accepts only these, and names the signals."""
    shown = [one for one in SIGNALS if one.shows(machine)]
    assert (kind(machine) is Kind.BARE_METAL) == bool(shown)
    assert signal(machine) == (shown[0] if shown else None)
    answer = asked(machine, unmounted=True)
    if shown:
        assert answer is None
    else:
        assert isinstance(answer, Refuse)
        assert answer.reason is Reason.NOT_BARE_METAL
        assert all(one.name in answer.explanation for one in SIGNALS)


@given(machines, st.booleans())
def test_the_filter_only_ever_refuses_more(machine: Server, unmounted: bool) -> None:
    """With any metadata, a request that another gate refuses is refused with the filter too."""
    without, with_it = (asked(machine, policy, unmounted=unmounted) for policy in (Policy(), BARE_METAL_ONLY))
    assert with_it == without or (isinstance(with_it, Refuse) and with_it.reason is Reason.NOT_BARE_METAL)


@given(machines)
def test_a_user_cannot_hide_a_flavor(machine: Server) -> None:
    """A server with a bare metal flavor stays bare metal, whatever users write."""
    told = {"status": "ACTIVE", "flavor": {"id": "physical.o2.medium"}, "tags": list(machine.tags)}
    assert kind(parse.server({"server": {**told, "metadata": dict(machine.metadata)}})) is Kind.BARE_METAL


@pytest.mark.parametrize(
    ("flavor", "expected"),
    [
        ({"id": "physical.83.medium", "links": []}, Kind.BARE_METAL),
        ({"original_name": "physical.83.medium", "vcpus": 1, "extra_specs": {}}, Kind.BARE_METAL),
        ({"original_name": "large", "extra_specs": {"resource_type": "ironic"}}, Kind.BARE_METAL),
        ({"original_name": "large", "extra_specs": {"resource_type": "other"}}, Kind.VIRTUAL),
        ({"original_name": "large"}, Kind.VIRTUAL),
        ({"id": "s3.large.2"}, Kind.VIRTUAL),
        ({"original_name": "large", "extra_specs": None}, Kind.VIRTUAL),
        ({"id": None, "extra_specs": [1]}, Kind.UNKNOWN),
        ({}, Kind.UNKNOWN),
        ("physical.83.medium", Kind.UNKNOWN),
        (None, Kind.UNKNOWN),
    ],
    ids=str,
)
def test_flavors_as_the_wire_has_them(flavor: Any, expected: Kind) -> None:
    """Below 2.47 a flavor has an id, from 2.47 a name and extra specs; other shapes are ignored."""
    assert kind(parse.server({"server": {"status": "ACTIVE", "flavor": flavor}})) is expected


@pytest.mark.parametrize("tags", [None, "__type_baremetal", {"__type_baremetal": 1}, [1, None], []], ids=str)
def test_tags_that_are_no_list_of_texts_say_nothing(tags: Any) -> None:
    """Below microversion 2.26 there are none."""
    assert kind(parse.server({"server": {"status": "ACTIVE", "flavor": {"id": "s3"}, "tags": tags}})) is Kind.VIRTUAL


# ------------------------------------------------------------------------------------------------------- the gate


@pytest.mark.parametrize("state", ["locked", "changing", "system disk"])
def test_a_server_that_is_not_served_is_refused_first(state: str) -> None:
    """The server filter comes before gates that would ask for a change or wait."""
    changes: dict[str, dict[str, Any]] = {"locked": {"locked": True}, "changing": {"task_state": "rebooting"}}
    machine = server(flavor=VIRTUAL, **changes.get(state, {}))
    devices = {"/dev/sda" if state == "system disk" else "/dev/sdb"}
    answer = gate(request(), volume(), devices, machine, BARE_METAL_ONLY)
    assert isinstance(answer, Refuse)
    assert answer.reason is Reason.NOT_BARE_METAL


@pytest.mark.parametrize(("flavor", "unknown"), [(VIRTUAL, False), (Flavor(), True)], ids=str)
def test_the_refusal_says_what_was_seen(flavor: Flavor, unknown: bool) -> None:
    """The refusal lists each signal, the value that was read, and whether the flavor was known."""
    metadata = {"metering.resourcetype": "1"}
    answer = asked(server(flavor=flavor, metadata=metadata))
    assert isinstance(answer, Refuse)
    assert ("flavor, which could say so, is not known" in answer.explanation) is unknown
    assert "metering.resourcetype __type_baremetal (seen: 1)" in answer.explanation
    assert f"flavor id physical.… (seen: {flavor.id or 'nothing'})" in answer.explanation


@pytest.mark.parametrize(
    ("value", "shown"), [("a\nb", "unprintable text"), ("x" * 300, f"{'x' * 64}…"), ("", "nothing")], ids=repr
)
def test_values_of_users_are_shown_cut_and_escaped(value: str, shown: str) -> None:
    """Metadata and tags may be long, or break a line of a log."""
    told = seen(server(metadata={"metering.resourcetype": value}))
    assert f"metering.resourcetype __type_baremetal (seen: {shown})" in told
    assert told.isprintable()


@pytest.mark.parametrize(("bare_metal", "root"), list(product((True, False), (None, "/dev/sda"))))
def test_a_disk_taken_for_the_system_disk_by_its_name(bare_metal: bool, root: str | None) -> None:
    """On a bare metal server without a root device, the refusal names the rule of the documents."""
    machine = server(root_device=root, flavor=Flavor(id="physical.o2.medium") if bare_metal else VIRTUAL)
    answer = gate(request(), volume(), {"/dev/sda"}, machine, Policy())
    assert isinstance(answer, Refuse)
    assert answer.reason is Reason.SYSTEM_DISK
    assert (SYSTEM_DISK.text in answer.explanation) is (bare_metal and root is None)


def test_each_special_fact_has_a_source() -> None:
    """Each row says what is documented, what the product does, and the source."""
    assert all(one.about and one.text and one.here and one.source for one in SPECIAL)
    assert len({one.about for one in SPECIAL}) == len(SPECIAL)


def test_a_request_may_name_all_disks_of_a_server() -> None:
    """The limit of `volume_ids` is the documented number of disks."""
    assert any(f"at most {VOLUMES} EVS disks" in one.text for one in SPECIAL)
    assert VOLUMES == 40
