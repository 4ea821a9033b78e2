"""Every checkpoint of a training on the same episodes, with the same workers: ``proctor sweep``.

targets   finds the checkpoints that the user named
watching  tells which checkpoints of a training that goes on are complete
sweep     evaluates one checkpoint after another, each in a run directory of its own
verdict   says which checkpoint is the best, and which cannot be told from it
race      evaluates round by round, and stops as soon as one is known to be the best
record    sweep.json and sweep.csv, in the directory of the sweep
"""

from proctor.evaluation.sweep.race import RaceResult, run_race
from proctor.evaluation.sweep.record import SweptCheckpoint
from proctor.evaluation.sweep.sweep import Sweep
from proctor.evaluation.sweep.targets import Checkpoint, find_checkpoints
from proctor.evaluation.sweep.verdict import SweepVerdict, verdict_of
from proctor.evaluation.sweep.watching import Watcher, watch_and_evaluate

__all__ = [
    "Checkpoint",
    "RaceResult",
    "Sweep",
    "SweepVerdict",
    "SweptCheckpoint",
    "Watcher",
    "find_checkpoints",
    "run_race",
    "verdict_of",
    "watch_and_evaluate",
]
