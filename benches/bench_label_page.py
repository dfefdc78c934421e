"""The page for labelling under load: how long the next row and the confirmation of an answer take, of 10,000 rows.

Twenty people answer over HTTP, each as soon as the last answer is confirmed, which is hundreds of times the pace of
people; and then at a pace that is merely fast, of 1200 an hour. ``python benches/bench_label_page.py`` prints it.
"""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import pickwise as pw
from pickwise.loop import FunctionModel

ROWS, PEOPLE, SECONDS = 10_000, 20, 20
CLASSES = ["ham", "spam", "other"]
# The server has a process of its own, as it would have; this one is the people.
SERVER = """
import sys
import pickwise as pw
with pw.Project.join(sys.argv[1]) as project, project.label() as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


def a_project(folder: Path, rows: int) -> None:
    def predict_proba(_, x):
        return np.full((len(x), len(CLASSES)), 1 / len(CLASSES))

    model = FunctionModel(fit=print, predict_proba=predict_proba, classes=CLASSES)  # nothing is fitted
    with pw.Project.create(folder, np.zeros((rows, 4)), model=model, classes=CLASSES, batch_size=rows) as project:
        project.ask()


def labels(url: str, seconds: float, pause: float, took: dict[str, list[float]], answered: Counter[str]) -> None:
    """Label for a while, as one person does."""
    parts, token = urlsplit(url), url.partition("token=")[2]
    line = http.client.HTTPConnection(parts.netloc)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    about = {"annotator": secrets.token_hex(4), "session": secrets.token_hex(8)}

    def ask(path: str, **fields: object) -> dict[str, object]:
        line.request("POST", path, json.dumps({**about, **fields}), headers)
        reply = line.getresponse()
        told = json.loads(reply.read())
        assert reply.status == 200, told
        return told

    have = [task["key"] for task in ask("/api/next", want=5)["tasks"]]
    end = time.perf_counter() + seconds
    while have and time.perf_counter() < end:
        time.sleep(pause * np.random.default_rng().uniform(0, 2))
        item = have.pop(0)
        began = time.perf_counter()
        told = ask(
            "/api/answer", item=item, key=secrets.token_hex(8), kind="label", label="ham", seconds=1, have=have, want=5
        )
        took["confirmed"].append(time.perf_counter() - began)
        answered[item] += 1
        have += [task["key"] for task in told["tasks"]]
        began = time.perf_counter()
        ask("/api/next", have=have, want=5)
        took["next"].append(time.perf_counter() - began)
    line.close()


def measured(
    folder: Path, *, rows: int = ROWS, people: int = PEOPLE, seconds: float = SECONDS, pause: float = 0
) -> str:
    """Let people label, and say how long they waited."""
    a_project(folder, rows)
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    url = child.stdout.readline().strip()
    took, answered = {"next": [], "confirmed": []}, Counter()
    threads = [threading.Thread(target=labels, args=(url, seconds, pause, took, answered)) for _ in range(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child.communicate()
    with pw.Project.join(folder) as project:
        assert project.status().answers == sum(answered.values()) == len(answered)  # none lost, none twice
    said = [f"{len(answered):,} answers, {len(answered) / seconds:.0f} a second"]
    for what, times in took.items():
        median, p99 = np.percentile(times, [50, 99]) * 1000
        said.append(f"{what}: median {median:.1f} ms, p99 {p99:.1f} ms")
    return "; ".join(said)


def bench_people_at_work(benchmark, tmp_path, scale):
    """A short run, so that it is seen to work: the figures are those of the script."""
    rows = max(100, int(ROWS * scale))
    said = benchmark.pedantic(lambda: measured(tmp_path / "p", rows=rows, people=4, seconds=2), rounds=1)
    assert "p99" in said


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print(f"{ROWS:,} rows, {PEOPLE} people, without a pause: {measured(Path(place) / 'a')}")
        print(f"{ROWS:,} rows, {PEOPLE} people, 1200 an hour each: {measured(Path(place) / 'b', pause=3)}")
