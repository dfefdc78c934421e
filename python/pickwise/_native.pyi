from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "InvalidRows",
    "Members",
    "Score",
    "TopK",
    "__version__",
    "admit",
    "batch_bald",
    "build_info",
    "density",
    "distances_before",
    "facility_location",
    "first_repeated",
    "get_num_threads",
    "gradient_lengths",
    "k_center",
    "kmeans_plusplus",
    "mean_of_sums",
    "mutual",
    "nearest",
    "neighbours",
    "pick_among",
    "ranked_batch",
    "score",
    "score_committee",
    "set_num_threads",
    "show_centers",
    "squared_to_point",
    "sum_of_rows",
    "tally",
    "vote",
]

__version__: str

def build_info() -> dict[str, object]: ...
def set_num_threads(n: int | None) -> None: ...
def get_num_threads() -> int: ...

@final
class Score:
    def __new__(
        cls,
        name: str,
        *,
        from_logits: bool = False,
        temperature: float = 1.0,
        task: str = "multiclass",
        how: str = "mean",
        base: float | None = None,
        normalize: bool = False,
    ) -> Score: ...

@final
class InvalidRows:
    @property
    def count(self) -> int: ...
    @property
    def row(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def value(self) -> float: ...
    @property
    def reason(self) -> str: ...
    def merged(self, other: InvalidRows) -> InvalidRows: ...

def score(
    matrix: NDArray[Any] | Sequence[NDArray[Any]],
    score: Score,
    out: NDArray[Any],
    row_offset: int = 0,
    progress: Callable[[int], object] | None = None,
) -> InvalidRows | None: ...

@final
class TopK:
    def __new__(
        cls,
        by: Score | str,
        k: int,
        *,
        tie_seed: int | None,
        seed: int,
        ids: str,
        exclude_ids: NDArray[np.int64] | list[str] | None,
        noise: tuple[str, float] | None = None,
    ) -> TopK: ...
    @property
    def rows(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def k(self) -> int: ...
    def update(
        self,
        matrix: NDArray[Any] | Sequence[NDArray[Any]] | None,
        rows: int,
        *,
        ids: NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.uint8]] | None = None,
        positions: int | NDArray[np.int64] | None = None,
        exclude: NDArray[np.uint8] | NDArray[np.bool_] | None = None,
        skip_invalid: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> InvalidRows | None: ...
    def merge(self, other: TopK) -> None: ...
    def finish(
        self,
    ) -> tuple[NDArray[np.int64] | list[str], NDArray[np.int64], NDArray[np.float64]]: ...
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: bytes) -> TopK: ...

@final
class Members:
    def __new__(cls, measure: str, *, temperature: float | None = None, double: bool = False) -> Members: ...
    def add(self, member: NDArray[Any]) -> tuple[int, InvalidRows] | None: ...
    def scores(self) -> NDArray[np.float64]: ...

def score_committee(
    members: list[NDArray[Any]],
    measure: str,
    *,
    temperature: float | None = None,
    double: bool = False,
) -> tuple[NDArray[np.float64], tuple[int, InvalidRows] | None]: ...
def batch_bald(
    members: list[NDArray[Any]],
    k: int,
    *,
    samples: int,
    seed: int,
    temperature: float | None = None,
    exclude: NDArray[np.uint8] | NDArray[np.bool_] | None = None,
    limits: object = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], int, tuple[int, InvalidRows] | None]: ...
def vote(matrix: NDArray[Any], out: NDArray[np.uint32], from_logits: bool) -> InvalidRows | None: ...
def tally(votes: NDArray[np.uint32], rows: int, measure: str) -> NDArray[np.float64]: ...
def first_repeated(
    ids: NDArray[np.int64] | tuple[NDArray[np.int64], NDArray[np.uint8]],
) -> tuple[int, int] | None: ...
def k_center(
    embeddings: NDArray[Any],
    k: int,
    *,
    metric: str,
    centers: NDArray[Any] | None = None,
    labelled: NDArray[np.int64] | None = None,
    start: int | None = None,
    weights: NDArray[np.float64] | None = None,
    exclude: NDArray[np.uint8] | NDArray[np.bool_] | None = None,
    limits: object = None,
    min_distance: float | None = None,
    outliers: int = 0,
    progress: Callable[[int, float], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], float, int]: ...
def kmeans_plusplus(
    embeddings: NDArray[Any],
    k: int,
    *,
    metric: str,
    seed: int,
    centers: NDArray[Any] | None = None,
    labelled: NDArray[np.int64] | None = None,
    start: int | None = None,
    weights: NDArray[np.float64] | None = None,
    exclude: NDArray[np.uint8] | NDArray[np.bool_] | None = None,
    limits: object = None,
    predictions: NDArray[Any] | None = None,
    progress: Callable[[int, float], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], float, int]: ...
def nearest(
    embeddings: NDArray[Any],
    centers: NDArray[Any],
    metric: str,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...
def distances_before(
    embeddings: NDArray[Any],
    metric: str,
    rows: NDArray[np.int64],
    *,
    labelled: NDArray[np.int64] | None = None,
    centers: NDArray[Any] | None = None,
) -> NDArray[np.float64]: ...
def pick_among(
    embeddings: NDArray[Any],
    k: int,
    metric: str,
    squared: NDArray[np.float64],
    bar: tuple[float, int] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...
def show_centers(
    embeddings: NDArray[Any],
    metric: str,
    rows: NDArray[np.int64],
    centers: NDArray[Any],
    seen: NDArray[np.int64],
    squared: NDArray[np.float64],
    sums: tuple[NDArray[np.float64], NDArray[np.float64], int, float] | None = None,
) -> NDArray[np.float64]: ...
def sum_of_rows(
    embeddings: NDArray[Any], metric: str, exclude: NDArray[np.uint8] | NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], int, float]: ...
def mean_of_sums(
    parts: list[tuple[NDArray[np.float64], NDArray[np.float64], int, float]],
) -> NDArray[np.float64]: ...
def squared_to_point(embeddings: NDArray[Any], metric: str, point: NDArray[np.float64]) -> NDArray[np.float64]: ...
def gradient_lengths(embeddings: NDArray[Any], predictions: NDArray[Any]) -> NDArray[np.float64]: ...
def density(embeddings: NDArray[Any], progress: Callable[[int], object] | None = None) -> NDArray[np.float64]: ...
def neighbours(
    embeddings: NDArray[Any],
    metric: str,
    *,
    nearest: int | None = None,
    within: float | None = None,
    mutual: bool = False,
    most: int = ...,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]: ...
def mutual(
    starts: NDArray[np.int64], rows: NDArray[np.uint32], distances: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float64]]: ...
def facility_location(
    starts: NDArray[np.int64],
    rows: NDArray[np.uint32],
    values: NDArray[np.float64] | None,
    k: int,
    *,
    weights: NDArray[np.float64] | None = None,
    covered: NDArray[np.float64] | None = None,
    exclude: NDArray[np.uint8] | NDArray[np.bool_] | None = None,
    limits: object = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]: ...
def ranked_batch(
    embeddings: NDArray[Any],
    k: int,
    *,
    metric: str,
    uncertainty: NDArray[np.float64] | None = None,
    alpha: float | None = None,
    targets: NDArray[Any] | None = None,
    centers: NDArray[Any] | None = None,
    center_targets: NDArray[Any] | None = None,
    labelled: NDArray[np.int64] | None = None,
    start: int | None = None,
    exclude: NDArray[np.uint8] | NDArray[np.bool_] | None = None,
    limits: object = None,
    progress: Callable[[int], object] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]: ...
def admit(order: NDArray[np.int64], rows: int, k: int, limits: object) -> NDArray[np.int64]: ...
