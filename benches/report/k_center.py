"""The page of k-center."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from common import COLOURS, claim_lines, described, saved, write_rows

if TYPE_CHECKING:
    from pathlib import Path

NAME = "k_center"
GROWTH = {"N": "rows", "k": "k", "d": "dims"}


def write(folder: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    (folder / "k_center.md").write_text(page(machine, benchmarks), encoding="utf-8")
    draw(folder / "k_center.svg", machine, benchmarks)
    about = ("pool", "rows", "dims", "k", "share")
    write_rows(folder / "k_center.csv", ("pool", "rows", "dims", "k", "share of distances"), about, benchmarks)


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> str:
    races = [benchmark for benchmark in benchmarks if "pool" in benchmark and "growth" not in benchmark]
    names = [name for name in COLOURS if any(name in race["seconds"] for race in races)]
    lines = [
        "# Benchmarks of k-center",
        "",
        f"Made by `make bench` in one run: {described(machine)}.",
        "",
        "All pick from the same float32 array, beginning with the same row, in turn, and the best round counts.",
        "*NumPy* is the incremental algorithm with BLAS: `d = n + n[c] - 2 * (x @ x[c])`,",
        "`np.minimum(best, d, out=best)`, `argmax`. *numba* is a parallel pass over the array at each pick, at the",
        "speed of memory. Answers are checked before anything is timed: the first picks are those of float64, and the",
        "radii of the others agree with it.",
        "",
        "![Seconds against rows, picks and dimensions](k_center.svg)",
        "",
        *claim_lines(benchmarks),
        "",
        "## Seconds",
        "",
        "Times in italics are those of fewer picks, scaled up by the picks: every pick costs these the same. The share",
        "is that of rows x (picks + labelled rows) distances which pickwise computed, of whatever precision.",
        "",
        f"| pool | rows x dims | picks | share | {' | '.join(names)} |",
        "|---|--:|--:|--:|" + "--:|" * len(names),
    ]
    for race in races:
        cells = [race["pool"], f"{race['rows']:,} x {race['dims']}", f"{race['k']:,}", f"{100 * race['share']:.3g} %"]
        for name in names:
            seconds = race["seconds"].get(name)
            cell = "" if seconds is None else f"{seconds:.3g}"
            cells.append(f"*{cell}*" if name in race["per_row_of"] else cell)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## Growth",
        "",
        "| what grows | rows | dims | picks | seconds | share |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for benchmark in benchmarks:
        for point in benchmark.get("growth", ()):
            figures = f"{point['rows']:,} | {point['dims']} | {point['k']:,} | {point['seconds']:.3g}"
            lines.append(f"| {benchmark['pool']} | {figures} | {100 * point['share']:.3g} % |")
    return "\n".join([*lines, "", "All seconds are in [k_center.csv](k_center.csv).", ""])


def short_table(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"float32, {described(machine)}:",
        "",
        "| pool | picks | seconds | share of distances | over NumPy | over numba |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for race in benchmarks:
        seconds = race["seconds"]
        if "NumPy" not in seconds:
            continue
        ours = seconds["pickwise"]
        cells = [
            f"{race['pool']}, {race['rows']:,} x {race['dims']}",
            f"{race['k']:,}",
            f"{ours:.3g}",
            f"{100 * race['share']:.3g} %",
            f"{seconds['NumPy'] / ours:.3g} x",
            f"{seconds['numba'] / ours:.3g} x",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(path: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    found = {benchmark["axis"]: benchmark for benchmark in benchmarks if "growth" in benchmark}
    figure, grid = plt.subplots(1, len(found), figsize=(4 * len(found), 3.6), layout="constrained", squeeze=False)
    for axes, (axis, benchmark) in zip(grid[0], found.items(), strict=True):
        points = benchmark["growth"]
        x = [point[GROWTH[axis]] for point in points]
        axes.loglog(x, [point["seconds"] for point in points], "o-", color=COLOURS["pickwise"])
        for place, point in zip(x, points, strict=True):
            text = f"{100 * point['share']:.2g} %"
            axes.annotate(text, (place, point["seconds"]), (0, 6), textcoords="offset points", ha="center")
        same = {what: points[0][what] for what in GROWTH.values() if what != GROWTH[axis]}
        axes.set_title(", ".join(f"{value:,} {what if what != 'k' else 'picks'}" for what, value in same.items()))
        axes.set_xlabel({"N": "rows", "k": "picks", "d": "dimensions"}[axis])
        axes.margins(0.12, 0.2)
    grid[0][0].set_ylabel("seconds")
    figure.suptitle(f"k-center; beside the points the share of distances computed\n{described(machine)}", fontsize=11)
    saved(figure, path)
