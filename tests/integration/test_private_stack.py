"""With a real cloud, the local stack has a real password, so only the command that started it has access."""

import json
from collections.abc import Iterator

import pytest
import requests

from local.aws_stand_in import CLOUD_SECRET, AwsStandIn
from local.demo import SERVER, VOLUME, demo_cloud
from local.stack import Stack, running, simulator_credentials
from shared.aws.client import SECRETS
from shared.ports import utc_now
from simulator import CloudServer
from tests.messages import bare
from tools.sender import LOCAL_SECRET, deliver, post_of

EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def stack(aws_server: AwsStandIn) -> Iterator[Stack]:
    # The stand-in keeps its state per process.
    assert requests.post(f"{aws_server.environment['AWS_ENDPOINT_URL']}/moto-api/reset", timeout=5).ok
    api = demo_cloud(utc_now)
    with CloudServer(api):
        real = {f"OS_{name.upper()}": value for name, value in simulator_credentials(api).items()}
        with running(real, real_cloud=True) as stack:
            yield stack


def credentials_request(aws: AwsStandIn, key: str, **headers: str) -> requests.Response:
    """A request for the cloud's credentials with an access key."""
    scope = "20261123/eu-central-1/secretsmanager/aws4_request"
    signed = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/{scope}",
        "X-Amz-Target": "secretsmanager.GetSecretValue",
        "Content-Type": "application/x-amz-json-1.1",
    }
    return requests.post(
        aws.environment["AWS_ENDPOINT_URL"], json.dumps({"SecretId": CLOUD_SECRET}), headers=signed | headers, timeout=5
    )


def test_the_key_of_this_run_is_accepted(stack: Stack) -> None:
    secret = stack.aws.client.call(SECRETS, "GetSecretValue", {"SecretId": CLOUD_SECRET})
    assert json.loads(secret["SecretString"])["password"]
    assert credentials_request(stack.aws, stack.aws.environment["AWS_ACCESS_KEY_ID"]).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Origin": EVIL}, {"Host": "evil.example"}, {"Host": "127.0.0.1:1"}], ids=str)
@pytest.mark.parametrize("known", [True, False])
def test_others_are_refused(stack: Stack, known: bool, headers: dict[str, str]) -> None:
    """Other users of this machine and web pages are refused, even with the key."""
    key = stack.aws.environment["AWS_ACCESS_KEY_ID"] if known else "local"
    if known and not headers:
        return
    answer = credentials_request(stack.aws, key, **headers)
    assert answer.status_code == 403
    assert "password" not in answer.text
    assert not any(name.lower().startswith("access-control") for name in answer.headers)


def test_others_cannot_reset_the_stack(stack: Stack) -> None:
    endpoint = stack.aws.environment["AWS_ENDPOINT_URL"]
    assert requests.post(f"{endpoint}/moto-api/reset", timeout=5).status_code == 403


def test_the_public_secret_is_refused_with_a_real_cloud(stack: Stack) -> None:
    """The public sample secret is refused, and the secret of this run is accepted."""
    post = post_of(json.dumps(bare(SERVER, VOLUME, dry_run=True)))
    assert deliver(post.signed(LOCAL_SECRET, utc_now()), stack.webhook_url).status_code == 401
    signed = post.signed(stack.webhook_secret, utc_now())
    assert deliver(signed, stack.webhook_url).status_code == 202
    for headers in ({"Origin": EVIL}, {"Host": "evil.example:1"}):
        answer = requests.post(stack.webhook_url, signed.body, headers={**signed.headers, **headers}, timeout=5)
        assert answer.status_code == 403
