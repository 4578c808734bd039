"""Everything a cloud can do to a detach, each reachable by `make run SCENARIO=<name>`.

`all` of them play side by side, in one cloud and on one clock. So each has servers and disks of its own, and leaves
some seconds between what must come first and what must come after.
"""

from simulator.scenarios import answers, copies, gates, moves, proof, summaries
from simulator.scenarios.stage import CATALOGUE, Scenario, Stage, scenario_cloud

SETTINGS = {"CONFIRM_TIMEOUT": "36", "WATCH_TIMEOUT": "48", "REQUEST_TTL": "50", "EVENT_TYPE_PREFIX": "bms"}
"""Hours are seconds here, so that even the longest scenario ends within a minute."""

__all__ = ["CATALOGUE", "SETTINGS", "Scenario", "Stage", "scenario_cloud", "answers", "copies", "gates", "moves",
           "proof", "summaries"]  # fmt: skip
