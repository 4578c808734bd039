"""Keystone's API: logins, tokens, projects, and the catalog with the addresses of the other services."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared.model import Answer
from simulator import bodies
from simulator.access_keys import ALGORITHM, AccessKey, AccessKeys
from simulator.catalog import catalog, stable_id
from simulator.exchange import Deployment, Rejected, Request, Route, route, simple, with_headers
from simulator.inventory import Project
from simulator.world import World

USERNAME = "demo-user"
PASSWORD = "demo-password"
ACCESS_KEY = "DEMOACCESSKEY0000001"
SECRET_KEY = "demo-secret-key-demo-secret-key-demo-sec"
ROLES = ("member", "reader")


@dataclass(frozen=True, slots=True)
class User:
    """A user with a password, and with roles for each project."""

    id: str
    name: str
    password: str
    domain_name: str
    roles: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ApplicationCredential:
    """A secret that logs a user into one project."""

    id: str
    name: str
    secret: str
    user: User
    project_id: str


@dataclass(frozen=True, slots=True)
class Agency:
    """A user of one account that users of a trusted other account may act as, in one project."""

    name: str
    domain_name: str
    trusted_domain_name: str
    user: User


@dataclass(frozen=True, slots=True)
class Token:
    """A token's user, project and roles. A token without a project is useless for the other services."""

    user: User
    project: Project | None
    roles: tuple[str, ...]
    expires_at: datetime

    @property
    def project_id(self) -> str | None:
        return self.project.id if self.project else None


class Identity:
    """Issues tokens; authenticates requests by token or signature.

    It starts with one user (`user`), who has an application credential and an access key. `issued` lists all tokens,
    `passwords` all earlier passwords of that user.
    """

    def __init__(self, world: World, deployment: Deployment) -> None:
        self._world = world
        self._deployment = deployment
        self._tokens: dict[str, Token] = {}
        self.issued: list[str] = []
        self.passwords: list[str] = []
        self.users: list[User] = []
        self.agencies: list[Agency] = []
        self.user = self.add_user(USERNAME, PASSWORD)
        project_id, id, secret = world.project.id, self._hex_id(), self._hex_id()
        self.application_credential = ApplicationCredential(id, "automation", secret, self.user, project_id)
        self.access_keys = AccessKeys(world, deployment)
        self.access_key = self.access_keys.add(AccessKey(ACCESS_KEY, SECRET_KEY, self.user.id))
        self.routes: tuple[Route, ...] = (
            route("list_versions", "GET", "/", simple(self._versions, vary="X-Auth-Token")),
            route("get_version", "GET", "/v3", simple(self._version, vary="X-Auth-Token")),
            route("get_version", "GET", "/v3/", simple(self._version, vary="X-Auth-Token")),
            route("list_projects", "GET", "/v3/projects", simple(self._projects, vary="X-Auth-Token")),
            route("get_token", "POST", "/v3/auth/tokens", simple(self._issue, vary="X-Auth-Token")),
        )

    def add_user(
        self,
        name: str,
        password: str,
        project: Project | None = None,
        roles: tuple[str, ...] = ROLES,
        domain_name: str = "Default",
    ) -> User:
        project_id = (project or self._world.project).id
        user = User(self._hex_id(), name, password, domain_name, {project_id: roles})
        self.users.append(user)
        return user

    def change_password(self, password: str) -> None:
        """Change the password of `user`. The old one is refused at once; existing tokens stay valid."""
        self.passwords.append(self.user.password)
        changed = replace(self.user, password=password)
        self.users = [changed if user == self.user else user for user in self.users]
        self.user = changed

    def rotate(self, password: str) -> None:
        """Change every secret of `user`: password, application credential, access keys. Existing tokens stay valid."""
        self.change_password(password)
        self.application_credential = replace(self.application_credential, secret=self._hex_id())
        self._drop_keys()
        self.access_key = self.new_key()

    def forget_user(self) -> None:
        """Delete `user` with its tokens and access keys."""
        self.users = [user for user in self.users if user.id != self.user.id]
        self._tokens = {value: token for value, token in self._tokens.items() if token.user.id != self.user.id}
        self._drop_keys()

    def new_key(self, seconds: float | None = None) -> AccessKey:
        """Make another access key for `user`. With `seconds` it is temporary: it has a token and expires then.

        If the user is deleted, the new key is invalid.
        """
        id, secret = self._hex_id()[:20].upper(), self._hex_id() + self._hex_id()[:8]
        token = "" if seconds is None else self._hex_id() * 4
        ends = None if seconds is None else self._world.now + timedelta(seconds=seconds)
        key = AccessKey(id, secret, self.user.id, token, ends)
        return self.access_keys.add(key) if self.user_exists else key

    def new_token(self) -> str:
        """Make a token for `user` in the project without a logged call. If the user is deleted, it has expired."""
        token = self._token(self.user, self._world.project)
        return self._keep(token if self.user_exists else replace(token, expires_at=self._world.now))

    def knows(self, token: str) -> bool:
        """Whether the token is valid."""
        known = self._tokens.get(token)
        return known is not None and known.expires_at > self._world.now

    @property
    def user_exists(self) -> bool:
        """Whether `user` still exists."""
        return any(user.id == self.user.id for user in self.users)

    def _drop_keys(self) -> None:
        keys = self.access_keys.keys
        for access in [access for access, key in keys.items() if key.user_id == self.user.id]:
            del keys[access]

    def add_agency(self, name: str, project: Project, trusted_domain_name: str, roles: tuple[str, ...] = ROLES) -> None:
        """Let users of the trusted domain work in the project."""
        user = User(self._hex_id(), f"{project.domain_name}/{name}", "", project.domain_name, {project.id: roles})
        self.agencies.append(Agency(name, project.domain_name, trusted_domain_name, user))

    def revoke_tokens(self) -> None:
        self._tokens.clear()

    def authenticate(self, request: Request) -> Token:
        """The token that a request carries, or a token for its signature. Raises Rejected if neither is valid."""
        if request.headers.get("authorization", "").startswith(ALGORITHM):
            return self._by_signature(request)
        token = self._tokens.get(request.headers.get("x-auth-token", ""))
        if token is None or token.expires_at <= self._world.now:
            raise Rejected(bodies.unauthorized(self._deployment.auth_url))
        return token

    def _by_signature(self, request: Request) -> Token:
        key = self.access_keys.verified(request)
        user = next(user for user in self.users if user.id == key.user_id)
        project = self._world.projects.get(request.headers.get("x-project-id", ""))
        if project and project.id not in user.roles:
            raise Rejected(bodies.gateway_error("APIGW.0302", "The IAM user is not allowed to access the API", 403))
        return self._token(user, project)

    def _projects(self, request: Request) -> Answer:
        """The projects in which the caller has a role, filtered by `name` if the query has one."""
        user, name = self.authenticate(request).user, request.query.get("name")
        found = [project for id, project in self._world.projects.items() if id in user.roles]
        described = [
            {"id": one.id, "name": one.name, "domain_id": _domain(one.domain_name)["id"], "enabled": True}
            for one in found
            if name in (None, one.name)
        ]
        links = {"self": f"{self._deployment.auth_url}/projects", "previous": None, "next": None}
        return bodies.json_answer(200, {"projects": described, "links": links})

    # ------------------------------------------------------------------------------------------------- tokens

    def _issue(self, request: Request) -> Answer:
        try:
            methods, token = self._login(json.loads(request.body)["auth"], request.headers.get("x-auth-token", ""))
        except (ValueError, KeyError, TypeError, IndexError):
            return bodies.keystone_error(400, "'identity' is a required property")
        value = self._keep(token)
        body = {"token": self._described(methods, token, "nocatalog" not in request.query)}
        return bodies.json_answer(201, body, {"x-subject-token": value})

    def _keep(self, token: Token) -> str:
        value = "gAAAAAB" + self._hex_id() * 4
        self._tokens[value] = token
        self.issued.append(value)
        return value

    def _login(self, auth: Any, own_token: str) -> tuple[list[str], Token]:
        identity = auth["identity"]
        method = identity["methods"][0]
        if method == "application_credential":
            credential = self._by_credential(identity[method])
            project = self._world.projects[credential.project_id]
            return [method], self._token(credential.user, project)
        if method == "password":
            user = self._by_password(identity[method]["user"])
            return [method], self._token(user, self._scope(auth.get("scope"), user))
        if method == "token":
            known = self._tokens.get(identity[method]["id"])
            if known and known.expires_at > self._world.now:
                scoped = self._token(known.user, self._scope(auth.get("scope"), known.user))
                return [method], replace(scoped, expires_at=known.expires_at)  # a token cannot extend its own lifetime
        if method == "assume_role":
            user = self._by_agency(identity[method], self._tokens.get(own_token))
            return [method], self._token(user, self._scope(auth.get("scope"), user))
        raise Rejected(self._unauthorized())

    def _by_agency(self, asked: Any, own: Token | None) -> User:
        for agency in self.agencies:
            named = (asked["domain_name"], asked["xrole_name"]) == (agency.domain_name, agency.name)
            trusted = own and own.expires_at > self._world.now and own.user.domain_name == agency.trusted_domain_name
            if named and trusted:
                return agency.user
        raise Rejected(self._unauthorized())

    def _by_password(self, asked: Any) -> User:
        for user in self.users:
            named = asked.get("name") == user.name and _domain_is(asked.get("domain"), user.domain_name)
            if (asked.get("id") == user.id or named) and asked["password"] == user.password:
                return user
        raise Rejected(self._unauthorized())

    def _by_credential(self, asked: Any) -> ApplicationCredential:
        credential = self.application_credential
        user = credential.user
        owner = asked.get("user") or {}
        owned = owner.get("id") == user.id or owner.get("name") == user.name
        named = asked.get("name") == credential.name and owned
        if self.user_exists and (asked.get("id") == credential.id or named) and asked["secret"] == credential.secret:
            return credential
        raise Rejected(self._unauthorized())

    def _scope(self, scope: Any, user: User) -> Project | None:
        if not scope or "project" not in scope:
            return None
        asked = scope["project"]
        for project in self._world.projects.values():
            # Open Telekom Cloud accepts a project's name without its domain.
            domain = asked.get("domain") or {"name": user.domain_name}
            named = asked.get("name") == project.name and _domain_is(domain, project.domain_name)
            if (asked.get("id") == project.id or named) and project.id in user.roles:
                return project
        raise Rejected(self._unauthorized())

    def _token(self, user: User, project: Project | None) -> Token:
        expires_at = self._world.now + timedelta(seconds=self._deployment.token_seconds)
        return Token(user, project, user.roles[project.id] if project else (), expires_at)

    # ------------------------------------------------------------------------------------------- descriptions

    def _described(self, methods: list[str], token: Token, with_catalog: bool) -> dict[str, Any]:
        user = token.user
        description: dict[str, Any] = {
            "methods": methods,
            "user": {
                "domain": _domain(user.domain_name),
                "id": user.id,
                "name": user.name,
                "password_expires_at": None,
            },
            "audit_ids": [self._hex_id()[:22]],
            "expires_at": _stamp(token.expires_at),
            "issued_at": _stamp(self._world.now),
        }
        if token.project is None:
            return description
        project = token.project
        description["project"] = {"domain": _domain(project.domain_name), "id": project.id, "name": project.name}
        description["is_domain"] = False
        description["roles"] = [{"id": stable_id(role), "name": role} for role in token.roles]
        if methods == ["application_credential"]:
            credential = self.application_credential
            description["application_credential"] = {"id": credential.id, "name": credential.name, "restricted": True}
        if with_catalog:
            description["catalog"] = catalog(self._deployment, project.id)
        return description

    def _versions(self, _: Request) -> Answer:
        location = {"location": f"{self._deployment.auth_url}/"}
        body = {"versions": {"values": [self._version_description()]}}
        return bodies.json_answer(300, body, location)

    def _version(self, _: Request) -> Answer:
        return bodies.json_answer(200, {"version": self._version_description()})

    def _version_description(self) -> dict[str, Any]:
        kind = "application/vnd.openstack.identity-v3+json"
        return {
            "id": "v3.14",
            "status": "stable",
            "updated": "2020-04-07T00:00:00Z",
            "links": [{"rel": "self", "href": f"{self._deployment.auth_url}/"}],
            "media-types": [{"base": "application/json", "type": kind}],
        }

    def _unauthorized(self) -> Answer:
        return with_headers(
            bodies.keystone_error(401), {"www-authenticate": f'Keystone uri="{self._deployment.auth_url}"'}
        )

    def _hex_id(self) -> str:
        return self._world.new_id().replace("-", "")


def _domain(name: str) -> dict[str, str]:
    return {"id": "default" if name == "Default" else stable_id(name), "name": name}


def _domain_is(asked: Any, name: str) -> bool:
    domain = _domain(name)
    return bool(asked) and (asked.get("name") == domain["name"] or asked.get("id") == domain["id"])


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
