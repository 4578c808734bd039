"""Reads the operator's settings from a mapping. An error names every fault at once and shows no value."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from ipaddress import ip_address
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from shared.certificates import file_of, pem_or_file
from shared.model import AuthType, CloudId, ProjectId
from shared.policy import CANARY_BOUND, Policy, RunningServerPolicy, ServerKind
from shared.regions import REGIONS, Region, region_at, region_of

Model = TypeVar("Model", bound=BaseModel)
Seconds = Annotated[float, Field(gt=0, le=7 * 86400)]


PROJECT = "{project_id}"
"""The placeholder for the project in CLOUD_SECRET_PATTERN."""


class SettingsError(Exception):
    """The settings are invalid; the message names each fault."""


class SinkMode(StrEnum):
    """Where an HTTP sink finds the attributes: in the JSON body, or in headers with only `data` as the body."""

    STRUCTURED = "structured"
    BINARY = "binary"


class DetachApi(StrEnum):
    """The API for servers, their attachments and the DELETE: compute, or BMS v1 with its jobs."""

    COMPUTE = "compute"
    BMS_V1 = "bms_v1"


def _in_a_header(secret: SecretStr) -> SecretStr:
    """Check that the secret can be sent in a header: otherwise the HTTP library's error would show it."""
    if not re.fullmatch(r"[!-~]+", secret.get_secret_value()):
        raise ValueError("must be ASCII without blanks and line breaks")
    return secret


Address = Annotated[str, Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")]
"""The address of a service. Paths are appended, so it has no query and no fragment."""

SentInHeader = Annotated[SecretStr, AfterValidator(_in_a_header)]


def _sink_url(url: str) -> str:
    """Check the sink's URL: verdicts name servers and disks, so they are sent only over TLS."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("must be an https URL") from error
    if not host or parts.username is not None or parts.fragment:
        raise ValueError("must be an https URL with a host, without user name and fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("must be an https URL; http is for loopback addresses only")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _event_source(source: str) -> str:
    """Check the event source: EventBridge accepts "aws." only from AWS (PutEvents, NotAuthorizedForSourceException)."""
    if source.startswith("aws."):
        raise ValueError('must not begin with "aws."')
    return source


def _parted(text: object) -> object:
    return [part.strip().lower() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _listed(text: object) -> object:
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _pattern(pattern: str) -> str:
    """Check a pattern: one that matches no requester would refuse everybody."""
    kind, colon, _ = pattern.partition(":")
    if not colon or not any(fnmatchcase(known, kind) for known in AuthType):
        raise ValueError(f"must be patterns of type:id; a type is one of {', '.join(AuthType)}")
    return pattern


class _FromNames(BaseModel):
    """Fields are set by upper-case names. Errors never show inputs, which may be secrets."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True, alias_generator=str.upper,
        defer_build=True,  # three of the functions do not use CloudCredentials
    )  # fmt: skip


OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "region": ("region_name",),
    "username": ("username", "user_name"),
    "project_id": ("project_id", "tenant_id"),
    "project_name": ("project_name", "tenant_name"),
    "interface": ("interface", "endpoint_type"),
    "token": ("token", "auth_token"),
}
"""OpenStack's names of values that differ from our field, or older names."""

REFUSED = ("trust_id", "system_scope", "domain_id", "domain_name", "cert", "key", "passcode")
"""OpenStack's names that would change the meaning of a login, or add a factor: not supported, and rejected."""

BY_CREDENTIAL = "v3applicationcredential"
BY_TOKEN = ("token", "v3token")
BY_KEYS = "aksk"
BY_AGENCY = "agency"

WAYS = {"OS_APPLICATION_CREDENTIAL_": BY_CREDENTIAL, "OS_TOKEN": "token", "OS_AUTH_TOKEN": "token",
        "OS_PASSWORD": "password", "OS_SECURITY_TOKEN": BY_KEYS, "OS_SECRET_KEY": BY_KEYS, "OS_ACCESS_KEY": BY_KEYS,
        "OS_DELEGATED_PROJECT": BY_AGENCY, "OS_AGENCY_DOMAIN_NAME": BY_AGENCY, "OS_AGENCY_NAME": BY_AGENCY}  # fmt: skip
"""Prefixes of names, and the kind of login that each stands for."""

ENDPOINTS = "COMPUTE_ENDPOINT (or BMS_ENDPOINT) and VOLUME_ENDPOINT"
"""The endpoints that an access key needs for a cloud without a known region."""

TOGETHER = ({BY_AGENCY, "password"}, {BY_AGENCY, "token"})
"""Kinds of login that go together: an agency's role is taken after a usual login."""


def too_many(given: Mapping[str, str]) -> str | None:
    """What to do about several kinds of login, each with one of its variables; None if they go together."""
    if len(given) < 2 or set(given) in TOGETHER:
        return None
    how = "both set: unset one" if len(given) == 2 else "all set: keep those of one login"
    types = list(given)
    if BY_AGENCY in given:
        # An agency is never ignored, and needs a usual login.
        types = [BY_AGENCY] if given.keys() & {"password", "token"} else []
    chosen = f", or set OS_AUTH_TYPE to {_joined(types, 'or')}" if types else ""
    return f"{_joined([*given.values()], 'and')} are {how}{chosen}"


def _joined(names: Sequence[str], word: str) -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _variable(key: str) -> str:
    """The environment variable for a key of a secret."""
    return key.upper() if key.endswith("_endpoint") else f"OS_{key.upper()}"


def _openstack_names(field: str) -> AliasChoices:
    """OpenStack's own names of the variable, and the keys of the same names in a secret."""
    return AliasChoices(*(name for key in OTHER_NAMES.get(field, (field,)) for name in (_variable(key), key)))


def _without_url(text: object) -> object:
    """`publicURL` is an old spelling of `public`."""
    return text.removesuffix("URL") if isinstance(text, str) else text


class CloudCredentials(_FromNames):
    """The credentials of a project, by OpenStack's own names, from the environment (`OS_…`) or from one secret.

    The options are those of OpenStack's `password`, `token` and `v3applicationcredential`, and those of Open Telekom
    Cloud's Terraform provider for access keys (`aksk`) and agencies (`agency`). A token is for use by people: it
    expires within a day, and logins then fail until a new one is given.
    """

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=_openstack_names), coerce_numbers_to_str=True
    )

    auth_url: Address = ""
    auth_type: Literal["password", "v3password", "token", "v3token", "v3applicationcredential", "aksk", "agency"] = (
        "password"
    )
    identity_api_version: str = Field("3", pattern=r"^v?3(\.\d+)?$")
    user_id: str | None = None
    username: str | None = None
    password: SecretStr | None = None
    token: SentInHeader | None = None
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    default_domain_id: str | None = None
    default_domain_name: str | None = None
    application_credential_id: str | None = None
    application_credential_name: str | None = None
    application_credential_secret: SecretStr | None = None
    access_key: SentInHeader | None = None
    secret_key: SecretStr | None = None
    security_token: SentInHeader | None = None
    signing: Literal["credential", "access"] = "credential"
    agency_name: str | None = None
    agency_domain_name: str | None = None
    delegated_project: str | None = None
    region: str | None = None
    interface: Annotated[str, BeforeValidator(_without_url)] = "public"
    cacert: Annotated[str, AfterValidator(pem_or_file)] | None = None
    insecure: bool = False
    compute_endpoint: Address | None = None
    volume_endpoint: Address | None = None
    bms_endpoint: Address | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret values, which no text may show."""
        keys = self.access_key, self.secret_key, self.security_token
        found = self.password, self.token, self.application_credential_secret, *keys
        return tuple(secret.get_secret_value() for secret in found if secret)

    @cached_property
    def verify(self) -> str | bool:
        """The value for `verify` of `requests`: the certificates to check the cloud's with."""
        return False if self.insecure else file_of(self.cacert) if self.cacert else True

    @property
    def named_project(self) -> str | None:
        """The project id in the credentials; that of an application credential is known only after a login."""
        delegated = self.auth_type == BY_AGENCY and self.delegated_project
        if self.auth_type == BY_CREDENTIAL or delegated or not self.project_id:
            return None
        return self.project_id.lower().replace("-", "")

    @property
    def place(self) -> Region | None:
        """The region of Open Telekom Cloud, if it is one."""
        return region_of(self.auth_url, self.region)

    @model_validator(mode="before")
    @classmethod
    def _unambiguous(cls, values: dict[str, object]) -> dict[str, object]:
        """Reject unsupported names, contradicting synonyms, and several kinds of login at once."""
        told = {variable: values.get(variable, values.get(key)) for variable, key in NAMES.items()}
        told = {variable: value for variable, value in told.items() if value is not None}
        if found := [variable for variable in NOT_SUPPORTED if variable in told]:
            raise ValueError(f"{', '.join(found)}: not supported here, and a login without would mean something else")
        for names in SYNONYMS:
            if len({str(told[name]) for name in names if name in told}) > 1:
                raise ValueError(f"{' and '.join(names)} are two names of one thing, and say different ones")
        given = {way: name for begins, way in WAYS.items() for name in reversed(told) if name.startswith(begins)}
        way = told.get("OS_AUTH_TYPE")
        if way is None and given:
            if len(given) > 1 and (wrong := too_many(given)):
                raise ValueError(wrong)
            way = BY_AGENCY if BY_AGENCY in given else next(iter(given))
            values = {**values, "OS_AUTH_TYPE": way}
        if way != BY_AGENCY and BY_AGENCY in given:
            raise ValueError(f"OS_AUTH_TYPE is not {BY_AGENCY}, and {given[BY_AGENCY]} is set: unset one of them")
        if way == BY_KEYS and "OS_AUTH_URL" not in told and (region := REGIONS.get(str(told.get("OS_REGION_NAME")))):
            values = {**values, "OS_AUTH_URL": region.identity}
        return values

    @model_validator(mode="after")
    def _enough_to_log_in(self) -> "CloudCredentials":
        user, scope = self.user_id or self.username, self.project_id or self.project_name
        if self.auth_type == BY_CREDENTIAL:
            named = self.application_credential_id or (self.application_credential_name and user)
            needed: dict[str, object] = {
                "OS_APPLICATION_CREDENTIAL_ID (or OS_APPLICATION_CREDENTIAL_NAME and a user)": named,
                "OS_APPLICATION_CREDENTIAL_SECRET": self.application_credential_secret,
            }
        elif self.auth_type == BY_KEYS:
            needed = {**self._needed_by_keys(), "OS_PROJECT_ID or OS_PROJECT_NAME": scope}
        else:
            agency = self._needed_by_agency() if self.auth_type == BY_AGENCY else {}
            by_token = self.auth_type in BY_TOKEN or (agency and self.token)
            who = {"OS_TOKEN": self.token} if by_token else {"OS_USERNAME": user, "OS_PASSWORD": self.password}
            where = scope or (agency and self.delegated_project)
            needed = {**who, **agency, "OS_PROJECT_ID or OS_PROJECT_NAME": where}
        if self.auth_type != BY_KEYS:
            needed["OS_AUTH_URL"] = self.auth_url
        faults = [self._misplaced()] if self.auth_type == BY_KEYS else []
        if missing := [name for name, value in needed.items() if not value]:
            other = " (or an application credential)" if "OS_PASSWORD" in needed else ""
            faults.append(f"{', '.join(missing)} must be set{other}")
        if wrong := "; ".join(filter(None, faults)):
            raise ValueError(wrong)
        return self

    def _misplaced(self) -> str:
        """Why the region that is set does not tell an access key's endpoints; empty if it does, or need not."""
        if self._has_endpoints:
            return ""
        own, known = region_at(self.auth_url), ", ".join(REGIONS)
        if own and self.region not in (None, own.name):
            what = (
                f"OS_AUTH_URL belongs to the region {own.name}, and OS_REGION_NAME names another: correct one of them"
            )
        elif self.auth_url and not own:
            what = f"OS_AUTH_URL belongs to no region with known endpoints ({known}): correct it"
        elif self.region and not self.place:
            what = f"OS_REGION_NAME is no region with known endpoints ({known}): correct it"
        else:
            return ""
        return f"{what}, or set {ENDPOINTS}"

    @property
    def _has_endpoints(self) -> bool:
        return bool((self.compute_endpoint or self.bms_endpoint) and self.volume_endpoint)

    def _needed_by_keys(self) -> dict[str, object]:
        where = f"OS_REGION_NAME ({', '.join(REGIONS)}), or {ENDPOINTS}"
        return {
            "OS_ACCESS_KEY": self.access_key,
            "OS_SECRET_KEY": self.secret_key,
            where: self._has_endpoints or self.region or self.auth_url,
            "OS_AUTH_URL (or OS_PROJECT_ID)": self.auth_url or self.project_id or not self.project_name,
        }

    def _needed_by_agency(self) -> dict[str, object]:
        domains = self.user_domain_id, self.user_domain_name, self.default_domain_id, self.default_domain_name
        return {
            "OS_AGENCY_NAME": self.agency_name,
            "OS_AGENCY_DOMAIN_NAME": self.agency_domain_name,
            "OS_USER_DOMAIN_NAME": self.token or any(domains),
        }


KEYS = frozenset(key for field in CloudCredentials.model_fields for key in OTHER_NAMES.get(field, (field,)))
NAMES = {_variable(key): key for key in sorted(KEYS.union(REFUSED))}
NOT_SUPPORTED = tuple(_variable(key) for key in REFUSED)
SYNONYMS = tuple(tuple(_variable(key) for key in keys) for keys in OTHER_NAMES.values())


def cloud_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment about a cloud; lower-case names are not OpenStack's."""
    return {name: value for name, value in environment.items() if name.startswith("OS_") or name in NAMES}


def unread(values: Mapping[str, object]) -> list[str]:
    """The names that no login uses, among an environment's `cloud_variables` or the keys of a secret."""
    return sorted(name for name, value in values.items() if value != "" and NAMES.get(name, name) not in KEYS)


BUCKET = "^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$"
"""The name of an S3 bucket (S3, bucket naming rules), without dots: S3's certificate covers names of one label."""


RULE_ARN = "^arn:[a-z-]+:events:[a-z0-9-]+:[0-9]{12}:rule/([^/]+/)?[^/]+$"
"""The ARN of an EventBridge rule; the name of its bus precedes its own, unless it is the default bus."""


class Settings(_FromNames):
    """The operator's settings of the functions."""

    request_queue_url: str = Field(min_length=1)
    message_key_secret_id: str = Field("volume-detach/message-key", min_length=1)
    event_bus_name: str = Field("default", min_length=1)
    event_source: Annotated[str, AfterValidator(_event_source)] = Field("/bms-volume-detach", min_length=1)
    event_type_prefix: str = Field("bms", pattern=r"^[a-z][a-z0-9.-]{0,79}$")
    cloud_secret_id: str | None = None
    cloud_secret_pattern: str = "volume-detach/cloud/{project_id}"  # noqa: S105 - a name
    allowed_projects: Annotated[frozenset[ProjectId], BeforeValidator(_parted)] = frozenset()
    allowed_projects_secret_id: str | None = None
    allowed_requesters: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(_listed)] = ()
    webhook_secret_id: str | None = None
    webhook_allowed_origins: Annotated[tuple[str, ...], BeforeValidator(_parted)] = ()
    webhook_iam_auth: bool = False
    sink_url: Annotated[str, AfterValidator(_sink_url)] | None = None
    sink_secret_id: str | None = None
    sink_mode: SinkMode = SinkMode.STRUCTURED
    verdict_bucket: Annotated[str, Field(pattern=BUCKET)] | None = None
    fair_queue: bool = False
    delivery_ttl: Seconds = 86400
    confirm_timeout: Seconds = 600
    watch_timeout: Seconds = 21600
    request_ttl: Seconds = 3600
    request_ttl_limit: Seconds = 86400
    fence_skew: Annotated[float, Field(ge=0, le=300)] = 5
    canary_server_id: CloudId | None = None
    canary_volume_id: CloudId | None = None
    canary_project_id: ProjectId | None = None
    canary_queue_url: str | None = None
    canary_mapping_id: str | None = None
    canary_rule_arn: Annotated[str, Field(pattern=RULE_ARN)] | None = None
    canary_webhook_url: str | None = None
    canary_bound: Annotated[float, Field(gt=0, le=CANARY_BOUND)] = CANARY_BOUND
    running_server_policy: RunningServerPolicy = RunningServerPolicy.PLATFORM
    detach_api: DetachApi = DetachApi.COMPUTE
    bms_endpoint: Address | None = None
    server_kind: ServerKind = ServerKind.ANY

    @model_validator(mode="after")
    def _together(self) -> "Settings":
        if self.sink_url and not self.sink_secret_id:
            raise ValueError("SINK_SECRET_ID must be set beside SINK_URL: what is sent there is signed")
        if self.cloud_secret_pattern.count(PROJECT) != 1:
            raise ValueError(f"CLOUD_SECRET_PATTERN must contain {PROJECT} once: each project has its own secret")
        if self.confirm_timeout > self.watch_timeout:
            raise ValueError("CONFIRM_TIMEOUT must not be longer than WATCH_TIMEOUT, after which a detach has failed")
        if self.allowed_projects and self.allowed_projects_secret_id:
            raise ValueError("ALLOWED_PROJECTS and ALLOWED_PROJECTS_SECRET_ID are both set: unset one of them")
        return self

    @property
    def project_secrets(self) -> dict[str, str]:
        """The secret of each listed project."""
        return {project: self.cloud_secret_pattern.replace(PROJECT, project) for project in self.allowed_projects}

    @property
    def policy(self) -> Policy:
        names = ("confirm_timeout", "watch_timeout", "request_ttl", "request_ttl_limit", "fence_skew")
        times = {name: timedelta(seconds=getattr(self, name)) for name in names}
        return Policy(
            running_server_policy=self.running_server_policy,
            server_kind=self.server_kind,
            allowed_requesters=self.allowed_requesters,
            **times,
        )


def load(model: type[Model], values: Mapping[str, object]) -> Model:
    """Validate `values`; empty ones count as not set. Raises SettingsError, which names every fault."""
    try:
        return model.model_validate({name: value for name, value in values.items() if value != ""})
    except ValidationError as error:
        raise SettingsError(faults_in(error, ": ")) from None


def faults_in(error: ValidationError, after_name: str) -> str:
    """All faults of a validation in one line, each with its name and without its value."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    named = [(_path(item), item["msg"].removeprefix("Value error, ")) for item in items]
    return "; ".join(f"{name}{after_name}{message}" if name else message for name, message in named)


def _path(item: ErrorDetails) -> str:
    """The path of a fault. An unknown name is shown only if it looks like a name, since it may be a secret."""
    *parents, name = ["", *map(str, item["loc"])]
    known = item["type"] != "extra_forbidden" or re.fullmatch(r"[A-Za-z]+([_-][a-z]+)*", name[:41])
    return ".".join([*parents[1:], name if known else "one of its names"])
