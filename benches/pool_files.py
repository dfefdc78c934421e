"""The pools larger than memory: predictions of a real model, tiled with noise, written once and used again."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".benchmarks/pools"
MNIST = ROOT.parent / "shared/data/mnist70k_u8.npz"
CLASSES = 10
NAMES = [f"p_{column}" for column in range(CLASSES)]
STEP = 1_000_000
NOISE = np.float32(0.05)


def many_files(scale: float) -> Path:
    """100M rows, a column a class, in files of 1M rows (fewer rows, in as many files, below scale 1)."""
    return written(f"columns-{scale:g}", [range(int(STEP * scale))] * 100, as_columns)


def one_file(scale: float) -> Path:
    return written(f"file-{scale:g}", [range(int(10 * STEP * scale))], as_columns)


def lists(scale: float) -> Path:
    return written(f"lists-{scale:g}", [range(int(STEP * scale))] * 10, as_lists)


def written(name: str, files, table) -> Path:
    """Write the files of a pool, unless they are there."""
    folder = FOLDER / name
    if folder.exists():
        return folder
    logits = np.log(np.maximum(predictions(), np.float32(1e-30)))
    begun = folder.with_suffix(".begun")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir(parents=True)
    schema = table(noisy(logits, 1, 0)).schema

    def write(number: int) -> None:
        rows = len(files[number])
        with pq.ParquetWriter(begun / f"{number:03d}.parquet", schema) as writer:
            for part, start in enumerate(range(0, rows, STEP)):
                writer.write_table(table(noisy(logits, min(STEP, rows - start), number * 1000 + part)))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, range(len(files))))
    return begun.rename(folder)


def noisy(logits, rows: int, seed: int):
    """Take the predictions again and again, each time with other noise on the logits; the same for a seed always."""
    rng = np.random.default_rng(seed)
    p = logits[rng.integers(0, len(logits), rows)]
    p += NOISE * rng.standard_normal(p.shape, dtype=np.float32)
    np.exp(p, out=p)
    p /= p.sum(1, keepdims=True)
    return p


def as_columns(p) -> pa.Table:
    return pa.table(dict(zip(NAMES, np.ascontiguousarray(p.T), strict=True)))


def as_lists(p) -> pa.Table:
    return pa.table({"p": pa.FixedSizeListArray.from_arrays(pa.array(p.reshape(-1)), CLASSES)})


@cache
def predictions():
    """What a model of 5000 digits says of the others."""
    from sklearn.linear_model import LogisticRegression

    pixels, digits = images()
    model = LogisticRegression(C=0.1, max_iter=200).fit(pixels[:5000], digits[:5000])
    return model.predict_proba(pixels[5000:]).astype(np.float32)


def images():
    """Read MNIST where it is, else the small digits of scikit-learn, four times over."""
    if MNIST.exists():
        with np.load(MNIST) as data:
            return data["X"] / np.float32(255), data["y"]
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.tile(digits.data / np.float32(16), (4, 1)), np.tile(digits.target, 4)
