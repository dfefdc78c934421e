"""Lu, Li and Lin 2023, seed by seed: uncertainty sampling comes to the areas that they published.

The benchmark is arXiv:2306.08954. Its protocol: 60 % of the rows, shuffled, are the pool, the others are for testing;
of the pool, shuffled again, 20 rows are labelled at the beginning; a support vector machine asks for the row that is
closest to its boundary, one at a time, until none is left. The area is that of the test accuracies after each query.

    python benches/label_savings/lu2023.py --seeds 20
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pickwise as pw

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
# Of the others, with thousands of rows, a seed takes many minutes.
DATASETS = (
    "appendicitis",
    "australian",
    "diabetes",
    "ex8a",
    "german",
    "haberman",
    "heart",
    "mammographic",
    "parkinsons",
    "sonar",
    "wdbc",
)


class Found(NamedTuple):
    """An area by this run, and as it was published."""

    dataset: str
    seed: int
    ours: float
    published: float

    @property
    def difference(self) -> float:
        return abs(self.ours - self.published)


def read(dataset):
    """Return the rows, their classes, and the published areas by seed."""
    with np.load(DATA / "zhan2021_all.npz") as file:
        x, y = file[f"{dataset}__X"].astype(float), file[f"{dataset}__y"].astype(int)
    with (DATA / "lu2023" / f"{dataset}.csv").open() as file:
        return x, y, {int(row["res_expno"]): float(row["res_tst_score"]) for row in csv.DictReader(file)}


def area(x, y, seed):
    """Run the protocol with one seed, and return the area."""
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    order = np.arange(len(x))
    np.random.default_rng(seed).shuffle(order)
    train, test = np.split(order, [int(0.6 * len(x))])
    np.random.default_rng(seed).shuffle(train)
    scaler = StandardScaler().fit(x[train])
    found = pw.simulate(
        scaler.transform(x[train]),
        y[train],
        SVC(kernel="rbf", gamma="auto", C=1.0),
        ["margin"],
        batch_size=1,
        seeds=[seed],
        initial=range(20),
        test=(scaler.transform(x[test]), y[test]),
    )
    accuracies = found.curves[0].metrics["accuracy"][1:]
    return float(((accuracies[1:] + accuracies[:-1]) / 2).sum() / len(accuracies))


def reproduce(datasets, seeds, n_jobs=1):
    """Run the first seeds of each dataset, and compare with what was published."""
    from joblib import Parallel, delayed

    jobs = [(name, seed, *read(name)) for name in datasets for seed in sorted(read(name)[2])[:seeds]]
    areas = Parallel(n_jobs=n_jobs)(delayed(area)(x, y, seed) for _, seed, x, y, _ in jobs)
    return [
        Found(name, seed, ours, published[seed])
        for (name, seed, _, _, published), ours in zip(jobs, areas, strict=True)
    ]


def write(found, path):
    """Write what was found as CSV."""
    lines = [f"{one.dataset},{one.seed},{one.ours:.6f},{one.published:.5f},{one.difference:.6f}" for one in found]
    path.write_text("\n".join(["dataset,seed,ours,published,difference", *lines]) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=DATASETS, help="by default those of up to 1000 rows")
    parser.add_argument("--seeds", type=int, default=20, help="the first so many of each dataset")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks" / "lu2023.csv")
    told = parser.parse_args()
    found = []
    for name in told.datasets:
        found += reproduce([name], told.seeds, told.jobs)
        worst = max(one.difference for one in found if one.dataset == name)
        print(f"{name}: {told.seeds} seeds, the worst difference is {worst:.1e}", flush=True)
    write(found, told.output)


if __name__ == "__main__":
    main()
