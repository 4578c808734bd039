"""The login at Keystone: what asks for a token, and what its answer gives (Identity API v3, "Authentication")."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import requests

from shared.cloud.classify import classify
from shared.cloud.no_answer import REDIRECTS, LoginRefused, NoAnswer, redirected
from shared.model import Answer, AnswerClass, Classified, Reason
from shared.policy import CLOUD_ANSWER, CLOUD_CONNECT, TOKEN_LEFT
from shared.redact import hidden
from shared.settings import BY_AGENCY, BY_CREDENTIAL, BY_TOKEN, CloudCredentials

ENDING = re.compile(r"(/v3)?/*$")
"""How the address of Keystone may end."""

Body: TypeAlias = dict[str, Any]
Domain: TypeAlias = tuple[str | None, str | None]
"""A domain's id and its name; the id counts if it is told."""


FOR_EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Granted:
    """What a login gave. `catalog` is Keystone's; after `good_until`, by our own clock, the token is not used."""

    token: str = field(repr=False)
    project_id: str
    catalog: Sequence[Mapping[str, Any]]
    good_until: datetime = FOR_EVER


def log_in(http: requests.Session, known: CloudCredentials, now: datetime) -> Granted:
    """A token, by one request; by two for the role of an agency. Raises LoginRefused, NoAnswer, and OSError.

    The settings have checked that the credentials are complete.
    """
    default = known.default_domain_id, known.default_domain_name
    user_domain = _first((known.user_domain_id, known.user_domain_name), default, (None, "Default"))
    # With a project's name Keystone wants its domain; Open Telekom Cloud takes both.
    project_domain = _first((known.project_domain_id, known.project_domain_name), default, user_domain)
    project = {"project": _named(known.project_id, known.project_name, project_domain)}
    own = known.token.get_secret_value() if known.token else ""
    if known.auth_type == BY_AGENCY:
        # A token of our own account is not kept, since it may have been revoked by the time of the next login.
        own = own or _by_password(http, known, now, user_domain, {"domain": _named(*user_domain)}).token
        return _in_the_role(http, known, now, own)
    if known.auth_type == BY_CREDENTIAL:
        return _by_credential(http, known, now, user_domain)
    if known.auth_type in BY_TOKEN:
        return _asked(http, known, now, "token", {"id": own}, project, own)
    return _by_password(http, known, now, user_domain, project)


def _by_password(
    http: requests.Session, known: CloudCredentials, now: datetime, domain: Domain, scope: Body
) -> Granted:
    password = known.password.get_secret_value() if known.password else ""
    user = {**_named(known.user_id, known.username, domain), "password": password}
    return _asked(http, known, now, "password", {"user": user}, scope)


def _by_credential(http: requests.Session, known: CloudCredentials, now: datetime, domain: Domain) -> Granted:
    """The scope is the credential's own. Of one that is named its user is told, since names are not unique."""
    which: Body = {"id": known.application_credential_id}
    if not known.application_credential_id:
        which = {"name": known.application_credential_name, "user": _named(known.user_id, known.username, domain)}
    secret = known.application_credential_secret
    which["secret"] = secret.get_secret_value() if secret else ""
    return _asked(http, known, now, "application_credential", which, None)


def _in_the_role(http: requests.Session, known: CloudCredentials, now: datetime, own: str) -> Granted:
    """The role that another account gives by an agency (IAM, "Obtaining an Agency Token")."""
    domain = known.agency_domain_name
    by_name = known.delegated_project or not known.project_id
    name = known.delegated_project or known.project_name
    scope = {"project": _named(None if by_name else known.project_id, name, (None, domain))}
    role = {"domain_name": domain, "xrole_name": known.agency_name}
    return _asked(http, known, now, "assume_role", role, scope, own)


def _asked(
    http: requests.Session,
    known: CloudCredentials,
    now: datetime,
    method: str,
    data: Body,
    scope: Body | None,
    token: str = "",
) -> Granted:
    """One request for a token. No redirect is followed: the password would go along."""
    auth = {"identity": {"methods": [method], method: data}, **({"scope": scope} if scope else {})}
    response = http.post(
        f"{ENDING.sub('', known.auth_url)}/v3/auth/tokens",
        json={"auth": auth},
        headers={"Accept": "application/json", **({"X-Auth-Token": token} if token else {})},
        timeout=(CLOUD_CONNECT, CLOUD_ANSWER),
        verify=known.verify,
        allow_redirects=False,
    )
    if response.status_code >= 300:
        headers = {name.lower(): value for name, value in response.headers.items()}
        # The answer may repeat what it was sent.
        answer = Answer(response.status_code, headers, hidden(response.content, known.secrets))
        if answer.status in REDIRECTS:
            raise redirected(answer, "keystone", "OS_AUTH_URL")
        why = classify(answer)
        refused = why.kind is AnswerClass.REAUTHENTICATE or why.reason is Reason.UNAUTHORIZED
        raise LoginRefused(why) if refused else NoAnswer(why)
    try:
        return _granted(response.headers["X-Subject-Token"], response.json()["token"], now)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = "Keystone's answer cannot be read: check OS_AUTH_URL"
        raise NoAnswer(Classified(AnswerClass.RECONCILE, "unreadable_answer", message)) from error


def _granted(token: str, told: Body, now: datetime) -> Granted:
    """The clocks may differ, so the token's life counts from now. One of unknown life is used until it is refused."""
    good_until, issued, ends = FOR_EVER, told.get("issued_at"), told.get("expires_at")
    if ends:
        life = datetime.fromisoformat(ends) - (datetime.fromisoformat(issued) if issued else now)
        good_until = now + life - timedelta(seconds=TOKEN_LEFT)
    catalog = [entry for entry in told.get("catalog") or () if isinstance(entry, dict)]
    return Granted(token, str((told.get("project") or {}).get("id") or ""), catalog, good_until)


def _named(id_: str | None, name: str | None, domain: Domain | None = None) -> Body:
    """By its id; otherwise by its name, and its domain if it has one."""
    if id_:
        return {"id": id_}
    if domain is None:
        return {"name": name}
    return {"name": name, "domain": {"id": domain[0]} if domain[0] else {"name": domain[1]}}


def _first(*domains: Domain) -> Domain:
    """The first that is told, by id or by name."""
    for domain in domains:
        if any(domain):
            return domain
    return domains[-1]
