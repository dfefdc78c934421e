"""The state of a long selection in a file, from which it goes on after whatever ended it."""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pickwise.report import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pickwise.pools import Part

_MAGIC = b"pickwise-checkpoint-1\n"

# Saving may take this part of the time.
_SHARE = 0.1


class Checkpoint:
    """A file that holds the reducer, the parts that it has taken to their end, and what was seen.

    Parameters
    ----------
    path : path
        It is replaced as a whole; what was in it before stays until then.
    about : dict
        What is selected from what, as JSON can hold it: a state of anything else is refused.
    """

    def __init__(self, path: str | os.PathLike[str], about: dict[str, Any]) -> None:
        self._path = Path(path)
        self._about = json.loads(json.dumps(about))
        self._finished: list[str] = []
        self._saved = -float("inf")
        self._cost = 0.0
        if not self._path.absolute().parent.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no folder {str(self._path.absolute().parent)!r}")

    def load(self) -> tuple[bytes, Report] | None:
        """Read the state of a reducer and what was seen; None where there is no file yet.

        Raises
        ------
        ValueError
            If the file is damaged, or of another selection.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        start = len(_MAGIC) + 4
        content = data[start:]
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : start] != zlib.crc32(content).to_bytes(4):
            raise ValueError(
                f"checkpoint: {self._path} is damaged or something else; remove it to begin again, or name another file"
            )
        text, _, state = content.partition(b"\n")
        header = json.loads(text)
        different = [name for name in self._about if header["about"].get(name) != self._about[name]]
        if different:
            raise ValueError(
                f"checkpoint: {self._path} is of another selection, with other {' and '.join(different)}; remove it to "
                "begin again, or name another file"
            )
        self._finished = header["finished"]
        report = Report.of(header["report"])
        report.resumed = report.files
        return state, report

    def left(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that have not been taken."""
        done = set(self._finished)
        return [part for part in parts if part.name not in done]

    def save(self, parts: Sequence[Part], reducer: Any, report: Report) -> None:
        """Write the state when parts have been taken to their end, unless that would take too much of the time."""
        self._finished += [part.name for part in parts]
        began = time.perf_counter()
        if self._cost > _SHARE * (began - self._saved):
            return
        header = {"about": self._about, "finished": self._finished, "report": report.state()}
        content = json.dumps(header).encode() + b"\n" + reducer.to_bytes()
        unfinished = self._path.with_name(f".{self._path.name}.partial")
        try:
            with unfinished.open("wb") as file:
                file.write(_MAGIC + zlib.crc32(content).to_bytes(4) + content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self._path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise OSError(error.errno, f"checkpoint: cannot be written ({error.strerror})", str(self._path)) from None
        self._saved = time.perf_counter()
        self._cost = self._saved - began

    def remove(self) -> None:
        """Remove the file, when the selection is there."""
        self._path.unlink(missing_ok=True)
