//! The risks: a score that is wrong, and a score that depends on anything but the
//! row's own bytes (contracts 1, 2, 3, 5 and 6).

mod exact;
mod invalid;
mod oracle;
pub(crate) mod pools;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::pool::{InvalidRows, Output, score_pool};
use super::sink::{Above, Sink};
use super::*;
use crate::element::{ElementKind, bf16, f16};
use crate::parallel::Exec;
use oracle::oracle;
use pools::{Kind, LAYOUTS, Number, Pool, Rng, as_elements, hard_rows, rows_of};

const MEASURES: [Measure; 4] = [
    Measure::Entropy,
    Measure::Margin,
    Measure::LeastConfidence,
    Measure::Ratio,
];
const AGGREGATES: [Aggregate; 3] = [Aggregate::Mean, Aggregate::Max, Aggregate::Sum];
const KINDS: [Kind; 4] = [
    Kind::Probabilities,
    Kind::Logits,
    Kind::LabelProbabilities,
    Kind::LabelLogits,
];

/// Every score of rows of a kind.
fn scores_of(kind: Kind, temperature: f64) -> Vec<Score> {
    let tasks = match kind {
        Kind::Probabilities | Kind::Logits => vec![Task::Multiclass],
        _ => AGGREGATES.map(Task::Multilabel).to_vec(),
    };
    let logits = matches!(kind, Kind::Logits | Kind::LabelLogits);
    let score = |measure, task| Score {
        task,
        temperature: logits.then_some(temperature),
        ..Score::new(measure)
    };
    MEASURES
        .iter()
        .flat_map(|m| tasks.iter().map(|t| score(*m, *t)))
        .collect()
}

/// Scores, which must come without a report that is not true.
fn run(score: &Score, simd: Simd, matrix: &Matrix<'_>, rows: Rows<'_>, double: bool) -> Vec<f64> {
    let mut out = vec![f64::NAN; rows.len()];
    let mut single = vec![f32::NAN; rows.len()];
    let mut suspects = Vec::new();
    let is_single = !double && matrix.kind() != ElementKind::F64;
    let sink = if is_single {
        Sink::All(Output::F32(&mut single))
    } else {
        Sink::All(Output::F64(&mut out))
    };
    score.of_rows(simd, matrix, rows, sink, &mut suspects);
    if is_single {
        out = single.into_iter().map(f64::from).collect();
    }
    for at in suspects {
        let found = score.inspect(matrix, rows.get(at));
        assert_eq!(found, None, "row {} of {score:?}", rows.get(at));
    }
    out
}

fn all(matrix: &Matrix<'_>) -> Rows<'static> {
    Rows::Range(0, matrix.rows())
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|x| x.to_bits()).collect()
}

fn portable() -> Simd {
    Simd::named("portable").expect("always there")
}

/// Against the oracle: `f32` passes within 2e-6, `f64` ones within 1e-14.
fn assert_accurate(score: &Score, matrix: &Matrix<'_>, got: &[f64], double: bool) {
    for (row, got) in got.iter().enumerate() {
        let p: Vec<f64> = (0..matrix.cols()).map(|col| matrix.get(row, col)).collect();
        let want = oracle(score, &p);
        let off = (got - want).abs();
        let unit = want.abs().max(1.0);
        let what = || format!("row {row} of {score:?}: {got}, not {want}: {p:?}");
        assert!(
            off <= if double { 1e-14 } else { 2e-6 } * unit,
            "{}",
            what()
        );
        // Nearly one-hot rows have digits, too.
        let one_sign = score.temperature.is_none() && p.iter().all(|p| *p <= 1.0);
        if score.measure == Measure::Entropy && one_sign {
            assert!(
                off <= if double { 1e-13 } else { 4e-6 } * want,
                "relative: {}",
                what()
            );
        }
    }
}

/// One kind of rows: against the oracle, then all ways to the same bits.
fn check_rows<E: Number>(kind: Kind, shape: (usize, usize), temperature: f64, rng: &mut Rng) {
    let (rows, cols) = shape;
    let values = as_elements::<E>(&rows_of(kind, rows, cols, rng));
    let pools = LAYOUTS.map(|layout| (layout, Pool::new(&values, cols, layout)));
    let plain = pools[0].1.matrix();
    for score in scores_of(kind, temperature) {
        for double in [false, true] {
            let expected = run(&score, portable(), &plain, all(&plain), double);
            assert_accurate(&score, &plain, &expected, double || size_of::<E>() == 8);
            let expected = bits(&expected);
            for simd in Simd::available() {
                for (layout, pool) in &pools {
                    // Every layout at the best level, a few at the others.
                    if simd != Simd::detect() && rng.below(4) > 0 {
                        continue;
                    }
                    let matrix = pool.matrix();
                    let what = format!(
                        "{:?} {shape:?} {layout:?} {} {score:?} double: {double}",
                        E::KIND,
                        simd.name()
                    );
                    let got = bits(&run(&score, simd, &matrix, all(&matrix), double));
                    assert!(got == expected, "{what}");
                    if rows == 0 {
                        continue;
                    }
                    // From the middle, to the end of a partial tile; one row alone;
                    // any rows in any order.
                    let first = rng.below(rows);
                    let len = rng.below(rows - first) + 1;
                    for (first, len) in [(first, len), (first, rows - first), (first, 1)] {
                        let part = run(&score, simd, &matrix, Rows::Range(first, len), double);
                        let want = &expected[first..first + len];
                        assert!(bits(&part) == want, "{len} rows from {first}: {what}");
                    }
                    let list: Vec<usize> = (0..len).map(|_| rng.below(rows)).collect();
                    let part = run(&score, simd, &matrix, Rows::List(&list), double);
                    let want: Vec<u64> = list.iter().map(|row| expected[*row]).collect();
                    assert!(bits(&part) == want, "rows {list:?}: {what}");
                }
            }
        }
    }
}

fn check_all_widths<E: Number>() {
    let mut rng = Rng(E::KIND as u64);
    for cols in (1..=130).chain([255, 256, 257, 1000]) {
        // Halves are slow to read one by one, which the oracle does.
        let most = if size_of::<E>() == 2 { 36 } else { 71 };
        let rows = (cols * 29 + 7) % most;
        let temperature = [1.0, 0.3, 7.0][cols % 3];
        for kind in KINDS {
            check_rows::<E>(kind, (rows, cols), temperature, &mut rng);
        }
    }
}

#[test]
fn f16_scores_are_right_everywhere() {
    check_all_widths::<f16>();
}

#[test]
fn bf16_scores_are_right_everywhere() {
    check_all_widths::<bf16>();
}

#[test]
fn f32_scores_are_right_everywhere() {
    check_all_widths::<f32>();
}

#[test]
fn f64_scores_are_right_everywhere() {
    check_all_widths::<f64>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_shape_is_right(
        seed in any::<u64>(),
        rows in 0_usize..70,
        cols in 1_usize..600,
        kind in prop::sample::select(KINDS.to_vec()),
        temperature in 0.2_f64..20.0,
    ) {
        let mut rng = Rng(seed);
        check_rows::<f32>(kind, (rows, cols), temperature, &mut rng);
        check_rows::<f64>(kind, (rows, cols), temperature, &mut rng);
    }
}

fn exec<'a>(pool: Option<&'a ThreadPool>, done: &'a AtomicUsize) -> Exec<'a> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    static FIGURE: AtomicU64 = AtomicU64::new(0);
    Exec {
        pool,
        simd: Simd::detect(),
        cancel: &NEVER,
        done,
        figure: &FIGURE,
    }
}

/// A whole pool in both precisions, as bits.
fn score_all(
    pool: Option<&ThreadPool>,
    score: &Score,
    matrix: &Matrix<'_>,
) -> (Vec<u32>, Vec<u64>, Option<InvalidRows>) {
    let done = AtomicUsize::new(0);
    let exec = exec(pool, &done);
    let mut narrow = vec![0.0_f32; matrix.rows()];
    let mut wide = vec![0.0_f64; matrix.rows()];
    let found = score_pool(&exec, score, matrix, Output::F32(&mut narrow)).expect("not cancelled");
    assert_eq!(done.load(Ordering::Relaxed), matrix.rows());
    let again = score_pool(&exec, score, matrix, Output::F64(&mut wide)).expect("not cancelled");
    // As text: NaN is not equal to itself.
    assert_eq!(format!("{found:?}"), format!("{again:?}"));
    let narrow = narrow.into_iter().map(f32::to_bits).collect();
    (narrow, bits(&wide), found)
}

#[test]
fn threads_and_chunks_do_not_change_a_bit() {
    let pools = [1, 2, 5].map(|n| {
        let pool = ThreadPoolBuilder::new().num_threads(n);
        pool.build().expect("threads")
    });
    let mut rng = Rng(7);
    // Enough bytes for several claims, or there is nothing to share.
    for (rows, cols, kind) in [
        (140_001, 2, Kind::Probabilities),
        (30_000, 10, Kind::Logits),
        (1300, 257, Kind::Probabilities),
        (280_003, 1, Kind::LabelProbabilities),
    ] {
        let values = as_elements::<f32>(&rows_of(kind, rows, cols, &mut rng));
        let matrix = Matrix::from_slice(&values, rows, cols).expect("fits");
        for score in scores_of(kind, 2.0).into_iter().step_by(3) {
            let expected = score_all(None, &score, &matrix);
            let double = bits(&run(&score, Simd::detect(), &matrix, all(&matrix), true));
            assert!(expected.1 == double);
            let single = run(&score, Simd::detect(), &matrix, all(&matrix), false);
            assert!(
                single
                    .iter()
                    .zip(&expected.0)
                    .all(|(a, b)| (*a as f32).to_bits() == *b)
            );
            for pool in &pools {
                let threads = pool.current_num_threads();
                let got = score_all(Some(pool), &score, &matrix);
                assert!(
                    got == expected,
                    "{threads} threads: {rows} x {cols} {score:?}"
                );
            }
            let (mut narrow, mut wide, mut first) = (Vec::new(), Vec::new(), 0);
            while first < rows {
                let len = (1 + rng.below(rows / 3)).min(rows - first);
                let chunk = &values[first * cols..(first + len) * cols];
                let chunk = Matrix::from_slice(chunk, len, cols).expect("fits");
                let (a, b, _) = score_all(pools.get(rng.below(4)), &score, &chunk);
                narrow.extend(a);
                wide.extend(b);
                first += len;
            }
            assert!(
                (narrow, wide) == (expected.0, expected.1),
                "chunks of {score:?}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "for scores")]
fn columns_that_lie_apart_have_no_stride() {
    let pool = Pool::new(&[0.5_f32; 4], 2, pools::Layout::Apart);
    let _ = pool.matrix().col_stride();
}

#[test]
fn a_cancelled_pass_says_so() {
    let (cancel, done) = (AtomicBool::new(true), AtomicUsize::new(0));
    let exec = Exec {
        cancel: &cancel,
        ..exec(None, &done)
    };
    let matrix = Matrix::from_slice(&[1.0_f32; 8], 8, 1).expect("fits");
    let score = Score::new(Measure::Entropy);
    let got = score_pool(&exec, &score, &matrix, Output::F32(&mut [0.0; 8]));
    assert_eq!(got, Err(Error::Cancelled));
    assert_eq!(done.load(Ordering::Relaxed), 0);
}

fn bounds_hold<E: Number>() {
    let mut rng = Rng(99 + E::KIND as u64);
    for cols in [1, 2, 3, 5, 10, 16, 31, 33, 100, 127, 128, 257, 1000, 3000] {
        for kind in KINDS {
            let values = as_elements::<E>(&hard_rows(kind, E::KIND, cols, &mut rng));
            let matrix = Matrix::from_slice(&values, values.len() / cols, cols).expect("fits");
            for temperature in [1.0, 1e-25, 1e-6, 0.01, 0.3, 30.0, 1e6, 1e25] {
                for mut score in scores_of(kind, temperature) {
                    if score.is_exact() {
                        continue;
                    }
                    if cols > 1 && rng.below(2) == 0 {
                        score.unit = [Unit::Base(1.01), Unit::Normalized][rng.below(2)];
                    }
                    let screened = run(&score, Simd::detect(), &matrix, all(&matrix), false);
                    let truth = run(&score, Simd::detect(), &matrix, all(&matrix), true);
                    let bound = score.bound(&matrix);
                    for (row, (s, t)) in screened.into_iter().zip(truth).enumerate() {
                        let least = bound.least(t);
                        let p = &values[row * cols..][..cols.min(12)];
                        let p: Vec<f64> = p.iter().map(|x| x.to_f64()).collect();
                        assert!(s >= least, "{s} < {least} < {t}: {cols} {score:?} {p:?}");
                    }
                }
                if matches!(kind, Kind::Probabilities | Kind::LabelProbabilities) {
                    break;
                }
            }
        }
    }
}

#[test]
fn no_row_is_screened_out_that_f64_would_select() {
    bounds_hold::<f16>();
    bounds_hold::<bf16>();
    bounds_hold::<f32>();
}

#[test]
fn exact_scores_need_no_bound() {
    let mut rng = Rng(5);
    for cols in [2, 3, 17, 40, 200] {
        let values = as_elements::<f32>(&rows_of(Kind::Probabilities, 500, cols, &mut rng));
        let matrix = Matrix::from_slice(&values, 500, cols).expect("fits");
        let scores = scores_of(Kind::Probabilities, 1.0).into_iter();
        for score in scores.filter(Score::is_exact) {
            let double = run(&score, Simd::detect(), &matrix, all(&matrix), true);
            for simd in Simd::available() {
                for least in [f64::NEG_INFINITY, double[7]] {
                    let mut above = Above {
                        least,
                        ..Above::default()
                    };
                    let sink = Sink::Above(&mut above);
                    score.of_rows(simd, &matrix, all(&matrix), sink, &mut Vec::new());
                    let rows = double.iter().copied().enumerate();
                    let want: Vec<_> = rows.filter(|(_, score)| *score >= least).collect();
                    assert_eq!(above.hits, want, "{score:?}");
                }
            }
        }
    }
}
