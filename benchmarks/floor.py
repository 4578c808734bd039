"""The calls that a step cannot do without, made by hand over one `requests` session: nothing is cheaper."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import Any

import requests
from requests_aws4auth import AWS4Auth

http = requests.Session()


def aws(service: str, target: str, payload: dict[str, Any], json_version: str = "1.1") -> Any:
    environment = os.environ
    signed = AWS4Auth(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], environment["AWS_REGION"], service
    )
    headers = {"Content-Type": f"application/x-amz-json-{json_version}", "X-Amz-Target": target}
    body = json.dumps(payload).encode()
    answer = http.post(environment["AWS_ENDPOINT_URL"], data=body, headers=headers, auth=signed, timeout=10)
    answer.raise_for_status()
    return answer.json()


@lru_cache(maxsize=1)
def login() -> tuple[str, str, str]:
    """The cloud's address, the project, and a token."""
    secret = aws("secretsmanager", "secretsmanager.GetSecretValue", {"SecretId": os.environ["CLOUD_SECRET_ID"]})
    values = json.loads(secret["SecretString"])
    user = {"name": values["username"], "password": values["password"], "domain": {"name": "Default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    asked = {"auth": {"identity": identity, "scope": {"project": {"id": values["project_id"]}}}}
    answer = http.post(f"{values['auth_url']}/auth/tokens", json=asked, timeout=10)
    answer.raise_for_status()
    return values["auth_url"].removesuffix("/v3"), values["project_id"], answer.headers["X-Subject-Token"]


def get(path: str, **headers: str) -> Any:
    root, project, token = login()
    headers |= {"X-Auth-Token": token, "Accept": "application/json"}
    answer = http.get(root + path.format(project=project), headers=headers, timeout=30)
    answer.raise_for_status()
    return answer.json()


def lambda_handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Read server, attachments and volume, and put one event on the bus for each record."""
    for record in event["Records"]:
        asked = json.loads(record["body"])
        server = f"/v2.1/servers/{asked['server_id']}"
        get(server, **{"OpenStack-API-Version": "compute 2.26"})
        get(f"{server}/os-volume_attachments")
        volume = get(f"/v3/{{project}}/volumes/{asked['volume_id']}")["volume"]
        entry = {
            "EventBusName": os.environ["EVENT_BUS_NAME"],
            "Source": "/floor",
            "DetailType": "floor",
            "Detail": json.dumps({"id": record["messageId"], "subject": "floor", "status": volume["status"]}),
        }
        aws("events", "AWSEvents.PutEvents", {"Entries": [entry]})
    return {"batchItemFailures": []}
