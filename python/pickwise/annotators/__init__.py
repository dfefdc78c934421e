"""Who labels: known labels, a function, people who work on files, or in Label Studio."""

from __future__ import annotations

from pickwise.annotators.answers import read_answers
from pickwise.annotators.base import KINDS, Annotation, Annotator, Kind, RowId, Task
from pickwise.annotators.callback import CallbackAnnotator
from pickwise.annotators.files import FileAnnotator
from pickwise.annotators.label_studio import LabelStudioAnnotator
from pickwise.annotators.simulated import SimulatedAnnotators

__all__ = [
    "KINDS",
    "Annotation",
    "Annotator",
    "CallbackAnnotator",
    "FileAnnotator",
    "Kind",
    "LabelStudioAnnotator",
    "RowId",
    "SimulatedAnnotators",
    "Task",
    "read_answers",
]
