"""What learns in a simulation: estimators with probabilities or a decision function, or predictions from elsewhere."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.models import LoopModel, as_loop_model
from pickwise.loop.models.base import noting
from pickwise.strategies import BatchBALD, Given, Joint, Margin, Ranking

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.evaluate.runs import Clock
    from pickwise.strategies import Strategy


class Learner(ABC):
    """What makes a new model for each run.

    Attributes
    ----------
    takes_positions : bool
        Whether a row is known to it by its position alone.
    """

    takes_positions = False

    @abstractmethod
    def fresh(self, seed: int) -> Fresh:
        """Make a model that has learnt nothing."""

    @abstractmethod
    def described(self) -> str:
        """Say what it is, so that another one is described otherwise."""

    @abstractmethod
    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse a strategy that needs what its models do not have."""


class Fresh(ABC):
    """A model of one run. Labels are numbers of classes.

    Attributes
    ----------
    classes : ndarray of int64 of shape (known classes,)
        Which class each column of its predictions is of.
    """

    classes: NDArray[np.int64]

    @abstractmethod
    def fit(self, rows: Any, labels: NDArray[np.int64]) -> None:
        """Learn from all labelled rows."""

    @abstractmethod
    def predicted(self, rows: Any) -> NDArray[np.float64]:
        """Predict rows: the highest of a row is its class."""

    @abstractmethod
    def timed(self, clock: Clock) -> LoopModel:
        """Return what strategies ask, which tells a clock when it is at work."""

    def read(self, strategy: Strategy) -> Strategy:
        """Return what selects by its predictions as the strategy does by probabilities."""
        return strategy


def as_learner(model: Any, rows: int) -> Learner:
    """Find out how to make models of what `simulate` is given.

    Raises
    ------
    TypeError
        For what neither predicts classes nor makes what does.
    ValueError
        For predictions of other rows.
    """
    if isinstance(model, np.ndarray) or (isinstance(model, (list, tuple)) and len(model) and np.ndim(model[0]) == 2):
        return _Elsewhere(model, rows)
    is_factory = callable(model) and not hasattr(model, "fit")
    example = model(0) if is_factory else model
    if isinstance(model, type):
        raise TypeError(
            f"model: expected one that is made, got the class {model.__name__}; {model.__name__}() makes one"
        )
    if hasattr(example, "predict_proba") or isinstance(example, LoopModel):
        return _Estimators(model, is_factory)
    if hasattr(example, "decision_function"):
        return _Estimators(model, is_factory, decides=True)
    raise TypeError(
        "model: expected a classifier with predict_proba or decision_function, a function of the seed that makes one, "
        f"or predictions of shape (rounds, rows, classes), got {type(example).__name__}"
    )


def _is_of_committee(strategy: Strategy) -> bool:
    return isinstance(strategy, BatchBALD) or (isinstance(strategy, Ranking) and strategy.is_of_committee)


class _Estimators(Learner):
    """Estimators of scikit-learn and its like."""

    def __init__(self, model: Any, is_factory: bool, *, decides: bool = False) -> None:
        self._model, self._is_factory, self._decides = model, is_factory, decides

    def fresh(self, seed: int) -> Fresh:
        """Make or clone an estimator."""
        from sklearn.base import clone

        estimator = self._model(seed) if self._is_factory else self._model
        if self._decides:
            return _Deciding(clone(estimator))
        return _Probable(as_loop_model(estimator if isinstance(estimator, LoopModel) else clone(estimator)))

    def described(self) -> str:
        """Tell its parameters, or the source of what makes it."""
        if not self._is_factory:
            return repr(self._model)
        try:
            return inspect.getsource(self._model).strip()
        except (OSError, TypeError):
            return repr(self._model(0))

    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse what needs probabilities where there is a decision function alone, and committees without members."""
        needs_committee = isinstance(strategy, BatchBALD) or (
            isinstance(strategy, Ranking) and strategy.is_of_committee
        )
        needs_nothing = (isinstance(strategy, Ranking) and not strategy.needs_matrix) or (
            isinstance(strategy, Joint) and strategy.needs == "embeddings" and not getattr(strategy, "prefilter", None)
        )
        example = self._model(0) if self._is_factory else self._model
        if self._decides and not (isinstance(strategy, Margin) or needs_nothing):
            raise TypeError(
                f"model: expected one with predict_proba for {name!r}, got {type(example).__name__}, which has only a "
                "decision function, enough for 'margin'; CalibratedClassifierCV gives it probabilities"
            )
        if needs_committee and not (hasattr(example, "n_estimators") or hasattr(example, "predict_committee")):
            raise TypeError(
                f"model: expected one with members, such as a forest, for {name!r}, got {type(example).__name__}"
            )


class _Probable(Fresh):
    """A model with probabilities."""

    def __init__(self, model: LoopModel) -> None:
        self._model = model

    def fit(self, rows: Any, labels: NDArray[np.int64]) -> None:
        """Learn."""
        self._model.fit(rows, labels)
        self.classes = np.asarray(self._model.classes_.tolist(), np.int64)

    def predicted(self, rows: Any) -> NDArray[np.float64]:
        """Predict probabilities."""
        return np.asarray(self._model.predict_proba(rows), np.float64)

    def timed(self, clock: Clock) -> LoopModel:
        """Return the model, with its predictions timed."""
        return _Timed(self._model, clock)


class _Deciding(Fresh):
    """A model with a decision function: how sure it is of a row is how far its best class is ahead."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def fit(self, rows: Any, labels: NDArray[np.int64]) -> None:
        """Learn."""
        with noting(f"{type(self._estimator).__name__} was being fitted to {len(labels)} rows"):
            self._estimator.fit(rows, labels)
        self.classes = np.asarray(self._estimator.classes_, np.int64)

    def predicted(self, rows: Any) -> NDArray[np.float64]:
        """Return a value a class; of two classes that of the second is above 0 where it is predicted."""
        values = np.asarray(self._estimator.decision_function(rows), np.float64)
        return values if values.ndim == 2 else np.stack([np.zeros(len(values)), values], axis=1)

    def timed(self, clock: Clock) -> LoopModel:
        """Return what gives -gap for each row."""
        return _Gaps(self, clock)

    def read(self, strategy: Strategy) -> Strategy:
        """Take the gap for the margin."""
        return Given() if isinstance(strategy, Margin) else strategy


class _Passing(LoopModel):
    """A model that passes all on to another, for strategies to ask."""

    kind = "simulated"

    def __init__(self, name: str, clock: Clock) -> None:
        super().__init__("multiclass")
        self.name, self._clock = name, clock

    def _fit(self, X: Any, y: Any, classes: Any, new: Any) -> None:  # noqa: N803
        raise NotImplementedError

    def _predict_proba(self, X: Any) -> Any:  # noqa: N803
        raise NotImplementedError


class _Timed(_Passing):
    """A model whose predictions are timed."""

    def __init__(self, model: LoopModel, clock: Clock) -> None:
        super().__init__(model.name, clock)
        self._model = model

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Predict, and tell the clock."""
        with self._clock("predicting"):
            return self._model.predict_proba(X)

    @property
    def can_committee(self) -> bool:
        """Whether the model has members."""
        return self._model.can_committee

    def predict_committee(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Predict by each member, and tell the clock."""
        with self._clock("predicting"):
            return self._model.predict_committee(X)


class _Gaps(_Passing):
    """How little the best class of a decision function is ahead of the second."""

    def __init__(self, model: _Deciding, clock: Clock) -> None:
        super().__init__("a decision function", clock)
        self._model = model

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return -gap, one number a row."""
        with self._clock("predicting"):
            values = np.sort(self._model.predicted(X), axis=1)
        return values[:, -2] - values[:, -1]


class _Elsewhere(Learner):
    """What was predicted elsewhere, after each round."""

    takes_positions = True

    def __init__(self, rounds: Any, rows: int) -> None:
        self._rounds = [np.asarray(each, np.float64) for each in rounds]
        for number, each in enumerate(self._rounds):
            if each.ndim != 2 or len(each) != rows:
                raise ValueError(f"model: expected predictions of {rows} rows of round {number}, got {each.shape}")

    def fresh(self, seed: int) -> Fresh:  # noqa: ARG002 - they are the same for all
        """Begin with the first round."""
        return _Told(self._rounds)

    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse committees."""
        if _is_of_committee(strategy):
            raise TypeError(f"model: expected one with members for {name!r}, got predictions of one")

    def described(self) -> str:
        """Tell what was predicted."""
        about = hashlib.blake2b(digest_size=16)
        for each in self._rounds:
            about.update(np.ascontiguousarray(each).tobytes())
        return f"predictions of {len(self._rounds)} rounds, {about.hexdigest()}"


class _Told(Fresh):
    """Predictions of one run; each round that learns takes the next, the last one for ever."""

    def __init__(self, rounds: list[NDArray[np.float64]]) -> None:
        self._rounds, self._round = rounds, -1
        self.classes = np.arange(rounds[0].shape[1])

    def fit(self, rows: Any, labels: NDArray[np.int64]) -> None:  # noqa: ARG002
        """Go on to the next round."""
        self._round = min(self._round + 1, len(self._rounds) - 1)

    def predicted(self, rows: Any) -> NDArray[np.float64]:
        """Look rows up by their positions."""
        return np.asarray(self._rounds[self._round][np.asarray(rows)])

    def timed(self, clock: Clock) -> LoopModel:
        """Return what looks rows up."""
        return _Looked(self, clock)


class _Looked(_Passing):
    """Predictions that are looked up."""

    def __init__(self, told: _Told, clock: Clock) -> None:
        super().__init__("predictions", clock)
        self._told = told

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Look rows up."""
        return self._told.predicted(X)
