"""What makes no sense is refused: the message names the argument, what was expected, what came and the mend."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import pickwise as pw

SCORES = [pw.entropy, pw.margin, pw.least_confidence, pw.ratio]
POOL = np.random.default_rng(0).dirichlet(np.ones(4), 1000)


def select_margin(x, **options):
    return pw.select(x, 1, pw.Margin(**options))


def update_margin(x, **options):
    pw.reducer(pw.Margin(**options), 1).update(x)


# Every door that probabilities come in by, and what the argument is called there.
DOORS = [
    *(pytest.param(score, "probabilities", id=score.__name__) for score in SCORES),
    pytest.param(select_margin, "pool", id="select"),
    pytest.param(update_margin, "chunk", id="update"),
]
doors = pytest.mark.parametrize(("door", "name"), DOORS)


@doors
@pytest.mark.parametrize(
    ("x", "got"),
    [
        (np.ones((3, 2), np.int64), r"int64; convert with \.astype\(np\.float32\)"),
        (np.ones((3, 2), np.uint8), "uint8"),
        (np.ones((3, 2), bool), "bool"),
        (np.ones((3, 2), complex), "complex128"),
        (np.ones((3, 2), object), "object"),
        (np.ones((3, 2), np.longdouble), "longdouble|float128"),
        (np.array([["0.5", "0.5"]]), "<U3"),
        (np.array([(0.5, 0.5)], dtype=[("a", "f4"), ("b", "f4")]), "a"),
        ([[0.5, None]], "object"),
        ([[True, False]], "bool"),
    ],
)
def test_element_types(door, name, x, got):
    with pytest.raises(TypeError, match=f"^{name}: expected float16, bfloat16, float32 or float64, got .*({got})"):
        door(x)


@doors
@pytest.mark.parametrize("x", [None, 0.5j, {"a": 1}, object()])
def test_no_array_at_all(door, name, x):
    with pytest.raises(TypeError, match=f"^{name}: expected "):
        door(x)


@pytest.mark.parametrize("score", SCORES)
def test_paths_are_for_select(score, tmp_path):
    for path in ("pool.npy", tmp_path):
        with pytest.raises(TypeError, match=r"probabilities: expected an array, .*pickwise\.select"):
            score(path)


@doors
def test_shapes(door, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected the shape \(rows, classes\), .* got 3-D \(2, 3, 4\)"):
        door(np.full((2, 3, 4), 0.25))
    with pytest.raises(ValueError, match=rf"^{name}: expected the shape \(rows, classes\), .* got 0-D"):
        door(np.array(0.5))
    with pytest.raises(ValueError, match=f"^{name}: expected at least 2 classes .*, got 0"):
        door(np.empty((3, 0)))
    with pytest.raises(ValueError, match=f"^{name}: expected at least 2 classes .*, got 1; .* 1-D"):
        door(np.ones((3, 1)))
    with pytest.raises(ValueError, match=f"^{name}: expected rows of equal length"):
        door([[0.5, 0.5], [1.0]])


@pytest.mark.parametrize(("door", "name"), DOORS[:-1])
@pytest.mark.parametrize("x", [[], np.empty(0), np.empty((0, 3)), np.empty((0, 3), np.float16)], ids=repr)
def test_empty_pool(door, name, x):
    with pytest.raises(ValueError, match=f"^{name}: expected at least one row, got none"):
        door(x)


def test_empty_chunks_are_fine_but_an_empty_stream_is_not():
    reducer = pw.reducer("margin", 1)
    reducer.update(np.empty((0, 3)))
    reducer.update([])
    with pytest.raises(ValueError, match="expected at least one row, got none"):
        reducer.finish()
    with pytest.raises(ValueError, match="expected at least one row, got none"):
        pw.select(iter([]), 1)
    with pytest.raises(ValueError, match="expected at least one row, got none"):
        pw.select(np.empty((0, 3)), 1, "random")


@doors
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.1, 1.2])
def test_values(door, name, dtype, value):
    x = POOL.astype(dtype)
    x[17, 2] = x[18, 0] = x[900, 3] = value
    before = x.copy()
    shown = f"{float(dtype(value)):.7g}"
    message = f"^{name}: row 17 holds {shown} in column 2, expected a number from 0 to 1; 3 of 1000 rows are invalid; "
    with pytest.raises(ValueError, match=message):
        door(x)
    np.testing.assert_array_equal(x, before)


@doors
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 5e-3), (np.float32, 1e-3), (np.float64, 1e-5)])
def test_sums(door, name, dtype, tolerance):
    x = np.full((1000, 4), 0.25, dtype)
    x[17] = 0.125
    message = f"^{name}: row 17 sums to 0.5, expected 1 within {tolerance:g}; 1 of 1000 rows is invalid; .*from_logits"
    with pytest.raises(ValueError, match=message):
        door(x)
    step = np.finfo(dtype).eps
    x[17] = [0.25, 0.25, 0.25, 0.25 + 0.8 * tolerance - step]
    door(x)
    x[17] = [0.25, 0.25, 0.25, 0.25 + 1.2 * tolerance + step]
    with pytest.raises(ValueError, match="row 17 sums to 1"):
        door(x)


@pytest.mark.parametrize(
    ("strategy", "more"),
    [("auto", {}), ("entropy", {}), ("power", {}), ("auto", {"embeddings": POOL}), ("softmax", {})],
)
def test_who_passes_logits_is_told_how_to_say_so(strategy, more):
    logits = np.log(POOL) * 2
    with pytest.raises(ValueError, match="invalid; pass") as told:
        pw.select(logits, 5, strategy, **more)
    mend = re.search(r"pass (\w+)=(pw\.\w+\(from_logits=True\)) for logits", str(told.value))
    chosen = eval(mend[2])
    if mend[1] == "score":
        chosen = type(pw.strategies.resolve(strategy))(score=chosen)
    assert len(pw.select(logits, 5, chosen, **more)) == 5


@doors
def test_one_dimension(door, name):
    x = np.full(100, 0.5, np.float32)
    x[41] = 1.5
    with pytest.raises(ValueError, match=f"^{name}: row 41 holds 1.5 in column 0, expected a number from 0 to 1"):
        door(x)


@doors
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits(door, name, value):
    x = np.random.default_rng(0).normal(size=(100, 3)) * 20
    door(x, from_logits=True)
    x[5, 1] = value
    with pytest.raises(
        ValueError, match=f"^{name}: row 5 holds {value} in column 1, expected a number below infinity; 1 of"
    ):
        door(x, from_logits=True)


def test_rows_of_a_frame_are_counted_across_blocks(monkeypatch):
    pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    monkeypatch.setattr("pickwise.arrays.BLOCK_BYTES", 8 * 4 * 100)
    frame = pd.DataFrame({"a": POOL[:, 0]})
    for i in range(1, 4):
        frame[i] = POOL[:, i]
    frame.loc[[250, 251, 999], 1] = np.nan
    with pytest.raises(ValueError, match=r"row 250 holds nan in column 1, .*; 3 of 1000 rows are invalid"):
        pw.entropy(frame)
    with pytest.raises(ValueError, match=r"row 250 holds nan in column 1, .*; 3 of 1000 rows are invalid"):
        pw.select(frame, 3)
    monkeypatch.setattr("pickwise.arrays.MOST_APART", 3)
    with pytest.raises(ValueError, match=r"row 250 holds nan in column 1, .*; 2 of the first 300 rows are invalid"):
        pw.select(frame, 3)


def test_rows_of_a_stream_have_their_position_in_it():
    chunks = [POOL[:400], POOL[400:].copy()]
    chunks[1][7] = 0.5
    with pytest.raises(ValueError, match=r"pool: row 407 sums to 2, .*; 1 of the first 1000 rows is invalid"):
        pw.select(iter(chunks), 3)


def test_a_chunk_that_is_refused_is_not_taken(monkeypatch):
    pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    monkeypatch.setattr("pickwise.arrays.BLOCK_BYTES", 8 * 4 * 100)
    bad = pd.DataFrame({"a": POOL[:, 0]})
    for i in range(1, 4):
        bad[i] = POOL[:, i]
    bad.loc[999, 1] = np.nan
    reducer = pw.reducer("margin", 5)
    reducer.update(POOL)
    state = reducer.to_bytes()
    for chunk in (bad, bad.to_numpy()):
        with pytest.raises(ValueError, match="row 1999 "):
            reducer.update(chunk)
        assert reducer.to_bytes() == state


@pytest.mark.parametrize("k", [0, -1, np.int64(-3)])
def test_k_below_one(k):
    for call in (lambda: pw.select(POOL, k), lambda: pw.reducer("margin", k)):
        with pytest.raises(ValueError, match=f"k: expected at least 1, got {int(k)}"):
            call()


@pytest.mark.parametrize("k", [True, 2.0, "2", None, np.float64(3), np.bool_(True)])
def test_k_of_another_type(k):
    for call in (lambda: pw.select(POOL, k), lambda: pw.reducer("margin", k)):
        with pytest.raises(TypeError, match="k: expected an integer, got"):
            call()


def test_k_above_the_rows():
    with pytest.raises(ValueError, match="k: expected at most 1000, of 1000 rows, got 1001; clip=True"):
        pw.select(POOL, 1001)
    with pytest.raises(ValueError, match="k: expected at most 1000, of 1000 rows, got 1001"):
        pw.select(iter([POOL]), 1001)
    with pytest.raises(ValueError, match="k: expected less than"):
        pw.reducer("margin", 10**30)
    bad = POOL.copy()
    bad[:10] = np.nan
    message = r"k: expected at most 985, of 1000 rows \(5 excluded, 10 invalid and skipped\), got 990"
    with pytest.raises(ValueError, match=message):
        pw.select(bad, 990, exclude=range(500, 505), invalid="skip")


def test_ids_of_the_wrong_length():
    for ids in (range(999), np.arange(1001), [f"n{i}" for i in range(999)]):
        with pytest.raises(ValueError, match=f"ids: expected 1000, one for each row, got {len(ids)}"):
            pw.select(POOL, 3, ids=ids)
        with pytest.raises(ValueError, match="ids: expected"):
            pw.select(iter([POOL[:500], POOL[500:]]), 3, ids=ids)
        with pytest.raises(ValueError, match=f"ids: expected 1000, one for each row, got {len(ids)}"):
            pw.reducer("margin", 3).update(POOL, ids=ids)


def test_repeated_ids():
    ids = np.arange(1000)
    ids[700] = 41
    with pytest.raises(ValueError, match="ids: 41 occurs at 41 and at 700; ids must be unique"):
        pw.select(POOL, 3, ids=ids)
    with pytest.raises(ValueError, match="ids: 'n41' occurs at 41 and at 700; ids must be unique"):
        pw.select(POOL, 3, ids=[f"n{i}" for i in ids])
    chunks = [(POOL[:500], ids[:500]), (POOL[500:], ids[500:])]
    with pytest.raises(ValueError, match="ids of the selected rows: 41 occurs"):
        pw.select(iter(chunks), 1000)


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(4.0),
        np.array([True, False, True, False]),
        [True, False, True, False],
        [1, "a", 2, "b"],
        [1, None, 2, 3],
        [1.0, 2.0, 3.0, 4.0],
        "abcd",
        np.array([object()] * 4),
        np.array(["2024-01-01"] * 4, "M8[D]"),
    ],
    ids=repr,
)
def test_ids_of_another_type(ids):
    with pytest.raises(TypeError, match=r"^ids: expected"):
        pw.select(POOL[:4], 1, ids=ids)


def test_ids_that_do_not_fit():
    with pytest.raises(ValueError, match=r"^ids: expected integers below 2\*\*63, got 9223372036854775808"):
        pw.select(POOL[:2], 1, ids=np.array([1, 2**63], np.uint64))
    with pytest.raises(ValueError, match=r"^ids: expected integers of at most 64 bits"):
        pw.select(POOL[:2], 1, ids=[1, 2**63])
    with pytest.raises(ValueError, match=r"^ids: .* is not valid Unicode"):
        pw.select(POOL[:2], 1, ids=["a", "\ud800"])
    with pytest.raises(ValueError, match=r"^ids: expected a 1-D array"):
        pw.select(POOL[:2], 1, ids=np.zeros((2, 2), int))


def test_exclude():
    for mask in (np.zeros(999, bool), np.zeros(1001, bool)):
        with pytest.raises(ValueError, match=f"exclude: the mask has {len(mask)} rows, but the pool has"):
            pw.select(POOL, 3, exclude=mask)
        with pytest.raises(ValueError, match=f"exclude: the mask has {len(mask)} rows, but the pool has"):
            pw.select(iter([POOL[:500], POOL[500:]]), 3, exclude=mask)
    for pool in (POOL, iter([POOL])):
        with pytest.raises(ValueError, match=r"exclude: expected positions below 1000, .* got 1000"):
            pw.select(pool, 3, exclude=[1000])
    with pytest.raises(ValueError, match="exclude: expected positions from 0, got -1"):
        pw.select(POOL, 3, exclude=[5, -1])
    with pytest.raises(TypeError, match="exclude: expected a boolean mask or integer positions, got float64"):
        pw.select(POOL, 3, exclude=np.zeros(1000))
    with pytest.raises(ValueError, match="exclude: expected a 1-D mask"):
        pw.select(POOL, 3, exclude=np.zeros((1000, 4), bool))


def test_a_mask_of_bytes_other_than_0_and_1_excludes_where_it_is_not_0():
    mask = np.zeros(1000, np.uint8)
    mask[:500:2], mask[1:500:2] = 2, 255
    selection = pw.select(POOL, 500, exclude=mask.view(bool))
    assert set(selection) == set(range(500, 1000))
    strided = np.repeat(mask, 2).view(bool)[::2]
    assert pw.select(POOL, 500, exclude=strided) == selection


def test_exclude_ids_of_the_other_kind():
    with pytest.raises(TypeError, match="exclude_ids: expected integers"):
        pw.select(POOL, 3, exclude_ids=["a"])
    with pytest.raises(TypeError, match="exclude_ids: expected strings"):
        pw.select(POOL, 3, ids=[str(i) for i in range(1000)], exclude_ids=[1])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"strategy": "entropie"}, ValueError, "no strategy is called 'entropie'; did you mean 'entropy'"),
        ({"strategy": "xyz"}, ValueError, "the names are auto, entropy, margin, least_confidence, ratio, random"),
        ({"strategy": pw.Margin}, TypeError, "strategy: expected a name or a strategy object"),
        ({"ties": "last"}, ValueError, "ties: expected 'first' or 'random', got 'last'"),
        ({"invalid": "ignore"}, ValueError, "invalid: expected 'raise' or 'skip', got 'ignore'"),
        ({"progress": "yes"}, TypeError, "progress: expected None, True, False or a function, got str"),
        ({"strategy": "random", "random_state": -1}, ValueError, "random_state: expected an integer from 0"),
        ({"strategy": "random", "random_state": "1"}, TypeError, "random_state: expected None, an integer"),
        ({"ties": "random", "random_state": 1.5}, TypeError, "random_state: expected None, an integer"),
        ({"probabilities": "p_*"}, TypeError, r"probabilities='p_\*' names columns, but .* has none"),
        ({"id": "doc_id"}, TypeError, r"id='doc_id' names columns, but .* has none"),
    ],
)
def test_options_of_select(options, error, message):
    with pytest.raises(error, match=message):
        pw.select(POOL, 3, **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pw.Entropy(base=1), "base"),
        (lambda: pw.Entropy(base=-2), "base"),
        (lambda: pw.Margin(temperature=0), "temperature"),
        (lambda: pw.Margin(temperature=np.nan), "temperature"),
        (lambda: pw.Margin(task="binary!"), "task"),  # type: ignore[arg-type]
        (lambda: pw.Margin(task="multilabel", how="median"), "how"),  # type: ignore[arg-type]
        (lambda: pw.entropy(POOL, base=0), "base"),
        (lambda: pw.margin(POOL, temperature=-1), "temperature"),
    ],
)
def test_options_of_scores(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_threads():
    for n in (0, -1):
        with pytest.raises(ValueError, match="threads"):
            pw.set_num_threads(n)


def test_reducers_that_do_not_belong_together():
    first = pw.reducer("random", 3, random_state=0)
    first.update(POOL, ids=range(1000))
    for other, what in (
        (pw.reducer("margin", 3), "strategies"),
        (pw.reducer("random", 4, random_state=0), "k"),
        (pw.reducer("random", 3, random_state=1), "seeds"),
        (pw.reducer("random", 3, random_state=0, ties="random"), "ties"),
    ):
        with pytest.raises(ValueError, match=f"merge: the reducers have different {what}"):
            first.merge(other)
    with pytest.raises(TypeError, match="merge: expected a Reducer, got int"):
        first.merge(3)  # type: ignore[arg-type]
    positions, more = pw.reducer("margin", 3), pw.reducer("margin", 3)
    positions.update(POOL)
    more.update(POOL)
    with pytest.raises(ValueError, match="ids"):
        positions.merge(more)


def test_chunks_that_do_not_belong_together():
    reducer = pw.reducer("margin", 3)
    reducer.update(POOL, ids=range(1000))
    with pytest.raises(ValueError, match="chunk: expected 4 classes, as before, got 3 classes"):
        reducer.update([[0.5, 0.5, 0.0]], ids=[1000])
    with pytest.raises(ValueError, match=r"chunk: expected 4 classes, as before, got 1-D P\(y=1\)"):
        reducer.update([0.5], ids=[1000])
    with pytest.raises(ValueError, match="chunk: expected integer ids, as before, got no ids"):
        reducer.update(POOL)
    with pytest.raises(ValueError, match="chunk: expected integer ids, as before, got string ids"):
        reducer.update(POOL[:1], ids=["a"])
    assert reducer.rows == 1000


def test_damaged_bytes():
    reducer = pw.reducer("margin", 3)
    reducer.update(POOL)
    data = reducer.to_bytes()
    for damaged in (b"", b"junk", data[:20], data[:-1], data[:-40], data + b"x", data.replace(b"margin", b"nigram")):
        with pytest.raises(ValueError, match=r"^from_bytes: "):
            pw.Reducer.from_bytes(damaged)


def test_bad_input_leaves_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = POOL.copy()
        x[0] = np.nan
        assert pw.select(x, 3, invalid="skip").skipped == 1
