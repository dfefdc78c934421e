"""Simulated runs are what a loop by hand would be: the same picks, measures and seeds, wherever and how often."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC, LinearSVC

import pickwise as pw
from label_savings import lu2023
from pickwise.evaluate import runs
from pickwise.evaluate.curves import Curve
from pickwise.evaluate.learners import as_learner
from pickwise.loop import SklearnModel

X, Y = make_classification(240, 6, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
NAMES = np.array(["cat", "dog", "ox"])[Y]
MODEL = LogisticRegression(C=1.0)
SHORT = {"batch_size": 8, "budget": 48, "seeds": 2}


def same(one, other):
    """Tell whether runs are the same, but for the time that they took."""
    return len(one.curves) == len(other.curves) and all(
        a.strategy == b.strategy
        and a.seed == b.seed
        and np.array_equal(a.picks, b.picks)
        and a.metrics.keys() == b.metrics.keys()
        and all(np.array_equal(a.metrics[name], b.metrics[name]) for name in a.metrics)
        and np.array_equal(a.diversity, b.diversity, equal_nan=True)
        for a, b in zip(one.curves, other.curves, strict=True)
    )


@pytest.mark.parametrize("name", ["margin", "random", "k_center", "badge"])
@pytest.mark.parametrize("y", [Y, NAMES], ids=["int", "str"])
def test_picks_and_curves_are_those_of_a_loop_by_hand(name, y):
    test = np.arange(0, 240, 4)
    pool = np.setdiff1d(np.arange(240), test)
    seed, labelled = 3, np.array([1, 2, 3, 5, 6, 7, 9, 10])
    first, accuracies = labelled, []
    while True:
        learnt = np.sort(labelled)
        model = LogisticRegression(C=1.0).fit(X[learnt], y[learnt])
        accuracies.append(accuracy_score(y[test], model.predict(X[test])))
        if len(labelled) == 40:
            break
        left = np.setdiff1d(pool, labelled)
        drawn = int(np.random.default_rng((seed, len(labelled))).integers(2**32))
        options = {"k": 8, "strategy": name, "ids": pool, "exclude_ids": labelled, "random_state": drawn}
        if name == "random":
            chosen = pw.select(np.zeros(len(pool)), **options)
        elif name == "margin":
            p = model.predict_proba(X[left])
            best = np.sort(p, axis=1)
            by_hand = left[np.lexsort((left, best[:, -1] - best[:, -2]))[:8]]
            chosen = pw.select(p, 8, "margin", ids=left)
            assert chosen.ids.tolist() == by_hand.tolist()
        else:
            options["labelled"] = np.flatnonzero(np.isin(pool, labelled))
            if name == "k_center":
                chosen = pw.select(X[pool], **options)
            else:
                chosen = pw.select(model.predict_proba(X[pool]), embeddings=X[pool], **options)
        labelled = np.concatenate([labelled, chosen.ids])
    found = pw.simulate(
        X, y, MODEL, [name], batch_size=8, budget=40, seeds=[seed], test=test.tolist(), initial=first.tolist()
    )
    (curve,) = found.curves
    assert curve.picks.tolist() == labelled.tolist()
    assert curve.labels.tolist() == [8, 16, 24, 32, 40]
    assert curve.metrics["accuracy"].tolist() == accuracies


def test_jobs_do_not_change_a_digit(tmp_path):
    options = {"strategies": ["margin", "random", "badge"], **SHORT}
    one = pw.simulate(X, NAMES, lambda seed: RandomForestClassifier(5, random_state=seed), **options)
    two = pw.simulate(X, NAMES, lambda seed: RandomForestClassifier(5, random_state=seed), n_jobs=2, **options)
    assert [(curve.strategy, curve.seed) for curve in one.curves] == [
        (name, seed) for name in ("margin", "random", "badge") for seed in (0, 1)
    ]
    assert same(one, two)


def test_strategies_begin_with_the_same_rows_and_seeds_with_others():
    found = pw.simulate(X, Y, MODEL, ["margin", "random", "k_center"], **SHORT)
    begun = {(curve.strategy, curve.seed): curve.picks[:8].tolist() for curve in found.curves}
    first = {(curve.strategy, curve.seed): curve.metrics["accuracy"][0] for curve in found.curves}
    for seed in (0, 1):
        assert begun["margin", seed] == begun["random", seed] == begun["k_center", seed]
        assert first["margin", seed] == first["random", seed] == first["k_center", seed]
    assert set(begun["margin", 0]) != set(begun["margin", 1])


def test_test_rows_and_labelled_rows_are_never_asked_for():
    problem = runs.Problem.read(X, Y, MODEL, embeddings=None, test=0.25)
    protocol = runs.Protocol.read(problem, 60, budget=None, initial=None, test=0.25)
    for seed in range(3):
        held, pool, begin = protocol.split(problem, seed)
        curve = runs.run(problem, protocol, "random", pw.Random(), seed)
        assert len(held) == 60
        assert sorted([*held, *pool]) == list(range(240))
        assert set(begin) <= set(pool)
        assert sorted(curve.picks) == pool.tolist()


def test_rows_that_are_labelled_at_the_beginning_are_never_for_testing():
    problem = runs.Problem.read(X, Y, MODEL, embeddings=None, test=0.9)
    protocol = runs.Protocol.read(problem, 4, budget=None, initial=[0, 1, 2, 3, 4], test=0.9)
    for seed in range(5):
        held, pool, begin = protocol.split(problem, seed)
        assert begin.tolist() == [0, 1, 2, 3, 4]
        assert not set(held) & set(begin)
        assert len(held) == 216
        assert len(pool) == 24


def test_draws_of_different_seeds_and_rounds_have_nothing_in_common():
    """With sums of the two, the seed 0 at 11 labels would draw as the seed 1 at 10 does."""
    options = {"batch_size": 1, "budget": 30, "initial": range(10), "test": range(200, 240), "seeds": [0, 1]}
    one, two = pw.simulate(X, Y, MODEL, ["random"], **options).curves
    assert len(set(one.picks[11:].tolist()) & set(two.picks[10:].tolist())) < 12


class TestResuming:
    """Finished runs are kept by all that they depend on."""

    OPTIONS = SHORT | {"strategies": ["margin", "random"]}

    def run(self, folder, *, x=X, y=Y, model=MODEL, **options):
        made = []
        found = pw.simulate(x, y, model, folder=folder, progress=lambda *n: made.append(n), **self.OPTIONS | options)
        return found, len(made)

    def test_nothing_is_made_again(self, tmp_path):
        first, made = self.run(tmp_path / "new" / "runs")
        again, none = self.run(tmp_path / "new" / "runs")
        assert (made, none) == (4, 0)
        assert same(first, again)
        more, new = self.run(tmp_path / "new" / "runs", strategies=["margin", "random", "entropy"], seeds=3)
        assert new == 5
        assert len(more.curves) == 9
        assert all(
            np.array_equal(curve.seconds["fitting"], other.seconds["fitting"])
            for curve, other in zip(first.curves, again.curves, strict=True)
        )

    @pytest.mark.parametrize(
        "changed",
        [
            {"x": X + 1e-9},
            {"y": np.where(np.arange(240) == 7, 0, Y)},
            {"y": NAMES},
            {"model": LogisticRegression(C=2.0)},
            {"model": LogisticRegression(C=1.0, class_weight=dict.fromkeys(range(60), 1.0) | {2: 3.0})},
            {"model": GaussianNB()},
            {"batch_size": 10},
            {"budget": 40},
            {"test": 0.4},
            {"test": [1, 2, 3]},
            {"test": (X[:50], Y[:50])},
            {"initial": 12},
            {"initial": list(range(8))},
            {"embeddings": X[:, :2]},
            {"seeds": [5, 6]},
            {"strategies": {"margin": "entropy", "random": pw.KCenter()}},
        ],
        ids=lambda changed: str(list(changed)),
    )
    def test_what_has_changed_is_not_taken_for_the_old(self, tmp_path, changed):
        self.run(tmp_path)
        _, made = self.run(tmp_path, **changed)
        assert made == 4

    def test_models_that_differ_late_in_a_long_parameter(self, tmp_path):
        """Scikit-learn shortens what it prints of them."""
        weights = [dict.fromkeys(range(60), 1.0) | {59: last} for last in (1.0, 2.0)]
        for each in weights:
            _, made = self.run(tmp_path, model=LogisticRegression(C=1.0, class_weight=each))
            assert made == 4

    def test_factories_that_differ_in_what_they_close_over(self, tmp_path):
        made = [
            self.run(tmp_path, model=lambda seed, c=c: LogisticRegression(C=c, random_state=seed))[1] for c in (1, 2, 1)
        ]
        assert made == [4, 4, 0]

    def test_frames_that_differ_in_their_values_alone(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(X, columns=list("abcdef"))
        made = [self.run(tmp_path, x=x)[1] for x in (frame, frame + 1e-9, frame)]
        assert made == [4, 4, 0]

    def test_predictions_that_differ(self, tmp_path):
        p = np.random.default_rng(0).dirichlet(np.ones(3), (2, 240))
        made = [self.run(tmp_path, model=each)[1] for each in (p, p[::-1], p)]
        assert made == [4, 4, 0]

    def test_a_model_that_cannot_be_known_again(self, tmp_path):
        model = make_pipeline(TfidfVectorizer(preprocessor=lambda text: text), MultinomialNB())
        texts = ["a bird", "the dog"] * 20
        with pytest.raises(TypeError, match="folder: expected a model that can be pickled"):
            pw.simulate(texts, ["a", "b"] * 20, model, ["margin"], batch_size=4, folder=tmp_path)
        assert pw.simulate(texts, ["a", "b"] * 20, model, ["margin"], batch_size=4, seeds=1).seeds == (0,)

    def test_a_relative_folder_after_a_change_of_directory(self, tmp_path, monkeypatch):
        """Processes that make runs live on, where they were started."""
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            self.run("runs", n_jobs=2)
            assert len(list((tmp_path / name / "runs").iterdir())) == 4

    def test_killed_half_way(self, tmp_path):
        """In the middle of the fifth of ten runs, in a process of its own."""
        script = tmp_path / "run.py"
        script.write_text(
            "import itertools, os, signal, sys\n"
            "import pickwise as pw\n"
            "from pickwise.evaluate import runs\n"
            "from sklearn.datasets import make_classification\n"
            "from sklearn.linear_model import LogisticRegression\n"
            "calls, measures = itertools.count(1), runs.measures\n"
            "def measured(*given):\n"
            "    if next(calls) == 27:\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "    return measures(*given)\n"
            "runs.measures = measured\n"
            "x, y = make_classification(240, 6, n_informative=4, n_redundant=0, n_classes=3, random_state=0)\n"
            "options = dict(batch_size=8, budget=48, seeds=5, folder=sys.argv[1])\n"
            "pw.simulate(x, y, LogisticRegression(C=1.0), ['margin', 'random'], **options)\n",
            encoding="utf-8",
        )
        folder = tmp_path / "runs"
        done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert len(before) == 4
        found, made = self.run(folder, seeds=5)
        assert made == 6
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert same(found, pw.simulate(X, Y, MODEL, **self.OPTIONS | {"seeds": 5}))

    def test_what_is_kept_is_what_was_measured(self, tmp_path):
        found, _ = self.run(tmp_path, strategies=["margin"], seeds=1)
        (path,) = tmp_path.glob("*.json")
        kept, curve = Curve.load(path), found.curves[0]
        for name, value in vars(curve).items():
            if isinstance(value, dict):
                assert all(np.array_equal(value[key], getattr(kept, name)[key]) for key in value)
            elif isinstance(value, np.ndarray):
                assert np.array_equal(value, getattr(kept, name), equal_nan=value.dtype.kind == "f")
                assert value.dtype == getattr(kept, name).dtype
            else:
                assert value == getattr(kept, name)
        assert json.loads(path.read_text())["strategy"] == "margin"


class TestModels:
    """Whatever learns."""

    @pytest.mark.parametrize("model", [SVC(), LinearSVC(random_state=0)], ids=["SVC", "LinearSVC"])
    def test_decision_functions_of_two_classes(self, model):
        """Margin picks the row that is closest to the boundary, the first of equals."""
        y = np.where(Y == 0, "ham", "spam")
        x = np.concatenate([X[:120], X[:120]])  # each row has an equal
        y = np.concatenate([y[:120], y[:120]])
        labelled, test = list(range(20)), list(range(220, 240))
        model.fit(x[labelled], y[labelled])
        left = np.arange(20, 220)
        first = left[np.lexsort((left, np.abs(model.decision_function(x[left]))))[:4]]
        options = {"X": x, "y": y, "model": model, "strategies": ["margin"], "initial": labelled, "test": test}
        found = pw.simulate(**options, batch_size=4, budget=24, seeds=1)
        assert found.curves[0].picks[20:].tolist() == first.tolist()
        assert found.curves[0].metrics["accuracy"][0] == model.score(x[test], y[test])
        auc = roc_auc_score(y[test] == "spam", model.decision_function(x[test]))
        assert found.curves[0].metrics["auc"][0] == pytest.approx(auc, abs=1e-12)

    def test_decision_functions_of_several_classes(self):
        labelled, test = list(range(30)), list(range(200, 240))
        model = SVC(break_ties=True).fit(X[labelled], NAMES[labelled])
        left = np.arange(30, 200)
        best = np.sort(model.decision_function(X[left]), axis=1)
        first = left[np.lexsort((left, best[:, -1] - best[:, -2]))[:4]]
        found = pw.simulate(X, NAMES, model, ["margin"], initial=labelled, test=test, batch_size=4, budget=34, seeds=1)
        assert found.curves[0].picks[30:].tolist() == first.tolist()
        assert found.curves[0].metrics["accuracy"][0] == model.score(X[test], NAMES[test])

    def test_decision_functions_of_pairs_are_refused(self):
        with pytest.raises(ValueError, match="decision_function_shape='ovr'"):
            pw.simulate(
                np.concatenate([X, X]),
                np.concatenate([Y, Y + 3]),
                SVC(decision_function_shape="ovo"),
                ["margin"],
                batch_size=40,
                seeds=1,
            )

    def test_decision_functions_are_enough_for_strategies_that_go_by_distance_or_chance(self):
        names = ["margin", "random", "k_center", "typiclust"]
        found = pw.simulate(X, Y, SVC(), names, batch_size=8, budget=24, seeds=1)
        assert found.strategies == tuple(names)

    def test_a_function_of_the_seed(self):
        seen = []

        def make(seed):
            seen.append(seed)
            return RandomForestClassifier(3, random_state=seed)

        found = pw.simulate(X, Y, make, ["margin"], **SHORT)
        test = pw.evaluate.runs.Protocol.read(
            runs.Problem.read(X, Y, MODEL, embeddings=None, test=0.3), 8, budget=48, initial=None, test=0.3
        )
        problem = runs.Problem.read(X, Y, MODEL, embeddings=None, test=0.3)
        for curve in found.curves:
            held = test.split(problem, curve.seed)[0]
            rows = np.sort(curve.picks[:16])
            model = RandomForestClassifier(3, random_state=curve.seed).fit(X[rows], Y[rows])
            assert curve.metrics["accuracy"][1] == model.score(X[held], Y[held])
        assert set(seen) == {0, 1}

    def test_models_that_draw_can_be_repeated(self):
        """Those without a seed have that of the run; those with one keep it."""
        free = RandomForestClassifier(3)
        options = {"strategies": ["margin"], **SHORT}
        found = pw.simulate(X, Y, free, **options)
        assert same(found, pw.simulate(X, Y, lambda seed: RandomForestClassifier(3, random_state=seed), **options))
        assert same(found, pw.simulate(X, Y, make_pipeline(free), **options))
        assert same(found, pw.simulate(X, Y, SklearnModel(free), **options))
        assert free.random_state is None
        fixed = pw.simulate(X, Y, RandomForestClassifier(3, random_state=1), **options)
        assert not same(fixed, found)
        assert np.array_equal(fixed.curves[1].picks, found.curves[1].picks)

    def test_runs_do_not_learn_from_each_other(self):
        """A model that goes on where it was would know the rows of the run before."""
        model = RandomForestClassifier(2, warm_start=True, random_state=0)
        alone = pw.simulate(X, Y, model, ["random"], **SHORT)
        after = pw.simulate(X, Y, model, ["margin", "random"], **SHORT)
        assert same(alone, pw.evaluate.Simulation(after.curves[2:]))
        assert not hasattr(model, "estimators_")

    def test_a_model_of_the_loop_and_one_without_parameters(self):
        class Plain:
            def fit(self, x, y):
                self.model = GaussianNB().fit(x, y)
                return self

            def predict_proba(self, x):
                return self.model.predict_proba(x)

        options = {"strategies": ["margin", "random"], **SHORT}
        usual = pw.simulate(X, Y, GaussianNB(), **options)
        assert same(usual, pw.simulate(X, Y, SklearnModel(GaussianNB()), **options))
        assert same(usual, pw.simulate(X, Y, Plain(), **options))

    def test_class_weights_go_by_the_names_of_the_classes(self):
        weights = {"cat": 1.0, "dog": 50.0, "ox": 1.0}
        found = pw.simulate(
            X, NAMES, LogisticRegression(class_weight=weights), ["random"], initial=range(40), budget=40, seeds=1,
            test=range(200, 240),
        )  # fmt: skip
        model = LogisticRegression(class_weight=weights).fit(X[:40], NAMES[:40])
        plain = LogisticRegression().fit(X[:40], NAMES[:40])
        assert found.curves[0].metrics["accuracy"][0] == model.score(X[200:], NAMES[200:])
        assert model.score(X[200:], NAMES[200:]) != plain.score(X[200:], NAMES[200:])

    @pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
    def test_boosting(self, kind):
        boosting = pytest.importorskip(kind)
        model = (
            boosting.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1)
            if kind == "xgboost"
            else boosting.LGBMClassifier(n_estimators=3, min_child_samples=2, verbose=-1, n_jobs=1)
        )
        found = pw.simulate(X, NAMES, model, ["margin", "badge"], batch_size=20, budget=60, seeds=1)
        assert found.runs().values[..., -1].min() > 1 / 3

    def test_committees(self):
        found = pw.simulate(X, Y, RandomForestClassifier(5, random_state=0), ["bald", "vote_entropy"], **SHORT)
        assert found.strategies == ("bald", "vote_entropy")

    def test_predictions_of_rounds(self):
        """Round i is what is predicted after i batches; the last one stays."""
        rng = np.random.default_rng(1)
        p = rng.dirichlet(np.ones(3), (3, 240))
        p[:, :, 0], p[:, :, 1:] = np.maximum(p[:, :, 0], 1e-9), p[:, :, 1:]
        p /= p.sum(-1, keepdims=True)
        labelled, test = list(range(8)), np.arange(200, 240)
        found = pw.simulate(
            X, NAMES, p, ["margin", "badge", "k_center"], initial=labelled, test=test, batch_size=8, budget=40, seeds=1
        )
        curve = found.curves[0]
        for number in range(5):
            at = min(number, 2)
            expected = accuracy_score(NAMES[test], np.array(["cat", "dog", "ox"])[p[at, test].argmax(1)])
            assert curve.metrics["accuracy"][number] == expected
        left = np.setdiff1d(np.arange(200), curve.picks[:16])
        best = np.sort(p[1, left], axis=1)
        assert curve.picks[16:24].tolist() == left[np.lexsort((left, best[:, -1] - best[:, -2]))[:8]].tolist()
        assert found.about["model"] == "predictions of 3 rounds"

    def test_the_time_of_the_model_is_its_own(self):
        class Slow(GaussianNB):
            def fit(self, X, y):  # noqa: N803
                time.sleep(0.02)
                return super().fit(X, y)

            def predict_proba(self, X):  # noqa: N803
                time.sleep(0.05)
                return super().predict_proba(X)

        found = pw.simulate(X, Y, Slow(), ["margin"], batch_size=8, budget=32, seeds=1)
        seconds = found.curves[0].seconds
        assert [len(values) for values in seconds.values()] == [4, 4, 4]
        assert seconds["fitting"].min() >= 0.02
        assert seconds["predicting"][:-1].min() >= 0.1  # the test rows, and the pool
        assert 0.05 <= seconds["predicting"][-1] < 0.1
        assert seconds["selecting"][:-1].max() < 0.05
        assert seconds["selecting"][-1] == 0


def test_diversity_tells_spread_from_crowded():
    found = pw.simulate(X, Y, MODEL, ["margin", "k_center"], batch_size=20, budget=120, seeds=2)
    assert found.practice("k_center").diversity > 1.1 > found.practice("margin").diversity


@pytest.mark.parametrize(("dataset", "seeds"), [("appendicitis", 5), ("parkinsons", 2)])
def test_the_digits_of_a_published_benchmark(dataset, seeds):
    """Lu, Li and Lin 2023 (arXiv:2306.08954), seed by seed. The fifth one tells in which order models see rows."""
    if not lu2023.DATA.exists():
        pytest.skip("needs the data of the benchmark in ../shared/data")
    found = lu2023.reproduce([dataset], seeds)
    assert len(found) == seeds
    assert max(one.difference for one in found) < 1e-4


def test_what_was_run_is_told():
    found = pw.simulate(X, NAMES, MODEL, {"small": "margin", "chance": "random"}, **SHORT)
    assert found.strategies == ("small", "chance")
    assert found.about["strategies"]["small"].startswith("Margin(")
    assert found.about["rows"] == 240
    assert found.about["environment"]["pickwise"] == pw.__version__
    assert "LogisticRegression" in found.about["model"]


def test_the_whole_pool_is_what_areas_are_normalised_by():
    """Random is 0, and what a model reaches with all labels 1; where the budget ends before, that is not known."""
    found = pw.simulate(X, Y, MODEL, ["margin", "random"], batch_size=20, seeds=5, test=range(60))
    model = LogisticRegression().fit(X[60:], Y[60:])
    assert found.about["full"]["accuracy"] == pytest.approx(model.score(X[:60], Y[:60]), abs=1e-9)
    ends = found.runs().values[..., -1]
    assert np.array_equal(ends[0], ends[1])
    table = found.table().columns
    assert table["normalised_area"][table["strategy"].index("random")] == pytest.approx(0, abs=1e-12)
    assert "full" not in pw.simulate(X, Y, MODEL, ["margin"], **SHORT).about


def test_strategies_of_one_name_are_told_apart():
    strategies = [pw.KCenter(), pw.KCenter(metric="cosine"), "margin"]
    found = pw.simulate(X, Y, MODEL, strategies, batch_size=8, budget=24, seeds=1)
    assert found.strategies == ("KCenter()", "KCenter(metric='cosine')", "margin")


def test_a_calibrated_decision_function_is_a_model_like_any():
    model = CalibratedClassifierCV(LinearSVC(random_state=0), cv=2)
    assert as_learner(model, 240, np.arange(3)).check("badge", pw.Badge()) is None
