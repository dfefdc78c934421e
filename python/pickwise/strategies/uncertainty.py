"""The rows that the model is least sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pickwise import scores
from pickwise.strategies.base import Ranking

if TYPE_CHECKING:
    from pickwise import _native


@dataclass(frozen=True, kw_only=True)
class Uncertainty(Ranking):
    """What the strategies have in common that rank by an uncertainty score.

    Parameters
    ----------
    from_logits : bool
        Whether the pool holds logits.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30. For logits only.
    task : {"multiclass", "multilabel"}
        Whether a row is one distribution over classes or an independent probability for each label.
    how : {"mean", "max", "sum"}
        For multilabel: how a row's scores, one for each label, become one.

    Raises
    ------
    ValueError
        For an option that makes no sense.
    """

    from_logits: bool = False
    temperature: float = 1.0
    task: scores.Task = "multiclass"
    how: scores.How = "mean"

    def __post_init__(self) -> None:
        self.criterion(binary=False)  # a bad option is refused where it is written

    @property
    def min_classes(self) -> int:
        """One for multilabel, else two."""
        return scores.min_classes(self.task)

    def criterion(self, *, binary: bool) -> _native.Score:
        """Describe the score to the native part."""
        return scores.native_score(self.name, binary=binary, **self.options)


@dataclass(frozen=True, kw_only=True)
class Entropy(Uncertainty):
    """Rows with the highest entropy; see `pickwise.entropy`.

    Parameters
    ----------
    base : float, optional
        Base of the logarithm; nats by default. The rows selected are the same in any.
    normalize : bool
        Divide by the entropy of equally probable classes.
    from_logits, temperature, task, how
        As in `Uncertainty`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.5, 0.5], [0.9, 0.1]], 1, pw.Entropy(base=2)).scores
    array([1.])
    """

    name: ClassVar[str] = "entropy"
    base: float | None = None
    normalize: bool = False


@dataclass(frozen=True, kw_only=True)
class Margin(Uncertainty):
    """Rows whose two most probable classes are closest; see `pickwise.margin`.

    Parameters
    ----------
    from_logits, temperature, task, how
        As in `Uncertainty`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.Margin(from_logits=True)
    Margin(from_logits=True, temperature=1.0, task='multiclass', how='mean')
    """

    name: ClassVar[str] = "margin"


@dataclass(frozen=True, kw_only=True)
class LeastConfidence(Uncertainty):
    """Rows whose most probable class is least probable; see `pickwise.least_confidence`.

    Parameters
    ----------
    from_logits, temperature, task, how
        As in `Uncertainty`.
    """

    name: ClassVar[str] = "least_confidence"


@dataclass(frozen=True, kw_only=True)
class Ratio(Uncertainty):
    """Rows whose second class is nearly as probable as the first; see `pickwise.ratio`.

    Parameters
    ----------
    from_logits, temperature, task, how
        As in `Uncertainty`.
    """

    name: ClassVar[str] = "ratio"
