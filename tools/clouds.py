"""Finds the cloud of CLOUD=env: the `OS_…` variables, or an entry of a clouds.yaml, as openstacksdk finds it.

Source: openstacksdk, "Configuring OpenStack SDK Applications", and its loader. The variables are a cloud of their own,
named `envvars`. They are not mixed into a cloud of a file, except OS_REGION_NAME, which chooses its region.
openstacksdk silently skips files that it cannot read or parse; here they are errors, because the next file might hold
another cloud.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shared.settings import BY_AGENCY, BY_CREDENTIAL, BY_KEYS, BY_TOKEN, KEYS, REFUSED, WAYS, too_many
from tools.cloud_files import CloudsError, Files, merged

SITE = Path("/etc/openstack")
VARIABLES = "The OS_… variables"
ENDPOINTS = ("COMPUTE_ENDPOINT", "VOLUME_ENDPOINT", "BMS_ENDPOINT")
CONFIG_FILE, SECURE_FILE = "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"

SELECTORS = ("OS_CLOUD", "OS_CLOUD_NAME", "OS_REGION_NAME", CONFIG_FILE, SECURE_FILE)
"""Variables that choose a cloud; all others describe one."""

OF_OTHERS = ("OS_TEST", "OS_STD", "OS_LOG")
"""Prefixes of variables that openstacksdk ignores, because OpenStack's own tests use them."""

RENAMED: Mapping[str, str] = {
    "auth_plugin": "auth_type",
    "compute_endpoint_override": "compute_endpoint",
    "bms_endpoint_override": "bms_endpoint",
    "block_storage_endpoint_override": "volume_endpoint",
    "volumev3_endpoint_override": "volume_endpoint",
    "volume_endpoint_override": "volume_endpoint",
    "domain_id": "default_domain_id",
    "domain_name": "default_domain_name",
    "ak": "access_key",
    "sk": "secret_key",
    "target_agency_name": "agency_name",
    "target_project_name": "delegated_project",
}
"""Names in a clouds.yaml, and our names for them. A domain there is both the user's and the project's.

The last four are from Open Telekom Cloud's Go SDK.
"""

OWN_WINS = re.compile(r"(user_|project_|default_)domain_(id|name)|(project|tenant)_(id|name)|(auth_)?token|passcode")
"""Values for which openstacksdk prefers the one beside `auth`; for others it prefers the one in `auth`."""

BESIDE = ("auth_type", "bms_endpoint", "cacert", "compute_endpoint", "identity_api_version", "insecure", "interface",
          "region_name", "volume_endpoint")  # fmt: skip
"""Values that belong beside `auth`."""

SECRETS = ("password", "token", "auth_token", "application_credential_secret", "access_key", "secret_key",
           "security_token")  # fmt: skip

USER = ("user_id", "username", "user_name", "user_domain_id", "user_domain_name")
PROJECT = ("project_id", "project_name", "tenant_id", "tenant_name", "project_domain_id", "project_domain_name")
CREDENTIAL = ("application_credential_id", "application_credential_name", "application_credential_secret")
TOKEN = ("token", "auth_token")
KEY_PAIR = ("access_key", "secret_key", "security_token", "signing")
AGENCY = ("agency_name", "agency_domain_name", "delegated_project")


@dataclass(frozen=True, slots=True)
class Found:
    """A cloud: its values for CloudCredentials, where they are written, and names that were set but are not used."""

    values: Mapping[str, str]
    place: str = VARIABLES
    names: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    remedy: str = "Set or correct them, or name a cloud of a clouds.yaml with OS_CLOUD"
    implied: bool = False
    """Whether the address of the identity service was not set, but is that of the region."""

    @property
    def by_variables(self) -> bool:
        return self.place == VARIABLES

    def spelt(self, key: str) -> str:
        """The name of a value where the reader has set it, or has to set it."""
        if self.implied and key == "auth_url":
            key = "region_name"
        if self.by_variables:
            return key.upper() if key.endswith("_endpoint") else f"OS_{key.upper()}"
        return self.names.get(key, key if key in BESIDE else f"auth.{key}")

    def first(self, *keys: str) -> str:
        """The name of the first of these values that is set, or else of the first."""
        return self.spelt(next((key for key in keys if self.values.get(key)), keys[0]))


def find(environment: Mapping[str, str], home: Path, cwd: Path, site: Path = SITE) -> Found:
    """The cloud that these variables or the user's files describe. Raises CloudsError."""
    given = {name: value for name, value in environment.items() if value}
    named, own = given.get("OS_CLOUD"), given.get("OS_CLOUD_NAME", "envvars")
    described = [name for name in given if name.startswith("OS_") and _describes(name)]
    if named == own or (described and not named):
        return _of_variables(given, described)
    config = home / ".config"
    folders = dict.fromkeys([cwd, Path(given.get("XDG_CONFIG_HOME", config)) / "openstack", config / "openstack", site])
    files = Files(given, home, tuple(folders))
    public = files.clouds("clouds", CONFIG_FILE)
    if public is None:
        if not named:
            return _of_variables(given, described)
        places = ", ".join(map(str, folders))
        raise CloudsError(
            f"OS_CLOUD is {named}, but there is no clouds.yaml in {places}. "
            f"Name one with {CONFIG_FILE}, or unset OS_CLOUD and set the OS_… variables."
        )
    path, clouds = public
    secure = files.clouds("secure", SECURE_FILE)
    if secure and _is_a_strangers(path, secure[0], cwd, given):
        raise CloudsError(
            f"{path} would receive the secrets of {secure[0]}, but it is in the current directory and may be somebody "
            f"else's. If it is yours, name it with {CONFIG_FILE}."
        )
    clouds = merged(clouds, secure[1]) if secure else clouds
    name = named or (next(iter(clouds)) if len(clouds) == 1 else None)
    if name is None or name not in clouds:
        why = f"{path} has no cloud {name}" if name else f"{path} has several clouds, and OS_CLOUD names none"
        raise CloudsError(f"{why}. Set OS_CLOUD to one of {', '.join(map(str, clouds)) or 'those that you add to it'}.")
    return _of_entry(given, described, files, path, name, clouds[name])


def _is_a_strangers(clouds: Path, secure: Path, cwd: Path, given: Mapping[str, str]) -> bool:
    """Whether a clouds.yaml in the current directory, such as a clone, would get secrets from another directory."""
    named = CONFIG_FILE in given or SECURE_FILE in given
    return not named and clouds.parent == cwd and secure.parent != cwd


# ------------------------------------------------------------------------------------------------- the variables


def _of_variables(given: Mapping[str, str], described: list[str]) -> Found:
    named = {name.removeprefix("OS_").lower(): name for name in [*described, "OS_REGION_NAME"] if name in given}
    values = {key: given[name] for key, name in named.items() if key in KEYS or key in REFUSED}
    values |= _endpoints(given)
    files = [name for name in (CONFIG_FILE, SECURE_FILE) if name in given]
    idle = [name for key, name in named.items() if key not in values or key in _idle(values)]
    return Found(values, unused=tuple(sorted([*idle, *files])))


def _describes(name: str) -> bool:
    return name not in SELECTORS and not name.startswith(OF_OTHERS)


def _endpoints(given: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): given[name] for name in ENDPOINTS if name in given}


def _idle(values: Mapping[str, str]) -> tuple[str, ...]:
    """The values that this kind of login does not use; none if it is not known which one counts."""
    if several(values):
        return ()
    kind = auth_type_of(values)
    if kind == BY_CREDENTIAL:
        user = USER if values.get("application_credential_id") else ()
        return ("password", *TOKEN, *PROJECT, *user, *KEY_PAIR)
    if kind == BY_KEYS:
        return ("password", *USER, *TOKEN, *CREDENTIAL)
    by_token = kind in BY_TOKEN or (kind == BY_AGENCY and any(name in values for name in TOKEN))
    return (*(("password", *USER[:3]) if by_token else TOKEN), *CREDENTIAL, *KEY_PAIR)


def several(values: Mapping[str, str]) -> str | None:
    """What to do about values of several kinds of login, in names of variables; None if they are of one kind."""
    if "auth_type" in values:
        return None
    told = sorted((f"OS_{key.upper()}" for key in values), reverse=True)
    return too_many({way: name for begins, way in WAYS.items() for name in told if name.startswith(begins)})


def auth_type_of(values: Mapping[str, str]) -> str:
    """The auth_type that is set, or else the one that the given values imply."""
    if "auth_type" in values:
        return values["auth_type"]
    kinds = {BY_CREDENTIAL: CREDENTIAL, BY_KEYS: KEY_PAIR[:3], BY_AGENCY: AGENCY, BY_TOKEN[0]: TOKEN}
    return next((kind for kind, names in kinds.items() if any(name in values for name in names)), "password")


# ----------------------------------------------------------------------------------------- an entry of clouds.yaml


def _of_entry(
    given: Mapping[str, str], described: list[str], files: Files, path: Path, name: str, entry: Mapping[str, Any]
) -> Found:
    place = f"The cloud {name} of {path}"
    known = entry.get("profile", entry.get("cloud"))
    if not isinstance(entry.get("auth") or {}, dict):
        raise CloudsError(f"{place} has an `auth` that is not a mapping. Write one line for each value.")
    profile = files.profile(known) if known else None
    flat = {
        key: value for key, value in _flat(profile or {}).items() if key in KEYS or key in ("region_name", "regions")
    }
    written = _flat(entry)
    chosen = _region(place, given.get("OS_REGION_NAME"), written, flat)
    told = {**flat, **written, **_flat(chosen.values)}
    verify = told.pop("verify", None)
    if verify and verify.text.lower() != "true":
        told["insecure"] = verify.negated()
    used = {key: value for key, value in told.items() if key in KEYS or key in REFUSED}
    _check(place, used)
    values = {key: value.text for key, value in used.items() if value.text}
    if chosen.name:
        values["region_name"] = chosen.name
    if "auth_url" in values:
        values["auth_url"] = values["auth_url"].replace("{region_name}", chosen.name or "")
    elif known and profile is None:
        raise CloudsError(f"{place} has the unknown profile {known}. Give it its own auth_url.")
    if "cacert" in values:
        values["cacert"] = files.path(values["cacert"])
    values |= _endpoints(given)
    spare = {"regions", "region_name", "verify", *(("profile", "cloud") if profile else ())}
    read = {value.name for key, value in written.items() if key in spare.union(used).difference(_idle(values))}
    idle = {value.name for side in _sides(entry) for value in side.values()} - read
    return Found(
        values,
        place,
        {key: value.name for key, value in {**written, **used}.items()},
        tuple(sorted([*described, *idle])),
        "Correct it there, or in a secure.yaml",
    )


def _check(place: str, used: Mapping[str, "_Written"]) -> None:
    """Check that each value is single and each secret is text, since YAML reads 0123 as 83. Raises CloudsError."""
    for key, value in used.items():
        if key in SECRETS and not isinstance(value.value, str):
            raise CloudsError(f"{place} cannot be used: YAML does not read {value.name} as text. Put it in quotes.")
        if isinstance(value.value, list | dict):
            raise CloudsError(f"{place} cannot be used: {value.name} is not a single value. Write one value.")


class _Written(NamedTuple):
    """A value as it is written in a file, with its name there."""

    name: str
    value: Any

    @property
    def text(self) -> str:
        return str(self.value).lower() if isinstance(self.value, bool) else str(self.value)

    def negated(self) -> "_Written":
        return _Written(self.name, {"true": "false", "false": "true"}.get(self.text.lower(), self.value))


def _flat(entry: Mapping[str, Any]) -> dict[str, _Written]:
    """The values in `auth` and beside it that take effect, under our keys."""
    inside, own = _sides(entry)
    return {**inside, **{key: value for key, value in own.items() if key not in inside or OWN_WINS.fullmatch(key)}}


def _sides(entry: Mapping[str, Any]) -> tuple[dict[str, _Written], dict[str, _Written]]:
    """The values in `auth`, and those beside it; without empty ones."""
    beside = {name: value for name, value in entry.items() if name != "auth"}
    return _keyed("auth.", entry.get("auth") or {}), _keyed("", beside)


def _keyed(prefix: str, values: Mapping[Any, Any]) -> dict[str, _Written]:
    keys = {name: str(name).replace("-", "_") for name, value in values.items() if value not in (None, "")}
    return {RENAMED.get(key, key): _Written(f"{prefix}{name}", values[name]) for name, key in keys.items()}


class _Region(NamedTuple):
    """A region, and the values that an entry sets for it alone."""

    name: str | None
    values: Mapping[str, Any]


def _region(place: str, asked: str | None, *sides: Mapping[str, _Written]) -> _Region:
    """The requested region, or else the first one of the entry or of its profile. Raises CloudsError."""
    told = next((side[key] for side in sides for key in ("regions", "region_name") if key in side), None)
    listed = told.value if told else []
    entries = listed if isinstance(listed, list) else str(listed).split(",")
    mappings: list[dict[str, Any]] = [one if isinstance(one, dict) else {"name": str(one).strip()} for one in entries]
    regions = [_Region(str(one.get("name")), one.get("values") or {}) for one in mappings]
    if not asked:
        return regions[0] if regions else _Region(None, {})
    if regions and asked not in [region.name for region in regions]:
        names = ", ".join(str(region.name) for region in regions)
        raise CloudsError(f"{place} has no region {asked} (OS_REGION_NAME). Set it to one of {names}.")
    return next((region for region in regions if region.name == asked), _Region(asked, {}))
