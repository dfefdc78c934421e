"""One verb, whatever the pool is: `select`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pickwise.arrays import as_scores
from pickwise.explanation import keeping_rows
from pickwise.limits import Beside, Wishes
from pickwise.options import Invalid, RandomState, Ties, as_k
from pickwise.points import warn
from pickwise.pools.records import refuse_positions
from pickwise.ranking import Request, Source, draw_by_rank, open_source, rank
from pickwise.result import Selection
from pickwise.strategies import BatchBALD, Given, Joint, Ranking, SoftRank, Strategy, resolve, settled

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from pickwise.engines import Engine
    from pickwise.pools.files import OnFileError
    from pickwise.progress import Progress

__all__ = ["Selection", "select", "top_k"]


@keeping_rows
def select(
    pool: Any,
    k: int | None = None,
    strategy: str | Strategy = "auto",
    *,
    embeddings: Any = None,
    labelled: Any = None,
    ids: Any = None,
    exclude: Any = None,
    exclude_ids: Any = None,
    must_include: Any = None,
    max_per_class: int | None = None,
    groups: Any = None,
    max_per_group: int | None = None,
    costs: Any = None,
    budget: float | None = None,
    min_distance: float | None = None,
    ties: Ties = "first",
    random_state: RandomState = None,
    invalid: Invalid = "raise",
    clip: bool = False,
    progress: Progress = None,
    probabilities: str | Sequence[str | Sequence[str]] | None = None,
    id: str | None = None,  # noqa: A002 - the word that ids, exclude_ids and the command line have
    filters: Any = None,
    on_file_error: OnFileError = "raise",
    engine: str | Engine = "local",
    checkpoint: str | os.PathLike[str] | None = None,
) -> Selection:
    """Select the `k` rows of a pool that are most worth labelling.

    Parameters
    ----------
    pool : array_like of shape (rows, classes) or (rows,), path, table or iterable
        Class probabilities (or logits, if the strategy says so), float16, bfloat16, float32 or float64:

        - an array of NumPy, PyTorch, JAX or any library with DLPack, ``__array__`` or the Arrow PyCapsule interface,
          in memory of any layout; 1-D is *P(y=1)* of two classes;
        - a path, a URL, a glob, a folder or a list of them, of ``.npy`` or ``.parquet`` files;
        - a table: Arrow (also readers, datasets and whatever has ``__arrow_c_stream__``), Polars (a LazyFrame is
          streamed), pandas, a DuckDB relation, a Hugging Face or Ray Dataset;
        - an iterable of chunks, each an array or a pair of an array and its ids;
        - `predict` of a model.

        For strategies that go by embeddings alone (``"k_center"``, ``"kmeans++"``, ``"typiclust"``, ``"prob_cover"``,
        ``"max_herding"``, ``"facility_location"``, ``"greedy_x"``) embeddings of shape (rows, dims) instead: a matrix
        in memory and a single ``.npy`` file are used where they are; of what comes in chunks ``"k_center"`` and
        ``"kmeans++"`` keep core-sets, the others copy all into one matrix.
        For committees an array of shape (members, rows, classes), members one by one, or any of the above with the
        columns of several members, or a list with one of the above for each member.
    k : int, optional
        How many rows to select, from 1 to all. May be left out where a `budget` is given.
    strategy : str or Strategy
        A name, or an object with options such as ``Entropy(from_logits=True)`` or ``KCenter(prefilter=10)``. The names:
        ``"auto"``, which is margin, and with `embeddings` herding of the rows that the model is unsure of;
        ``"entropy"``, ``"margin"``, ``"least_confidence"``, ``"ratio"`` or ``"random"``; ``"given"`` for a pool of
        scores; ``"power"``, ``"softmax"`` or ``"softrank"``, which draw rows by such a score; ``"bald"`` and others for
        committees; ``"max_loss"`` and others for rows of several labels; those above for embeddings; and ``"badge"``,
        ``"uncertainty_herding"``, ``"cluster_margin"``, ``"ranked_batch"``, ``"density_weighted"``, ``"hybrid"`` and
        ``"greedy_xy"`` for a pool with embeddings beside it. The table in the documentation tells which to take.
    embeddings : array_like of shape (rows, dims), path, table, or column, optional
        For strategies that choose rows together, and for `min_distance`: the embeddings of the pool, row for row, or
        the name of the column of the pool that holds them. The pool may then be anything that knows its ids or, where
        these are needed, its probabilities.
    labelled : array_like, optional
        With embeddings: rows that are labelled already, as `k_center` takes them.
    ids : array_like of int or str, optional
        One for each row, each different. Without them a row is known by its position, one of several files by
        ``path#row``.
    exclude : array_like of bool or int, optional
        Rows that must not be selected: a mask as long as the pool, or positions.
    exclude_ids : array_like of int or str, optional
        The same by id; ids that are not in the pool are fine.
    must_include : array_like of bool or int, optional
        Rows that are in the selection whatever they score: a mask or positions. They come first, and where rows are
        chosen together the others are chosen with them in view. They count towards `k` and the `budget`, which must
        have room for them, and use up the limits below, which bar only other rows.
    max_per_class : int, optional
        The most rows of one predicted class. The pool must hold probabilities.
    groups : array_like of shape (rows,), optional
        The group of each row (a document, a site, a customer): integers, strings, or anything that can be hashed.
    max_per_group : int, optional
        The most rows of one group.
    costs : array_like of shape (rows,), optional
        What the label of each row costs: finite, above 0. Rows are then selected by their score for each unit of cost.
    budget : float, optional
        What all labels may cost together. Rows that would pass it are passed over, until none fits. Where none fits
        from the beginning the selection is empty.
    min_distance : float, optional
        No two rows are nearer than this, nor is one to a labelled row: by their `embeddings` and the metric of the
        strategy, Euclidean where it has none.
    ties : {"first", "random"}
        Among equal scores: the lower id first (strings by their bytes), or in an order drawn from `random_state`.
    random_state : int, RandomState, Generator or None
        For the strategies that draw ("random", "power", "softmax", "softrank", "kmeans++"), for random ties and, if
        given, for the first pick of "k_center" and the draw of "auto", which is otherwise always the same.
    invalid : {"raise", "skip"}
        What to do about rows that are no probabilities, or no embeddings: refuse the pool, or never select them and
        count them.
    clip : bool
        Whether fewer than `k` rows will do where there are no more.
    progress : bool or callable, optional
        True shows a bar (needs tqdm); a function is called now and then with the rows done and the rows in all, None
        if unknown; for "k_center" and "kmeans++" with the picks made and the picks wanted.
    probabilities : str or sequence of str, optional
        For tables: columns by name or pattern (``"p_*"``), one column of lists, or one of *P(y=1)*. By default the one
        column of lists of floats, else all columns of floats. For committees one entry a member.
    id : str, optional
        For tables: the column of ids.
    filters : pyarrow.compute.Expression or list of tuple, optional
        For tables: which rows are in the pool, as `pyarrow.parquet.read_table` takes them.
    on_file_error : {"raise", "skip"}
        What to do about a file that cannot be read: refuse the pool, or leave the file out as a whole and name it in
        the report.
    engine : {"local", "ray"} or Engine
        Where the pool is read; see `pickwise.engines.Ray`. The selection is the same.
    checkpoint : path, optional
        For pools of files: where the state is kept after each of them, so that the same call goes on from there after
        whatever has ended it. The file is removed when the selection is there.

    Returns
    -------
    Selection
        Best first. Scores are float64, and the order is that of float64 arithmetic on the given numbers. For "power",
        "softmax" and "softrank" they are the scores with the noise, in the order in which rows are drawn. Of strategies
        that choose rows together it is a `Batch` in the order of picking, whose scores their functions explain; of
        "k_center" and "kmeans++" a `Cover`, whose scores are distances to the rows picked before and the labelled rows.

    Raises
    ------
    TypeError
        If an argument is of a type that makes no sense, such as integer probabilities or an array on a GPU.
    ValueError
        If an argument has a value that makes no sense: an empty pool, fewer than two classes, more rows wanted than
        there are, ids that repeat or are not as many as rows, rows that must be in and must not; and for rows that are
        no probabilities, unless `invalid` is "skip".

    Warns
    -----
    UserWarning
        If fewer than `k` rows keep to the limits, and there is no budget; and if a budget is too small for any row.

    See Also
    --------
    reducer : The same piece by piece.
    top_k : The same by scores that are there already.
    k_center, badge, typiclust : Functions of strategies that choose rows together, with more options.

    Notes
    -----
    Scores and top-k are one pass over the pool, on as many threads as `get_num_threads` tells; each needs
    memory for O(k) rows, whatever the pool. The result does not depend on threads, chunks, the order of files, memory
    layout, CPU or engine. `Selection.report` tells what was seen of a pool that was read in chunks.

    Limits (`must_include` to `min_distance`) hold for every strategy. Rows are taken in the order of the strategy, and
    those that break a limit are passed over; strategies that choose rows together know of it as they choose. With costs
    draws divide the weight of each row by its cost: they go by the score less ln(cost) / beta. Selections by a score
    read the pool again where not enough of the best fit in; with costs, and of pools that can be read only once, all
    rows are ranked, which takes memory for all.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> pool = np.array([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25], [0.5, 0.5, 0.0], [0.8, 0.1, 0.1]])
    >>> pw.select(pool, k=2, strategy="margin").ids
    array([2, 1])
    >>> pw.select(pool, k=2, strategy="entropy", exclude=[1]).ids
    array([2, 3])
    >>> embeddings = np.array([[0.0, 1.0], [2.0, 2.0], [2.0, 2.1], [9.0, 9.0]])
    >>> pw.select(pool, 2, pw.KCenter(prefilter=2), embeddings=embeddings, labelled=[0]).ids  # margins: 1, 2, 3 and 0
    array([3, 2])
    >>> pw.select(pool, 2, "margin", groups=["a", "b", "b", "c"], max_per_group=1).ids
    array([2, 3])
    """
    asked = resolve(strategy)
    chosen = settled(asked, has_embeddings=embeddings is not None)
    if chosen is not asked and labelled is not None and min_distance is None:
        raise TypeError(
            f"labelled: expected None with {asked.name} without embeddings, as they count by distance alone; pass "
            "embeddings=, or leave rows out by exclude or exclude_ids"
        )
    if k is None and budget is None:
        raise TypeError("k: expected an integer, got None; it may be left out where there is a budget, with costs")
    wanted = None if k is None else as_k(k)
    wishes = Wishes(max_per_class, groups, max_per_group, costs, budget, must_include, min_distance)
    request = Request(
        ids=ids,
        exclude=exclude,
        exclude_ids=exclude_ids,
        ties=ties,
        random_state=random_state,
        invalid=invalid,
        clip=clip,
        progress=progress,
        probabilities=probabilities,
        id=id,
        filters=filters,
        on_file_error=on_file_error,
        engine=engine,
        checkpoint=checkpoint,
    )
    if checkpoint is not None and not wishes.is_empty:
        raise ValueError("checkpoint: expected None with limits, for which a pool may be read more than once")
    refuse_positions(
        pool,
        embeddings=embeddings,
        exclude=exclude,
        must_include=must_include,
        max_per_class=max_per_class,
        groups=groups,
        costs=costs,
    )
    selection = _selected(chosen, pool, wanted, request, Beside(embeddings, labelled, wishes))
    if checkpoint is not None:
        from pickwise.checkpoint import remove

        remove(checkpoint)
    if budget is not None and not len(selection):
        warn(f"no row was picked: each that may be picked costs more than the budget, {float(budget):.6g}")
    return selection


def _selected(chosen: Strategy, pool: Any, k: int | None, request: Request, beside: Beside) -> Selection:
    """Select by a strategy of any kind."""
    if isinstance(chosen, Joint):
        from pickwise.spreading import spread

        return spread(chosen, pool, k, request, beside)
    both = {"embeddings": beside.embeddings, "labelled": beside.labelled}
    for name, value in both.items():
        if value is not None and beside.wishes.min_distance is None:
            raise TypeError(f"{name}: expected None with {chosen.name}, which has no use for it")
    if isinstance(chosen, BatchBALD):
        from pickwise.batch import pick_together

        return pick_together(chosen, pool, k, request, beside.wishes, **both)
    assert isinstance(chosen, (Ranking, SoftRank))  # noqa: S101 - a strategy is one of these
    ranking = chosen.ranking if isinstance(chosen, SoftRank) else chosen
    source = open_source(pool, ranking, request)
    if not beside.wishes.is_empty:
        from pickwise.constrained import rank_within

        return rank_within(chosen, source, k, request, beside.wishes, pool=pool, **both)
    assert k is not None  # noqa: S101 - a budget is a wish
    if isinstance(chosen, SoftRank):
        return draw_by_rank(chosen, source, k, request)[0]
    return rank(chosen, source, k, request).finish(clip=request.clip)


def top_k(
    scores: Any,
    k: int,
    *,
    ids: Any = None,
    exclude: Any = None,
    exclude_ids: Any = None,
    ties: Ties = "first",
    random_state: RandomState = None,
    invalid: Invalid = "raise",
    clip: bool = False,
) -> Selection:
    """Select the `k` rows that have the highest scores.

    For scores that are there already: those of a committee, of predictions that were aggregated, or your own.

    Parameters
    ----------
    scores : array_like of shape (rows,)
        float16, bfloat16, float32 or float64, of any size and sign, infinities included; higher = more worth
        labelling.
    k : int
        How many rows to select, from 1 to all.
    ids, exclude, exclude_ids, ties, random_state, clip
        As in `select`.
    invalid : {"raise", "skip"}
        What to do about NaN: refuse the scores, or never select such rows and count them.

    Returns
    -------
    Selection
        Best first, with the scores as float64. Its strategy is ``Given()``.

    Raises
    ------
    TypeError, ValueError
        As `select` does; ValueError for NaN, unless `invalid` is "skip".

    See Also
    --------
    select : With ``strategy="given"`` the same for scores in files and streams.

    Notes
    -----
    One pass over the scores, on all threads, and memory for O(k) rows.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> pw.top_k([0.3, 2.5, -1.0, 2.5], 2)
    Selection of 2 rows by Given()
      id  index     score
       1      1       2.5
       3      3       2.5
    >>> disagreement = np.array([0.2, 0.9, 0.4])
    >>> pw.top_k(disagreement, 1, ids=["a", "b", "c"], exclude_ids=["b"]).ids
    array(['c'], dtype=object)
    """
    request = Request(
        ids=ids,
        exclude=exclude,
        exclude_ids=exclude_ids,
        ties=ties,
        random_state=random_state,
        invalid=invalid,
        clip=clip,
    )
    source = Source.of(as_scores(scores, "scores"), "scores")
    return rank(Given(), source, as_k(k), request).finish(clip=clip)
