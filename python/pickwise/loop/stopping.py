"""When to stop asking for labels: criteria on the history of rounds."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

from pickwise.loop.history import LESS_IS_BETTER, State
from pickwise.options import as_count, as_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pickwise.loop.history import Round


@dataclass(frozen=True)
class Standing:
    """Where a project stands, besides its history.

    Attributes
    ----------
    asked : int
        Rows that were asked for.
    seconds : float
        How long the loop has been running.
    """

    asked: int
    seconds: float


@dataclass(frozen=True)
class Criterion(ABC):
    """When to stop. ``a | b`` stops as soon as one of them does, ``a & b`` when both do.

    Criteria are frozen dataclasses: they print, compare, and go into a file by `to_dict`.

    Examples
    --------
    >>> Budget(labels=1000) | (Plateau() & Target("accuracy", at_least=0.9))
    Budget(labels=1000) | Plateau(metric='accuracy', rounds=3, gain=0.002) & Target(metric='accuracy', at_least=0.9)
    """

    def check(self, history: Sequence[Round], standing: Standing) -> str | None:
        """Say why to stop, in a sentence with the figures, or None to go on.

        Parameters
        ----------
        history : sequence of Round
            All rounds so far, in order. Those that are not trained yet are passed over.
        standing : Standing
            What is not in the history.
        """
        return self._reason([each for each in history if each.state == State.trained], standing)

    @abstractmethod
    def _reason(self, trained: Sequence[Round], standing: Standing, /) -> str | None:
        """Say why to stop after rounds that are all trained."""

    def __or__(self, other: object) -> Criterion:
        return AnyOf(_joined(AnyOf, self, other)) if isinstance(other, Criterion) else NotImplemented

    def __and__(self, other: object) -> Criterion:
        return AllOf(_joined(AllOf, self, other)) if isinstance(other, Criterion) else NotImplemented

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON and TOML can hold it.

        Examples
        --------
        >>> (Budget(labels=500) | Rounds(20)).to_dict()
        {'any': [{'criterion': 'budget', 'labels': 500}, {'criterion': 'rounds', 'n': 20}]}
        """
        options = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"criterion": _NAMES[type(self)], **options}

    @staticmethod
    def from_dict(options: Mapping[str, Any]) -> Criterion:
        """Read what `to_dict` wrote.

        Raises
        ------
        TypeError, ValueError
            If the name or an option is unknown, or an option makes no sense.

        Examples
        --------
        >>> Criterion.from_dict({"criterion": "plateau", "rounds": 5})
        Plateau(metric='accuracy', rounds=5, gain=0.002)
        """
        if not isinstance(options, Mapping):
            raise TypeError(f"criterion: expected a mapping such as {{'criterion': 'plateau'}}, got {options!r}")
        for key, kind in ("any", AnyOf), ("all", AllOf):
            if key in options:
                if len(options) > 1 or not isinstance(options[key], (list, tuple)):
                    raise ValueError(f"{key}: expected a list of criteria and nothing else, got {dict(options)!r}")
                return kind(tuple(map(Criterion.from_dict, options[key])))
        name = options.get("criterion")
        if not isinstance(name, str) or name not in CRITERIA:
            raise ValueError(f"criterion: expected one of {', '.join(CRITERIA)}, got {name!r}")
        given = {key: value for key, value in options.items() if key != "criterion"}
        known = {field.name: field.default is MISSING for field in fields(CRITERIA[name])}
        lacking = [key for key, needed in known.items() if needed and key not in given]
        if lacking or not known.keys() >= given.keys():
            raise ValueError(f"{name}: expected the options {', '.join(known)}, got {', '.join(given) or 'none'}")
        return CRITERIA[name](**given)


@dataclass(frozen=True, repr=False)
class _Several(Criterion):
    """Criteria that are joined."""

    criteria: tuple[Criterion, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "criteria", tuple(self.criteria))
        if not self.criteria:
            raise ValueError("criteria: expected at least one, got none")
        given: tuple[object, ...] = self.criteria
        if wrong := [one for one in given if not isinstance(one, Criterion)]:
            raise TypeError(f"criteria: expected criteria such as Budget(labels=500), got {wrong[0]!r}")

    def _reasons(self, trained: Sequence[Round], standing: Standing) -> list[str]:
        return [reason for one in self.criteria if (reason := one.check(trained, standing)) is not None]


class AnyOf(_Several):
    """Stop as soon as one of several criteria does; written ``a | b``."""

    def _reason(self, trained: Sequence[Round], standing: Standing, /) -> str | None:
        return "; ".join(self._reasons(trained, standing)) or None

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON and TOML can hold it."""
        return {"any": [one.to_dict() for one in self.criteria]}

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.criteria))


class AllOf(_Several):
    """Stop when several criteria do, all after the same round; written ``a & b``."""

    def _reason(self, trained: Sequence[Round], standing: Standing, /) -> str | None:
        reasons = self._reasons(trained, standing)
        return "; ".join(reasons) if len(reasons) == len(self.criteria) else None

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON and TOML can hold it."""
        return {"all": [one.to_dict() for one in self.criteria]}

    def __repr__(self) -> str:
        return " & ".join(f"({one!r})" if isinstance(one, AnyOf) else repr(one) for one in self.criteria)


def _joined(kind: type[_Several], *criteria: Criterion) -> tuple[Criterion, ...]:
    """Take apart those that are joined in the same way: ``a | b | c`` is one list."""
    return tuple(one for each in criteria for one in (each.criteria if isinstance(each, kind) else (each,)))


@dataclass(frozen=True)
class Budget(Criterion):
    """Stop when so many labels were asked for; those of the seed cost none."""

    labels: int

    def __post_init__(self) -> None:
        _set_counts(self, "labels")

    def _reason(self, _: Sequence[Round], standing: Standing, /) -> str | None:
        if standing.asked < self.labels:
            return None
        return f"the budget of {self.labels:,} labels is spent: {standing.asked:,} rows were asked for"


@dataclass(frozen=True)
class Rounds(Criterion):
    """Stop after so many rounds; the seed is none."""

    n: int

    def __post_init__(self) -> None:
        _set_counts(self, "n")

    def _reason(self, trained: Sequence[Round], _: Standing, /) -> str | None:
        done = sum(each.number > 0 for each in trained)
        return None if done < self.n else f"{done} of {self.n} rounds are done"


@dataclass(frozen=True)
class Time(Criterion):
    """Stop when the loop has been running for so many seconds."""

    seconds: float

    def __post_init__(self) -> None:
        _set_numbers(self, "seconds", least=0)

    def _reason(self, _: Sequence[Round], standing: Standing, /) -> str | None:
        if standing.seconds < self.seconds:
            return None
        return f"{standing.seconds:,.0f} s have passed, of the {self.seconds:,.0f} s given"


@dataclass(frozen=True)
class Target(Criterion):
    """Stop when a metric of the last round is as good as wanted."""

    metric: str
    at_least: float

    def __post_init__(self) -> None:
        _check_metric(self.metric)
        _set_numbers(self, "at_least")

    def _reason(self, trained: Sequence[Round], _: Standing, /) -> str | None:
        for value in _last(trained, self.metric, 1):
            if value >= self.at_least:
                return f"{self.metric} has reached {value:.4g}, at least {self.at_least:.4g}"
        return None


@dataclass(frozen=True)
class Plateau(Criterion):
    """Stop when a metric has not risen by more than `gain` for some rounds.

    The best of the last `rounds` is held against the best of all before.
    """

    metric: str = "accuracy"
    rounds: int = 3
    gain: float = 0.002

    def __post_init__(self) -> None:
        _check_metric(self.metric)
        _set_counts(self, "rounds")
        _set_numbers(self, "gain", least=0)

    def _reason(self, trained: Sequence[Round], _: Standing, /) -> str | None:
        values = _values(trained, self.metric)
        recent, before = values[-self.rounds :], [value for value in values[: -self.rounds] if value is not None]
        measured = [value for value in recent if value is not None]
        if not before or len(measured) < self.rounds or max(measured) > max(before) + self.gain:
            return None
        return (
            f"{self.metric} has not risen by more than {self.gain:.4g} in {_rounds(self.rounds)}: "
            f"best {max(measured):.4g}, before {max(before):.4g}"
        )


@dataclass(frozen=True)
class StabilizingPredictions(Criterion):
    """Stop when successive models agree on the probe: the mean of the last kappas is at least `kappa`.

    After [1]_, whose defaults these are; needs the metric "agreement". That F changes little where kappa is high is
    proved in [2]_.

    References
    ----------
    .. [1] M. Bloodgood and K. Vijay-Shanker. A method for stopping active learning based on stabilizing predictions and
       the need for user-adjustable stopping. CoNLL 2009.
    .. [2] M. Bloodgood and J. Grothendieck. Analysis of stopping active learning based on stabilizing predictions.
       CoNLL 2013.
    """

    kappa: float = 0.99
    rounds: int = 3

    def __post_init__(self) -> None:
        _set_numbers(self, "kappa", least=-1, most=1)
        _set_counts(self, "rounds")

    def _reason(self, trained: Sequence[Round], _: Standing, /) -> str | None:
        values = _last(trained, "agreement", self.rounds)
        if not values or (mean := statistics.mean(values)) < self.kappa:
            return None
        return f"successive models agree: mean kappa of {_rounds(self.rounds)} {mean:.4f}, at least {self.kappa:.4g}"


@dataclass(frozen=True)
class OverallUncertainty(Criterion):
    """Stop when the model is certain: the mean entropy on the probe, as a share of the greatest, is below a bound.

    After [1]_, which takes the mean over all unlabelled rows; needs the metric "uncertainty". A model that is too sure
    of itself stops too early: calibrate it, or join this to a criterion that looks at labels.

    References
    ----------
    .. [1] J. Zhu, H. Wang, E. Hovy and M. Ma. Confidence-based stopping criteria for active learning for data
       annotation. ACM Transactions on Speech and Language Processing 6, 2010.
    """

    below: float = 0.05

    def __post_init__(self) -> None:
        _set_numbers(self, "below", least=0, most=1)

    def _reason(self, trained: Sequence[Round], _: Standing, /) -> str | None:
        return _all_below(self.below, "the mean uncertainty on the probe is", _last(trained, "uncertainty", 1))


@dataclass(frozen=True)
class ClassificationChange(Criterion):
    """Stop when hardly any row of the probe changes its class any more.

    In [1]_, from which [2]_ goes on, no unlabelled row may change between two successive models; here a share of them
    below a bound may, in each of the last rounds. Needs the metric "changed".

    References
    ----------
    .. [1] J. Zhu, H. Wang and E. Hovy. Multi-criteria-based strategy to stop active learning for data annotation.
       COLING 2008.
    .. [2] J. Zhu, H. Wang, E. Hovy and M. Ma. Confidence-based stopping criteria for active learning for data
       annotation. ACM Transactions on Speech and Language Processing 6, 2010.
    """

    below: float = 0.001
    rounds: int = 2

    def __post_init__(self) -> None:
        _set_numbers(self, "below", least=0)
        _set_counts(self, "rounds")

    def _reason(self, trained: Sequence[Round], _: Standing, /) -> str | None:
        what = f"the share of the probe that changed its class was, in {_rounds(self.rounds)},"
        return _all_below(self.below, what, _last(trained, "changed", self.rounds))


@dataclass(frozen=True)
class DeltaF(Criterion):
    """Stop when the F measure is expected to change no more: its estimated change is below a bound for some rounds.

    After [1]_; needs the metric "delta_f".

    References
    ----------
    .. [1] M. Altschuler and M. Bloodgood. Stopping active learning based on predicted change of F measure for text
       classification. IEEE International Conference on Semantic Computing 2019 (arXiv:1901.09118).
    """

    below: float = 0.005
    rounds: int = 3

    def __post_init__(self) -> None:
        _set_numbers(self, "below", least=0)
        _set_counts(self, "rounds")

    def _reason(self, trained: Sequence[Round], _: Standing, /) -> str | None:
        what = f"the estimated change of F was, in {_rounds(self.rounds)},"
        return _all_below(self.below, what, _last(trained, "delta_f", self.rounds))


CRITERIA: dict[str, type[Criterion]] = {
    "budget": Budget,
    "rounds": Rounds,
    "time": Time,
    "target": Target,
    "plateau": Plateau,
    "stabilizing_predictions": StabilizingPredictions,
    "overall_uncertainty": OverallUncertainty,
    "classification_change": ClassificationChange,
    "delta_f": DeltaF,
}
"""The criteria by the names that `Criterion.to_dict` gives them."""

_NAMES = {criterion: name for name, criterion in CRITERIA.items()}


def _values(trained: Sequence[Round], metric: str) -> list[float | None]:
    """Return a metric of each round; None where it was not measured."""
    values = [each.metrics.get(metric) for each in trained]
    return [None if value is None or math.isnan(value) else value for value in values]


def _last(trained: Sequence[Round], metric: str, rounds: int) -> list[float]:
    """Return a metric of the last rounds, or nothing if one of them lacks it."""
    recent = _values(trained, metric)[-rounds:]
    measured = [value for value in recent if value is not None]
    return measured if len(measured) == rounds else []


def _all_below(below: float, what: str, values: list[float]) -> str | None:
    if not values or max(values) >= below:
        return None
    return f"{what} {max(values):.4g}{' at most' if len(values) > 1 else ''}, below {below:.4g}"


def _rounds(n: int) -> str:
    return "the last round" if n == 1 else f"the last {n} rounds"


def _set_counts(criterion: Criterion, *names: str) -> None:
    for name in names:
        object.__setattr__(criterion, name, as_count(getattr(criterion, name), name, least=1))


def _set_numbers(criterion: Criterion, name: str, *, least: float = -math.inf, most: float = math.inf) -> None:
    number = as_number(getattr(criterion, name), name)
    if not least <= number <= most or not math.isfinite(number):
        bounds = (
            ""
            if least == -math.inf
            else f" of at least {least:g}"
            if most == math.inf
            else f" from {least:g} to {most:g}"
        )
        raise ValueError(f"{name}: expected a number{bounds}, got {number}")
    object.__setattr__(criterion, name, number)


def _check_metric(metric: Any) -> None:
    if not isinstance(metric, str) or metric in LESS_IS_BETTER:
        raise ValueError(f"metric: expected one of which more is better, such as 'accuracy', got {metric!r}")
