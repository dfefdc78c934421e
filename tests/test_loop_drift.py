"""Drift: exact figures by hand, silence where nothing has changed, and each kind of change seen and named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pickwise.loop.drift import Drift, compare, population_stability
from pickwise.loop.profile import Profile

pytest.importorskip("scipy")

CLASSES = ("a", "b", "c")


def profile(seed, rows=800, *, prior=(0.3, 0.3, 0.4), shift=0.0, new=0.0, classes=CLASSES):
    """Draw a probe: predictions by a prior, and embeddings of three clusters, moved, or some of them far away."""
    rng = np.random.default_rng(seed)
    of = rng.choice(3, rows, p=prior)
    p = rng.dirichlet(np.ones(3), rows)
    p[np.arange(rows), of] += 1.5
    p /= p.sum(1, keepdims=True)
    # Embeddings do not follow the classes here, so that each can drift alone.
    x = np.eye(6)[rng.integers(3, size=rows)] * 4 + rng.normal(size=(rows, 6)) + shift
    x[rng.random(rows) < new] += [0, 0, 0, 0, 0, 12]
    ranked = np.sort(p, 1)
    return Profile(
        scores=1 - ranked[:, -1] + ranked[:, -2], probabilities=p, classes=classes, embeddings=x.astype("f4")
    )


LABELLED = profile(99, 60).embeddings


def test_psi_by_hand():
    before = np.arange(100.0)
    # Half of the first two tenths have gone to the third.
    after = np.concatenate(
        [np.arange(5.0), np.arange(10.0, 15.0), np.tile(np.arange(20.0, 30.0), 2), np.arange(30.0, 100.0)]
    )
    expected = 2 * (0.05 - 0.1) * np.log(0.05 / 0.1) + (0.2 - 0.1) * np.log(0.2 / 0.1)
    assert population_stability(before, after) == pytest.approx(expected, rel=1e-12)


def test_psi_of_empty_bins_is_finite():
    before = np.arange(100.0)
    after = np.full(100, 1e9)
    expected = 9 * (1e-4 - 0.1) * np.log(1e-4 / 0.1) + (1 - 0.1) * np.log(1 / 0.1)
    assert population_stability(before, after) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("moved", [-1.0, 1.0])
def test_psi_sees_a_constant_move_to_either_side(moved):
    constant = np.zeros(50)
    assert population_stability(constant, constant) == 0
    assert population_stability(constant, constant + moved) > 10


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_psi_is_never_negative_and_0_of_the_same(before, after):
    one, other = np.array(before), np.array(after)
    assert population_stability(one, one) == 0
    assert population_stability(one, other) >= 0
    assert population_stability(one, np.repeat(other, 2)) == pytest.approx(population_stability(one, other))


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([40, 200, 700]))
def test_two_samples_of_one_pool_have_not_drifted(seed, rows):
    drift = compare(profile(2 * seed, rows), profile(2 * seed + 1, rows), LABELLED)
    assert not drift.is_large(), drift.reasons()


def test_false_alarms_are_rare():
    alarms = sum(compare(profile(s, 150), profile(s + 1000, 150), LABELLED).is_large() for s in range(40))
    assert alarms <= 2


def test_the_same_probe_is_at_zero():
    one = profile(0)
    drift = compare(one, one, LABELLED)
    assert (drift.psi, drift.ks, drift.class_shift) == (0, 0, 0)
    assert drift.embedding_shift == pytest.approx(0, abs=1e-12)
    assert (drift.ks_p, drift.class_p, drift.embedding_p) == (1, 1, 1)
    assert drift.cover_before == drift.cover_after
    assert len(drift.new_region) == 40


def test_a_shifted_prior_is_seen_in_the_classes_alone():
    drift = compare(profile(1), profile(2, prior=(0.7, 0.1, 0.2)), LABELLED)
    (reason,) = drift.reasons()
    assert reason.startswith("The predicted classes have moved by")
    assert drift.class_shift == pytest.approx(0.4, abs=0.06)
    assert " a 3" in reason


def test_class_shift_by_hand():
    def of(counts, classes):
        p = np.repeat(np.eye(len(counts)), counts, axis=0)
        return Profile(scores=np.zeros(len(p)), probabilities=p, classes=classes)

    # Other columns, another order, and a class that is new: names count.
    drift = compare(of([50, 30, 20], ["x", "y", "z"]), of([10, 20, 40, 30], ["new", "z", "x", "y"]))
    assert drift.classes == ("x", "y", "z", "new")
    assert drift.shares_before == (0.5, 0.3, 0.2, 0.0)
    assert drift.shares_after == (0.4, 0.3, 0.2, 0.1)
    assert drift.class_shift == pytest.approx(0.1)


def test_shifted_embeddings_are_seen():
    drift = compare(profile(3), profile(4, shift=1.0), LABELLED)
    assert any(reason.startswith("The embeddings lie elsewhere") for reason in drift.reasons())
    assert drift.embedding_p == 0.001
    assert drift.psi < 0.1


def test_energy_coefficient_by_hand():
    # Distances of 0 to 1, 1 and 3: E|X - Y| = 5/3, E|X - X'| = 0, E|Y - Y'| = (0 + 0 + 2 + 0 + 0 + 2 + 2 + 2) / 9.
    before = Profile(scores=np.zeros(2), embeddings=np.zeros((2, 1)))
    after = Profile(scores=np.zeros(3), embeddings=np.array([[1.0], [1.0], [3.0]]))
    assert compare(before, after).embedding_shift == pytest.approx((10 / 3 - 8 / 9) / (10 / 3), rel=1e-12)


def test_a_new_cluster_is_seen_and_found():
    after = profile(6, new=0.15)
    drift = compare(profile(5), after, LABELLED)
    assert any("farther from every labelled row" in reason for reason in drift.reasons())
    cluster = np.flatnonzero(after.embeddings[:, 5] > 6)
    np.testing.assert_array_equal(np.sort(drift.new_region[: len(cluster)]), cluster)
    assert drift.cover_after.max > 2 * drift.cover_before.max
    assert drift.cover_after.p95 > drift.cover_before.p95


def test_cover_is_the_distance_to_the_nearest_labelled_row():
    before, after = profile(7, 100), profile(8, 120)
    near = [np.linalg.norm(x.embeddings[:, None].astype("f8") - LABELLED[None], axis=2).min(1) for x in (before, after)]
    drift = compare(before, after, LABELLED)
    assert drift.cover_before.max == pytest.approx(near[0].max())
    assert drift.cover_before.p95 == pytest.approx(np.quantile(near[0], 0.95))
    beyond = np.flatnonzero(near[1] > np.quantile(near[0], 0.95))
    assert sorted(drift.new_region) == beyond.tolist()
    assert np.all(np.diff(near[1][drift.new_region]) <= 0)


def test_a_higher_threshold_quiets_the_scores():
    rng = np.random.default_rng(0)
    drift = compare(Profile(scores=rng.random(500)), Profile(scores=rng.random(500) ** 2))
    assert drift.is_large()
    assert "more than 0.25" in drift.reasons()[0]
    assert not drift.is_large(drift.psi + 0.01)
    with pytest.raises(TypeError, match=r"^threshold: expected a number"):
        drift.is_large("much")


def test_what_is_missing_is_none():
    scores = np.linspace(0, 1, 30)
    drift = compare(Profile(scores=scores), profile(9), LABELLED)
    assert drift.class_shift is drift.embedding_shift is drift.cover_after is None
    assert compare(profile(9), profile(10), LABELLED[:0]).cover_before is None
    assert repr(drift).count("\n") == 1


def test_it_goes_through_json():
    for drift in (
        compare(profile(11), profile(12, new=0.2), LABELLED),
        compare(Profile(scores=[1.0]), Profile(scores=[2])),
    ):
        again = Drift.from_dict(json.loads(json.dumps(drift.to_dict())))
        assert again == drift
        np.testing.assert_array_equal(again.new_region, drift.new_region)
        assert repr(again) == repr(drift)


def test_a_profile_goes_through_a_file(tmp_path):
    for one in (profile(13, 20), profile(13, 20, classes=(3, 1, 2)), Profile(scores=[0.5])):
        one.save(tmp_path / "probe.npz")
        again = Profile.load(tmp_path / "probe.npz")
        assert (again.classes, repr(again)) == (one.classes, repr(one))
        for name in ("scores", "probabilities", "embeddings"):
            np.testing.assert_array_equal(getattr(again, name), getattr(one, name))
    assert [file.name for file in tmp_path.iterdir()] == ["probe.npz"]


def test_damaged_and_unsafe_files_are_refused(tmp_path):
    whole = tmp_path / "probe.npz"
    profile(14, 20).save(whole)
    content = whole.read_bytes()
    np.savez(tmp_path / "pickled.npz", scores=np.array([{}], object), classes=np.frombuffer(b"null", np.uint8))
    np.savez(tmp_path / "other.npz", x=[1])
    np.save(tmp_path / "plain.npy", [1.0])
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "changed.npz").write_bytes(content.replace(b"\x00\x00\x80?", b"\x00\x00\xc0\x7f", 1)[:-30])
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("pickled.npz", "other.npz", "plain.npy", "cut.npz", "changed.npz", "empty.npz"):
        with pytest.raises(ValueError, match=r"^path: expected a saved profile, got .*" + name):
            Profile.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        Profile.load(tmp_path / "none.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    file = tmp_path / "probe.npz"
    profile(15, 20).save(file)
    (tmp_path / ".probe.npz.partial").mkdir()
    with pytest.raises(OSError, match="partial"):
        profile(16, 30).save(file)
    assert len(Profile.load(file)) == 20


def test_arrays_of_the_caller_stay_writeable():
    scores, x = np.zeros(3), np.zeros((3, 2))
    one = Profile(scores=scores, embeddings=x)
    assert scores.flags.writeable
    assert x.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        one.scores[0] = 1


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"scores": []}, ValueError, r"^scores: expected one number a row"),
        ({"scores": [[1.0]]}, ValueError, r"^scores: expected one number a row"),
        ({"scores": [1.0, np.nan]}, ValueError, r"^scores: expected finite numbers, got nan in row 1"),
        ({"scores": [1.0], "probabilities": [[0.5, 0.5]]}, ValueError, r"^probabilities: expected shape \(1, 0\)"),
        (
            {"scores": [1.0], "probabilities": [[0.5] * 2] * 2, "classes": "ab"},
            ValueError,
            r"^probabilities: .*\(1, 2\)",
        ),
        (
            {"scores": [1.0], "probabilities": [[0.5, 0.5]], "classes": "aa"},
            ValueError,
            r"^classes: expected different",
        ),
        ({"scores": [1.0], "probabilities": [[1.0]], "classes": [None]}, TypeError, r"^classes: expected names"),
        ({"scores": [1.0], "embeddings": np.zeros((2, 2))}, ValueError, r"^embeddings: expected 1 rows"),
        ({"scores": [1.0], "embeddings": [[np.inf]]}, ValueError, r"^embeddings: row 0 has inf"),
    ],
)
def test_bad_profiles_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        Profile(**given)


def test_embeddings_of_another_model_are_refused():
    other = Profile(scores=[1.0], embeddings=np.zeros((1, 5)))
    with pytest.raises(ValueError, match=r"^after: expected embeddings of 6 dimensions \(columns\) as before, got 5"):
        compare(profile(17), other)
    with pytest.raises(ValueError, match=r"^labelled: expected embeddings of 6 dimensions"):
        compare(profile(17), profile(18), np.zeros((3, 5)))


def test_plot_has_a_panel_for_each_measure():
    pytest.importorskip("matplotlib")
    whole = compare(profile(19), profile(20), LABELLED).plot()
    assert [axes.get_title(loc="left") for axes in whole.axes] == [
        "score",
        "predicted classes",
        "distance to the nearest labelled row",
    ]
    names = [text.get_text() for text in whole.axes[0].get_legend().get_texts()]
    assert names == ["before", "after"]
    assert len(compare(Profile(scores=[1.0]), Profile(scores=[1.0])).plot().axes) == 1
