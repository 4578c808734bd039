"""What is wrong with a cloud that was found, said before anything is sent, in the names that its owner has written."""

import os
import re
from collections.abc import Callable, Iterator
from typing import get_args
from urllib.parse import urlsplit

from shared.settings import BY_AGENCY, BY_CREDENTIAL, BY_KEYS, BY_TOKEN, CloudCredentials, SettingsError, load
from tools.cloud_files import CloudsError
from tools.clouds import AGENCY, CREDENTIAL, KEY_PAIR, PROJECT, TOKEN, Found, way_of

WAYS: tuple[str, ...] = get_args(CloudCredentials.model_fields["auth_type"].annotation)


def credentials(found: Found) -> CloudCredentials:
    """How to log in there. Raises CloudsError, whose sentences name each fault as the reader has spelt it."""
    wrong = [told for fault in FAULTS for told in fault(found)]
    if not wrong:
        try:
            return load(CloudCredentials, found.values)
        except SettingsError as error:
            # The words are the settings' own, the names are those of variables.
            wrong = [re.sub(r"\bOS_([A-Z_]+)", lambda name: found.spelt(name[1].lower()), str(error))]
    raise CloudsError(f"{found.place} cannot be used: {'; '.join(wrong)}. {found.remedy}.")


Fault = Callable[[Found], Iterator[str]]


def _auth_url(found: Found) -> Iterator[str]:
    url, name = found.values.get("auth_url"), found.spelt("auth_url")
    if not url and way_of(found.values) == BY_KEYS:
        return  # the region may tell it
    if not url:
        yield f"{name} is missing, the address of Keystone such as https://iam.example.com/v3"
    elif not re.match(r"https?://", url) or not _host(url):
        yield f"{name} is no address that begins with https:// and a host"


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.port != 0 else None
    except ValueError:
        return None


def _auth_type(found: Found) -> Iterator[str]:
    if found.values.get("auth_type", WAYS[0]) not in WAYS:
        yield f"{found.spelt('auth_type')} is a way to log in that is not supported; {', '.join(WAYS)} are"


def _version(found: Found) -> Iterator[str]:
    if not re.fullmatch(r"v?3(\.\d+)?", found.values.get("identity_api_version", "3")):
        yield f"{found.spelt('identity_api_version')} is not 3, and Keystone is asked by its version 3"


def _insecure(found: Found) -> Iterator[str]:
    if found.values.get("insecure", "no").lower() not in ("true", "false", "yes", "no", "1", "0", "on", "off"):
        yield f"{found.spelt('insecure')} is neither true nor false"


def _cacert(found: Found) -> Iterator[str]:
    path = found.values.get("cacert")
    if path and not os.access(path, os.R_OK):
        yield f"{found.spelt('cacert')} names a file that cannot be read"


def _missing(found: Found) -> Iterator[str]:
    """Who logs in, with what, and to which project."""
    way, values = way_of(found.values), found.values
    user, project = ("username", "user_name", "user_id"), PROJECT[:4]
    needed: tuple[tuple[tuple[str, ...], str], ...] = (
        (user, "the user's name, or an application credential"),
        (("password",), "the user's password"),
        (project, "the project's id or name"),
    )
    if way == BY_CREDENTIAL:
        needed = ((CREDENTIAL[:2], "the application credential's id"), (CREDENTIAL[2:], "its secret"))
        if not values.get("application_credential_id"):
            needed = (*needed, (user, "whose application credential it is, since it is given by name"))
    elif way == BY_KEYS:
        needed = ((KEY_PAIR[:1], "the access key"), (KEY_PAIR[1:2], "its secret key"), needed[-1])
    elif way == BY_AGENCY:
        who = ((TOKEN, "the token"),) if any(name in values for name in TOKEN) else needed[:2]
        its = ((AGENCY[:1], "the agency's name"), (AGENCY[1:2], "the name of the domain that gives it"))
        needed = (*who, *its, ((*project, AGENCY[2]), "the project's id or name"))
    elif way in BY_TOKEN:
        needed = ((TOKEN, "the token"), needed[-1])
    elif way not in WAYS:
        return
    for keys, what in needed:
        if not any(values.get(key) for key in keys):
            yield f"{found.spelt(keys[0])} is missing, {what}"


FAULTS: tuple[Fault, ...] = (_auth_url, _auth_type, _version, _insecure, _cacert, _missing)
