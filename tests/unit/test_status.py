"""The status resource: who may read the state of a request, and what it returns."""

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.model import Outcome, verdict_id
from shared.ports import Kept, Unsent
from shared.signatures import Keys
from shared.webhook.receive import HttpRequest, Rules
from shared.webhook.responses import HttpAnswer
from tests.http_requests import (
    DATA,
    KEYS,
    NOW,
    RULES,
    TOKEN,
    FakeKeyRing,
    FakeQueue,
    FakeStore,
    batched,
    body_of,
    cloudevent,
    endpoint,
    problem_of,
    signed,
    status_request,
    structured,
)
from tests.messages import OTHER_VOLUME, SERVER, VOLUME
from tools.documents import ROOT

SAMPLES = ROOT / "events" / "verdicts"
DETACHED, UNCONFIRMED = ((SAMPLES / name).read_text() for name in ("detached.json", "detach_unconfirmed.json"))
ID = json.loads(DETACHED)["id"]
PATH = f"/requests/{ID}"
OTHER_SECRET = "whsec_" + "b2xk" * 8
BY_IAM = HttpRequest("GET", {}, b"", "1", iam="arn:aws:iam::123456789012:user/ci", path=PATH)


def asked(store: FakeStore, request: HttpRequest | None = None, **options: Any) -> HttpAnswer:
    return endpoint(store=store, **options).answer(request or status_request(PATH))


def marked(**attributes: Any) -> tuple[FakeStore, Any]:
    """A store with the mark of one POSTed request, and the answer to its sender."""
    store = FakeStore()
    answer = endpoint(store=store).answer(structured(cloudevent(**attributes)))
    (request,) = body_of(answer)["requests"]
    return store, request


# ------------------------------------------------------------------------------------------------ what is told


def test_the_final_verdict_is_the_emitted_event() -> None:
    """200, and the CloudEvent as it was emitted, whatever else is kept."""
    answer = asked(FakeStore({ID: Kept(verdict=DETACHED)}))
    assert (answer.status, answer.body) == (200, DETACHED)
    assert answer.all_headers["Content-Type"] == "application/cloudevents+json"


def test_an_accepted_request_is_under_way() -> None:
    """202 with the known fields, and when to ask again."""
    store, request = marked()
    answer = asked(store, status_request(f"/{request['status_url']}"))
    assert (answer.status, answer.headers) == (202, {"Retry-After": "5"})
    assert answer.all_headers["Content-Type"] == "application/json"
    assert body_of(answer) == {
        "status": "accepted",
        **{name: request[name] for name in ("verdict_id", "id", "source", "server_id", "volume_id", "requested_at")},
        "accepted_at": "2026-11-23T08:00:05Z",
    }


@pytest.mark.parametrize("with_mark", [True, False])
def test_an_unconfirmed_request_is_under_way(with_mark: bool) -> None:
    """202 with the time since when, also for a request without a mark, which did not come by the webhook."""
    store, request = marked()
    kept = store.kept[request["verdict_id"]]
    store.kept[ID] = replace(kept, unconfirmed=UNCONFIRMED) if with_mark else Kept(unconfirmed=UNCONFIRMED)
    answer = asked(store)
    event = json.loads(UNCONFIRMED)
    assert (answer.status, answer.headers) == (202, {"Retry-After": "60"})
    told = body_of(answer)
    assert told.pop("accepted_at", None) == ("2026-11-23T08:00:05Z" if with_mark else None)
    assert told == {
        "status": "unconfirmed",
        "verdict_id": ID,
        **event["data"]["request"],
        "server_id": event["data"]["server_id"],
        "volume_id": event["data"]["volume_id"],
        "requested_at": event["data"]["timing"]["requested_at"],
        "unconfirmed_since": event["time"],
        "explanation": event["data"]["explanation"],
    }


def test_an_unknown_id() -> None:
    """404, after a look."""
    store = FakeStore()
    problem_of(asked(store), 404)
    assert store.asked == [ID]


@pytest.mark.parametrize(
    "segment",
    ["x", "..", "%2e%2e", ID[:-1], f"{ID}0", f"{{{ID}}}", ID.replace("-", ""), f"urn:uuid:{ID}", f"{ID}.json",
     f"{ID}%00", f"{ID}\n", "*", "null", "\u0660" * 8 + ID[8:]],
)  # fmt: skip
def test_only_uuids_are_looked_up(segment: str) -> None:
    """404 without a call of S3: foreign text never becomes part of a key."""
    store = FakeStore()
    problem_of(asked(store, status_request(f"/requests/{segment}")), 404)
    assert store.asked == []


@pytest.mark.parametrize("path", [PATH, PATH.upper().replace("REQUESTS", "requests"), f"/prod{PATH}", f"/a/b{PATH}"])
def test_where_the_resource_is(path: str) -> None:
    """Upper case is the same id, and a stage or a base path may precede it."""
    assert asked(FakeStore({ID: Kept(verdict=DETACHED)}), status_request(path)).status == 200


@pytest.mark.parametrize(
    "path",
    ["/", "", "/requests", "/requests/", f"{PATH}/", f"/requests/x/{ID}", f"/{ID}", "/requests/../x",
     f"/requests/../{ID}", f"/requests%2f{ID}", f"/Requests/{ID}", f"/xrequests/{ID}"],
)  # fmt: skip
def test_where_it_is_not(path: str) -> None:
    """On other paths requests are POSTed, and nothing is read."""
    store = FakeStore({ID: Kept(verdict=DETACHED)})
    answer = asked(store, status_request(path))
    problem_of(answer, 405)
    assert answer.headers["Allow"] == "OPTIONS, POST"
    assert endpoint(store=store).answer(replace(signed(DATA), path=path)).status == 202
    assert store.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_it_is_only_read(method: str) -> None:
    """405 with the supported methods, for any sender; a request that is POSTed there is not accepted."""
    queue = FakeQueue()
    answer = endpoint(queue, store=FakeStore()).answer(replace(signed(DATA), method=method, path=PATH))
    problem_of(answer, 405)
    assert answer.headers["Allow"] == "GET, HEAD"
    assert queue.taken == []


def test_requests_that_are_posted_beside_it() -> None:
    """`requests/detach` may be the route of somebody's HTTP API, and still accepts requests."""
    assert endpoint(store=FakeStore()).answer(replace(signed(DATA), path="/requests/detach")).status == 202


def test_head_is_answered_like_get() -> None:
    """The same status and headers; the HTTP server leaves out the body."""
    store = FakeStore({ID: Kept(verdict=DETACHED)})
    assert asked(store, status_request(PATH, "HEAD")) == asked(store, status_request(PATH))


# ------------------------------------------------------------------------------------------------- trouble


def test_a_store_that_does_not_answer() -> None:
    """503, when to ask again, and nothing of AWS's answer."""
    answer = asked(FakeStore(trouble="GetObject: AccessDenied (403) arn:aws:sts::123456789012:assumed-role/x"))
    problem_of(answer, 503)
    assert answer.headers["Retry-After"] == "30"
    assert "AccessDenied" not in answer.body
    assert "AccessDenied" in answer.note


@pytest.mark.parametrize(
    "kept",
    [Kept(mark="{}"), Kept(mark="[]"), Kept(mark='"x"'), Kept(mark="{"), Kept(unconfirmed="{}"), Kept(unconfirmed="["),
     Kept(unconfirmed='{"time": "now", "data": null}'), Kept(mark="{}", unconfirmed=UNCONFIRMED)],
)  # fmt: skip
def test_a_foreign_object_under_our_key(kept: Kept) -> None:
    """A foreign object under one of our keys is reported as trouble, and is not shown."""
    problem_of(asked(FakeStore({ID: kept})), 503)


def test_without_a_bucket_there_is_no_resource() -> None:
    """404 that says so, with or without authentication; everything else is unchanged."""
    off = endpoint()
    for request in (status_request(PATH), HttpRequest("GET", {}, b"", "1", path=PATH), status_request(PATH, "HEAD")):
        assert "keeps no verdicts" in problem_of(off.answer(request), 404)["detail"]
    assert off.answer(replace(signed(DATA), path=PATH)).status == 202
    assert off.answer(status_request(PATH, "PUT")).headers["Allow"] == "OPTIONS, POST"


# ---------------------------------------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    ("request_", "rules", "status"),
    [
        pytest.param(status_request(PATH), RULES, 200, id="signed"),
        pytest.param(
            HttpRequest("GET", {"authorization": f"Bearer {TOKEN}"}, b"", "1", path=PATH), RULES, 200, id="token"
        ),
        pytest.param(BY_IAM, replace(RULES, iam_auth=True), 200, id="IAM"),
        pytest.param(BY_IAM, RULES, 401, id="IAM where it does not count"),
        pytest.param(HttpRequest("GET", {}, b"", "1", path=PATH), RULES, 401, id="nothing"),
        pytest.param(status_request(PATH, secret=OTHER_SECRET), RULES, 401, id="another secret"),
        pytest.param(status_request(PATH, at=NOW.replace(hour=7)), RULES, 401, id="too old"),
        pytest.param(replace(signed(DATA), method="GET", path=PATH), RULES, 401, id="a POST's signature"),
        pytest.param(status_request(PATH, body=b"{}"), RULES, 200, id="a body is passed over"),
        pytest.param(status_request(PATH), replace(RULES, allowed_requesters=("api_key:ci",)), 403, id="may not ask"),
        pytest.param(status_request(PATH), replace(RULES, allowed_requesters=("api_key:sha256:*",)), 200, id="may ask"),
    ],
)
def test_who_may_read_a_status(request_: HttpRequest, rules: Rules, status: int) -> None:
    """The sender authenticates as for a POST, over the empty body; otherwise the store is not read."""
    store = FakeStore({ID: Kept(verdict=DETACHED)})
    answer = asked(store, request_, rules=rules)
    assert answer.status == status
    assert store.asked == ([ID] if status == 200 else [])
    assert (status == 401) is ("WWW-Authenticate" in answer.headers)


def test_a_rotated_key_is_found() -> None:
    """An unknown key causes another read of the secret, as for a POST."""
    ring = FakeKeyRing(Keys.parse([OTHER_SECRET]), newest=KEYS)
    assert asked(FakeStore({ID: Kept(verdict=DETACHED)}), key_ring=ring).status == 200
    assert ring.looks == 1


def test_keys_that_cannot_be_read() -> None:
    """503, and the store is not read."""
    store = FakeStore()
    problem_of(asked(store, key_ring=FakeKeyRing(trouble=True)), 503)
    assert store.asked == []


# -------------------------------------------------------------------------------------------------- the marks


def test_a_mark_holds_no_more_than_who_and_what() -> None:
    """Nothing else of the request is kept: no token, no context, no header, no signature."""
    data = {**DATA, "task_token": "t0ken-of-a-task", "context": {"password": "hunter2"}}
    store, request = marked(data=data, correlationid="hunter3")
    (kept,) = store.kept.values()
    assert kept.mark
    assert "hunter" not in kept.mark
    assert "t0ken" not in kept.mark
    assert "v1," not in kept.mark
    assert set(json.loads(kept.mark)) == {
        "status", "verdict_id", "id", "source", "server_id", "volume_id", "requested_at", "accepted_at"
    }  # fmt: skip
    assert list(store.kept) == [request["verdict_id"]]


def test_a_dry_run_is_marked_under_the_id_of_its_check() -> None:
    """The check is its only verdict."""
    store, request = marked(data={**DATA, "dry_run": True})
    assert list(store.kept) == [request["verdict_id"]] == [verdict_id("/changes", "4711", VOLUME, Outcome.CHECKED)]


def test_a_summary_is_marked_and_told() -> None:
    """With its own id, beside the verdicts; its link is in the header, and it is returned as it was emitted."""
    store = FakeStore()
    event = cloudevent({"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME], "summary": True})
    answer = endpoint(store=store).answer(structured(event))
    told = body_of(answer)
    id_ = told["summary"]["summary_id"]
    assert list(store.kept) == [*(request["verdict_id"] for request in told["requests"]), id_]
    assert answer.headers["Location"] == told["summary"]["status_url"] == f"requests/{id_}"
    under_way = body_of(asked(store, status_request(f"/requests/{id_}")))
    assert (under_way["status"], under_way["verdict_id"], "volume_id" in under_way) == ("accepted", id_, False)
    summary = (SAMPLES / "detach_summary.json").read_text()
    store.kept[id_] = Kept(verdict=summary)
    assert asked(store, status_request(f"/requests/{id_}")).body == summary


def test_a_verdict_stays() -> None:
    """Sending the same request again does not change the verdict."""
    store, request = marked()
    store.kept[request["verdict_id"]] = Kept(verdict=DETACHED)
    endpoint(store=store).answer(structured(cloudevent()))
    assert store.kept == {request["verdict_id"]: Kept(verdict=DETACHED)}


def test_marks_that_cannot_be_put_refuse_nothing() -> None:
    """202 with the links, because the verdict will be there; the log has the error."""
    answer = endpoint(store=FakeStore(trouble="1 of 1 not marked: PutObject: no answer")).answer(signed(DATA))
    assert answer.status == 202
    assert body_of(answer)["requests"][0]["status_url"]
    assert answer.log_fields["note"] == "1 of 1 not marked: PutObject: no answer"


def test_only_what_is_in_the_queue_is_marked() -> None:
    """A request that the queue refused is not reported as accepted, and has no link."""
    store = FakeStore()
    event = cloudevent({"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]})
    answer = endpoint(FakeQueue({1: Unsent("x")}), store=store).answer(structured(event))
    problem = problem_of(answer, 503)
    assert [request["volume_id"] for request in problem["enqueued"]] == [VOLUME]
    assert list(store.kept) == [request["verdict_id"] for request in problem["enqueued"]]
    assert problem["enqueued"][0]["status_url"]
    assert "status_url" not in problem["missing"][0]


def test_a_refused_request_is_not_marked() -> None:
    """Nor is one that is not valid."""
    store = FakeStore()
    for request in (signed(DATA, secret=OTHER_SECRET), signed({"server_id": SERVER})):
        endpoint(store=store).answer(request)
    assert store.kept == {}


# ---------------------------------------------------------------------------------------------------- the links


def test_a_single_request_has_its_link_in_a_header() -> None:
    """Relative, so that it is valid with any host name and base path."""
    answer = endpoint(store=FakeStore()).answer(signed(DATA))
    (request,) = body_of(answer)["requests"]
    assert request["status_url"] == answer.headers["Location"] == f"requests/{request['verdict_id']}"


@pytest.mark.parametrize("several", [True, False])
def test_several_requests_have_one_each(several: bool) -> None:
    """There is one header, so it names none of them."""
    both = cloudevent({"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]})
    answer = endpoint(store=FakeStore()).answer(batched([both]) if several else structured(both))
    requests = body_of(answer)["events"][0]["requests"] if several else body_of(answer)["requests"]
    assert [request["status_url"] for request in requests] == [f"requests/{r['verdict_id']}" for r in requests]
    assert len(requests) == 2
    assert "Location" not in answer.headers


def test_without_a_bucket_there_are_no_links() -> None:
    """The answer is unchanged."""
    answer = endpoint().answer(signed(DATA))
    assert "Location" not in answer.headers
    assert "status_url" not in answer.body


def test_the_log_has_the_requested_id() -> None:
    """A valid id only; other text is not repeated."""
    store = FakeStore({ID: Kept(verdict=DETACHED)})
    assert asked(store).log_fields == {"verdict_id": ID}
    assert "hunter2" not in str(asked(store, status_request("/requests/hunter2")).log_fields)
