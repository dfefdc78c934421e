"""The recipe for Spark selects the rows that `select` does, whatever the partitions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyspark")
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("Spark needs Java", allow_module_level=True)

# What pyspark leaves open, and what it thinks of pandas.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, CLASSES = 5000, 3
P = np.random.default_rng(0).dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
P[::9] = P[0]  # ties
NAMES = [f"p_{column}" for column in range(CLASSES)]


@pytest.fixture(scope="module")
def recipe():
    path = Path(__file__).resolve().parent.parent / "examples" / "spark.py"
    spec = importlib.util.spec_from_file_location("spark_recipe", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["spark_recipe"] = module
    spec.loader.exec_module(module)
    # Workers do not have this module.
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    return module


@pytest.fixture(scope="module")
def spark():
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "700",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def frame(spark, tmp_path_factory):
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("pool")
    table = pa.table({name: P[:, column] for column, name in enumerate(NAMES)})
    table = table.append_column("id", pa.array(np.arange(ROWS)))
    table = table.append_column("name", pa.array([f"n{row:04}" for row in range(ROWS)]))
    for start in range(0, ROWS, 1700):
        pq.write_table(table.slice(start, 1700), folder / f"{start}.parquet")
    return spark.read.parquet(str(folder))


@pytest.mark.parametrize("partitions", [1, 5])
@pytest.mark.parametrize(
    ("strategy", "known", "options"),
    [
        ("entropy", "id", {}),
        ("margin", "name", {"exclude_ids": ["n0003", "n0009"]}),
        ("power", "id", {"random_state": 3}),
        ("margin", "id", {"ties": "random", "random_state": 0}),
    ],
)
def test_partitions(recipe, frame, partitions, strategy, known, options):
    found = recipe.select(frame.repartition(partitions), 99, strategy, NAMES, known, **options)
    ids = np.arange(ROWS) if known == "id" else [f"n{row:04}" for row in range(ROWS)]
    expected = pw.select(P, 99, strategy, ids=ids, **options)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_empty_partitions(recipe, frame):
    found = recipe.select(frame.filter("id < 4").repartition(8), 3, "entropy", NAMES, "id")
    np.testing.assert_array_equal(found.ids, pw.select(P[:4], 3, "entropy").ids)
