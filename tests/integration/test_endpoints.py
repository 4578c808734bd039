"""The endpoints of services from the catalog and settings, with every kind of OpenStack login."""

from collections.abc import Mapping, Sequence

import pytest

from shared.cloud.no_answer import NoAnswer
from shared.cloud.openstack import OpenStackCloud
from shared.cloud.parse import Offered, Service, addresses
from shared.model import AnswerClass, Classified, Reason
from shared.ports import CloudTrouble
from shared.settings import CloudCredentials, load
from simulator.identity import PASSWORD, USERNAME
from tests.stack import Site


def error_of(cloud: OpenStackCloud) -> Classified:
    """The error of wrong settings, which is permanent and reported at once."""
    with pytest.raises(CloudTrouble) as trouble:
        cloud.check()
    classified = trouble.value.classified
    assert (classified.kind, classified.reason) == (AnswerClass.PERMANENT, Reason.API_REJECTED)
    return classified


# ------------------------------------------------------------------------------------------------------- regions


def test_several_regions_without_a_setting_are_an_error(site: Site) -> None:
    """The error names the regions and the setting; there is one login, and no call to a region."""
    site.deployment.regions = ("eu-nl", "eu-ch2")
    cloud = site.connect()
    for _ in range(3):
        message = error_of(cloud).message
    assert "OS_REGION_NAME" in message
    assert "eu-ch2, eu-de, eu-nl" in message
    assert {call.operation for call in site.api.calls} == {"get_token"}
    assert site.count("get_token") == 1


def test_a_region_that_is_set_decides(site: Site) -> None:
    """Only the selected region is called; the other one does not have the server and the disk."""
    site.deployment.regions = ("eu-nl",)
    here, there = site.connect(region_name="eu-de"), site.connect(region_name="eu-nl")
    assert here.volume(site.volume).value is not None
    assert here.server(site.server).value is not None
    assert there.volume(site.volume).value is None
    assert there.server(site.server).value is None
    assert there.listing(site.server).value is None
    assert site.paths("get_server") == {
        f"{base}/v2.1/{site.world.project.id}/servers/{site.server}" for base in ("", "/regions/eu-nl")
    }


def test_an_unknown_region_is_an_error(site: Site) -> None:
    """The error names the existing regions."""
    site.deployment.regions = ("eu-nl",)
    message = error_of(site.connect(region_name="eu-de-01")).message
    assert "eu-de-01, only in eu-de, eu-nl" in message
    assert "OS_REGION_NAME" in message


def test_a_region_without_block_storage_is_ignored() -> None:
    """A region with compute only (DevStack's `RegionLegacy`) is not ambiguous, but can be selected."""
    places = [
        ("compute", "Legacy"),
        ("compute", "One"),
        ("volumev3", "One"),
        ("block-storage", "One"),
        ("image", "Two"),
    ]
    listed = [Offered(kind, at, f"http://{at.lower()}") for kind, at in places]
    values = {"auth_url": "http://keystone", "username": "u", "password": "p", "project_id": "1" * 32}

    def compute(offered: Sequence[Offered], **more: str) -> tuple[str, str]:
        services, where = addresses(offered, load(CloudCredentials, values | more), "1" * 32)
        return services[Service.COMPUTE].removesuffix("/v2.1/" + "1" * 32), where

    address, where = compute(listed)
    assert (address, "in the region One:" in where) == ("http://one", True)
    assert compute(listed, region_name="Legacy")[0] == "http://legacy"
    with pytest.raises(NoAnswer, match="Legacy, One, Other"):
        compute([*listed[:2], Offered("volumev3", "Other", "http://other")])
    ours = {"compute_endpoint": "http://nova", "volume_endpoint": "http://cinder"}
    address, where = compute(listed, **ours)
    assert (address, "in the region Two:" in where) == ("http://nova", True)


@pytest.mark.parametrize("everywhere", ["*", ""])
@pytest.mark.parametrize("asked", [None, "eu-de"])
def test_an_endpoint_for_all_regions_fits_any(site: Site, everywhere: str, asked: str | None) -> None:
    """An endpoint without a region, or for all regions, fits any setting."""
    site.deployment.region = everywhere
    cloud = site.connect(region_name=asked)
    assert cloud.volume(site.volume).value is not None
    assert cloud.listing(site.server).value is not None


def test_with_both_endpoints_set_regions_do_not_matter(site: Site) -> None:
    """With only one of them set, the region still matters for the other service."""
    site.deployment.regions = ("eu-nl",)
    base = site.deployment.base_url
    compute, volume = {"compute_endpoint": f"{base}/v2.1"}, {"volume_endpoint": f"{base}/v3"}
    both: Mapping[str, object] = compute | volume
    cloud = site.connect(**both)
    assert cloud.volume(site.volume).value is not None
    assert cloud.server(site.server).value is not None
    for one in (compute, volume):
        assert "OS_REGION_NAME" in error_of(site.connect(**one)).message


def test_an_unknown_interface_is_an_error(site: Site) -> None:
    """The error names all settings that may be wrong."""
    message = error_of(site.connect(interface="private")).message
    assert [name for name in ("OS_INTERFACE", "COMPUTE_ENDPOINT", "private") if name not in message] == []


# ----------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("ending", ["", "/"])
@pytest.mark.parametrize("by", ["catalog", "setting"])
def test_block_storage_without_a_version_is_version_3(site: Site, by: str, ending: str) -> None:
    """The version `/v3` is added, like `/v2.1` for compute."""
    site.deployment.volume_version = by == "setting"
    changes: dict[str, object] = {"volume_endpoint": site.deployment.base_url + ending} if by == "setting" else {}
    assert site.connect(**changes).volume(site.volume).value is not None
    assert site.paths("get_volume") == {f"/v3/{site.world.project.id}/volumes/{site.volume}"}


def test_a_path_before_the_version_is_kept(site: Site) -> None:
    """A path before the version is kept, such as DevStack's `/volume`."""
    cloud = site.connect(volume_endpoint=f"{site.deployment.base_url}/volume")
    with pytest.raises(CloudTrouble):
        cloud.volume(site.volume)  # the simulator serves no such path
    assert [call.path for call in site.api.calls][1:] == [f"/volume/v3/{site.world.project.id}/volumes/{site.volume}"]


# -------------------------------------------------------------------------------------------------------- logins

LOGINS: dict[str, dict[str, object]] = {
    "user id": {"username": None, "user_id": "{user}"},
    "older names": {"username": None, "user_name": USERNAME, "project_id": None, "tenant_id": "{project}"},
    "project by its older name": {"project_id": None, "tenant_name": "{name}"},
    "domains by id": {"user_domain_id": "default", "project_id": None, "project_name": "{name}",
                      "project_domain_id": "default"},
    "default domain": {"default_domain_name": "Default", "project_id": None, "project_name": "{name}"},
    "default domain by id": {"default_domain_id": "default", "project_id": None, "project_name": "{name}"},
    "auth type": {"auth_type": "v3password", "identity_api_version": 3},
    "interface as it was spelt": {"endpoint_type": "internalURL"},
    "application credential": {"application_credential_id": "{credential}", "username": None, "password": None,
                               "application_credential_secret": "{secret}", "auth_type": "v3applicationcredential"},
    "application credential by name": {"application_credential_name": "automation", "user_domain_id": "default",
                                       "application_credential_secret": "{secret}", "password": None},
    "application credential by name and user id": {
        "application_credential_name": "automation", "user_id": "{user}", "username": None, "password": None,
        "application_credential_secret": "{secret}"},
    "token": {"token": "{token}", "username": None, "password": None},
    "token by its other name, project by name": {
        "auth_token": "{token}", "username": None, "password": None, "auth_type": "v3token",
        "project_id": None, "project_name": "{name}"},
    "both, and a choice": {"application_credential_id": "{credential}", "application_credential_secret": "wrong",
                           "auth_type": "password"},
}  # fmt: skip


@pytest.mark.parametrize("login", LOGINS)
def test_every_kind_of_login(site: Site, login: str) -> None:
    """All field names of `password`, `token` and `v3applicationcredential` work."""
    known, token = site.api.identity.application_credential, site.connect().login.access().token
    ids = {"user": known.user.id, "project": site.world.project.id, "name": site.world.project.name,
           "credential": known.id, "secret": known.secret, "token": token}  # fmt: skip
    changes = {name: value.format(**ids) if isinstance(value, str) else value for name, value in LOGINS[login].items()}
    cloud = site.connect(**changes)
    assert cloud.project_id() == site.world.project.id
    assert cloud.volume(site.volume).value is not None


def test_the_users_domain_matters(site: Site) -> None:
    """A user with the same name in another domain is another user, whether the domain is named or the default."""
    site.api.identity.users.clear()
    site.api.identity.user = site.api.identity.add_user(USERNAME, PASSWORD, domain_name="Else")
    site.connect(user_domain_name="Else").check()
    site.connect(default_domain_name="Else").check()
    with pytest.raises(CloudTrouble):
        site.connect(default_domain_name="Else", user_domain_id="default").check()


def test_insecure_disables_certificate_checks(site: Site) -> None:
    """`insecure` takes precedence over a certificate authority, as in keystoneauth1."""
    cloud = site.connect(insecure="true", cacert="/ca.pem")
    assert cloud.login.access().verify is False
    assert site.connect(cacert="/ca.pem").login.access().verify == "/ca.pem"
