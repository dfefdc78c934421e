"""The strategies, and the one registry that knows them by name."""

from __future__ import annotations

from typing import Any

from pickwise.strategies.auto import Auto, settled
from pickwise.strategies.badge import Badge
from pickwise.strategies.base import Ranking, Strategy
from pickwise.strategies.batch_bald import BatchBALD
from pickwise.strategies.cluster_margin import ClusterMargin
from pickwise.strategies.committee import (
    Bald,
    Committee,
    ConsensusKL,
    ExpectedEntropy,
    PredictiveEntropy,
    VariationRatios,
    VoteEntropy,
)
from pickwise.strategies.density_weighted import DensityWeighted
from pickwise.strategies.facility_location import FacilityLocation
from pickwise.strategies.given import Given
from pickwise.strategies.greedy_sampling import GreedySamplingX, GreedySamplingXY, GreedySamplingY
from pickwise.strategies.herding import MaxHerding, UncertaintyHerding
from pickwise.strategies.hybrid import Hybrid
from pickwise.strategies.joint import Joint
from pickwise.strategies.multilabel import MMC, MaxLoss, MeanMaxLoss
from pickwise.strategies.prob_cover import ProbCover
from pickwise.strategies.random import Random
from pickwise.strategies.ranked_batch import RankedBatch
from pickwise.strategies.spread import KCenter, KMeansPlusPlus, Spread
from pickwise.strategies.stochastic import PowerSampling, SoftmaxSampling, SoftRank
from pickwise.strategies.typiclust import TypiClust
from pickwise.strategies.uncertainty import Entropy, LeastConfidence, Margin, Ratio, Uncertainty

__all__ = [
    "MMC",
    "REGISTRY",
    "Auto",
    "Badge",
    "Bald",
    "BatchBALD",
    "ClusterMargin",
    "Committee",
    "ConsensusKL",
    "DensityWeighted",
    "Entropy",
    "ExpectedEntropy",
    "FacilityLocation",
    "Given",
    "GreedySamplingX",
    "GreedySamplingXY",
    "GreedySamplingY",
    "Hybrid",
    "Joint",
    "KCenter",
    "KMeansPlusPlus",
    "LeastConfidence",
    "Margin",
    "MaxHerding",
    "MaxLoss",
    "MeanMaxLoss",
    "PowerSampling",
    "PredictiveEntropy",
    "ProbCover",
    "Random",
    "RankedBatch",
    "Ranking",
    "Ratio",
    "SoftRank",
    "SoftmaxSampling",
    "Spread",
    "Strategy",
    "TypiClust",
    "Uncertainty",
    "UncertaintyHerding",
    "VariationRatios",
    "VoteEntropy",
    "resolve",
    "settled",
]

REGISTRY: dict[str, type[Strategy]] = {
    strategy.name: strategy
    for strategy in (
        Auto,
        *(Entropy, Margin, LeastConfidence, Ratio, Random, KCenter, KMeansPlusPlus),
        *(PowerSampling, SoftmaxSampling, SoftRank, Given),
        *(TypiClust, ProbCover, MaxHerding, FacilityLocation),
        *(UncertaintyHerding, Badge, ClusterMargin, RankedBatch, DensityWeighted, Hybrid),
        *(GreedySamplingX, GreedySamplingY, GreedySamplingXY),
        *(MaxLoss, MeanMaxLoss, MMC),
        BatchBALD,
        *(Bald, ConsensusKL, PredictiveEntropy, ExpectedEntropy, VoteEntropy, VariationRatios),
    )
}
"""Every strategy by its name."""


def resolve(strategy: str | Strategy, **options: Any) -> Strategy:
    """Find a strategy.

    Parameters
    ----------
    strategy : str or Strategy
        A name in `REGISTRY`, or a strategy, which is returned as it is.
    **options
        With a name: the fields of the strategy.

    Raises
    ------
    TypeError
        For anything else, and for options that the strategy does not have.
    ValueError
        For a name that is not in the registry.
    """
    if isinstance(strategy, Strategy):
        return strategy
    if not isinstance(strategy, str):
        raise TypeError(f"strategy: expected a name or a strategy object such as Margin(), got {strategy!r}")
    if strategy not in REGISTRY:
        from difflib import get_close_matches

        close = get_close_matches(strategy.lower().replace("-", "_").replace("_plusplus", "++"), REGISTRY, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"strategy: no strategy is called {strategy!r}; {hint}the names are {', '.join(REGISTRY)}")
    return REGISTRY[strategy](**options)
