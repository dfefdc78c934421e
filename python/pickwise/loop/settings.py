"""What a project is told once: `project.toml`, which people may read and change."""

from __future__ import annotations

import hashlib
import os
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pickwise.options import as_count, as_number, one_of
from pickwise.strategies import resolve
from pickwise.strategies.base import as_option, from_option

if TYPE_CHECKING:
    from pickwise.strategies import Strategy

Task: TypeAlias = Literal["multiclass", "multilabel", "regression"]
Merge: TypeAlias = Literal["majority", "dawid_skene", "crowdlab"]

FILE = "project.toml"
DATABASE = "project.db"

METRICS = {
    "multiclass": ("accuracy", "macro_f1", "log_loss"),
    "multilabel": ("macro_f1", "micro_f1", "accuracy"),
    "regression": ("r2", "mae"),
}
"""What a model can be judged by; the first is the default."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a project is told once; see `Project.create`.

    Attributes
    ----------
    overlap, overlap_share : int and float
        How many people answer a row, and which share of the rows; one of them answers each of the others.
    pool, embeddings : str or None
        Paths, globs or URLs; None where they are handed over as objects whenever the project is opened.
    model : dict or None
        What can be made from a file: the dotted name of an estimator and its parameters.
    annotator : dict or None
        The folder of a `FileAnnotator`, in that of the project unless it begins with "/", and perhaps its format.
    until : dict or None
        When to stop, as `stopping.to_dict` writes it.
    database : str
        As SQLAlchemy takes it; "" for a file in the folder.
    """

    name: str
    task: Task = "multiclass"
    classes: tuple[str | int, ...] | None = None
    ids: Literal["int", "str"] = "int"
    strategy: Strategy = field(default_factory=lambda: resolve("auto"))
    initial_strategy: Strategy = field(default_factory=lambda: resolve("random"))
    batch_size: int = 100
    budget: int | None = None
    overlap: int = 1
    overlap_share: float = 1.0
    merge: Merge = "majority"
    metric: str = "accuracy"
    seed: int = 0
    drift_threshold: float = 0.25
    drift_share: float = 0.3
    pool: str | None = None
    columns: tuple[str, ...] | None = None
    id: str | None = None
    embeddings: str | None = None
    model: dict[str, Any] | None = None
    annotator: dict[str, Any] | None = None
    until: dict[str, Any] | None = None
    database: str = ""

    def __post_init__(self) -> None:
        one_of(self.task, "task", tuple(METRICS))
        one_of(self.merge, "merge", ("majority", "dawid_skene", "crowdlab"))
        one_of(self.metric, "metric", METRICS[self.task])
        for name in ("batch_size", "overlap"):
            as_count(getattr(self, name), name, least=1)
        object.__setattr__(self, "overlap_share", as_number(self.overlap_share, "overlap_share"))
        if not 0 < self.overlap_share <= 1:
            raise ValueError(f"overlap_share: expected a share above 0, and at most 1, got {self.overlap_share}")
        if self.overlap_share < 1 and self.overlap == 1:
            raise ValueError(
                f"overlap_share: expected an overlap of at least 2 for a share of {self.overlap_share}, got 1, by "
                "which each row is answered once"
            )
        as_count(self.seed, "seed", least=0)
        if self.budget is not None:
            as_count(self.budget, "budget", least=1)
        if self.merge != "majority" and self.task != "multiclass":
            raise ValueError(f"merge: expected 'majority' for a {self.task} project, got {self.merge!r}")
        if not 0 <= self.drift_share <= 1:
            raise ValueError(f"drift_share: expected a share from 0 to 1, got {self.drift_share}")
        if self.classes is not None:
            _check_classes(self.classes)
        if "://" in self.database and _has_password(self.database):
            raise ValueError(
                "database: expected a URL without a password, which would be written to project.toml; leave it out and "
                "set PGPASSWORD, or use ~/.pgpass"
            )

    def overlap_of(self, row: str) -> int:
        """Return how many people answer a row.

        Whether it falls into the share is drawn by a hash of the seed and the row, so that it is the same for all who
        ask, in every process and round. A larger share has the rows of a smaller one, and more.

        Parameters
        ----------
        row : str
            Its id, as the tables have it.

        Examples
        --------
        >>> settings = Settings(name="reviews", overlap=3, overlap_share=0.2)
        >>> [settings.overlap_of(str(row)) for row in range(12)]
        [1, 1, 1, 1, 1, 3, 1, 1, 3, 1, 1, 3]
        """
        if self.overlap_share == 1:
            return self.overlap
        drawn = hashlib.blake2b(f"overlap {self.seed} {row}".encode(), digest_size=8).digest()
        return self.overlap if int.from_bytes(drawn) < self.overlap_share * 2**64 else 1

    def shown(self) -> dict[str, Any]:
        """Return the settings as TOML and JSON can hold them; those that were not set are left out."""
        values: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("strategy", "initial_strategy"):
                value = _short(as_option(value))
            if value is not None and value != "":
                values[each.name] = list(value) if isinstance(value, tuple) else value
        # Tables come last in TOML.
        return dict(sorted(values.items(), key=lambda item: isinstance(item[1], dict)))

    def write(self, folder: Path) -> None:
        """Write `project.toml`, whole or not at all."""
        import tomli_w

        about = "# A pickwise project. What is said here may be changed while nothing runs.\n"
        text = about + tomli_w.dumps(self.shown())
        write_whole(folder / FILE, text.encode())

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read `project.toml`.

        Raises
        ------
        FileNotFoundError
            If there is no project in the folder.
        ValueError
            For what is no setting, or has no such value.
        """
        path = folder / FILE
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{folder}: no project there; make one with Project.create, or `pickwise project init`"
            ) from None
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from None
        known = {each.name for each in fields(cls)}
        unknown = sorted(values.keys() - known)
        if unknown:
            raise ValueError(f"{path}: no setting is called {unknown[0]!r}; there are {', '.join(sorted(known))}")
        for name in ("classes", "columns"):
            if name in values:
                values[name] = tuple(values[name])
        try:
            for name in ("strategy", "initial_strategy"):
                if name in values:
                    values[name] = from_option(values[name], name)
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from None

    def changed(self, **values: Any) -> Settings:
        """Return the same with other values."""
        return replace(self, **values)


def kept_path(folder: Path, given: Any) -> str | None:
    """Return how a pool or embeddings are written down: a relative path as seen from the folder of the project."""
    if not isinstance(given, (str, os.PathLike)):
        return None
    path = os.fspath(given)
    return os.path.relpath(path, folder) if _is_relative(path) else path


def found_path(folder: Path, kept: str | None) -> str | None:
    """Return what `kept_path` wrote down as this process may open it."""
    return os.path.normpath(folder / kept) if kept is not None and _is_relative(kept) else kept


def _is_relative(path: str) -> bool:
    """Whether it is a path from the working directory, not a URL or the name of a column."""
    is_file = os.sep in path or path.endswith((".npy", ".parquet"))
    return is_file and "://" not in path and not Path(path).is_absolute()


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file, whole or not at all, so that it survives a power failure."""
    unfinished = path.with_name(f".{path.name}.partial")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power failure."""
    with suppress(PermissionError):  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _short(option: str | dict[str, Any]) -> str | dict[str, Any]:
    """Write a strategy by its name alone where all its options are the default ones; TOML knows no None."""
    if isinstance(option, str):
        return option
    default = resolve(option["strategy"]) if _has_defaults(option["strategy"]) else None
    given = {
        name: value
        for name, value in option.items()
        if name != "strategy" and value is not None and (default is None or default.options.get(name) != value)
    }
    return {"strategy": option["strategy"], **given} if given else option["strategy"]


def _has_defaults(name: str) -> bool:
    try:
        resolve(name)
    except TypeError:
        return False
    return True


def _check_classes(classes: tuple[str | int, ...]) -> None:
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f"classes: expected at least two different names, got {list(classes)}")
    if len({type(name) for name in classes}) > 1 or not isinstance(classes[0], (str, int)):
        raise TypeError(f"classes: expected all of them str, or all int, got {list(classes)}")


def _has_password(url: str) -> bool:
    from urllib.parse import urlsplit

    return urlsplit(url).password is not None
