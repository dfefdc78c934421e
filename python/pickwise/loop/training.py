"""A model learns from the labels, is measured, and is kept."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.answering import Labelled, classes_of, labelled, weighed
from pickwise.loop.archive import round_folder
from pickwise.loop.folds import out_of_fold
from pickwise.loop.history import State, best_round
from pickwise.loop.models.base import checked
from pickwise.loop.models.external import ExternalModel
from pickwise.loop.probe import probe_metrics
from pickwise.loop.profile import Profile
from pickwise.loop.rounds import advance, change, read_rounds
from pickwise.loop.store import get_fact
from pickwise.scores import margin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pickwise.annotators.base import RowId
    from pickwise.loop.context import Context
    from pickwise.loop.models.base import LoopModel

# Rows of the probe, a fixed sample of the pool; Bloodgood and Vijay-Shanker (2009) took 2000.
_PROBE = 2000

PROFILE = "probe.npz"


@dataclass
class Measured:
    """What was found of a model."""

    metrics: dict[str, float] = field(default_factory=dict)
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)


def learn(context: Context, number: int) -> bool:
    """Let the model learn from all labels, and keep what comes of it as that of a round.

    Returns
    -------
    bool
        Whether there were labels enough: of two classes at least.
    """
    model = context.model
    if model is None:
        raise TypeError("model: expected one to fit, got none; give it to Project.create or Project.open")
    began = time.perf_counter()
    known = labelled(context, probabilities=partial(probabilities, context))
    ids, labels = known.learnable
    learnt = None
    if model.trains:
        if len(ids) < 2 or (model.task == "multiclass" and len(set(labels.tolist())) < 2):
            _finish(context, number, Measured(), labelled=0, seconds={}, model=None)
            return False
        learnt = _fit(context, model, known)
    elif context.settings.classes is not None:
        model.set_classes(context.settings.classes)
    context.model_round = number
    fitted = time.perf_counter()
    measured = measure(context, learnt)
    profile = look(context)
    if profile is not None:
        measured.metrics |= _progress(context, number, profile)
        folder = round_folder(context.folder, number)
        folder.mkdir(parents=True, exist_ok=True)
        profile.save(folder / PROFILE)
    seconds = {"fitting": fitted - began, "evaluating": time.perf_counter() - fitted}
    kept = context.models.keep(f"round-{number:04}", model, _card(context, number, labels, measured))
    path = str(kept.relative_to(context.folder))
    _finish(context, number, measured, labelled=len(ids), seconds=seconds, model=path)
    prune(context)
    return True


def _fit(context: Context, model: LoopModel, known: Labelled) -> Any:
    """Fit a model to what is labelled, and return the rows that it has learnt from."""
    ids, labels = known.learnable
    rows = _features(context, ids)
    classes = _set_classes(context, known)
    model.fit(rows, targets(context, labels, classes))
    return rows


def _card(context: Context, number: int, labels: NDArray[np.object_], measured: Measured) -> dict[str, Any]:
    """Say what a model was made of, for its card."""
    with context.store.read() as connection:
        strategy = next(each.strategy for each in read_rounds(connection) if each.number == number)
    return {
        "data": {"pool": context.settings.name, "labelled": len(labels)},
        "labels": shares(labels.tolist(), context.settings.task),
        "metrics": measured.metrics,
        "per_class": measured.per_class,
        "strategy": strategy,
        "round": number,
        "seed": context.settings.seed,
    }


def recover(context: Context) -> None:
    """Bring back the model of the last round that has one: as it was kept, else fitted again to what is labelled."""
    model = context.model
    with context.store.read() as connection:
        trained = [each for each in read_rounds(connection) if each.state is State.trained and each.model is not None]
    if model is None or not trained:
        return
    last = trained[-1]
    if isinstance(model, ExternalModel) and model.has_predictions:
        context.model_round = last.number
        return
    try:
        is_back = _load(context, model, f"round-{last.number:04}")
    except (ValueError, TypeError, OSError, ImportError) as error:
        if isinstance(model, ExternalModel) and isinstance(error, TypeError):
            raise  # the model was left out
        is_back = False
        if model.trains:
            warnings.warn(f"{context.folder}: the model of round {last.number} is fitted again: {error}", stacklevel=2)
    if not is_back and not model.trains:
        warnings.warn(
            f"{context.folder}: the predictions of round {last.number} were no files, and are gone; hand them over "
            "again, to fit",
            stacklevel=2,
        )
        return
    if not is_back:
        # The first model has learnt labels that no model had a say in; none is in memory yet.
        without_itself = partial(out_of_fold, context) if len(trained) > 1 else None
        _fit(context, model, labelled(context, probabilities=without_itself))
    context.model_round = last.number


def _load(context: Context, model: LoopModel, name: str) -> bool:
    """Read a model that was kept; tell whether there was anything to read."""
    about = context.models.describe(name)
    if not about["saved"]:
        return False
    # The file is the project's own, and types of scikit-learn are what it has written.
    is_trusted = all(kind.startswith("sklearn.") for kind in about["untrusted"])
    context.models.load(name, into=model, trusted=about["untrusted"] if is_trusted else ())
    return True


def measure(context: Context, learnt: Any = None) -> Measured:
    """Measure the model on rows that no model learns from."""
    found = [each for each in (_outside(context, learnt), _held_out(context)) if each is not None]
    if not found:
        return Measured()
    from pickwise.loop.metrics import classification, regression

    truth = [label for each, _ in found for label in each]
    guessed = np.concatenate([each for _, each in found])
    if context.settings.task == "regression":
        return Measured(regression(np.array(truth), guessed))
    classes = _classes(context)
    return Measured(*classification(_as_named(truth, classes), guessed, classes, context.settings.task))


def _as_named(truth: list[Any], classes: Sequence[Any]) -> list[Any]:
    """Call classes as the model does, as 1 and "1" are one class; those that it does not know stay as they are."""
    names = {str(name): name for name in classes}
    return [
        [names.get(str(name), name) for name in label]
        if isinstance(label, (list, tuple, set))
        else names.get(str(label), label)
        for label in truth
    ]


def predicted(context: Context, ids: Sequence[RowId]) -> NDArray[Any] | None:
    """Predict rows of the pool: probabilities, or numbers in regression; None where there is no model yet."""
    model = context.model
    if model is None or context.model_round is None or not len(ids):
        return None
    if isinstance(model, ExternalModel):
        from pickwise.loop.data import open_data

        names = None if context.data is None else context.data.ids
        found = np.asarray(open_data(model.predictions, ids=names, id=context.settings.id).take(ids))
        shape = (len(ids),) if model.task == "regression" else (len(ids), len(_classes(context)))
        return checked(found, shape, model.task, "in the predictions that were handed over")
    assert context.data is not None  # noqa: S101 - a model that trains has a pool
    rows = _features(context, ids)
    return model.predict(rows) if model.task == "regression" else model.predict_proba(rows)


def probabilities(context: Context, known: Labelled, classes: Sequence[Any] | None) -> NDArray[np.float64] | None:
    """Predict the rows that somebody has answered for, a column for each of some classes.

    Each by a model that has not learnt from it, where one can be made (`out_of_fold`); else by the project's model.
    None where there is no model yet, or it knows other classes.
    """
    from pickwise.loop.quality import align

    if classes is None or context.model_round is None:
        return None
    without = out_of_fold(context, known, classes)
    if without is not None:
        return without
    found = predicted(context, known.heard)
    if found is None or not set(_classes(context)) <= set(classes):
        return None
    return align(found, _classes(context), classes)


def look(context: Context) -> Profile | None:
    """Look at a fixed sample of the pool with the model as it is now."""
    if context.data is None:
        return None
    if not context.probe:
        context.probe["ids"] = context.data.sample(_PROBE, context.settings.seed)
    found = predicted(context, context.probe["ids"])
    if found is None:
        return None
    embeddings = embeddings_of(context, context.probe["ids"])
    if context.settings.task == "regression":
        return Profile(scores=np.asarray(found, np.float64), embeddings=embeddings)
    scores = margin(found) if context.settings.task == "multiclass" else 1 - np.abs(found - 0.5).mean(1) * 2
    return Profile(
        scores=np.asarray(scores, np.float64), probabilities=found, classes=_classes(context), embeddings=embeddings
    )


def targets(context: Context, labels: NDArray[Any], classes: Sequence[Any]) -> Any:
    """Turn labels into what a model learns: names, a matrix of 0 and 1, or numbers."""
    if context.settings.task == "regression":
        return labels.astype(np.float64)
    if context.settings.task == "multiclass":
        return labels
    return np.array([[int(name in label) for name in classes] for label in labels.tolist()], np.int8)


def prune(context: Context) -> None:
    """Keep the models of the last and the best round, and those that are deployed."""
    with context.store.read() as connection:
        trained = [each for each in read_rounds(connection) if each.model is not None]
    best = best_round(trained, context.settings.metric)
    kept = {each.number for each in (*trained[-1:], best) if each is not None}
    context.models.prune({f"round-{number:04}" for number in kept})


def promote(context: Context, number: int | None) -> str:
    """Deploy the model of a round, the best one unless it is named, and return its name."""
    if number is None:
        with context.store.read() as connection:
            trained = [each for each in read_rounds(connection) if each.model is not None]
        if not trained:
            raise ValueError("promote: expected a model that has learnt, got none; fit() one first")
        number = (best_round(trained, context.settings.metric) or trained[-1]).number
    name = f"round-{number:04}"
    context.models.promote(name)
    return name


def _finish(context: Context, number: int, measured: Measured, **values: Any) -> None:
    """Note that a round is trained, or trained anew."""
    values |= vars(measured)
    body = {"labelled": values["labelled"], "metrics": measured.metrics, "model": values["model"]}
    with context.store.write() as connection:
        before = next(each for each in read_rounds(connection) if each.number == number)
        values["seconds"] = {**before.seconds, **values["seconds"]}
        if before.state is State.trained:
            change(connection, number, **values)
        else:
            advance(connection, number, State.trained, body=body, **values)


def _features(context: Context, ids: Sequence[RowId]) -> Any:
    """Take labelled rows from the pool, and those of pools before from what was carried over."""
    from pickwise.loop.carried import take

    assert context.data is not None  # noqa: S101 - a model that trains has a pool
    return take(context.folder, context.data, ids)


def _set_classes(context: Context, known: Labelled) -> Sequence[Any]:
    """Tell the model which classes there are, and return them; none in regression."""
    classes = classes_of(context, known.votes) or []
    if classes and context.model is not None:
        context.model.set_classes(classes)
    return classes


def _classes(context: Context) -> tuple[Any, ...]:
    model = context.model
    if isinstance(model, ExternalModel) and context.settings.classes is not None:
        return context.settings.classes
    assert model is not None  # noqa: S101 - asked only of what a model has said
    return tuple(model.classes_.tolist())


def _outside(context: Context, learnt: Any) -> tuple[Any, Any] | None:
    """Predict the evaluation rows that were handed over."""
    if context.evaluation is None or context.model is None or not context.model.trains:
        return None
    rows, truth = context.evaluation
    _warn_of_leaks(context, rows, learnt)
    model = context.model
    return list(truth), model.predict(rows) if model.task == "regression" else model.predict_proba(rows)


def _held_out(context: Context) -> tuple[Any, Any] | None:
    """Predict the rows of the pool that are held out."""
    with context.store.read() as connection:
        if not get_fact(connection, "holds_out"):
            return None
    ids, labels = labelled(context, held_out=True).learnable
    found = predicted(context, ids)
    return None if found is None else (labels, found)


def _warn_of_leaks(context: Context, rows: Any, learnt: Any) -> None:
    """Warn, once, where rows that a model has learnt from are among those that it is measured on."""
    if isinstance(rows, (list, tuple)):
        rows = np.asarray(rows, dtype=object if rows and isinstance(rows[0], str) else None)
    if context.has_warned or not (isinstance(rows, np.ndarray) and isinstance(learnt, np.ndarray)):
        return
    if rows.dtype.kind == "U":
        rows = rows.astype(object)
    if learnt.dtype != rows.dtype or learnt.shape[1:] != rows.shape[1:] or (rows.ndim > 1 and rows.dtype.hasobject):
        return
    seen = set(map(_comparable, learnt))
    twice = sum(_comparable(row) in seen for row in rows)
    if twice:
        context.has_warned = True
        warnings.warn(
            f"evaluation: {twice} of {len(rows)} rows equal labelled ones, which the model has learnt from, so that it "
            "looks better than it is",
            stacklevel=2,
        )


def _comparable(row: Any) -> Any:
    return row.tobytes() if isinstance(row, np.ndarray) else row


def embeddings_of(context: Context, ids: Sequence[RowId]) -> Any:
    """Return embeddings of rows, where they are at hand."""
    data, given = context.data, context.embeddings
    assert data is not None  # noqa: S101 - looked at before
    places = data.positions(ids)
    if isinstance(given, str):
        return data.take_embeddings(ids, given) if data.id is not None else None
    if given is not None:
        return None if places is None or not hasattr(given, "shape") else np.asarray(given[places])
    if places is not None and data.is_matrix:
        found = np.asarray(data.rows[places])
        return found if np.isfinite(found).all() else None  # features may be missing, but no distance may
    return None


def _progress(context: Context, number: int, profile: Profile) -> dict[str, float]:
    """Compare what the model says of the probe with what the one of the round before said."""
    if profile.probabilities is None:
        return {}
    before = previous_profile(context, number)
    same = before is not None and before.probabilities is not None and len(before) == len(profile)
    return probe_metrics(
        before.probabilities if same and before is not None else None,
        profile.probabilities,
        previous_classes=before.classes if same and before is not None else None,
        classes=profile.classes,
        task=context.settings.task,
    )


def previous_profile(context: Context, number: int) -> Profile | None:
    """Read what the last model before a round said of the probe, of this pool."""
    with context.store.read() as connection:
        replaced, fingerprint = get_fact(connection, "replaced"), get_fact(connection, "fingerprint")
    since = -1 if replaced is None else replaced
    paths = [round_folder(context.folder, earlier) / PROFILE for earlier in range(number - 1, since, -1)]
    if replaced is not None:
        paths.append(probe_file(context.folder, fingerprint))
    return next((Profile.load(path) for path in paths if path.exists()), None)


def probe_file(folder: Path, fingerprint: str) -> Path:
    """Name the file of what the model said of a pool when it replaced another."""
    return folder / "rounds" / f"probe-{fingerprint[:16]}.npz"


def shares(labels: Sequence[Any], task: str) -> dict[str, int]:
    """Count the rows of each class; none in regression."""
    from collections import Counter

    if task == "regression":
        return {}
    names = [name for label in labels for name in label] if task == "multilabel" else labels
    return {str(name): count for name, count in sorted(Counter(names).items(), key=lambda pair: str(pair[0]))}


def doubtful(context: Context, k: int) -> list[tuple[RowId, float]]:
    """Find the labelled rows for which one more answer is worth most; see `quality.relabel_candidates`."""
    from pickwise.loop.quality import relabel_candidates

    known = labelled(context)
    classes = classes_of(context, known.votes)
    p = probabilities(context, known, classes) if context.settings.task == "multiclass" else None
    if p is None or classes is None:
        raise ValueError("ids: expected rows, as there is no model of classes by which doubtful ones could be found")
    found = relabel_candidates(known.votes, p, classes=classes, k=min(k, len(known.ids)))
    return [(known.heard[row], score) for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)]


def qualities(context: Context) -> dict[RowId, float]:
    """Tell how probable the model finds the label of each row; see `Project.label_quality`."""
    from pickwise.loop.quality import label_quality

    known = labelled(context)
    classes = classes_of(context, known.votes)
    p = probabilities(context, known, classes) if context.settings.task == "multiclass" else None
    if p is None or classes is None:
        raise ValueError("label_quality: expected a model of single classes that has learnt, got none; fit() one first")
    merged = weighed(context, known, p).merged
    rows, labels = merged.rows[merged.is_label], merged.labels[merged.is_label]
    found = label_quality(labels, p[rows], classes).tolist()
    return {known.heard[row]: quality for row, quality in zip(rows.tolist(), found, strict=True)}


def suggestions(context: Context, ids: Sequence[RowId], most: int = 3) -> list[dict[str, float]]:
    """Return the most probable classes of rows, as the model sees them."""
    if context.settings.task == "regression" or context.model is None or not context.model.trains:
        return [{} for _ in ids]
    found = predicted(context, ids)
    if found is None:
        return [{} for _ in ids]
    classes = _classes(context)
    best = np.argsort(-found, axis=1, kind="stable")[:, :most]
    return [{str(classes[c]): float(row[c]) for c in places} for row, places in zip(found, best.tolist(), strict=True)]
