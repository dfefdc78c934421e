"""What a selection has to keep to, whatever strategy makes it: quotas, a budget, rows that must be in, a distance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import Rows, as_numpy, below
from pickwise.ids import Excluded
from pickwise.options import as_count, as_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

Quota = tuple[str, "NDArray[np.int64]", int]
"""What groups are called, the group of each row (codes from 0), and the most rows of one group."""
Apart = tuple["NDArray[Any]", str, float, "NDArray[Any] | None", "NDArray[np.int64] | None"]
"""Embeddings, metric, the least distance, and labelled rows: embeddings of others, and positions."""

# Three labels at 0.1 are within a budget of 0.3, whatever their sum is in binary.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Limits:
    """Limits of a pool of so many rows, checked; the native part reads them from here.

    Attributes
    ----------
    quotas : list of Quota
    costs : ndarray of float64 of shape (rows,) or None
    budget : float or None
        What all picks may cost together, those that are taken included.
    apart : Apart or None
    taken : ndarray of int64 or None
        Rows that are in already.
    """

    quotas: list[Quota]
    costs: NDArray[np.float64] | None = None
    budget: float | None = None
    apart: Apart | None = None
    taken: NDArray[np.int64] | None = None

    def admit(self, order: NDArray[np.int64], rows: int, k: int) -> NDArray[np.int64]:
        """Find the first `k` rows of an order that keep to the limits, as positions in the order."""
        return _native.admit(np.ascontiguousarray(order, np.int64), rows, k, self)

    def having(self, picks: NDArray[np.int64]) -> Limits:
        """Return what is left when some rows were picked."""
        taken = picks if self.taken is None else np.concatenate([self.taken, picks])
        return replace(self, taken=taken)

    def reasons(self) -> list[str]:
        """Say what may have barred rows."""
        reasons = []
        if self.apart is not None:
            reasons.append("every other row is nearer than min_distance to a pick or a labelled row")
        for name, _, _ in self.quotas:
            what = "group that has max_per_group" if name == "groups" else "class that has max_per_class"
            reasons.append(f"every other row is of a {what}")
        return reasons

    def affordable(self) -> int:
        """Estimate how many rows the budget will pay for."""
        assert self.costs is not None  # noqa: S101 - only asked with costs
        rows = len(self.costs)
        return rows if self.left == math.inf else int(min(self.left // float(np.median(self.costs)), rows))

    def among(self, rows: NDArray[np.int64]) -> Limits:
        """Return the limits of a pool that is a part of this one."""
        places = np.full(int(rows[-1]) + 1 if len(rows) else 0, -1, np.int64)
        places[rows] = np.arange(len(rows))
        apart = self.apart
        if apart is not None:
            matrix, metric, least, centers, labelled = apart
            if labelled is not None:
                inside = np.isin(labelled, rows)
                centers = centers if inside.all() else below(centers, matrix[labelled[~inside]])
                labelled = places[labelled[inside]]
            apart = matrix[rows], metric, least, centers, labelled
        return Limits(
            [(name, _renumbered(groups[rows]), most) for name, groups, most in self.quotas],
            None if self.costs is None else self.costs[rows],
            self.budget,
            apart,
            None if self.taken is None else places[self.taken],
        )

    def at_most(self, rows: NDArray[np.int64]) -> int:
        """Count how many of some rows there is a budget for, if they are the cheapest."""
        if self.costs is None or self.budget is None:
            return len(rows)
        spent = np.cumsum(np.sort(self.costs[rows])) * (1 - _ROUNDING)  # so it is a bound
        return int(np.searchsorted(spent, self.left, side="right"))

    @property
    def left(self) -> float:
        """What is left of the budget; infinity without one."""
        if self.costs is None or self.budget is None:
            return math.inf
        return self.budget - (0.0 if self.taken is None else float(self.costs[self.taken].sum()))

    def worth(self, scores: NDArray[np.float64], rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return scores for each unit of cost: of some rows, or of all."""
        if self.costs is None:
            return scores
        if len(scores) and scores.min() < 0:
            raise ValueError(
                f"costs: expected scores of 0 or more, which can be divided by a cost, got {scores.min():.6g}"
            )
        return np.asarray(scores / (self.costs if rows is None else self.costs[rows]))


@dataclass(frozen=True, eq=False)
class Wishes:
    """The arguments of `select` that limits are made of; it documents them."""

    max_per_class: Any = None
    groups: Any = None
    max_per_group: Any = None
    costs: Any = None
    budget: Any = None
    must_include: Any = None
    min_distance: Any = None

    def __post_init__(self) -> None:
        for one, other in (("groups", "max_per_group"), ("costs", "budget")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                given, missing = (one, other) if getattr(self, other) is None else (other, one)
                raise ValueError(f"{given}: expected {missing} with it, got none; pass both or neither")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return all(value is None for value in vars(self).values())

    def affordable(self, rows: int) -> int:
        """Estimate how many rows of a pool of so many the budget will pay for."""
        alone = Wishes(costs=self.costs, budget=self.budget, must_include=self.must_include)
        return max(1, alone.over(rows).affordable())

    def over(
        self,
        rows: int,
        *,
        predicted: NDArray[np.int64] | None = None,
        embeddings: NDArray[Any] | None = None,
        metric: str = "euclidean",
        centers: NDArray[Any] | None = None,
        labelled: NDArray[np.int64] | None = None,
    ) -> Limits:
        """Check everything against a pool of so many rows.

        Parameters
        ----------
        predicted : ndarray of int64 of shape (rows,), optional
            The most probable class of each row.
        embeddings, metric, centers, labelled
            What distances are between.
        """
        quotas: list[Quota] = []
        if self.max_per_class is not None:
            if predicted is None:
                raise TypeError(
                    "max_per_class: expected a pool of probabilities, from which classes are predicted; "
                    "pass the classes as groups, with max_per_group"
                )
            most = as_count(self.max_per_class, "max_per_class", least=1)
            # There may be more classes than rows.
            codes = _renumbered(predicted) if predicted.max(initial=0) >= rows else predicted
            quotas.append(("max_per_class", codes, most))
        if self.groups is not None:
            most = as_count(self.max_per_group, "max_per_group", least=1)
            quotas.append(("groups", as_codes(self.groups, rows), most))
        taken = self.taken(rows)
        costs = budget = None
        if self.costs is not None:
            costs, budget = as_costs(self.costs, rows), as_number(self.budget, "budget")
            if not budget > 0:
                raise ValueError(f"budget: expected a number above 0, got {budget}")
            spent = 0.0 if taken is None else math.fsum(costs[taken])
            enough = budget * (1 + _ROUNDING)
            if spent > enough:
                raise ValueError(
                    f"budget: expected at least {spent:.6g}, what the rows of must_include cost, got {budget:.6g}"
                )
            budget = enough
        apart: Apart | None = None
        if self.min_distance is not None:
            if embeddings is None:
                raise TypeError("min_distance: expected embeddings with it, between which distances are, got none")
            apart = embeddings, metric, as_distance(self.min_distance), centers, labelled
        return Limits(quotas, costs, budget, apart, taken)

    def among(self, positions: NDArray[np.int64], rows: int) -> Wishes:
        """Return the same for a part of a pool of so many rows: the positions that pass filters, ascending."""
        taken = self.taken(rows)
        return replace(
            self,
            groups=None if self.groups is None else as_codes(self.groups, rows)[positions],
            costs=None if self.costs is None else as_costs(self.costs, rows)[positions],
            must_include=None if taken is None else places(taken, positions, "must_include"),
        )

    def taken(self, rows: int) -> NDArray[np.int64] | None:
        """Read the rows that must be in: positions, or a mask; ascending."""
        if self.must_include is None:
            return None
        mask = Excluded.read(self.must_include, "must_include", rows).between(0, rows)
        return None if mask is None or not mask.any() else np.flatnonzero(mask).astype(np.int64)


def places(rows: NDArray[np.int64], positions: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """Find where rows are among the positions that pass filters."""
    outside = rows[~np.isin(rows, positions)]
    if len(outside):
        raise ValueError(f"{name}: expected rows that pass the filters, got row {outside[0]}, which does not")
    return np.searchsorted(positions, rows)


@dataclass(frozen=True, eq=False)
class Beside:
    """What `select` was given beside a pool, for strategies that choose rows together."""

    embeddings: Any
    labelled: Any
    wishes: Wishes


def predicted_classes(rows: Rows, *, from_logits: bool) -> NDArray[np.int64]:
    """Find the most probable class of each row, of several the lowest."""
    votes = np.empty(rows.shape[0], np.uint32)
    done = 0
    for block in rows.blocks():
        end = done + len(block)
        if rows.binary:
            votes[done:end] = block[:, 0] > (0.0 if from_logits else 0.5)
        else:
            _native.vote(block, votes[done:end], from_logits)
        done = end
    return votes.astype(np.int64)


def as_codes(x: Any, rows: int) -> NDArray[np.int64]:
    """Turn groups, anything that can be hashed, into numbers from 0."""
    array = x if isinstance(x, (list, tuple)) else as_numpy(x, "groups")
    if isinstance(array, np.ndarray) and array.ndim != 1:
        raise ValueError(f"groups: expected the shape ({rows},), one for each row, got {array.shape}")
    if len(array) != rows:
        raise ValueError(f"groups: expected {rows}, one for each row, got {len(array)}")
    if isinstance(array, np.ndarray) and array.dtype.kind in "biufUS":
        return _renumbered(array)
    codes: dict[Any, int] = {}
    items = array.tolist() if isinstance(array, np.ndarray) else array
    try:
        return np.fromiter((codes.setdefault(_same(item), len(codes)) for item in items), np.int64, rows)
    except TypeError as error:
        raise TypeError(f"groups: expected integers, strings or other values that can be hashed: {error}") from None


def _same(item: Any) -> Any:
    """Let NaN be one group, as NumPy's arrays have it, however many objects it is."""
    return math.nan if isinstance(item, float) and item != item else item  # noqa: PLR0124 - NaN is not itself


def _renumbered(codes: NDArray[Any]) -> NDArray[np.int64]:
    return np.unique(codes, return_inverse=True)[1].astype(np.int64, copy=False)


def as_costs(x: Any, rows: int) -> NDArray[np.float64]:
    """Read what each row costs."""
    costs = as_numbers(x, "costs", rows)
    bad = ~(np.isfinite(costs) & (costs >= 1e-300))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"costs: row {row} has {costs[row]}; expected finite numbers above 0")
    return costs


def as_numbers(x: Any, name: str, rows: int) -> NDArray[np.float64]:
    """Read one number for each row."""
    array = as_numpy(x, name)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name}: expected numbers, got {array.dtype}")
    if array.shape != (rows,):
        raise ValueError(f"{name}: expected the shape ({rows},), one for each row, got {array.shape}")
    return np.ascontiguousarray(array, np.float64)


def as_distance(x: Any) -> float:
    """Read a least distance."""
    distance = as_number(x, "min_distance")
    if not 0 <= distance < math.inf:
        raise ValueError(f"min_distance: expected a finite number of 0 or more, got {distance}")
    return distance
