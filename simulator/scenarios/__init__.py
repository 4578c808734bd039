"""Everything a cloud can do to a detach, each reachable by `make run SCENARIO=<name>`.

`all` of them play side by side, in one cloud for each API and on one clock. So each has servers and disks of its own,
and leaves some seconds between what must come first and what must come after.
"""

from simulator.scenarios import answers, bare_metal, copies, gates, jobs, moves, proof, summaries
from simulator.scenarios.stage import BMS_V1, CATALOGUE, COMPUTE, SETTINGS, Scenario, Stage, scenario_cloud

__all__ = ["BMS_V1", "CATALOGUE", "COMPUTE", "SETTINGS", "Scenario", "Stage", "scenario_cloud", "answers", "bare_metal",
           "copies", "gates", "jobs", "moves", "proof", "summaries"]  # fmt: skip
