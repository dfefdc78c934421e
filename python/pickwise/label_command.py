"""Labelling from the command line: ``pickwise label``. Needs Typer, from the extra ``cli``."""

# Typer reads the annotations, so they are evaluated here. What serves the page is imported where it is used: other
# commands do without.

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import pickwise as pw
from pickwise.command_options import listed
from pickwise.command_output import failing_well
from pickwise.project_answers import tell
from pickwise.project_options import WORDS, Folder

if TYPE_CHECKING:
    from pickwise.loop import Project

_WORDS = {
    **WORDS,
    **{
        f"{name}: expected": f"--{name}: expected"
        for name in ("lease", "low", "media", "highlight", "show", "host", "watch")
    },
    "allow_hosts: expected": "--allow-host: expected",
    "pip install 'pickwise[label]'": "pip install 'pickwise[loop,cli,label]'",
}


def label(
    folder: Folder,
    *,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Where to listen; 0.0.0.0 is all addresses."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="PORT", help="0 takes any that is free.")
    ] = 8123,
    lease: Annotated[
        float,
        typer.Option("--lease", min=1, max=86_400, metavar="SECONDS", help="For how long a row is one person's."),
    ] = 120,
    media: Annotated[
        Path | None,
        typer.Option("--media", metavar="FOLDER", show_default=False, help="Of images and sounds that rows name."),
    ] = None,
    guidelines: Annotated[
        Path | None,
        typer.Option("--guidelines", metavar="FILE", show_default=False, help="Text that people go by."),
    ] = None,
    highlight: Annotated[
        str | None,
        typer.Option("--highlight", metavar="REGEX", show_default=False, help="What is marked in texts."),
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            metavar="A,B,C",
            show_default=False,
            help="Columns of the pool to look at. Default: those that the model learns from.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Drive the project, too: fit, and ask for the next rows when few are left.")
    ] = False,
    low: Annotated[
        int | None,
        typer.Option(
            "--low",
            min=0,
            metavar="ROWS",
            show_default=False,
            help="With --watch: how few open rows end a round. Default: a tenth of the batch size; 0 with a budget.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", show_default=False, help="Another name of it; may be repeated."),
    ] = None,
) -> None:
    """Serve a page on which people label what a project asks for.

    \b
    Examples:
      pickwise label reviews
      pickwise label reviews --watch --guidelines guidelines.md --highlight 'free|prize'
      pickwise label photos --media photos/files --host 0.0.0.0
    """  # noqa: D301 - Click's mark for lines to be left as they are
    with failing_well(RuntimeError, words=_WORDS), ExitStack() as held:
        if low is not None and not watch:
            raise typer.BadParameter("expected --watch with it", param_hint="'--low'")
        from pickwise.loop.page import serve

        joined = held.enter_context(pw.Project.join(folder))
        driven = _driven(folder, held) if watch else None
        found = joined.status()
        server = serve(
            joined,
            host=host,
            port=port,
            lease=lease,
            media=media,
            guidelines=guidelines,
            highlight=highlight,
            show=None if show is None else listed(show, "--show"),
            allow_hosts=allow_host or (),
            watch=driven,
            low=low,
            tell=tell,
        )
        held.callback(server.close)
        typer.echo(server.url)
        tell(f"{found.name}: {found.open} rows are open; whoever has this address can label. Ctrl-C ends it.")
        if not found.open and driven is None:
            tell("nothing is asked for now; 'pickwise project ask' begins a round, and --watch does so by itself")
        try:
            server.wait()
        except KeyboardInterrupt:
            tell("ended; all answers are saved")


def _driven(folder: Path, held: ExitStack) -> "Project | None":
    """Open the project to drive it, unless another process does."""
    try:
        return held.enter_context(pw.Project.open(folder))
    except BlockingIOError:
        tell("another process drives this project, so it is not driven here")
        return None
