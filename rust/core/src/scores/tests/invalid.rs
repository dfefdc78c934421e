//! The risk: a row that is no prediction and is not found (contract 6).

use super::pools::{Kind, LAYOUTS, Number, Pool, Rng, as_elements, rows_of};
use super::{KINDS, score_all, scores_of};
use crate::element::{bf16, f16};
use crate::matrix::Matrix;
use crate::scores::Invalid;
use crate::scores::pool::InvalidRows;

const ROWS: usize = 37;

/// What cannot stand in a row of a kind.
fn bad_values(kind: Kind) -> &'static [f64] {
    const INF: f64 = f64::INFINITY;
    match kind {
        Kind::Probabilities | Kind::LabelProbabilities => &[f64::NAN, INF, -INF, -0.1, 1.2, -1e-7],
        Kind::Logits => &[f64::NAN, -f64::NAN, INF],
        Kind::LabelLogits => &[f64::NAN, -f64::NAN],
    }
}

fn same(a: Option<InvalidRows>, b: InvalidRows) -> bool {
    // NaN is not equal to itself, but prints as itself.
    format!("{a:?}") == format!("{:?}", Some(b))
}

fn bad_values_are_found<E: Number>() {
    let mut rng = Rng(3 + E::KIND as u64);
    for cols in [1, 2, 3, 10, 16, 17, 31, 32, 33, 127, 128, 130, 257] {
        for kind in KINDS {
            let good = as_elements::<E>(&rows_of(kind, ROWS, cols, &mut rng));
            for row in 0..ROWS {
                let col = [0, cols - 1, rng.below(cols)][row % 3];
                for bad in bad_values(kind) {
                    let mut values = good.clone();
                    values[row * cols + col] = E::of(*bad);
                    let why = Invalid::Value(col, E::of(*bad).to_f64());
                    let layout = LAYOUTS[rng.below(LAYOUTS.len())];
                    let pool = Pool::new(&values, cols, layout);
                    let scores = scores_of(kind, 0.5);
                    let score = scores[rng.below(scores.len())];
                    let (_, _, found) = score_all(None, &score, &pool.matrix());
                    let want = InvalidRows { count: 1, row, why };
                    assert!(
                        same(found, want),
                        "{found:?}, not {want:?}: {cols} {score:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_bad_value_is_found_wherever_it_is() {
    bad_values_are_found::<f16>();
    bad_values_are_found::<bf16>();
    bad_values_are_found::<f32>();
    bad_values_are_found::<f64>();
}

fn bad_sums_are_found<E: Number>() {
    for cols in [1, 2, 3, 16, 17, 33, 128, 257] {
        for total in [0.5, 0.0, 1.5, 0.96, 1.04] {
            let mut values = vec![E::of(1.0 / cols as f64); ROWS * cols];
            for row in [36, 21, 16] {
                values[row * cols..][..cols].fill(E::of(total / cols as f64));
            }
            let matrix = Matrix::from_slice(&values, ROWS, cols).expect("fits");
            for score in scores_of(Kind::Probabilities, 1.0) {
                let (_, _, found) = score_all(None, &score, &matrix);
                let found = found.expect("bad sums");
                assert_eq!(
                    (found.count, found.row),
                    (3, 16),
                    "{cols} {total} {score:?}"
                );
                let off = match found.why {
                    Invalid::Sum(sum) => (sum - total).abs(),
                    Invalid::Value(col, x) => (x - total).abs() + (cols + col - 1) as f64,
                    Invalid::Score(_) => unreachable!("no scores were given"),
                };
                assert!(off < 0.01, "{:?}", found.why);
            }
        }
    }
}

#[test]
fn a_row_that_does_not_sum_to_one_is_found() {
    bad_sums_are_found::<f16>();
    bad_sums_are_found::<bf16>();
    bad_sums_are_found::<f32>();
    bad_sums_are_found::<f64>();
}

#[test]
fn logits_without_a_softmax_are_found() {
    for cols in [1, 2, 16, 33, 128, 200] {
        let mut values = vec![0.0_f32; ROWS * cols];
        values[5 * cols..][..cols].fill(f32::NEG_INFINITY);
        let matrix = Matrix::from_slice(&values, ROWS, cols).expect("fits");
        for score in scores_of(Kind::Logits, 2.0) {
            let (_, _, found) = score_all(None, &score, &matrix);
            let why = Invalid::Value(0, f64::NEG_INFINITY);
            assert_eq!(
                found,
                Some(InvalidRows {
                    count: 1,
                    row: 5,
                    why
                })
            );
        }
    }
}

#[test]
fn many_bad_rows_are_counted_once_each_by_any_number_of_threads() {
    let (rows, cols) = (60_000, 10);
    let mut rng = Rng(8);
    let mut values = as_elements::<f32>(&rows_of(Kind::Probabilities, rows, cols, &mut rng));
    let mut bad: Vec<usize> = (0..997).map(|_| 13 + rng.below(rows - 13)).collect();
    for row in &bad {
        values[row * cols + row % cols] = -1.0;
        values[row * cols + (row + 3) % cols] = f32::NAN;
    }
    bad.sort_unstable();
    bad.dedup();
    let matrix = Matrix::from_slice(&values, rows, cols).expect("fits");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3);
    let pool = pool.build().expect("threads");
    for score in scores_of(Kind::Probabilities, 1.0) {
        for pool in [None, Some(&pool)] {
            let (_, _, found) = score_all(pool, &score, &matrix);
            let found = found.expect("bad rows");
            assert_eq!((found.count, found.row), (bad.len(), bad[0]));
        }
    }
}
