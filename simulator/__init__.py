"""A simulated cloud for development and tests: what a detach uses of Keystone, Nova, Cinder, Glance and BMS."""

from simulator.api import CloudApi
from simulator.exchange import Deployment, ListShape, RootDetach
from simulator.faults import Fault, Faults, Kind
from simulator.inventory import (
    ORDINARY,
    PAUSED,
    RESCUED,
    RUNNING,
    SHELVED,
    SHELVED_OFFLOADED,
    SOFT_DELETED,
    STOPPED,
    SUSPENDED,
    Behaviour,
    Happened,
    JobReport,
    Project,
    Refused,
    What,
)
from simulator.moves import MOVES
from simulator.transports import CloudServer, InProcessAdapter
from simulator.world import World

__all__ = ["World", "Behaviour", "JobReport", "Project", "Happened", "What", "Refused", "RUNNING", "STOPPED", "PAUSED",
           "SUSPENDED", "RESCUED", "SHELVED", "SHELVED_OFFLOADED", "SOFT_DELETED", "MOVES", "CloudApi", "Deployment",
           "ListShape", "ORDINARY", "RootDetach", "Fault", "Faults", "Kind", "CloudServer",
           "InProcessAdapter"]  # fmt: skip
