"""One dataset of a suite: where its rows are, how they are split and scaled, and how they are labelled."""

from __future__ import annotations

import re
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from pickwise.options import as_count, as_number, one_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

_TEXTS = ("name", "model", "file", "loader", "x", "y", "split", "scale")
_COUNTS = ("batch_size", "initial", "budget", "seeds")


class SuiteRows(NamedTuple):
    """The rows of a dataset, in two parts.

    Attributes
    ----------
    pool : ndarray of float32 of shape (rows, features)
    labels : ndarray of shape (rows,)
    test : ndarray of float32 of shape (test rows, features)
    test_labels : ndarray of shape (test rows,)
    """

    pool: NDArray[np.float32]
    labels: NDArray[Any]
    test: NDArray[np.float32]
    test_labels: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SuiteDataset:
    """A dataset of a suite, and its protocol.

    Attributes
    ----------
    name : str
        Of letters, digits, - and _: there is a folder of that name.
    model : str
        The dotted name of a classifier that is like those of scikit-learn.
    batch_size : int
        Rows that are labelled in a round.
    file : str, optional
        An ``.npz`` file in the folder of the data. It is read without pickle.
    loader : str, optional
        Instead of a file: a function of scikit-learn, such as "sklearn.datasets.load_digits".
    x, y : str
        The arrays of the file that hold the rows and their labels.
    split : str, optional
        The array of the file that tells which part a row is of: 0 the pool, 1 the test rows.
    test : int or float, optional
        Instead of `split`: how many rows are for testing, or the share of them. The rows are shuffled by
        ``numpy.random.default_rng(0).permutation``; the last ones are for testing.
    scale : str
        "unit" makes each row of length one; "standard" gives each column mean 0 and variance 1, by the pool; "none".
    parameters : dict
        Of the model.
    initial : int, optional
        Rows that are labelled at the beginning; `batch_size` by default.
    budget : int, optional
        Labelled rows at the end, the initial ones included; the whole pool by default.
    seeds : int, optional
        How often all is repeated; as often as the suite says by default.
    levels : tuple of float
        Accuracies to tell the labels to.

    Examples
    --------
    >>> wine = SuiteDataset(
    ...     name="wine",
    ...     loader="sklearn.datasets.load_wine",
    ...     test=0.3,
    ...     scale="standard",
    ...     model="sklearn.naive_bayes.GaussianNB",
    ...     batch_size=5,
    ... )
    >>> rows = wine.read()
    >>> rows.pool.shape, rows.test.shape
    ((125, 13), (53, 13))
    """

    name: str
    model: str
    batch_size: int
    file: str | None = None
    loader: str | None = None
    x: str = "X"
    y: str = "y"
    split: str | None = None
    test: int | float | None = None
    scale: str = "none"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    initial: int | None = None
    budget: int | None = None
    seeds: int | None = None
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in _TEXTS:
            _check_text(name, getattr(self, name), optional=name in ("file", "loader", "split"))
        for name in _COUNTS:
            if getattr(self, name) is not None or name == "batch_size":
                as_count(getattr(self, name), name, least=1)
        if not re.fullmatch(r"[\w-]+", self.name):
            raise ValueError(f"name: expected letters, digits, - and _, got {self.name!r}; there will be such a folder")
        one_of(self.scale, "scale", ("unit", "standard", "none"))
        if (self.file is None) == (self.loader is None):
            raise ValueError("file: expected either a file or a loader of scikit-learn, got both or none; say one")
        if (self.split is None) == (self.test is None):
            raise ValueError("test: expected either split or test, got both or none; say one")
        if self.split is not None and self.file is None:
            raise ValueError(f"split: expected a file with such an array, got {self.split!r} with a loader; say test")
        if self.test is not None:
            _check_test(self.test)
        if not hasattr(self.parameters, "items"):
            raise TypeError(f"parameters: expected a table, such as {{ C = 10 }}, got {self.parameters!r}")
        _check_levels(self.levels)

    @classmethod
    def of(cls, told: Any) -> SuiteDataset:
        """Make one of a table of TOML."""
        if not isinstance(told, dict):
            raise TypeError(f"dataset: expected a table, as after [[dataset]], got {told!r}")
        refuse_unknown(told, tuple(each.name for each in fields(cls)))
        for name in ("name", "model", "batch_size"):
            if name not in told:
                raise ValueError(f"{name}: expected one, got none; write {name} = ... after [[dataset]]")
        levels = told.get("levels", [])
        return cls(**told | {"levels": tuple(levels) if isinstance(levels, list) else levels})

    def estimator(self) -> Any:
        """Make the model."""
        from pickwise.loop.models.estimators import built

        return built({"estimator": self.model, "parameters": dict(self.parameters)})

    def read(self, data: str | Path | None = None) -> SuiteRows:
        """Read the rows.

        Parameters
        ----------
        data : path, optional
            The folder of the file.

        Returns
        -------
        SuiteRows

        Raises
        ------
        FileNotFoundError
            If there is no such file in the folder.
        ValueError, TypeError
            For arrays that are not there, or hold something else.
        """
        if self.loader is not None:
            x, y = _loaded(self.loader)
            split = None
        else:
            arrays = self._arrays(self._path(data))
            x, y, split = arrays[self.x], arrays[self.y], None if self.split is None else arrays[self.split]
        x, y = _rows(x, self.x), np.asarray(y)
        if y.shape != (len(x),):
            raise ValueError(f"y: expected {len(x)} labels, one for each row of {self.x!r}, got shape {y.shape}")
        pool, test = _parts(split, len(x), self.split) if self.test is None else _shuffled(self.test, len(x))
        rows, test_rows = _scaled(x[pool], x[test], self.scale)
        return SuiteRows(rows, y[pool], test_rows, y[test])

    def _path(self, data: str | Path | None) -> Path:
        assert self.file is not None  # noqa: S101 - there is no loader
        if data is None:
            raise ValueError(f"data: expected the folder that {self.file} is in, got none; pass data=")
        path = Path(data) / self.file
        if not path.is_file():
            raise FileNotFoundError(f"file: expected {self.file!r} in the folder {str(data)!r}, got no such file there")
        return path

    def _arrays(self, path: Path) -> dict[str, NDArray[Any]]:
        wanted = {"x": self.x, "y": self.y} | ({} if self.split is None else {"split": self.split})
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                known = list(file.files)
                found = {name: file[name] for name in wanted.values() if name in known}
        except (AttributeError, BadZipFile, EOFError, TypeError, ValueError, zlib.error) as error:
            raise ValueError(
                f"file: expected an .npz file of numpy.savez, whose arrays need no pickle, got {self.file}: {error}"
            ) from None
        for key, name in wanted.items():
            if name not in found:
                raise ValueError(
                    f"{key}: expected one of the arrays of {self.file}, which are {', '.join(known)}, got {name!r}"
                )
        return found


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Say of what is wrong where it is."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{where}: {error}") from None
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def refuse_unknown(told: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse keys that nothing is known of."""
    for key in told:
        if key not in known:
            from difflib import get_close_matches

            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"{key}: expected no such key; {hint}there are {', '.join(known)}")


def _check_text(name: str, value: Any, *, optional: bool) -> None:
    if value is None and optional:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {value!r}")
    if not value:
        raise ValueError(f"{name}: expected text, got none")


def _check_test(test: Any) -> None:
    as_number(test, "test")
    if not (0 < test < 1 or (isinstance(test, int) and test >= 1)):
        raise ValueError(f"test: expected how many rows, or a share between 0 and 1, got {test!r}")


def _check_levels(levels: Any) -> None:
    if not isinstance(levels, tuple):
        raise TypeError(f"levels: expected a list of accuracies, got {levels!r}")
    for level in levels:
        if not 0 < as_number(level, "levels") <= 1:
            raise ValueError(f"levels: expected accuracies above 0, at most 1, got {level!r}")
    if len(set(levels)) < len(levels):
        raise ValueError(f"levels: expected each once, got {list(levels)}")


def _loaded(name: str) -> tuple[Any, Any]:
    """Call a function of scikit-learn that loads a dataset."""
    from inspect import signature

    from sklearn import datasets

    module, _, function = name.rpartition(".")
    load = getattr(datasets, function, None) if module == "sklearn.datasets" and function.startswith("load_") else None
    if load is None or "return_X_y" not in signature(load).parameters:
        raise ValueError(f"loader: expected a loader such as 'sklearn.datasets.load_digits', got {name!r}")
    x, y = load(return_X_y=True)
    return x, y


def _rows(x: Any, name: str) -> NDArray[np.float32]:
    rows = np.asarray(x)
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise ValueError(
            f"x: expected numbers of shape (rows, features) in {name!r}, got {rows.dtype} of shape {rows.shape}"
        )
    rows = rows.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(wrong):
        raise ValueError(
            f"x: expected finite numbers in {name!r}, got others in {len(wrong)} rows, first in row {wrong[0]}; drop "
            "or mend such rows"
        )
    return rows


def _parts(split: Any, rows: int, name: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    part = np.asarray(split)
    if part.shape != (rows,):
        raise ValueError(f"split: expected one number for each of {rows} rows in {name!r}, got shape {part.shape}")
    found = np.unique(part).tolist()
    if found != [0, 1]:
        raise ValueError(f"split: expected 0 for rows of the pool and 1 for test rows in {name!r}, got {found[:5]}")
    return np.flatnonzero(part == 0), np.flatnonzero(part == 1)


def _shuffled(test: float, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    held = round(test * rows) if test < 1 else int(test)
    if not 1 <= held < rows:
        raise ValueError(f"test: expected to leave some of {rows} rows on both sides, got {test!r}")
    order = np.random.default_rng(0).permutation(rows)
    return order[: rows - held], order[rows - held :]


def _scaled(
    pool: NDArray[np.float32], test: NDArray[np.float32], scale: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if scale == "unit":
        return _unit(pool), _unit(test)
    if scale == "standard":
        middle, spread = pool.mean(0, dtype=np.float64), pool.std(0, dtype=np.float64)
        spread[spread == 0] = 1
        return ((pool - middle) / spread).astype(np.float32), ((test - middle) / spread).astype(np.float32)
    return pool, test


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)
