"""Which rows the next round asks for."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pickwise.gathering import as_matrix, names_columns, open_embeddings
from pickwise.loop.models.external import ExternalModel
from pickwise.pools import is_matrix_like, is_path_like
from pickwise.ranking import Request
from pickwise.selection import select
from pickwise.strategies import Auto, BatchBALD, Joint, KCenter, Random, Ranking, Strategy, settled
from pickwise.strategies.base import as_option
from pickwise.strategies.greedy_sampling import GreedySamplingXY, GreedySamplingY, greedy_xy, greedy_y

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pickwise.annotators.base import RowId
    from pickwise.loop.context import Context
    from pickwise.loop.data import PoolData
    from pickwise.loop.models.base import LoopModel
    from pickwise.result import Selection


Wanted: TypeAlias = tuple[str, float, str]
"""A row, its score, and why it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What was asked for, labelled or held out.

    Attributes
    ----------
    ids : sequence
        All of it; none of them is chosen again.
    labelled : sequence
        Those that a model may learn from.
    targets : ndarray or None
        Their labels in regression, in the same order.
    """

    ids: Sequence[RowId]
    labelled: Sequence[RowId]
    targets: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What there is to choose from.

    Attributes
    ----------
    data : PoolData or None
        The pool; None where there are predictions alone.
    embeddings : object
        Of the pool, as `pickwise.select` takes them; None: those of the model, or the rows themselves.
    model : LoopModel or None
    has_learnt : bool
        Whether the model can predict.
    id : str or None
        The column of ids of predictions that were handed over.
    """

    data: PoolData | None
    embeddings: Any = None
    model: LoopModel | None = None
    has_learnt: bool = False
    id: str | None = None

    @classmethod
    def of(cls, context: Context) -> Scene:
        """Tell what there is in a project."""
        return cls(
            data=context.data,
            embeddings=context.embeddings,
            model=context.model,
            has_learnt=context.model_round is not None,
            id=context.settings.id,
        )

    @property
    def model_embeds(self) -> bool:
        """Whether the model has embeddings."""
        return self.model is not None and self.model.can_embed and self.has_learnt

    def settled(self, strategy: Strategy) -> Strategy:
        """Return what a strategy is here; whether there are embeddings is only looked at where that matters."""
        return settled(strategy, has_embeddings=self.has_embeddings) if isinstance(strategy, Auto) else strategy

    @property
    def has_embeddings(self) -> bool:
        """Whether there are embeddings, or rows that stand for them."""
        return self.embeddings is not None or self.model_embeds or (self.data is not None and self.data.are_points)


def choose(
    context: Context, k: int, *, seed: int, known: Known, new_region: float = 0.0
) -> tuple[dict[str, Any], list[Wanted]]:
    """Choose up to `k` rows of the pool.

    Parameters
    ----------
    context : Context
    k : int
    seed : int
        Of whatever is drawn.
    known : Known
    new_region : float
        The share of rows that are chosen for being far from all labelled ones.

    Returns
    -------
    strategy : dict
        How they were chosen, as JSON can hold it.
    wanted : list of (row, score, why)
        Best first; empty where no row is left.
    """
    settings = context.settings
    is_first = _is_first(context)
    scene = Scene.of(context)
    strategy = settings.initial_strategy if is_first else settings.strategy
    reserved = round(k * new_region)
    ids, wanted = list(known.ids), list[Wanted]()
    written: dict[str, Any] = _written(strategy)
    far = _far(scene, reserved, seed, known) if reserved else None
    if far is not None:
        wanted += _wanted(context, far, "new region")
        ids += list(far)
        written["new_region"] = {"share": new_region, "strategy": _written(far.strategy)}
    left = k - len(wanted)
    selection = select_rows(scene, strategy, left, seed, replace(known, ids=ids)) if left else None
    if selection is not None:
        wanted += _wanted(context, selection, "initial" if is_first else "selected")
    return written, wanted


def _is_first(context: Context) -> bool:
    """Whether nothing is predicted yet, so that the first strategy chooses."""
    if isinstance(context.model, ExternalModel):
        return context.data is not None and not context.model.has_predictions
    return context.model is None or context.model_round is None


def select_rows(scene: Scene, strategy: Strategy, k: int, seed: int, known: Known) -> Selection | None:
    """Let a strategy choose up to `k` rows that are not known; None where no row is left."""
    data, model = scene.data, scene.model
    strategy = scene.settled(strategy)
    options: dict[str, Any] = {"exclude_ids": _as_ids(known.ids), "random_state": seed, "clip": True}
    if data is None or (isinstance(model, ExternalModel) and model.has_predictions):
        return _of_predictions(scene, strategy, k, options, known)
    options["ids"] = data.ids
    if isinstance(strategy, (Joint, BatchBALD)) and _is_exhausted(data, known):
        return None
    if isinstance(strategy, Joint):
        return _together(scene, strategy, k, options, known)
    if isinstance(strategy, Ranking) and not strategy.needs_matrix:
        return select(data.predicted(lambda rows: np.zeros(_count(rows))), k, strategy, **options)
    assert model is not None  # noqa: S101 - the first strategy needs none
    if isinstance(strategy, BatchBALD) or (isinstance(strategy, Ranking) and strategy.is_of_committee):
        if not model.can_committee:
            raise TypeError(
                f"strategy: {strategy.name} needs a committee, got {model.name}, which has none; take a forest, a "
                "BaggingClassifier, or a model with predict_committee"
            )
        members = np.concatenate([model.predict_committee(rows) for rows in data.inputs()], axis=1)
        return select(members, k, strategy, **_without_table(options, data))
    if model.task == "regression":
        raise TypeError(
            "strategy: expected one for numbers, such as 'greedy_xy' or 'greedy_y', in regression, got "
            f"{strategy.name!r}"
        )
    return select(data.predicted(model.predict_proba), k, strategy, **options)


def _of_predictions(
    scene: Scene, strategy: Strategy, k: int, options: dict[str, Any], known: Known
) -> Selection | None:
    """Choose by predictions that were handed over."""
    assert isinstance(scene.model, ExternalModel)  # noqa: S101 - others need a pool
    predictions = scene.model.predictions
    if scene.embeddings is not None and isinstance(strategy, Joint):
        if known.ids and not len(select(predictions, 1, Random(), id=scene.id, **options)):
            return None
        options["embeddings"] = scene.embeddings
        if scene.id is None and _are_known_by_position(predictions):
            options["embeddings"] = as_matrix(scene.embeddings, predictions, Request())
            rows = len(options["embeddings"])
            places = [name for name in known.labelled if isinstance(name, int) and name < rows]
            options["labelled"] = np.array(places, np.int64) if places else None
    return select(predictions, k, strategy, id=scene.id, **options)


def _are_known_by_position(predictions: Any) -> bool:
    """Whether rows of predictions are known by their positions: those of a matrix, or of one file of it."""
    if is_path_like(predictions):
        return isinstance(predictions, (str, os.PathLike)) and os.fspath(predictions).lower().endswith(".npy")
    return is_matrix_like(predictions, None, None)


def _together(scene: Scene, strategy: Joint, k: int, options: dict[str, Any], known: Known) -> Selection:
    """Choose rows together, by their embeddings and what the strategy needs beside."""
    data = scene.data
    assert data is not None  # noqa: S101 - predictions alone are chosen from elsewhere
    if isinstance(strategy, (GreedySamplingY, GreedySamplingXY)):
        return _greedy(scene, strategy, k, known)
    embeddings = _embeddings(scene, data, strategy)
    # Of rows that are no longer in the pool there are no embeddings.
    gone = set(data.unknown(known.labelled))
    inside = [name for name in known.labelled if name not in gone]
    if inside:
        places = data.positions(inside)
        options["labelled"] = places if places is not None else data.take_embeddings(inside, embeddings)
    if strategy.needs == "embeddings" and getattr(strategy, "prefilter", None) is None:
        if isinstance(embeddings, str):
            return select(data.rows, k, strategy, id=data.id, probabilities=embeddings, **options)
        return select(embeddings, k, strategy, **_without_table(options, data))
    assert scene.model is not None  # noqa: S101 - the first strategy needs none
    if isinstance(embeddings, str):
        embeddings = open_embeddings(embeddings, data.rows, Request())
    return select(data.predicted(scene.model.predict_proba), k, strategy, embeddings=embeddings, **options)


def _greedy(scene: Scene, strategy: Joint, k: int, known: Known) -> Selection:
    """Choose by predicted numbers, and those that are known."""
    data, model = scene.data, scene.model
    assert data is not None  # noqa: S101 - only to tell the type checker
    assert model is not None  # noqa: S101
    predicted = np.concatenate([model.predict(rows) for rows in data.inputs()]).astype(np.float64)
    order = {name: place for place, name in enumerate(data.all_ids().tolist())}
    barred = np.array([order[name] for name in known.ids if name in order], np.int64)
    options = {**_without_table({}, data), "exclude": barred if len(barred) else None, "clip": True}
    if isinstance(strategy, GreedySamplingY):
        return greedy_y(predicted, k, targets=known.targets, **options)
    embeddings = _embeddings(scene, data, strategy)
    if isinstance(embeddings, str):
        embeddings = as_matrix(embeddings, data.rows, Request())
    inside = [name in order for name in known.labelled]
    places = np.array([order[name] for name in known.labelled if name in order], np.int64)
    if known.targets is not None:
        predicted[places] = known.targets[inside]
    return greedy_xy(predicted, embeddings, k, labelled=places if len(places) else None, **options)


def _embeddings(scene: Scene, data: PoolData, strategy: Strategy) -> Any:
    """Find embeddings: those that were given, those of the model, or the rows themselves."""
    if scene.embeddings is not None:
        return _read(scene.embeddings, data)
    if scene.model is not None and scene.model_embeds:
        return np.concatenate([scene.model.embed(rows) for rows in data.inputs()])
    if data.is_matrix:
        return data.rows
    raise TypeError(
        f"embeddings: expected some with {strategy.name}, got none; give them to Project.create, or a model with embed"
    )


def _read(embeddings: Any, data: PoolData) -> Any:
    """Read files of embeddings, which lie beside a pool; a column of it stays a name."""
    if not isinstance(embeddings, str) or names_columns(embeddings, data.rows):
        return embeddings
    return as_matrix(embeddings, data.rows, Request())


def _is_exhausted(data: PoolData, known: Known) -> bool:
    """Whether every row of the pool is known."""
    return len(known.ids) >= data.count and len(known.ids) - len(data.unknown(known.ids)) >= data.count


def _far(scene: Scene, k: int, seed: int, known: Known) -> Selection | None:
    """Choose rows that are far from all labelled ones; at random where there are no embeddings."""
    return select_rows(scene, KCenter() if scene.has_embeddings else Random(), k, seed, known)


def _without_table(options: dict[str, Any], data: PoolData) -> dict[str, Any]:
    """Return options for arrays that were made of a pool, row for row."""
    return {**options, "ids": data.ids if data.id is None else data.all_ids()}


def _written(strategy: Strategy) -> dict[str, Any]:
    option = as_option(strategy)
    return {"strategy": option} if isinstance(option, str) else option


def _wanted(context: Context, selection: Selection, why: str) -> list[Wanted]:
    """Write a selection down; no database takes an infinite score, which the first of all picks may have."""
    scores = np.nan_to_num(selection.scores, posinf=np.finfo(float).max, neginf=np.finfo(float).min)
    return [(context.as_row(name), score, why) for name, score in zip(selection, scores.tolist(), strict=True)]


def _as_ids(ids: Sequence[RowId]) -> Any:
    """Put ids into an array; None for none."""
    if not len(ids):
        return None
    return np.asarray(ids, np.int64) if isinstance(ids[0], int) else list(ids)


def _count(rows: Any) -> int:
    return int(rows.shape[0] if hasattr(rows, "shape") else len(rows))
