"""Core-sets: a few rows of each shard of a stream stand for all of it, and the picks are among those."""

from __future__ import annotations

from pickwise.coreset.radius import Radius
from pickwise.coreset.reducer import CoverReducer

__all__ = ["CoverReducer", "Radius"]
