"""A loop that stops too early wastes a model, one that never stops wastes labels, and one must be able to say why."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

import pickwise as pw
from pickwise.loop.history import Round, State
from pickwise.loop.probe import probe_metrics
from pickwise.loop.stopping import (
    CRITERIA,
    AllOf,
    AnyOf,
    Budget,
    ClassificationChange,
    Criterion,
    DeltaF,
    OverallUncertainty,
    Plateau,
    Rounds,
    StabilizingPredictions,
    Standing,
    Target,
    Time,
)

START = Standing(asked=0, seconds=0.0)


def history_of(metric, values, state=State.trained):
    """Make rounds of the values of a metric; None is a round without."""
    return [
        Round(number=number, state=state, metrics={} if value is None else {metric: value})
        for number, value in enumerate(values)
    ]


def test_budget_counts_labels():
    assert Budget(500).check([], Standing(asked=499, seconds=0)) is None
    reason = Budget(500).check([], Standing(asked=512, seconds=0))
    assert reason == "the budget of 500 labels is spent: 512 rows were asked for"


def test_time():
    assert Time(60).check([], Standing(asked=0, seconds=59.9)) is None
    assert Time(60).check([], Standing(asked=0, seconds=61)) == "61 s have passed, of the 60 s given"


def test_the_seed_and_open_rounds_are_not_counted():
    done = history_of("accuracy", [None] * 3)  # 0 is the seed
    assert Rounds(3).check(done, START) is None
    assert Rounds(3).check([*done, Round(number=3, state=State.closed)], START) is None
    assert Rounds(3).check([*done, Round(number=3, state=State.trained)], START) == "3 of 3 rounds are done"


def test_an_open_round_does_not_hide_what_the_last_model_reached():
    history = [*history_of("accuracy", [0.8, 0.95]), Round(number=2, state=State.collecting)]
    assert Target("accuracy", 0.9).check(history, START) == "accuracy has reached 0.95, at least 0.9"


def test_a_target_that_was_lost_again_is_not_reached():
    assert Target("accuracy", 0.9).check(history_of("accuracy", [0.95, 0.89]), START) is None


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([0.9, 0.901, 0.902, 0.9], True),  # just the gain
        ([0.9, 0.901, 0.9021, 0.9], False),
        ([0.5, 0.6, 0.7, 0.7], False),
        ([0.9, 0.9, 0.9], False),  # nothing before them
        ([0.9, 0.5, 0.5, 0.5], True),  # it fell
        ([None, 0.9, 0.9, 0.9, 0.9], True),
        ([0.9, 0.9, None, 0.9], False),
        ([0.9, 0.9, float("nan"), 0.9], False),
        ([], False),
    ],
)
def test_plateau(values, stops):
    reason = Plateau().check(history_of("accuracy", values), START)
    assert (reason is not None) == stops
    if stops:
        assert reason.startswith("accuracy has not risen by more than 0.002 in the last 3 rounds: best 0.")


def test_figures_of_the_plateau():
    reason = Plateau("macro_f1", rounds=1, gain=0).check(history_of("macro_f1", [0.75, 0.8125, 0.8]), START)
    assert reason == "macro_f1 has not risen by more than 0 in the last round: best 0.8, before 0.8125"


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([None, 0.99, 0.99, 0.99], True),
        ([None, 0.98, 0.99, 1.0], True),  # the mean counts, not each
        ([None, 0.96, 1.0, 1.0], False),
        ([None, 1.0, 1.0], False),  # two only
        ([None, 1.0, None, 1.0, 1.0], False),
    ],
)
def test_stabilizing_predictions(values, stops):
    reason = StabilizingPredictions().check(history_of("agreement", values), START)
    assert reason == (
        "successive models agree: mean kappa of the last 3 rounds 0.9900, at least 0.99" if stops else None
    )


def test_bounds_hold_in_each_round():
    assert DeltaF().check(history_of("delta_f", [0.1, 0.004, 0.003, 0.001]), START) == (
        "the estimated change of F was, in the last 3 rounds, 0.004 at most, below 0.005"
    )
    assert DeltaF().check(history_of("delta_f", [0.001, 0.005, 0.003, 0.001]), START) is None
    assert ClassificationChange().check(history_of("changed", [0.0, 0.0]), START) == (
        "the share of the probe that changed its class was, in the last 2 rounds, 0 at most, below 0.001"
    )
    assert ClassificationChange().check(history_of("changed", [0.002, 0.0]), START) is None
    assert OverallUncertainty().check(history_of("uncertainty", [0.5, 0.04]), START) == (
        "the mean uncertainty on the probe is 0.04, below 0.05"
    )
    assert OverallUncertainty().check(history_of("uncertainty", [0.04, 0.05]), START) is None


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"budget", "rounds", "time"}))
def test_what_was_not_measured_says_nothing(name):
    criterion = CRITERIA[name](**({"metric": "accuracy", "at_least": 0.0} if name == "target" else {}))
    assert criterion.check(history_of("other", [1.0] * 20), START) is None
    assert criterion.check([], START) is None


def test_either_and_both():
    history, standing = history_of("accuracy", [0.95] * 4), Standing(asked=10, seconds=0)
    reached, spent, late = Target("accuracy", 0.9), Budget(10), Time(5)
    assert (reached | late).check(history, standing) == "accuracy has reached 0.95, at least 0.9"
    assert (reached | spent).check(history, standing).count("; ") == 1
    assert (late | Time(9)).check(history, standing) is None
    assert (reached & late).check(history, standing) is None
    assert (reached & spent).check(history, standing) == (
        "accuracy has reached 0.95, at least 0.9; the budget of 10 labels is spent: 10 rows were asked for"
    )


def test_joined_criteria_are_one_list():
    a, b, c = Budget(1), Rounds(2), Time(3)
    assert a | b | c == a | (b | c) == AnyOf((a, b, c))
    assert a & b & c == a & (b & c) == AllOf((a, b, c))
    assert a | b != a & b
    assert repr((a | b) & c) == "(Budget(labels=1) | Rounds(n=2)) & Time(seconds=3.0)"
    assert eval(repr((a | b) & c | c)) == (a | b) & c | c


def test_what_is_no_criterion_is_not_joined():
    with pytest.raises(TypeError):
        Budget(1) | 3
    with pytest.raises(TypeError, match=r"^criteria: expected criteria such as Budget\(labels=500\), got 3$"):
        AnyOf((Budget(1), 3))
    with pytest.raises(ValueError, match=r"^criteria: expected at least one, got none$"):
        AllOf(())


SHARE = st.floats(0, 1)
COUNT = st.integers(1, 9)
SIMPLE = st.one_of(
    st.builds(Budget, st.integers(1, 10**9)),
    st.builds(Rounds, COUNT),
    st.builds(Time, SHARE),
    st.builds(Target, st.sampled_from(["accuracy", "macro_f1"]), SHARE),
    st.builds(Plateau, st.sampled_from(["accuracy", "r2"]), COUNT, SHARE),
    st.builds(StabilizingPredictions, SHARE, COUNT),
    st.builds(OverallUncertainty, SHARE),
    st.builds(ClassificationChange, SHARE, COUNT),
    st.builds(DeltaF, SHARE, COUNT),
)
ANY = st.recursive(
    SIMPLE, lambda few: st.builds(lambda a, b, both: a & b if both else a | b, few, few, st.booleans()), max_leaves=6
)


@given(ANY)
def test_criteria_survive_json_toml_and_repr(criterion):
    tomli_w, tomllib = pytest.importorskip("tomli_w"), pytest.importorskip("tomllib")
    options = criterion.to_dict()
    assert Criterion.from_dict(json.loads(json.dumps(options))) == criterion
    assert Criterion.from_dict(tomllib.loads(tomli_w.dumps({"stop": options}))["stop"]) == criterion
    assert eval(repr(criterion)) == criterion
    assert hash(Criterion.from_dict(options)) == hash(criterion)


METRICS = ("accuracy", "macro_f1", "r2", "agreement", "changed", "delta_f", "uncertainty")


@given(ANY, ANY, st.lists(st.dictionaries(st.sampled_from(METRICS), SHARE)), st.integers(0, 9), SHARE)
def test_joined_criteria_stop_as_their_parts_do(a, b, metrics, labelled, seconds):
    history = [Round(number=i, state=State.trained, metrics=each) for i, each in enumerate(metrics)]
    standing = Standing(asked=labelled, seconds=seconds)
    one, two = (criterion.check(history, standing) for criterion in (a, b))
    assert ((a | b).check(history, standing) is None) == (one is None and two is None)
    assert ((a & b).check(history, standing) is None) == (one is None or two is None)
    assert "" not in (one, two)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Budget(0), "labels: expected at least 1, got 0"),
        (
            lambda: Plateau("log_loss"),
            "metric: expected one of which more is better, such as 'accuracy', got 'log_loss'",
        ),
        (lambda: Plateau(gain=-1), "gain: expected a number of at least 0, got -1.0"),
        (lambda: Target("accuracy", float("nan")), "at_least: expected a number, got nan"),
        (lambda: StabilizingPredictions(kappa=99), "kappa: expected a number from -1 to 1, got 99.0"),
        (lambda: Time("1h"), "seconds: expected a number, got '1h'"),
        (
            lambda: Criterion.from_dict({"criterion": "bugdet"}),
            "criterion: expected one of budget, rounds, .*, got 'bugdet'",
        ),
        (lambda: Criterion.from_dict({"criterion": ["a"]}), r"criterion: expected one of .*, got \['a'\]"),
        (lambda: Criterion.from_dict({"criterion": "budget"}), "budget: expected the options labels, got none"),
        (
            lambda: Criterion.from_dict({"criterion": "plateau", "round": 3}),
            "plateau: expected the options metric, rounds, gain, got round",
        ),
        (
            lambda: Criterion.from_dict({"any": [], "all": []}),
            "any: expected a list of criteria and nothing else, got .*",
        ),
        (lambda: Criterion.from_dict({"any": ["budget"]}), "criterion: expected a mapping such as .*, got 'budget'"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}$"):
        make()


def probabilities(draw, rows, classes):
    return np.random.default_rng(draw).dirichlet(np.ones(classes) / 2, rows)


@given(st.integers(0, 99), st.integers(1, 60), st.integers(2, 6))
def test_probe_metrics_are_those_of_scikit_learn(seed, rows, classes):
    old, new = probabilities(seed, rows, classes), probabilities(seed + 1, rows, classes)
    one, two = old.argmax(1), new.argmax(1)
    metrics = probe_metrics(old, new)
    if len({*one, *two}) > 1:
        assert metrics["agreement"] == pytest.approx(cohen_kappa_score(one, two))
    assert metrics["changed"] == np.mean(one != two)
    assert metrics["delta_f"] == pytest.approx(1 - f1_score(two, one, average="macro"))
    assert metrics["uncertainty"] == pytest.approx(np.mean(pw.entropy(new)) / np.log(classes))


@pytest.mark.parametrize(
    ("table", "kappa"), [((20, 5, 10, 15), 0.4), ((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593)]
)
def test_kappa_of_textbook_tables(table, kappa):
    one, two = np.repeat([0, 0, 1, 1], table), np.repeat([0, 1, 0, 1], table)
    assert probe_metrics(np.eye(2)[one], np.eye(2)[two])["agreement"] == pytest.approx(kappa, abs=5e-5)


def test_delta_f_of_two_classes():
    # The positive class: both say it of 6 rows, one alone of 2, the other alone of 1; of the negative class 11 rows.
    one, two = np.repeat([1, 1, 0, 0], [6, 2, 1, 11]), np.repeat([1, 0, 1, 0], [6, 2, 1, 11])
    positive, negative = 1 - 12 / 15, 1 - 22 / 25
    eye = np.eye(2)
    assert probe_metrics(eye[one], eye[two])["delta_f"] == pytest.approx((positive + negative) / 2)
    column = one[:, None].astype(float), two[:, None].astype(float)
    assert probe_metrics(*column, task="multilabel")["delta_f"] == pytest.approx(positive)


@given(st.integers(0, 99), st.permutations(["a", "b", "c", "d"]))
def test_classes_are_aligned_by_name(seed, names):
    old, new = probabilities(seed, 40, 3), probabilities(seed + 1, 40, 4)
    straight = np.zeros((40, 4))
    straight[:, :3] = old
    expected = probe_metrics(straight, new, classes=["a", "b", "c", "d"])
    order = ["abcd".index(name) for name in names]
    assert probe_metrics(old, new[:, order], classes=names, previous_classes=["a", "b", "c"]) == pytest.approx(expected)
    assert probe_metrics(straight[:, order], new, classes=list("abcd"), previous_classes=names) == pytest.approx(
        expected
    )


def test_a_class_that_is_gone_counts_as_changed():
    metrics = probe_metrics(
        [[0.1, 0.9], [0.9, 0.1]], [[0.9, 0.1]] * 2, classes=["a", "b"], previous_classes=["a", "gone"]
    )
    assert (metrics["changed"], metrics["agreement"], metrics["delta_f"]) == (0.5, 0.0, pytest.approx(1 - (2 / 3) / 2))


def test_models_that_say_one_class_of_all_rows_agree():
    metrics = probe_metrics([[0.9, 0.1]] * 3, [[0.8, 0.2]] * 3)
    assert (metrics["agreement"], metrics["changed"], metrics["delta_f"]) == (1.0, 0.0, 0.0)


def test_the_first_model_has_nothing_to_be_compared_with():
    assert list(probe_metrics(None, [[0.5, 0.5]])) == ["uncertainty"]
    assert probe_metrics(None, [1.0, 2.0], task="regression") == {}


def test_multilabel_is_measured_by_label():
    rng = np.random.default_rng(0)
    old, new = rng.random((50, 3)), rng.random((50, 3))
    one, two = old >= 0.5, new >= 0.5
    metrics = probe_metrics(old, new, task="multilabel")
    kappas = [cohen_kappa_score(one[:, i], two[:, i]) for i in range(3)]
    assert metrics["agreement"] == pytest.approx(np.mean(kappas))
    assert metrics["delta_f"] == pytest.approx(1 - f1_score(two, one, average="macro"))
    assert metrics["changed"] == np.mean(one != two)
    binary = -(new * np.log2(new) + (1 - new) * np.log2(1 - new))
    assert metrics["uncertainty"] == pytest.approx(binary.mean())
    swapped = probe_metrics(
        old[:, [2, 0]], new, classes=["a", "b", "c"], previous_classes=["c", "a"], task="multilabel"
    )
    assert swapped["agreement"] == pytest.approx(np.mean([kappas[0], kappas[2]]))


def test_labels_that_nobody_gives_do_not_change():
    metrics = probe_metrics([[0.1], [0.2]], [[0.2], [0.3]], task="multilabel")
    assert (metrics["agreement"], metrics["changed"], metrics["delta_f"]) == (1.0, 0.0, 0.0)


def test_no_label_in_common_leaves_the_uncertainty():
    metrics = probe_metrics([[0.1]], [[0.2]], classes=["a"], previous_classes=["b"], task="multilabel")
    assert list(metrics) == ["uncertainty"]


def test_regression_has_the_change_alone():
    assert probe_metrics([0.0, 4.0], [1.0, 5.0], task="regression") == {"changed": 0.5}
    assert probe_metrics([3.0, 3.0], [3.0, 3.0], task="regression") == {"changed": 0.0}
    assert probe_metrics([2.0, 2.0], [3.0, 3.0], task="regression") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[1.0, 0.0]], [[1.0, 0.0]] * 2),
            r"previous: expected the 2 rows of current, got shape \(1, 2\), not \(2, 2\)",
        ),
        (([[1.0, 0.0]], [[1.0, 0.0, 0.0]]), "classes: expected them by name, .*"),
        (([1.0], [1.0]), r"current: expected probabilities of shape \(rows, classes\), got shape \(1,\)"),
        (([[1.0, 0.0]], [[2.0, 0.0]]), "probabilities: .*"),
    ],
)
def test_bad_probabilities_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        probe_metrics(*arguments)


def test_class_names_that_do_not_fit_the_columns():
    with pytest.raises(
        ValueError, match=r"^previous_classes: expected 2 different ones, one for each column, got \['a'\]"
    ):
        probe_metrics([[1.0, 0.0]], [[1.0, 0.0]], classes=["a", "b"], previous_classes=["a"])
