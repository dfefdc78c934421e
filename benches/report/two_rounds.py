"""The page of the two rounds of many machines."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from common import claim_lines, described, saved

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

NAME = "two_rounds"
DRAWN = "k-means++"
COLOURS = {50: "#0072B2", 200: "#D55E00", 1000: "#009E73"}
MARKERS = {"in turn": "o", "by class": "s"}
FILLED = {4: "none", 16: "full"}
MU = (1, 2, 4, 8)
SHOWN_MU = 2
SECONDS = {"round one, slowest": "slowest", "round one, all": "all", "round two": "round two", "radius, all": "pass"}
TARGET = 1.15


def write(folder: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    (folder / "two_rounds.md").write_text(page(machine, benchmarks), encoding="utf-8")
    draw(folder / "two_rounds.svg", machine, benchmarks)
    cells = [cell for benchmark in benchmarks for cell in benchmark["cells"]]
    with (folder / "two_rounds.csv").open("w", newline="", encoding="utf-8") as file:
        names = list(max(cells, key=len))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([shown(cell.get(name, "")) for name in names] for cell in cells)


def shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> str:
    covers = [benchmark for benchmark in benchmarks if benchmark["metric"] != DRAWN]
    draws = [benchmark for benchmark in benchmarks if benchmark["metric"] == DRAWN]
    lines = [
        "# Benchmarks of two rounds",
        "",
        f"Made by `make bench` in one run: {described(machine)}.",
        "",
        "Rows are dealt to 4 or 16 machines. In the first round each reduces its shard to `mu` times `k` rows and",
        "sends these; in the second, one machine picks `k` of all that was sent. Then the radius is measured where",
        "the rows are, and compared with that of `pw.k_center` on one machine that has all rows: 1 is as good.",
        "",
        "Rows are dealt *in turn*, or *by class*: sorted by their classes and cut, so that machines see different",
        "things. Where a shard has no more than `mu` times `k` rows, all are sent and the picks are those of one",
        "machine; such cells are left out. Embeddings are float32, those of sentences scaled to length one. Every",
        "radius is checked to be within the bound that `finish` gives, and those of 50 picks against all distances",
        "in float64. Picks and radii are the same on every machine. Seconds are rough: they are those of one run, in",
        "which the shards took turns on one machine.",
        "",
        "![The ratio of the radii against mu](two_rounds.svg)",
        "",
        *claim_lines(covers),
        "",
        "## Ratio against mu",
        "",
        "The radius over that of one machine, the worst of both numbers of shards and both ways to deal. *Other",
        "first rows*: that of one machine which begins with other rows, so how much greedy k-center varies by",
        "itself.",
        "",
        *by_mu(covers, "other first rows"),
        "",
        "## Ratio against what is sent",
        "",
        "Rows that were sent end up as near to a pick as on one machine; what lies beyond its radius are a few rows",
        "that were not. So what counts is how many are sent for each pick: mu times the shards.",
        "",
        *by_sent(covers),
        "",
        f"## Euclidean, at mu = {SHOWN_MU}",
        "",
        "*Exact* are the seconds of one machine. Of round one there are those of the slowest shard and the sum of",
        "all; of the pass that measures the radius, the sum. *Bound* is the radius that `finish` gives without that",
        "pass, over the exact one.",
        "",
        *at_shown_mu(covers),
        "",
        "## k-means++",
        "",
        "The same with `kmeans++`: the sum of the squared distances to the nearest pick, over that of one machine,",
        "both the means of 3 seeds. *Other seeds*: each draw of one machine over their mean.",
        "",
        *by_mu(draws, "other seeds"),
        "",
        "All cells are in [two_rounds.csv](two_rounds.csv).",
        "",
    ]
    return "\n".join(lines)


def by_sent(benchmarks: list[dict[str, Any]]) -> list[str]:
    metrics = list(dict.fromkeys(benchmark["metric"] for benchmark in benchmarks))
    columns = [f"{metric}, {what}" for metric in metrics for what in ("mean", "worst")]
    lines = [f"| mu x shards | {' | '.join(columns)} |", "|--:|" + "--:|" * len(columns)]
    cells = [cell for benchmark in benchmarks for cell in benchmark["cells"]]
    for sent in sorted({cell["mu"] * cell["shards"] for cell in cells}):
        row = [str(sent)]
        for metric in metrics:
            of = [c["ratio"] for c in cells if c["metric"] == metric and c["mu"] * c["shards"] == sent]
            row += [f"{sum(of) / len(of):.3f}", f"{max(of):.3f}"] if of else ["", ""]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def at_shown_mu(benchmarks: list[dict[str, Any]]) -> list[str]:
    columns = "pool", "picks", "shards", "dealt", "ratio", "bound", "exact", *SECONDS.values(), "MB sent", "of all"
    lines = [f"| {' | '.join(columns)} |", "|---|--:|--:|---|" + "--:|" * (len(columns) - 4)]
    for benchmark in benchmarks:
        for cell in cells_of(benchmark, SHOWN_MU) if benchmark["metric"] == "euclidean" else ():
            cells = [
                cell["pool"],
                f"{cell['k']:,}",
                str(cell["shards"]),
                cell["deal"],
                f"{cell['ratio']:.3f}",
                f"{cell['bound']:.2f}",
                *(f"{cell[name]:.2g}" for name in ("exact", *SECONDS)),
                f"{cell['bytes sent'] / 1e6:.3g}",
                f"{100 * cell['bytes sent'] / size_of(benchmark):.2g} %",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def by_mu(benchmarks: list[dict[str, Any]], spread: str) -> list[str]:
    lines = [
        f"| pool | rows x dims | picks | {' | '.join(f'mu = {mu}' for mu in MU)} | {spread} |",
        "|---|--:|--:|" + "--:|" * (len(MU) + 1),
    ]
    for benchmark in benchmarks:
        metric = "" if benchmark["metric"] == DRAWN else f", {benchmark['metric']}"
        about = f"{benchmark['pool']}{metric} | {benchmark['rows']:,} x {benchmark['dims']}"
        for k, exact in benchmark["exact"].items():
            varies = f"{exact['least']:.3f} to {exact['most']:.3f}"
            lines.append(f"| {about} | {int(k):,} | {ratios(benchmark, int(k))} | {varies} |")
    return lines


def ratios(benchmark: dict[str, Any], k: int) -> str:
    worst = worst_by_mu(benchmark, k)
    return " | ".join(f"{worst[mu]:.3f}" if mu in worst else "" for mu in MU)


def worst_by_mu(benchmark: dict[str, Any], k: int) -> dict[int, float]:
    found = {mu: [cell["ratio"] for cell in cells_of(benchmark, mu) if cell["k"] == k] for mu in MU}
    return {mu: max(some) for mu, some in found.items() if some}


def cells_of(benchmark: dict[str, Any], mu: int) -> list[dict[str, Any]]:
    return [cell for cell in benchmark["cells"] if cell["mu"] == mu]


def size_of(benchmark: dict[str, Any]) -> int:
    """Count the bytes of all rows."""
    return 4 * benchmark["rows"] * benchmark["dims"]


def draw(path: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    pools = list(dict.fromkeys(benchmark["pool"] for benchmark in benchmarks))
    metrics = list(dict.fromkeys(benchmark["metric"] for benchmark in benchmarks))
    found = {(benchmark["metric"], benchmark["pool"]): benchmark for benchmark in benchmarks}
    size = 3 * len(pools), 2.6 * len(metrics) + 0.6
    figure, grid = plt.subplots(
        len(metrics), len(pools), figsize=size, sharey="row", layout="constrained", squeeze=False
    )
    for row, metric in zip(grid, metrics, strict=True):
        for axes, pool in zip(row, pools, strict=True):
            if (metric, pool) in found:
                draw_one(axes, found[metric, pool])
            else:
                axes.set_axis_off()
        row[0].set_ylabel("cost / in memory" if metric == DRAWN else "radius / exact")
    handles = [plt.Line2D([], [], color=colour, label=f"{k:,} picks, the worst") for k, colour in COLOURS.items()]
    for deal, marker in MARKERS.items():
        for shards, filled in FILLED.items():
            text = f"{shards} shards, dealt {deal}"
            handles.append(plt.Line2D([], [], color="#555555", ls="", marker=marker, fillstyle=filled, label=text))
    handles.append(plt.Line2D([], [], color="#555555", ls="--", label="target"))
    handles.append(plt.Rectangle((0, 0), 1, 1, color="#dddddd", label="one machine, other first rows or seeds"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(f"Two rounds against one machine with all rows\n{described(machine)}", fontsize=11)
    saved(figure, path)


def draw_one(axes: Axes, benchmark: dict[str, Any]) -> None:
    exact = benchmark["exact"].values()
    axes.axhspan(min(one["least"] for one in exact), max(one["most"] for one in exact), color="#dddddd", lw=0)
    if benchmark["metric"] != DRAWN:
        axes.axhline(TARGET, color="#555555", ls="--", lw=1)
    for k, colour in COLOURS.items():
        worst = worst_by_mu(benchmark, k)
        axes.plot(list(worst), list(worst.values()), color=colour, lw=1.2)
        for cell in (cell for cell in benchmark["cells"] if cell["k"] == k):
            marker, filled = MARKERS[cell["deal"]], FILLED[cell["shards"]]
            axes.plot(cell["mu"], cell["ratio"], marker, color=colour, fillstyle=filled, ms=4.5, alpha=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks(MU, map(str, MU))
    axes.set_xlabel("mu")
    metric = benchmark["metric"]
    axes.set_title(f"{benchmark['pool']}, {metric}, {benchmark['rows']:,} x {benchmark['dims']}", fontsize=9)
