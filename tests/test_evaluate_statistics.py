"""Statistics of simulations: the figures of the papers that define them, and no claim that curves do not bear out."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from pickwise.evaluate.comparison import compare_datasets
from pickwise.evaluate.curves import Curve
from pickwise.evaluate.significance import (
    critical_difference,
    friedman,
    holm,
    mean_ranks,
    penalties,
    significant_signs,
    wilcoxon,
    wilcoxon_holm,
)
from pickwise.evaluate.simulation import Simulation
from pickwise.evaluate.statistics import (
    area,
    deficiency,
    labels_to,
    labels_to_interval,
    mean_difference,
    normalised_area,
    savings,
)

LABELS = np.array([100.0, 200.0, 400.0])
HEIGHTS = {"margin": [0.5, 0.7, 0.8], "random": [0.5, 0.6, 0.7]}

# Demšar (2006), table 6: C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 datasets. Voting is given there as .972, .981, .975,
# .975 with the ranks 4, 1, 2, 3: it is written here with the digit that these need.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9753, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def simulation(heights, labels=(10, 20, 30), seeds=3, about=None, **changes):
    """Make a simulation of curves that differ by seed, all by the same."""
    curves = [
        Curve(
            strategy=name,
            seed=seed,
            labels=np.array(labels),
            metrics={"accuracy": np.array(curve, float) + seed / 1000},
            **changes,
        )
        for name, curve in heights.items()
        for seed in range(seeds)
    ]
    return Simulation(tuple(curves), about or {})


class TestCurves:
    def test_the_area_weighs_uneven_steps_by_their_width(self):
        assert area(LABELS, [0.5, 0.7, 0.8]) == pytest.approx((100 * 0.6 + 200 * 0.75) / 300)

    def test_the_area_of_many_curves_is_that_of_each(self):
        curves = np.random.default_rng(0).random((2, 4, 3))
        assert area(LABELS, curves).shape == (2, 4)
        assert area(LABELS, curves)[1, 2] == area(LABELS, curves[1, 2])

    def test_a_single_point_has_its_height_as_area(self):
        assert area([50], [0.6]) == 0.6

    def test_the_normalised_area_is_0_for_random_and_1_for_the_whole_pool(self):
        random = [0.5, 0.6, 0.7]
        assert normalised_area(LABELS, random, random, full=0.9) == 0
        assert normalised_area(LABELS, [0.9, 0.9, 0.9], random, full=0.9) == pytest.approx(1)

    def test_there_is_no_normalised_area_where_random_leaves_no_room(self):
        assert np.isnan(normalised_area(LABELS, [0.9] * 3, [0.8] * 3, full=0.8))

    @pytest.mark.parametrize(
        ("level", "expected"), [(0.4, 100), (0.5, 100), (0.6, 150), (0.7, 200), (0.75, 300), (0.8, 400), (0.81, np.nan)]
    )
    def test_labels_to_a_level_are_interpolated(self, level, expected):
        assert labels_to(LABELS, [0.5, 0.7, 0.8], level) == pytest.approx(expected, nan_ok=True)

    def test_the_first_crossing_counts_where_a_curve_falls_again(self):
        assert labels_to(LABELS, [0.5, 0.7, 0.4], 0.6) == 150

    def test_a_level_is_reached_in_spite_of_rounding(self):
        assert labels_to(LABELS, [0.5, 0.6, 0.1 + 0.7], 0.8) == pytest.approx(400)

    def test_unknown_values_are_stepped_over(self):
        assert labels_to(LABELS, [np.nan, 0.7, 0.8], 0.6) == 200

    def test_a_level_that_some_resamples_miss_has_an_open_interval(self):
        values = np.array([[0.5, 0.7, 0.9], [0.5, 0.7, 0.7], [0.5, 0.7, 0.8]])
        found = labels_to_interval(LABELS, values, 0.8)
        assert found.value == pytest.approx(400)
        assert 200 < found.low < 400
        assert found.high == np.inf

    def test_a_level_that_is_never_reached_is_a_bound(self):
        found = labels_to_interval(LABELS, [[0.5, 0.6, 0.7]] * 3, 0.9)
        assert found == (400, 400, np.inf, ">=")

    def test_a_single_seed_has_no_interval(self):
        found = labels_to_interval(LABELS, [[0.5, 0.7, 0.8]], 0.7)
        assert found.value == 200
        assert np.isnan(found.low)
        assert np.isnan(found.high)

    def test_deficiency_is_that_of_baram_el_yaniv_and_luz(self):
        # Sums of what is missing to .9: .4 + .1 + 0 over .4 + .2 + 0.
        assert deficiency([0.5, 0.8, 0.9], [0.5, 0.7, 0.9]) == pytest.approx(5 / 6)
        assert deficiency([0.5, 0.7, 0.9], [0.5, 0.7, 0.9]) == 1

    @pytest.mark.parametrize("labels", [[3, 2, 1], [1, 1, 2], [], [[1, 2, 3]]])
    def test_labels_that_do_not_ascend_are_refused(self, labels):
        with pytest.raises(ValueError, match="labels: expected numbers that ascend"):
            area(labels, np.zeros(np.shape(labels)))

    def test_curves_at_other_labels_are_refused(self):
        with pytest.raises(ValueError, match="values: expected one for each number of labels, 3"):
            area(LABELS, [0.5, 0.6])
        with pytest.raises(ValueError, match="random: expected a curve at the same labels"):
            deficiency([0.5, 0.6], [0.5, 0.6, 0.7])


class TestSavings:
    RANDOM = np.array([[0.5, 0.6, 0.7]] * 4)

    def test_half_of_the_labels(self):
        found = savings(LABELS, [[0.5, 0.7, 0.8]] * 4, self.RANDOM)
        assert found == (0.5, 0.5, 0.5, "")

    def test_a_level_that_random_never_reaches_gives_a_lower_bound(self):
        found = savings(LABELS, [[0.5, 0.7, 0.8]] * 4, self.RANDOM, level=0.75)
        assert found.bound == ">="
        assert found.value == pytest.approx(1 - 300 / 400)
        assert found.high == 1

    def test_a_level_that_the_strategy_never_reaches_gives_an_upper_bound(self):
        found = savings(LABELS, [[0.5, 0.55, 0.6]] * 4, self.RANDOM, level=0.65)
        assert found.bound == "<="
        assert found.value == pytest.approx(1 - 400 / 300)
        assert found.low == -np.inf

    def test_a_level_that_neither_reaches_tells_nothing(self):
        assert np.isnan(savings(LABELS, self.RANDOM, self.RANDOM, level=0.9)[:3]).all()

    def test_a_level_that_both_begin_at_saves_nothing(self):
        assert savings([0, 10], [[0.5, 0.9]], [[0.5, 0.6]], level=0.5).value == 0

    def test_the_interval_is_that_of_pairs(self):
        # What a seed adds to both is no uncertainty of the difference; with the seeds of one shuffled it is.
        noise = np.random.default_rng(1).normal(0, 0.02, (10, 1))
        labels = np.linspace(100, 1000, 10)
        random = 0.5 + 0.3 * np.sqrt(labels / 1000) + noise
        strategy = 0.5 + 0.3 * np.sqrt(labels / 700) + noise
        paired = savings(labels, strategy, random)
        shuffled = savings(labels, strategy[::-1], random)
        assert paired.value == pytest.approx(0.3, abs=0.01)
        assert paired.high - paired.low < 0.2 * (shuffled.high - shuffled.low)

    def test_the_interval_is_the_same_every_time(self):
        values = np.sort(np.random.default_rng(0).random((5, 3)), 1)
        assert savings(LABELS, values, self.RANDOM[[0, 1, 2, 3, 0]]) == savings(
            LABELS, values, self.RANDOM[[0, 1, 2, 3, 0]]
        )

    def test_runs_that_are_no_pairs_are_refused(self):
        with pytest.raises(ValueError, match="random: expected a run for each seed of the strategy, 2, got 4"):
            savings(LABELS, self.RANDOM[:2], self.RANDOM)


class TestSignificance:
    def test_holm(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([0.6, 0.7]).tolist() == [1, 1]
        assert holm([]).tolist() == []

    def test_a_test_that_could_not_be_made_is_not_counted_by_holm(self):
        assert holm([0.01, np.nan, 0.04]) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)

    def test_wilcoxon_is_exact_for_few_pairs(self):
        # Ranks 1 to 6, of which the second least is negative: 3 of 64 patterns have a sum of 2 or less.
        assert wilcoxon([1, -2, 3, 4, 5, 6], np.zeros(6)) == pytest.approx(2 * 3 / 64)

    def test_pairs_that_are_equal_but_for_rounding_are_no_evidence(self):
        values = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
        assert wilcoxon(values + 1e-16, values) == 1

    def test_unknown_pairs_are_no_evidence(self):
        assert np.isnan(wilcoxon([1, 2, np.nan], [0, 0, 0]))

    def test_pairs_of_strategies_are_corrected_together(self):
        rng = np.random.default_rng(0)
        values = np.array([rng.random(8), rng.random(8) + 1, rng.random(8) + 2])
        matrix = wilcoxon_holm(values)
        assert matrix[0, 1] == matrix[1, 0] == pytest.approx(3 * 2 / 2**8)
        assert (np.diag(matrix) == 1).all()

    def test_mean_differences_have_students_interval(self):
        # t of 4 degrees of freedom is 2.776; the standard error of 1 to 5 is sqrt(2.5 / 5).
        found = mean_difference([1, 2, 3, 4, 5], np.zeros(5))
        assert found.value == 3
        assert found.high - 3 == pytest.approx(2.776445 * np.sqrt(0.5), rel=1e-6)

    def test_the_paired_test_has_the_critical_value_of_ash_et_al(self):
        # Five runs: t > 2.776. The differences are 1 + noise whose t is set to just below and just above.
        noise = np.array([-2.0, -1, 0, 1, 2])
        for t, sign in ((2.77, 0), (2.78, 1)):
            gaps = t * np.sqrt(2.5 / 5) + noise
            assert significant_signs([gaps, np.zeros(5)])[0, 1] == sign
            assert significant_signs([gaps, np.zeros(5)])[1, 0] == -sign

    def test_runs_that_are_alike_but_for_rounding_are_tied(self):
        values = np.array([0.1, 0.2, 0.3])
        assert not significant_signs([values + 1e-16, values]).any()

    def test_one_seed_shows_nothing(self):
        assert not significant_signs([[0.9], [0.1]]).any()

    def test_penalties_are_shares_of_budgets(self):
        rng = np.random.default_rng(0)
        random = rng.normal(0.7, 0.001, (5, 4))
        other = random + np.array([0.1, 0.1, 0.1, -0.1]) + rng.normal(0, 0.001, (5, 4))
        assert penalties([other, random]).tolist() == [[0, 0.75], [0.25, 0]]

    def test_ranks_are_those_of_demsar(self):
        assert mean_ranks(DEMSAR).round(3).tolist() == [3.143, 2.0, 2.893, 1.964]

    def test_friedman_is_that_of_demsar(self):
        # He gives 9.28 without the correction for ties: 3 pairs and one quadruple of 14 (4^3 - 4).
        found = friedman(DEMSAR)
        assert found.statistic * (1 - (3 * 6 + 60) / (14 * 60)) == pytest.approx(9.28, abs=0.01)
        assert found.p < 0.05

    def test_friedman_needs_three_strategies_that_differ(self):
        assert np.isnan(friedman(DEMSAR[:, :2]).p)
        assert np.isnan(friedman(np.ones((4, 3))).p)

    @pytest.mark.parametrize(
        ("strategies", "q"),
        [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
    )
    def test_critical_differences_are_those_of_demsars_table(self, strategies, q):
        expected = q * np.sqrt(strategies * (strategies + 1) / (6 * 14))
        assert critical_difference(strategies, 14) == pytest.approx(expected, rel=5e-4)

    def test_the_critical_difference_of_demsars_example(self):
        assert round(critical_difference(4, 14), 2) == 1.25

    def test_unknown_areas_are_not_ranked(self):
        with pytest.raises(ValueError, match="got 1 NaN; leave out"):
            mean_ranks([[0.5, np.nan], [0.5, 0.6]])


class TestSimulation:
    def test_the_table_tells_the_best_first_with_all_digits(self):
        frame = simulation({"random": [0.5, 0.6, 0.7], "margin": [0.5, 0.7, 0.8]}).table(at=0.65).to_pandas()
        assert frame["strategy"].tolist() == ["margin", "random"]
        assert frame["area"].tolist() == pytest.approx([0.676, 0.601])
        assert frame["area_se"].tolist() == pytest.approx([0.001 / np.sqrt(3)] * 2)
        assert frame["final"].tolist() == pytest.approx([0.801, 0.701])
        assert frame["labels_to_random"].tolist() == pytest.approx([20, 30])
        assert frame["savings"].tolist() == pytest.approx([1 / 3, 0])
        assert frame["labels_to_0.65"].tolist() == pytest.approx([17.45, 24.9])
        assert frame["deficiency"].tolist() == pytest.approx([2 / 3 - 1 / 3, 1], abs=1e-3)

    def test_the_table_is_the_same_for_both_libraries(self):
        polars = pytest.importorskip("polars")
        table = simulation(HEIGHTS).table()
        assert table.to_polars()["strategy"].dtype == polars.String
        assert table.to_polars().columns == table.to_pandas().columns.tolist()

    def test_the_area_is_normalised_where_the_whole_pool_is_known(self):
        table = simulation(HEIGHTS, about={"full": {"accuracy": 0.9}}).table()
        assert table.columns["normalised_area"] == pytest.approx([0.075 / (0.9 - 0.601), 0])

    def test_without_random_nothing_is_measured_against_it(self):
        found = simulation({"margin": [0.5, 0.7, 0.8]})
        assert "savings" not in found.table(at=0.6).columns
        assert found.table(at=0.6).columns["labels_to_0.6"] == pytest.approx([14.95])
        with pytest.raises(ValueError, match="strategies: expected 'random' among them"):
            found.savings()

    def test_other_numbers_of_labels_are_interpolated_where_all_have_been(self):
        fine = simulation({"fine": [0.5, 0.6, 0.7, 0.8, 0.9]}, labels=(10, 15, 20, 25, 30)).curves
        coarse = simulation({"coarse": [0.4, 0.6, 0.8]}, labels=(5, 15, 25)).curves
        runs = Simulation(fine + coarse).runs()
        assert runs.labels.tolist() == [10, 15, 20, 25]
        assert runs.of("coarse")[0] == pytest.approx([0.5, 0.6, 0.7, 0.8])
        assert runs.of("fine")[0] == pytest.approx([0.5, 0.6, 0.7, 0.8])

    def test_seeds_that_a_strategy_lacks_are_left_out_and_named(self):
        curves = simulation(HEIGHTS).curves
        found = Simulation(curves[:-1])
        assert found.seeds == (0, 1)
        assert "seeds 2" in found.table().caption
        assert found.runs().values.shape == (2, 2, 3)

    def test_seeds_are_paired_whatever_the_order_of_the_curves(self):
        curves = simulation(HEIGHTS).curves
        mixed = Simulation(curves[:3] + curves[:2:-1])
        assert (mixed.runs().values == Simulation(curves).runs().values).all()

    def test_curves_that_cannot_be_compared_are_refused(self):
        curves = simulation(HEIGHTS).curves
        with pytest.raises(ValueError, match="got none; run at least one"):
            Simulation(())
        with pytest.raises(ValueError, match="got two of 'margin' with seed 0"):
            Simulation((*curves, curves[0]))
        with pytest.raises(ValueError, match="a seed that all strategies have"):
            Simulation((curves[0], curves[-1]))
        with pytest.raises(ValueError, match="numbers of labels that all have in common"):
            Simulation(curves[:3] + simulation({"late": [0.5, 0.6]}, labels=(40, 50)).curves)

    def test_an_unknown_metric_is_named_with_those_there_are(self):
        with pytest.raises(ValueError, match="metric: expected one of accuracy, got 'auc'"):
            simulation(HEIGHTS).table("auc")

    def test_pairs_are_compared_by_seed_and_the_shared_start_is_no_tie(self):
        table = simulation(HEIGHTS, seeds=6).compare()
        assert table.columns["difference"] == pytest.approx([0.075])
        assert table.columns["p"] == pytest.approx([2 / 2**6])
        assert [table.columns[name] for name in ("win", "tie", "loss")] == [[2], [0], [0]]

    def test_a_p_that_cannot_be_small_is_said_to(self):
        assert "never below 0.25" in simulation(HEIGHTS, seeds=3).compare().caption
        assert "never below" not in simulation(HEIGHTS, seeds=6).compare().caption

    def test_one_strategy_one_seed_and_one_point_still_make_tables(self):
        for found in (
            simulation({"margin": [0.5, 0.6, 0.7]}),
            simulation(HEIGHTS, seeds=1),
            simulation({"margin": [0.5], "random": [0.5]}, labels=(10,)),
        ):
            assert repr(found)
            assert len(found.compare()) == len(found.strategies) - 1

    def test_an_unknown_metric_value_is_told_as_nothing(self):
        found = simulation({"margin": [np.nan, 0.7, 0.8], "random": [np.nan, 0.6, 0.7]})
        assert "—" in repr(found)
        assert "nan" not in repr(found)
        assert repr(found.compare())

    def test_the_time_of_the_last_point_is_no_selection(self):
        seconds = {"fitting": np.array([3.0, 3.0, 2.0]), "selecting": np.array([1.0, 1.0, 0.0])}
        practice = simulation(HEIGHTS, seconds=seconds).practice("margin")
        assert practice.seconds == 1
        assert practice.share == 0.2

    def test_curves_as_a_frame_have_a_row_for_each_point(self):
        frame = simulation(HEIGHTS, seconds={"selecting": np.array([1.0, 1.0, 0.0])}).to_pandas()
        assert len(frame) == 2 * 3 * 3
        assert frame.query("strategy == 'random' and seed == 1")["accuracy"].tolist() == pytest.approx(
            [0.501, 0.601, 0.701]
        )
        assert frame["balance"].isna().all()
        assert frame["selecting_seconds"].sum() == 12


class TestDatasets:
    def test_strategies_are_ranked_over_datasets(self):
        first = simulation({"margin": [0.5, 0.7, 0.8], "random": [0.5, 0.6, 0.7], "k_center": [0.5, 0.5, 0.5]}, seeds=6)
        second = simulation(
            {"random": [0.5, 0.6, 0.7], "margin": [0.5, 0.6, 0.6], "k_center": [0.5, 0.5, 0.5]}, seeds=6
        )
        found = compare_datasets({"letter": first, "trec6": second})
        assert found.strategies == ("margin", "random", "k_center")
        assert found.ranks.tolist() == [1.5, 1.5, 3]
        assert found.penalties.tolist() == [[0, 1, 2], [0.5, 0, 2], [0, 0, 0]]
        frame = found.table().to_pandas().set_index("strategy")
        assert frame.loc["margin", ["win", "tie", "loss"]].tolist() == [1, 0, 1]
        assert frame.loc["k_center", ["win", "tie", "loss"]].tolist() == [0, 0, 2]
        assert np.isnan(frame.loc["random", "win"])

    def test_only_strategies_of_all_datasets_are_compared(self):
        first = simulation({"margin": [0.5, 0.7, 0.8], "random": [0.5, 0.6, 0.7], "badge": [0.5, 0.5, 0.5]})
        second = simulation({"margin": [0.5, 0.7, 0.8], "random": [0.5, 0.6, 0.7]})
        assert compare_datasets({"letter": first, "trec6": second}).strategies == ("margin", "random")
        with pytest.raises(ValueError, match="two strategies or more that are in all of them, got 1"):
            compare_datasets({"letter": first, "trec6": simulation({"margin": [0.5, 0.6, 0.7]})})
        with pytest.raises(ValueError, match="simulations: expected one or more"):
            compare_datasets({})
