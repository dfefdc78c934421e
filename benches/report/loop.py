"""The page of the loop: what it costs beside the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import claim_lines, described, write_rows

if TYPE_CHECKING:
    from pathlib import Path

NAME = "loop"


def write(folder: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    (folder / "loop.md").write_text(page(machine, benchmarks), encoding="utf-8")
    write_rows(folder / "loop.csv", ("what", "rows"), ("shape", "rows"), benchmarks)


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> str:
    lines = [
        "# Benchmarks of the loop",
        "",
        f"Made by `make bench` in one run: {described(machine)}.",
        "",
        "A project in a folder, with SQLite. `Project.seed` imports labels, each into the log, as an answer and as a",
        "row, in one transaction that is on disk when it returns; SQLite by itself writes one table of them.",
        "The status is read by a process that opens the project for it. A round asks for rows, records answers, writes",
        "its files, lets a model learn and keeps it; the model, a product of matrices, is timed by itself.",
        "",
        *claim_lines(benchmarks),
        "",
        "## Seconds",
        "",
        "| what | who | seconds |",
        "|---|---|--:|",
    ]
    for one in benchmarks:
        lines += [f"| {one['shape']} | {who} | {value:.3g} |" for who, value in one["seconds"].items()]
    return "\n".join([*lines, "", "All seconds are in [loop.csv](loop.csv).", ""])
