"""The page of the engine: scores and selections by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from common import COLOURS, claim_lines, described, saved, speed, write_rows

if TYPE_CHECKING:
    from pathlib import Path

SHAPES = ["1M x 100", "100k x 1000", "4M x 10", "20M x 2"]

NAME = "engine"


def write(folder: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    (folder / "engine.md").write_text(page(machine, benchmarks), encoding="utf-8")
    draw(folder / "engine.svg", machine, benchmarks)
    about = ("score", "shape", "rows", "bytes")
    write_rows(folder / "engine.csv", ("score", "pool", "rows", "bytes"), about, benchmarks)


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> str:
    lines = [
        "# Benchmarks of the engine",
        "",
        f"Made by `make bench` in one run: {described(machine)}.",
        "",
        "Pools are float32 and random unless the table says otherwise. Everybody runs in turn, round by round, on the",
        "same array, and the best round counts. All answers are checked before anything is timed. *Read speed* is a",
        "parallel sum over the same array (numba, all threads): what the memory gives to one that only reads.",
        "",
        "![Gigabytes a second of pickwise and others](engine.svg)",
        "",
        *claim_lines(benchmarks),
    ]
    lines += [
        "",
        "## Speed",
        "",
        "Gigabytes of the pool a second. scikit-activeml is given the first 10 million numbers, and its time is scaled",
        "up by the rows. NumPy's margin is `np.partition`; its entropy is `-(p*np.log(np.clip(p,1e-12,1))).sum(1)`.",
        "",
    ]
    names = [name for name in COLOURS if any(name in benchmark.get("seconds", {}) for benchmark in benchmarks)]
    lines += [f"| score | pool | {' | '.join(names)} |", "|---|---|" + "--:|" * len(names)]
    for benchmark in benchmarks:
        if "read speed" in benchmark["seconds"]:
            speeds = [speed(benchmark, name) for name in names]
            cells = " | ".join("" if one is None else f"{one:.3g}" for one in speeds)
            lines.append(f"| {benchmark['score'].replace('_', ' ')} | {benchmark['shape']} | {cells} |")
    lines += ["", "All seconds are in [engine.csv](engine.csv).", ""]
    return "\n".join(lines)


def short_table(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"float32, {described(machine)}:",
        "",
        "| what | rows/s | GB/s | of read speed | over NumPy | over numba |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for benchmark in benchmarks:
        seconds = benchmark["seconds"]
        if "read speed" not in seconds or benchmark["score"] == "least_confidence":
            continue
        ours = seconds["pickwise"]
        millions = benchmark["rows"] / ours / 1e6
        cells = [
            f"{benchmark['score']}, {benchmark['shape']}",
            f"{float(f'{millions:.3g}'):,g} M",
            f"{speed(benchmark, 'pickwise'):.3g}",
            f"{seconds['read speed'] / ours:.0%}".replace("%", " %"),
            f"{seconds['NumPy'] / ours:.3g} x",
            f"{seconds['numba'] / ours:.3g} x",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw(path: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    found = {(b["score"], b["shape"]): b for b in benchmarks if "read speed" in b["seconds"]}
    scores = ["entropy", "margin", "least_confidence"]
    figure, grid = plt.subplots(len(scores), len(SHAPES), figsize=(12, 7.2), sharex=True, layout="constrained")
    fastest = max(speed(b, name) or 0 for b in found.values() for name in b["seconds"])
    for row, score in zip(grid, scores, strict=True):
        for axes, shape in zip(row, SHAPES, strict=True):
            benchmark = found[score, shape]
            names = [name for name in COLOURS if name in benchmark["seconds"]]
            speeds = [speed(benchmark, name) or 0 for name in names]
            bars = axes.barh(names, speeds, color=[COLOURS[name] for name in names])
            axes.bar_label(bars, [f"{one:.3g}" for one in speeds], padding=3)
            axes.invert_yaxis()
            axes.set_xlim(0, 1.25 * fastest)
            axes.tick_params(axis="y", length=0, labelleft=axes is row[0])
            if score == scores[0]:
                axes.set_title(f"{shape} (rows x classes)")
        row[0].set_ylabel(score.replace("_", " "), fontsize=11)
    figure.supxlabel("GB of the pool per second")
    figure.suptitle(f"Scoring float32 probabilities\n{described(machine)}", fontsize=11)
    saved(figure, path)
