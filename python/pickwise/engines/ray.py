"""A Ray cluster: tasks take groups of files or the blocks of a dataset, and their states are merged in a tree."""

from __future__ import annotations

import json
import logging
import os
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

    from pickwise.pools import Part

# States that are merged by one task.
_FAN_IN = 16

# Seconds after which a driver that waits looks up, so that an interrupt is noticed.
_WAIT = 0.2


@dataclass(frozen=True, kw_only=True)
class Ray(Engine):
    """Selections on a Ray cluster, with the bits of a local one.

    The pool is files that every node can read, or a `ray.data.Dataset` with a column of ids. Tasks take groups of files
    of about `task_bytes`, whatever the size of the cluster; their states are merged sixteen at a time, without a sort
    or a shuffle. Ray repeats the tasks of workers that die.

    Parameters
    ----------
    address : str, optional
        The cluster, as `ray.init` takes it (``"auto"``: the one that is running). By default the one that this process
        is connected to, else one is started on this machine for the call.
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
    ) -> tuple[R, Report]:
        """Let a reducer take all rows; see `Engine.reduce`."""
        with self.connected() as ray, _original_errors(ray):
            if len(parts) == 1 and isinstance(parts[0], TablePart) and isinstance(parts[0].records, RayRecords):
                return self._reduce_blocks(reducer, parts[0], intake, report)
            for part in parts:
                if not part.travels:
                    raise TypeError(
                        "engine: expected files that every node can read, or a Ray dataset, with engine='ray', got "
                        f"{part.name} in the memory of this process"
                    )
            groups = list(_groups(parts, self.task_bytes))
            shared = ray.put((reducer, intake, skip_failed, self.num_cpus))
            take = ray.remote(_take).options(num_cpus=self.num_cpus, num_returns=2)
            pairs = [take.remote(shared, group) for group in groups]
            states, reports = [state for state, _ in pairs], [seen for _, seen in pairs]
            try:
                if at_end is not None:
                    told = (_got(ray, seen) for seen in reports)
                    states_told = zip(groups, states, told, strict=True)
                    return self._merge_here(ray, reducer, states_told, report, at_end)
                root = _tree(ray, states)
                total = Report()
                while reports:
                    ready, reports = ray.wait(reports, num_returns=min(len(reports), _FAN_IN), timeout=_WAIT)
                    for seen in ray.get(ready):
                        total.merge(seen)
                    if report is not None:
                        report(total.rows)
                if root is not None:
                    reducer.merge(ray.get(root))
            finally:
                for ref in [*states, *reports]:
                    ray.cancel(ref, force=False)
            return reducer, total

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Connect to the cluster, and leave it as it was found."""
        try:
            import ray
        except ImportError as error:
            raise ImportError("engine: 'ray' needs Ray; install it with pip install 'pickwise[ray]'") from error
        if ray.is_initialized():
            yield ray
            return
        options: dict[str, Any] = {"address": self.address} if self.address is not None else {}
        if not options and "RAY_ADDRESS" not in os.environ:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            ray.init(**options, log_to_driver=False, logging_level=logging.WARNING)
        except ConnectionError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConnectionError(
                f"engine: no Ray cluster at address={self.address!r}: {reason}; start one with `ray start --head`, or "
                "leave the address out"
            ) from None
        try:
            yield ray
        finally:
            ray.shutdown()

    def _merge_here(
        self,
        ray: Any,
        reducer: R,
        states: Iterable[tuple[Sequence[Part], Any, Report]],
        report: Callable[[int], object] | None,
        at_end: Callable[[Sequence[Part], R, Report], object],
    ) -> tuple[R, Report]:
        """Merge states one after the other as they are told of."""
        total = Report()
        for group, state, seen in states:
            total.merge(seen)
            reducer.merge(ray.get(state))
            at_end([part for part in group if part.name not in total.failed], reducer, total)
            if report is not None:
                report(total.rows)
        return reducer, total

    def _reduce_blocks(
        self, reducer: R, part: TablePart, intake: Intake, report: Callable[[int], object] | None
    ) -> tuple[R, Report]:
        """Let every block of a dataset be taken where it is, and merge what comes of it."""
        records = part.records
        assert isinstance(records, RayRecords)  # noqa: S101 - for the type checker
        options = {"batch_format": "pyarrow", "zero_copy_batch": True, "num_cpus": self.num_cpus}
        taken = records.dataset.map_batches(
            _take_block,
            batch_size=None,
            fn_kwargs={"reducer": reducer, "intake": intake, "part": part, "threads": self.num_cpus},
            **options,
        )
        merged = taken.map_batches(_merge_blocks, batch_size=_FAN_IN, fn_args=(type(reducer),), **options)
        total = Report()
        for row in merged.iter_rows():
            reducer.merge(type(reducer).from_bytes(row["state"]))
            total.merge(Report.of(json.loads(row["report"])))
            if report is not None:
                report(total.rows)
        return reducer, total


def _take(shared: tuple[Any, Intake, bool, int], parts: Sequence[Part]) -> tuple[Any, Report]:
    """Take a group of parts; a task."""
    reducer, intake, skip_failed, threads = shared
    with num_threads(threads):
        reducer, seen = Local().reduce(
            reducer, parts, intake, ahead=True, skip_failed=skip_failed, report=None, at_end=None
        )
        reducer.condense()
    return reducer, seen


def _merge(first: Any, *others: Any) -> Any:
    """Merge states; a task."""
    for other in others:
        first.merge(other)
    return first


def _tree(ray: Any, states: Sequence[Any]) -> Any:
    """Merge states by tasks, neighbours first, as soon as they are there; None where there is none."""
    merge = ray.remote(_merge)
    while len(states) > 1:
        groups = (states[start : start + _FAN_IN] for start in range(0, len(states), _FAN_IN))
        states = [merge.remote(*group) for group in groups]
    return states[0] if states else None


def _take_block(table: Any, *, reducer: Any, intake: Intake, part: TablePart, threads: int) -> Any:
    """Take a block of a dataset, and write down the state; a task."""
    import pyarrow as pa

    reducer = type(reducer).from_bytes(reducer.to_bytes())
    block = part.over(TableRecords(table))
    with num_threads(threads):
        reducer, seen = Local().reduce(
            reducer, [block], intake, ahead=False, skip_failed=False, report=None, at_end=None
        )
        reducer.condense()
    return pa.table({"state": [reducer.to_bytes()], "report": [json.dumps(seen.state())]})


def _merge_blocks(table: Any, kind: Any) -> Any:
    """Merge states that are written down; a task."""
    import pyarrow as pa

    states = [kind.from_bytes(state) for state in table["state"].to_pylist()]
    total = Report()
    for seen in table["report"].to_pylist():
        total.merge(Report.of(json.loads(seen)))
    return pa.table({"state": [_merge(*states).to_bytes()], "report": [json.dumps(total.state())]})


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
