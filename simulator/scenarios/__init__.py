"""The scenarios of `make run SCENARIO=<name>`: how a cloud can behave during a detach.

`SCENARIO=all` plays all of them at the same time, in one cloud for each API and on one clock. So each scenario has its
own servers and disks, and leaves some seconds between events that must happen in a certain order.
"""

from simulator.scenarios import answers, bare_metal, copies, gates, jobs, moves, proof, summaries
from simulator.scenarios.stage import BMS_V1, CATALOGUE, COMPUTE, SETTINGS, Scenario, Stage, scenario_cloud

__all__ = ["BMS_V1", "CATALOGUE", "COMPUTE", "SETTINGS", "Scenario", "Stage", "scenario_cloud", "answers", "bare_metal",
           "copies", "gates", "jobs", "moves", "proof", "summaries"]  # fmt: skip
