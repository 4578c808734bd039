"""A lower bound: only the calls of a look, over one `requests` session."""

import json
import os
from functools import lru_cache
from typing import Any

import requests
from requests_aws4auth import AWS4Auth

http = requests.Session()
http.hooks["response"] = [lambda response, **_: response.raise_for_status()]


def aws(service: str, target: str, payload: dict[str, Any]) -> Any:
    credentials = (os.environ[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION"))
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    signed = AWS4Auth(*credentials, service)
    body = json.dumps(payload).encode()
    return http.post(os.environ["AWS_ENDPOINT_URL"], data=body, headers=headers, auth=signed, timeout=30).json()


@lru_cache(maxsize=1)
def login() -> tuple[str, str, str]:
    """The cloud's address, the project, and a token."""
    secret = aws("secretsmanager", "secretsmanager.GetSecretValue", {"SecretId": os.environ["CLOUD_SECRET_ID"]})
    values = json.loads(secret["SecretString"])
    user = {"name": values["username"], "password": values["password"], "domain": {"name": "Default"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": {"id": values["project_id"]}}}}
    response = http.post(f"{values['auth_url']}/auth/tokens", json=body, timeout=30)
    return values["auth_url"].removesuffix("/v3"), values["project_id"], response.headers["X-Subject-Token"]


def get(path: str, **headers: str) -> Any:
    root, project, token = login()
    headers |= {"X-Auth-Token": token, "Accept": "application/json"}
    return http.get(root + path.format(project=project), headers=headers, timeout=30).json()


def lambda_handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Read server, attachments and volume, and put one event on the bus for each record."""
    for record in event["Records"]:
        request = json.loads(record["body"])
        server = f"/v2.1/servers/{request['server_id']}"
        get(server, **{"OpenStack-API-Version": "compute 2.26"})
        get(f"{server}/os-volume_attachments")
        volume = get(f"/v3/{{project}}/volumes/{request['volume_id']}")["volume"]
        detail = json.dumps({"id": record["messageId"], "subject": "bare", "status": volume["status"]})
        entry = {"EventBusName": os.environ["EVENT_BUS_NAME"], "Source": "/bare", "DetailType": "bare"}
        aws("events", "AWSEvents.PutEvents", {"Entries": [entry | {"Detail": detail}]})
    return {"batchItemFailures": []}
