"""Suites are what each simulation would be by itself; they go on where they were, and refuse what is wrong at once."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("sqlalchemy")
pytest.importorskip("typer")

from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from command_line import run_command
from pickwise.evaluate import runs as simulated_runs
from pickwise.evaluate.suite import BUILTIN, Suite, run_suite
from pickwise.evaluate.suite_dataset import SuiteDataset

if TYPE_CHECKING:
    from types import SimpleNamespace

BENCH = Path(__file__).resolve().parents[1] / "benches" / "label_savings" / "suite.toml"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

X, Y = make_classification(160, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
SPLIT = np.arange(160) % 4 == 0
HEAD = """
strategies = ["margin", "random", "k_center"]
seeds = 2
"""
SPHERE = """
[[dataset]]
name = "sphere"
file = "sphere.npz"
x = "vectors"
y = "topic"
split = "part"
scale = "unit"
model = "sklearn.linear_model.LogisticRegression"
parameters = { C = 10 }
initial = 8
batch_size = 10
budget = 28
levels = [0.5, 0.6]
"""
COLUMNS = """
[[dataset]]
name = "columns"
file = "columns.npz"
test = 40
scale = "standard"
model = "sklearn.tree.DecisionTreeClassifier"
batch_size = 10
budget = 30
seeds = 3
levels = [0.6]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    names = np.array(["cat", "dog", "ox"])[Y]
    np.savez(tmp_path / "data" / "sphere.npz", vectors=X.astype(np.float16), topic=names, part=SPLIT.astype(np.int8))
    np.savez(tmp_path / "data" / "columns.npz", X=(100 * X).astype(np.int16), y=Y.astype(np.uint8))
    (tmp_path / "suite.toml").write_text(HEAD + SPHERE + COLUMNS, encoding="utf-8")
    return tmp_path


def read(folder: Path, text: str = HEAD + SPHERE + COLUMNS) -> Suite:
    (folder / "suite.toml").write_text(text, encoding="utf-8")
    return Suite.read(folder / "suite.toml")


def same(one, other):
    return [(c.strategy, c.seed, c.picks.tolist(), c.metrics["accuracy"].tolist()) for c in one.curves] == [
        (c.strategy, c.seed, c.picks.tolist(), c.metrics["accuracy"].tolist()) for c in other.curves
    ]


def run(folder: Path, *arguments: str, code: int = 0) -> SimpleNamespace:
    return run_command(folder, "bench-suite", *arguments, code=code)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def kept(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/runs/*.json")}


def replacing(*cases):
    """Try each case: what of a suite is replaced by what, the kind of error that it makes, and what that tells."""
    return pytest.mark.parametrize(("old", "new", "kind", "told"), cases)


def replaced(text, old, new):
    assert old in text
    return text.replace(old, new)


class TestResults:
    """What a suite finds is what a simulation of the same rows would."""

    def test_rows_that_are_split_in_the_file_and_made_unit(self, folder):
        found = run_suite(read(folder), data=folder / "data", only=["sphere"])
        x = X.astype(np.float16).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        y = np.array(["cat", "dog", "ox"])[Y]
        expected = pw.simulate(
            x[~SPLIT], y[~SPLIT], LogisticRegression(C=10), ["margin", "random", "k_center"], batch_size=10, budget=28,
            initial=8, seeds=2, test=(x[SPLIT], y[SPLIT]),
        )  # fmt: skip
        assert same(found.simulations["sphere"], expected)

    def test_rows_that_are_shuffled_and_scaled_by_the_pool_alone(self, folder):
        from sklearn.tree import DecisionTreeClassifier

        found = run_suite(read(folder), data=folder / "data", only=["columns"])
        order = np.random.default_rng(0).permutation(160)
        pool, test = order[:120], order[120:]
        x = (100 * X).astype(np.int16).astype(np.float32)
        middle, spread = x[pool].mean(0, dtype=np.float64), x[pool].std(0, dtype=np.float64)
        x = ((x - middle) / spread).astype(np.float32)
        expected = pw.simulate(
            x[pool], Y[pool], DecisionTreeClassifier(), ["margin", "random", "k_center"], batch_size=10, budget=30,
            seeds=3, test=(x[test], Y[test]),
        )  # fmt: skip
        assert same(found.simulations["columns"], expected)

    def test_columns_without_spread_and_rows_without_length_stay_finite(self, folder):
        x = np.column_stack([X[:, 0], np.full(160, 7.0)])
        x[3] = 0
        np.savez(folder / "data" / "columns.npz", X=x, y=Y)
        for scale in ("standard", "unit"):
            (dataset,) = read(folder, HEAD + COLUMNS.replace("standard", scale)).datasets
            rows = dataset.read(folder / "data")
            assert np.isfinite(rows.pool).all()
            assert np.isfinite(rows.test).all()

    def test_a_share_for_testing(self, folder):
        (dataset,) = read(folder, HEAD + COLUMNS.replace("test = 40", "test = 0.25")).datasets
        (other,) = read(folder, HEAD + COLUMNS).datasets
        assert np.array_equal(dataset.read(folder / "data").test, other.read(folder / "data").test)

    def test_strategies_and_seeds_may_be_others(self, folder):
        found = run_suite(read(folder), data=folder / "data", strategies=["entropy", "random"], seeds=1)
        assert [one.strategies for one in found.simulations.values()] == [("entropy", "random")] * 2
        assert [one.seeds for one in found.simulations.values()] == [(0,)] * 2

    def test_the_order_is_that_of_the_suite(self, folder):
        found = run_suite(read(folder), data=folder / "data", only=["columns", "sphere"], strategies=["random"])
        assert list(found.simulations) == ["sphere", "columns"]
        assert {name: one.seeds for name, one in found.simulations.items()} == {"sphere": (0, 1), "columns": (0, 1, 2)}


class TestTables:
    """The figures are those of the curves."""

    @pytest.fixture
    def found(self, folder):
        return run_suite(read(folder), data=folder / "data")

    def test_accuracies_labels_and_savings(self, found):
        columns = found.table().columns
        for place, (name, strategy) in enumerate(zip(columns["dataset"], columns["strategy"], strict=True)):
            simulation = found.simulations[name]
            curves = np.array([c.metrics["accuracy"] for c in simulation.curves if c.strategy == strategy])
            labels = simulation.curves[0].labels
            assert columns["accuracy"][place] == pytest.approx(curves.mean())
            error = curves.mean(1).std(ddof=1) / np.sqrt(len(curves))
            assert columns["accuracy_se"][place] == pytest.approx(error)
            for number, level in enumerate(found.suite.datasets[name == "columns"].levels, 1):
                at = {what: columns[f"{what}_{number}"][place] for what in ("level", "first", "labels_to", "saved")}
                there = curves.mean(0) >= level
                assert at["level"] == level
                assert np.array_equal(at["first"], labels[there][0] if there.any() else np.nan, equal_nan=True)
                assert np.isnan(at["labels_to"]) == np.isnan(at["first"])
                assert not at["labels_to"] > at["first"]
                if strategy != "random":
                    saved = simulation.savings(level)[strategy].value
                    assert np.array_equal(at["saved"], saved, equal_nan=True)
        assert np.isnan(columns["level_2"]).sum() == 3

    def test_all_points(self, found):
        columns = found.points().columns
        assert len(columns["labels"]) == 3 * (3 + 3)
        first = found.simulations["sphere"].runs().of("margin")
        assert columns["labels"][:3] == [8, 18, 28]
        assert columns["accuracy"][:3] == first.mean(0).tolist()
        assert columns["seeds"][:3] == [2, 2, 2]

    def test_no_time_is_left_out(self, found):
        columns = found.times().columns
        assert columns["dataset"] == ["sphere", "columns", "all"]
        assert columns["runs"] == [6, 9, 15]
        for place in range(3):
            model = columns["fitting"][place] + columns["predicting"][place]
            whole = columns["seconds_of_runs"][place]
            assert columns["besides"][place] > 0
            assert model + columns["selecting"][place] + columns["besides"][place] == pytest.approx(whole)
            assert columns["besides_the_model"][place] == pytest.approx(1 - model / whole)
            assert whole <= columns["seconds_now"][place]
        for name, simulation in found.simulations.items():
            for curve in simulation.curves:
                assert curve.elapsed > sum(values.sum() for values in curve.seconds.values()), name

    def test_without_random_nothing_is_saved(self, folder):
        found = run_suite(read(folder), data=folder / "data", strategies=["margin"], seeds=1)
        assert np.isnan(found.table().columns["saved_1"]).all()
        assert "±" not in repr(found).splitlines()[1]


class TestGoingOn:
    """What is finished is never made again."""

    def test_a_second_time(self, folder):
        options = {"data": folder / "data", "folder": folder / "out"}
        first = run_suite(read(folder), **options)
        before, told = kept(folder / "out"), []
        again = run_suite(read(folder), progress=lambda *n: told.append(n), **options)
        assert len(before) == 15
        assert kept(folder / "out") == before
        assert told == [(6, 15), (15, 15)]
        assert all(same(first.simulations[name], again.simulations[name]) for name in first.simulations)
        assert again.times().columns["seconds_of_runs"] == first.times().columns["seconds_of_runs"]

    def test_progress_is_of_the_whole(self, folder):
        told = []
        run_suite(read(folder), data=folder / "data", progress=lambda *n: told.append(n))
        assert sorted(set(told)) == [(done, 15) for done in range(1, 16)]

    def test_interrupted(self, folder, monkeypatch):
        """In the middle of the eighth of fifteen runs, which is on the second dataset."""
        calls, measures = itertools.count(1), simulated_runs.measures

        def measured(*given):
            if next(calls) == 6 * 3 + 5:
                raise KeyboardInterrupt
            return measures(*given)

        arguments = ("suite.toml", "--data", "data", "-o", "out")
        with monkeypatch.context() as patch:
            patch.setattr(simulated_runs, "measures", measured)
            done = run(folder, *arguments, code=130)
        assert done.stderr == "pickwise: interrupted\n"
        before = kept(folder / "out")
        assert len(before) == 7
        assert not (folder / "out" / "report.html").exists()
        run(folder, *arguments)
        assert len(kept(folder / "out")) == 15
        assert before.items() <= kept(folder / "out").items()


class TestRefusals:
    """Before any run, naming the dataset and the key."""

    @replacing(
        ("seeds = 2", "sedes = 2", ValueError, r"suite.toml: sedes: expected no such key; did you mean 'seeds'\?"),
        ("seeds = 2", "seeds = 0", ValueError, "seeds: expected at least 1, got 0"),
        ("seeds = 2", 'seeds = "2"', TypeError, "seeds: expected an integer, got '2'"),
        ("seeds = 2", "seeds = [", ValueError, "suite.toml: not TOML"),
        ('["margin", "random", "k_center"]', '"margin"', TypeError, "strategies: expected a list, got 'margin'"),
        ('"margin", "random"', '"margin", 3', TypeError, "strategies: expected a list of names"),
        ('"margin", "random"', '"margin", "margin"', ValueError, "strategies: expected one or more, each of them"),
        ("[[dataset]]", "[dataset]", TypeError, r"dataset: expected a list, .*begins with \[\[dataset\]\]"),
        ('name = "sphere"', "", ValueError, "dataset 1: name: expected one, got none"),
        ('name = "sphere"', "name = 4", TypeError, "dataset 1: name: expected text, got 4"),
        ('name = "sphere"', 'name = "a/b"', ValueError, "dataset 'a/b': name: expected letters, digits"),
        ("batch_size = 10", "batchsize = 10", ValueError, "dataset 'sphere': batchsize: .*mean 'batch_size'"),
        ("batch_size = 10", "", ValueError, "dataset 'sphere': batch_size: expected one, got none"),
        ("batch_size = 10", "batch_size = 1.5", TypeError, "dataset 'sphere': batch_size: expected an integer"),
        ("budget = 28", "budget = true", TypeError, "dataset 'sphere': budget: expected an integer, got True"),
        ("initial = 8", "initial = -8", ValueError, "dataset 'sphere': initial: expected at least 1, got -8"),
        ('scale = "unit"', 'scale = "log"', ValueError, "dataset 'sphere': scale: expected 'unit' or 'standard'"),
        ('split = "part"', "split = 1", TypeError, "dataset 'sphere': split: expected text, got 1"),
        ('split = "part"', "", ValueError, "dataset 'sphere': test: expected either split or test"),
        ('split = "part"', 'split = "part"\ntest = 3', ValueError, "test: expected either split or test"),
        ('split = "part"', "test = 1.5", ValueError, "test: expected how many rows, or a share"),
        ('split = "part"', 'test = "3"', TypeError, "test: expected a number, got '3'"),
        ('file = "sphere.npz"', "", ValueError, "dataset 'sphere': file: expected either a file or a loader"),
        ('file = "sphere.npz"', 'loader = "sklearn.datasets.load_wine"', ValueError, "split: expected a file"),
        ("parameters = { C = 10 }", "parameters = 10", TypeError, "parameters: expected a table"),
        ("levels = [0.5, 0.6]", "levels = 0.5", TypeError, "dataset 'sphere': levels: expected a list"),
        ("levels = [0.5, 0.6]", "levels = [85]", ValueError, "levels: expected accuracies above 0, at most 1"),
        ("levels = [0.5, 0.6]", 'levels = ["high"]', TypeError, "levels: expected a number, got 'high'"),
        ("levels = [0.5, 0.6]", "levels = [0.5, 0.5]", ValueError, "levels: expected each once"),
    )
    def test_files_that_are_no_suite(self, folder, old, new, kind, told):
        text = replaced(HEAD + SPHERE, old, new)
        with pytest.raises(kind, match=told):
            read(folder, text)

    def test_names_that_come_twice_and_no_datasets(self, folder):
        with pytest.raises(ValueError, match=r"dataset: expected one or more, each of them once, got .*'sphere'"):
            read(folder, HEAD + SPHERE + SPHERE)
        with pytest.raises(ValueError, match="dataset: expected one or more"):
            read(folder, HEAD)
        with pytest.raises(FileNotFoundError):
            Suite.read(folder / "nowhere.toml")

    @replacing(
        ("columns.npz", "nowhere.npz", FileNotFoundError, r"file: expected 'nowhere.npz' in the folder '.*data'"),
        ("test = 40", 'test = 40\nx = "Z"', ValueError, "x: expected one of the arrays of columns.npz, which are X"),
        ("test = 40", 'test = 40\ny = "Z"', ValueError, "y: expected one of the arrays of columns.npz"),
        ("test = 40", 'split = "Z"', ValueError, "split: expected one of the arrays of columns.npz"),
        ("test = 40", 'split = "y"', ValueError, r"split: expected 0 for rows of the pool .*got \[0, 1, 2\]"),
        ("test = 40", 'split = "X"', ValueError, r"split: expected one number for each of 160 rows"),
        ("test = 40", 'test = 40\nx = "y"', ValueError, r"x: expected numbers of shape \(rows, features\) in 'y'"),
        ("test = 40", 'test = 40\ny = "X"', ValueError, "y: expected 160 labels, one for each row"),
        ("test = 40", "test = 160", ValueError, "test: expected to leave some of 160 rows on both sides"),
        ("budget = 30", "budget = 300", ValueError, "budget: expected from 10, .* to 120"),
        ("budget = 30", "budget = 30\ninitial = 40", ValueError, "budget: expected from 40"),
        ("DecisionTreeClassifier", "Nothing", ValueError, "estimator: expected the dotted name of a class"),
        ("DecisionTreeClassifier", "DecisionTreeRegressor", TypeError, "model: expected a classifier"),
        ("sklearn.tree", "nowhere", ImportError, "nowhere"),
        ("budget = 30", "parameters = { dept = 3 }", TypeError, "parameters: expected those of sklearn.tree"),
        ('"k_center"]', '"bald"]', TypeError, "model: expected one with members.* for 'bald'"),
        ('"k_center"]', '"magic"]', ValueError, "strategy: no strategy is called 'magic'"),
    )
    def test_data_and_protocols_that_do_not_go_together(self, folder, old, new, kind, told):
        text = replaced(HEAD + SPHERE + COLUMNS, old, new)
        with pytest.raises(kind, match=told) as caught:
            run_suite(read(folder, text), data=folder / "data", folder=folder / "out")
        if kind is not ImportError and "k_center" not in old:
            assert "dataset 'columns': " in str(caught.value)
        assert not kept(folder / "out")

    @pytest.mark.parametrize(
        ("arrays", "told"),
        [
            ({"X": np.where(X > 2, np.nan, X), "y": Y}, "x: expected finite numbers in 'X', got others in"),
            ({"X": X.astype(str), "y": Y}, "x: expected numbers of shape"),
            ({"X": X.astype(object), "y": Y}, "file: expected an .npz file .*need no pickle, got columns.npz"),
            ({"X": X, "y": Y / 2}, "y: expected classes"),
        ],
        ids=["nan", "text", "objects", "halves"],
    )
    def test_arrays_of_something_else(self, folder, arrays, told):
        np.savez(folder / "data" / "columns.npz", **arrays)
        with pytest.raises((ValueError, TypeError), match=f"dataset 'columns': {told}"):
            run_suite(read(folder), data=folder / "data")

    @pytest.mark.parametrize("content", ["npy", "text", "cut"])
    def test_files_of_something_else(self, folder, content):
        path = folder / "data" / "columns.npz"
        if content == "npy":
            with path.open("wb") as file:
                np.save(file, X)
        else:
            path.write_bytes(b"spam and eggs" if content == "text" else path.read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"dataset 'columns': file: expected an .npz file of numpy.savez"):
            run_suite(read(folder), data=folder / "data")

    @pytest.mark.parametrize(
        "loader", ["os.system", "sklearn.datasets.load_files", "sklearn.datasets.nothing", "digits"]
    )
    def test_loaders_that_are_none(self, loader):
        dataset = SuiteDataset(name="a", loader=loader, test=0.3, model="sklearn.svm.SVC", batch_size=5)
        with pytest.raises(ValueError, match=r"loader: expected a loader such as 'sklearn.datasets.load_digits'"):
            dataset.read()

    def test_no_folder_of_data_and_datasets_that_there_are_not(self, folder):
        with pytest.raises(ValueError, match=r"data: expected the folder that sphere.npz is in, got none"):
            run_suite(read(folder))
        with pytest.raises(
            ValueError, match="only: expected datasets of the suite, which are sphere, columns, got 'x'"
        ):
            run_suite(read(folder), data=folder / "data", only=["x"])

    def test_a_model_that_fails_tells_on_which_dataset(self, folder):
        text = HEAD + COLUMNS.replace("tree.DecisionTreeClassifier", "naive_bayes.MultinomialNB")
        with pytest.raises(ValueError, match="Negative values") as caught:
            run_suite(read(folder, text), data=folder / "data")
        assert caught.value.__notes__[-1] == "on the dataset 'columns'"


class TestCommand:
    """`pickwise bench-suite`."""

    def test_what_it_leaves_behind(self, folder):
        done = run(folder, "suite.toml", "--data", "data", "-o", "out")
        assert done.stdout.splitlines()[0].split()[:3] == ["dataset", "strategy", "accuracy"]
        assert "DatasetComparison of 3 strategies on 2 datasets" in done.stdout
        assert "besides the model, %" in done.stdout
        assert "win  tie  loss" in done.stdout
        assert "Friedman: chi-square" in done.stdout
        assert done.stderr.startswith("report in out/report.html (")
        assert "3 strategies on 2 datasets" in (folder / "out" / "report.html").read_text("utf-8")
        found = run_suite(Suite.read(folder / "suite.toml"), data=folder / "data", folder=folder / "out")
        points, summary, times = (lines(folder / "out" / f"{name}.csv") for name in ("suite", "summary", "times"))
        assert [line["labels"] for line in points[:3]] == ["8", "18", "28"]
        heights = found.points().columns["accuracy"]
        assert [float(line["accuracy"]) for line in points] == pytest.approx(heights, rel=1e-5)
        assert [(line["dataset"], line["strategy"]) for line in summary] == list(
            zip(found.table().columns["dataset"], found.table().columns["strategy"], strict=True)
        )
        assert [line["dataset"] for line in times] == ["sphere", "columns", "all"]
        assert len(kept(folder / "out")) == 15

    def test_options(self, folder):
        """More jobs do not change a digit."""
        arguments = ("--only", "sphere", "--strategies", "margin, random", "--seeds", "1", "--jobs", "2", "--quiet")
        done = run(folder, "suite.toml", "--data", "data", "-o", "out", *arguments)
        assert done.stderr == ""
        assert "DatasetComparison" not in done.stdout
        assert len(kept(folder / "out")) == 2
        suite = Suite.read(folder / "suite.toml")
        found = run_suite(suite, data=folder / "data", only=["sphere"], strategies=["margin", "random"], seeds=1)
        points = lines(folder / "out" / "suite.csv")
        assert [line["strategy"] for line in points] == found.points().columns["strategy"]
        heights = [f"{height:.6g}" for height in found.points().columns["accuracy"]]
        assert [line["accuracy"] for line in points] == heights

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (["--strategies", "margin,magic"], 2, "magic"),
            (["--strategies", "margin,margin"], 2, "each of them once"),
            (["--only", ","], 2, "one or more"),
            (["--only", "moon"], 1, "pickwise: --only: expected datasets of the suite, which are sphere, columns"),
            (["--jobs", "0"], 1, "pickwise: --jobs: expected how many runs"),
            (["--data", "nowhere"], 1, "pickwise: dataset 'sphere': file: expected 'sphere.npz' in the folder"),
            (["--strategies", "bald"], 1, "dataset 'sphere': model: expected one with members"),
        ],
    )  # fmt: skip
    def test_refused_in_one_line(self, folder, arguments, code, told):
        done = run(folder, "suite.toml", "--data", "data", "-o", "out", *arguments, code=code)
        assert told in " ".join(done.stderr.replace("│", " ").split())
        assert "Traceback" not in done.stderr
        assert not kept(folder / "out")

    def test_files_that_are_not_there(self, folder):
        assert "nowhere.toml" in run(folder, "nowhere.toml", "-o", "out", code=1).stderr
        done = run(folder, "suite.toml", "-o", "out", code=1)
        assert "--data: expected the folder that sphere.npz is in, got none; name it with --data" in done.stderr


class TestWhatIsShipped:
    """The small suite of data that scikit-learn has, and the one that our own figures are of."""

    def test_the_small_suite_needs_no_data(self, folder):
        done = run(folder, "-o", "out", "--only", "wine", "--strategies", "margin,random", "--seeds", "1")
        assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == ["wine", "wine"]
        assert len(kept(folder / "out")) == 2

    def test_the_small_suite_is_sound(self):
        suite = Suite.read(BUILTIN)
        assert [dataset.name for dataset in suite.datasets] == ["digits", "wine", "breast_cancer"]
        assert "random" in suite.strategies
        for dataset in suite.datasets:
            rows = dataset.read()
            assert rows.pool.dtype == np.float32
            assert dataset.budget <= len(rows.pool)

    def test_our_suite_is_sound(self):
        suite = Suite.read(BENCH)
        assert len(suite.datasets) >= 8
        for dataset in suite.datasets:
            points = 1 + -(-(dataset.budget - dataset.initial) // dataset.batch_size)
            assert 13 <= points <= 40, dataset.name
            dataset.estimator()
            if DATA.exists():
                assert (DATA / dataset.file).is_file(), dataset.name
