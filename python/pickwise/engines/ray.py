"""A Ray cluster: tasks take groups of files or the blocks of a dataset, and their states are merged in a tree."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import re
import socket
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pickwise.engines.base import Engine, Intake, R
from pickwise.engines.local import Local
from pickwise.options import as_count
from pickwise.pools.records import RayRecords, TableRecords
from pickwise.pools.table import TablePart
from pickwise.report import Report
from pickwise.threads import num_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pickwise.options import Invalid
    from pickwise.pools import Part
    from pickwise.result import Cover
    from pickwise.strategies import KCenter

# States that are merged by one task.
_FAN_IN = 16

# Seconds after which a driver that waits looks up, so that an interrupt is noticed.
_WAIT = 0.2

# Seconds in which a cluster has to answer; Ray itself would try for minutes, and then end the process.
_ANSWER = 5.0


@dataclass(frozen=True, kw_only=True)
class Ray(Engine):
    """Selections on a Ray cluster, with the bits of a local one.

    The pool is files that every node can read, or a `ray.data.Dataset` with a column of ids. Tasks take groups of files
    of about `task_bytes`, whatever the size of the cluster; their states are merged sixteen at a time, without a sort
    or a shuffle. The blocks of a dataset are taken where they are, and their states merged here. Ray repeats the tasks
    of workers that die.

    Parameters
    ----------
    address : str, optional
        The cluster, as `ray.init` takes it (``"auto"``: the one that is running), unless this process is connected to
        one already. By default that of the environment variable ``RAY_ADDRESS``, else one is started on this machine
        for the call.
    num_cpus : int
        CPUs of a task, which scores with as many threads.
    task_bytes : int
        Bytes of files that make a task.
    exact : bool
        For "k_center": the picks of one machine that has all rows, found in many rounds by actors that hold the
        embeddings in memory. By default two rounds: each task picks representatives, and the selection is made of
        these; the radius is measured in a second pass.

    Examples
    --------
    >>> import pickwise as pw
    >>> engine = pw.engines.Ray(address="auto", num_cpus=4)
    >>> pw.select("s3://bucket/predictions/", 1000, "entropy", engine=engine)  # doctest: +SKIP
    """

    address: str | None = None
    num_cpus: int = 1
    task_bytes: int = 128 << 20
    exact: bool = False

    def __post_init__(self) -> None:
        for name in ("num_cpus", "task_bytes"):
            object.__setattr__(self, name, as_count(getattr(self, name), name, least=1))

    @property
    def is_exact(self) -> bool:  # type: ignore[override] # where others have a constant
        """Whether it was asked for."""
        return self.exact

    def reduce(
        self,
        reducer: R,
        parts: Sequence[Part],
        intake: Intake,
        *,
        ahead: bool,  # noqa: ARG002 - tasks always read ahead
        skip_failed: bool,
        report: Callable[[int], object] | None,
        at_end: Callable[[Sequence[Part], R, Report], object] | None,
        begun: R | None = None,
    ) -> tuple[R, Report]:
        """Let a reducer take all rows; see `Engine.reduce`."""
        with self.connected(parts) as ray, _original_errors(ray):
            dataset = _as_dataset(parts)
            if dataset is not None:
                return self._reduce_blocks(reducer, dataset, intake, report)
            groups = list(_groups(parts, self.task_bytes))
            # What nothing is merged with stays exact.
            shared = ray.put((reducer, intake, skip_failed, self.num_cpus, len(groups) > 1))
            take = ray.remote(_take).options(num_cpus=self.num_cpus, num_returns=2)
            # No more than keep all busy: after an error or an interrupt no others begin. Those that have begun are left
            # to end, because to cancel one that is about to begin may abort this process (Ray 2.60).
            most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)) // self.num_cpus)
            tasks = _handed_out(take, shared, groups, most)
            reducer = reducer if begun is None else begun
            if at_end is not None:
                return self._merge_here(ray, reducer, zip(groups, tasks, strict=True), report, at_end)
            root, total = _tree(ray, _merged(ray, tasks, report)), Report()
            if root is not None:
                merged, total = _got(ray, root)
                reducer.merge(merged)
            return reducer, total

    def cover(
        self,
        strategy: KCenter,
        k: int,
        parts: Sequence[Part],
        intake: Intake,
        *,
        exclude_ids: Any,
        labelled: Any,
        invalid: Invalid,
        clip: bool,
        skip_failed: bool,
    ) -> tuple[Cover, Report]:
        """Pick rows by exact k-center; see `Engine.cover`."""
        from pickwise.engines.resident import cover_exactly

        if _as_dataset(parts) is not None:
            raise TypeError(
                "engine: expected files with exact=True, which are read again where an actor dies, got a dataset"
            )
        with self.connected(parts) as ray, _original_errors(ray):
            actors = max(1, int(ray.cluster_resources().get("CPU", 1)) // self.num_cpus)
            groups = [parts[len(parts) * i // actors : len(parts) * (i + 1) // actors] for i in range(actors)]
            return cover_exactly(
                ray,
                strategy,
                k,
                groups,
                intake,
                exclude_ids=exclude_ids,
                labelled=labelled,
                invalid=invalid,
                clip=clip,
                skip_failed=skip_failed,
                num_cpus=self.num_cpus,
            )

    @contextmanager
    def connected(self, parts: Sequence[Part]) -> Iterator[Any]:
        """Connect to the cluster, and leave it as it was found.

        Yields
        ------
        module
            Ray.
        """
        for part in parts:
            if not part.travels and _as_dataset(parts) is None:
                raise TypeError(
                    "engine: expected files that every node can read, or a Ray dataset, with engine='ray', got a pool "
                    "in the memory of this process"
                )
        try:
            import ray
        except ImportError as error:
            raise ImportError("engine: 'ray' needs Ray; install it with pip install 'pickwise[ray]'") from error
        if ray.is_initialized():
            yield ray
            return
        address = self.address or os.environ.get("RAY_ADDRESS", "local")
        options: dict[str, Any] = {}
        if address == "local":
            options = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            _refuse_silent(address)
            with _without_statistics():
                ray.init(address, **options, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, SystemExit) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConnectionError(
                f"engine: no Ray cluster at address={address!r}: {reason}; start one with `ray start --head`, or leave "
                "the address out"
            ) from None
        try:
            yield ray
        finally:
            ray.shutdown()

    def _merge_here(
        self,
        ray: Any,
        reducer: R,
        tasks: Iterable[tuple[Sequence[Part], tuple[Any, Any]]],
        report: Callable[[int], object] | None,
        at_end: Callable[[Sequence[Part], R, Report], object],
    ) -> tuple[R, Report]:
        """Merge states in the order of their parts, and tell of each."""
        total = Report()
        for group, (state, rows) in tasks:
            _rows_of(_got(ray, rows))
            taken, seen = _got(ray, state)
            total.merge(seen)
            reducer.merge(taken)
            at_end([part for part in group if part.name not in total.failed], reducer, total)
            if report is not None:
                report(total.rows)
        return reducer, total

    def _reduce_blocks(
        self, reducer: R, part: TablePart, intake: Intake, report: Callable[[int], object] | None
    ) -> tuple[R, Report]:
        """Let every block of a dataset be taken where it is, and merge what comes of it."""
        taken = part.chosen().map_batches(
            _take_block,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            fn_args=((reducer, intake, False, self.num_cpus, True), part),
            num_cpus=self.num_cpus,
        )
        total = Report()
        for row in taken.iter_rows():
            state, rows = pickle.loads(row["taken"])  # noqa: S301 - written by a task of ours
            _rows_of(rows)
            reducer.merge(state[0])
            total.merge(state[1])
            if report is not None:
                report(total.rows)
        return reducer, total


def _as_dataset(parts: Sequence[Part]) -> TablePart | None:
    """Find the one part of a pool that is a Ray dataset."""
    part = parts[0] if len(parts) == 1 else None
    return part if isinstance(part, TablePart) and isinstance(part.records, RayRecords) else None


def _take(shared: tuple[Any, Intake, bool, int, bool], parts: Sequence[Part]) -> tuple[Any, Any]:
    """Take a group of parts, and return the state and what was seen, and how many rows; a task."""
    reducer, intake, skip_failed, threads, condensed = shared
    try:
        with _threads(threads):
            reducer, seen = Local().reduce(
                reducer, parts, intake, ahead=True, skip_failed=skip_failed, report=None, at_end=None
            )
            if condensed:
                reducer.condense()
    except (ValueError, TypeError, OSError) as error:
        # What is wrong with a pool is no failure of Ray, which would wrap it up and log it.
        return None, error
    return (reducer, seen), seen.rows


def _merge(*states: Any) -> Any:
    """Merge states and what was seen; a task."""
    if None in states:
        return None
    (reducer, seen), *others = states
    for other, more in others:
        reducer.merge(other)
        seen.merge(more)
    return reducer, seen


def _tree(ray: Any, states: Sequence[Any]) -> Any:
    """Merge states by tasks, neighbours first, as soon as they are there; None where there is none."""
    merge = ray.remote(_merge)
    while len(states) > 1:
        groups = (states[start : start + _FAN_IN] for start in range(0, len(states), _FAN_IN))
        states = [merge.remote(*group) for group in groups]
    return states[0] if states else None


def _handed_out(take: Any, shared: Any, groups: Iterable[Sequence[Part]], most: int) -> Iterator[tuple[Any, Any]]:
    """Hand out tasks, so many at a time, and yield the state of each and how many rows it has, in order."""
    flying: deque[tuple[Any, Any]] = deque()
    for group in groups:
        flying.append(take.remote(shared, group))
        if len(flying) >= most:
            yield flying.popleft()
    yield from flying


def _merged(ray: Any, tasks: Iterator[tuple[Any, Any]], report: Callable[[int], object] | None) -> list[Any]:
    """Wait for tasks, and let their states be merged, so many at a time."""
    merge = ray.remote(_merge)
    rows, states, merged = 0, [], []
    for state, count in tasks:
        rows += _rows_of(_got(ray, count))
        if report is not None:
            report(rows)
        states.append(state)
        if len(states) == _FAN_IN:
            merged.append(merge.remote(*states))
            states = []
    return [*merged, merge.remote(*states)] if states else merged


def _rows_of(done: int | Exception) -> int:
    """Return how many rows a task has taken, or raise what it has met with."""
    if isinstance(done, Exception):
        raise done
    return done


def _take_block(table: Any, shared: tuple[Any, Intake, bool, int, bool], part: TablePart) -> Any:
    """Take a block of a dataset, and write down what `_take` returns; a task, which may take many blocks."""
    import pyarrow as pa

    reducer, *options = shared
    taken = _take((copy.deepcopy(reducer), *options), [part.over(TableRecords(table))])
    return pa.table({"taken": pa.array([pickle.dumps(taken)], pa.large_binary())})


def _groups(parts: Sequence[Part], size: int) -> Iterator[list[Part]]:
    """Put neighbours together until they have so many bytes."""
    group: list[Part] = []
    held = 0
    for part in parts:
        if group and held + (part.size or 0) > size:
            yield group
            group, held = [], 0
        group.append(part)
        held += part.size or 0
    if group:
        yield group


def _got(ray: Any, ref: Any) -> Any:
    """Wait for a result; an interrupt is noticed soon."""
    while not ray.wait([ref], timeout=_WAIT)[0]:
        pass
    return ray.get(ref)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Score and decode with so many threads."""
    import pyarrow as pa

    before = pa.cpu_count()
    pa.set_cpu_count(count)
    try:
        with num_threads(count):
            yield
    finally:
        pa.set_cpu_count(before)


def _refuse_silent(address: str) -> None:
    """Raise a `ConnectionError` if nothing answers at an address that has a port."""
    found = re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), _ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(str(error)) from None


@contextmanager
def _without_statistics() -> Iterator[None]:
    """Let a cluster that is started here tell nobody, unless the user has set that."""
    name = "RAY_USAGE_STATS_ENABLED"
    is_set = name in os.environ
    os.environ.setdefault(name, "0")
    try:
        yield
    finally:
        if not is_set:
            del os.environ[name]


@contextmanager
def _original_errors(ray: Any) -> Iterator[None]:
    """Raise what a task has raised, as if it had been raised here."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else error) from None
    except ray.exceptions.RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise RuntimeError(
            f"engine: Ray gave up: {reason}; tasks of fewer task_bytes need less memory, and more num_cpus leave fewer "
            "of them on a node"
        ) from error
