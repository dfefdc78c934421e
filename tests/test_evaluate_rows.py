"""Rows and labels come in many forms: texts, frames, sparse matrices, names; simulations see the same in all."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")

from sklearn.datasets import make_classification
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import pickwise as pw

X, Y = make_classification(240, 6, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
NAMES = np.array(["cat", "dog", "ox"])[Y]
MODEL = LogisticRegression(C=1.0)
SHORT = {"batch_size": 8, "budget": 48, "seeds": 2}


def picks(**options):
    """Return the picks of one run after the initial rows."""
    usual = {"X": X, "y": Y, "model": MODEL, "strategies": ["margin"], "batch_size": 20, "budget": 80, "seeds": 1}
    (curve,) = pw.simulate(**usual | options).curves
    return curve.picks[curve.labels[0] :].tolist()


def test_texts():
    rng = np.random.default_rng(0)
    words = {"farm": ["cow", "hay", "barn"], "sea": ["ship", "wave", "salt"]}
    y = rng.choice(["farm", "sea"], 120)
    texts = [" ".join([*rng.choice(words[name], 2), *rng.choice(["the", "and", "of"], 3)]) for name in y]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    found = pw.simulate(texts, y.tolist(), model, ["margin", "random"], batch_size=5, budget=40, seeds=2)
    assert found.runs().of("margin")[:, -1].min() > 0.9
    vectors = TfidfVectorizer().fit_transform(texts).toarray()
    other = pw.simulate(texts, y, model, ["k_center"], batch_size=5, budget=20, seeds=1, embeddings=vectors)
    assert other.curves[0].diversity[1:].min() > 0


def test_frames_reach_the_model_as_frames():
    pd, compose = pytest.importorskip("pandas"), pytest.importorskip("sklearn.compose")
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": np.where(X[:, 2] > 0, "x", "y")})
    columns = compose.ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough")
    model = make_pipeline(columns, LogisticRegression())
    y = pd.Series(NAMES, index=np.arange(240)[::-1]).astype("category")
    found = pw.simulate(frame.set_index(np.arange(500, 740)), y, model, ["margin"], **SHORT)
    plain = np.column_stack([X[:, 2] > 0, X[:, 2] <= 0, X[:, :2]]).astype(float)
    other = pw.simulate(plain, NAMES, LogisticRegression(), ["margin"], **SHORT)
    assert [curve.picks.tolist() for curve in found.curves] == [curve.picks.tolist() for curve in other.curves]


def test_frames_of_numbers_alone_keep_their_names():
    pd, compose = pytest.importorskip("pandas"), pytest.importorskip("sklearn.compose")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = make_pipeline(compose.make_column_transformer(("passthrough", ["a", "c"])), LogisticRegression())
    assert picks(X=frame, model=model) == picks(X=X[:, [0, 2]])


def test_polars():
    pl = pytest.importorskip("polars")
    frame, y = pl.DataFrame(X, schema=list("abcdef")), pl.Series(NAMES)
    assert picks(X=frame, y=y) == picks()


def test_sparse():
    from scipy.sparse import coo_array, csr_matrix

    for kind in (coo_array, csr_matrix):
        assert picks(X=kind(X)) == picks()


@pytest.mark.parametrize("of", [list, tuple, np.array, partial(np.array, dtype=object)])
def test_labels(of):
    expected = picks()
    assert picks(y=of(Y.tolist())) == expected
    assert picks(y=of(NAMES.tolist())) == expected
    assert picks(y=of((Y + 7.0).tolist())) == expected


def test_nothing_is_written_to():
    x, y = X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    pw.simulate(x, y, MODEL, ["margin", "badge", "k_center"], **SHORT)


def test_test_rows_that_are_not_in_the_pool():
    found = pw.simulate(
        X[:200], NAMES[:200], MODEL, ["margin"], batch_size=8, budget=24, seeds=2, test=(X[200:], NAMES[200:])
    )
    for curve in found.curves:
        rows = np.sort(curve.picks)
        model = LogisticRegression().fit(X[rows], NAMES[rows])
        assert curve.metrics["accuracy"][-1] == model.score(X[200:], NAMES[200:])
    assert found.about["test"] == "other rows"


def test_a_class_that_is_there_once_counts_where_it_falls():
    y = NAMES.copy()
    y[17] = "yak"
    found = pw.simulate(X, y, MODEL, ["margin", "random"], batch_size=20, budget=60, seeds=4)
    assert np.isfinite(found.runs("macro_f1").values).all()
    assert np.isfinite(found.runs("auc").values).all()


def test_drawn_rows_of_one_class_are_as_many_more_as_it_takes():
    y = np.zeros(240, int)
    y[[5, 50, 100, 150, 200]] = 1
    found = pw.simulate(X, y, MODEL, ["margin", "random"], batch_size=4, budget=200, seeds=3, test=range(230, 240))
    for curve in found.curves:
        begin = curve.picks[: curve.labels[0]]
        assert y[begin].sum() == 1
        assert len(begin) == 4 or y[begin[-1]] == 1
    assert max(curve.labels[0] for curve in found.curves) > 4
