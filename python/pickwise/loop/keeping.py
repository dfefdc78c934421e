"""What is kept of the model of a round, and which one is deployed.

```
project/
  deployed.json            which model is in use, since when, and those before it
  models/
    round-003/
      model.skops          the model, in a format that runs no code when it is read; or that of XGBoost, LightGBM
      state.json           its classes
      model.json           what it is and how well it does; the SHA-256 of each file, written last
      README.md            the same for people: the model card
```

All is plain files, so that what serves the model needs neither a database nor the project.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pickwise.loop.models import ExternalModel, FunctionModel, LoopModel, SklearnModel
from pickwise.loop.models.base import plain, read_state
from pickwise.loop.models.estimators import untrusted_types
from pickwise.loop.settings import sync, write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

_MODEL, _CARD, _DEPLOYED = "model.json", "README.md", "deployed.json"

_KINDS: dict[str, type[LoopModel]] = {kind.kind: kind for kind in (SklearnModel, FunctionModel, ExternalModel)}


class ModelStore:
    """The models of a project, in its folder. One process at a time may write to it; any number may read.

    Parameters
    ----------
    folder : path
        Of the project. It is made when the first model is kept.

    Examples
    --------
    >>> import tempfile
    >>> from pickwise.loop.models import as_loop_model
    >>> model = as_loop_model("sklearn.naive_bayes.GaussianNB")
    >>> _ = model.fit([[0.0], [1.0], [0.1], [0.9]], ["cat", "dog", "cat", "dog"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = ModelStore(folder)
    ...     path = store.keep("round-001", model, {"metrics": {"accuracy": 0.75}})
    ...     store.promote("round-001")
    ...     store.load(store.deployed()).predict([[0.2]])
    array(['cat'], dtype=object)
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._models = self._folder / "models"

    def keep(self, name: str, model: LoopModel, card: Mapping[str, Any]) -> Path:
        """Write a model and its card, whole or not at all; one of the same name is replaced.

        Parameters
        ----------
        name : str
            Of the folder: letters, digits, ``-``, ``_`` and ``.``.
        model : LoopModel
            It is fitted. If it has no safe format (``save`` returns False), what it is is written all the same.
        card : mapping
            What the card shall say: "data", "labels", "strategy" and "seed" (each a value, or a mapping of values),
            "metrics" (a mapping of numbers), "per_class" (of each class a mapping of numbers), and whatever else.

        Returns
        -------
        Path
            The folder, "models/<name>" in that of the project.

        Raises
        ------
        ValueError
            For a name that is none.
        OSError
            If it cannot be written; what was there before stays.
        """
        folder = self._models / _checked_name(name)
        self._models.mkdir(parents=True, exist_ok=True)
        unfinished = self._models / f".{name}.{secrets.token_hex(4)}.partial"
        unfinished.mkdir()
        try:
            description = _write(unfinished, name, model, card)
            for path in unfinished.rglob("*"):
                sync(path)
            # Last, so that a folder that has it is complete.
            text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False)
            write_whole(unfinished / _MODEL, f"{text}\n".encode())
            _replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return folder

    def names(self) -> list[str]:
        """List the models that are kept, in the order of their names."""
        if not self._models.is_dir():
            return []
        found = {path.name for path in self._models.iterdir() if (path / _MODEL).is_file()}
        # One that was set aside when the writer died is there, too.
        aside = {name[1 : -len(".aside")] for name in found if name.startswith(".") and name.endswith(".aside")}
        return sorted({name for name in found if not name.startswith(".")} | aside)

    def describe(self, name: str) -> dict[str, Any]:
        """Read what `LoopModel.describe` and the card say, with the hashes of the files.

        Returns
        -------
        dict
            "name", "kept_at", "saved" (whether there is a state to be loaded), "format", "untrusted" (types to be named
            when it is loaded), "model", "card" and "files".

        Raises
        ------
        ValueError
            If there is none of that name, or it is damaged.
        """
        return _description(self._find(name), name)

    def load(self, name: str, into: LoopModel | None = None, *, trusted: Sequence[str] = ()) -> LoopModel:
        """Read a model, after its files were found to be those that were written.

        Parameters
        ----------
        name : str
        into : LoopModel, optional
            The model that gets the state, and is returned. Without it one is made; that cannot be done of functions and
            of objects with a ``save`` of their own.
        trusted : sequence of str
            Types that a skops file may hold beside those that skops trusts: those of trees and forests, for instance,
            as scikit-learn does not look at what is in them. Name them only if the file comes from where you trust.

        Returns
        -------
        LoopModel

        Raises
        ------
        ValueError
            If there is none of that name, a file was changed or is missing, nothing was saved, or a type is not
            trusted. The hashes tell damage, not malice: who can change the files can change those.
        """
        folder = self._find(name)
        description = _verified(folder, name)
        if not description["saved"]:
            raise ValueError(f"name: expected a model that was saved, got {name!r}, which has no safe format; refit it")
        if into is not None:
            into.load(folder, trusted=trusted)
            return into
        kind = description["model"]["kind"]
        return _KINDS.get(kind, LoopModel).restore(folder, description["model"], trusted)

    def promote(self, name: str) -> None:
        """Say that a model is in use from now on, in ``deployed.json``, which is replaced as a whole.

        Raises
        ------
        ValueError
            If there is none of that name, it is damaged, or it cannot be loaded.
        """
        description = _verified(self._find(name), name)
        if not description["saved"]:
            raise ValueError(f"name: expected a model that can be loaded, got {name!r}, which has no safe format")
        chain = [entry for entry in self._chain() if entry["name"] != name]
        metrics = description["card"].get("metrics", {})
        self._write_chain([*chain, {"name": name, "path": f"models/{name}", "when": _now(), "metrics": metrics}])

    def deployed(self) -> str | None:
        """Return the name of the model in use, None if there is none."""
        chain = self._chain()
        return str(chain[-1]["name"]) if chain else None

    def rollback(self) -> str:
        """Go back to the model that was in use before, again and again if need be.

        Returns
        -------
        str
            Its name.

        Raises
        ------
        ValueError
            If there is none before, or it is damaged.
        """
        chain = self._chain()
        if len(chain) < 2:
            raise ValueError(f"rollback: expected a model deployed before, got {len(chain)} in all")
        before = str(chain[-2]["name"])
        _verified(self._find(before), before)
        self._write_chain(chain[:-1])
        return before

    def prune(self, keep: set[str]) -> list[str]:
        """Remove all models but some; never those that are deployed or that `rollback` may go back to.

        Parameters
        ----------
        keep : set of str
            Names that stay.

        Returns
        -------
        list of str
            Names that were removed.
        """
        safe = keep | {str(entry["name"]) for entry in self._chain()}
        removed = [name for name in self.names() if name not in safe]
        for path in list(self._remains()):
            shutil.rmtree(path)
        for name in removed:
            shutil.rmtree(self._find(name))
        return removed

    def _remains(self) -> Iterator[Path]:
        """Find what a writer that died has left."""
        if self._models.is_dir():
            for path in self._models.glob(".*"):
                name = path.name[1:].removesuffix(".aside")
                if path.suffix == ".partial" or (path.suffix == ".aside" and (self._models / name).exists()):
                    yield path

    def _find(self, name: str) -> Path:
        folder = self._models / _checked_name(name)
        if folder.is_dir():
            return folder
        if _aside(folder).is_dir():
            return _aside(folder)
        there = ", ".join(self.names()[-5:]) or "none"
        raise ValueError(f"name: expected a model that was kept (the last ones are {there}), got {name!r}")

    def _chain(self) -> list[dict[str, Any]]:
        """Read what was deployed, the model in use last."""
        path = self._folder / _DEPLOYED
        if not path.exists():
            return []
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            chain = [*entry.pop("previous"), entry]
        except (ValueError, KeyError, AttributeError, TypeError):
            chain = [{}]
        if not all(isinstance(entry, dict) and "name" in entry for entry in chain):
            raise ValueError(f"{path}: expected what promote wrote, got something else; remove it, and promote again")
        return chain

    def _write_chain(self, chain: list[dict[str, Any]]) -> None:
        text = json.dumps({**chain[-1], "previous": chain[:-1]}, indent=2, ensure_ascii=False)
        write_whole(self._folder / _DEPLOYED, f"{text}\n".encode())


def _write(folder: Path, name: str, model: LoopModel, card: Mapping[str, Any]) -> dict[str, Any]:
    saved = model.save(folder)
    if not saved:
        shutil.rmtree(folder)  # whatever it had begun with
        folder.mkdir()
    untrusted = untrusted_types(folder)
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    description = {
        "name": name,
        "kept_at": _now(),
        "saved": saved,
        "format": read_state(folder)["format"] if saved else None,
        "untrusted": untrusted,
        "model": plain(model.describe()),
        "card": plain(card),
        "files": files,
    }
    # People may write more into it, so it has no hash.
    (folder / _CARD).write_text(model_card(description), encoding="utf-8")
    return description


def _replace(unfinished: Path, folder: Path) -> None:
    """Move a folder to its place. The one that was there is set aside, where `ModelStore._find` looks, for a moment."""
    aside = _aside(folder)
    if folder.exists():
        if aside.exists():
            shutil.rmtree(aside)
        folder.rename(aside)
    try:
        unfinished.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    sync(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _description(folder: Path, name: str) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads((folder / _MODEL).read_text(encoding="utf-8"))
        complete = {"name", "saved", "format", "untrusted", "model", "card", "files"} <= description.keys()
    except (OSError, ValueError, AttributeError):
        complete, description = False, {}
    if not complete:
        raise ValueError(
            f"name: expected a complete model, got {name!r}, whose {_MODEL} is missing or damaged; refit it"
        )
    return description


def _verified(folder: Path, name: str) -> dict[str, Any]:
    """Check that each file is the one that was written."""
    description = _description(folder, name)
    for file, digest in description["files"].items():
        path = folder / file
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise ValueError(f"name: expected a complete model, got {name!r}, whose {file} is missing; refit it")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(f"name: expected a model as it was kept, got {name!r}, whose {file} was changed; refit it")
    return description


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ValueError(f"name: expected letters, digits, '-', '_' and '.', as in 'round-003', got {name!r}")
    return name


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.aside")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def model_card(description: Mapping[str, Any]) -> str:
    """Write a model card in Markdown (Mitchell et al., 2019, "Model cards for model reporting").

    Parameters
    ----------
    description : mapping
        As `ModelStore.describe` returns it.

    Returns
    -------
    str
    """
    model, card = description["model"], dict(description["card"])
    metrics, per_class = card.pop("metrics", None), card.pop("per_class", None)
    facts = {"task": model["task"], "model": model.get("repr", model["name"]), "kept at": description["kept_at"]}
    if model.get("calibration"):
        facts["calibration"] = model["calibration"]
    if model.get("classes"):
        facts["classes"] = model["classes"]
    lines = [f"# {description['name']}: {model['name']}", "", *_bullets(facts)]
    for section in [name for name in ("data", "labels", "strategy", "seed") if name in card]:
        lines += _section(section, card.pop(section))
    if metrics:
        lines += ["", "## Metrics", "", *_table(["metric", "value"], metrics.items())]
    if per_class:
        columns = list(dict.fromkeys(column for row in per_class.values() for column in row))
        rows = [[name, *(row.get(column) for column in columns)] for name, row in per_class.items()]
        lines += ["", "## Classes", "", *_table(["class", *columns], rows)]
    for section, value in card.items():
        lines += _section(section, value)
    lines += ["", "## Versions", "", *_bullets(model["versions"]), "", "## How to load it", "", *_loading(description)]
    return "\n".join(lines) + "\n"


def _loading(description: Mapping[str, Any]) -> list[str]:
    if not description["saved"]:
        return ["It has no format that is safe to read: fit it to its labels again."]
    if description["format"] == "paths":
        return ["It is trained elsewhere; `state.json` says where its predictions are."]
    name, into = description["name"], ", into=model" if description["format"] == "its own" else ""
    trusted = f", trusted={description['untrusted']}" if description["untrusted"] else ""
    code = [
        "```python",
        "from pickwise.loop.keeping import ModelStore",
        "",
        f'model = ModelStore("path/to/project").load("{name}"{into}{trusted})',
        "model.predict(rows), model.classes_",
        "```",
    ]
    if trusted:
        code += [
            "",
            "Name types as trusted only if the files come from where you trust; see the documentation of skops.",
        ]
    return code


def _section(name: str, value: Any) -> list[str]:
    body = _bullets(value) if isinstance(value, dict) else [_words(value)]
    return ["", f"## {_words(name).replace('_', ' ').capitalize()}", "", *body]


def _bullets(values: Mapping[str, Any]) -> list[str]:
    return [f"- {_words(name)}: {_words(value)}" for name, value in values.items()]


def _table(header: Sequence[str], rows: Any) -> list[str]:
    line = " | ".join(_words(name) for name in header)
    rule = " | ".join(["---"] + ["--:"] * (len(header) - 1))
    return [f"| {line} |", f"| {rule} |", *(f"| {' | '.join(_words(cell) for cell in row)} |" for row in rows)]


def _words(value: Any) -> str:
    """Write a value on one line, in which nothing is markup: names of classes are data."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    if isinstance(value, dict):
        return ", ".join(f"{_words(name)} {_words(item)}" for name, item in value.items())
    return re.sub(r"([\\`*_<>\[\]|#])", r"\\\1", " ".join(str(value).split()))
