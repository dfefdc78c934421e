"""The page of engines: what Ray costs on one machine, and what that makes of larger clusters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from common import claim_lines, described, write_rows

if TYPE_CHECKING:
    from pathlib import Path

NAME = "engines"
WORKERS = (1, 2, 4, 8, 16, 32, 64)

# The pool that the model is about, the files that make a task, states merged by one task, and the network.
POOL, TASK, FAN_IN, NETWORK = 1e12, 128 * 2**20, 16, 1.25e9


def write(folder: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    (folder / "engines.md").write_text(page(machine, benchmarks), encoding="utf-8")
    write_rows(folder / "engines.csv", ("pool", "rows", "bytes"), ("shape", "rows", "bytes"), measured(benchmarks))


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> str:
    lines = [
        "# Benchmarks of engines",
        "",
        f"Made by `make bench` in one run: {described(machine)}.",
        "",
        "A selection by entropy of a row in a thousand, from Parquet files of float32 that are in the page cache. Ray",
        "runs on the same machine, with as many CPUs as this process has threads, one task a file; so it can only be",
        "slower.",
        "",
        *(claim_lines(benchmarks) if any(one["claims"] for one in benchmarks) else []),
        "## Measured",
        "",
        "| pool | who | seconds |",
        "|---|---|--:|",
    ]
    for one in measured(benchmarks):
        names = {"pickwise": "a Ray cluster that runs", "pickwise, cluster started for it": "one started for the call"}
        lines += [f"| {one['shape']} | {names.get(who, who)} | {value:.3g} |" for who, value in one["seconds"].items()]
    for one in benchmarks:
        if "costs" in one:
            lines += modelled(one["costs"], one["k"])
    return "\n".join([*lines, "", "All seconds are in [engines.csv](engines.csv).", ""])


def modelled(costs: dict[str, float], k: int) -> list[str]:
    states = math.ceil(POOL / TASK)
    return [
        "",
        "## Modelled",
        "",
        f"Not measured: a model of 1 TB in files of 128 MiB and k = {k:,}, out of what one core was measured to do.",
        "",
        "| what | measured |",
        "|---|--:|",
        f"| read and score, one core | {costs['score'] * 1e9:.3g} s a GB |",
        f"| hand out a task and hear of it | {costs['task'] * 1e3:.3g} ms |",
        f"| the state of a task, with its sample of scores | {costs['state'] / 1e6:.3g} MB |",
        f"| merge two | {costs['merge'] * 1e3:.3g} ms |",
        "",
        "Tasks go to whoever is free; the driver hands them out one after the other, beside the work. States travel",
        "once a level, at 10 Gbit/s a worker, and are merged 16 at a time. Storage is taken to be as fast as the",
        "workers are, and no worker to be slower than the others.",
        "",
        "| workers of one core | seconds | times one | of which merging |",
        "|--:|--:|--:|--:|",
        *(
            f"| {workers} | {sum(model(costs, states, workers)):,.0f} | "
            f"{sum(model(costs, states, 1)) / sum(model(costs, states, workers)):.3g} x | "
            f"{model(costs, states, workers)[1]:.2g} s |"
            for workers in WORKERS
        ),
    ]


def model(costs: dict[str, float], tasks: int, workers: int) -> tuple[float, float]:
    """Return the seconds of the tasks and of the merging."""
    work = math.ceil(tasks / workers) * (costs["score"] * TASK + costs["task"])
    merging, states = 0.0, tasks
    while states > 1:
        groups = math.ceil(states / FAN_IN)
        one = FAN_IN * (costs["merge"] + costs["state"] / NETWORK) + costs["task"]
        merging += math.ceil(groups / workers) * one
        states = groups
    return max(work, tasks * costs["task"]), merging


def measured(benchmarks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in benchmarks if "shape" in one]
