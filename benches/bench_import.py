"""What ``import pickwise`` adds to ``import numpy``."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def bench_import(race) -> None:
    run("import pickwise; pickwise.entropy")
    race.rival("import numpy", lambda: run("import numpy"))

    race.run(lambda: run("import pickwise"))

    added = race.seconds["pickwise"] - race.seconds["import numpy"]
    race.claim("import pickwise", "import numpy", added, "<= 0.1", " s more")
