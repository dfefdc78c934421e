"""Whether a pool still looks like the one before it: a sample of each, its probe, is compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import as_points
from pickwise.options import as_number
from pickwise.points import refuse_invalid

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pickwise.loop.profile import Profile

LARGE_PSI = 0.25
"""A population stability index above this means that the distribution has changed (Siddiqi, 2006)."""

# What else is a large change. It has to be one that chance makes in fewer than one of a hundred comparisons, as well.
_LARGE_CLASS_SHIFT = 0.1
# Images of the digits 0 to 4 against 5 to 9 come to 0.036; those of one digit, from a tenth to half of all, to 0.025.
_LARGE_EMBEDDING_SHIFT = 0.02
_LARGE_NEW_REGION = 0.1
_CHANCE = 0.01

_BINS = 10
_FLOOR = 1e-4
_BARS = 30
_FAR = 0.95
_PERMUTATIONS = 999
# Rows of each probe that are compared with one another: the cost grows with their square.
_PAIRED = 1000


@dataclass(frozen=True)
class Histogram:
    """How something is distributed in two probes.

    Attributes
    ----------
    edges : tuple of float
        Of the bins.
    before, after : tuple of float
        The share of the rows in each.
    """

    edges: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]

    @classmethod
    def of(cls, before: NDArray[np.float64], after: NDArray[np.float64]) -> Histogram:
        """Count in equal bins from the least to the greatest of both."""
        edges = np.histogram_bin_edges(np.concatenate([before, after]), _BARS)
        counts = [np.histogram(values, edges)[0] / len(values) for values in (before, after)]
        return cls(*(tuple(values.tolist()) for values in (edges, *counts)))


@dataclass(frozen=True)
class Radius:
    """How far the rows of a probe are from the nearest labelled row.

    Attributes
    ----------
    p95 : float
        95 % of the rows are this near, or nearer.
    max : float
        All are.
    """

    p95: float
    max: float


@dataclass(frozen=True, repr=False, kw_only=True)
class Drift:
    """How a pool differs from the one before it; see `compare`.

    Attributes
    ----------
    rows : tuple of int
        Of the probe before and after.
    psi : float
        Population stability index of the scores.
    ks, ks_p : float
        Kolmogorov-Smirnov statistic of the scores, and its p-value.
    class_shift, class_p : float, optional
        Total variation of the predicted classes: the share of rows that would have to change their class for the shares
        to be as before; and its p-value. None without probabilities, as all below.
    classes : tuple
        All classes of both.
    shares_before, shares_after : tuple of float
        The share of rows that each is predicted for.
    embedding_shift, embedding_p : float, optional
        Energy coefficient, from 0, equal distributions, to 1; and its p-value. None without embeddings.
    cover_before, cover_after : Radius, optional
        How far the rows are from the nearest labelled row. None without labelled rows or embeddings.
    new_region : ndarray of int64
        Positions in the probe after, of rows that are farther from every labelled row than 95 % of the rows before; the
        farthest first.
    region_p : float, optional
        How often chance alone would put as many rows there.
    score_histogram, distance_histogram : Histogram, optional
        Of the scores, and of the distances to the nearest labelled row.
    """

    rows: tuple[int, int]
    psi: float
    ks: float
    ks_p: float
    score_histogram: Histogram
    class_shift: float | None = None
    class_p: float | None = None
    classes: tuple[Hashable, ...] = ()
    shares_before: tuple[float, ...] = ()
    shares_after: tuple[float, ...] = ()
    embedding_shift: float | None = None
    embedding_p: float | None = None
    cover_before: Radius | None = None
    cover_after: Radius | None = None
    new_region: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), compare=False)
    region_p: float | None = None
    distance_histogram: Histogram | None = None

    def is_large(self, threshold: float = LARGE_PSI) -> bool:
        """Whether there is a reason to look at the new pool before the loop goes on; see `reasons`."""
        return bool(self.reasons(threshold))

    def reasons(self, threshold: float = LARGE_PSI) -> tuple[str, ...]:
        """Tell what has changed much, a sentence each.

        Parameters
        ----------
        threshold : float
            The population stability index of the scores that is large. By a rule of thumb below 0.1 means no change,
            above 0.25 a new distribution [1]_.

        Returns
        -------
        tuple of str
            Beside the scores it names predicted classes of which more than 10 % have moved, embeddings whose energy
            coefficient is above 0.02 (a class that grows from a tenth to half of the rows, for instance), and more than
            10 % of the rows, instead of 5 %, in a new region. Each only where chance alone would do as much in fewer
            than one of a hundred comparisons, since small probes differ anyway.

        References
        ----------
        .. [1] N. Siddiqi. Credit risk scorecards. Wiley, 2006.
        """
        limit = as_number(threshold, "threshold")
        said = []
        if self.psi > limit and self.ks_p < _CHANCE:
            said.append(
                f"The scores are distributed in another way: population stability index {self.psi:.3g}, "
                f"more than {limit:g}."
            )
        if _is_large(self.class_shift, _LARGE_CLASS_SHIFT, self.class_p):
            said.append(f"The predicted classes have moved by {self.class_shift:.0%}: {self._most_moved()}.")
        if _is_large(self.embedding_shift, _LARGE_EMBEDDING_SHIFT, self.embedding_p):
            said.append(
                f"The embeddings lie elsewhere: energy coefficient {self.embedding_shift:.3g}, "
                f"more than {_LARGE_EMBEDDING_SHIFT:g}."
            )
        if _is_large(self.new_share, _LARGE_NEW_REGION, self.region_p):
            said.append(
                f"{self.new_share:.0%} of the rows, instead of {1 - _FAR:.0%}, are farther from every labelled row "
                f"than {_FAR:.0%} of the pool was before."
            )
        return tuple(said)

    @property
    def new_share(self) -> float:
        """The share of the rows after that are in the new region; 0.05 is what no drift makes."""
        return len(self.new_region) / self.rows[1]

    def _most_moved(self, most: int = 3) -> str:
        moved = np.subtract(self.shares_after, self.shares_before)
        order = np.argsort(-np.abs(moved), kind="stable")[:most]
        return ", ".join(f"{self.classes[i]} {self.shares_before[i]:.0%} → {self.shares_after[i]:.0%}" for i in order)

    def __repr__(self) -> str:
        before, after = self.rows
        lines = [
            f"Drift between probes of {before:,} and {after:,} rows: {'large' if self.is_large() else 'not large'}",
            f"  scores      PSI {self.psi:.3f}, KS {self.ks:.3f} (p = {self.ks_p:.2g})",
        ]
        if self.class_shift is not None:
            lines.append(f"  classes     {self.class_shift:.1%} moved (p = {self.class_p:.2g}): {self._most_moved()}")
        if self.embedding_shift is not None:
            lines.append(f"  embeddings  energy {self.embedding_shift:.3f} (p = {self.embedding_p:.2g})")
        if self.cover_before is not None and self.cover_after is not None:
            old, new = self.cover_before, self.cover_after
            lines += [
                f"  cover       95 % within {old.p95:.4g} → {new.p95:.4g}, all within {old.max:.4g} → {new.max:.4g}",
                f"  new region  {len(self.new_region):,} rows, {self.new_share:.1%} (p = {self.region_p:.2g})",
            ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Write it as JSON can hold it."""
        return asdict(self) | {"new_region": self.new_region.tolist()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Drift:
        """Read what `to_dict` wrote, or what JSON made of it."""
        read = _tuples(state) | {"new_region": np.array(state["new_region"], np.int64)}
        for kind, names in (
            (Radius, ("cover_before", "cover_after")),
            (Histogram, ("score_histogram", "distance_histogram")),
        ):
            read |= {name: kind(**_tuples(state[name])) for name in names if state[name] is not None}
        return cls(**read)

    def plot(self) -> Figure:
        """Draw the scores, the shares of the classes and the distances to labelled rows, before and after.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from pickwise.loop.charts import draw_drift

        return draw_drift(self)


def compare(before: Profile, after: Profile, labelled: Any = None) -> Drift:
    r"""Compare the probe of a pool with that of the pool before.

    Parameters
    ----------
    before, after : Profile
        Of up to 10,000 rows each, drawn at random, scored by the same model.
    labelled : array_like of shape (labelled, dims), optional
        Embeddings of the labelled rows.

    Returns
    -------
    Drift

    Raises
    ------
    TypeError, ValueError
        If `labelled` is no finite matrix, or embeddings have other dimensions than `before` has.
    ImportError
        If SciPy is not installed.

    Notes
    -----
    *Scores*: the population stability index [1]_, Σ (q - p) ln(q / p) over the shares of ten bins that hold equally
    many rows before; empty bins count as 0.0001; a value that fills a bin by itself has one of its own. Its size under
    no drift depends on the probes [2]_, so the Kolmogorov-Smirnov test stands beside it.

    *Classes*: total variation, half of Σ \|q - p\|, of the most probable classes, with a permutation test. In pools of
    several labels a row the most probable one stands for all.

    *Embeddings*: the energy coefficient (2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|) / 2 E\|X - Y\| [3]_ of 1000 rows of
    each, with a permutation test: no unit, no bins, and it is 0 for equal distributions only, unlike a distance of
    means.

    *Cover*: the Euclidean distance to the nearest labelled row, by the kernel of `k_center`. Whether more rows than by
    chance lie beyond the 95th percentile of before is Fisher's exact test.

    All draws have fixed seeds. The cost is that of rows · labelled · dims for the cover, and a second for the rest.

    References
    ----------
    .. [1] N. Siddiqi. Credit risk scorecards. Wiley, 2006.
    .. [2] B. Yurdakul and J. Naranjo. Statistical properties of the population stability index. Journal of Risk Model
       Validation 14(4), 2020.
    .. [3] G. J. Székely and M. L. Rizzo. Energy statistics: a class of statistics based on distances. Journal of
       Statistical Planning and Inference 143(8), 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from pickwise.loop.profile import Profile
    >>> rng = np.random.default_rng(0)
    >>> before = Profile(scores=rng.normal(size=2000), embeddings=rng.normal(size=(2000, 8)))
    >>> after = Profile(scores=rng.normal(1, 1, size=2000), embeddings=rng.normal(size=(2000, 8)))
    >>> drift = compare(before, after)
    >>> drift
    Drift between probes of 2,000 and 2,000 rows: large
      scores      PSI 0.972, KS 0.392 (p = 1.4e-138)
      embeddings  energy 0.001 (p = 0.17)
    >>> drift.reasons()
    ('The scores are distributed in another way: population stability index 0.972, more than 0.25.',)
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError("compare needs SciPy; install it with pip install 'pickwise[loop]'") from error
    rng = np.random.default_rng(0)
    # The exact p-value of many rows takes long and warns; the asymptotic one is as good there.
    method = "exact" if len(before) * len(after) <= 10_000 else "asymp"
    ks, ks_p = stats.ks_2samp(before.scores, after.scores, method=method)
    return Drift(
        rows=(len(before), len(after)),
        psi=population_stability(before.scores, after.scores),
        ks=float(ks),
        ks_p=float(ks_p),
        score_histogram=Histogram.of(before.scores, after.scores),
        **_compare_classes(before, after, rng),
        **_compare_embeddings(before, after, rng),
        **_compare_cover(before, after, labelled),
    )


def population_stability(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Compute the population stability index of two samples; see `compare`.

    Examples
    --------
    >>> import numpy as np
    >>> population_stability(np.arange(100.0), np.arange(100.0))
    0.0
    """
    edges = np.quantile(before, np.arange(1, _BINS) / _BINS)
    # A value that fills more than a bin gets one, so that a shift to either side of it shows.
    crowded = edges[1:][edges[1:] == edges[:-1]]
    edges = np.unique(np.concatenate([edges, np.nextafter(crowded, -np.inf)]))
    shares = [
        np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) / len(values)
        for values in (before, after)
    ]
    p, q = np.maximum(shares, _FLOOR)
    return float(np.sum((q - p) * np.log(q / p)))


def _compare_classes(before: Profile, after: Profile, rng: np.random.Generator) -> dict[str, Any]:
    if before.probabilities is None or after.probabilities is None:
        return {}
    assert before.classes is not None  # noqa: S101 - for the type checker
    assert after.classes is not None  # noqa: S101
    classes = tuple(dict.fromkeys((*before.classes, *after.classes)))
    counts = []
    for names, probabilities in ((before.classes, before.probabilities), (after.classes, after.probabilities)):
        place = np.array([classes.index(name) for name in names])
        counts.append(np.bincount(place[probabilities.argmax(1)], minlength=len(classes)))
    both = counts[0] + counts[1]
    drawn = rng.multivariate_hypergeometric(both, len(after), size=_PERMUTATIONS)
    shifts = _total_variation((both - drawn) / len(before), drawn / len(after))
    shares = counts[0] / len(before), counts[1] / len(after)
    shift = float(_total_variation(*shares))
    return {
        "class_shift": shift,
        "class_p": _p_value(shift, shifts),
        "classes": classes,
        "shares_before": tuple(shares[0].tolist()),
        "shares_after": tuple(shares[1].tolist()),
    }


def _total_variation(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.abs(p - q).sum(-1) / 2)


def _compare_embeddings(before: Profile, after: Profile, rng: np.random.Generator) -> dict[str, Any]:
    if before.embeddings is None or after.embeddings is None:
        return {}
    _refuse_other_dims(after.embeddings, "after", before.embeddings)
    from scipy.spatial.distance import pdist, squareform

    some = [
        rows if len(rows) <= _PAIRED else rows[np.sort(rng.choice(len(rows), _PAIRED, replace=False))]
        for rows in (before.embeddings, after.embeddings)
    ]
    distances = squareform(pdist(np.concatenate([rows.astype(np.float64) for rows in some])))
    is_after = np.zeros((len(distances), 1 + _PERMUTATIONS))
    is_after[len(some[0]) :, 0] = 1
    is_after[:, 1:] = rng.permuted(np.repeat(is_after[:, :1], _PERMUTATIONS, axis=1), axis=0)
    coefficients = _energy_coefficients(distances, is_after)
    return {
        "embedding_shift": float(coefficients[0]),
        "embedding_p": _p_value(coefficients[0], coefficients[1:]),
    }


def _energy_coefficients(distances: NDArray[np.float64], is_after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the energy coefficient of each way, a column, to part rows in two."""
    new = is_after[:, 0].sum()
    old = len(is_after) - new
    within_new = np.einsum("ij,ij->j", is_after, distances @ is_after)
    from_new = distances.sum(0) @ is_after
    between = 2 * (from_new - within_new) / (old * new)
    within_old = distances.sum() - 2 * from_new + within_new
    energy = between - within_new / new**2 - within_old / old**2
    shares: NDArray[np.float64] = np.divide(energy, between, out=np.zeros_like(energy), where=between > 0)
    return shares.clip(0, 1)


def _compare_cover(before: Profile, after: Profile, labelled: Any) -> dict[str, Any]:
    if before.embeddings is None or after.embeddings is None or labelled is None:
        return {}
    centers = as_points(labelled, "labelled", allow_empty=True)
    if not len(centers):
        return {}
    _refuse_other_dims(centers, "labelled", before.embeddings)
    refuse_invalid(centers, "labelled", "euclidean")
    from scipy.stats import hypergeom

    old, new = (_native.nearest(rows, centers, "euclidean")[1] for rows in (before.embeddings, after.embeddings))
    far = float(np.quantile(old, _FAR))
    region = np.flatnonzero(new > far)
    beyond = int((old > far).sum()) + len(region)
    return {
        "cover_before": Radius(far, float(old.max())),
        "cover_after": Radius(float(np.quantile(new, _FAR)), float(new.max())),
        "new_region": region[np.argsort(-new[region], kind="stable")],
        "region_p": float(hypergeom.sf(len(region) - 1, len(old) + len(new), beyond, len(new))),
        "distance_histogram": Histogram.of(old, new),
    }


def _refuse_other_dims(rows: NDArray[Any], name: str, before: NDArray[Any]) -> None:
    if rows.shape[1] != before.shape[1]:
        raise ValueError(
            f"{name}: expected embeddings of {before.shape[1]} dimensions (columns) as before, got {rows.shape[1]}; "
            "embed both probes and the labelled rows with one model"
        )


def _tuples(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in state.items()}


def _p_value(observed: float, drawn: NDArray[np.float64]) -> float:
    """Tell how often permutations come out at least as high; the observed one is one of them (Phipson, Smyth 2010)."""
    return float((1 + np.sum(drawn >= observed * (1 - 1e-12))) / (1 + len(drawn)))


def _is_large(value: float | None, limit: float, p: float | None) -> bool:
    return value is not None and p is not None and value > limit and p < _CHANCE
