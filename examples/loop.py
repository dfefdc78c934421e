"""Label for a training pipeline that is your own: it hands over its predictions, and gets back what to label.

pickwise never sees the model. Each round the pipeline trains, predicts the pool into a file, and asks which rows come
next. Here it learns scikit-learn's digits; run it as ``python examples/loop.py reviews/``, for a folder that is not
there yet. If it is ended at any point, it goes on from there when it is run again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import Annotation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pickwise.annotators import Task

ROUNDS, BATCH = 5, 40
IMAGES, DIGITS = load_digits(return_X_y=True)
ROWS = np.arange(len(IMAGES))
HELD_OUT = ROWS[::4]


def train_and_predict(labels: Mapping[int, int], path: Path) -> None:
    """Stand for your pipeline: learn from the labels so far, and write what the model makes of each row of the pool."""
    rows = list(labels)
    model = LogisticRegression(max_iter=1000).fit(IMAGES[rows] / 16, [labels[row] for row in rows])
    path.parent.mkdir(exist_ok=True)
    np.save(path, model.predict_proba(IMAGES / 16))


def label(tasks: Sequence[Task]) -> list[Annotation]:
    """Stand for your annotators: answer what is asked."""
    return [Annotation(key=f"{task.key}:me", id=task.id, label=int(DIGITS[int(task.id)])) for task in tasks]


def opened(folder: Path) -> pw.Project:
    """Open the project, or make it: with rows that models are measured on, and a few labels to begin with."""
    if (folder / "project.toml").exists():
        project = pw.Project.open(folder)
    else:
        project = pw.Project.create(folder, classes=range(10), strategy="margin", batch_size=BATCH)
    # What is recorded twice counts once.
    project.hold_out((HELD_OUT, DIGITS[HELD_OUT]))
    first = np.setdiff1d(ROWS, HELD_OUT)[:BATCH]
    project.seed((first, DIGITS[first]))
    return project


def main(folder: Path) -> None:
    """Go on with the project, from wherever it is, to the last round."""
    with opened(folder) as project:
        while (now := project.history()[-1]).state != "trained" or now.number < ROUNDS:
            if now.state in ("planned", "trained"):
                project.ask()
            elif now.state in ("asked", "collecting"):
                project.record(label(project.tasks()))
                project.collect()
            else:
                path = folder / "predictions" / f"round-{now.number}.npy"
                train_and_predict(project.labels().to_dict(), path)
                ended = project.fit(path)
                print(f"round {ended.number}: {ended.labelled} labels, accuracy {ended.metrics['accuracy']:.1%}")
        print(f"report: {project.report()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
