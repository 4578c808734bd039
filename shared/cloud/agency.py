"""The role that another account gives by an agency: one more way to a token (IAM, "Obtaining an Agency Token")."""

from collections.abc import Mapping
from typing import Any

from keystoneauth1.identity import v3
from keystoneauth1.identity.v3 import AuthMethod
from keystoneauth1.session import Session

from shared.settings import CloudCredentials


class _AssumeRole(AuthMethod):
    """Asks with a token of our own account: the one that is given, or a new one by a login.

    A login's own token is not kept, since it may have been revoked by the time of the next one.
    """

    def __init__(self, known: CloudCredentials, own: str | v3.Password) -> None:
        super().__init__()
        self._known, self._own = known, own

    def get_auth_data(
        self, session: Session, auth: object, headers: dict[str, str], request_kwargs: object
    ) -> tuple[str, Mapping[str, str | None]]:
        del auth, request_kwargs
        own = self._own if isinstance(self._own, str) else self._own.get_auth_ref(session).auth_token
        headers["X-Auth-Token"] = str(own)
        return "assume_role", {"domain_name": self._known.agency_domain_name, "xrole_name": self._known.agency_name}


def assume_role(auth_url: str, known: CloudCredentials, own: str | v3.Password) -> v3.Auth:
    """A login to the project of the account that gives the role; `own` is a token of ours, or a login for one."""
    scope: dict[str, Any] = {"project_id": known.project_id}
    if known.delegated_project or not known.project_id:
        scope = {"project_name": known.delegated_project or known.project_name}
        scope["project_domain_name"] = known.agency_domain_name
    return v3.Auth(auth_url, [_AssumeRole(known, own)], **scope)
