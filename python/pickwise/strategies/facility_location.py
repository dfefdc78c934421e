"""Facility location: rows that are similar to all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pickwise.strategies.graph import Neighbourly, distance_to_labelled, stand_for_others
from pickwise.strategies.joint import choose_rows

if TYPE_CHECKING:
    from pickwise.options import RandomState
    from pickwise.points import Points
    from pickwise.progress import CoverProgress
    from pickwise.result import Batch


@dataclass(frozen=True, kw_only=True, repr=False)
class FacilityLocation(Neighbourly):
    """Rows that together are most similar to all; see `pickwise.facility_location`.

    Parameters
    ----------
    neighbours, approximate, metric
        As in `Neighbourly`.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.select([[0.0], [1.0], [2.0], [9.0], [9.5]], 2, "facility_location").ids
    array([2, 3])
    """

    name: ClassVar[str] = "facility_location"

    def choose(self, points: Points, random_state: RandomState, progress: CoverProgress) -> Batch:  # noqa: ARG002
        """Choose among points that are already checked."""
        pool, back = points.compact(self.metric)
        graph = self.graph(pool)
        most = graph.distances.max(initial=0.0)
        nearest = distance_to_labelled(pool, self.metric)
        covered = None if nearest is None else np.maximum(most - nearest, 0.0)
        picks, gains = stand_for_others(pool, graph, most - graph.distances, self.metric, progress, covered=covered)
        return points.batch(self, picks if back is None else back[picks], gains)


def facility_location(
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    exclude: Any = None,
    ids: Any = None,
    neighbours: int | None = None,
    approximate: bool = False,
    metric: str = "euclidean",
    clip: bool = False,
    progress: CoverProgress = None,
) -> Batch:
    r"""Pick rows that stand for all others: that are, together, most similar to them.

    Each pick adds the most to :math:`\sum_n \max_{s \in S} \mathrm{sim}(n, s)`, S being picks and labelled rows, and
    sim the largest distance in the graph less the distance.

    Parameters
    ----------
    embeddings, k, labelled, exclude, ids, metric, clip, progress
        As in `k_center`.
    neighbours : int, optional
        A row stands for so many of its nearest neighbours, and for those that it is a neighbour of. By default twice
        the part of the pool that each pick and labelled row has to stand for, from 32 to 256; rows - 1 or more make the
        graph complete.
    approximate : bool
        Find the neighbours by usearch: nearly all of them, and not always the same, but of millions of rows.

    Returns
    -------
    Batch
        Its scores are what each pick added.

    Raises
    ------
    ImportError
        If usearch is not installed, and `approximate` is asked for.
    TypeError, ValueError
        As `k_center` does.

    See Also
    --------
    max_herding : The same with a kernel as similarity.
    k_center : Leaves no row far from a pick, outliers least of all.

    Notes
    -----
    After [1]_ and [2]_: what is picked one by one is at least 63 % as good as the best there is [3]_. All rows meet all
    others once, in single precision, and only the nearest are measured exactly: rows² · dims steps, and at the
    peak memory for a float32 copy of the embeddings and about 50 bytes a neighbour. What a row adds only falls as
    others are picked, so few are looked at more than once.

    References
    ----------
    .. [1] K. Wei, R. Iyer and J. Bilmes. Submodularity in data subset selection and active learning. ICML 2015.
    .. [2] J. Schreiber, J. Bilmes and W. S. Noble. apricot: submodular selection for data summarization in Python. JMLR
       21, 2020.
    .. [3] G. L. Nemhauser, L. A. Wolsey and M. L. Fisher. An analysis of approximations for maximizing submodular set
       functions. Mathematical Programming 14, 1978.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.facility_location([[0.0], [1.0], [2.0], [9.0], [9.5]], 2).ids
    array([2, 3])
    """
    return choose_rows(
        FacilityLocation(neighbours=neighbours, approximate=approximate, metric=metric),
        embeddings,
        k,
        labelled=labelled,
        exclude=exclude,
        ids=ids,
        clip=clip,
        progress=progress,
    )
