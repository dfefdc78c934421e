"""Who goes through a pool of Parquet files, and how: pickwise, rivals that select the same rows, and plain readers.

Run as a program, it lets one of them go through once, and tells what it found and the peak memory of the process.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

import pickwise as pw
from pool_files import NAMES

THREADS = pw.get_num_threads()
os.environ.setdefault("POLARS_MAX_THREADS", str(THREADS))
pa.set_cpu_count(THREADS)

BATCH = 104_448
TINY = 1e-38


def selected(selection):
    return selection.indices, selection.scores


def of_path(folder, k):
    return selected(pw.select(folder, k, "entropy"))


def of_lazy_frame(folder, k):
    import polars as pl

    return selected(pw.select(pl.scan_parquet(folder), k, "entropy", probabilities="p_*"))


def of_arrow_stream(folder, k):
    return selected(pw.select(ds.dataset(folder).scanner().to_reader(), k, "entropy"))


def of_duckdb_stream(folder, k):
    import duckdb

    with duckdb.connect(config={"threads": THREADS}) as connection:
        rows = connection.read_parquet(f"{folder}/*.parquet")
        return selected(pw.select(rows.to_arrow_reader(BATCH), k, "entropy"))


def best_of_lazy(folder, k, score):
    import polars as pl

    rows = pl.scan_parquet(folder, row_index_name="row").select("row", score=score)
    best = rows.top_k(k, by="score").collect(engine="streaming")
    return best["row"].to_numpy(), best["score"].to_numpy()


def expression(folder, k):
    import polars.selectors as cs

    return best_of_lazy(folder, k, pw.polars.entropy(cs.starts_with("p_")))


def polars(folder, k):
    import polars as pl

    columns = [pl.col(name) for name in NAMES]
    return best_of_lazy(folder, k, -pl.sum_horizontal([p * p.clip(TINY).log() for p in columns]))


def duckdb(folder, k):
    import duckdb

    files = [str(file) for file in parts(folder)]
    score = " + ".join(f"CASE WHEN {name} > 0 THEN {name} * ln({name}) ELSE 0 END" for name in NAMES)
    query = f"""
        SELECT filename, file_row_number, -({score}) AS score
        FROM read_parquet({files}, filename = true, file_row_number = true) ORDER BY score DESC LIMIT {k}
    """
    with duckdb.connect(config={"threads": THREADS}) as connection:
        best = connection.execute(query).fetchnumpy()
    starts = dict(zip(files, starts_of(folder), strict=True))
    rows = np.array([starts[file] for file in best["filename"]]) + best["file_row_number"]
    return rows, best["score"]


def dask(folder, k):
    import dask.dataframe as dd
    import pandas as pd

    starts = starts_of(folder)

    def best(part, partition_info=None):
        rows, scores = best_of(part.to_numpy(), k)
        return pd.DataFrame({"row": rows + starts[partition_info["number"]], "score": scores})

    frame = dd.read_parquet(folder, split_row_groups=False, aggregate_files=False)
    chosen = frame.map_partitions(best, meta={"row": "i8", "score": "f4"}).nlargest(k, "score")
    found = chosen.compute(scheduler="threads", num_workers=THREADS)
    return found["row"].to_numpy(), found["score"].to_numpy()


def numpy(folder, k):
    """Let each thread take a file at a time, batch by batch."""

    def best(file, start):
        found = []
        for batch in batches(file, use_threads=False):
            rows, scores = best_of(matrix(batch), k)
            found.append((rows + start, scores))
            start += batch.num_rows
        return best_of_some(found, k)

    with ThreadPoolExecutor(THREADS) as threads:
        return best_of_some(list(threads.map(best, parts(folder), starts_of(folder))), k)


def matrix(batch):
    columns = [column.to_numpy() for column in batch.columns]
    return np.stack(columns, axis=1)


def best_of(p, k):
    scores = -(p * np.log(np.maximum(p, np.float32(TINY)))).sum(1)
    rows = np.argpartition(scores, -k)[-k:] if k < len(scores) else np.arange(len(scores))
    return rows, scores[rows]


def best_of_some(found, k):
    rows, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    best = np.argsort(-scores)[:k]
    return rows[best], scores[best]


def parts(folder):
    return sorted(Path(folder).glob("*.parquet"))


def starts_of(folder):
    counts = [pq.read_metadata(file).num_rows for file in parts(folder)]
    return np.cumsum([0, *counts])[:-1].tolist()


def batches(file, *, batch_size=BATCH, use_threads=True, pre_buffer=False, **options):
    with pq.ParquetFile(file, pre_buffer=pre_buffer, **options) as parquet:
        yield from parquet.iter_batches(batch_size, use_threads=use_threads)


def drop(folder, **options) -> None:
    for file in parts(folder):
        for _ in batches(file, **options):
            pass


def drop_by_threads(folder) -> None:
    def one(file) -> None:
        for _ in batches(file, use_threads=False, memory_map=True):
            pass

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(one, parts(folder)))


def drop_dataset(folder, pre_buffer=True) -> None:
    options = ds.ParquetFragmentScanOptions(pre_buffer=pre_buffer)
    for _ in ds.dataset(folder).to_batches(fragment_scan_options=options):
        pass


OURS = {
    "pickwise": of_path,
    "pickwise, Polars LazyFrame": of_lazy_frame,
    "pickwise, Polars expression": expression,
    "pickwise, pyarrow stream": of_arrow_stream,
    "pickwise, DuckDB stream": of_duckdb_stream,
}
RIVALS = {
    "DuckDB, SQL": duckdb,
    "Polars, expression": polars,
    "Dask, map_partitions": dask,
    "NumPy over pyarrow": numpy,
}
NEEDS = {"DuckDB": "duckdb", "Dask": "dask", "Polars expression": "pickwise.polars"}
READERS = {
    "read and drop, iter_batches": lambda folder: drop(folder, batch_size=65_536),
    "read and drop, pre_buffer": lambda folder: drop(folder, pre_buffer=True),
    "read and drop, buffered": lambda folder: drop(folder, buffer_size=1 << 20),
    "read and drop, memory map": lambda folder: drop(folder, memory_map=True),
    "read and drop, a file a thread": drop_by_threads,
    "read and drop, dataset": drop_dataset,
    "read and drop, dataset, no pre_buffer": lambda folder: drop_dataset(folder, pre_buffer=False),
}


def available(names):
    """Leave out those that need what is not installed."""
    return [name for name in names if all(find_spec(needs) for word, needs in NEEDS.items() if word in name)]


def main() -> None:
    name, folder, k = sys.argv[1], sys.argv[2], int(sys.argv[3])
    answer = None
    if name in READERS:
        READERS[name](folder)
    else:
        rows, scores = (OURS | RIVALS)[name](folder, k)
        answer = [rows.tolist(), scores.tolist()]
    print(json.dumps({"peak": peak(), "answer": answer}))


def peak():
    """Read the peak memory of this process, in MiB, where the system tells."""
    if sys.platform != "linux":
        return None
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
