"""A project and its page for labelling come together."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pickwise.loop.labelling import Labelling

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from pickwise.annotators.page.serving import LabelServer
    from pickwise.loop.joined import JoinedProject
    from pickwise.loop.project import Project

_MOST_GUIDELINES = 1_000_000


def serve(
    project: JoinedProject,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    lease: float = 120.0,
    media: str | os.PathLike[str] | None = None,
    guidelines: str | os.PathLike[str] | None = None,
    highlight: str | None = None,
    show: Sequence[str] | None = None,
    allow_hosts: Sequence[str] = (),
    framed: bool = False,
    watch: Project | None = None,
    low: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> LabelServer:
    """Serve the page of a project; see `JoinedProject.label`.

    Parameters
    ----------
    watch : Project, optional
        Driven while people label.
    low : int, optional
        How few open rows end a round then; a tenth of the batch size by default.
    tell : callable, optional
        Told what happens, in one line.
    """
    from pickwise.annotators.listening import is_loopback
    from pickwise.annotators.page.app import Look
    from pickwise.annotators.page.media import Media
    from pickwise.annotators.page.serving import LabelServer

    if not 1 <= lease <= 86_400:
        raise ValueError(f"lease: expected 1 to 86400 seconds, got {lease}")
    for name in allow_hosts:
        if not _is_name(name):
            raise ValueError(f"allow_hosts: expected names without ports, got {name!r}")
    look = Look(
        lease=lease,
        media=None if media is None else Media(media),
        guidelines="" if guidelines is None else _read(Path(guidelines)),
        highlight=None if highlight is None else _pattern(highlight),
        hosts=[*allow_hosts, host],
        is_open=not is_loopback(host),
        framed=framed,
    )
    watcher = None
    if watch is not None:
        from pickwise.loop.watching import Watcher

        least = watch.settings.batch_size // 10 if low is None else low
        if least >= watch.settings.batch_size:
            raise ValueError(f"low: expected fewer than the {watch.settings.batch_size} rows of a round, got {least}")
        watcher = Watcher(watch, low=least, tell=tell or (lambda _: None))
    source = Labelling(project._context, show=show)  # noqa: SLF001 - of the same package
    if source.unseen and tell is not None:
        tell(f"people see nothing of a row but its id: {source.unseen}")
    options: dict[str, Any] = {"host": host, "port": port, "tell": tell}
    if watcher is None:
        return LabelServer(source, look, **options)
    server = LabelServer(source, look, note=lambda: watcher.note, ending=watcher.close, **options)
    watcher.keep = server.leases.keep
    watcher.start()
    return server


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8") from None
    if len(text) > _MOST_GUIDELINES:
        raise ValueError(f"{path}: expected guidelines of a million characters or fewer, got {len(text):,}")
    return text


def _is_name(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host.strip("[]"))
        return True
    return re.fullmatch(r"[\w.-]+", host) is not None


def _pattern(highlight: str) -> re.Pattern[str]:
    try:
        return re.compile(highlight)
    except re.error as error:
        raise ValueError(f"highlight: expected a regular expression, got {highlight!r}: {error}") from None
