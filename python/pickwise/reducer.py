"""The mergeable state of a selection: rows go in piece by piece, in any process, and the best of them come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import _native
from pickwise.arrays import Rows, row_count
from pickwise.ids import Excluded, Ids, as_ids, refuse_repeated, slice_ids
from pickwise.options import Invalid, RandomState, Ties, as_seed, one_of, too_few
from pickwise.progress import shifted
from pickwise.result import Selection
from pickwise.scores import invalid_rows
from pickwise.state import State, begins, id_kind
from pickwise.strategies import REGISTRY, Hybrid, PowerSampling, Ranking, Spread, Strategy, resolve, settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from pickwise.coreset import CoverReducer


def reducer(
    strategy: str | Strategy,
    k: int,
    *,
    exclude_ids: Any = None,
    labelled: Any = None,
    ties: Ties = "first",
    random_state: RandomState = None,
    invalid: Invalid = "raise",
) -> Reducer | CoverReducer:
    """Select from rows that arrive piece by piece: streams, shards, other engines.

    Parameters
    ----------
    strategy : str or Strategy
        As in `select`.
    k : int
        How many rows to select.
    exclude_ids : array_like, optional
        Ids that must not be selected.
    labelled : array_like of shape (labelled, dims), optional
        For strategies "k_center" and "kmeans++": embeddings that are covered already.
    ties : {"first", "random"}
        Among equal scores: the lower id first, or in an order drawn from `random_state`.
    random_state : int, RandomState, Generator or None
        For strategy "random", "power", "softmax" and "kmeans++", and random ties; with "k_center", draws the first pick
        if given. The seed is drawn once, here. Reducers that are to be merged need the same one: give each the same
        integer, or send out copies of one reducer.
    invalid : {"raise", "skip"}
        What to do about rows that are no probabilities, or no embeddings.

    Returns
    -------
    Reducer or CoverReducer
        The latter for strategies "k_center" and "kmeans++", whose chunks are embeddings.

    Raises
    ------
    TypeError, ValueError
        For an argument that makes no sense, and for strategies that need the whole pool: the message names the
        closest one that does not.

    See Also
    --------
    select : The same for a pool that is all there.

    Examples
    --------
    >>> import pickwise as pw
    >>> left, right = pw.reducer("margin", k=2), pw.reducer("margin", k=2)
    >>> left.update([[0.9, 0.1], [0.5, 0.5]], ids=[10, 11])
    >>> right.update([[0.6, 0.4]], ids=[12])
    >>> left.merge(right)
    >>> left.finish().ids
    array([11, 12])
    """
    chosen = settled(resolve(strategy), has_embeddings=False)
    if not chosen.streams:
        raise _needs_the_pool(chosen)
    if isinstance(chosen, Spread):
        if one_of(ties, "ties", ("first", "random")) == "random":
            raise ValueError(f"ties: expected 'first' with {chosen.name}, which has no other way, got 'random'")
        from pickwise.coreset import CoverReducer

        return CoverReducer(
            chosen, k, exclude_ids=exclude_ids, labelled=labelled, random_state=random_state, invalid=invalid
        )
    if labelled is not None:
        raise TypeError(f"labelled: expected None with {chosen.name}, which has no use for it")
    return Reducer(chosen, k, exclude_ids=exclude_ids, ties=ties, random_state=random_state, invalid=invalid)


def _needs_the_pool(chosen: Strategy) -> ValueError:
    closest = chosen.closest
    shown = repr(closest.name if closest == type(closest)() else closest)
    factor = chosen.factor if isinstance(chosen, Hybrid) else chosen.prefilter if isinstance(chosen, Spread) else None
    if factor is None:
        hint = f"the closest that can is {shown}; or use pickwise.select"
    else:
        hint = (
            f"its first pass can, by pickwise.reducer({shown}, {factor} * k), for pickwise.select to choose among "
            "those rows"
        )
    return ValueError(
        f"strategy: {chosen.name} needs all rows of a pool at once, so it cannot take them piece by piece; {hint}"
    )


class Reducer(State):
    """The state of a streaming selection, of size O(k). Made by `reducer`, whose parameters it has.

    The selection does not depend on how the rows were cut into chunks, nor on the order of merging: a reducer that has
    seen all rows has the bits of one `select` over them. It pickles. One reducer takes one call at a time.

    Attributes
    ----------
    strategy : Ranking
    k : int
    """

    strategy: Ranking
    _magic = b"pickwise-reducer-1\n"

    def __init__(
        self,
        strategy: str | Strategy,
        k: int,
        *,
        exclude_ids: Any = None,
        ties: Ties = "first",
        random_state: RandomState = None,
        invalid: Invalid = "raise",
    ) -> None:
        super().__init__(k, exclude_ids)
        chosen = resolve(strategy)
        if not isinstance(chosen, Ranking):
            raise TypeError(
                f"strategy: expected one that ranks rows, got {chosen!r}; pickwise.reducer makes what it needs"
            )
        self.strategy = chosen
        self._random_ties = one_of(ties, "ties", ("first", "random")) == "random"
        self._skip_invalid = one_of(invalid, "invalid", ("raise", "skip")) == "skip"
        # Drawn only where it is used: a generator that the caller shares is not moved on for nothing.
        draws = self._random_ties or chosen.noise is not None or not chosen.needs_matrix
        self._seed = as_seed(random_state) if draws else 0
        self._topk: _native.TopK | None = None

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return 0 if self._topk is None else self._topk.rows

    @property
    def skipped(self) -> int:
        """How many invalid rows were passed over."""
        return 0 if self._topk is None else self._topk.skipped

    def update(self, chunk: Any, ids: Any = None, exclude: Any = None) -> None:
        """Take some rows.

        Parameters
        ----------
        chunk : array_like of shape (rows, classes) or (rows,)
            Anything that `select` takes as an array. No rows are fine. For strategy "random" only their number
            matters.
        ids : array_like of int or str, optional
            One for each row. Without them a row is known by its position in the stream, and reducers cannot be merged.
        exclude : array_like of bool or int, optional
            Rows of this chunk that must not be selected: a mask or positions in the chunk.

        Raises
        ------
        TypeError, ValueError
            If the chunk or the ids are refused; nothing of the chunk is taken then.
        """
        rows: Rows | int
        if self.strategy.needs_matrix:
            rows = self.strategy.read(chunk, "chunk", allow_empty=True)
            count = rows.shape[0]
        else:
            rows = count = row_count(chunk, "chunk")
        given = None if ids is None else as_ids(ids, "ids", count)
        excluded = None if exclude is None else Excluded.read(exclude, "exclude", count)
        mask = None if excluded is None else excluded.between(0, count)
        self.take(rows, given, mask, name="chunk")

    def take(
        self,
        rows: Rows | int,
        ids: Ids | None,
        exclude: NDArray[np.uint8] | None,
        *,
        name: str,
        positions: int | NDArray[np.int64] | None = None,
        report: Callable[[int], object] | None = None,
        locate: Callable[[int], str] | None = None,
    ) -> int:
        """Take rows that are already borrowed; `update` and `select` end here.

        Parameters
        ----------
        rows : Rows or int
            Their number is enough for a strategy that needs no matrix.
        ids : Ids or None
            One for each row.
        exclude : ndarray of uint8 of shape (rows,) or None
            Nonzero where a row must not be selected.
        name : str
            What the caller's argument is called, for messages.
        positions : int or ndarray of int64 of shape (rows,), optional
            That of the first row, if they follow each other, else of each. By default they follow the rows before.
        report : callable, optional
            Called with the number of rows done of these.
        locate : callable, optional
            Says where the row at a position is.

        Returns
        -------
        int
            How many invalid rows were passed over.
        """
        count = rows if isinstance(rows, int) else rows.shape[0]
        if count == 0:
            return 0
        topk = self._begin(rows, ids, begins(name, positions, locate))
        if isinstance(rows, int):
            topk.update(
                None,
                rows,
                ids=ids,
                positions=positions,
                exclude=exclude,
                skip_invalid=self._skip_invalid,
                progress=report,
            )
            return 0
        skipped = topk.skipped
        before = None
        done = 0
        for some, block in rows.to_score():
            if done == 0 and some < count and not self._skip_invalid:
                before = topk.to_bytes()
            end = done + some
            found = topk.update(
                block,
                some,
                ids=None if ids is None else slice_ids(ids, done, end),
                positions=_positions_between(positions, done, end),
                exclude=None if exclude is None else exclude[done:end],
                skip_invalid=self._skip_invalid,
                progress=shifted(report, done),
            )
            if found is not None and not self._skip_invalid:
                seen = topk.rows + some
                if before is not None:
                    self._topk = _native.TopK.from_bytes(before)
                scoring, told = _scoring(self.strategy)
                raise invalid_rows(
                    name,
                    found,
                    of=f"{seen} rows" if seen == count else f"the first {seen} rows",
                    dtype=rows.dtype,
                    from_logits=getattr(scoring, "from_logits", False),
                    locate=locate,
                    told=told,
                )
            done = end
        return topk.skipped - skipped

    def condense(self) -> None:
        """Do nothing: the state is small."""

    def snapshot(self) -> Any:
        """Return what `restore` needs to undo all that follows."""
        return None if self._topk is None else self._topk.to_bytes(), self._id_kind, self._columns

    def restore(self, snapshot: Any) -> None:
        """Go back to what was so when the snapshot was taken."""
        state, self._id_kind, self._columns = snapshot
        self._topk = None if state is None else _native.TopK.from_bytes(state)

    def merge(self, other: Reducer) -> None:
        """Take all that another reducer has taken; it stays as it is.

        Parameters
        ----------
        other : Reducer
            With the same strategy, k, ties and seed, and with ids of the same kind.

        Raises
        ------
        TypeError
            If it is no reducer.
        ValueError
            If the two do not belong together, or if both know their rows by position only.
        """
        self._refuse_unlike(other, _random_ties="ties", _seed="seeds (give every reducer the same random_state)")
        if other._topk is None or other._id_kind is None:
            return
        self._check(other._id_kind, other._columns, "merge")
        if self._topk is None:
            self._topk = self._new(other._id_kind, other._columns)
        self._topk.merge(other._topk)
        self._id_kind, self._columns = other._id_kind, other._columns

    def finish(self, *, clip: bool = False, locate: Callable[[int], str] | None = None) -> Selection:
        """Return the selection from the rows so far; more may follow.

        Parameters
        ----------
        clip : bool
            Whether fewer than `k` rows will do where there are no more.
        locate : callable, optional
            Says where the row at a position is, for messages.

        Returns
        -------
        Selection

        Raises
        ------
        ValueError
            If there are fewer than `k` rows to select from, or if an id was selected twice.
        """
        topk = self._topk
        if topk is None or topk.rows == 0:
            raise ValueError("pool: expected at least one row, got none")
        ids, indices, scores = topk.finish()
        if len(indices) < self.k and not clip:
            raise too_few(self.k, len(indices), rows=topk.rows, skipped=topk.skipped)
        if self._id_kind != "position":
            where = int if locate is None else lambda at: locate(int(indices[at]))
            refuse_repeated(as_ids(ids, "ids"), "ids of the selected rows", where)
        named = ids if isinstance(ids, np.ndarray) else np.array(ids, dtype=object)
        return Selection(named, indices, scores, self.strategy, topk.skipped)

    def without_noise(self, selection: Selection) -> NDArray[np.float64]:
        """Return the scores of rows that `finish` has selected without the noise that they were drawn by.

        Parameters
        ----------
        selection : Selection

        Returns
        -------
        ndarray of float64 of shape (rows,)
        """
        noise = self.strategy.noise
        if noise is None or not len(selection):
            return selection.scores
        kind, beta = noise
        # Noise goes by ids and the seed alone, so rows of score 1 get the same, and the logarithm of 1 adds nothing.
        again = Reducer(PowerSampling(score="given", beta=beta), len(selection), random_state=self._seed)
        again.update(np.ones(len(selection)), ids=selection.ids)
        alike = again.finish()
        scores = selection.scores.copy()
        scores[alike.indices] -= alike.scores
        return np.asarray(np.exp(scores)) if kind == "power" else scores

    def to_bytes(self) -> bytes:
        """Return all of the state, options included, for `from_bytes` on any machine."""
        header = self._header() | {
            "random_ties": self._random_ties,
            "skip_invalid": self._skip_invalid,
            "seed": self._seed,
        }
        if self._topk is None:
            return self._pack(header, b"")
        return self._pack(header | {"exclude_ids": None}, self._topk.to_bytes())  # the native state has them

    @staticmethod
    def from_bytes(data: bytes) -> Reducer:
        """Read back what `to_bytes` wrote.

        Raises
        ------
        ValueError
            If the bytes are damaged or something else.
        """
        header, state = Reducer._unpack(data)
        try:
            made = Reducer(
                REGISTRY[header["strategy"]](**header["options"]),
                header["k"],
                exclude_ids=header["exclude_ids"],
                ties="random" if header["random_ties"] else "first",
                random_state=header["seed"],
                invalid="skip" if header["skip_invalid"] else "raise",
            )
            made._id_kind = header["id_kind"]
            made._columns = None if header["columns"] is None else (header["columns"][0], header["columns"][1])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"from_bytes: expected bytes of this version of pickwise: {error}") from error
        if made._id_kind is not None:
            made._topk = _native.TopK.from_bytes(state)
        return made

    def _begin(self, rows: Rows | int, ids: Ids | None, name: str) -> _native.TopK:
        """Check that a chunk is of the same make as those before it; the first one settles what that is."""
        kind = id_kind(ids)
        columns = None if isinstance(rows, int) else (rows.shape[1], rows.binary)
        self._check(kind, columns, name)
        if self._topk is None:
            self._topk = self._new(kind, columns)
            self._id_kind, self._columns = kind, columns
        return self._topk

    def _described(self, columns: tuple[int, bool] | None) -> str:
        if columns is None:
            return "nothing but the number of rows"
        count, binary = columns
        return "1-D P(y=1)" if binary else f"{count} classes"

    def _new(self, kind: str, columns: tuple[int, bool] | None) -> _native.TopK:
        return _native.TopK(
            self.strategy.criterion(binary=columns is not None and columns[1]),
            self.k,
            tie_seed=self._seed if self._random_ties else None,
            seed=self._seed,
            ids=kind,
            exclude_ids=self._exclude_ids,
            noise=self.strategy.noise,
        )


def _positions_between(
    positions: int | NDArray[np.int64] | None, start: int, stop: int
) -> int | NDArray[np.int64] | None:
    return positions + start if isinstance(positions, int) else None if positions is None else positions[start:stop]


def _scoring(strategy: Strategy) -> tuple[Strategy, str]:
    """Return what scores rows, and how the caller tells it that they are logits."""
    score = getattr(strategy, "score", None)
    scoring = strategy if score is None else resolve(score)
    own = f"pw.{type(scoring).__name__}(from_logits=True)"
    return scoring, f"strategy={own}" if score is None else f"score={own}"
