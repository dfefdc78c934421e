"""Pictures of selections. Needs matplotlib, from the extra ``plot``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_points
from pickwise.options import as_count
from pickwise.points import as_labelled
from pickwise.result import Cover, Selection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Of Okabe and Ito's colours, told apart by the colour-blind.
_POOL, _LABELLED, _PICKED = "#BBBBBB", "#0072B2", "#D55E00"


def draw(selection: Selection, embeddings: Any, labelled: Any, sample: int) -> Figure:
    """Draw a selection; see `Selection.plot`."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot needs matplotlib; install it with pip install 'pickwise[plot]'") from error
    matrix = as_points(embeddings, "embeddings")
    if len(selection) and selection.indices.max() >= len(matrix):
        raise ValueError(
            f"embeddings: expected the pool that the rows were selected from, with row {selection.indices.max()}, "
            f"got {len(matrix)} rows"
        )
    centers, positions = as_labelled(labelled, matrix.shape)
    known = centers if positions is None else matrix[positions]
    shown = _doubles(matrix[:: max(1, -(-len(matrix) // as_count(sample, "sample", least=2)))])
    shown = shown[np.isfinite(shown).all(1)]  # excluded rows may hold anything
    mean, axes = _widest(shown)
    panels = 2 if isinstance(selection, Cover) else 1
    figure = Figure(figsize=(6.4 * panels, 4.8), layout="constrained")
    left, *right = np.atleast_1d(figure.subplots(1, panels))
    layers: list[tuple[str, NDArray[Any], dict[str, Any]]] = [("pool", shown, {"s": 3, "c": _POOL})]
    if known is not None:
        layers.append(("labelled", _doubles(known), {"s": 16, "c": _LABELLED, "marker": "s"}))
    layers.append(("selected", _doubles(matrix[selection.indices]), {"s": 18, "c": _PICKED}))
    for name, rows, style in layers:
        x, y = ((rows - mean) @ axes).T
        # Thousands of markers are pixels in vector formats too.
        left.scatter(
            x,
            y,
            label=f"{name} ({len(matrix) if name == 'pool' else len(rows)})",
            **style,
            linewidths=0,
            rasterized=True,
        )
    left.set(title=f"{len(selection)} rows by {selection.strategy.name}", xlabel="widest", ylabel="second widest")
    left.legend(loc="best", markerscale=1.5)
    if isinstance(selection, Cover):
        _draw_radius(right[0], selection)
    return figure


def _draw_radius(axes: Axes, cover: Cover) -> None:
    steps = np.append(cover.distances, cover.radius)
    finite = np.flatnonzero(np.isfinite(steps))
    axes.plot(finite, steps[finite], color=_PICKED, drawstyle="steps-post")
    axes.set(title=f"radius {cover.radius:.4g} after the last", xlabel="picks", ylabel="distance", ylim=(0, None))


def _doubles(matrix: NDArray[Any]) -> NDArray[np.float64]:
    return matrix.astype(np.float64)


def _widest(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the mean, and the two directions in which rows spread most: their principal components."""
    mean = rows.mean(0)
    centred = rows[:: max(1, len(rows) // 2000)] - mean
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    axes = np.zeros((rows.shape[1], 2))
    # The sign is settled by the largest entry, so that pictures of the same pool look alike.
    for column, direction in enumerate(directions):
        axes[:, column] = direction * np.sign(direction[np.abs(direction).argmax()])
    return mean, axes
