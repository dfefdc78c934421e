//! The risk: a score that is off where its value is known exactly (contract 5).

use super::pools::{Kind, Number, as_elements};
use super::{all, run, scores_of};
use crate::element::{bf16, f16};
use crate::matrix::Matrix;
use crate::scores::{Aggregate, Measure, Score, Task, Unit};
use crate::simd::Simd;

/// Scores of `values` by every level and in both precisions, all of which must agree with `check`.
fn every_way<E: Number>(score: &Score, values: &[f64], cols: usize, check: impl Fn(usize, f64)) {
    let values = as_elements::<E>(values);
    let matrix = Matrix::from_slice(&values, values.len() / cols, cols).expect("fits");
    for simd in Simd::available() {
        for double in [false, true] {
            let got = run(score, simd, &matrix, all(&matrix), double);
            for (row, got) in got.into_iter().enumerate() {
                check(row, got);
            }
        }
    }
}

fn certain_rows_score_zero<E: Number>() {
    for cols in [1, 2, 3, 10, 16, 17, 31, 32, 33, 100, 127, 128, 130, 1000] {
        // A row for every place of the one; zeros of either sign.
        let certain = |one: f64, zero: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let row = |i| (0..cols).map(move |j| if i % cols == j { one } else { zero(i + j) });
            (0..=cols.min(40)).flat_map(row).collect()
        };
        let minus = f64::NEG_INFINITY;
        let rows = [
            (Kind::Probabilities, certain(1.0, &|_| 0.0)),
            (
                Kind::Probabilities,
                certain(1.0, &|i| if i % 2 == 0 { 0.0 } else { -0.0 }),
            ),
            (Kind::Probabilities, certain(1.0, &|_| -0.0)),
            (Kind::LabelProbabilities, certain(1.0, &|_| 0.0)),
            (Kind::LabelProbabilities, certain(1.0, &|_| -0.0)),
            (Kind::LabelProbabilities, certain(1.0, &|_| 1.0)),
            (Kind::Logits, certain(3.0, &|_| minus)),
            (Kind::Logits, certain(3.0, &|_| -3e4)),
            (Kind::LabelLogits, certain(3e4, &|_| minus)),
            (Kind::LabelLogits, certain(f64::INFINITY, &|_| -3e4)),
        ];
        for (kind, values) in rows {
            for score in scores_of(kind, 1.0) {
                every_way::<E>(&score, &values, cols, |row, got| {
                    let what = format!("{got} in row {row} of {:?} {cols} {score:?}", E::KIND);
                    assert_eq!(got.to_bits(), 0, "{what}");
                });
            }
        }
    }
}

#[test]
fn certain_rows_score_exactly_zero() {
    certain_rows_score_zero::<f16>();
    certain_rows_score_zero::<bf16>();
    certain_rows_score_zero::<f32>();
    certain_rows_score_zero::<f64>();
}

#[test]
fn uniform_rows_have_all_the_entropy_there_is() {
    let entropy = Score::new(Measure::Entropy);
    let units = [
        (Unit::Nats, 1.0),
        (Unit::Base(2.0), std::f64::consts::LN_2),
        (Unit::Base(10.0), std::f64::consts::LN_10),
    ];
    for cols in [
        2_usize, 3, 4, 10, 16, 31, 32, 64, 100, 127, 128, 256, 1000, 1024,
    ] {
        let most = (cols as f64).ln();
        let (p, z) = (vec![1.0 / cols as f64; cols], vec![-7.25; cols]);
        // Powers of two have exact logarithms, and exact probabilities.
        let exact = cols.is_power_of_two();
        for (unit, size) in units.into_iter().chain([(Unit::Normalized, most)]) {
            let score = Score { unit, ..entropy };
            let softmax = Score {
                temperature: Some(0.7),
                ..score
            };
            let check = |tolerance: f64| {
                move |_, got: f64| {
                    let off = (got * size - most).abs();
                    assert!(off <= tolerance * most, "{cols} {unit:?}: {got}");
                }
            };
            let narrow = if exact { 1e-7 } else { 2e-6 };
            every_way::<f32>(&score, &p, cols, check(narrow));
            every_way::<f64>(&score, &p, cols, check(2e-15));
            every_way::<f32>(&softmax, &z, cols, check(2e-6));
            every_way::<f64>(&softmax, &z, cols, check(2e-15));
        }
    }
    // A label has two classes, however many labels there are.
    let normalized = Score {
        unit: Unit::Normalized,
        task: Task::Multilabel(Aggregate::Mean),
        ..entropy
    };
    every_way::<f64>(&normalized, &[0.5; 30], 10, |_, got| {
        assert!((got - 1.0).abs() < 1e-15);
    });
}

#[test]
fn published_examples() {
    let cases: [(&[f64], Measure, &[f64]); 6] = [
        // scikit-activeml's own test.
        (
            &[0.2, 0.5, 0.3, 0.1, 0.7, 0.2],
            Measure::LeastConfidence,
            &[0.5, 0.3],
        ),
        (
            &[0.2, 0.5, 0.3, 0.1, 0.7, 0.2],
            Measure::Entropy,
            &[1.02965301, 0.80181855],
        ),
        (
            &[0.2, 0.5, 0.3, 0.1, 0.7, 0.2],
            Measure::Margin,
            &[0.8, 0.5],
        ),
        // modAL's documentation.
        (
            &[0.1, 0.85, 0.05, 0.6, 0.3, 0.1, 0.39, 0.61, 0.0],
            Measure::LeastConfidence,
            &[0.15, 0.40, 0.39],
        ),
        (
            &[0.1, 0.85, 0.05, 0.6, 0.3, 0.1, 0.39, 0.61, 0.0],
            Measure::Entropy,
            &[0.51818621, 0.89794572, 0.66874809],
        ),
        (
            &[0.1, 0.85, 0.05, 0.6, 0.3, 0.1, 0.39, 0.61, 0.0],
            Measure::Margin,
            &[0.25, 0.7, 0.78],
        ),
    ];
    for (values, measure, want) in cases {
        every_way::<f64>(&Score::new(measure), values, 3, |row, got| {
            assert!((got - want[row]).abs() < 5e-9, "{measure:?} {row}: {got}");
        });
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let score = Score::new(Measure::Entropy);
    for t in [0.0, -1.0, 1e-39, 1e39, f64::NAN, f64::INFINITY] {
        let temperature = Some(t);
        assert!(
            Score {
                temperature,
                ..score
            }
            .checked()
            .is_err(),
            "{t}"
        );
    }
    for base in [1.0, 0.5, -2.0, f64::NAN, f64::INFINITY] {
        let unit = Unit::Base(base);
        assert!(Score { unit, ..score }.checked().is_err(), "{base}");
    }
    assert_eq!(score.checked(), Ok(score));
}
