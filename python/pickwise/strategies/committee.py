"""The rows that the members of a committee make different things of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise import committee
from pickwise.arrays import as_scores
from pickwise.scores import native_score
from pickwise.strategies.base import Ranking

if TYPE_CHECKING:
    from pickwise.arrays import Rows


@dataclass(frozen=True, kw_only=True)
class Committee(Ranking):
    """What the strategies have in common that rank by what several models make of a row.

    The pool is a committee: an array of shape (members, rows, classes), or a sequence or an iterator of members. For a
    reducer each chunk is one. Rows that are no probabilities are refused, with ``invalid="skip"`` as well.

    Parameters
    ----------
    from_logits : bool
        Whether the members hold logits.
    """

    from_logits: bool = False

    @property
    def is_of_committee(self) -> bool:
        """True: a pool has several predictions for each row."""
        return True

    def criterion(self, *, binary: bool) -> str:  # noqa: ARG002 - the same for all
        """Name the scores that `read` makes."""
        return "given"

    def read(self, pool: Any, name: str, *, allow_empty: bool = False) -> Rows:  # noqa: ARG002 - a committee has rows
        """Score the rows of a committee."""
        return as_scores(getattr(committee, self.name)(pool, **self.arguments), name)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the function of the same name is called with, for scores in double precision."""
        return self.options


@dataclass(frozen=True, kw_only=True)
class Disagreement(Committee):
    """What the strategies have in common that look at the probabilities of the members.

    Parameters
    ----------
    from_logits : bool
        Whether the members hold logits.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30. For logits only.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        native_score("entropy", binary=False, **self.options)  # a bad option is refused where it is written

    @property
    def arguments(self) -> dict[str, Any]:
        """What the function of the same name is called with, for scores in double precision."""
        return self.options | {"dtype": np.float64}


@dataclass(frozen=True, kw_only=True)
class Bald(Disagreement):
    """Rows with the highest mutual information of label and model; see `pickwise.bald`.

    Parameters
    ----------
    from_logits, temperature
        As in `Disagreement`.

    Examples
    --------
    >>> import pickwise as pw
    >>> committee = [[[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]]
    >>> pw.select(committee, 1, "bald")
    Selection of 1 rows by Bald(from_logits=False, temperature=1.0)
      id  index     score
       1      1  0.693147
    """

    name: ClassVar[str] = "bald"


@dataclass(frozen=True, kw_only=True)
class ConsensusKL(Disagreement):
    """Rows whose members are farthest from their mean; see `pickwise.consensus_kl`. The rows are those of `Bald`.

    Parameters
    ----------
    from_logits, temperature
        As in `Disagreement`.
    """

    name: ClassVar[str] = "consensus_kl"


@dataclass(frozen=True, kw_only=True)
class PredictiveEntropy(Disagreement):
    """Rows whose mean prediction has the highest entropy; see `pickwise.predictive_entropy`.

    Parameters
    ----------
    from_logits, temperature
        As in `Disagreement`.
    """

    name: ClassVar[str] = "predictive_entropy"


@dataclass(frozen=True, kw_only=True)
class ExpectedEntropy(Disagreement):
    """Rows of whose members the mean entropy is highest; see `pickwise.expected_entropy`.

    Parameters
    ----------
    from_logits, temperature
        As in `Disagreement`.
    """

    name: ClassVar[str] = "expected_entropy"


@dataclass(frozen=True, kw_only=True)
class VoteEntropy(Committee):
    """Rows that the members vote on most variously; see `pickwise.vote_entropy`.

    The members may be votes as well, integers of shape (rows,).

    Parameters
    ----------
    from_logits : bool
        Whether the members hold logits.
    """

    name: ClassVar[str] = "vote_entropy"


@dataclass(frozen=True, kw_only=True)
class VariationRatios(Committee):
    """Rows for whose winner the fewest members vote; see `pickwise.variation_ratios`.

    The members may be votes as well, integers of shape (rows,).

    Parameters
    ----------
    from_logits : bool
        Whether the members hold logits.
    """

    name: ClassVar[str] = "variation_ratios"
