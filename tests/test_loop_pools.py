"""Whatever the pool, the model and the strategy: no row is asked twice, and what is reopened asks for the same."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import pickwise as pw
from pickwise.annotators import SimulatedAnnotators
from pickwise.loop import ExternalModel, FunctionModel, SklearnModel
from pickwise.strategies import BatchBALD, Hybrid, PowerSampling

ROWS, BATCH, ROUNDS = 90, 12, 3
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, 3)).round(3)
TRUTH = [str(name) for name in np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")]
NAMES = [f"row-{i:03}" for i in range(ROWS)][::-1]
TEXTS = [f"{'win money' if name == 'yes' else 'see you'} {'now ' * (i % 4)}word{i % 7}" for i, name in enumerate(TRUTH)]


def asked(folder):
    """The rows of each round, best first."""
    found = [pq.read_table(path).column("id").to_pylist() for path in sorted(folder.glob("rounds/*/selection.parquet"))]
    return [rows for rows in found if rows]


def check(folder, pool, truth, *, model=LogisticRegression, rounds=ROUNDS, beside=None, **told):
    """Run a project at once, and with a new object for each step, and return the rows that both ask for."""
    beside = {} if beside is None else beside
    told = {"batch_size": BATCH, "seed": 1, "classes": ["no", "yes"], **told}
    whole, pieces = folder / "whole", folder / "pieces"
    known = dict(truth)
    with pw.Project.create(
        whole, pool(), model=model(), annotator=SimulatedAnnotators(known), **told, **beside
    ) as project:
        project.run(rounds=rounds)
        expected = project.labels().to_dict()
    expect = asked(whole)
    pw.Project.create(pieces, pool(), model=model(), annotator=SimulatedAnnotators(known), **told, **beside).close()
    for _ in range(3 * rounds):
        with pw.Project.open(pieces, pool(), model=model(), annotator=SimulatedAnnotators(known), **beside) as project:
            state = project.status().state
            if state in ("", "trained") and project.history() and project.history()[-1].number == rounds:
                break
            {"": project.ask, "trained": project.ask, "asked": project.collect, "closed": project.fit}[state]()
    else:
        with pw.Project.join(pieces) as project:
            assert project.history()[-1].number == rounds
    assert asked(pieces) == expect
    rows = [name for names in expect for name in names]
    assert len(rows) == len(set(rows)) == min(BATCH * rounds, len(known))
    assert expected == {name: known[name] for name in rows}
    with pw.Project.join(pieces) as project:
        assert project.labels().to_dict() == expected
        assert [each.metrics for each in project.history()] == [each.metrics for each in joined(whole)]
    return expect


def joined(folder):
    with pw.Project.join(folder) as project:
        return project.history()


BY_PLACE = dict(enumerate(TRUTH))
BY_NAME = dict(zip(NAMES, TRUTH, strict=True))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_matrix(tmp_path, kind):
    check(tmp_path, lambda: X.astype(kind), BY_PLACE)


@pytest.mark.parametrize("form", ["csr_matrix", "csr_array", "coo_matrix"])
def test_a_sparse_matrix(tmp_path, form):
    sparse = pytest.importorskip("scipy.sparse")
    check(tmp_path, lambda: getattr(sparse, form)(X), BY_PLACE)


def test_a_matrix_with_names(tmp_path):
    check(tmp_path, lambda: X, BY_NAME, beside={"ids": NAMES})


def test_a_matrix_with_numbers_of_its_own(tmp_path):
    ids = 7000 - 3 * np.arange(ROWS)
    check(tmp_path, lambda: X, dict(zip(ids.tolist(), TRUTH, strict=True)), beside={"ids": ids})


def test_a_file_of_numpy(tmp_path):
    np.save(tmp_path / "pool.npy", X.astype(np.float32))
    check(tmp_path, lambda: tmp_path / "pool.npy", BY_PLACE)


def test_texts(tmp_path):
    check(tmp_path, lambda: list(TEXTS), BY_PLACE, model=lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()))


def frame():
    return {"name": NAMES, "a": X[:, 0], "b": X[:, 1].astype(np.float32), "c": np.arange(ROWS) % 5}


def mixed():
    return {"name": NAMES, "a": X[:, 0], "text": TEXTS, "colour": [("red", "blue")[i % 2] for i in range(ROWS)]}


def a_mixed_model():
    columns = make_column_transformer(
        (TfidfVectorizer(), "text"), (OneHotEncoder(handle_unknown="ignore"), ["colour"]), ("passthrough", ["a"])
    )
    return make_pipeline(columns, LogisticRegression())


def a_text_model():
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


def in_files(folder, table):
    """Lay a table into two files, in small row groups."""
    folder.mkdir()
    for number, part in enumerate((table.slice(0, 50), table.slice(50))):
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=16)
    return f"{folder}/*.parquet"


@pytest.mark.parametrize("kind", ["files", "arrow", "pandas", "polars", "lazy"])
@pytest.mark.parametrize("what", ["numbers", "texts", "mixed"])
def test_a_table(tmp_path, kind, what):
    columns = {"numbers": frame, "texts": mixed, "mixed": mixed}[what]()
    model = {"numbers": LogisticRegression, "texts": a_text_model, "mixed": a_mixed_model}[what]
    table = pa.table(columns)
    told = {"id": "name"} | ({"columns": ["text"]} if what == "texts" else {})
    if kind == "files":
        path = in_files(tmp_path / "pool", table)
        pool = lambda: path  # noqa: E731
    elif kind in ("polars", "lazy"):
        pl = pytest.importorskip("polars")
        pool = lambda: pl.from_arrow(table) if kind == "polars" else pl.from_arrow(table).lazy()  # noqa: E731
    else:
        pytest.importorskip("pandas")
        pool = lambda: table if kind == "arrow" else table.to_pandas()  # noqa: E731
    check(tmp_path, pool, BY_NAME, model=model, **told)


def test_the_same_rows_are_asked_for_of_files_and_of_a_frame(tmp_path):
    table = pa.table(frame())
    path = in_files(tmp_path / "pool", table)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one = check(tmp_path / "one", lambda: path, BY_NAME, id="name")
    assert one == check(tmp_path / "other", table.to_pandas, BY_NAME, id="name")


def test_a_table_in_other_pieces_is_the_same_pool(tmp_path):
    table = pa.table(frame())
    pieces = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    told = {"model": LogisticRegression(), "annotator": SimulatedAnnotators(BY_NAME)}
    with pw.Project.create(tmp_path / "p", pieces, id="name", batch_size=BATCH, **told) as project:
        project.run(rounds=1)
    with pw.Project.open(tmp_path / "p", table, **told) as project:
        project.run(rounds=2)


@pytest.mark.parametrize("of", ["array", "column", "model", "rows"])
@pytest.mark.parametrize("strategy", ["k_center", "badge", "uncertainty_herding", "typiclust"])
def test_embeddings(tmp_path, of, strategy):
    told, model = {"strategy": strategy, "initial_strategy": "random"}, LogisticRegression
    pool, truth = (lambda: X.astype(np.float32)), BY_PLACE
    if of == "array":
        told["beside"] = {"embeddings": X[:, :2].copy()}
    elif of == "column":
        rows = pa.array(X.astype(np.float32).tolist(), pa.list_(pa.float32(), 3))
        table = pa.table({**frame(), "embedding": rows})
        path = in_files(tmp_path / "pool", table)
        pool, truth = (lambda: path), BY_NAME
        told |= {"id": "name", "columns": ["a", "b", "c"], "beside": {"embeddings": "embedding"}}
    elif of == "model":
        model = an_embedding_model
    if of in ("array", "rows", "column"):
        told["initial_strategy"] = "typiclust"
    check(tmp_path, pool, truth, model=model, **told)


def an_embedding_model():
    return FunctionModel(
        lambda x, y: LogisticRegression().fit(x, y),
        lambda state, x: state.predict_proba(x),
        embed=lambda state, x: np.asarray(x, np.float64)[:, :2] * state.coef_[0, :2],
    )


def a_forest():
    return RandomForestClassifier(n_estimators=8, max_depth=4, random_state=0)


@pytest.mark.parametrize("strategy", ["bald", "consensus_kl", BatchBALD(), "variation_ratios"])
def test_committees(tmp_path, strategy):
    check(tmp_path, lambda: X, BY_PLACE, model=a_forest, strategy=strategy)


@pytest.mark.parametrize(
    "strategy", ["entropy", "random", PowerSampling(score="margin"), Hybrid(factor=4), "ranked_batch"]
)
def test_other_strategies(tmp_path, strategy):
    check(tmp_path, lambda: X, BY_PLACE, strategy=strategy)


def test_a_model_without_a_safe_format_is_fitted_again(tmp_path):
    model = lambda: FunctionModel(  # noqa: E731
        lambda x, y: LogisticRegression().fit(x, y), lambda state, x: state.predict_proba(x)
    )
    check(tmp_path, lambda: X, BY_PLACE, model=model, initial_strategy="k_center")


def test_probabilities_that_are_calibrated(tmp_path):
    check(tmp_path, lambda: X, BY_PLACE, model=lambda: SklearnModel(LogisticRegression(), calibrate="sigmoid"))


@pytest.mark.parametrize("classes", [["no", "yes"], None])
def test_a_model_that_goes_on_learning(tmp_path, classes):
    model = lambda: SklearnModel(SGDClassifier(loss="log_loss", random_state=0), "partial_fit")  # noqa: E731
    check(tmp_path, lambda: X, BY_PLACE, model=model, classes=classes)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosted_trees(tmp_path, library):
    pytest.importorskip(library)

    def model():
        if library == "xgboost":
            from xgboost import XGBClassifier

            return XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1)
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1, n_jobs=1)

    check(tmp_path, lambda: X, BY_PLACE, model=model)


@pytest.mark.parametrize("strategy", [None, "mmc", "mean_max_loss"])
def test_several_labels_a_row(tmp_path, strategy):
    truth = {i: [name for name, on in zip("ab", X[i, :2] > 0, strict=True) if on] for i in range(ROWS)}
    evaluation = (X[:40] + 0.01, [truth[i] for i in range(40)])
    check(
        tmp_path,
        lambda: X,
        truth,
        model=lambda: OneVsRestClassifier(LogisticRegression()),
        task="multilabel",
        strategy=strategy,
        classes=["a", "b"],
        beside={"evaluation": evaluation},
    )
    assert set(joined(tmp_path / "whole")[-1].metrics) >= {"macro_f1", "micro_f1", "accuracy"}


@pytest.mark.parametrize("strategy", ["greedy_x", "greedy_y", "greedy_xy", None])
@pytest.mark.parametrize("named", [False, True])
def test_numbers(tmp_path, strategy, named):
    numbers = (X @ [1.0, 2.0, 0.5]).round(2).tolist()
    truth = dict(zip(NAMES, numbers, strict=True)) if named else dict(enumerate(numbers))
    check(
        tmp_path,
        lambda: X,
        truth,
        model=LinearRegression,
        task="regression",
        strategy=strategy,
        classes=None,
        beside={"ids": NAMES} if named else {},
    )


def test_numbers_of_a_table(tmp_path):
    numbers = (X @ [1.0, 2.0, 0.5]).round(2).tolist()
    path = in_files(tmp_path / "pool", pa.table(frame()))
    check(
        tmp_path,
        lambda: path,
        dict(zip(NAMES, numbers, strict=True)),
        model=LinearRegression,
        task="regression",
        strategy="greedy_y",
        classes=None,
        id="name",
    )


def predictions(round_number):
    """What a model that is trained elsewhere says after a round."""
    shift = np.exp(-(X[:, 0] + X[:, 1] - 0.1 * round_number) * (1 + round_number))
    return np.stack([shift / (1 + shift), 1 / (1 + shift)], axis=1)


@pytest.mark.parametrize("kind", ["paths", "arrays"])
@pytest.mark.parametrize("with_pool", [False, True])
def test_a_model_that_is_trained_elsewhere(tmp_path, kind, with_pool):
    if kind == "paths":
        ids, truth, held = NAMES, BY_NAME, NAMES[:10]
    else:
        ids, truth, held = list(range(ROWS)), BY_PLACE, list(range(10))

    def handed(number):
        if kind == "arrays":
            return predictions(number)
        p = predictions(number)
        path = tmp_path / f"round-{number}.parquet"
        pq.write_table(pa.table({"name": NAMES, "no": p[:, 0], "yes": p[:, 1]}), path)
        return path

    def drive(folder, reopen):
        by_path = {"id": "name"} if kind == "paths" else {}
        pool = None if not with_pool else (pa.table(frame()) if kind == "paths" else X)
        beside = {"ids": "str"} if kind == "paths" and pool is None else {}
        first = ExternalModel()
        first.hand_over(handed(0))
        annotator = lambda: SimulatedAnnotators(truth)  # noqa: E731
        project = pw.Project.create(
            folder,
            pool,
            model=first,
            annotator=annotator(),
            classes=["no", "yes"],
            batch_size=BATCH,
            **by_path,
            **beside,
        )
        project.hold_out({name: truth[name] for name in held})
        for number in range(1, 4):
            project.ask()
            project.collect()
            ended = project.fit(handed(number))
            assert ended.metrics["accuracy"] > 0.7
            if reopen:
                project.close()
                model = None
                if kind == "arrays":
                    model = ExternalModel()
                    model.hand_over(handed(number))
                project = pw.Project.open(folder, pool, model=model, annotator=annotator())
        assert project.labels().to_dict().items() <= truth.items()
        project.close()
        return asked(folder)

    expect = drive(tmp_path / "whole", reopen=False)
    assert drive(tmp_path / "pieces", reopen=True) == expect
    rows = [name for names in expect for name in names]
    assert len(rows) == len(set(rows)) == 3 * BATCH
    assert not set(rows) & set(held)
    # The least certain of what was handed over last.
    left = [i for i, name in enumerate(ids) if name not in {*held, *expect[0], *expect[1]}]
    certain = np.abs(predictions(2)[left, 0] - 0.5)
    assert {ids[left[i]] for i in np.argsort(certain)[:BATCH]} == set(expect[2])


def test_predictions_that_are_gone_are_asked_for_anew(tmp_path):
    project = pw.Project.create(tmp_path / "p", annotator=SimulatedAnnotators(BY_PLACE), classes=["no", "yes"])
    with project, pytest.raises(ValueError, match="hand_over"):
        project.ask(5)
    with pw.Project.open(tmp_path / "p", annotator=SimulatedAnnotators(BY_PLACE)) as project:
        project.model.hand_over(predictions(0))
        project.ask(5)
        project.collect()
        project.fit(predictions(1))
    with pytest.warns(UserWarning, match="predictions of round 1 .* gone"):
        project = pw.Project.open(tmp_path / "p", annotator=SimulatedAnnotators(BY_PLACE))
    with project:
        with pytest.raises(ValueError, match="predictions"):
            project.ask(5)
        project.fit(predictions(1))
        assert len(project.ask(5)) == 5


def test_a_pool_that_is_not_predicted_yet_is_begun_by_the_first_strategy(tmp_path):
    with pw.Project.create(tmp_path / "p", X, model=ExternalModel(), classes=["no", "yes"]) as project:
        assert {task.why for task in project.ask(5)} == {"initial"}


def test_the_whole_pool_can_be_asked_for(tmp_path):
    expect = check(tmp_path, lambda: X[:30], dict(enumerate(TRUTH[:30])), rounds=3)
    assert [len(rows) for rows in expect] == [12, 12, 6]


@pytest.mark.parametrize("kind", ["matrix", "table"])
def test_an_exhausted_pool_asks_for_nothing_and_says_so(tmp_path, kind):
    pool = X[:10] if kind == "matrix" else pa.table(frame()).slice(0, 10)
    truth = BY_PLACE if kind == "matrix" else BY_NAME
    told = {} if kind == "matrix" else {"id": "name"}
    annotator = SimulatedAnnotators(truth)
    with pw.Project.create(tmp_path / "p", pool, model=LogisticRegression(), annotator=annotator, **told) as project:
        assert project.run() == "no row is left to ask for"
        assert project.ask() == []
        assert project.status().labelled == 10
        assert [each.number for each in project.history()] == [1]
