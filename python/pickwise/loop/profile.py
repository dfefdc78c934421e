"""What is kept of a pool to compare the next model, or the next pool, with."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.arrays import as_points
from pickwise.loop.settings import write_whole
from pickwise.points import refuse_invalid

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile:
    """What is kept of a pool to compare the next one with: predictions, scores and embeddings of its probe.

    Parameters
    ----------
    scores : array_like of shape (rows,)
        The score of each row by the strategy, or its margin. Finite.
    probabilities : array_like of shape (rows, classes), optional
        Kept as float32.
    classes : sequence of str or int, optional
        The names of the columns of `probabilities`, needed with them.
    embeddings : array_like of shape (rows, dims), optional
        By the same model in both profiles that are compared: otherwise the change of the model is taken for drift.

    Raises
    ------
    TypeError, ValueError
        If shapes do not go together, if a score or an embedding is not finite, or a class is neither str nor int.

    Examples
    --------
    >>> profile = Profile(scores=[0.2, 0.9], probabilities=[[0.9, 0.1], [0.55, 0.45]], classes=["no", "yes"])
    >>> profile
    Profile of 2 rows: scores, 2 classes
    """

    scores: NDArray[np.float64]
    probabilities: NDArray[np.float32] | None = None
    classes: tuple[Hashable, ...] | None = None
    embeddings: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        scores = np.asarray(self.scores, np.float64)
        if scores.ndim != 1 or not len(scores):
            raise ValueError(f"scores: expected one number a row, (rows,), of at least one row, got {scores.shape}")
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores)))
            raise ValueError(f"scores: expected finite numbers, got {scores[row]} in row {row}; leave such rows out")
        self._set("scores", scores)
        if self.probabilities is not None:
            probabilities = np.asarray(self.probabilities, np.float32)
            classes = () if self.classes is None else tuple(map(_as_class, self.classes))
            if probabilities.shape != (len(scores), len(classes)):
                raise ValueError(
                    f"probabilities: expected shape ({len(scores)}, {len(classes)}), one row a score and one column "
                    f"for each of `classes`, got {probabilities.shape}"
                )
            if len(set(classes)) < len(classes):
                raise ValueError(f"classes: expected different names, got {classes!r}")
            self._set("probabilities", probabilities)
            object.__setattr__(self, "classes", classes)
        if self.embeddings is not None:
            embeddings = refuse_invalid(as_points(self.embeddings, "embeddings"), "embeddings", "euclidean")
            if len(embeddings) != len(scores):
                raise ValueError(f"embeddings: expected {len(scores)} rows, one a score, got {len(embeddings)}")
            self._set("embeddings", embeddings)

    def _set(self, name: str, array: NDArray[Any]) -> None:
        view = array.view()  # the caller's own array stays writeable
        view.flags.writeable = False
        object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        has = ["scores"]
        if self.classes is not None:
            has.append(f"{len(self.classes)} classes")
        if self.embeddings is not None:
            has.append(f"embeddings of {self.embeddings.shape[1]} dimensions")
        return f"Profile of {len(self):,} rows: {', '.join(has)}"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as ``.npz``, wholly or not at all.

        Raises
        ------
        OSError
            If the file cannot be written; one that is there already stays as it was.
        """
        arrays = {"scores": self.scores, "probabilities": self.probabilities, "embeddings": self.embeddings}
        file = io.BytesIO()
        np.savez(
            file,
            allow_pickle=False,
            classes=np.frombuffer(json.dumps(self.classes).encode(), np.uint8),
            **{name: array for name, array in arrays.items() if array is not None},
        )
        write_whole(Path(path), file.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read what `save` wrote. Nothing in the file is run.

        Raises
        ------
        ValueError
            If the file is damaged, or something else.
        OSError
            If it cannot be read.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as kept:
                classes = json.loads(kept["classes"].tobytes())
                arrays = {name: kept[name] for name in ("scores", "probabilities", "embeddings") if name in kept}
            return cls(classes=classes, **arrays)
        except (ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"path: expected a saved profile, got {os.fspath(path)!r}, damaged or other") from error


def _as_class(name: Any) -> Hashable:
    plain = name.item() if isinstance(name, np.generic) else name
    if not isinstance(plain, (str, int)):
        raise TypeError(f"classes: expected names, str or int, got {name!r}")
    return plain
