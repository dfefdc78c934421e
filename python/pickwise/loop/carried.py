"""Labelled rows of pools that were replaced: a model goes on learning from them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.data import as_shown
from pickwise.loop.settings import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pickwise.annotators.base import RowId
    from pickwise.loop.data import PoolData

_FOLDER = "carried"


def carry(folder: Path, data: PoolData, ids: Sequence[RowId]) -> None:
    """Write down labelled rows of a pool that is about to be replaced, wholly or not at all."""
    place = folder / _FOLDER
    place.mkdir(exist_ok=True)
    name = f"{len([*place.glob('*.json')]):04}"
    rows = data.take(ids)
    if hasattr(rows, "to_parquet"):
        file = io.BytesIO()
        rows.reset_index(drop=True).to_parquet(file)
        write_whole(place / f"{name}.parquet", file.getvalue())
    elif hasattr(rows, "indptr"):
        from scipy.sparse import save_npz

        file = io.BytesIO()
        save_npz(file, rows)
        write_whole(place / f"{name}.npz", file.getvalue())
    elif np.asarray(rows).dtype.kind in "OUS":
        write_whole(place / f"{name}.texts", json.dumps([str(text) for text in rows], ensure_ascii=False).encode())
    else:
        file = io.BytesIO()
        np.save(file, np.asarray(rows), allow_pickle=False)
        write_whole(place / f"{name}.npy", file.getvalue())
    # The names come last: rows without them are not there.
    write_whole(place / f"{name}.json", json.dumps(list(ids), ensure_ascii=False).encode())


def take(folder: Path, data: PoolData, ids: Sequence[RowId]) -> Any:
    """Return rows by their ids: what was carried over first, then from the pool."""
    kept = _read(folder)
    if not kept:
        return data.take(ids)
    names = {name: (rows, place) for some, rows in kept for place, name in enumerate(some)}
    inside = [name for name in ids if name not in names]
    groups = [data.take(inside)] if inside else []
    order = {name: place for place, name in enumerate(inside)}
    for _, rows in kept:
        wanted = [name for name in ids if name in names and names[name][0] is rows]
        if wanted:
            places = [names[name][1] for name in wanted]
            groups.append(getattr(rows, "iloc", rows)[places])
            order |= {name: len(order) + number for number, name in enumerate(wanted)}
    back = [order[name] for name in ids]
    if hasattr(groups[0], "iloc"):
        import pandas as pd

        return pd.concat(groups).iloc[back]
    if hasattr(groups[0], "indptr"):
        from scipy.sparse import vstack

        return vstack(groups, format="csr")[back]
    return np.concatenate([np.asarray(group) for group in groups])[back]


def shown(folder: Path, data: PoolData, ids: Sequence[RowId]) -> list[Any]:
    """Return what annotators look at: of the pool, or of what was carried over."""
    if not (folder / _FOLDER).exists():
        return data.shown(ids)
    gone = data.unknown(ids)
    found = dict(zip(gone, as_shown(take(folder, data, gone)), strict=True)) if gone else {}
    inside = [name for name in ids if name not in found]
    found |= zip(inside, data.shown(inside), strict=True)
    return [found[name] for name in ids]


def _read(folder: Path) -> list[tuple[list[RowId], Any]]:
    found = []
    for path in sorted((folder / _FOLDER).glob("*.json")):
        names = json.loads(path.read_text(encoding="utf-8"))
        rows: Any
        if path.with_suffix(".npy").exists():
            rows = np.load(path.with_suffix(".npy"), allow_pickle=False)
        elif path.with_suffix(".npz").exists():
            from scipy.sparse import load_npz

            rows = load_npz(path.with_suffix(".npz"))
        elif path.with_suffix(".texts").exists():
            rows = np.array(json.loads(path.with_suffix(".texts").read_text(encoding="utf-8")), dtype=object)
        else:
            import pandas as pd

            rows = pd.read_parquet(path.with_suffix(".parquet"))
        found.append((names, rows))
    return found
