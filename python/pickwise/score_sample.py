"""How the scores of a pool are distributed, from an even sample that is taken while it is read."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MOST = 1 << 14
"""Rows in a sample at most; at least half of it where rows were left out. A share is then known within 1.5 % of all
rows, 19 times in 20, as if rows were drawn at random (Massart, 1990)."""

# Bytes of rows that are scored together.
_AT_ONCE = 1 << 20

# Choices that are made at once, for chunks to come.
_AHEAD = 1024


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
        # Invalid rows as well, with NaN: they count for the level, which is then known before rows are scored.
        self._positions = [np.empty(0, np.int64)]
        self._scores = [np.empty(0)]
        self._count = self._held = 0
        self._unscored: list[tuple[NDArray[Any], Callable[[NDArray[Any]], NDArray[np.float64]]]] = []
        self._ahead = 0, 0, np.empty(0, np.int64)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where the rows are."""
        positions, scores = self._joined()
        return positions[~np.isnan(scores)]

    @property
    def scores(self) -> NDArray[np.float64]:
        """What they score."""
        _, scores = self._joined()
        return scores[~np.isnan(scores)]

    def wanted(self, positions: int | NDArray[np.int64], rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tell which rows of a chunk belong in the sample; its level rises where all would be too many.

        Parameters
        ----------
        positions : int or ndarray of int64 of shape (rows,)
            The position of the first, or of each.
        rows : int

        Returns
        -------
        places, positions : ndarray of int64
            Where they are in the chunk, and in the pool.
        """
        if not isinstance(positions, int):
            places = np.flatnonzero(_is_chosen(positions, self.level))
            while self._count + len(places) > MOST:
                self.rise(self.level + 1)
                places = places[_is_chosen(positions[places], self.level)]
            return places, positions[places]
        while self._count + (rows >> self.level) - 1 > MOST:
            self.rise(self.level + 1)
        level, after = self.level, positions + rows
        first, last = positions >> level, after - 1 >> level
        begin, end, chosen = self._ahead
        if not begin <= first <= last < end:
            begin, end = first, max(last, first + _AHEAD) + 1
            chosen = _chosen(np.arange(begin, end), level)
            self._ahead = begin, end, chosen
        found = chosen[first - begin : last + 1 - begin]
        # Of strata that are cut the row may lie outside.
        if positions & ((1 << level) - 1) or after & ((1 << level) - 1):
            found = found[(found >= positions) & (found < after)]
        return found - positions, found

    def rise(self, level: int) -> None:
        """Go up to a level, where this one is lower."""
        if self.level < level:
            positions, scores = self._joined()
            keep = _is_chosen(positions, level)
            self._positions, self._scores = [positions[keep]], [scores[keep]]
            self.level, self._count = level, len(self._positions[0])
            self._ahead = 0, 0, positions[:0]

    def add(self, positions: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        """Take rows that are wanted; NaN is no score."""
        self._score_all()
        self._positions.append(positions)
        self._scores.append(scores)
        self._count += len(positions)
        while self._count > MOST:
            self.rise(self.level + 1)

    def add_rows(
        self,
        positions: NDArray[np.int64],
        rows: NDArray[Any],
        score: Callable[[NDArray[Any]], NDArray[np.float64]],
    ) -> None:
        """Take rows that are wanted; they are scored when there are many of them, as each call costs."""
        self._positions.append(positions)
        self._unscored.append((rows, score))
        self._count += len(positions)
        self._held += rows.nbytes
        if self._held > _AT_ONCE:
            self._score_all()
        while self._count > MOST:
            self.rise(self.level + 1)

    def merge(self, other: ScoreSample) -> None:
        """Take the sample of other rows; it stays as it is."""
        self.rise(other.level)
        positions, scores = other._joined()
        if other.level < self.level:
            keep = _is_chosen(positions, self.level)
            positions, scores = positions[keep], scores[keep]
        self.add(positions, scores)

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
        scores = self.scores
        return float(np.mean(scores > score)) if len(scores) else 0.0

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
        positions, scores = self._joined()
        order = np.argsort(positions, kind="stable")
        return {"level": self.level, "positions": positions[order].tolist(), "scores": scores[order].tolist()}

    @classmethod
    def of(cls, state: dict[str, Any]) -> ScoreSample:
        """Read what `state` wrote."""
        made = cls(state["level"])
        made.add(np.array(state["positions"], np.int64), np.array(state["scores"], np.float64))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return ScoreSample.of, (self.state(),)

    def _finite(self) -> NDArray[np.float64]:
        _, scores = self._joined()
        return scores[np.isfinite(scores)]

    def _score_all(self) -> None:
        for (_, score), group in itertools.groupby(self._unscored, key=lambda pair: (pair[0].dtype, pair[1])):
            self._scores.append(score(np.concatenate([rows for rows, _ in group])))
        self._unscored, self._held = [], 0

    def _joined(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        self._score_all()
        if len(self._positions) > 1:
            self._positions, self._scores = [np.concatenate(self._positions)], [np.concatenate(self._scores)]
        return self._positions[0], self._scores[0]


def level_of(rows: int) -> int:
    """Tell at which level so many rows end up."""
    level = 0
    while (rows >> level) - 1 > MOST:
        level += 1
    return level


def _chosen(strata: NDArray[np.int64], level: int) -> NDArray[np.int64]:
    """Find the row that stands for each stratum of ``2**level`` rows.

    Its number in the stratum is made of the hashes of the blocks of ``2**8``, ``2**16`` and so on rows that it is in,
    so that rows that are chosen are chosen on all levels below, and no period in the data is followed.
    """
    rows = strata
    while level > 0:
        bits = (level - 1) % _BITS + 1
        rows = rows << bits | _hash(rows >> (_BITS - bits), level - bits) & ((1 << bits) - 1)
        level -= bits
    return rows


def _is_chosen(positions: NDArray[np.int64], level: int) -> NDArray[np.bool_]:
    return np.asarray(_chosen(positions >> level, level) == positions)


def _hash(blocks: NDArray[np.int64], height: int) -> NDArray[np.int64]:
    mixed = (blocks.view(np.uint64) + np.uint64(height)) * _ODD
    mixed ^= mixed >> np.uint64(29)
    mixed *= _ODD
    mixed >>= np.uint64(64 - _BITS)
    return mixed.view(np.int64)


# Bits of a position that are chosen by one hash.
_BITS = 8
_ODD = np.uint64(0x9E3779B97F4A7C15)
