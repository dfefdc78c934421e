"""Rows that cover a pool: far from each other and from what is labelled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pickwise.ids import as_ids
from pickwise.limits import Wishes
from pickwise.points import Points
from pickwise.strategies import KCenter, KMeansPlusPlus

if TYPE_CHECKING:
    from pickwise.options import RandomState
    from pickwise.progress import CoverProgress
    from pickwise.result import Cover


def k_center(
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    metric: str = "euclidean",
    start: int | None = None,
    weights: Any = None,
    exclude: Any = None,
    ids: Any = None,
    groups: Any = None,
    max_per_group: int | None = None,
    min_distance: float | None = None,
    outliers: int = 0,
    random_state: RandomState = None,
    nearest: bool = False,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Cover:
    """Pick rows that cover a pool: each is the farthest from all picks before it and from all labelled rows.

    Parameters
    ----------
    embeddings : array_like of shape (rows, dims), or path
        float16, bfloat16, float32 or float64, of any memory layout, used as they are: a memory-mapped array, or a
        ``.npy`` file, given by its path, stays on disk. Arrow chunks and the columns of a DataFrame are copied into one
        matrix.
    k : int
        How many rows to pick, from 1 to all.
    labelled : array_like, optional
        What is covered already: embeddings of rows that are not in the pool, ``(labelled, dims)``, or rows of the pool,
        as positions or as a boolean mask. The latter are never picked.
    metric : {"euclidean", "sqeuclidean", "cosine"}
        The distance. Cosine is 1 - cos, and has no place for rows of zeros.
    start : int, optional
        The position of the first pick. Without it, and with nothing labelled, that is the row farthest from the mean.
    weights : array_like of shape (rows,), optional
        Pick the row of the highest weight times distance, such as uncertainty times distance. Finite, 0 or more.
    exclude : array_like of bool or int, optional
        Rows that are neither picked nor need be covered: a mask as long as the pool, or positions. They may hold
        anything, NaN included.
    ids : array_like of int or str, optional
        One for each row, each different. Without them a row is known by its position.
    groups : array_like of shape (rows,), optional
        The group of each row (a class, a document, a site): integers, strings, or anything that can be hashed.
    max_per_group : int, optional
        The most picks of one group.
    min_distance : float, optional
        Rows nearer than this to a pick or a labelled row are not picked: no near-duplicates.
    outliers : int
        At each pick so many of the farthest rows are set aside, and so they are for the radius.
    random_state : int, RandomState, Generator or None
        If given: the first pick is drawn at random, unless `start` or `labelled` say what comes first.
    nearest : bool
        Whether to find the nearest pick or labelled row of every row as well, at the cost of all distances to them.
    clip : bool
        Whether fewer than `k` rows will do where there are no more.
    progress : bool or callable, optional
        True shows a bar (needs tqdm); a function is called now and then with the picks made, the picks wanted, and the
        distance of the last one.

    Returns
    -------
    Cover
        A `Selection` in the order of picking, with the distance at each pick, the radius after the last, and on request
        the nearest pick of each row. Its scores are the distances, times the weights if there are any; of the very
        first pick, with nothing labelled, infinity.

    Raises
    ------
    TypeError
        If an argument is of a type that makes no sense, such as integer embeddings or an array on a GPU.
    ValueError
        If an argument has a value that makes no sense: NaN or infinite numbers (the message names the row), rows of
        zeros under cosine, dimensions that differ from those of `labelled`, more rows wanted than there are, positions
        outside the pool.

    Warns
    -----
    UserWarning
        If fewer than `k` rows come back because of `min_distance` or `max_per_group`, or if picks are copies of others:
        copies are picked last, when nothing else is left.

    See Also
    --------
    kmeans_plusplus : Rows drawn at random, the far ones more often.
    reducer : The same for streams and shards, nearly as good.

    Notes
    -----
    Greedy k-center [1]_; its radius is at most twice the best there is. As a way to choose what to label it is known as
    core-set selection [2]_.

    The picks are exactly those of the naive algorithm with distances in float64, summed from differences: on every CPU,
    on any number of threads, from any memory layout. Of two rows equally far the lower position is picked. Yet only a
    part of the distances is computed, since a row's distance to its nearest centre can but fall; the less structure
    there is in the embeddings the more it is. Beside the embeddings it takes memory for O(rows + k · dims) numbers.

    References
    ----------
    .. [1] T. F. Gonzalez. Clustering to minimize the maximum intercluster distance. Theoretical Computer Science 38,
       1985.
    .. [2] O. Sener and S. Savarese. Active learning for convolutional neural networks: a core-set approach. ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> embeddings = np.array([[0.0, 0.0], [0.1, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.1]])
    >>> cover = pw.k_center(embeddings, k=2, labelled=[0], nearest=True)
    >>> cover
    Cover of 2 rows by KCenter(), radius 3
      id  index     score
       3      3         5
       4      4       3.1
    >>> cover.nearest.pick  # picks by their number, labelled rows from -1 down
    array([-1, -1,  0,  0,  1])
    """
    strategy = KCenter(metric=metric, outliers=outliers, min_distance=min_distance)
    points = Points.read(
        embeddings,
        k,
        ids=None if ids is None else as_ids(ids, "ids"),
        labelled=labelled,
        start=start,
        weights=weights,
        exclude=exclude,
        wishes=Wishes(groups=groups, max_per_group=max_per_group),
        clip=clip,
    )
    cover = strategy.choose(points, random_state, progress)
    return replace(cover, nearest=points.nearest(strategy, cover.indices)) if nearest else cover


def kmeans_plusplus(
    embeddings: Any,
    k: int,
    *,
    labelled: Any = None,
    metric: str = "euclidean",
    start: int | None = None,
    weights: Any = None,
    exclude: Any = None,
    ids: Any = None,
    random_state: RandomState = None,
    clip: bool = False,
    progress: CoverProgress = None,
) -> Cover:
    """Draw rows that are spread over a pool: each with a probability proportional to its squared distance.

    Parameters
    ----------
    embeddings, k, labelled, ids, clip, progress
        As in `k_center`.
    metric : {"euclidean", "sqeuclidean", "cosine"}
        The unit of the distances, and what they are squared of: the squared Euclidean distance for the first two, and
        the cosine distance itself, which is one already, for the third.
    start : int, optional
        The position of the first pick. Without it, and with nothing labelled, that is drawn evenly, or by the weights.
    weights : array_like of shape (rows,), optional
        What the probabilities are multiplied by. Finite, 0 or more.
    exclude : array_like of bool or int, optional
        Rows that are never drawn: a mask as long as the pool, or positions. They may hold anything, NaN included.
    random_state : int, RandomState, Generator or None
        Where the draws come from. The same integer gives the same picks on every machine.

    Returns
    -------
    Cover
        A `Selection` in the order of drawing, with the distance of each pick to those before it and to the labelled
        rows, and the radius after the last.

    Raises
    ------
    TypeError, ValueError
        As `k_center` does.

    Warns
    -----
    UserWarning
        If picks are copies of others: copies are picked last, when nothing else is left.

    See Also
    --------
    k_center : The farthest row each time, outliers first.

    Notes
    -----
    The seeding of k-means++ [1]_. Rows in dense regions are drawn as well, and outliers only now and then. The
    distribution is exact, though few of the distances are computed: a row is drawn by an outdated weight, which can but
    be too high, and then accepted with the probability that the true one says.

    References
    ----------
    .. [1] D. Arthur and S. Vassilvitskii. k-means++: the advantages of careful seeding. SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> embeddings = np.array([[0.0], [0.0], [7.0], [7.0]])
    >>> cover = pw.kmeans_plusplus(embeddings, k=2, random_state=0)  # one of each, since the copies are at distance 0
    >>> cover.radius, sorted(embeddings[cover.indices, 0].tolist())
    (0.0, [0.0, 7.0])
    """
    points = Points.read(
        embeddings,
        k,
        ids=None if ids is None else as_ids(ids, "ids"),
        labelled=labelled,
        start=start,
        weights=weights,
        exclude=exclude,
        clip=clip,
    )
    return KMeansPlusPlus(metric=metric).choose(points, random_state, progress)
