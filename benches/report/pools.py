"""The page of pools that need not fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import claim_lines, described, write_rows

if TYPE_CHECKING:
    from pathlib import Path

NAME = "pools"
HEADER = ["| who | seconds | M rows/s | GB/s | peak MiB |", "|---|--:|--:|--:|--:|"]


def write(folder: Path, machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> None:
    (folder / "pools.md").write_text(page(machine, benchmarks), encoding="utf-8")
    about = ("pool", "rows", "bytes")
    write_rows(folder / "pools.csv", about, about, benchmarks)


def page(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> str:
    lines = [
        "# Benchmarks of pools larger than memory",
        "",
        f"Made by `make bench` in one run: {described(machine)}.",
        "",
        "The rows are what a logistic regression says of the digits of MNIST that it was not trained on, again and",
        "again, each time with a little noise on the logits; float32, in Parquet files as pyarrow writes them:",
        "Snappy, row groups of up to 1M rows. Everybody goes through the files in turn, with as many threads as",
        "pickwise, and the best round counts. The files are in the cache of the operating system. Gigabytes are",
        "those of the matrix.",
        "",
        "All select the 1000 rows of the highest entropy. Those of pickwise must be the same rows, with the same",
        "scores; of the others, some of whom compute in float32, scores must agree within 2e-6, and rows but for",
        "those as near to the last. *Read and drop* is pyarrow going through the files for nothing, in each way",
        "that it has; the fastest is what pickwise is held against. The peak is that of a process of its own,",
        "imports included.",
        "",
        *claim_lines(benchmarks),
    ]
    for one in benchmarks:
        lines += ["", f"## {one['pool']}", "", *HEADER, *rows_of(one, one["seconds"])]
    return "\n".join([*lines, "", "All seconds are in [pools.csv](pools.csv).", ""])


def rows_of(one: dict[str, Any], names: Any) -> list[str]:
    lines = []
    for name in sorted(names, key=one["seconds"].__getitem__):
        seconds, peak = one["seconds"][name], one["peaks"][name]
        figures = f"{seconds:.3g} | {one['rows'] / seconds / 1e6:.3g} | {one['bytes'] / seconds / 1e9:.3g}"
        lines.append(f"| {name} | {figures} | {'' if peak is None else round(peak)} |")
    return lines


def short_table(machine: dict[str, Any], benchmarks: list[dict[str, Any]]) -> list[str]:
    largest = max(benchmarks, key=lambda one: (one["rows"], len(one["seconds"])))
    dropping = [name for name in largest["seconds"] if name.startswith("read and drop")]
    fastest = min(dropping, key=largest["seconds"].__getitem__)
    names = [name for name in largest["seconds"] if name not in dropping or name == fastest]
    title = f"{largest['pool']}, float32, Parquet, {described(machine)}:"
    return [title, "", *HEADER, *rows_of(largest, names)]
