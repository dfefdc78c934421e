"""Rows of a committee's pool that are worth most together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_points
from pickwise.committee import matrices
from pickwise.constrained import Votes, refuse_without_distance
from pickwise.engines import Local, as_engine
from pickwise.ids import as_ids, named, refuse_repeated, take_ids
from pickwise.limits import Wishes
from pickwise.options import as_k, one_of, too_few
from pickwise.points import as_labelled, refuse_barred, warn_of_few
from pickwise.ranking import Request, left_out
from pickwise.result import Selection
from pickwise.strategies import Bald, BatchBALD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pickwise.limits import Limits
    from pickwise.options import RandomState
    from pickwise.progress import Progress


def batch_bald(
    committee: Any,
    k: int,
    *,
    from_logits: bool = False,
    temperature: float = 1.0,
    samples: int = 10_000,
    ids: Any = None,
    exclude: Any = None,
    random_state: RandomState = None,
    clip: bool = False,
    progress: Progress = None,
) -> Selection:
    r"""Pick the rows whose labels together tell most about the committee.

    `bald` scores each row by itself, so that the best rows may all tell the same. Here each pick is the row that tells
    most beside the picks before it: of rows that are copies, or tell members apart in the same way, one is picked, and
    the next one only for what is left.

    Parameters
    ----------
    committee : array_like of shape (members, rows, classes), or sequence or iterator of (rows, classes)
        Probabilities or logits, as in `bald`; all members at once are in memory, those of an iterator as copies.
    k : int
        How many rows to pick, from 1 to all.
    from_logits : bool
        Whether the members hold logits.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30. For logits only.
    samples : int
        The most configurations (of the labels of the batch) that gains are computed with. Where there are more, so many
        are drawn, rounded up to a multiple of the members.
    ids : array_like of int or str, optional
        One for each row, each different. Without them a row is known by its position.
    exclude : array_like of bool or int, optional
        Rows that must not be picked: a mask as long as the pool, or positions. They must be probabilities all the same.
    random_state : int, RandomState, Generator or None
        For the configurations, where they are drawn.
    clip : bool
        Whether fewer than `k` rows will do where there are no more.
    progress : bool or callable, optional
        True shows a bar (needs tqdm); a function is called now and then with the picks made and the picks wanted.

    Returns
    -------
    Selection
        In the order of picking. A score is what the label of the row tells about the members beside the labels of those
        before it, in nats; their sum is what the batch tells, at most ln members.

    Raises
    ------
    TypeError
        If an argument is of a type that makes no sense, such as votes.
    ValueError
        If the members are not as in `bald`, or more rows are wanted than there are.

    See Also
    --------
    bald : The score of the first pick.
    select : With ``PowerSampling(score="bald")`` a cheaper batch, for many rows.

    Notes
    -----
    BatchBALD [1]_: greedy, by :math:`\mathbb{E}_{y_S}[H(y \mid y_S)] - \frac1M \sum_m H(y \mid m)`, which is the mutual
    information of label and member, given the labels of the batch *S*. A batch so picked tells at least 1 - 1/e of what
    the best one does.

    All configurations of labels are gone through while they are at most `samples`, which they are while classes to the
    power of the batch size is; impossible ones do not count. The picks are then those of the naive algorithm in
    float64; of two rows equally good the lower position. From then on gains are estimates: each member has drawn as
    many configurations, to which each pick adds a label. The estimates are unbiased, never negative, and the same on
    any CPU and number of threads. More samples make them better: the noise falls at least as their root. A gain of less
    than 1e-12 is rounding and counts as 0; once all gains are 0, rows are picked by position.

    The cost of a gain is samples * members * classes, but few are computed: a gain only falls as the batch grows
    (estimates do so up to their noise), and groups of configurations give bounds that are nearly as good. Memory:
    about 2 * samples * members * 8 bytes, beside the committee.

    References
    ----------
    .. [1] A. Kirsch, J. van Amersfoort and Y. Gal. BatchBALD: efficient and diverse batch acquisition for deep Bayesian
       active learning. NeurIPS 2019.

    Examples
    --------
    Rows 0 and 1 split the members in the same way, row 2 in another:

    >>> import pickwise as pw
    >>> yes, no = [0.95, 0.05], [0.05, 0.95]
    >>> committee = [[yes, yes, [0.9, 0.1]], [yes, yes, [0.1, 0.9]], [no, no, [0.9, 0.1]], [no, no, [0.1, 0.9]]]
    >>> pw.top_k(pw.bald(committee), 2).ids
    array([0, 1])
    >>> pw.batch_bald(committee, 2)
    Selection of 2 rows by BatchBALD(from_logits=False, temperature=1.0, samples=10000)
      id  index     score
       0      0  0.494632
       2      2  0.368064
    """
    request = Request(ids=ids, exclude=exclude, random_state=random_state, clip=clip, progress=progress)
    strategy = BatchBALD(from_logits=from_logits, temperature=temperature, samples=samples)
    return pick_together(strategy, committee, as_k(k), request, Wishes())


def pick_together(
    strategy: BatchBALD,
    committee: Any,
    k: int | None,
    request: Request,
    wishes: Wishes,
    *,
    embeddings: Any = None,
    labelled: Any = None,
) -> Selection:
    """Pick rows of a committee; `pickwise.select` says what the arguments are."""
    _refuse_what_does_not_fit(request)
    members = matrices(committee)
    rows = len(members[0])
    own = None if request.ids is None else as_ids(request.ids, "ids", rows)
    if own is not None:
        refuse_repeated(own, "ids")
    barred = left_out(rows, own, request)
    mask = np.zeros(rows, np.uint8) if barred is None else barred.view(np.uint8)
    limits, known = None, None
    if not wishes.is_empty:
        limits, known = _limits(strategy, members, wishes, embeddings, labelled)
    labelled_too = 0
    if known is not None:
        labelled_too = int((mask[known] == 0).sum())
        mask = mask.copy()
        mask[known] = 1
    taken = np.empty(0, np.int64) if limits is None or limits.taken is None else limits.taken
    refuse_barred(taken, known, mask)
    if k is not None and len(taken) > k:
        raise ValueError(f"must_include: expected at most k = {k} rows, got {len(taken)}")
    room = _room(k, mask, labelled_too, clip=request.clip) - len(taken)
    picks, gains = strategy.choose(
        members,
        room,
        exclude=mask if mask.any() else None,
        limits=limits,
        random_state=request.random_state,
        progress=request.progress,
    )
    if len(picks) < room and wishes.budget is None:
        warn_of_few(
            len(taken) + len(picks),
            len(taken) + room,
            " or ".join([] if limits is None else limits.reasons()) or "no others may be picked",
        )
    picks, gains = np.concatenate([taken, picks]), np.concatenate([np.full(len(taken), np.inf), gains])
    if limits is not None:
        refuse_without_distance(limits, picks)
    return Selection(picks if own is None else named(take_ids(own, picks)), picks, gains, strategy)


def _refuse_what_does_not_fit(request: Request) -> None:
    one_of(request.ties, "ties", ("first",))
    one_of(request.invalid, "invalid", ("raise",))
    for name in ("probabilities", "id", "filters", "checkpoint"):
        if getattr(request, name) is not None:
            raise TypeError(f"{name}: expected None with batch_bald, which takes a committee in memory")
    if not isinstance(as_engine(request.engine), Local):
        raise TypeError(
            f"engine: expected 'local' with batch_bald, which takes a committee in memory, got {request.engine!r}"
        )


def _limits(
    strategy: BatchBALD, members: list[NDArray[Any]], wishes: Wishes, embeddings: Any, labelled: Any
) -> tuple[Limits, NDArray[np.int64] | None]:
    """Check the limits; and find the labelled rows of the pool."""
    rows = len(members[0])
    matrix = None if embeddings is None else as_points(embeddings, "embeddings")
    if matrix is not None and len(matrix) != rows:
        raise ValueError(f"embeddings: expected {rows} rows, one for each of the pool, got {len(matrix)}")
    predicted = None
    if wishes.max_per_class is not None:
        ranking = Bald(from_logits=strategy.from_logits, temperature=strategy.temperature)
        predicted = Votes(ranking, members).of(rows)
    centers, known = (None, None) if matrix is None else as_labelled(labelled, matrix.shape)
    return wishes.over(rows, predicted=predicted, embeddings=matrix, centers=centers, labelled=known), known


def _room(k: int | None, exclude: NDArray[np.uint8], labelled: int, *, clip: bool) -> int:
    """Count the rows to pick, and refuse to pick more than there are."""
    rows, available = len(exclude), int((exclude == 0).sum())
    if available == 0:
        raise ValueError(f"exclude: every one of the {rows} rows is excluded, so none is left to pick")
    if k is None:
        return available
    if k > available and not clip:
        raise too_few(k, available, rows=rows, labelled=labelled)
    return min(k, available)
