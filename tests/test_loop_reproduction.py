"""The loop comes to the digits of a published benchmark, seed by seed: Lu, Li and Lin 2023 (arXiv:2306.08954)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw
from pickwise.annotators import SimulatedAnnotators

pytest.importorskip("sqlalchemy")
preprocessing = pytest.importorskip("sklearn.preprocessing")
svm = pytest.importorskip("sklearn.svm")

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def fit(x, y):
    return svm.SVC(kernel="rbf", gamma="auto", C=1.0).fit(x, y)


def predict_proba(model, x):
    """Rank as the distance from the boundary does, which the benchmark goes by."""
    return 1 / (1 + np.exp(-model.decision_function(x)))


def area(folder, x, y, seed):
    """Return the mean test accuracy over all queries, of one row each, by the protocol of the benchmark."""
    order = np.arange(len(x))
    np.random.default_rng(seed).shuffle(order)
    train, test = np.split(order, [int(0.6 * len(x))])
    np.random.default_rng(seed).shuffle(train)
    scaler = preprocessing.StandardScaler().fit(x[train])
    answers = y[train].tolist()
    with pw.Project.create(
        folder,
        scaler.transform(x[train]),
        model={"fit": fit, "predict_proba": predict_proba},
        annotator=SimulatedAnnotators(answers),
        classes=sorted(set(y.tolist())),
        strategy="margin",
        batch_size=1,
        evaluation=(scaler.transform(x[test]), y[test].astype(object)),
    ) as project:
        project.seed(dict(enumerate(answers[:20])))
        assert project.run() == "no row is left to ask for"
        accuracies = np.array([each.metrics["accuracy"] for each in project.history() if each.number])
    return float(((accuracies[1:] + accuracies[:-1]) / 2).sum() / len(accuracies))


@pytest.mark.parametrize("name", ["appendicitis"])
def test_seed_by_seed(tmp_path, name):
    if not (DATA / "lu2023").exists():
        pytest.skip("needs the data of the benchmark in ../shared/data")
    with np.load(DATA / "zhan2021_all.npz") as file:
        x, y = file[f"{name}__X"].astype(float), file[f"{name}__y"].astype(int)
    with (DATA / "lu2023" / f"{name}.csv").open() as file:
        published = {int(row["res_expno"]): float(row["res_tst_score"]) for row in csv.DictReader(file)}
    for seed in sorted(published)[:4]:
        assert area(tmp_path / str(seed), x, y, seed) == pytest.approx(published[seed], abs=1e-4)
