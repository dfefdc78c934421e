"""The loop: train, predict, select, annotate, retrain, again; it goes on where it was, whatever ends the process."""

from __future__ import annotations

try:
    import sqlalchemy  # noqa: F401 - only to know that it is there, before whatever needs it
except ImportError as error:
    raise ImportError("Project needs SQLAlchemy; install it with pip install 'pickwise[loop]'") from error

from pickwise.loop.history import Round, State
from pickwise.loop.joined import JoinedProject
from pickwise.loop.models import ExternalModel, FunctionModel, SklearnModel
from pickwise.loop.project import Project
from pickwise.loop.stopping import (
    Budget,
    ClassificationChange,
    Criterion,
    DeltaF,
    OverallUncertainty,
    Plateau,
    Rounds,
    StabilizingPredictions,
    Target,
    Time,
)

__all__ = [
    "Budget",
    "ClassificationChange",
    "Criterion",
    "DeltaF",
    "ExternalModel",
    "FunctionModel",
    "JoinedProject",
    "OverallUncertainty",
    "Plateau",
    "Project",
    "Round",
    "Rounds",
    "SklearnModel",
    "StabilizingPredictions",
    "State",
    "Target",
    "Time",
]
