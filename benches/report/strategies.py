"""The page of strategies that choose rows together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import claim_lines, described, write_rows

if TYPE_CHECKING:
    from pathlib import Path

NAME = "strategies"


def write(folder: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    (folder / "strategies.md").write_text(page(machine, benchmarks), encoding="utf-8")
    about = ("pool", "rows", "k")
    write_rows(folder / "strategies.csv", ("pool", "rows", "k"), about, benchmarks)


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> str:
    lines = [
        "# Benchmarks of strategies that choose rows together",
        "",
        f"Made by `make bench` in one run: {described(machine)}.",
        "",
        "Embeddings are float32, 384 dimensions, around 300 centres, scaled to length one. Answers are checked before",
        "anything is timed, on a part of the pool where the rival can hold no more.",
        "",
        *claim_lines(benchmarks),
        "",
        "## At scale",
        "",
        "One run in a process of its own; the peak is that of the whole process, input and imports included.",
        "",
        "| strategy | rows | picks | seconds | peak GiB |",
        "|---|--:|--:|--:|--:|",
    ]
    scale = [benchmark for benchmark in benchmarks if "strategy" in benchmark]
    for one in scale:
        figures = f"{one['rows']:,} | {one['k']:,} | {one['seconds']['pickwise']:.3g} | {one['peak']:.2g}"
        lines.append(f"| {one['strategy']} | {figures} |")
    lines += [
        "",
        "## What the rivals can hold",
        "",
        "The rival, and pickwise, once on a small pool. From the memory that the rival took there, and how that grows",
        "(with the square of the rows; with the rows for ranked_batch), the largest pool that it can hold in 16 GiB.",
        "*NumPy* stands for apricot (facility_location: all similarities) and modAL (ranked_batch: a pass a pick).",
        "",
        "| strategy | rival | rows | picks | its seconds | ours | times | it can hold |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for one in scale:
        if "rival" in one:
            theirs, ours = one["their_seconds"], one["our_seconds"]
            figures = f"{theirs:.3g} | {ours:.3g} | {theirs / ours:.3g} x | {one['holds']:,} rows"
            lines.append(f"| {one['strategy']} | {one['rival']} | {one['small']:,} | {one['few']:,} | {figures} |")
    lines += ["", "## Seconds", "", "| what | who | seconds |", "|---|---|--:|"]
    for one in benchmarks:
        if "pool" in one:
            for name, seconds in one["seconds"].items():
                scaled = "*" if name in one["per_row_of"] else ""
                lines.append(f"| {one['pool']} | {name} | {scaled}{seconds:.3g}{scaled} |")
    lines += ["", "Those in italics are times of fewer rows or picks, scaled up.", ""]
    return "\n".join([*lines, "All seconds are in [strategies.csv](strategies.csv).", ""])


def short_table(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"float32, 384 dimensions, {described(machine)}:",
        "",
        "| strategy | rows | picks | seconds | peak GiB | a rival holds, in 16 GiB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for one in benchmarks:
        if "strategy" in one:
            holds = f"{one['holds']:,} rows ({one['rival']})" if "rival" in one else ""
            figures = f"{one['rows']:,} | {one['k']:,} | {one['seconds']['pickwise']:.3g} | {one['peak']:.2g}"
            lines.append(f"| {one['strategy']} | {figures} | {holds} |")
    return lines
