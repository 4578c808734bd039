"""Which cloud a request is for, by the operator's credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shared.adapters.openstack import OpenStackCloud
from shared.adapters.secrets import Secrets
from shared.model import AnswerClass, Classified, Reason
from shared.ports import Cloud, CloudTrouble
from shared.settings import CloudCredentials, load


@dataclass
class ConfiguredCloud:
    """The cloud of the environment or of the secret; one project, logged in to when first needed."""

    secret_id: str | None
    environment: Mapping[str, str]
    secrets: Secrets
    connect: Callable[[CloudCredentials], OpenStackCloud] = OpenStackCloud
    _connected: dict[CloudCredentials, OpenStackCloud] = field(default_factory=dict)

    def select(self, project_id: str | None) -> Cloud:
        """The cloud, if it is the project the request names; a wrong one is refused before any call."""
        cloud = self._cloud()
        own = cloud.project_id() if project_id else None
        if project_id and project_id != own:
            message = f"the request names project {project_id}, the credentials are for {own}"
            raise CloudTrouble(Classified(AnswerClass.PERMANENT, "wrong_project", message, Reason.WRONG_PROJECT))
        return cloud

    def _cloud(self) -> OpenStackCloud:
        """Credentials are read anew each time (from the secret's cache), so that a rotated one takes over."""
        values = self.secrets.read(self.secret_id) if self.secret_id else self.environment
        credentials = load(CloudCredentials, values)
        if credentials not in self._connected:
            self._connected.clear()
            self._connected[credentials] = self.connect(credentials)
        return self._connected[credentials]
