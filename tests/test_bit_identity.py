"""A row's score depends on its bytes and the options alone: not on CPU, threads, chunks, layout, or the rows beside it.

Run as a program, this file prints the fingerprints that the processes of different SIMD levels must agree on.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pickwise as pw
from pickwise.arrays import ColumnMatrix

DTYPES: dict[str, Any] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
try:
    import ml_dtypes

    DTYPES["bf16"] = ml_dtypes.bfloat16
except ImportError:
    pass

SIMD_LEVELS: Any = pw.build_info()["simd_available"]
SCORES: dict[str, Any] = {
    "entropy": pw.entropy,
    "margin": pw.margin,
    "least_confidence": pw.least_confidence,
    "ratio": pw.ratio,
}
STRATEGIES: dict[str, Any] = {
    "entropy": pw.Entropy,
    "margin": pw.Margin,
    "least_confidence": pw.LeastConfidence,
    "ratio": pw.Ratio,
}
# Both sides of every width that a kernel may treat apart.
CLASSES = [2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 127, 128, 129, 130, 255, 257, 300]
TASKS: dict[str, Any] = {
    "probabilities": {},
    "logits": {"from_logits": True},
    "cold": {"from_logits": True, "temperature": 0.37},
    "mean": {"task": "multilabel", "how": "mean"},
    "max": {"task": "multilabel", "how": "max"},
    "sum of logits": {"task": "multilabel", "how": "sum", "from_logits": True, "temperature": 3.1},
}


def make(task, rows, classes, dtype, rng):
    """Rows that are valid for a task, sharp ones and blurred ones, with zeros, tiny numbers and ties among them."""
    logits = rng.standard_normal((rows, classes)) * np.exp(rng.uniform(-3, 3, (rows, 1)))
    logits[::5, 0] = logits[::5, -1]
    if "from_logits" in TASKS[task]:
        logits[1::7, 0] = -np.inf
        return logits.astype(dtype)
    if "task" in TASKS[task]:
        p = 1 / (1 + np.exp(-logits))
        p[::3, 0], p[1::3, -1], p[2::7, 0] = 0, 1, 0.5
        return p.astype(dtype)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p[1::4, 0] = 0
    p[p < 1e-30] *= 1e-12  # subnormal in float32, where it is the type
    p[2::9] = np.eye(classes)[(rng.integers(0, classes, len(p[2::9])))]
    return (p / p.sum(1, keepdims=True)).astype(dtype)


def bits(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def fingerprints():
    """Hashes of the scores and selections of a fixed set of arrays."""
    rng = np.random.default_rng(0)
    found = {}
    for task, (kind, dtype), classes in itertools.product(TASKS, DTYPES.items(), CLASSES):
        x = make(task, 67, classes, dtype, rng)
        for name, score in SCORES.items():
            case = f"{name} of {task}, {kind} x {classes}"
            found[case] = bits(score(x, **TASKS[task]))
            found[f"{case}, in f64"] = bits(score(x, **TASKS[task], dtype=np.float64))
            chosen = pw.select(x, 20, STRATEGIES[name](**TASKS[task]))
            found[f"{case}, selected"] = bits(chosen.ids) + bits(chosen.scores)
    for (kind, dtype), (name, score) in itertools.product(DTYPES.items(), SCORES.items()):
        p = rng.random(100_003).astype(dtype)
        found[f"{name} of P(y=1), {kind}"] = bits(score(p)) + bits(score(p, dtype=np.float64))
        chosen = pw.select(p, 5000, name)
        found[f"{name} of P(y=1), {kind}, selected"] = bits(chosen.ids) + bits(chosen.scores)
    found["base"] = bits(pw.entropy(make("logits", 99, 9, float, rng), from_logits=True, base=3))
    found["normalize"] = bits(pw.entropy(make("logits", 99, 9, float, rng), from_logits=True, normalize=True))
    found["random"] = bits(pw.select(range(9999), 100, "random", random_state=3).ids)
    return found


@pytest.fixture(scope="module")
def expected():
    return fingerprints()


@pytest.mark.parametrize("level", SIMD_LEVELS)
def test_simd_levels_give_the_same_bits(level, expected):
    command = [sys.executable, "-W", "error", __file__]
    environment = os.environ | {"PICKWISE_SIMD": level}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("level") == level
    assert [case for case in expected if found[case] != expected[case]] == []
    assert len(found) == len(expected) > 1000


@pytest.mark.parametrize("level", ["portable", "avx2", "avx512", "neon", "AVX2", "best"])
def test_a_level_that_the_cpu_lacks_is_an_error(level, run_python):
    if level in SIMD_LEVELS:
        pytest.skip("this CPU has it")
    code = """
        try:
            import pickwise
        except ValueError as error:
            print(error)
    """
    problem = "this CPU lacks it" if level in ("avx2", "avx512", "neon") else "there is no such level"
    message = run_python(code, PICKWISE_SIMD=level)
    assert message.startswith(f"PICKWISE_SIMD={level}: {problem}; expected one of portable")


# Long enough for several claims of several threads.
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize(("rows", "classes"), [(300_001, 2), (60_001, 10), (5003, 130), (907, 1000)])
def test_large_arrays_on_any_number_of_threads(kind, rows, classes):
    x = make("probabilities", rows, classes, DTYPES[kind], np.random.default_rng(1))
    with pw.num_threads(1):
        one = [score(x) for score in SCORES.values()], [pw.select(x, rows // 10, name) for name in SCORES]
    for threads in (2, 3, 7):
        with pw.num_threads(threads):
            for name, score, scores, chosen in zip(SCORES, SCORES.values(), *one, strict=True):
                np.testing.assert_array_equal(score(x), scores)
                assert pw.select(x, rows // 10, name) == chosen
                if classes < 64:
                    np.testing.assert_array_equal(score(apart(x)), scores)
                    assert pw.select(apart(x), rows // 10, name) == chosen
    # The rows alone, without those before them.
    for name, scores in zip(SCORES, one[0], strict=True):
        np.testing.assert_array_equal(SCORES[name](x[rows - 77 :]), scores[rows - 77 :])


# What the rows look like in memory.


def widened(x):
    """The same rows among others, with a stride of three columns."""
    wide = np.zeros((len(x), 3 * x.shape[1] + 1), x.dtype)
    wide[:, 1::3] = x
    return wide[:, 1::3]


def unaligned(x):
    return np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Any] = {
    "c": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "row strided": lambda x: np.repeat(x, 3, axis=0)[1::3],
    "column strided": widened,
    "column sliced": lambda x: np.hstack([x, x])[:, : x.shape[1]],
    "reversed": lambda x: x[::-1].copy()[::-1],
    "columns reversed": lambda x: x[:, ::-1].copy()[:, ::-1],
    "fortran strided": lambda x: np.repeat(np.asfortranarray(x), 2, axis=0)[::2],
    "unaligned": unaligned,
    "read-only": read_only,
    "swapped": lambda x: x.astype(x.dtype.newbyteorder()) if x.dtype.kind == "f" else x,
}


def apart(x):
    """The same rows as columns here and there, the last one first and some unaligned."""
    columns = [
        np.frombuffer(b"\0" * (at % 2) + column.tobytes(), np.uint8)[at % 2 :].view(x.dtype)
        for at, column in reversed(list(enumerate(x.T)))
    ]
    return ColumnMatrix(columns[::-1], x.dtype)


@st.composite
def cases(draw):
    """A matrix in some layout, what it holds, a score of it, and where it is cut into chunks."""
    task, kind = draw(st.sampled_from(list(TASKS))), draw(st.sampled_from(list(DTYPES)))
    classes, rows = draw(st.integers(1 if "task" in TASKS[task] else 2, 130)), draw(st.integers(1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](make(task, rows, classes, DTYPES[kind], rng))
    cuts = sorted(draw(st.sets(st.integers(0, rows), max_size=4)))
    return x, task, draw(st.sampled_from(list(SCORES))), cuts


def oracle(x, task, name):
    """The definition of a score, in NumPy and float64."""
    options = {"how": "mean", "temperature": 1.0} | TASKS[task]
    p = np.asarray(x, np.float64)
    if "task" in options:
        if "from_logits" in options:
            # The smaller of p and 1 - p decides, and must not be a difference from one.
            small = 1 / (1 + np.exp(np.minimum(np.abs(p / options["temperature"]), 700)))
        else:
            small = np.minimum(p, 1 - p)
        each = of_classes(np.stack([1 - small, small], axis=2), name)
        return {"mean": each.mean, "max": each.max, "sum": each.sum}[options["how"]](1)
    if "from_logits" in options:
        p = np.exp((p - p.max(1, keepdims=True)) / options["temperature"])
        p /= p.sum(1, keepdims=True)
    return of_classes(p, name)


def of_classes(p, name):
    if name == "entropy":
        return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)
    second, first = np.moveaxis(np.sort(p, axis=-1)[..., -2:], -1, 0)
    return {"margin": 1 - (first - second), "least_confidence": 1 - first, "ratio": second / first}[name]


@given(cases())
def test_scores_are_those_of_the_definition(case):
    x, task, name, cuts = case
    expected, score = oracle(x, task, name), SCORES[name]
    double = score(x, **TASKS[task], dtype=np.float64)
    np.testing.assert_allclose(double, expected, rtol=1e-13, atol=1e-14 * max(1, expected.max()))
    scores = score(x, **TASKS[task])
    assert scores.dtype == (np.float64 if x.dtype.itemsize == 8 else np.float32)
    np.testing.assert_allclose(scores, expected, rtol=2e-6, atol=2e-6)
    if task == "probabilities" and name == "entropy":
        np.testing.assert_allclose(scores, expected, rtol=4e-6, atol=1e-30)
    # The same bits in C order, as columns that lie apart, chunk by chunk and row by row.
    plain = np.array(x, x.dtype.newbyteorder("="), order="C")
    np.testing.assert_array_equal(score(plain, **TASKS[task]), scores)
    np.testing.assert_array_equal(score(apart(plain), **TASKS[task]), scores)
    np.testing.assert_array_equal(score(apart(plain), **TASKS[task], dtype=np.float64), double)
    chunks = [score(chunk, **TASKS[task]) for chunk in np.split(x, cuts) if len(chunk)]
    np.testing.assert_array_equal(np.concatenate(chunks), scores)
    middle = len(x) // 2
    np.testing.assert_array_equal(score(x[middle : middle + 1], **TASKS[task]), scores[middle])


@given(cases(), st.integers(1, 90), st.booleans())
def test_selections_do_not_depend_on_chunks_or_layout(case, k, merged):
    x, task, name, cuts = case
    strategy, k = STRATEGIES[name](**TASKS[task]), min(k, len(x))
    chosen = pw.select(x, k, strategy)
    # Decided and told in float64, with the bits of the score itself.
    scores = SCORES[name](x, **TASKS[task], dtype=np.float64)
    np.testing.assert_array_equal(chosen.scores, scores[chosen.indices])
    np.testing.assert_array_equal(chosen.ids, np.lexsort([np.arange(len(x)), -scores])[:k])
    plain = np.array(x, x.dtype.newbyteorder("="), order="C")
    assert pw.select(plain, k, strategy) == chosen
    assert pw.select(apart(plain), k, strategy) == chosen
    ids, whole = np.arange(len(x)), pw.reducer(strategy, k)
    for chunk, own in zip(np.split(x, cuts), np.split(ids, cuts), strict=True):
        if merged:
            part = pw.reducer(strategy, k)
            part.update(chunk, ids=own)
            whole.merge(pw.Reducer.from_bytes(part.to_bytes()))
        else:
            whole.update(chunk, ids=own)
    found = whole.finish()
    np.testing.assert_array_equal(found.ids, chosen.ids)
    np.testing.assert_array_equal(found.scores, chosen.scores)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fingerprints() | {"level": pw.build_info()["simd"]}))
