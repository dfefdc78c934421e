"""Threads do not survive a fork, locks held by them are never released: children must work all the same.

Everything happens in fresh interpreters: other libraries in this one have opinions about forks.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads threads from /proc")

IMPORTS = """
import os, pathlib, sys, threading, time, warnings
import multiprocessing as mp
import numpy as np
import pickwise as pw

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

POOL = np.random.default_rng(0).dirichlet(np.ones(10), 60_000)
SMALL = POOL[:100]

def name_of(task):
    try:
        return (task / "comm").read_text()
    except OSError:  # it has ended since it was listed
        return ""

def threads():
    tasks = pathlib.Path("/proc/self/task").iterdir()
    return sum(name_of(task).startswith("pickwise") for task in tasks)

def settled(expected):
    # A thread gets its name, and ends, in its own time.
    for _ in range(500):
        if threads() == expected:
            return True
        time.sleep(0.01)
    raise AssertionError(f"{threads()} threads, not {expected}")
"""
PRELUDE = f"""{IMPORTS}
EXPECTED = pw.select(POOL, 100, "entropy") if __name__ == "__main__" else None

def started(target, *args, method="fork"):
    process = mp.get_context(method).Process(target=target, args=args)
    process.start()
    return process

def joined(process, seconds=20):
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise SystemExit("the child hangs")
    assert process.exitcode == 0, process.exitcode

def work():
    assert threads() == 0
    assert pw.select(POOL, 100, "entropy") == EXPECTED
    assert settled(pw.get_num_threads())
    np.testing.assert_array_equal(pw.entropy(POOL)[EXPECTED.ids], EXPECTED.scores)
"""


def run(run_python, code, prelude=PRELUDE):
    assert run_python(f"{prelude}{code}\nprint('done')").splitlines()[-1] == "done"


def test_a_child_works_and_so_does_its_parent(run_python):
    code = """
for _ in range(3):
    joined(started(work))
    assert pw.select(POOL, 100, "entropy") == EXPECTED
assert settled(pw.get_num_threads())
"""
    run(run_python, code)


def test_children_at_once_and_children_of_children(run_python):
    code = """
def nested():
    work()
    joined(started(work))
    work_again = pw.select(POOL, 100, "entropy")
    assert work_again == EXPECTED

for child in [started(nested) for _ in range(3)]:
    joined(child)
"""
    run(run_python, code)


def test_a_fork_in_the_middle_of_work(run_python):
    code = """
stop = threading.Event()

def keep_busy():
    while not stop.is_set():
        pw.select(POOL, 100, "entropy")

busy = [threading.Thread(target=keep_busy) for _ in range(2)]
for thread in busy:
    thread.start()
try:
    for _ in range(15):
        joined(started(work))
finally:
    stop.set()
for thread in busy:
    thread.join()
"""
    run(run_python, code)


def test_a_pool_of_forked_workers(run_python):
    code = """
def piece(bounds):
    reducer = pw.reducer("entropy", 100)
    reducer.update(POOL[slice(*bounds)], ids=np.arange(*bounds))
    return reducer

with mp.get_context("fork").Pool(3) as workers:
    parts = workers.map_async(piece, [(start, start + 10_000) for start in range(0, 60_000, 10_000)]).get(30)
first, *others = parts
for other in others:
    first.merge(other)
np.testing.assert_array_equal(first.finish().ids, EXPECTED.ids)
np.testing.assert_array_equal(first.finish().scores, EXPECTED.scores)
"""
    run(run_python, code)


def test_a_fork_before_the_first_call(run_python):
    code = """
def fresh():
    assert threads() == 0
    pw.select(POOL, 100)
    assert settled(pw.get_num_threads())

joined(started(fresh))
pw.select(POOL, 100)
assert settled(pw.get_num_threads())
"""
    run(run_python, code, prelude=PRELUDE.replace('pw.select(POOL, 100, "entropy") if', "None if"))


def test_the_number_of_threads_goes_to_the_child(run_python):
    code = """
def three():
    assert pw.get_num_threads() == 3
    work()
    pw.set_num_threads(1)

pw.set_num_threads(3)
joined(started(three))
assert pw.get_num_threads() == 3
"""
    run(run_python, code)


def test_spawned_and_served_children(run_python, tmp_path):
    script = tmp_path / "script.py"
    code = """
def fresh(ids):
    assert pw.select(POOL, 100, "entropy").ids.tolist() == ids

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        joined(started(fresh, EXPECTED.ids.tolist(), method=method), 60)
    print("done")
"""
    script.write_text(PRELUDE + code)
    # A file, for a spawned child has to import it.
    assert run_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", script) == "done"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_workers_of_a_data_loader(run_python):
    code = """
from torch.utils.data import DataLoader, Dataset

class Pieces(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        reducer = pw.reducer("entropy", 100)
        reducer.update(POOL[i * 10_000 : (i + 1) * 10_000], ids=np.arange(i * 10_000, (i + 1) * 10_000))
        return reducer

first, *others = DataLoader(Pieces(), batch_size=None, num_workers=2, timeout=30, multiprocessing_context="fork")
for other in others:
    first.merge(other)
np.testing.assert_array_equal(first.finish().ids, EXPECTED.ids)
"""
    run(run_python, code.replace("from torch", 'warnings.simplefilter("default")\nfrom torch', 1))


# How many threads there are.


def test_threads_are_started_when_they_are_worth_it(run_python):
    code = """
np.testing.assert_array_equal(pw.select(SMALL, 3).ids.shape, 3)
pw.entropy(SMALL)
print(threads(), end=" ")
pw.entropy(POOL)
print(settled(pw.get_num_threads()))
"""
    assert run_python(IMPORTS + code) == "0 True"


def test_pickwise_num_threads(run_python):
    code = PRELUDE + "n = pw.get_num_threads(); print(n, settled(n))"
    assert run_python(code, PICKWISE_NUM_THREADS="3") == "3 True"
    assert run_python(code, PICKWISE_NUM_THREADS="1") == "1 True"
    unset = run_python(code, PICKWISE_NUM_THREADS="")
    assert unset == f"{len(os.sched_getaffinity(0))} True"
    wrong = """
try:
    import pickwise
except ValueError as error:
    print(error)
"""
    for value in ("0", "-1", "two", "1e9"):
        message = f"PICKWISE_NUM_THREADS={value}: expected a whole number from 1 to 1024"
        assert run_python(wrong, PICKWISE_NUM_THREADS=value) == message


def test_cpu_affinity(run_python):
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})" + PRELUDE
    assert run_python(code + "n = pw.get_num_threads(); print(n, settled(n))") == "1 True"


def test_set_num_threads(run_python):
    code = """
default = pw.get_num_threads()
for n in (4, 1, 3):
    pw.set_num_threads(n)
    assert pw.get_num_threads() == pw.build_info()["threads"] == n
    assert pw.select(POOL, 100, "entropy") == EXPECTED
    assert settled(n)
with pw.num_threads(2):
    pw.entropy(POOL)
    assert settled(2)
pw.entropy(POOL)
assert settled(3)
pw.set_num_threads(None)
pw.entropy(POOL)
assert settled(default)
"""
    run(run_python, code)


def test_a_block_of_threads_leaves_the_default_in_force(run_python):
    code = """
with pw.num_threads(3):
    pass
os.environ["PICKWISE_NUM_THREADS"] = "5"
assert pw.get_num_threads() == 5, pw.get_num_threads()
"""
    run(run_python, code)
