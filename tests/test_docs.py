"""The examples and commands on the README and the pages of docs/ do what they say."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
USED = [
    "jinja2",
    "matplotlib",
    "pandas",
    "polars",
    "pyarrow",
    "scipy",
    "skops",
    "sklearn",
    "sqlalchemy",
    "starlette",
    "typer",
    "uvicorn",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the files that the pages speak of."""
    for module in USED:
        pytest.importorskip(module)
    import pyarrow as pa
    import pyarrow.parquet as pq

    p = np.random.default_rng(0).dirichlet(np.ones(5), 2000).astype(np.float32)
    np.save(tmp_path / "pool.npy", p)
    np.save(tmp_path / "predictions.npy", p)
    rng = np.random.default_rng(0)
    middles = 3 * rng.normal(size=(40, 16))
    embeddings = (middles[rng.integers(0, 40, 2000)] + rng.normal(size=(2000, 16))).astype(np.float32)
    np.save(tmp_path / "embeddings.npy", embeddings)
    np.save(tmp_path / "labelled.npy", embeddings[:20])
    (tmp_path / "predictions").mkdir()
    for name, rows in (("a", range(1000)), ("b", range(1000, 2000))):
        columns = {f"p_{column}": p[rows, column] for column in range(5)}
        table = pa.table({"doc_id": [f"doc-{row}" for row in rows], **columns})
        pq.write_table(table, tmp_path / "predictions" / f"{name}.parquet")
    (tmp_path / "features").mkdir()
    columns = {f"x_{column}": embeddings[:, column].copy() for column in range(16)}
    table = pa.table({"doc_id": [f"doc-{row}" for row in range(2000)], **columns})
    pq.write_table(table, tmp_path / "features" / "a.parquet")
    topics = [f"topic {topic}" for topic in embeddings[:600, :3].argmax(1)]
    pq.write_table(pa.table({"topic": topics, "embedding": embeddings[:600].tolist()}), tmp_path / "data.parquet")
    for name, rows in (("test", range(200)), ("first", range(200, 260))):
        lines = [f"doc-{row},{'spam' if embeddings[row, 0] > 0 else 'ham'}" for row in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,label", *lines]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples(page: Path, folder: Path) -> None:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testfile(str(page), module_relative=False, optionflags=flags, encoding="utf-8")
    assert failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands(page: Path, folder: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in "".join(blocks).splitlines():
        if command.startswith("pickwise "):
            done = subprocess.run(
                command, shell=True, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
