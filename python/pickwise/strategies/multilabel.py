"""The rows whose labels a model is least sure of, where a row may have several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise import multilabel
from pickwise.arrays import as_rows
from pickwise.scores import native_score
from pickwise.strategies.base import Ranking

if TYPE_CHECKING:
    from pickwise import _native
    from pickwise.arrays import Rows


@dataclass(frozen=True, kw_only=True)
class Multilabel(Ranking):
    """What the strategies have in common whose pool holds an independent probability for each label.

    Parameters
    ----------
    from_logits : bool
        Whether the pool holds logits.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30. For logits only.

    Raises
    ------
    ValueError
        For an option that makes no sense.
    """

    task: ClassVar[str] = "multilabel"
    from_logits: bool = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        self._native_score("least_confidence", binary=False)  # a bad option is refused where it is written

    @property
    def min_classes(self) -> int:
        """One: a single label."""
        return 1

    def _native_score(self, name: str, *, binary: bool, **options: Any) -> _native.Score:
        return native_score(name, binary=binary, task=self.task, **options, **self.options)


@dataclass(frozen=True, kw_only=True)
class MaximumLoss(Multilabel):
    """What the strategies have in common whose scores are made in Python, block by block.

    Rows that are no probabilities have the score NaN.
    """

    def criterion(self, *, binary: bool) -> str:  # noqa: ARG002 - the same for all
        """Name the scores that `read` makes."""
        return "given"

    def read(self, pool: Any, name: str, *, allow_empty: bool = False) -> Rows:
        """Score rows as they are read."""
        rows = as_rows(pool, name, min_classes=self.min_classes, allow_empty=allow_empty)
        self._native_score("least_confidence", binary=rows.binary)  # refuses P(y=1)
        return multilabel.losses(self.name, rows, **self.options)


@dataclass(frozen=True, kw_only=True)
class MaxLoss(MaximumLoss):
    """Rows with the highest loss if they have their most probable label only; see `pickwise.max_loss`.

    Parameters
    ----------
    from_logits, temperature
        As in `Multilabel`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[1.0, 0.0, 0.0], [0.75, 0.75, 0.0], [0.25, 0.0, 0.0]], 2, "max_loss").ids
    array([1, 2])
    """

    name: ClassVar[str] = "max_loss"


@dataclass(frozen=True, kw_only=True)
class MeanMaxLoss(MaximumLoss):
    """Rows with the highest mean loss if they have one of the predicted labels only; see `pickwise.mean_max_loss`.

    Parameters
    ----------
    from_logits, temperature
        As in `Multilabel`.
    """

    name: ClassVar[str] = "mean_max_loss"


@dataclass(frozen=True, kw_only=True)
class MMC(Multilabel):
    """Rows with the highest loss if they have the labels whose probability is above 1/2; see `pickwise.mmc`.

    For predicted numbers of labels pass ``pickwise.mmc(p, counts)`` to `pickwise.top_k`.

    Parameters
    ----------
    from_logits, temperature
        As in `Multilabel`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.75, 0.5, 0.25], [1.0, 1.0, 0.0]], 1, "mmc").scores
    array([1.])
    """

    name: ClassVar[str] = "mmc"

    def criterion(self, *, binary: bool) -> _native.Score:
        """Describe the score to the native part."""
        return self._native_score("least_confidence", binary=binary, how="sum")
