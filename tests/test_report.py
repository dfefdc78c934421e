"""What a selection tells of the pool: rows, files, time, and where its scores stand among all."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise.report import Report
from pickwise.score_sample import MOST, ScoreSample, level_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(3), 5000).astype("f4")
BOUND = 0.015
"""How far a share may be off, 19 times in 20."""


def write(folder, p, files=5):
    for number, part in enumerate(np.array_split(p, files)):
        columns = {f"p_{i}": part[:, i].copy() for i in range(p.shape[1])}
        pq.write_table(pa.table(columns | {"other": np.zeros(len(part))}), folder / f"{number}.parquet")


def sample_of(scores, start=0, step=None):
    """Take scores chunk by chunk, as a selection does."""
    sample = ScoreSample()
    step = step or max(1, len(scores))
    for at in range(0, len(scores), step):
        part = scores[at : at + step]
        places, positions = sample.wanted(start + at, len(part))
        sample.add(positions, part[places])
    return sample


def assert_same(one, other):
    mine, theirs = one.state(), other.state()
    assert mine["level"] == theirs["level"]
    for name in ("positions", "scores"):
        np.testing.assert_array_equal(mine[name], theirs[name])


def test_rows_files_and_time(tmp_path):
    write(tmp_path, PROBABILITIES)
    report = pw.select(tmp_path, 10, "entropy", probabilities="p_*").report
    assert (report.rows, report.files, report.resumed) == (5000, 5, 0)
    assert (report.skipped, report.failed) == ({}, {})
    groups = [pq.ParquetFile(file).metadata.row_group(0) for file in tmp_path.iterdir()]
    assert report.size == sum(group.column(i).total_compressed_size for group in groups for i in range(3))
    assert 0 < report.reading < 10
    assert 0 < report.scoring < 10
    first, second, third = repr(report).splitlines()
    assert first == f"Report of 5,000 rows of 5 parts, {report.size / 1e6:,.1f} MB"
    assert second.startswith("  reading 0.")
    assert third.startswith("  scores: least 0.")
    np.testing.assert_allclose(report.scores.scores, pw.entropy(PROBABILITIES, dtype=np.float64), rtol=1e-12)
    assert report.scores.positions.tolist() == list(range(5000))


def test_repr_of_much(tmp_path):
    report = Report(rows=10**9, files=1000, resumed=400, size=4 * 10**10, reading=100.0, scoring=40.5)
    report.skipped = {f"{i}.parquet": 5 for i in range(9)}
    report.failed = {"a.parquet": "cut short"}
    rows = np.arange(10**5) / 10**5
    report.scores = sample_of(rows)
    assert repr(report).splitlines() == [
        "Report of 1,000,000,000 rows of 1,000 parts (400 before the checkpoint), 40,000.0 MB",
        "  reading 100.00 s, scoring 40.50 s",
        f"  45 invalid rows skipped in {', '.join(f'{i}.parquet (5)' for i in range(5))} and 4 more",
        "  1 failed: a.parquet (cut short)",
        repr(report).splitlines()[-1],
    ]
    assert repr(report).endswith("(of a sample)")


def test_pools_in_memory_have_none():
    for strategy in ("entropy", "power", "softrank", "k_center"):
        assert pw.select(PROBABILITIES, 5, strategy, random_state=0).report is None
    assert pw.select(iter([PROBABILITIES]), 5).report.rows == 5000


def test_invalid_rows_are_not_in_the_sample(tmp_path):
    p = PROBABILITIES.copy()
    bad = np.random.default_rng(1).random(5000) < 0.1
    p[bad] = np.nan
    write(tmp_path, p)
    selection = pw.select(tmp_path, 10, "margin", probabilities="p_*", invalid="skip")
    report = selection.report
    per_file = np.add.reduceat(bad, np.arange(0, 5000, 1000))
    assert report.skipped == {str(tmp_path / f"{i}.parquet"): count for i, count in enumerate(per_file)}
    assert selection.skipped == bad.sum()
    assert report.rows == 5000
    np.testing.assert_array_equal(np.sort(report.scores.positions), np.flatnonzero(~bad))
    np.testing.assert_allclose(np.sort(report.scores.scores), np.sort(pw.margin(p[~bad], dtype="f8")), rtol=1e-9)
    assert f"{bad.sum()} invalid rows skipped in" in repr(report)


def test_rows_that_a_filter_leaves_out_are_not_counted(tmp_path):
    write(tmp_path, PROBABILITIES)
    report = pw.select(tmp_path, 10, probabilities="p_*", filters=[("p_0", "<", 0.1)]).report
    passing = PROBABILITIES[:, 0] < 0.1
    assert report.rows == passing.sum()
    np.testing.assert_array_equal(report.scores.positions, np.flatnonzero(passing))


@pytest.mark.parametrize(("strategy", "score"), [("power", "margin"), ("softmax", "entropy"), ("random", None)])
def test_scores_are_without_noise(tmp_path, strategy, score):
    np.save(tmp_path / "p.npy", PROBABILITIES)
    chosen = {"power": pw.PowerSampling(score="margin"), "softmax": pw.SoftmaxSampling(score="entropy")}
    report = pw.select(tmp_path / "p.npy", 10, chosen.get(strategy, strategy), random_state=0).report
    expected = np.empty(0) if score is None else getattr(pw, score)(PROBABILITIES, dtype=np.float64)
    np.testing.assert_allclose(report.scores.scores, expected, rtol=1e-12)
    if score is None:
        assert "scores" not in repr(report)
        assert np.isnan(report.scores.quantile(0.5))
        assert report.scores.share_above(0.0) == 0.0


def test_scores_of_all_kinds(tmp_path):
    logits = np.log(PROBABILITIES)
    members = np.random.default_rng(2).dirichlet(np.ones(3), (3, 5000)).astype("f4")
    given_scores = np.random.default_rng(3).normal(size=5000)
    p = PROBABILITIES[:, 0]
    labels = np.random.default_rng(4).random((5000, 4))
    cases = [
        (logits, pw.Entropy(from_logits=True, temperature=2.0), pw.entropy(logits, from_logits=True, temperature=2.0)),
        (members, "bald", pw.bald(members, dtype=np.float64)),
        (given_scores, "given", given_scores),
        (p, "margin", pw.margin(p)),
        (labels, "max_loss", pw.max_loss(labels)),
    ]
    for number, (pool, strategy, expected) in enumerate(cases):
        path = tmp_path / f"{number}.npy"
        np.save(path, pool)
        report = pw.select(path, 10, strategy).report
        assert report.rows == 5000
        np.testing.assert_allclose(report.scores.scores, expected, rtol=2e-6, atol=1e-7)


def test_where_the_last_selected_row_stands(tmp_path):
    np.save(tmp_path / "p.npy", PROBABILITIES)
    selection = pw.select(tmp_path / "p.npy", 500, "entropy")
    assert selection.report.scores.share_above(selection.scores[-1]) == 499 / 5000
    assert selection.report.scores.share_above(-np.inf) == 1
    shares, edges = selection.report.scores.histogram(10)
    assert shares.sum() == pytest.approx(1)
    assert len(edges) == 11


def test_it_comes_along(tmp_path):
    write(tmp_path, np.tile(PROBABILITIES, (10, 1)))
    selection = pw.select(tmp_path, 10, "entropy", probabilities="p_*")
    again = pickle.loads(pickle.dumps(selection))
    assert again == selection
    assert repr(again.report) == repr(selection.report)
    assert_same(again.report.scores, selection.report.scores)
    state = json.loads(json.dumps(selection.report.state()))
    assert_same(Report.of(state).scores, selection.report.scores)
    assert len(pickle.dumps(selection)) < 1 << 20


def test_a_state_is_a_copy():
    report = Report(skipped={"a": 1}, failed={"b": "cut short"})
    both = report.with_more(Report(skipped={"a": 2}, failed={"c": "gone"}))
    assert (report.skipped, report.failed) == ({"a": 1}, {"b": "cut short"})
    assert (both.skipped, both.failed) == ({"a": 3}, {"b": "cut short", "c": "gone"})


ROWS = 6 * MOST + 17
SCORES = np.random.default_rng(5).normal(size=ROWS)


@given(data=st.data())
def test_the_sample_depends_on_rows_alone(data):
    rows = data.draw(st.integers(0, ROWS), "rows")
    expected = sample_of(SCORES[:rows])
    step = data.draw(st.integers(max(1, rows // 50), max(1, rows)), "step")
    assert_same(sample_of(SCORES[:rows], step=step), expected)
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=5), "cuts"))
    parts = [
        sample_of(SCORES[start:stop], start, data.draw(st.integers(1000, 50_000), "step of a part"))
        for start, stop in zip([0, *cuts], [*cuts, rows], strict=True)
    ]
    merged = ScoreSample()
    for part in data.draw(st.permutations(parts), "order"):
        merged.merge(ScoreSample.of(json.loads(json.dumps(part.state()))))
    assert_same(merged, expected)


@given(data=st.data())
def test_the_sample_of_rows_that_pass_a_filter(data):
    passing = np.flatnonzero(np.random.default_rng(data.draw(st.integers(0, 9))).random(ROWS) < 0.5)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(passing)), max_size=5), "cuts"))
    samples = []
    for bounds in ([], cuts):
        sample = ScoreSample()
        for positions in np.split(passing, bounds):
            places, where = sample.wanted(positions, len(positions))
            np.testing.assert_array_equal(positions[places], where)
            sample.add(where, SCORES[where])
        samples.append(sample)
    assert_same(*samples)
    assert set(samples[0].positions) <= set(passing)
    assert len(passing) / 2 ** samples[0].level <= MOST * 1.1


@pytest.mark.parametrize("rows", [1, 1000, MOST, MOST + 1, 2 * MOST, 3 * MOST, 10**6, 1_234_567])
def test_level(rows):
    sample = sample_of(np.zeros(rows), step=100_000)
    assert sample.level >= level_of(rows)
    assert len(sample.scores) <= MOST
    if rows > MOST:
        assert len(sample.scores) > MOST // 2 - 2
    else:
        assert (sample.level, len(sample.scores)) == (0, rows)
    strata = np.sort(sample.positions) >> sample.level
    np.testing.assert_array_equal(strata, np.unique(strata))  # evenly: one of each stretch of rows


@pytest.mark.parametrize(
    "order", ["random", "sorted", "blocks", "period 2", "period 8", "period 1000", "period 4096", "ties"]
)
def test_quantiles_of_a_million(order):
    rng = np.random.default_rng(6)
    scores, at = rng.random(10**6), np.arange(10**6)
    if order == "sorted":
        scores.sort()
    elif order == "blocks":
        scores = np.repeat(rng.random(200), 5000)
    elif order.startswith("period"):
        period = int(order.split()[1])
        scores = (at % period + scores) / period
    elif order == "ties":
        scores = (scores < 0.3).astype(float)
    sample = sample_of(scores, step=131_072)
    assert sample.level > 0
    whole = np.sort(scores)
    for q in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        score = float(sample.quantile(q))
        below = np.searchsorted(whole, [score, np.nextafter(score, np.inf)]) / len(whole)
        assert below[0] - BOUND <= q <= below[1] + BOUND
        assert abs(sample.share_above(score) - (1 - below[1])) <= BOUND
    shares, edges = sample.histogram(10)
    true, _ = np.histogram(scores, edges)
    assert np.abs(shares - true / len(scores)).max() <= 2 * BOUND


def test_infinite_scores():
    scores = np.array([-np.inf, 0.0, 1.0, np.inf, np.nan])
    sample = ScoreSample()
    sample.add(np.arange(5), scores)
    assert sample.quantile([0, 1]).tolist() == [0.0, 1.0]
    assert sample.share_above(0.5) == 0.5
    assert sample.histogram(2)[0].tolist() == [0.5, 0.5]


def test_many_small_files_are_not_scored_twice(tmp_path, monkeypatch):
    from pickwise import ranking

    scored = []

    def counted(matrix, score, count=ranking.valid_scores):
        scored.append(len(matrix))
        return count(matrix, score)

    p = np.tile(PROBABILITIES, (40, 1))
    for number, part in enumerate(np.array_split(p, 50)):
        np.save(tmp_path / f"{number:02}.npy", part)
    monkeypatch.setattr(ranking, "valid_scores", counted)
    report = pw.select(tmp_path, 10).report
    assert report.rows == len(p)
    assert sum(scored) < 2 * MOST
    np.testing.assert_array_equal(
        np.sort(report.scores.positions), np.sort(sample_of(np.zeros(len(p)), step=7000).positions)
    )
