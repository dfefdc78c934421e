"""What all tests share: how hypothesis searches, and Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

# The same examples in every run; HYPOTHESIS_PROFILE=search looks for new ones.
settings.register_profile(
    "same",
    derandomize=True,
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", settings.get_profile("same"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def run_python(code: str, *arguments: object, timeout: float = 60, **environment: str) -> str:
    """Run code in a fresh interpreter, where warnings are errors too, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PICKWISE_")} | environment
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session", name="run_python")
def _run_python() -> Callable[..., str]:
    return run_python


class Stream:
    """A table of which no more is known than that it can be streamed."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.to_reader(max_chunksize=700).__arrow_c_stream__(requested_schema)


def _chunked(table: Any) -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.concat_tables([table.slice(at, 700) for at in range(0, len(table), 700)])


def _dataset(table: Any) -> Any:
    return pytest.importorskip("pyarrow.dataset").dataset(table)


def _polars(table: Any) -> Any:
    return pytest.importorskip("polars").from_arrow(table)


def _duckdb(table: Any) -> Any:
    connection = pytest.importorskip("duckdb").connect()
    connection.register("pool", table)
    return connection.sql("select * from pool")


def _hugging_face(table: Any) -> Any:
    return pytest.importorskip("datasets").Dataset(table)


def _shuffled(table: Any) -> Any:
    back = range(len(table))[::-1]
    return _hugging_face(table.take(list(back))).select(back)


SOURCES: dict[str, Callable[[Any], Any]] = {
    "table": lambda table: table,
    "chunked": _chunked,
    "batch": lambda table: table.combine_chunks().to_batches()[0],
    "reader": lambda table: table.to_reader(max_chunksize=700),
    "stream": Stream,
    "dataset": _dataset,
    "scanner": lambda table: _dataset(table).scanner(),
    "pandas": lambda table: table.to_pandas(),
    "polars": lambda table: _polars(_chunked(table)),
    "lazy": lambda table: _polars(table).lazy(),
    "duckdb": _duckdb,
    "hugging face": _hugging_face,
    "hugging face, shuffled": _shuffled,
}
"""What makes the same table of another library."""


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Make an Arrow table one of another library, of each in turn."""
    return SOURCES[request.param]


@pytest.fixture(scope="session")
def sources() -> dict[str, Callable[[Any], Any]]:
    """Make an Arrow table one of another library, by name."""
    return SOURCES
