"""Checks the values of a cloud before anything is sent, and names each fault as its owner has spelt it."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import get_args
from urllib.parse import urlsplit

from shared.settings import BY_AGENCY, BY_CREDENTIAL, BY_KEYS, BY_TOKEN, KEYS, CloudCredentials, SettingsError, load
from tools.cloud_files import CloudsError
from tools.clouds import AGENCY, CREDENTIAL, KEY_PAIR, PROJECT, TOKEN, Found, auth_type_of, several

AUTH_TYPES: tuple[str, ...] = get_args(CloudCredentials.model_fields["auth_type"].annotation)


def credentials(found: Found) -> CloudCredentials:
    """The credentials of a cloud. Raises CloudsError, which names each fault as the reader has spelt it."""
    wrong = [told for fault in FAULTS for told in fault(found)]
    if not wrong:
        try:
            return load(CloudCredentials, found.values)
        except SettingsError as error:
            wrong = [_respelt(found, str(error))]
    remedy = "" if wrong == list(_several(found)) else f" {found.remedy}."  # that fault has its own
    raise CloudsError(f"{found.place} cannot be used: {'; '.join(wrong)}.{remedy}")


def completed(found: Found, known: CloudCredentials) -> Found:
    """The cloud with the address of its identity service, which the region implies for an access key."""
    implied = bool(known.auth_url and not found.values.get("auth_url"))
    return replace(found, values={**found.values, "auth_url": known.auth_url}, implied=implied)


def _respelt(found: Found, told: str) -> str:
    """A message of the settings, which name variables, or a key at the start of a fault, in the reader's spelling."""
    told = re.sub(r"(?:^|(?<=; ))([a-z_]+)(?=: )", lambda key: found.spelt(key[1]) if key[1] in KEYS else key[0], told)
    return re.sub(r"\bOS_([A-Z_]+)", lambda name: found.spelt(name[1].lower()), told)


Fault = Callable[[Found], Iterator[str]]


def _auth_url(found: Found) -> Iterator[str]:
    url, name = found.values.get("auth_url"), found.spelt("auth_url")
    if not url and auth_type_of(found.values) == BY_KEYS:
        return  # the region may imply it
    if not url:
        yield f"{name} is missing: the address of Keystone, such as https://iam.example.com/v3"
    elif not re.match(r"https?://", url) or not _host(url):
        yield f"{name} is not an address that begins with https:// and a host"


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.port != 0 else None
    except ValueError:
        return None


def _auth_type(found: Found) -> Iterator[str]:
    if found.values.get("auth_type", AUTH_TYPES[0]) not in AUTH_TYPES:
        yield f"{found.spelt('auth_type')} is not supported; these are: {', '.join(AUTH_TYPES)}"


def _version(found: Found) -> Iterator[str]:
    if not re.fullmatch(r"v?3(\.\d+)?", found.values.get("identity_api_version", "3")):
        yield f"{found.spelt('identity_api_version')} is not 3, the only supported version of Keystone's API"


def _insecure(found: Found) -> Iterator[str]:
    if found.values.get("insecure", "no").lower() not in ("true", "false", "yes", "no", "1", "0", "on", "off"):
        yield f"{found.spelt('insecure')} is neither true nor false"


def _cacert(found: Found) -> Iterator[str]:
    path = found.values.get("cacert")
    if path and not os.access(path, os.R_OK):
        yield f"{found.spelt('cacert')} names a file that cannot be read"


def _several(found: Found) -> Iterator[str]:
    if told := several(found.values):
        yield _respelt(found, told)


def _missing(found: Found) -> Iterator[str]:
    """What the login lacks: the user, the secret or the project."""
    kind, values = auth_type_of(found.values), found.values
    if several(values):
        return  # it is not known which kind counts
    user, project = ("username", "user_name", "user_id"), PROJECT[:4]
    needed: tuple[tuple[tuple[str, ...], str], ...] = (
        (user, "the user's name, or an application credential"),
        (("password",), "the user's password"),
        (project, "the project's id or name"),
    )
    if kind == BY_CREDENTIAL:
        needed = ((CREDENTIAL[:2], "the application credential's id"), (CREDENTIAL[2:], "its secret"))
        if not values.get("application_credential_id"):
            needed = (*needed, (user, "the owner of the application credential, which is given by name"))
    elif kind == BY_KEYS:
        needed = ((KEY_PAIR[:1], "the access key"), (KEY_PAIR[1:2], "its secret key"), needed[-1])
    elif kind == BY_AGENCY:
        who = ((TOKEN, "the token"),) if any(name in values for name in TOKEN) else needed[:2]
        its = ((AGENCY[:1], "the agency's name"), (AGENCY[1:2], "the name of the domain that owns it"))
        needed = (*who, *its, ((*project, AGENCY[2]), "the project's id or name"))
    elif kind in BY_TOKEN:
        needed = ((TOKEN, "the token"), needed[-1])
    elif kind not in AUTH_TYPES:
        return
    for keys, what in needed:
        if not any(values.get(key) for key in keys):
            yield f"{found.spelt(keys[0])} is missing: {what}"


FAULTS: tuple[Fault, ...] = (_auth_url, _auth_type, _version, _insecure, _cacert, _several, _missing)
