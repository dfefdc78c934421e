"""Rows whose labels together tell most about a committee."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pickwise import _native
from pickwise.committee import invalid_member, matrices
from pickwise.options import as_count, as_seed
from pickwise.progress import reporting
from pickwise.scores import native_score
from pickwise.strategies.base import Strategy
from pickwise.strategies.committee import Bald
from pickwise.strategies.stochastic import PowerSampling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pickwise.limits import Limits
    from pickwise.options import RandomState
    from pickwise.progress import Progress

_MOST_SAMPLES = 10**8


@dataclass(frozen=True, kw_only=True)
class BatchBALD(Strategy):
    """Rows whose labels together tell most about the committee; see `pickwise.batch_bald`.

    Parameters
    ----------
    from_logits : bool
        Whether the members hold logits.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30. For logits only.
    samples : int
        The most configurations of labels that gains are computed with, up to 1e8.

    Raises
    ------
    TypeError, ValueError
        For an option that makes no sense.

    Examples
    --------
    >>> import pickwise as pw
    >>> yes, no = [0.95, 0.05], [0.05, 0.95]
    >>> committee = [[yes, yes, [0.9, 0.1]], [yes, yes, [0.1, 0.9]], [no, no, [0.9, 0.1]], [no, no, [0.1, 0.9]]]
    >>> pw.select(committee, 2, "batch_bald").ids
    array([0, 2])
    """

    name: ClassVar[str] = "batch_bald"
    from_logits: bool = False
    temperature: float = 1.0
    samples: int = 10_000

    def __post_init__(self) -> None:
        native_score("entropy", binary=False, from_logits=self.from_logits, temperature=self.temperature)
        samples = as_count(self.samples, "samples", least=1)
        if samples > _MOST_SAMPLES:
            raise ValueError(f"samples: expected at most {_MOST_SAMPLES}, got {samples}")
        object.__setattr__(self, "samples", samples)

    @property
    def is_of_committee(self) -> bool:
        """True: a pool has several predictions for each row."""
        return True

    @property
    def closest(self) -> PowerSampling:
        """Rows drawn by what each tells by itself."""
        return PowerSampling(score=Bald(from_logits=self.from_logits, temperature=self.temperature))

    def choose(
        self,
        committee: Any,
        k: int,
        *,
        exclude: NDArray[np.uint8] | NDArray[np.bool_] | None,
        limits: Limits | None,
        random_state: RandomState,
        progress: Progress,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Choose rows of a committee, one after the other.

        Parameters
        ----------
        committee : array_like or sequence or iterator of members
            As in `pickwise.batch_bald`.
        k : int
            How many, or all that there are if these are fewer.
        exclude : ndarray of shape (rows,), optional
            Nonzero where a row must not be picked.
        limits : Limits, optional
            What picks have to keep to. Of rows that are taken it is known what they tell, and they are not picked.
        random_state, progress
            As in `pickwise.batch_bald`.

        Returns
        -------
        picks : ndarray of int64
            Positions, in the order of picking.
        gains : ndarray of float64
            What the label of each tells beside those before it, in nats.

        Raises
        ------
        TypeError, ValueError
            As `pickwise.bald` does.
        """
        members = matrices(committee)
        seed = as_seed(random_state)
        with reporting(progress, k, "pick") as report:
            picks, gains, _, found = _native.batch_bald(
                members,
                k,
                samples=self.samples,
                seed=seed,
                temperature=self.temperature if self.from_logits else None,
                exclude=exclude,
                limits=limits,
                progress=report,
            )
            if found is not None:
                raise invalid_member(*found, members[found[0]], from_logits=self.from_logits)
            if report is not None:
                report(len(picks))
        return picks, gains
