"""Select from a Spark DataFrame: every partition makes a state, and this process merges them.

Run it as ``python examples/spark.py predictions/ 1000``, where the folder holds Parquet files with a column `id` and
columns `p_0`, `p_1`, … of probabilities.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

import pickwise as pw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    from pyspark.sql import DataFrame


def select(frame: DataFrame, k: int, strategy: str, probabilities: list[str], id: str, **options: Any) -> pw.Selection:  # noqa: A002 - as in pickwise.select
    """Select the `k` best rows of a DataFrame, with the bits of `pickwise.select`.

    Parameters
    ----------
    frame : DataFrame
    k : int
    strategy : str
        One that streams.
    probabilities : list of str
        The columns of probabilities.
    id : str
        The column of ids: integers or strings, each different.
    **options
        What else `pickwise.reducer` takes. Strategies that draw rows need a `random_state`, one for all partitions.
    """
    empty = pw.reducer(strategy, k, **options).to_bytes()
    states = frame.select(id, *probabilities).mapInArrow(_taking(empty, probabilities, id), "state binary")
    total = pw.Reducer.from_bytes(empty)
    # One after the other, so that this process never holds more than a few.
    for row in states.toLocalIterator():
        total.merge(pw.Reducer.from_bytes(row["state"]))
    return total.finish()


def _taking(
    empty: bytes,
    probabilities: list[str],
    id: str,  # noqa: A002
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Make what runs on the workers: it takes the batches of a partition, and returns one state."""

    def take(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with pw.num_threads(1):  # Spark runs as many tasks as there are cores
            reducer = pw.Reducer.from_bytes(empty)
            for batch in batches:
                columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in probabilities]
                reducer.update(np.stack(columns, axis=1), ids=batch.column(id))
            yield pa.RecordBatch.from_pydict({"state": [reducer.to_bytes()]})

    return take


def main() -> None:
    """Select from the Parquet files in a folder."""
    from pyspark.sql import SparkSession

    folder, k = sys.argv[1], int(sys.argv[2])
    spark = SparkSession.builder.appName("pickwise").getOrCreate()
    frame = spark.read.parquet(folder)
    probabilities = [name for name in frame.columns if name.startswith("p_")]
    print(select(frame, k, "entropy", probabilities, "id"))
    spark.stop()


if __name__ == "__main__":
    main()
