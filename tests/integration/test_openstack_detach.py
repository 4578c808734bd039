"""The DELETE: it is sent once, and its answer is kept as evidence."""

import pytest

from shared.cloud.openstack import OpenStackCloud
from shared.model import Answer, AnswerClass, Reason
from simulator import Behaviour, Fault, Kind, What, bodies, faults
from tests.stack import Site

LOST: dict[str, tuple[Kind, bool]] = {
    "reset before": (faults.RESET_BEFORE, False),
    "reset after": (faults.RESET_AFTER, True),
    "timeout before": (faults.READ_TIMEOUT_BEFORE, False),
    "timeout after": (faults.READ_TIMEOUT_AFTER, True),
    "truncated": (faults.TRUNCATED, True),
    "502": (faults.answer(bodies.html_error(502)), False),
    "502 after": (faults.answer_after_effect(bodies.html_error(502)), True),
    "503": (faults.answer(bodies.html_error(503)), False),
    "504": (faults.answer(bodies.html_error(504)), False),
    "500": (faults.answer(bodies.unexpected_error()), False),
    "408": (faults.answer(Answer(408)), False),
    "redirect": (faults.answer(302, {"location": "http://127.0.0.1:9/"}), False),
}


def logged_in(site: Site) -> OpenStackCloud:
    """A cloud adapter with a token, as after the reads before a DELETE."""
    cloud = site.connect()
    cloud.check()
    return cloud


def accepted(site: Site) -> list[str | None]:
    return [entry.attachment_id for entry in site.world.history if entry.what is What.DELETE_ACCEPTED]


@pytest.mark.parametrize("name", LOST)
def test_a_delete_with_a_lost_answer_is_not_repeated(site: Site, name: str) -> None:
    """A DELETE with a lost answer is sent once, and its outcome is unknown."""
    kind, effect = LOST[name]
    site.api.faults.add(Fault(kind, operation="delete_attachment"))
    reading = logged_in(site).detach(site.server, site.volume)
    assert reading.value.answer.kind in (AnswerClass.RECONCILE, AnswerClass.RETRY)
    assert site.count("delete_attachment") == 1
    assert accepted(site) == ([site.attachment] if effect else [])
    assert [call.operation for call in reading.calls] == ["delete_attachment"]


@pytest.mark.parametrize("name", ["reset before", "reset after", "timeout before", "timeout after", "truncated"])
def test_a_missing_answer_is_recorded(site: Site, name: str) -> None:
    """A broken connection is recorded with status 0 and its cause."""
    site.api.faults.add(Fault(LOST[name][0], operation="delete_attachment"))
    (call,) = logged_in(site).detach(site.server, site.volume).calls
    assert call.status == 0
    assert call.code in ("connection_failure", "timeout", "no_answer")


@pytest.mark.parametrize(
    "answer",
    [bodies.nova_fault("overLimit", 429, "slow down", 7), bodies.gateway_error("APIG.0308", "throttled")],
    ids=["nova", "gateway"],
)
def test_a_throttled_delete_had_no_effect(site: Site, answer: Answer) -> None:
    """After a 429 the DELETE is not repeated at once, and the Retry-After is passed on."""
    site.api.faults.add(Fault(faults.answer(answer), operation="delete_attachment"))
    classified = logged_in(site).detach(site.server, site.volume).value.answer
    assert classified.kind is AnswerClass.RETRY
    assert classified.retry_after == (7 if "overLimit" in answer.body.decode() else classified.retry_after)
    assert (site.count("delete_attachment"), accepted(site)) == (1, [])


@pytest.mark.parametrize("status", [200, 202, 204])
def test_every_success_is_an_acceptance(site: Site, status: int) -> None:
    """A 200, 202 or 204 without a body means only that the DELETE was accepted."""
    site.world.set_volume(site.volume, behaviour=Behaviour(success_status=status))
    reading = logged_in(site).detach(site.server, site.volume)
    assert reading.value.answer.kind is AnswerClass.ACCEPTED
    assert [call.status for call in reading.calls] == [status]
    assert site.world.is_attached(site.server, site.volume) == site.attachment


def test_the_clouds_request_id_is_recorded(site: Site) -> None:
    """The recorded id is the one in the cloud's log."""
    (call,) = logged_in(site).detach(site.server, site.volume).calls
    (entry,) = [entry for entry in site.world.history if entry.what is What.DELETE_ACCEPTED]
    assert call.openstack_request_id == entry.detail
    assert call.at == site.clock()


def test_refusals_are_distinguished_by_their_messages(site: Site) -> None:
    """Nova's refusals are distinguished by their messages: not attached, locked, busy."""
    cloud = logged_in(site)
    other = site.world.add_volume().id
    assert cloud.detach(site.server, other).value.answer.kind is AnswerClass.DONE_VERIFY
    site.world.set_server(site.server, locked=True)
    assert cloud.detach(site.server, site.volume).value.answer.reason is Reason.SERVER_LOCKED
    site.world.set_server(site.server, locked=False, task_state="rebooting")
    assert cloud.detach(site.server, site.volume).value.answer.kind is AnswerClass.WAIT
    assert accepted(site) == []


def test_the_path_is_the_one_of_the_documents(site: Site) -> None:
    """The path has the project, the server and the volume as the API documents it."""
    logged_in(site).detach(site.server, site.volume)
    assert site.paths("delete_attachment") == {
        f"/v2.1/{site.world.project.id}/servers/{site.server}/os-volume_attachments/{site.volume}"
    }


def test_a_refused_token_leaves_the_outcome_open(site: Site) -> None:
    """After a 401 the DELETE is not repeated, and the next read gets a new token."""
    cloud = logged_in(site)
    site.api.revoke_tokens()
    answer = cloud.detach(site.server, site.volume).value.answer
    assert (answer.kind, answer.code, answer.reason) == (AnswerClass.RECONCILE, "http_401", None)
    assert (site.count("get_token"), site.count("delete_attachment"), accepted(site)) == (1, 1, [])
    assert cloud.volume(site.volume).value is not None
    assert [call.operation for call in site.api.calls[-2:]] == ["get_token", "get_volume"]


@pytest.mark.parametrize("effect", [False, True])
def test_a_gateways_token_error_counts_as_a_401(site: Site, effect: bool) -> None:
    """A gateway's "token must be updated" counts like a 401, whether the DELETE had an effect or not."""
    answer = bodies.json_answer(403, {"error_code": "APIG.0307", "error_msg": "The token must be updated."})
    kind = faults.answer_after_effect(answer) if effect else faults.answer(answer)
    cloud = logged_in(site)
    site.api.faults.add(Fault(kind, operation="delete_attachment", times=None))
    assert cloud.detach(site.server, site.volume).value.answer.kind is AnswerClass.RECONCILE
    assert (site.count("get_token"), site.count("delete_attachment")) == (1, 1)
    assert cloud.detach(site.server, site.volume).value.answer.code == "no_token"


def test_no_delete_is_sent_without_a_token(site: Site) -> None:
    """A DELETE never causes a login, so it is not sent without a token."""
    reading = site.connect().detach(site.server, site.volume)
    assert reading.value.answer.kind is AnswerClass.RETRY
    assert reading.value.answer.message
    assert [call.code for call in reading.calls] == ["no_token"]
    assert site.api.calls == []


def test_a_redirected_delete_names_the_setting(site: Site) -> None:
    """A redirected DELETE is not followed, its outcome is unknown, and the message names the setting."""
    cloud = logged_in(site)
    moved = {"location": "https://user:secret@other.example/v2.1?token=secret"}
    site.api.faults.add(Fault(faults.answer(308, moved), operation="delete_attachment"))
    answer = cloud.detach(site.server, site.volume).value.answer
    assert answer.kind is AnswerClass.RECONCILE
    assert "https://other.example" in answer.message
    assert "COMPUTE_ENDPOINT" in answer.message
    assert "secret" not in answer.message


def test_of_two_deletes_only_one_is_accepted(site: Site) -> None:
    """The cloud refuses the second DELETE because the first one is under way."""
    cloud = logged_in(site)
    kinds = [cloud.detach(site.server, site.volume).value.answer.kind for _ in range(2)]
    assert kinds[0] is AnswerClass.ACCEPTED
    assert kinds[1] is not AnswerClass.ACCEPTED
    assert accepted(site) == [site.attachment]
