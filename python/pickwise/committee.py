"""Scores from a committee: what several models, or several passes of one, make of the same rows.

Members may be in memory together or come one at a time, from an iterator; the scores are the same to the last bit. The
arithmetic is in the native part, which keeps sums over the members, never the members.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native, arrow
from pickwise.arrays import Rows, as_numpy, as_rows, is_matrix, stacked
from pickwise.scores import invalid_rows, native_score, score_dtype

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

_MOST = 2**32 - 1
_SHAPES = {
    "probabilities": {3: "(members, rows, classes)"},
    "numbers": {2: "(members, rows)"},
    "votes": {2: "(members, rows)", 3: "(members, rows, classes)"},
}


def bald(
    committee: Any, *, from_logits: bool = False, temperature: float = 1.0, dtype: DTypeLike | None = None
) -> NDArray[np.floating[Any]]:
    r"""Mutual information of label and model: the entropy of the mean prediction less the mean entropy.

    High where each member is sure and they disagree, which labels will settle; 0 where they agree, however unsure they
    are. Never below 0.

    Parameters
    ----------
    committee : array_like of shape (members, rows, classes), or sequence or iterator of (rows, classes)
        Probabilities: float16, bfloat16, float32 or float64, in memory of any layout. Of an iterator one member at a
        time is asked for. Never written to.
    from_logits : bool
        Whether the members hold logits, to be put through a softmax first, in float64.
    temperature : float
        What logits are divided by first, from 1e-30 to 1e30; more than 1 makes them less certain. For logits only.
    dtype : dtype, optional
        float64 asks for double precision whatever the input. By default float64 if a member is, else float32.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, in nats, from 0 to ln classes.

    Raises
    ------
    TypeError
        If a member is no array of floats on the CPU.
    ValueError
        If there are no members, they differ in shape, or one of them has no rows, fewer than two classes or rows that
        are no probabilities, as in `entropy`; the message tells member, row and value.

    See Also
    --------
    consensus_kl : The same number by another way.
    predictive_entropy, expected_entropy : Its two parts.

    Notes
    -----
    One pass over members in memory, on all threads. From an iterator: rows * (classes + 1) * 8 bytes and a pass over
    these for each member. In single precision the score is within 4e-6 of the entropy of the mean (of 1, where that is
    below 1), in practice within 1e-6; where less than that decides, ask for ``dtype=np.float64``. Members that agree in
    single precision score exactly 0. After [1]_.

    References
    ----------
    .. [1] N. Houlsby, F. Huszár, Z. Ghahramani and M. Lengyel. Bayesian active learning for classification and
       preference learning. arXiv:1112.5745, 2011.

    Examples
    --------
    >>> import pickwise as pw
    >>> agree, differ = [0.5, 0.5], [[1.0, 0.0], [0.0, 1.0]]
    >>> pw.bald([[agree, differ[0]], [agree, differ[1]]]).round(4)
    array([0.    , 0.6931])
    >>> pw.bald(p for p in ([[0.9, 0.1]], [[0.6, 0.4]])).round(4)  # one member at a time
    array([0.0633])
    """
    return _scored("disagreement", committee, from_logits=from_logits, temperature=temperature, dtype=dtype)


def consensus_kl(
    committee: Any, *, from_logits: bool = False, temperature: float = 1.0, dtype: DTypeLike | None = None
) -> NDArray[np.floating[Any]]:
    r"""Mean Kullback-Leibler divergence of the members from their mean, the consensus.

    :math:`\frac1M \sum_m \sum_c p_{mc} \ln (p_{mc} / \bar p_c)`. Multiplied out this is the entropy of the mean less
    the mean entropy, so it is the same number as `bald`, and computed by the same code.

    Parameters
    ----------
    committee : array_like of shape (members, rows, classes), or sequence or iterator of (rows, classes)
        Probabilities or logits, as in `bald`.
    from_logits, temperature, dtype
        As in `bald`.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, in nats, from 0 to ln classes.

    Raises
    ------
    TypeError, ValueError
        As `bald` does.

    See Also
    --------
    bald

    Notes
    -----
    Cost and accuracy are those of `bald`. After [1]_.

    References
    ----------
    .. [1] A. McCallum and K. Nigam. Employing EM and pool-based active learning for text classification. ICML 1998.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.consensus_kl([[[0.3, 0.7], [0.4, 0.6]], [[0.2, 0.8], [0.5, 0.5]]]).round(8)
    array([0.00670178, 0.00505939])
    """
    return bald(committee, from_logits=from_logits, temperature=temperature, dtype=dtype)


def predictive_entropy(
    committee: Any, *, from_logits: bool = False, temperature: float = 1.0, dtype: DTypeLike | None = None
) -> NDArray[np.floating[Any]]:
    """Entropy of the mean prediction: all that is unsure, for whatever reason.

    Parameters
    ----------
    committee : array_like of shape (members, rows, classes), or sequence or iterator of (rows, classes)
        Probabilities or logits, as in `bald`; the mean is that of the probabilities.
    from_logits, temperature, dtype
        As in `bald`.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, in nats, from 0 to ln classes.

    Raises
    ------
    TypeError, ValueError
        As `bald` does.

    See Also
    --------
    expected_entropy, bald

    Notes
    -----
    The cost is that of `bald`; the accuracy that of `entropy`. After [1]_.

    References
    ----------
    .. [1] I. Dagan and S. P. Engelson. Committee-based sampling for training probabilistic classifiers. ICML 1995.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.predictive_entropy([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]).round(4)
    array([0.6931, 0.6931])
    """
    return _scored("predictive", committee, from_logits=from_logits, temperature=temperature, dtype=dtype)


def expected_entropy(
    committee: Any, *, from_logits: bool = False, temperature: float = 1.0, dtype: DTypeLike | None = None
) -> NDArray[np.floating[Any]]:
    """Mean entropy of the members: what is unsure in the rows themselves, which more labels will not settle.

    Parameters
    ----------
    committee : array_like of shape (members, rows, classes), or sequence or iterator of (rows, classes)
        Probabilities or logits, as in `bald`.
    from_logits, temperature, dtype
        As in `bald`.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, in nats, from 0 to ln classes.

    Raises
    ------
    TypeError, ValueError
        As `bald` does.

    See Also
    --------
    predictive_entropy, bald

    Notes
    -----
    The cost is that of `bald`, without the sum of the probabilities; the accuracy that of `entropy`. After [1]_.

    References
    ----------
    .. [1] N. Houlsby, F. Huszár, Z. Ghahramani and M. Lengyel. Bayesian active learning for classification and
       preference learning. arXiv:1112.5745, 2011.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.expected_entropy([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]).round(4)
    array([0.    , 0.6931])
    """
    return _scored("expected", committee, from_logits=from_logits, temperature=temperature, dtype=dtype)


def vote_entropy(committee: Any, *, from_logits: bool = False) -> NDArray[np.float64]:
    r"""Entropy of the votes of the members, :math:`-\sum_c (v_c / M) \ln (v_c / M)`.

    Parameters
    ----------
    committee : array_like of shape (members, rows) or (members, rows, classes), or sequence or iterator of members
        Votes, integers from 0 to 2**32 - 1, or probabilities as in `bald`, each of which votes for its most probable
        class, of several the lowest. Never written to.
    from_logits : bool
        Whether the members hold logits. The votes are the same, but not what counts as invalid.

    Returns
    -------
    ndarray of shape (rows,)
        float64, in nats, from 0 to ln members.

    Raises
    ------
    TypeError
        If a member is neither an array of integers nor one of floats.
    ValueError
        As `bald` does, and for votes out of range.

    See Also
    --------
    variation_ratios, bald

    Notes
    -----
    One pass over each member, then a sort of the votes of each row; up to 8 bytes for each member and row. After [1]_.

    References
    ----------
    .. [1] S. P. Engelson and I. Dagan. Minimizing manual annotation cost in supervised training from corpora. ACL 1996.

    Examples
    --------
    Three members (in rows) vote on three rows (in columns):

    >>> import pickwise as pw
    >>> pw.vote_entropy([[0, 0, 2], [1, 0, 2], [2, 1, 2]]).round(4)
    array([1.0986, 0.6365, 0.    ])
    """
    return _tallied("entropy", committee, from_logits=from_logits)


def variation_ratios(committee: Any, *, from_logits: bool = False) -> NDArray[np.float64]:
    r"""Share of the members that do not vote for the winner, :math:`1 - \max_c v_c / M`.

    Parameters
    ----------
    committee : array_like of shape (members, rows) or (members, rows, classes), or sequence or iterator of members
        Votes or probabilities, as in `vote_entropy`.
    from_logits : bool
        As in `vote_entropy`.

    Returns
    -------
    ndarray of shape (rows,)
        float64, from 0 to 1 - 1/members.

    Raises
    ------
    TypeError, ValueError
        As `vote_entropy` does.

    See Also
    --------
    vote_entropy

    Notes
    -----
    The cost is that of `vote_entropy`. After [1]_.

    References
    ----------
    .. [1] L. C. Freeman. Elementary applied statistics. Wiley, 1965.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.variation_ratios([[0, 1, 2, 0], [0, 0, 1, 0], [2, 2, 2, 0]]).round(4)
    array([0.3333, 0.6667, 0.3333, 0.    ])
    """
    return _tallied("dissent", committee, from_logits=from_logits)


def committee_std(committee: Any, *, dtype: DTypeLike | None = None) -> NDArray[np.floating[Any]]:
    """Spread of the numbers that a regression committee predicts: their standard deviation.

    Parameters
    ----------
    committee : array_like of shape (members, rows), or sequence or iterator of (rows,)
        Predictions: float16, bfloat16, float32 or float64, in memory of any layout. Never written to.
    dtype : dtype, optional
        By default float64 if a member is, else float32. The arithmetic is in float64.

    Returns
    -------
    ndarray of shape (rows,)
        float32 or float64, in the unit of the predictions; divided by the number of members, as `numpy.std` does.

    Raises
    ------
    TypeError
        If a member is no array of floats on the CPU.
    ValueError
        If there are no members, they differ in length, or one of them holds NaN or infinity.

    See Also
    --------
    bald : For classifiers.

    Notes
    -----
    One pass over the members, 16 bytes for each row of an iterator's. After [1]_, computed as in [2]_.

    References
    ----------
    .. [1] R. Burbidge, J. J. Rowland and R. D. King. Active learning for regression based on query by committee.
       IDEAL 2007.
    .. [2] B. P. Welford. Note on a method for calculating corrected sums of squares and products. Technometrics 4,
       1962.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.committee_std([[1.0, 5.0], [3.0, 5.0]])
    array([1., 0.])
    """
    return _scored("deviation", committee, dtype=dtype, form="numbers")


def _scored(
    measure: str,
    committee: Any,
    *,
    from_logits: bool = False,
    temperature: float = 1.0,
    dtype: DTypeLike | None = None,
    form: str = "probabilities",
) -> NDArray[Any]:
    native_score("entropy", binary=False, from_logits=from_logits, temperature=temperature)  # refuses bad options
    double = score_dtype(np.dtype(np.float32), dtype) == np.float64
    softened = temperature if from_logits else None
    given = _members(committee, form)
    members: Iterable[Rows] = _borrowed(given, form)
    dtypes = []
    if isinstance(given, list):
        members = list(members)
        if members and all(member.whole for member in members):
            dtypes = [member.dtype for member in members]
            matrices = [next(member.blocks()) for member in members]
            scores, found = _native.score_committee(matrices, measure, temperature=softened, double=double)
            if found is not None:
                raise invalid_member(*found, members[found[0]], form, from_logits=from_logits)
            return _as(scores, dtypes, dtype)
    state = _native.Members(measure, temperature=softened, double=double)
    for member in members:
        found = state.add(stacked(member.blocks(), member.shape, member.dtype))
        if found is not None:
            raise invalid_member(*found, member, form, from_logits=from_logits)
        dtypes.append(member.dtype)
    if not dtypes:
        raise _no_member()
    return _as(state.scores(), dtypes, dtype)


def _as(scores: NDArray[np.float64], given: list[np.dtype[Any]], wanted: DTypeLike | None) -> NDArray[Any]:
    widest = np.dtype(np.float64) if np.dtype(np.float64) in given else given[0]
    return scores.astype(score_dtype(widest, wanted), copy=False)


def _tallied(measure: str, committee: Any, *, from_logits: bool) -> NDArray[np.float64]:
    votes: list[NDArray[np.uint32]] = []
    for at, member in enumerate(_members(committee, "votes")):
        ballot = _ballot(member, _name(at), from_logits=from_logits)
        if votes and len(ballot) != len(votes[0]):
            raise ValueError(f"{_name(at)}: expected {len(votes[0])} rows, as member 0 has, got {len(ballot)}")
        votes.append(ballot)
    if not votes:
        raise _no_member()
    return _native.tally(np.concatenate(votes), len(votes[0]), measure)


def _members(committee: Any, form: str) -> list[Any] | Iterator[Any]:
    """Take a committee apart: a list of what is in memory, or an iterator."""
    if isinstance(committee, (list, tuple)):
        return list(committee)
    in_memory = hasattr(committee, "__array__") or hasattr(committee, "__dlpack__") or arrow.is_arrow(committee)
    if isinstance(committee, Iterable) and not in_memory and not isinstance(committee, (str, bytes)):
        return iter(committee)
    array = as_numpy(committee, "committee")
    if array.ndim not in _SHAPES[form]:
        shapes = " or ".join(_SHAPES[form].values())
        message = f"committee: expected the shape {shapes}, or a sequence or an iterator of members"
        raise ValueError(f"{message}, got {array.ndim}-D {array.shape}")
    return list(array)


def _borrowed(members: Iterable[Any], form: str) -> Iterator[Rows]:
    shape = None
    for at, member in enumerate(members):
        rows = as_rows(member, _name(at), min_classes=2)
        if rows.binary != (form == "numbers"):
            expected = "(rows,)" if form == "numbers" else "(rows, classes)"
            got = f"1-D ({rows.shape[0]},)" if rows.binary else f"2-D {rows.shape}"
            raise ValueError(f"{_name(at)}: expected the shape {expected}, got {got}")
        if shape not in (None, rows.shape):
            raise ValueError(f"{_name(at)}: expected the shape of member 0, {shape}, got {rows.shape}")
        shape = rows.shape
        yield rows


def matrices(committee: Any) -> list[NDArray[Any]]:
    """Borrow the probabilities of all members, to be read more than once; those of an iterator are copied."""
    given = _members(committee, "probabilities")
    copied = not isinstance(given, list)
    found = []
    for member in _borrowed(given, "probabilities"):
        matrix = stacked(member.blocks(), member.shape, member.dtype)
        found.append(matrix.copy() if copied else matrix)
    if not found:
        raise _no_member()
    return found


def _ballot(member: Any, name: str, *, from_logits: bool) -> NDArray[np.uint32]:
    """Return what a member votes for, row by row."""
    if is_matrix(member, name):
        rows = as_rows(member, name)
        votes = np.empty(rows.shape[0], np.uint32)
        matrix = stacked(rows.blocks(), rows.shape, rows.dtype)
        found = _native.vote(matrix, votes, from_logits)
        if found is not None:
            raise invalid_rows(name, found, of=f"{len(votes)} rows", dtype=rows.dtype, from_logits=from_logits)
        return votes
    array = np.asarray(member) if isinstance(member, (list, tuple)) else as_numpy(member, name)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        expected = "votes, a 1-D array of integers, or probabilities, (rows, classes)"
        raise TypeError(f"{name}: expected {expected}, got {array.ndim}-D {array.dtype}")
    if not array.size:
        raise ValueError(f"{name}: expected at least one row, got none")
    outside = (array < 0) | (array > _MOST)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(f"{name}: row {row} holds {array[row]}, expected the number of a class, from 0 to {_MOST}")
    return array.astype(np.uint32)


def invalid_member(
    at: int,
    found: _native.InvalidRows,
    member: Rows | NDArray[Any],
    form: str = "probabilities",
    *,
    from_logits: bool,
) -> ValueError:
    """Word what is wrong with a member."""
    if form == "numbers":
        return ValueError(f"{_name(at)}: row {found.row} holds {found.value:.7g}, expected a finite number")
    of = f"{member.shape[0]} rows"
    return invalid_rows(_name(at), found, of=of, dtype=member.dtype, from_logits=from_logits)


def _name(at: int) -> str:
    return f"committee: member {at}"


def _no_member() -> ValueError:
    return ValueError("committee: expected at least one member, got none")
