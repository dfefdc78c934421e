"""Turns what pytest-benchmark measured into docs/benchmarks and the table in the README."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- benchmarks: made by `make bench` -->", "<!-- benchmarks: end -->"
SHAPES = ["1M x 100", "100k x 1000", "4M x 10", "20M x 2"]
# Okabe and Ito's colours, told apart by the colour-blind; the order is that of the bars, from the top.
COLOURS = {
    "read speed": "#999999",
    "pickwise": "#0072B2",
    "numba": "#E69F00",
    "NumPy": "#D55E00",
    "torch": "#56B4E9",
    "scikit-activeml": "#009E73",
}


def main() -> None:
    results = json.loads(Path(sys.argv[1]).read_text())
    machine = results["machine_info"]
    benchmarks = [benchmark["extra_info"] for benchmark in results["benchmarks"]]
    full = machine["scale"] == 1
    folder = ROOT / ("docs/benchmarks" if full else ".benchmarks/report")
    folder.mkdir(parents=True, exist_ok=True)
    claims = [claim for benchmark in benchmarks for claim in benchmark["claims"]]
    (folder / "engine.md").write_text(page(machine, benchmarks, claims), encoding="utf-8")
    write_seconds(folder / "engine.csv", benchmarks)
    draw(folder / "engine.svg", machine, benchmarks)
    readme = ROOT / "README.md" if full else folder / "README.md"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    table = "\n".join(short_table(machine, benchmarks))
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    missed = [claim for claim in claims if not claim["met"]]
    print(f"{len(claims) - len(missed)} of {len(claims)} targets met; the page is {folder / 'engine.md'}")
    for claim in missed:
        print(f"  missed: {claim['what']}, {shown(claim)}, target {claim['target']}")


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]], claims: list[dict[str, Any]]) -> str:
    missed = sum(not claim["met"] for claim in claims)
    scaled = "" if machine["scale"] == 1 else f"**Only {machine['scale']:g} of the rows: a trial, not a result.**\n\n"
    lines = [
        "# Benchmarks of the engine",
        "",
        f"{scaled}Made by `make bench` in one run: {described(machine)}.",
        "",
        "Pools are float32 and random unless the table says otherwise. Everybody runs in turn, round by round, on the",
        "same array, and the best round counts. All answers are checked before anything is timed. *Read speed* is a",
        "parallel sum over the same array (numba, all threads): what the memory gives to one that only reads.",
        "",
        "![Gigabytes a second of pickwise and others](engine.svg)",
        "",
        "## Targets",
        "",
        f"{len(claims) - missed} of {len(claims)} are met.",
        "",
        "| what | against | measured | target | met |",
        "|---|---|--:|--:|:-:|",
    ]
    for claim in claims:
        met = "yes" if claim["met"] else "**no**"
        target = claim["target"].replace(">=", "≥").replace("<=", "≤")
        lines.append(f"| {claim['what']} | {claim['against']} | {shown(claim)} | {target} | {met} |")
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
        cells = [
            f"{benchmark['score']}, {benchmark['shape']}",
            f"{benchmark['rows'] / ours / 1e6:.3g} M",
            f"{speed(benchmark, 'pickwise'):.3g}",
            f"{seconds['read speed'] / ours:.0%}".replace("%", " %"),
            f"{seconds['NumPy'] / ours:.3g} x",
            f"{seconds['numba'] / ours:.3g} x",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def described(machine: dict[str, Any]) -> str:
    threads = machine["threads"]
    return (
        f"{machine['cpu']}, {threads} thread{'s' * (threads != 1)}, {machine['simd']}, {machine['system']}, "
        f"pickwise {machine['version']}"
    )


def speed(benchmark: dict[str, Any], name: str) -> float | None:
    seconds = benchmark["seconds"].get(name)
    return None if seconds is None else benchmark["bytes"] / seconds / 1e9


def shown(claim: dict[str, Any]) -> str:
    unit = claim["unit"] if claim["unit"].startswith(" ") else f" {claim['unit']}"
    return f"{claim['value']:.3g}{unit}"


def write_seconds(path: Path, benchmarks: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["score", "pool", "rows", "bytes", "who", "seconds"])
        for benchmark in benchmarks:
            if "shape" in benchmark:
                about = [benchmark[key] for key in ("score", "shape", "rows", "bytes")]
                for name, seconds in benchmark["seconds"].items():
                    writer.writerow([*about, name, f"{seconds:.6g}"])


def draw(path: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    mpl.rcParams.update(
        {"svg.hashsalt": "pickwise", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
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
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
