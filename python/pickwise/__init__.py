"""Pick the rows worth labelling.

>>> import pickwise as pw
>>> probabilities = [[0.2, 0.5, 0.3], [0.1, 0.7, 0.2], [0.9, 0.1, 0.0]]
>>> pw.margin(probabilities).round(6)
array([0.8, 0.5, 0.2])
>>> pw.select(probabilities, k=2, strategy="margin").ids
array([0, 1])
"""

from __future__ import annotations

from pickwise._native import __version__
from pickwise.batch import batch_bald
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
from pickwise.coreset import CoverReducer
from pickwise.diversity import k_center, kmeans_plusplus
from pickwise.ragged import aggregate
from pickwise.reducer import Reducer, reducer
from pickwise.result import Cover
from pickwise.scores import entropy, least_confidence, margin, ratio
from pickwise.selection import Selection, select, top_k
from pickwise.strategies import (
    Bald,
    BatchBALD,
    ConsensusKL,
    Entropy,
    ExpectedEntropy,
    Given,
    KCenter,
    KMeansPlusPlus,
    LeastConfidence,
    Margin,
    PowerSampling,
    PredictiveEntropy,
    Random,
    Ratio,
    SoftmaxSampling,
    SoftRank,
    VariationRatios,
    VoteEntropy,
)
from pickwise.threads import get_num_threads, num_threads, set_num_threads

__all__ = [
    "Bald",
    "BatchBALD",
    "ConsensusKL",
    "Cover",
    "CoverReducer",
    "Entropy",
    "ExpectedEntropy",
    "Given",
    "KCenter",
    "KMeansPlusPlus",
    "LeastConfidence",
    "Margin",
    "PowerSampling",
    "PredictiveEntropy",
    "Random",
    "Ratio",
    "Reducer",
    "Selection",
    "SoftRank",
    "SoftmaxSampling",
    "VariationRatios",
    "VoteEntropy",
    "__version__",
    "aggregate",
    "bald",
    "batch_bald",
    "build_info",
    "committee_std",
    "consensus_kl",
    "entropy",
    "expected_entropy",
    "get_num_threads",
    "k_center",
    "kmeans_plusplus",
    "least_confidence",
    "margin",
    "num_threads",
    "predictive_entropy",
    "ratio",
    "reducer",
    "select",
    "set_num_threads",
    "top_k",
    "variation_ratios",
    "vote_entropy",
]

warn_of_debug_build()
