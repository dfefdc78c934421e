"""What a simulated run has measured, after each round."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.settings import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

METRICS = ("accuracy", "macro_f1", "auc")
"""What a model is measured by, all of it higher = better; a run may lack those that make no sense for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A run of one strategy with one seed. The point 0 is the initial labels.

    Attributes
    ----------
    strategy : str
        What the run is called: the name of the strategy, or what it was given as.
    seed : int
    labels : ndarray of int64 of shape (points,)
        Labelled rows, ascending.
    metrics : dict of str to ndarray of float64 of shape (points,)
        On the test rows; higher = better: "accuracy", "macro_f1", "auc" (one against the rest, macro average).
    seconds : dict of str to ndarray of float64 of shape (points,)
        "fitting", "predicting" (the pool and the test rows) and "selecting", which is all that is not the model's; the
        last selection is 0, as nothing is selected any more.
    elapsed : float
        Seconds of the whole run: the above, measuring, and keeping books. NaN where they were not measured.
    balance : ndarray of float64 of shape (points,)
        How evenly labelled rows are spread over the classes: the entropy of their shares over the highest, 0 to 1.
    diversity : ndarray of float64 of shape (points,)
        How far rows of a batch are from their nearest neighbour within it, over the same of a random batch of the pool:
        1 is as diverse as random; NaN for the point 0 and without a matrix to measure distances in.
    picks : ndarray of int64
        Rows in the order in which they were labelled, positions among all rows that were given.
    """

    strategy: str
    seed: int
    labels: NDArray[np.int64]
    metrics: dict[str, NDArray[np.float64]]
    seconds: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    elapsed: float = float("nan")
    balance: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    diversity: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    picks: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        state = {name: _plain(value) for name, value in vars(self).items()}
        write_whole(path, json.dumps(state).encode())

    @classmethod
    def load(cls, path: Path) -> Curve:
        """Read what `save` wrote."""
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name in ("metrics", "seconds"):
            state[name] = {key: np.array(values, np.float64) for key, values in state[name].items()}
        for name, kind in (("labels", np.int64), ("picks", np.int64), ("balance", float), ("diversity", float)):
            state[name] = np.array(state[name], kind)
        return cls(**state)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
