"""Pick the rows worth labelling.

>>> import pickwise as pw
>>> probabilities = [[0.2, 0.5, 0.3], [0.1, 0.7, 0.2], [0.9, 0.1, 0.0]]
>>> pw.margin(probabilities).round(6)
array([0.8, 0.5, 0.2])
>>> pw.select(probabilities, k=2, strategy="margin").ids
array([0, 1])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pickwise._native import __version__
from pickwise.build import build_info, warn_of_debug_build
from pickwise.committee import (
    bald,
    committee_std,
    consensus_kl,
    expected_entropy,
    predictive_entropy,
    variation_ratios,
    vote_entropy,
)
from pickwise.diversity import k_center, kmeans_plusplus
from pickwise.explanation import Explanation
from pickwise.multilabel import max_loss, mean_max_loss, mmc
from pickwise.ragged import aggregate
from pickwise.reducer import Reducer, reducer
from pickwise.result import Batch, Cover
from pickwise.scores import entropy, least_confidence, margin, ratio
from pickwise.selection import Selection, select, top_k
from pickwise.strategies import (
    MMC,
    Auto,
    Badge,
    Bald,
    BatchBALD,
    ClusterMargin,
    ConsensusKL,
    DensityWeighted,
    Entropy,
    ExpectedEntropy,
    FacilityLocation,
    Given,
    GreedySamplingX,
    GreedySamplingXY,
    GreedySamplingY,
    Hybrid,
    KCenter,
    KMeansPlusPlus,
    LeastConfidence,
    Margin,
    MaxHerding,
    MaxLoss,
    MeanMaxLoss,
    PowerSampling,
    PredictiveEntropy,
    ProbCover,
    Random,
    RankedBatch,
    Ratio,
    SoftmaxSampling,
    SoftRank,
    TypiClust,
    UncertaintyHerding,
    VariationRatios,
    VoteEntropy,
)
from pickwise.strategies.badge import badge, gradient_norm
from pickwise.strategies.cluster_margin import cluster_margin
from pickwise.strategies.density_weighted import density, density_weighted
from pickwise.strategies.facility_location import facility_location
from pickwise.strategies.greedy_sampling import greedy_x, greedy_xy, greedy_y
from pickwise.strategies.herding import max_herding, uncertainty_herding
from pickwise.strategies.prob_cover import prob_cover
from pickwise.strategies.ranked_batch import ranked_batch
from pickwise.strategies.typiclust import typiclust
from pickwise.temperature import fit_temperature
from pickwise.threads import get_num_threads, num_threads, set_num_threads

__all__ = [
    "MMC",
    "Auto",
    "Badge",
    "Bald",
    "Batch",
    "BatchBALD",
    "ClusterMargin",
    "ConsensusKL",
    "Cover",
    "CoverReducer",
    "DensityWeighted",
    "Entropy",
    "ExpectedEntropy",
    "Explanation",
    "FacilityLocation",
    "Given",
    "GreedySamplingX",
    "GreedySamplingXY",
    "GreedySamplingY",
    "Hybrid",
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
    "Project",
    "Random",
    "RankedBatch",
    "Ratio",
    "Reducer",
    "Selection",
    "Simulation",
    "SoftRank",
    "SoftmaxSampling",
    "TypiClust",
    "UncertaintyHerding",
    "VariationRatios",
    "VoteEntropy",
    "__version__",
    "aggregate",
    "badge",
    "bald",
    "batch_bald",
    "build_info",
    "cluster_margin",
    "committee_std",
    "consensus_kl",
    "density",
    "density_weighted",
    "entropy",
    "expected_entropy",
    "facility_location",
    "fit_temperature",
    "get_num_threads",
    "gradient_norm",
    "greedy_x",
    "greedy_xy",
    "greedy_y",
    "k_center",
    "kmeans_plusplus",
    "least_confidence",
    "margin",
    "max_herding",
    "max_loss",
    "mean_max_loss",
    "mmc",
    "num_threads",
    "predict",
    "predictive_entropy",
    "prob_cover",
    "ranked_batch",
    "ratio",
    "reducer",
    "select",
    "set_num_threads",
    "simulate",
    "top_k",
    "typiclust",
    "uncertainty_herding",
    "variation_ratios",
    "vote_entropy",
]

# What few use is loaded when it is, so that importing pickwise takes about a tenth of a second more than NumPy.
_LATER = {
    "CoverReducer": "coreset",
    "Project": "loop",
    "Simulation": "evaluate",
    "batch_bald": "batch",
    "predict": "pools.predictions",
    "simulate": "evaluate",
}

if TYPE_CHECKING:
    # Not in __all__: import * would hide the library of this name.
    from pickwise import polars as polars
    from pickwise.batch import batch_bald
    from pickwise.coreset import CoverReducer
    from pickwise.evaluate.simulate import simulate
    from pickwise.evaluate.simulation import Simulation
    from pickwise.loop import Project
    from pickwise.pools.predictions import predict


def __getattr__(name: str) -> Any:
    if name == "polars":
        return import_module("pickwise.polars")
    if name in _LATER:
        return getattr(import_module(f"pickwise.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, "polars"})


warn_of_debug_build()
