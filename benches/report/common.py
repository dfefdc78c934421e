"""What the pages of benchmarks have in common."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind; the order is that of the bars, from the top.
COLOURS = {
    "read speed": "#999999",
    "pickwise": "#0072B2",
    "numba": "#E69F00",
    "NumPy": "#D55E00",
    "torch": "#56B4E9",
    "scikit-activeml": "#009E73",
    "fpsample": "#CC79A7",
}

mpl.rcParams.update({"svg.hashsalt": "pickwise", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def described(machine: dict[str, Any]) -> str:
    threads = machine["threads"]
    trial = "" if machine["scale"] == 1 else f", **only {machine['scale']:g} of the rows: a trial, not a result**"
    return (
        f"{machine['cpu']}, {threads} thread{'s' * (threads != 1)}, {machine['simd']}, {machine['system']}, "
        f"pickwise {machine['version']}{trial}"
    )


def claim_lines(benchmarks: list[dict[str, Any]]) -> list[str]:
    claims = [claim for benchmark in benchmarks for claim in benchmark["claims"]]
    met = sum(claim["met"] for claim in claims)
    others = "" if met == len(claims) else "; [what limits the others](limits.md)"
    lines = [
        "## Targets",
        "",
        f"{met} of {len(claims)} are met{others}.",
        "",
        "| what | against | measured | target | met |",
        "|---|---|--:|--:|:-:|",
    ]
    for claim in claims:
        answer = "yes" if claim["met"] else "**no**"
        target = claim["target"].replace(">=", "≥").replace("<=", "≤")
        lines.append(f"| {claim['what']} | {claim['against']} | {shown(claim)} | {target} | {answer} |")
    return lines


def shown(claim: dict[str, Any]) -> str:
    unit = claim["unit"] if claim["unit"].startswith(" ") else f" {claim['unit']}"
    return f"{claim['value']:.3g}{unit}"


def speed(benchmark: dict[str, Any], name: str) -> float | None:
    seconds = benchmark["seconds"].get(name)
    return None if seconds is None else benchmark["bytes"] / seconds / 1e9


def write_rows(path: Path, header: tuple[str, ...], keys: tuple[str, ...], benchmarks: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, "who", "seconds"])
        for benchmark in benchmarks:
            if keys[1] in benchmark:
                for name, seconds in benchmark["seconds"].items():
                    writer.writerow([*(benchmark.get(key, "") for key in keys), name, f"{seconds:.6g}"])


def saved(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
