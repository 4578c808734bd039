"""Compares cloud discovery with openstacksdk: the same files and variables give the same login."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from openstack.config.loader import OpenStackConfig

from tools.clouds import find

AUTH = {"auth_url": "https://iam.example.com/v3", "username": "robot", "password": "p", "project_name": "eu-de",
        "user_domain_name": "Default", "project_domain_name": "Default"}  # fmt: skip
VARIABLES = {f"OS_{name.upper()}": f"{value}-of-variables" for name, value in AUTH.items()}
PLAIN = {name: value for name, value in AUTH.items() if name != "auth_url"}
SHORT = {"auth_url": "https://x", "username": "u", "password": "p"}
NL = {"name": "eu-nl", "values": {"auth": {"auth_url": "https://nl/v3"}}}

CASES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, str]]] = {
    "one cloud": ({"otc": {"auth": AUTH, "region_name": "eu-de"}}, {}, {}),
    "one of two": ({"otc": {"auth": AUTH}, "b": {"auth": {**AUTH, "username": "b"}}}, {}, {"OS_CLOUD": "b"}),
    "secrets apart": ({"otc": {"auth": PLAIN}}, {"otc": {"auth": {"auth_url": "https://x", "password": "s"}}}, {}),
    "secrets win": ({"otc": {"auth": AUTH}}, {"otc": {"auth": {"password": "s"}, "region_name": "r"}}, {}),
    "variables alone": ({}, {}, VARIABLES),
    "variables beside a file": ({"otc": {"auth": AUTH}}, {}, VARIABLES),
    "a file beside variables": ({"otc": {"auth": AUTH}}, {}, {**VARIABLES, "OS_CLOUD": "otc"}),
    "variables by their name": ({"otc": {"auth": AUTH}}, {}, {**VARIABLES, "OS_CLOUD": "envvars"}),
    "by a name of their own": ({"otc": {"auth": AUTH}}, {}, {**VARIABLES, "OS_CLOUD": "x", "OS_CLOUD_NAME": "x"}),
    "a variable of OpenStack's tests": ({"otc": {"auth": AUTH}}, {}, {"OS_TEST_PATH": "x", "OS_LOG_LEVEL": "x"}),
    "regions": ({"otc": {"auth": AUTH, "regions": ["eu-de", NL], "region_name": "eu-nl"}}, {}, {}),
    "a region of its own": ({"otc": {"auth": AUTH, "regions": [NL, "eu-de"]}}, {}, {}),
    "profile": ({"otc": {"profile": "otc", "auth": PLAIN}}, {}, {}),
    "profile and region": ({"otc": {"profile": "otc", "auth": PLAIN, "region_name": "eu-nl"}}, {}, {}),
    "beside auth": ({"otc": {"auth": AUTH, "project_name": "beside", "username": "beside"}}, {}, {}),
    "dashes": ({"otc": {"auth": {**SHORT, "project-name": "x", "user-domain-name": "d"}}}, {}, {}),
    "tenant": ({"otc": {"auth": {**SHORT, "tenant_name": "x"}}}, {}, {}),
    "one domain": ({"otc": {"auth": {**SHORT, "project_name": "x", "domain_name": "d"}}}, {}, {}),
    "numbers": ({"otc": {"auth": {**AUTH, "project_name": 2024}, "identity_api_version": 3}}, {}, {}),
    "another interface": ({"otc": {"auth": AUTH, "interface": "internal"}}, {}, {}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::openstack.warnings.OpenStackDeprecationWarning")
@pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning")
@pytest.mark.parametrize("case", CASES)
def test_the_same_login(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """User, address, project, region and interface are those of openstacksdk."""
    public, secret, variables = CASES[case]
    folder = tmp_path / ".config/openstack"
    folder.mkdir(parents=True)
    for name, clouds in (("clouds", public), ("secure", secret)):
        if clouds:
            (folder / f"{name}.yaml").write_text(yaml.safe_dump({"clouds": clouds}))
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config, secure, vendors = ([str(folder / f"{name}.yaml")] for name in ("clouds", "secure", "clouds-public"))
    reader = OpenStackConfig(config_files=config, secure_files=secure, vendor_files=vendors)
    theirs = reader.get_one(validate=True).config
    ours = dict(find(variables, tmp_path, tmp_path, tmp_path).values)

    domains = {name: ours.get(name) or ours.get(name.replace("user", "default").replace("project", "default"))
               for name in ("user_domain_name", "project_domain_name")}  # fmt: skip
    project = ours.get("project_name", ours.get("tenant_name"))
    login = (
        {name: ours.get(name) for name in ("auth_url", "username", "password")} | domains | {"project_name": project}
    )
    expected = {name: theirs["auth"].get(name) for name in login}
    assert login == expected
    assert (ours.get("region_name") or "") == (theirs["region_name"] or "")
    assert ours.get("interface", "public") == theirs["interface"]
