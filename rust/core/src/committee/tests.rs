//! The risks: a score that is wrong, and one that depends on how the members lie or come.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::element::{bf16, f16};
use crate::scores::tests::pools::{Kind, LAYOUTS, Layout, Number, Pool, Rng, as_elements, rows_of};

const MEASURES: [Measure; 3] = [
    Measure::Disagreement,
    Measure::Predictive,
    Measure::Expected,
];

fn with_exec<T>(pool: Option<&ThreadPool>, simd: Simd, f: impl FnOnce(&Exec<'_>) -> T) -> T {
    let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let figure = AtomicU64::new(0);
    f(&Exec {
        pool,
        simd,
        cancel: &cancel,
        done: &done,
        figure: &figure,
    })
}

/// All at once and one by one, which must be the same.
fn score(
    pool: Option<&ThreadPool>,
    simd: Simd,
    committee: Committee,
    members: &[Matrix<'_>],
) -> (Vec<f64>, Option<InvalidMember>) {
    with_exec(pool, simd, |exec| {
        let mut out = vec![f64::NAN; members[0].rows()];
        let found = committee.score(exec, members, &mut out).expect("scores");
        let mut state = Members::new(committee);
        let mut found_one_by_one = None;
        for member in members {
            let found = state.add(exec, member).expect("adds");
            found_one_by_one = found_one_by_one.or(found);
        }
        let mut again = vec![f64::NAN; state.rows()];
        state.scores(exec, &mut again).expect("scores");
        if found.is_none() {
            assert!(bits(&out) == bits(&again), "{committee:?}: one by one");
        }
        assert_eq!(format!("{found:?}"), format!("{found_one_by_one:?}"));
        (out, found)
    })
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|x| x.to_bits()).collect()
}

fn entropy(p: &[f64]) -> f64 {
    p.iter()
        .filter(|p| **p > 0.0)
        .map(|p| -p * p.ln())
        .sum::<f64>()
}

fn softmax(z: &[f64], temperature: f64) -> Vec<f64> {
    let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let terms: Vec<f64> = z.iter().map(|z| ((z - top) / temperature).exp()).collect();
    let total: f64 = terms.iter().sum();
    terms.iter().map(|term| term / total).collect()
}

/// The score and the entropy of the mean.
fn oracle(committee: Committee, members: &[Matrix<'_>], row: usize) -> (f64, f64) {
    let rows: Vec<Vec<f64>> = members
        .iter()
        .map(|member| {
            let x: Vec<f64> = (0..member.cols()).map(|col| member.get(row, col)).collect();
            committee.temperature.map_or(x.clone(), |t| softmax(&x, t))
        })
        .collect();
    let count = rows.len() as f64;
    let mean: Vec<f64> = (0..rows[0].len())
        .map(|col| rows.iter().map(|p| p[col]).sum::<f64>() / count)
        .collect();
    let predictive = entropy(&mean);
    let score = match committee.measure {
        Measure::Predictive => predictive,
        Measure::Expected => rows.iter().map(|p| entropy(p)).sum::<f64>() / count,
        // The mean divergence from the consensus, in which nothing cancels.
        Measure::Disagreement => {
            let term = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
            let divergence =
                |row: &Vec<f64>| -> f64 { row.iter().zip(&mean).map(|(p, q)| term(*p, *q)).sum() };
            rows.iter().map(divergence).sum::<f64>() / count
        }
        Measure::Deviation => {
            let middle = mean[0];
            let squares: f64 = rows.iter().map(|x| (x[0] - middle).powi(2)).sum();
            (squares / count).sqrt()
        }
    };
    (score, predictive)
}

fn check<E: Number>(shape: (usize, usize, usize), temperature: Option<f64>, seed: u64) {
    let (count, rows, cols) = shape;
    let mut rng = Rng(seed);
    let kind = if temperature.is_some() {
        Kind::Logits
    } else {
        Kind::Probabilities
    };
    let values: Vec<Vec<E>> = (0..count)
        .map(|_| as_elements(&rows_of(kind, rows, cols, &mut rng)))
        .collect();
    let threads = ThreadPoolBuilder::new().num_threads(3).build();
    let threads = threads.expect("threads");
    let in_layout = |layout| -> Vec<Pool<E>> {
        let pool = |values: &Vec<E>| Pool::new(values, cols, layout);
        values.iter().map(pool).collect()
    };
    let plain = in_layout(LAYOUTS[0]);
    let plain: Vec<Matrix<'_>> = plain.iter().map(Pool::matrix).collect();
    for measure in MEASURES {
        for double in [false, true] {
            let committee = Committee {
                measure,
                temperature,
                double,
            };
            let portable = Simd::named("portable").expect("always there");
            let (expected, found) = score(None, portable, committee, &plain);
            assert_eq!(found, None);
            let exact = double || E::KIND == ElementKind::F64 || temperature.is_some();
            for (row, got) in expected.iter().enumerate() {
                let (want, unit) = oracle(committee, &plain, row);
                let off = (got - want).abs();
                let most = if exact { 1e-14 } else { 4e-6 } * unit.max(1.0);
                assert!(
                    *got >= 0.0 && off <= most,
                    "row {row} of {shape:?} {committee:?}: {got}, not {want}"
                );
            }
            // Members are copied where their columns lie apart.
            let layouts = LAYOUTS.into_iter().filter(|x| *x != Layout::Apart);
            for (i, layout) in layouts.enumerate() {
                let pools = in_layout(layout);
                let members: Vec<Matrix<'_>> = pools.iter().map(Pool::matrix).collect();
                for simd in Simd::available() {
                    let pool = (i % 2 == 0).then_some(&threads);
                    let (got, _) = score(pool, simd, committee, &members);
                    assert!(
                        bits(&got) == bits(&expected),
                        "{layout:?} {} {shape:?} {committee:?}",
                        simd.name()
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_committee_is_right_everywhere(
        seed in any::<u64>(),
        count in 1_usize..6,
        rows in 1_usize..70,
        cols in prop::sample::select(vec![2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130]),
        temperature in prop::option::of(0.2_f64..20.0),
    ) {
        check::<f16>((count, rows, cols), temperature, seed);
        check::<bf16>((count, rows, cols), temperature, seed);
        check::<f32>((count, rows, cols), temperature, seed);
        check::<f64>((count, rows, cols), temperature, seed);
    }
}

#[test]
fn many_blocks_are_as_good_as_one() {
    check::<f32>((3, 5003, 10), None, 1);
    check::<f64>((2, 700, 40), Some(2.0), 2);
}

#[test]
fn numbers_deviate_as_they_do() {
    let mut rng = Rng(3);
    let values: Vec<Vec<f64>> = (0..9)
        .map(|_| (0..500).map(|_| 1e4 + rng.bell()).collect())
        .collect();
    let members: Vec<Matrix<'_>> = values
        .iter()
        .map(|x| Matrix::from_slice(x, 500, 1).expect("fits"))
        .collect();
    let committee = Committee {
        measure: Measure::Deviation,
        temperature: None,
        double: false,
    };
    let (got, _) = score(None, Simd::detect(), committee, &members);
    for (row, got) in got.into_iter().enumerate() {
        let (want, _) = oracle(committee, &members, row);
        assert!((got - want).abs() < 1e-9, "{got}, not {want}");
    }
}

#[test]
fn the_first_member_with_bad_rows_is_reported() {
    let mut members = vec![vec![0.25_f32; 40_000]; 4];
    members[3][0] = -1.0;
    members[2][39_998] = f32::NAN;
    members[2][12_001] = 0.5;
    let views: Vec<Matrix<'_>> = members
        .iter()
        .map(|p| Matrix::from_slice(p, 10_000, 4).expect("fits"))
        .collect();
    let committee = Committee {
        measure: Measure::Predictive,
        temperature: None,
        double: false,
    };
    let threads = ThreadPoolBuilder::new().num_threads(4).build();
    let (_, found) = score(threads.ok().as_ref(), Simd::detect(), committee, &views);
    let rows = InvalidRows {
        count: 2,
        row: 3000,
        why: Invalid::Sum(1.25),
    };
    assert_eq!(found, Some(InvalidMember { member: 2, rows }));
}

#[test]
fn committees_that_do_not_fit_are_refused() {
    let (three, two) = ([0.5_f64; 6], [0.5_f64; 4]);
    let three = Matrix::from_slice(&three, 3, 2).expect("fits");
    let two = Matrix::from_slice(&two, 2, 2).expect("fits");
    let committee = Committee {
        measure: Measure::Predictive,
        temperature: None,
        double: false,
    };
    with_exec(None, Simd::detect(), |exec| {
        let refused = |result| assert!(matches!(result, Err(Error::Shape(_))));
        refused(committee.score(exec, &[], &mut []));
        refused(committee.score(exec, &[three, two], &mut [0.0; 3]));
        let mut state = Members::new(committee);
        assert!(matches!(state.scores(exec, &mut []), Err(Error::Shape(_))));
        assert_eq!(state.add(exec, &three), Ok(None));
        refused(state.add(exec, &two));
    });
}

#[test]
fn votes_are_counted() {
    let p = [
        [0.1, 0.8, 0.1],
        [0.4, 0.2, 0.4],
        [0.0, 0.5, 0.5],
        [0.0, 0.0, 1.0],
    ];
    let p: Vec<f64> = p.concat();
    let matrix = Matrix::from_slice(&p, 4, 3).expect("fits");
    with_exec(None, Simd::detect(), |exec| {
        let mut votes = [9; 4];
        assert_eq!(vote(exec, &matrix, false, &mut votes), Ok(None));
        assert_eq!(votes, [1, 0, 1, 2]);
        // Members in rows.
        let ballots = [0, 0, 2, 0, 1, 0, 2, 0, 2, 1, 2, 0];
        let mut out = [f64::NAN; 4];
        score_votes(exec, &ballots, Tally::Dissent, &mut out).expect("scores");
        assert_eq!(out, [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
        score_votes(exec, &ballots, Tally::Entropy, &mut out).expect("scores");
        assert!((out[0] - 3.0_f64.ln()).abs() < 1e-15);
        assert_eq!(out[2..], [0.0, 0.0]);
    });
}
