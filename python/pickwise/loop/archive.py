"""The files of a closed round: what was selected, what was answered, and a manifest that ties them together."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from pickwise.loop.settings import sync

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST = "manifest.json"


def round_folder(folder: Path, number: int) -> Path:
    """Return where the files of a round are."""
    return folder / "rounds" / f"{number:04}"


def write_round(folder: Path, number: int, tables: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Write the files of a round, all of them or none.

    Parameters
    ----------
    folder : Path
        Of the project.
    number : int
        The round.
    tables : mapping of str to pyarrow.Table
        By file name, without its suffix.
    about : mapping
        What the manifest says beside the files: the strategy, its seed, the pool's fingerprint.

    Returns
    -------
    str
        The SHA-256 of the manifest, in hexadecimal: the parent of the next round's.
    """
    import pyarrow.parquet as pq

    place = round_folder(folder, number)
    unfinished, before = (place.with_name(f".{place.name}.{end}") for end in ("partial", "before"))
    for leftover in (unfinished, before):
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir(parents=True)
    files = {}
    for name, table in tables.items():
        path = unfinished / f"{name}.parquet"
        with path.open("wb") as file:
            pq.write_table(table, file)
        files[path.name] = {"sha256": _sha256(path), "rows": table.num_rows}
    manifest = {"round": number, **about, "files": files, "versions": versions()}
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()
    (unfinished / MANIFEST).write_bytes(text)
    for path in (*unfinished.iterdir(), unfinished):
        sync(path)
    if place.exists():
        place.replace(before)
    unfinished.replace(place)
    sync(place.parent)
    shutil.rmtree(before, ignore_errors=True)
    return hashlib.sha256(text).hexdigest()


def verify(folder: Path) -> list[str]:
    """Compare all rounds' files with their manifests, and these with their parents; return what differs."""
    wrong, parent = [], None
    for manifest in sorted(Path(folder, "rounds").glob(f"[0-9]*/{MANIFEST}")):
        content = json.loads(manifest.read_bytes())
        if content["parent"] != parent:
            wrong.append(f"{manifest.relative_to(folder)}: changed, or the manifest before it")
        parent = _sha256(manifest)
        for name, about in content["files"].items():
            path = manifest.with_name(name)
            if not path.exists() or _sha256(path) != about["sha256"]:
                wrong.append(f"{path.relative_to(folder)}: {'changed' if path.exists() else 'missing'}")
    return wrong


def versions() -> dict[str, str]:
    """Tell the versions of what a round depends on."""
    found = {"python": python_version()}
    for name in ("pickwise", "numpy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
