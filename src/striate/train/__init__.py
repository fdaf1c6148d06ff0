"""Training: optimisers, schedules, the loop, and the run folder it leaves behind."""

from striate.train.evaluation import Score, confusion, evaluate
from striate.train.events import EpochDone, EpochStarted, Note, Resumed, Saved, StepDone
from striate.train.loop import Result, fit
from striate.train.optim import SGD, Adam
from striate.train.schedule import constant, cosine, step

__all__ = [
    "SGD", "Adam", "EpochDone", "EpochStarted", "Note", "Result", "Resumed", "Saved", "Score", "StepDone", "confusion",
    "constant", "cosine", "evaluate", "fit", "step",
]
