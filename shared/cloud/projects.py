"""Which cloud a request is for, by the operator's credentials: one project or many, rotated while in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shared.cloud.keystone import ReadCredentials
from shared.cloud.openstack import OpenStackCloud
from shared.model import AnswerClass, Classified, Reason
from shared.ports import Cloud, CloudTrouble

Connect = Callable[[ReadCredentials], OpenStackCloud]


@dataclass
class Projects:
    """One cloud for each project of `projects`, and the default one for requests that name none or its own."""

    connect: Connect
    default: ReadCredentials | None
    projects: Mapping[str, ReadCredentials] = field(default_factory=dict)
    _clouds: dict[str | None, OpenStackCloud] = field(init=False)

    def __post_init__(self) -> None:
        self._clouds = {project: self.connect(read) for project, read in self.projects.items()}
        if self.default:
            self._clouds[None] = self.connect(self.default)

    def key(self, project_id: str | None) -> str | None:
        return project_id if project_id in self._clouds else None

    def select(self, project_id: str | None, deadline: datetime | None) -> Cloud:
        """A request for a project that is not served costs no call to any cloud.

        Where there is a list, a project that is not in it is served if it is the one the default credentials name;
        those that name none by its id are not logged in with to find out.
        """
        found = self._clouds.get(self.key(project_id))
        if found is None:
            raise _not_served(project_id)
        found.login.refresh()
        cloud = found.until(deadline)
        if project_id is None:
            return cloud
        named = found.login.named_project
        if self.projects and project_id not in self.projects and project_id != named:
            raise _not_served(project_id)
        own = named or cloud.project_id()
        if own == project_id:
            return cloud
        message = f"the request names project {project_id}, the credentials are for {own}"
        raise CloudTrouble(Classified(AnswerClass.PERMANENT, "wrong_project", message, Reason.WRONG_PROJECT))


def _not_served(project_id: str | None) -> CloudTrouble:
    asked = f"project {project_id} is not one that is served here" if project_id else "the request names no project"
    return CloudTrouble(Classified(AnswerClass.PERMANENT, "forbidden", asked, Reason.FORBIDDEN))
