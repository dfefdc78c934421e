"""What learns in a simulation: estimators with probabilities or a decision function, or predictions from elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.models import LoopModel, SklearnModel, as_loop_model
from pickwise.loop.models.base import checked, noting
from pickwise.strategies import BatchBALD, Given, Joint, Margin, Ranking, settled

if TYPE_CHECKING:
    from collections.abc import Callable

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
    def fingerprint(self, seed: int) -> str:
        """Tell the model of a seed from all others."""

    @abstractmethod
    def described(self) -> str:
        """Say what it is, for people."""

    @abstractmethod
    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse a strategy that needs what its models do not have."""


class Fresh(ABC):
    """A model of one run.

    Attributes
    ----------
    classes_ : ndarray of shape (known classes,)
        Which class each column of its predictions is of.
    """

    classes_: NDArray[Any]

    @abstractmethod
    def fit(self, rows: Any, labels: NDArray[Any]) -> None:
        """Learn from all labelled rows."""

    @abstractmethod
    def predict(self, rows: Any) -> NDArray[Any]:
        """Return (rows, known classes): the highest of a row is its class."""

    def rank(self, rows: Any) -> NDArray[Any]:
        """Return what strategies choose by: probabilities, unless `read` says otherwise."""
        return self.predict(rows)

    def read(self, strategy: Strategy) -> Strategy:
        """Return what chooses by `rank` as the strategy does by probabilities."""
        return strategy

    @property
    def committee(self) -> LoopModel | None:
        """What predicts by each of its members."""
        return None


class Asked(LoopModel):
    """A model as strategies ask it, for rows by their positions; the time that it takes is not theirs."""

    kind = "simulated"
    name = "the model"

    def __init__(self, model: Fresh, take: Callable[[Any], Any], clock: Clock) -> None:
        super().__init__("multiclass")
        self._model, self._take, self._clock = model, take, clock

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Predict rows."""
        with self._clock("predicting"):
            return self._predict_proba(X)

    @property
    def can_committee(self) -> bool:
        """Whether the model has members."""
        return self._model.committee is not None

    def predict_committee(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Predict rows by each member."""
        assert self._model.committee is not None  # noqa: S101 - as strategies are checked
        with self._clock("predicting"):
            return self._model.committee.predict_committee(self._take(X))

    def _predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        return self._model.rank(self._take(X))

    def _fit(self, *_: Any) -> None:
        raise TypeError("fit: a simulated model learns within its run")


def as_learner(model: Any, rows: int, classes: NDArray[Any]) -> Learner:
    """Find out how to make models of what `simulate` is given.

    Parameters
    ----------
    model : object
    rows : int
        How many there are.
    classes : ndarray of shape (classes,)

    Raises
    ------
    TypeError
        For what neither predicts classes nor makes what does.
    ValueError
        For predictions of other rows or classes.
    """
    if isinstance(model, np.ndarray) or (isinstance(model, (list, tuple)) and len(model) and np.ndim(model[0]) == 2):
        return _Elsewhere(model, rows, classes)
    make = model if callable(model) and not hasattr(model, "fit") else None
    example = model if make is None else make(0)
    if isinstance(example, type):
        raise TypeError(
            f"model: expected one that is made, got the class {example.__name__}; {example.__name__}() makes one"
        )
    if hasattr(example, "fit") and (_has_probabilities(example) or hasattr(example, "decision_function")):
        return _Estimators(model, make)
    raise TypeError(
        "model: expected a classifier with predict_proba or decision_function, a function of the seed that makes one, "
        f"or predictions of shape (rounds, rows, classes), got {type(example).__name__}"
    )


def _has_probabilities(example: Any) -> bool:
    if isinstance(example, LoopModel):
        return example.trains and example.task == "multiclass"
    return hasattr(example, "predict_proba")


class _Estimators(Learner):
    """Estimators of scikit-learn and its like."""

    def __init__(self, model: Any, make: Callable[[int], Any] | None) -> None:
        self._model, self._make = model, make

    def fresh(self, seed: int) -> Fresh:
        """Make or clone an estimator."""
        made = self._made(seed)
        return _Probable(as_loop_model(made)) if _has_probabilities(made) else _Deciding(made)

    def fingerprint(self, seed: int) -> str:
        """Look at all parameters."""
        from pickle import PicklingError

        from joblib import hash as digest

        try:
            return str(digest(self._made(seed)))
        except (PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                "folder: expected a model that can be pickled, so that its runs are known again, got "
                f"{self.described()}: {error}; give each function in it a name in a module"
            ) from error

    def described(self) -> str:
        """Tell its parameters, of the seed 0 where it depends on that."""
        return repr(self._model if self._make is None else self._make(0))

    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse what needs probabilities where there is a decision function alone, and committees without members."""
        model = self.fresh(0)
        kind = type(self._made(0)).__name__
        if isinstance(model, _Deciding) and _needs_predictions(strategy) and not _is_margin(strategy):
            raise TypeError(
                f"model: expected one with predict_proba for {name!r}, got {kind}, which has only a decision function, "
                "enough for 'margin'; CalibratedClassifierCV gives it probabilities"
            )
        if is_of_committee(strategy) and model.committee is None:
            raise TypeError(f"model: expected one with members, such as a random forest, for {name!r}, got {kind}")

    def _made(self, seed: int) -> Any:
        from sklearn.base import clone

        made = clone(self._model if self._make is None else self._make(seed), safe=False)
        _seed(made.estimator if isinstance(made, SklearnModel) else made, seed)
        return made


def _seed(estimator: Any, seed: int) -> None:
    """Give a seed to what draws and has none: it would be another model each time."""
    parameters = estimator.get_params() if hasattr(estimator, "get_params") else {}
    unseeded = [
        name for name, value in parameters.items() if name.rpartition("__")[2] == "random_state" and value is None
    ]
    if unseeded:
        estimator.set_params(**dict.fromkeys(unseeded, seed))


def is_of_committee(strategy: Strategy) -> bool:
    """Tell whether a strategy goes by several predictions of each row."""
    if isinstance(strategy, BatchBALD):
        return True
    ranking = getattr(strategy, "ranking", strategy)
    return isinstance(ranking, Ranking) and ranking.is_of_committee


def _needs_predictions(strategy: Strategy) -> bool:
    if isinstance(strategy, Joint):
        return strategy.needs != "embeddings" or getattr(strategy, "prefilter", None) is not None
    return not isinstance(strategy, Ranking) or strategy.needs_matrix


def _is_margin(strategy: Strategy) -> bool:
    """Whether margins are enough: also for what goes by embeddings beside them where there are any."""
    return isinstance(settled(strategy, has_embeddings=False), Margin)


class _Probable(Fresh):
    """A model with probabilities."""

    def __init__(self, model: LoopModel) -> None:
        self._model = model

    def fit(self, rows: Any, labels: NDArray[Any]) -> None:
        """Learn."""
        self._model.fit(rows, labels)
        self.classes_ = np.array(self._model.classes_.tolist())

    def predict(self, rows: Any) -> NDArray[Any]:
        """Predict probabilities."""
        return self._model.predict_proba(rows)

    @property
    def committee(self) -> LoopModel | None:
        """The model itself, if it is an ensemble."""
        return self._model if self._model.can_committee else None


class _Deciding(Fresh):
    """A model with a decision function: how sure it is of a row is how far its best class is ahead."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def fit(self, rows: Any, labels: NDArray[Any]) -> None:
        """Learn."""
        with noting(f"{type(self._estimator).__name__} was being fitted to {len(labels)} rows"):
            self._estimator.fit(rows, labels)
        self.classes_ = np.asarray(self._estimator.classes_)

    def predict(self, rows: Any) -> NDArray[Any]:
        """Return a value a class; of two classes the second is predicted where its own is above 0."""
        values = np.asarray(self._estimator.decision_function(rows), np.float64)
        values = values if values.ndim == 2 else np.stack([-values, values], axis=1)
        if values.shape[1] != len(self.classes_):
            raise ValueError(
                f"model: expected a decision function with a column for each of {len(self.classes_)} classes, got "
                f"{values.shape[1]}; an SVC has them with decision_function_shape='ovr'"
            )
        return values

    def rank(self, rows: Any) -> NDArray[Any]:
        """Return how little the best class is ahead, one number a row."""
        values = np.sort(self.predict(rows), axis=1)
        return np.asarray(values[:, -2] - values[:, -1])

    def read(self, strategy: Strategy) -> Strategy:
        """Take that for the margin."""
        return Given() if _is_margin(strategy) else strategy


class _Elsewhere(Learner):
    """What was predicted elsewhere, after each round."""

    takes_positions = True

    def __init__(self, rounds: Any, rows: int, classes: NDArray[Any]) -> None:
        if not len(rounds):
            raise ValueError("model: expected predictions of one round or more, got none")
        self._classes = classes
        self._rounds = [
            checked(np.asarray(each), (rows, len(classes)), "multiclass", f"in the predictions of round {number}")
            for number, each in enumerate(rounds)
        ]

    def fresh(self, seed: int) -> Fresh:  # noqa: ARG002 - they are the same for all
        """Begin with the first round."""
        return _Told(self._rounds, self._classes)

    def fingerprint(self, seed: int) -> str:  # noqa: ARG002
        """Look at all predictions."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        from joblib import hash as digest

        return str(digest(self._rounds, coerce_mmap=True))

    def described(self) -> str:
        """Tell how many rounds there are."""
        return f"predictions of {len(self._rounds)} rounds"

    def check(self, name: str, strategy: Strategy) -> None:
        """Refuse committees."""
        if is_of_committee(strategy):
            raise TypeError(f"model: expected one with members for {name!r}, got predictions of one")


class _Told(Fresh):
    """Predictions of one run; each round that learns takes the next, the last one for ever."""

    def __init__(self, rounds: list[NDArray[Any]], classes: NDArray[Any]) -> None:
        self._left, self._now, self.classes_ = rounds[::-1], rounds[0], classes

    def fit(self, rows: Any, labels: NDArray[Any]) -> None:  # noqa: ARG002
        """Go on to the next round."""
        if self._left:
            self._now = self._left.pop()

    def predict(self, rows: Any) -> NDArray[Any]:
        """Look rows up by their positions."""
        return np.asarray(self._now[rows])
