"""Files that are shown: those inside of one folder, and no others."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

IMAGES = {".apng", ".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp"}
SOUNDS = {".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".weba"}
# What browsers show that not every system has a name for.
_TYPES = {
    ".avif": "image/avif",
    ".webp": "image/webp",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".flac": "audio/flac",
}


class Media:
    """A folder of images and sounds.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).resolve()
        if not self.folder.is_dir():
            raise NotADirectoryError(f"media: expected a folder, got {folder}")

    def find(self, name: str) -> Path:
        """Return the file that a row names: a path, or a ``file:`` URL, inside of the folder.

        Raises
        ------
        PermissionError
            If it is outside, also by a link, or may not be read.
        FileNotFoundError
            If it is not there, or is no file.
        """
        try:
            path = unquote(urlsplit(name).path) if name.startswith("file://") else name
            found = (self.folder / path).resolve()
            is_file = found.is_file()
        except (OSError, ValueError, RuntimeError):
            raise FileNotFoundError(f"{name}: no such file in the folder of media") from None
        if not found.is_relative_to(self.folder):
            raise PermissionError(f"{name}: leaves the folder of media, so it is not shown")
        if not is_file or kind_of(found.name) is None:
            raise FileNotFoundError(f"{name}: no such file in the folder of media")
        if not os.access(found, os.R_OK):
            raise PermissionError(f"{name}: may not be read by the server")
        return found

    def address(self, name: str) -> str:
        """Return what `find` takes again for a file, without telling where the folder is."""
        path = self.find(name).relative_to(self.folder).as_posix()
        try:
            path.encode()
        except UnicodeEncodeError:
            raise FileNotFoundError(f"{name}: cannot be asked for, as its name is not in UTF-8") from None
        return path


def kind_of(value: str) -> Literal["image", "audio"] | None:
    """Tell by its ending whether a text names an image or a sound."""
    if not value or len(value) > 1000 or "\n" in value:
        return None
    suffix = "." + value.rpartition(".")[2].lower()
    return "image" if suffix in IMAGES else "audio" if suffix in SOUNDS else None


def type_of(path: Path) -> str:
    """Return the media type of a file."""
    suffix = path.suffix.lower()
    return _TYPES.get(suffix) or mimetypes.types_map.get(suffix) or "application/octet-stream"
