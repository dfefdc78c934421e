"""How the scores of a pool are distributed, from an even sample that is taken while it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOST = 1 << 14
"""Rows in a sample at most; at least half of it where rows were left out. A share is then known within 1.5 % of all
rows, 19 times in 20, as if rows were drawn at random (Massart, 1990)."""


class ScoreSample:
    """Scores of rows spread evenly over the positions of a pool: all, or one of every 2, 4, 8 and so on.

    Which rows these are depends on positions alone: not on chunks, files, or who read them. Samples of parts of a pool
    merge into that of the whole. Rows that are invalid have no score.

    Parameters
    ----------
    level : int
        Where to begin, if the pool is known to need it.

    Attributes
    ----------
    level : int
        The sample has one of every ``2**level`` rows.
    positions : ndarray of int64 of shape (rows,)
    scores : ndarray of float64 of shape (rows,)

    Examples
    --------
    >>> import numpy as np
    >>> sample = ScoreSample()
    >>> sample.add(np.arange(1000), np.linspace(0, 1, 1000))
    >>> sample.quantile([0.5, 0.9]).round(2)
    array([0.5, 0.9])
    >>> sample.histogram(4)[0]
    array([0.25, 0.25, 0.25, 0.25])
    """

    def __init__(self, level: int = 0) -> None:
        self.level = level
        self.positions = np.empty(0, np.int64)
        self.scores = np.empty(0)

    def wanted(self, positions: int | NDArray[np.int64], rows: int) -> NDArray[np.int64]:
        """Tell which rows of a chunk belong in a sample of this level.

        Parameters
        ----------
        positions : int or ndarray of int64 of shape (rows,)
            The position of the first, or of each.
        rows : int

        Returns
        -------
        ndarray of int64
            Their places in the chunk.
        """
        if not isinstance(positions, int):
            return np.flatnonzero(self._is_chosen(positions))
        first, last = positions >> self.level, (positions + rows - 1) >> self.level
        places = _chosen(np.arange(first, last + 1), self.level) - positions
        return places[(places >= 0) & (places < rows)]

    def add(self, positions: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Take rows that are wanted; NaN is no score."""
        valid = ~np.isnan(scores)
        self.positions = np.concatenate([self.positions, positions[valid]])
        self.scores = np.concatenate([self.scores, scores[valid]])
        while len(self.positions) > MOST:
            self._thin(self.level + 1)

    def merge(self, other: ScoreSample) -> None:
        """Take the sample of other rows; it stays as it is."""
        level = max(self.level, other.level)
        self._thin(level)
        chosen = other.positions, other.scores
        if other.level < level:
            keep = self._is_chosen(other.positions)
            chosen = other.positions[keep], other.scores[keep]
        self.add(*chosen)

    def quantile(self, q: float | Sequence[float]) -> NDArray[np.float64]:
        """Estimate the score that a share of the rows is below.

        Parameters
        ----------
        q : float or sequence of float
            Shares from 0 to 1.
        """
        finite = self._finite()
        return np.asarray(np.quantile(finite, q) if len(finite) else np.full(np.shape(q), np.nan))

    def share_above(self, score: float) -> float:
        """Estimate the share of rows that score higher."""
        return float(np.mean(self.scores > score)) if len(self.scores) else 0.0

    def histogram(self, bins: int = 20) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimate the share of rows in each of so many equal intervals.

        Returns
        -------
        shares : ndarray of shape (bins,)
        edges : ndarray of shape (bins + 1,)
        """
        finite = self._finite()
        counts, edges = np.histogram(finite, bins)
        return counts / max(1, len(finite)), edges

    def state(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        order = np.argsort(self.positions, kind="stable")
        return {"level": self.level, "positions": self.positions[order].tolist(), "scores": self.scores[order].tolist()}

    @classmethod
    def of(cls, state: dict[str, Any]) -> ScoreSample:
        """Read what `state` wrote."""
        made = cls(state["level"])
        made.positions = np.array(state["positions"], np.int64)
        made.scores = np.array(state["scores"], np.float64)
        return made

    def _finite(self) -> NDArray[np.float64]:
        return self.scores[np.isfinite(self.scores)]

    def _thin(self, level: int) -> None:
        if level > self.level:
            self.level = level
            keep = self._is_chosen(self.positions)
            self.positions, self.scores = self.positions[keep], self.scores[keep]

    def _is_chosen(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(_chosen(positions >> self.level, self.level) == positions)


def _chosen(strata: NDArray[np.int64], level: int) -> NDArray[np.int64]:
    """Find the row that stands for each stratum of ``2**level`` rows: that of one of its halves, by a hash."""
    rows = strata.astype(np.uint64)
    for height in range(level, 0, -1):
        # The upper bits of a product are as good as random.
        bits = (rows * _ODD + np.uint64(height)) * _ODD >> np.uint64(63)
        rows = rows << np.uint64(1) | bits
    return rows.astype(np.int64)


_ODD = np.uint64(0x9E3779B97F4A7C15)
