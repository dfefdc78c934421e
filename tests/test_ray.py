"""A selection on a Ray cluster is the local one, whatever dies, and leaves nothing running."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import pickwise as pw
from pickwise.pools import Part, open_pool

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

# What Ray leaves open, and what it thinks of its own future.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, CLASSES, DIMS, FILES = 6000, 4, 6, 23
RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
P[::7] = P[3]  # ties
Q = RNG.dirichlet(np.ones(CLASSES), (2, ROWS)).astype(np.float32)
X = RNG.normal(size=(ROWS, DIMS)).astype(np.float32)
NAMES = [f"n{row:05}" for row in RNG.permutation(ROWS)]
TINY = pw.engines.Ray(task_bytes=1)
GROUPS = pw.engines.Ray(task_bytes=50_000)


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    # Workers do not have this module.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        "local",
        num_cpus=4,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=200 << 20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def table(rows):
    columns = {f"p_{column}": P[rows, column] for column in range(CLASSES)}
    for member in range(2):
        columns |= {f"m{member}_{column}": Q[member, rows, column] for column in range(CLASSES)}
    embeddings = pa.FixedSizeListArray.from_arrays(X[rows].reshape(-1), DIMS)
    return pa.table(columns | {"emb": embeddings, "id": np.arange(ROWS)[rows], "name": np.array(NAMES)[rows]})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    ends = [0, *sorted(RNG.choice(np.arange(1, ROWS), FILES - 1, replace=False)), ROWS]
    paths = [folder / f"{number:02}.parquet" for number in range(FILES)]
    for path, start, stop in zip(paths, ends, ends[1:], strict=False):
        pq.write_table(table(slice(start, stop)), path, row_group_size=150)
    return [str(path) for path in paths]


def shuffled(files, seed):
    return [files[place] for place in np.random.default_rng(seed).permutation(len(files))]


OPTIONS = {
    "entropy": {"strategy": "entropy"},
    "margin, ties drawn": {"strategy": "margin", "ties": "random", "random_state": 5},
    "random": {"strategy": "random", "random_state": 1},
    "power": {"strategy": pw.PowerSampling(score="entropy", beta=2), "random_state": 2},
    "softmax": {"strategy": "softmax", "random_state": 3},
    "softrank": {"strategy": "softrank", "random_state": 3},
    "given": {"strategy": "given", "probabilities": "p_1"},
    "ids of a column": {"strategy": "margin", "id": "id"},
    "names": {"strategy": "margin", "id": "name", "exclude_ids": NAMES[:3000]},
    "ids": {"strategy": "entropy", "ids": np.arange(ROWS)[::-1]},
    "filters": {"strategy": "entropy", "filters": [("p_0", ">", 0.3), ("id", "<", 4000)]},
    "exclude": {"strategy": "entropy", "exclude": np.arange(ROWS) % 3 == 0},
    "a committee": {"strategy": "bald", "probabilities": ["m0_*", "m1_*"]},
    "votes": {"strategy": "vote_entropy", "probabilities": ["m0_*", "m1_*"], "filters": [("id", ">", 700)]},
    "auto": {"strategy": "auto", "embeddings": "emb"},
    "hybrid": {"strategy": pw.Hybrid(factor=4), "embeddings": "emb"},
    "prefilter": {"strategy": pw.KCenter(prefilter=3), "embeddings": "emb", "labelled": X[:9] + 1},
    "groups": {"strategy": "entropy", "groups": np.arange(ROWS) % 60, "max_per_group": 1},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_files_of_any_order_in_any_tasks(files, name):
    options = {"probabilities": "p_*"} | OPTIONS[name]
    for seed, engine in enumerate((TINY, GROUPS)):
        # A list of files would be a list of members.
        order = Path(files[0]).parent if isinstance(options["probabilities"], list) else shuffled(files, seed)
        assert pw.select(order, 60, **options, engine=engine) == pw.select(order, 60, **options)


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_tasks_of_any_number_at_a_time(files, cpus):
    """The cluster has four CPUs, so that four, two, or one of these run at a time."""
    engine = pw.engines.Ray(task_bytes=50_000, num_cpus=cpus)
    assert pw.select(files, 99, "margin", probabilities="p_*", engine=engine) == pw.select(
        files, 99, "margin", probabilities="p_*"
    )
    for strategy in ("k_center", "kmeans++"):
        options = {"probabilities": "emb", "random_state": 0}
        found = pw.select(files, 30, strategy, **options, engine=engine)
        assert found == pw.select(files, 30, strategy, **options, engine=GROUPS)


def test_a_task_has_as_many_threads_as_cpus(files):
    pool = open_pool(files[:2], probabilities="p_*")
    pool.parts = [Telling(part) for part in pool.parts]
    with pytest.raises(ValueError, match=r"2 threads of each kind"):
        pw.select(pool, 3, engine=pw.engines.Ray(num_cpus=2))


def test_the_report_is_that_of_all_tasks(files, tmp_path):
    found = pw.select(files, 50, "entropy", probabilities="p_*", engine=TINY).report
    local = pw.select(files, 50, "entropy", probabilities="p_*").report
    assert (found.rows, found.files, found.size, found.failed) == (ROWS, FILES, local.size, {})
    assert found.scores.quantile([0, 0.3, 1]).tolist() == local.scores.quantile([0, 0.3, 1]).tolist()
    assert found.reading > 0
    assert found.scoring > 0
    heard = []
    pw.select(files, 5, probabilities="p_*", engine=TINY, progress=lambda rows, total: heard.append((rows, total)))
    assert heard[-1] == (ROWS, ROWS)
    assert heard == sorted(heard)


def test_npy_files(tmp_path):
    for number, part in enumerate(np.array_split(P, 5)):
        np.save(tmp_path / f"{number}.npy", part)
    np.save(tmp_path / "committee", Q)
    np.save(tmp_path / "embeddings", X)
    for pool in ([tmp_path / f"{number}.npy" for number in (3, 1, 0)], tmp_path / "2.npy"):
        assert pw.select(pool, 50, engine=TINY) == pw.select(pool, 50)
    assert pw.select(tmp_path / "committee.npy", 50, "bald", engine=TINY) == pw.select(Q, 50, "bald")
    # One file is one task, which is exact.
    found, expected = pw.select(tmp_path / "embeddings.npy", 50, "k_center", engine=TINY), pw.k_center(X, 50)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.radius == pytest.approx(expected.radius)


def test_invalid_rows_and_files(files, tmp_path):
    bad = table(slice(0, 100)).to_pandas()
    bad.loc[5, "p_0"] = 3
    path = tmp_path / "bad.parquet"
    bad.drop(columns="emb").to_parquet(path)
    pool = [*files[:9], str(path), *files[9:]]
    options = {"probabilities": "p_*", "engine": TINY}
    with pytest.raises(ValueError, match=r"bad\.parquet, row 5 holds 3 in column 0") as error:
        pw.select(pool, 50, **options)
    assert type(error.value) is ValueError
    found = pw.select(pool, 50, **options, invalid="skip")
    assert found == pw.select(pool, 50, probabilities="p_*", invalid="skip")
    assert found.report.skipped == {str(path): 1}
    data = bytearray(path.read_bytes())
    data[200:2000] = bytes(1800)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.parquet: not a readable Parquet file"):
        pw.select(pool, 50, **options)
    found = pw.select(pool, 50, **options, on_file_error="skip")
    assert found == pw.select(pool, 50, probabilities="p_*", on_file_error="skip")
    assert list(found.report.failed) == [str(path)]
    assert set(found.ids) == set(pw.select(files, 50, probabilities="p_*").ids)


def blocks(kind):
    whole = table(slice(None)).drop(["emb"])
    if kind == "tables":
        return ray.data.from_arrow([whole.slice(start, 900) for start in range(0, ROWS, 900)])
    if kind == "one block":
        return ray.data.from_arrow(whole)
    if kind == "many blocks":
        return ray.data.from_arrow(whole).repartition(40)
    if kind == "pandas":
        return ray.data.from_pandas([part.to_pandas() for part in (whole.slice(0, 2000), whole.slice(2000))])
    if kind == "empty blocks":
        return ray.data.from_arrow([whole.slice(0, 0), whole.slice(0, 5), whole.slice(5, 0), whole.slice(5)])
    arrays = {"p": P, "id": np.arange(ROWS), "name": np.array(NAMES)}
    pieces = [{name: array[start : start + 700] for name, array in arrays.items()} for start in range(0, ROWS, 700)]
    rows = ray.data.range(len(pieces), override_num_blocks=5)
    return rows.map_batches(lambda batch: pieces[batch["id"][0]], batch_size=1, batch_format="numpy")


@pytest.mark.parametrize("kind", ["tables", "one block", "many blocks", "pandas", "empty blocks", "tensors"])
def test_datasets(kind):
    dataset = blocks(kind)
    options = {"probabilities": "p" if kind == "tensors" else "p_*"}
    for known, engine in (("id", TINY), ("name", TINY), ("id", "local")):
        ids = np.arange(ROWS) if known == "id" else NAMES
        expected = pw.select(P, 70, "margin", ids=ids)
        found = pw.select(dataset, 70, "margin", id=known, engine=engine, **options)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert (found.indices == -1).all()
        assert found.report.rows == ROWS


def test_datasets_of_files(tmp_path):
    for number in range(2):
        pq.write_table(table(slice(number * 3000, number * 3000 + 3000)), tmp_path / f"{number}.parquet")
    options = {"id": "id", "probabilities": "p_*", "random_state": 0, "exclude_ids": range(99)}
    expected = pw.select(tmp_path, 70, "power", **options)
    found = pw.select(ray.data.read_parquet(str(tmp_path)), 70, "power", **options, engine=TINY)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_two_rounds_over_a_dataset():
    dataset = ray.data.from_arrow([table(slice(start, start + 1500)) for start in range(0, ROWS, 1500)])
    cover = pw.select(dataset, 30, "k_center", id="id", probabilities="emb", engine=TINY)
    assert cover.radius == pytest.approx(radius_of(cover.ids))
    for engine in (TINY, "local"):
        with pytest.raises(ValueError, match=r"some row holds .* in column 0, expected a number from 0 to 1") as error:
            pw.select(dataset, 3, id="id", probabilities="emb", engine=engine)
        assert type(error.value) is ValueError


def radius_of(rows, labelled=None):
    centers = X[rows] if labelled is None else np.concatenate([X[rows], labelled])
    return np.sqrt(((X[:, None].astype(float) - centers) ** 2).sum(2).min(1).max())


@pytest.mark.parametrize("labelled", [None, X[:5] + 0.1])
@pytest.mark.parametrize("strategy", ["k_center", "kmeans++"])
def test_two_rounds(files, strategy, labelled):
    options = {"probabilities": "emb", "id": "id", "labelled": labelled, "random_state": 0}
    cover = pw.select(files, 40, strategy, **options, engine=TINY)
    assert cover.radius == pytest.approx(radius_of(cover.ids, labelled))
    best = pw.k_center(X, 40, labelled=labelled).radius
    assert cover.radius < (1.5 if strategy == "k_center" else 3) * best
    assert pw.select(files, 40, strategy, **options, engine=TINY) == cover
    # One task is exact.
    assert pw.select(files, 40, strategy, **options, engine=pw.engines.Ray()) == pw.select(
        files, 40, strategy, **options
    )


class Wrapped(Part):
    """A part that does something before it is read; on a worker."""

    travels = True

    def __init__(self, part, marker=None):
        self.part, self.marker = part, marker
        self.name, self.rows, self.size, self.file = part.name, part.rows, part.size, part.file

    def before(self):
        pass

    def batches(self):
        self.before()
        with closing(self.part.batches()) as batches:
            yield from batches

    def chunk(self, batch):
        return self.part.chunk(batch)

    def locate(self, position):
        return self.part.locate(position)


class Telling(Wrapped):
    def before(self):
        if pw.get_num_threads() == pa.cpu_count():
            raise ValueError(f"{pa.cpu_count()} threads of each kind")


class Suicidal(Wrapped):
    def before(self):
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Doomed(Wrapped):
    def before(self):
        if not self.marker.exists():
            self.marker.write_text(f"{os.getpid()}\n")
            time.sleep(60)


class Held(Wrapped):
    """A part that tells when it begins, and waits until it may go on, if it has to."""

    def before(self):
        self.marker.touch()
        deadline = time.monotonic() + 30
        while self.marker.name == "03" and not (self.marker.parent / "go on").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)


class Broken(Wrapped):
    def before(self):
        raise RuntimeError("nobody expects this")


def test_workers_that_die(files, tmp_path):
    expected = pw.select(files, 60, "entropy", probabilities="p_*")
    cover = pw.select(files, 20, "k_center", probabilities="emb", engine=TINY)
    for strategy, columns, right in (("entropy", "p_*", expected), ("k_center", "emb", cover)):
        pool = open_pool(files, probabilities=columns)
        pool.parts = [
            Suicidal(part, tmp_path / f"{strategy} {number}") if number in (2, 17) else part
            for number, part in enumerate(pool.parts)
        ]
        assert pw.select(pool, len(right), strategy, engine=TINY) == right


def test_workers_that_are_killed(files, tmp_path):
    pool, marker = open_pool(files, probabilities="p_*"), tmp_path / "pid"
    pool.parts = [*pool.parts[:7], Doomed(pool.parts[7], marker), *pool.parts[8:]]

    def kill():
        while not (marker.exists() and marker.read_text().endswith("\n")):
            time.sleep(0.02)
        os.kill(int(marker.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert pw.select(pool, 60, engine=TINY) == pw.select(files, 60, probabilities="p_*")
    killer.join()


def test_no_task_begins_after_ctrl_c(files, tmp_path):
    pool = open_pool(files, probabilities="p_*")
    pool.parts = [Held(part, tmp_path / f"{number:02}") for number, part in enumerate(pool.parts)]

    def interrupt():
        while not (tmp_path / "03").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        pw.select(pool, 60, engine=TINY)
    other.join()
    (tmp_path / "go on").touch()
    # The workers are free: what was handed out by then, eight beyond those that were taken, has ended.
    assert pw.select(files, 60, probabilities="p_*", engine=TINY) == pw.select(files, 60, probabilities="p_*")
    assert not [*tmp_path.glob("1[2-9]"), *tmp_path.glob("2?")]


def test_a_selection_goes_on_from_a_checkpoint(files, tmp_path):
    state = tmp_path / "selection.state"
    for strategy, columns in (("entropy", "p_*"), ("k_center", "emb")):

        def stop(rows, total):
            if rows > ROWS // 2:
                raise KeyboardInterrupt

        options = {"strategy": strategy, "probabilities": columns, "exclude_ids": [f"{files[0]}#0"], "engine": TINY}
        with pytest.raises(KeyboardInterrupt):
            pw.select(files, 60, **options, checkpoint=state, progress=stop)
        assert state.exists()
        found = pw.select(files, 60, **options, checkpoint=state)
        assert 0 < found.report.resumed < found.report.files == FILES
        assert not state.exists()
        assert found == pw.select(files, 60, **options)


def test_other_errors_come_out_as_they_are(files):
    pool = open_pool(files, probabilities="p_*")
    pool.parts = [Broken(part) for part in pool.parts]
    with pytest.raises(RuntimeError, match="nobody expects this"):
        pw.select(pool, 3, engine=TINY)


def test_what_does_not_travel_is_refused(files):
    for pool in (P, (P[start : start + 9] for start in range(0, 90, 9)), pa.table({"p": P[:, 0]}), [Q[0], Q[1]]):
        strategy = "bald" if isinstance(pool, list) else "entropy"
        with pytest.raises(TypeError, match="engine: expected"):
            pw.select(pool, 3, strategy, engine=TINY)
    with pytest.raises(TypeError, match="engine: expected"):
        pw.select(Q, 3, "batch_bald", engine=TINY)
    with pytest.raises(ValueError, match=r"engine: typiclust compares .* KCenter"):
        pw.select(files, 3, "typiclust", probabilities="emb", engine=TINY)
    with pytest.raises(ValueError, match="max_per_class: expected engine='local'"):
        pw.select(files, 3, probabilities="p_*", max_per_class=1, engine=TINY)
    dataset = blocks("tables")
    with pytest.raises(ValueError, match="id: expected a column of ids"):
        pw.select(dataset, 3, probabilities="p_*", engine=TINY)
    for option in ({"exclude": [0]}, {"groups": ["a"] * ROWS, "max_per_group": 1}, {"embeddings": X}):
        strategy = "hybrid" if "embeddings" in option else "margin"
        with pytest.raises(ValueError, match=f"{next(iter(option))}: expected None with a Ray dataset"):
            pw.select(dataset, 3, strategy, probabilities="p_*", id="id", engine=TINY, **option)
    with pytest.raises(ValueError, match="checkpoint: expected a pool of files"):
        pw.select(dataset, 3, probabilities="p_*", id="id", engine=TINY, checkpoint="x")
    with pytest.raises(ValueError, match="pool: expected at least one row"):
        pw.select(ray.data.from_items([]), 3, id="id", engine=TINY)
    with pytest.raises(ValueError, match="task_bytes: expected"):
        pw.engines.Ray(task_bytes=0)


EXACT = pw.engines.Ray(exact=True)


@pytest.mark.parametrize("cpus", [1, 2, 4])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_actors_make_the_picks_of_one_machine(files, metric, cpus):
    engine = pw.engines.Ray(exact=True, num_cpus=cpus)
    labelled, barred = X[:9] + 0.1, np.arange(ROWS) % 5 == 0
    options = {"strategy": pw.KCenter(metric=metric), "labelled": labelled, "exclude": barred}
    expected = pw.k_center(X, 60, metric=metric, labelled=labelled, exclude=barred)
    found = pw.select(files, 60, **options, probabilities="emb", engine=engine)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)
    assert found.radius == expected.radius
    assert found.report.rows == ROWS
    assert found.report.files == FILES
    plain = pw.select(files, 60, "k_center", probabilities="emb", id="name", engine=engine)
    assert plain == pw.select(files, 60, "k_center", probabilities="emb", id="name")


def test_actors_that_die(files, tmp_path):
    pool = open_pool(files, probabilities="emb")
    pool.parts = [
        Suicidal(part, tmp_path / part.name[-10:]) if number == 9 else part for number, part in enumerate(pool.parts)
    ]
    assert pw.select(pool, 30, "k_center", engine=EXACT) == pw.select(files, 30, "k_center", probabilities="emb")


def test_what_actors_cannot_do(files, tmp_path):
    for strategy, option in ((pw.KCenter(outliers=2), "outliers"), (pw.KCenter(min_distance=1.0), "min_distance")):
        with pytest.raises(ValueError, match=f"expected no {option}"):
            pw.select(files, 3, strategy, probabilities="emb", engine=EXACT)
    for option in ({"checkpoint": tmp_path / "state"}, {"random_state": 3}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: expected None with exact=True"):
            pw.select(files, 3, "k_center", probabilities="emb", engine=EXACT, **option)
    with pytest.raises(TypeError, match="engine: expected files with exact=True"):
        pw.select(blocks("tables"), 3, "k_center", probabilities="p_*", id="id", engine=EXACT)
    with pytest.raises(ValueError, match=r"k: expected at most 6000"):
        pw.select(files, ROWS + 1, "k_center", probabilities="emb", engine=EXACT)
    odd = X.copy()
    odd[70] = np.nan
    pq.write_table(
        pa.table({"emb": pa.FixedSizeListArray.from_arrays(odd[:100].reshape(-1), DIMS)}), tmp_path / "a.parquet"
    )
    with pytest.raises(ValueError, match=r"a\.parquet, row 70 has nan in column 0"):
        pw.select(tmp_path, 3, "k_center", probabilities="emb", engine=EXACT)
    assert pw.select(tmp_path, 3, "k_center", probabilities="emb", engine=EXACT, invalid="skip").skipped == 1
