"""The published vectors of other libraries, the exact corner cases, and agreement with SciPy and the peers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pickwise as pw

RNG = np.random.default_rng(0)
POOL = RNG.dirichlet(np.full(7, 0.5), 500)
LOGITS = 4 * RNG.standard_normal((500, 7))
SCORES = [pw.entropy, pw.margin, pw.least_confidence, pw.ratio]
DTYPES = [np.float16, np.float32, np.float64]
PEERS = {pw.entropy: "entropy", pw.margin: "margin_sampling", pw.least_confidence: "least_confident"}

# Higher is more informative in all of them.
SCIKIT_ACTIVEML = [[0.2, 0.5, 0.3], [0.1, 0.7, 0.2]]
MODAL = [[0.1, 0.85, 0.05], [0.6, 0.3, 0.1], [0.39, 0.61, 0.0]]


def test_vectors_of_scikit_activeml():
    np.testing.assert_allclose(pw.least_confidence(SCIKIT_ACTIVEML), [0.5, 0.3], rtol=1e-14)
    np.testing.assert_allclose(pw.margin(SCIKIT_ACTIVEML), [0.8, 0.5], rtol=1e-14)
    np.testing.assert_allclose(pw.entropy(SCIKIT_ACTIVEML), [1.02965301, 0.80181855], atol=5e-9)


def test_vectors_of_modal():
    np.testing.assert_allclose(pw.least_confidence(MODAL), [0.15, 0.40, 0.39], rtol=1e-14)
    # modAL's margin is the lead itself, so that it falls as rows become more informative.
    np.testing.assert_allclose(1 - pw.margin(MODAL), [0.75, 0.3, 0.22], rtol=1e-14)
    np.testing.assert_allclose(pw.entropy(MODAL), [0.51818621, 0.89794572, 0.66874809], atol=5e-9)
    np.testing.assert_allclose(pw.ratio(MODAL), [0.1 / 0.85, 0.5, 0.39 / 0.61], rtol=1e-14)


@pytest.mark.parametrize("classes", [2, 3, 15, 16, 17, 64, 127, 128, 129, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_hot_scores_nothing(dtype, classes):
    rows = np.eye(classes, dtype=dtype)
    for score in SCORES:
        for exact in (score(rows), score(rows, dtype=np.float64)):
            np.testing.assert_array_equal(exact, np.zeros(classes))
            assert not np.signbit(exact).any()
    np.testing.assert_array_equal(pw.entropy(rows, base=2), np.zeros(classes))
    np.testing.assert_array_equal(pw.entropy(rows, normalize=True), np.zeros(classes))
    certain = np.where(rows == 1, 0, -np.inf).astype(dtype)
    for score in SCORES:
        np.testing.assert_array_equal(score(certain, from_logits=True), np.zeros(classes))


def test_certain_labels_score_nothing():
    for score in SCORES:
        for dtype in DTYPES:
            np.testing.assert_array_equal(score(np.array([0, 1, 1, 0], dtype)), np.zeros(4))
            rows = np.array([[0, 1, 1], [1, 1, 1]], dtype)
            for how in ("mean", "max", "sum"):
                np.testing.assert_array_equal(score(rows, task="multilabel", how=how), np.zeros(2))


@pytest.mark.parametrize("classes", [2, 3, 10, 16, 17, 100, 128, 130, 1000])
def test_uniform_entropy_is_the_logarithm_of_the_classes(classes):
    double = np.full((3, classes), 1 / classes)
    np.testing.assert_allclose(pw.entropy(double), np.log(classes), rtol=1e-14)
    np.testing.assert_allclose(pw.entropy(double, base=2), np.log2(classes), rtol=1e-14)
    np.testing.assert_allclose(pw.entropy(double, normalize=True), 1, rtol=1e-14)
    single = pw.entropy(double.astype(np.float32))
    np.testing.assert_allclose(single, np.log(classes), atol=2e-6 * max(1, np.log(classes)))
    np.testing.assert_allclose(pw.entropy(np.zeros((3, classes)), from_logits=True), np.log(classes), rtol=1e-14)
    np.testing.assert_array_equal(pw.margin(double), 1)
    np.testing.assert_array_equal(pw.ratio(double), 1)
    np.testing.assert_array_equal(pw.least_confidence(double), 1 - 1 / classes)


def test_entropy_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    np.testing.assert_allclose(pw.entropy(POOL), stats.entropy(POOL, axis=1), rtol=1e-13)
    np.testing.assert_allclose(pw.entropy(POOL, base=10), stats.entropy(POOL, base=10, axis=1), rtol=1e-13)
    single = POOL.astype(np.float32)
    expected = stats.entropy(single.astype(np.float64), axis=1)
    np.testing.assert_allclose(pw.entropy(single), expected, rtol=4e-6)


@pytest.mark.parametrize("temperature", [0.3, 1, 2.5])
def test_softmax_of_scipy(temperature):
    special = pytest.importorskip("scipy.special")
    softmax = special.softmax(LOGITS / temperature, axis=1)
    for score in SCORES:
        np.testing.assert_allclose(
            score(LOGITS, from_logits=True, temperature=temperature), score(softmax), rtol=1e-12, atol=1e-14
        )
    one = LOGITS[:, 0]
    sigmoid = special.expit(one / temperature)
    for score in SCORES:
        np.testing.assert_allclose(
            score(one, from_logits=True, temperature=temperature), score(sigmoid), rtol=1e-12, atol=1e-14
        )


def test_logits_of_any_size():
    for shift in (-1e4, 0, 1e4, 1e300):
        np.testing.assert_allclose(
            pw.entropy([[shift, shift]], from_logits=True), np.log(2), rtol=1e-14, err_msg=str(shift)
        )
    # Where one class is nearly certain, the rest decides: relative accuracy, not absolute.
    logits = np.array([[0.0, -30.0, -31.0], [0.0, -60.0, -700.0]])
    rest = np.exp(logits[:, 1:]).sum(1)
    np.testing.assert_allclose(pw.least_confidence(logits, from_logits=True), rest / (1 + rest), rtol=1e-14)
    tail = np.log1p(rest) - (logits[:, 1:] * np.exp(logits[:, 1:])).sum(1) / (1 + rest)
    np.testing.assert_allclose(pw.entropy(logits, from_logits=True), tail, rtol=1e-12)


@pytest.mark.parametrize("score", PEERS, ids=PEERS.values())
def test_scikit_activeml(score):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        pool = pytest.importorskip("skactiveml.pool")
        expected = pool.uncertainty_scores(POOL, method=PEERS[score])
        with_zeros = pool.uncertainty_scores(np.array(MODAL), method=PEERS[score])
    np.testing.assert_allclose(score(POOL), expected, rtol=1e-12)
    np.testing.assert_allclose(score(MODAL), with_zeros, rtol=1e-12)


def test_torch():
    torch = pytest.importorskip("torch")
    logits = torch.from_numpy(LOGITS)
    softmax = torch.softmax(logits, dim=1)
    entropy = torch.distributions.Categorical(logits=logits).entropy().numpy()
    first, second = torch.topk(softmax, 2, dim=1).values.T.numpy()
    for score, expected in zip(SCORES, [entropy, 1 - (first - second), 1 - first, second / first], strict=True):
        np.testing.assert_allclose(score(softmax), expected, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(score(logits, from_logits=True), expected, rtol=1e-11, atol=1e-14)
    selected = torch.topk(torch.from_numpy(entropy), 20).indices.numpy()
    np.testing.assert_array_equal(pw.select(softmax, 20, "entropy").ids, selected)


def test_jax():
    jax = pytest.importorskip("jax")
    logits = jax.numpy.asarray(LOGITS, dtype="float32")
    softmax = jax.nn.softmax(logits, axis=1)
    expected = jax.scipy.special.entr(softmax).sum(1)
    np.testing.assert_allclose(pw.entropy(softmax), expected, rtol=2e-5)
    np.testing.assert_allclose(pw.entropy(logits, from_logits=True), expected, rtol=2e-5, atol=2e-6)
