"""People who answer in Label Studio, spoken to over its REST API."""

from __future__ import annotations

from pickwise.annotators.label_studio.annotator import LabelStudioAnnotator

__all__ = ["LabelStudioAnnotator"]
