"""The pool changes while a project lasts: what is new is seen, asked for, and what was learnt stays."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_array
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import pickwise as pw
from pickwise.annotators import SimulatedAnnotators
from pickwise.loop import Plateau, Target

ROWS = 300
RNG = np.random.default_rng(8)
X = RNG.normal(size=(ROWS, 2))
CLUSTER = RNG.normal(size=(150, 2)) * 0.5 + [7, -7.5]
SAME = RNG.normal(size=(150, 2))
UNTIL = Plateau(metric="agreement", rounds=1, gain=0.5)


def truth_of(x):
    return [str(name) for name in np.where(x.sum(1) > 0, "yes", "no")]


def made(place, pool=X, **told):
    told = {"model": LogisticRegression(), "classes": ["no", "yes"], "batch_size": 20, **told}
    return pw.Project.create(place, pool, **told)


def grown(x):
    pool = np.concatenate([X, x])
    return pool, SimulatedAnnotators(truth_of(pool))


def test_a_new_cluster_is_seen_and_a_share_of_the_next_round_is_from_it(tmp_path):
    pool, annotator = grown(CLUSTER)
    with made(tmp_path / "p", annotator=annotator, until=UNTIL) as project:
        project.run()
        done = len(project.history())
        assert "agreement" in project.status().stopped
        assert project.run() == project.status().stopped
        drift = project.replace_pool(pool)
        assert drift.is_large()
        assert project.drift().is_large()
        assert project.status().stopped is None
        # It goes on, though it had stopped.
        project.run()
        assert len(project.history()) > done
        new = [task for task in rows_of(tmp_path / "p", done + 1) if task["why"] == "new region"]
        assert len(new) == 6
        assert new[0]["id"] >= ROWS
        # Once only.
        assert not [row for row in rows_of(tmp_path / "p", done + 2) if row["why"] == "new region"]
        assert project.status().stopped is not None
        assert project.run() == project.status().stopped


def test_a_new_pool_after_the_seed_alone_is_a_new_beginning(tmp_path):
    pool, annotator = grown(CLUSTER)
    truth = truth_of(X)
    with made(tmp_path / "p", annotator=annotator, until=Target("accuracy", at_least=0.5)) as project:
        project.seed(dict(enumerate(truth[:20])))
        project.hold_out({row: truth[row] for row in range(250, ROWS)})
        project.fit()
        assert "accuracy has reached" in project.run()
        assert project.replace_pool(pool).is_large()
        project.run()
        assert [each.number for each in project.history()] == [0, 1]


def rows_of(folder, number):
    path = folder / "rounds" / f"{number:04}" / "selection.parquet"
    return pq.read_table(path).to_pylist() if path.exists() else []


def test_more_of_the_same_does_not_open_a_project_that_has_stopped(tmp_path):
    pool, annotator = grown(SAME)
    with made(tmp_path / "p", annotator=annotator, until=UNTIL) as project:
        said = project.run()
        drift = project.replace_pool(pool)
        assert not drift.is_large()
        done = len(project.history())
        assert project.run() == said
        assert len(project.history()) == done
        # Whoever asks all the same gets rows of the whole pool, none for being new.
        assert {task.why for task in project.ask()} == {"selected"}


@pytest.mark.parametrize("what", ["rounds", "budget"])
def test_a_new_pool_does_not_lift_the_limits(tmp_path, what):
    pool, annotator = grown(CLUSTER)
    told = {"budget": 40} if what == "budget" else {}
    with made(tmp_path / "p", annotator=annotator, **told) as project:
        project.run(rounds=2)
        assert project.replace_pool(pool).is_large()
        project.run(rounds=2)
        assert len(project.history()) == 2


def test_a_model_is_compared_with_the_one_before_on_the_same_rows(tmp_path):
    """Not the rows of the new pool with those of the old one."""
    moved = X[::-1] * [1, -1]
    ids = [f"new-{i}" for i in range(ROWS)]
    labels = dict(zip([f"old-{i}" for i in range(ROWS)], truth_of(X), strict=True)) | dict(
        zip(ids, truth_of(moved), strict=True)
    )
    with made(
        tmp_path / "p", ids=[f"old-{i}" for i in range(ROWS)], annotator=SimulatedAnnotators(labels), batch_size=60
    ) as project:
        project.run(rounds=2)
        before = project.model.predict_proba(moved)
        project.replace_pool(moved, ids=ids)
        project.run(rounds=3)
        now = project.model.predict_proba(moved)
        changed = np.mean(before.argmax(1) != now.argmax(1))
        assert project.history()[-1].metrics["changed"] == changed
        # Fitted again it is still compared with the one before.
        project.fit()
        assert project.history()[-1].metrics["changed"] == changed


NAMES = [f"row-{i}" for i in range(ROWS)]


def a_table(x, names, texts=False):
    columns = {"name": names, "a": x[:, 0], "b": x[:, 1]}
    return columns | ({"text": [f"{name} word" for name in truth_of(x)]} if texts else {})


def kinds():
    """Pools of the same rows in each form, and the model for it."""
    mixed = make_column_transformer((TfidfVectorizer(), "text"), ("passthrough", ["a", "b"]))
    return {
        "matrix": (lambda x, names: (x, {"ids": names}), LogisticRegression),
        "sparse": (lambda x, names: (csr_array(x), {"ids": names}), LogisticRegression),
        "texts": (
            lambda x, names: ([f"{label} word{i % 9}" for i, label in enumerate(truth_of(x))], {"ids": names}),
            lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()),
        ),
        "table": (lambda x, names: (pa.table(a_table(x, names)), {}), LogisticRegression),
        "frame": (
            lambda x, names: (pa.table(a_table(x, names, texts=True)).to_pandas(), {}),
            lambda: make_pipeline(mixed, LogisticRegression()),
        ),
    }


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("matrix", "margin"),
        ("matrix", "k_center"),
        ("sparse", "margin"),
        ("texts", "margin"),
        ("table", "margin"),
        ("frame", "margin"),
    ],
)
def test_a_pool_without_the_old_rows_goes_on_from_what_was_learnt(tmp_path, kind, strategy):
    pytest.importorskip("pandas")
    as_pool, model = kinds()[kind]
    pools, labels = [], {}
    for number, x in enumerate((X[:100], X[100:200] + 1, X[200:] - 1)):
        names = [f"{number}-{i}" for i in range(100)]
        pools.append(as_pool(x, names))
        labels |= dict(zip(names, truth_of(x), strict=True))
    told = {} if kind in ("matrix", "texts") else {"id": "name"}
    annotator = lambda: SimulatedAnnotators(labels)  # noqa: E731
    pool, beside = pools[0]
    with made(
        tmp_path / "p", pool, model=model(), annotator=annotator(), strategy=strategy, batch_size=8, **told, **beside
    ) as project:
        project.hold_out({f"0-{i}": labels[f"0-{i}"] for i in range(10)})
        project.run(rounds=2)
        for number, (pool, beside) in enumerate(pools[1:], 1):
            project.replace_pool(pool, **beside)
            project.run(rounds=2 + number)
        last = project.history()[-1]
        assert last.labelled == 32
        assert last.metrics["accuracy"] > 0.7
        rows = project.labels().to_dict()
        assert {name.split("-")[0] for name in rows} == {"0", "1", "2"}
        assert rows == {name: labels[name] for name in rows}
        project.report()
        # Rows of pools that are gone can be shown and asked for again.
        gone = next(name for name in rows if name.startswith("0-"))
        (task,) = project.relabel([gone])
        assert (task.data is None) == (kind == "sparse")
        project.collect()
        project.fit()
    pool, beside = pools[-1]
    with pw.Project.open(tmp_path / "p", pool, model=model(), annotator=annotator(), **beside) as project:
        assert project.fit().labelled == 32
        project.run(rounds=6)


def test_rows_that_are_asked_for_are_kept_though_nobody_has_answered_yet(tmp_path):
    names = [f"new-{i}" for i in range(ROWS)]
    with made(tmp_path / "p", ids=NAMES) as project:
        project.seed({NAMES[i]: label for i, label in enumerate(truth_of(X[:20]))})
        project.fit()
        tasks = project.ask()
        with pytest.raises(RuntimeError, match=r"20 of 20 rows .*close_round"):
            project.replace_pool(X + 1, ids=names)
        project.close_round()
        project.fit()
        project.replace_pool(X + 1, ids=names)
        # An answer that comes late is learnt from all the same.
        from pickwise.annotators import Annotation

        project.record([Annotation(key="late", id=tasks[0].id, label="yes")])
        assert project.fit().labelled == 21


def test_positions_that_stand_for_other_rows_are_refused(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(truth_of(X))) as project:
        project.run(rounds=1)
        for other in (X[::-1].copy(), X + 1, X[: ROWS // 2], X[:, :1]):
            with pytest.raises(ValueError, match=r"known by their positions.*append new rows"):
                project.replace_pool(other)
        # As it was: nothing has changed.
        assert project.drift() is None
        project.run(rounds=2)
    with pw.Project.open(
        tmp_path / "p", X, model=LogisticRegression(), annotator=SimulatedAnnotators(truth_of(X))
    ) as project:
        project.run(rounds=3)


@pytest.mark.parametrize("kind", ["sparse", "missing values"])
def test_rows_that_are_known_by_their_positions_may_be_sparse_or_lack_values(tmp_path, kind):
    if kind == "sparse":
        (pool, more), model = map(csr_array, (X, np.concatenate([X, SAME]))), LogisticRegression()
    else:
        pool, model = X.copy(), HistGradientBoostingClassifier(max_iter=5)
        pool[::3, 1] = np.nan
        more = np.concatenate([pool, SAME])
    annotator = SimulatedAnnotators(truth_of(np.concatenate([X, SAME])))
    with made(tmp_path / "p", pool, model=model, annotator=annotator) as project:
        project.run(rounds=2)
        assert not project.replace_pool(more).is_large()
        with pytest.raises(ValueError, match="known by their positions"):
            project.replace_pool(more[::-1])
        project.run(rounds=3)


def test_ids_of_another_type_are_refused(tmp_path):
    with made(tmp_path / "p", ids=NAMES) as project, pytest.raises(TypeError, match="ids: expected str"):
        project.replace_pool(X)


def test_a_pool_is_replaced_before_anything_is_learnt(tmp_path):
    with made(tmp_path / "p", annotator=SimulatedAnnotators(truth_of(np.concatenate([X, SAME])))) as project:
        assert project.replace_pool(np.concatenate([X, SAME])) is None
        project.run(rounds=2)
        assert project.drift() is None


def test_a_folder_of_files_grows(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    names = [f"new-{i}" for i in range(len(CLUSTER))]
    labels = dict(zip([*NAMES, *names], truth_of(np.concatenate([X, CLUSTER])), strict=True))
    pq.write_table(pa.table(a_table(X, NAMES)), folder / "a.parquet")
    with made(tmp_path / "p", f"{folder}/*.parquet", id="name", annotator=SimulatedAnnotators(labels)) as project:
        project.run(rounds=2)
    pq.write_table(pa.table(a_table(CLUSTER, names)), folder / "b.parquet")
    annotator = SimulatedAnnotators(labels)
    with pytest.raises(ValueError, match=r"fingerprint .*replace_pool"):
        pw.Project.open(tmp_path / "p", model=LogisticRegression(), annotator=annotator)
    # As it was is what its first file holds.
    with pw.Project.open(
        tmp_path / "p", str(folder / "a.parquet"), model=LogisticRegression(), annotator=annotator
    ) as project:
        assert project.replace_pool(f"{folder}/*.parquet") is not None
        project.run(rounds=3)
    with pw.Project.open(tmp_path / "p", model=LogisticRegression(), annotator=SimulatedAnnotators(labels)) as project:
        assert project.settings.pool == f"{folder}/*.parquet"
        project.run(rounds=4)
