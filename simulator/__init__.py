"""A cloud to develop and test against: Keystone, Nova, Cinder and Glance, as far as a detach needs them."""

from simulator.api import Called, CloudApi
from simulator.exchange import Deployment, ListShape, RootDetach
from simulator.faults import Break, Fault, Faults, Kind, TransportFault
from simulator.inventory import (
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
from simulator.transports import CloudServer, InProcessAdapter
from simulator.world import World

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
