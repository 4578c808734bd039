"""Builds the service catalog that Keystone returns with a token."""

from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from simulator.exchange import Deployment

VOLUME_PATHS: Mapping[str, str] = {"volumev2": "/v2/{project}", "volumev3": "/v3/{project}", "block-storage": "/v3"}


REGION_PATH = "/regions/{region}"
"""The base path of the services in another region."""


def catalog(deployment: Deployment, project_id: str) -> list[dict[str, Any]]:
    """Every service in every region, with three interfaces each; all are at the deployment's address."""
    services = (
        ("identity", "keystone", "/v3"),
        ("image", "glance", ""),
        ("compute", "nova", deployment.compute_path),
        *([("bms", "bms", "/v1/{project}")] if deployment.bare_metal else []),
        *((kind, "cinder", VOLUME_PATHS[kind] * deployment.volume_version) for kind in deployment.volume_types),
    )
    return [
        {
            "endpoints": [
                _endpoint(deployment, region, kind, interface, path.format(project=project_id))
                for region in dict.fromkeys((deployment.region, *deployment.regions))
                for interface in ("public", "internal", "admin")
            ],
            "id": stable_id(kind),
            "type": kind,
            "name": name,
        }
        for kind, name, path in services
    ]


def stable_id(name: str) -> str:
    """An id that is the same in every run."""
    return uuid5(NAMESPACE_URL, name).hex


def _endpoint(deployment: Deployment, region: str, kind: str, interface: str, path: str) -> dict[str, str]:
    base = "" if region == deployment.region else REGION_PATH.format(region=region)
    return {
        "id": stable_id(kind + interface + base),
        "interface": interface,
        "region_id": region,
        "url": deployment.base_url + base + path,
        "region": region,
    }
