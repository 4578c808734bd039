"""A cloud to develop and test against: Keystone, Nova, Cinder and Glance, as far as a detach needs them."""

from local.cloud.api import Called, CloudApi
from local.cloud.exchange import Deployment, ListShape, RootDetach
from local.cloud.faults import Break, Fault, Faults, Kind, TransportFault
from local.cloud.inventory import (
    RUNNING,
    STOPPED,
    Attachment,
    Behaviour,
    Happened,
    Image,
    Project,
    Refused,
    Server,
    Snapshot,
    Volume,
    What,
)
from local.cloud.skins import CloudServer, InProcessAdapter
from local.cloud.world import World

__all__ = [
    "World",
    "Behaviour",
    "Project",
    "Server",
    "Volume",
    "Image",
    "Attachment",
    "Happened",
    "What",
    "Snapshot",
    "Refused",
    "RUNNING",
    "STOPPED",
    "CloudApi",
    "Called",
    "Deployment",
    "ListShape",
    "RootDetach",
    "Fault",
    "Faults",
    "Kind",
    "Break",
    "TransportFault",
    "CloudServer",
    "InProcessAdapter",
]
