"""Turns what pytest-benchmark measured into docs/benchmarks and the tables in the README."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import engine
import engines
import k_center
import pools
import strategies
import two_rounds
from common import shown

import loop

ROOT = Path(__file__).resolve().parents[2]
PAGES = (engine, engines, k_center, strategies, pools, two_rounds, loop)


def main() -> None:
    results = json.loads(Path(sys.argv[1]).read_text())
    machine = results["machine_info"]
    full = machine["scale"] == 1
    folder = ROOT / ("docs/benchmarks" if full else ".benchmarks/report")
    folder.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        about = [benchmark["extra_info"] for benchmark in results["benchmarks"]]
        benchmarks = [benchmark for benchmark in about if benchmark.get("page", engine.NAME) == page.NAME]
        if not benchmarks:
            continue
        page.write(folder, machine, benchmarks)
        if hasattr(page, "short_table"):
            text = replaced(text, page.NAME, page.short_table(machine, benchmarks))
        claims = [claim for benchmark in benchmarks for claim in benchmark["claims"]]
        missed = [claim for claim in claims if not claim["met"]]
        print(f"{len(claims) - len(missed)} of {len(claims)} targets met; the page is {folder / page.NAME}.md")
        for claim in missed:
            print(f"  missed: {claim['what']}, {shown(claim)}, target {claim['target']}")
    (ROOT / "README.md" if full else folder / "README.md").write_text(text, encoding="utf-8")


def replaced(text: str, name: str, lines: list[str]) -> str:
    """Put a table between the marks that the README has for it."""
    begin, end = f"<!-- {name} benchmarks: made by `make bench` -->", f"<!-- {name} benchmarks: end -->"
    before, rest = text.split(begin)
    table = "\n".join(lines)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    main()
