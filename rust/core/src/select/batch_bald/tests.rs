//! The risks: a pick that the naive algorithm would not make, a bound that is none, and
//! picks that depend on the machine.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::scores::tests::pools::{Kind, Rng, rows_of};
use crate::simd::Simd;

/// Members, rows, classes, and the probabilities of each member.
struct Pool {
    shape: (usize, usize, usize),
    values: Vec<Vec<f64>>,
}

impl Pool {
    fn new(shape: (usize, usize, usize), seed: u64) -> Self {
        let mut rng = Rng(seed);
        let (members, rows, classes) = shape;
        let member = |_| rows_of(Kind::Probabilities, rows, classes, &mut rng);
        let values = (0..members).map(member).collect();
        Self { shape, values }
    }

    fn members(&self) -> Vec<Matrix<'_>> {
        let (_, rows, classes) = self.shape;
        let members = self.values.iter();
        members
            .map(|p| Matrix::from_slice(p, rows, classes).expect("fits"))
            .collect()
    }

    /// What the members say of a row, in whole vectors.
    fn row(&self, row: usize) -> Vec<f64> {
        let classes = self.shape.2;
        let says = |p: &Vec<f64>| p[row * classes..][..classes].to_vec();
        let mut all: Vec<f64> = self.values.iter().flat_map(says).collect();
        all.resize(entropy::padded(all.len()), 0.0);
        all
    }
}

fn options(k: usize, samples: usize) -> BatchBald<'static> {
    BatchBald {
        k,
        temperature: None,
        samples,
        seed: 7,
        exclude: None,
        limits: Limits::default(),
    }
}

fn taken(rows: &[i64]) -> Limits<'_> {
    Limits {
        taken: rows,
        ..Limits::default()
    }
}

fn pick(
    pool: Option<&ThreadPool>,
    simd: Simd,
    members: &[Matrix<'_>],
    options: &BatchBald<'_>,
) -> Result<std::result::Result<Batch, InvalidMember>> {
    let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let figure = AtomicU64::new(0);
    let exec = Exec {
        pool,
        simd,
        cancel: &cancel,
        done: &done,
        figure: &figure,
    };
    let found = batch_bald(&exec, members, options);
    if let Ok(Ok(batch)) = &found {
        assert_eq!(done.into_inner(), batch.picks.len());
    }
    found
}

fn picked(members: &[Matrix<'_>], options: &BatchBald<'_>) -> Batch {
    let found = pick(None, Simd::detect(), members, options);
    found.expect("picks").expect("valid rows")
}

fn h(p: impl Iterator<Item = f64>) -> f64 {
    p.filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}

/// The gain of a row, from all configurations of labels of the batch.
fn gain(pool: &Pool, batch: &[usize], row: usize) -> f64 {
    let (members, _, classes) = pool.shape;
    let says = |member: usize, row: usize, label: usize| {
        let p = &pool.values[member][row * classes..][..classes];
        p[label] / p.iter().sum::<f64>()
    };
    let mut total = 0.0;
    for code in 0..classes.pow(batch.len() as u32) {
        let label = |at: usize| code / classes.pow(at as u32) % classes;
        let joint = |member: usize| -> f64 {
            let labels = batch.iter().enumerate();
            labels
                .map(|(at, row)| says(member, *row, label(at)))
                .product()
        };
        let joint: Vec<f64> = (0..members).map(|m| joint(m) / members as f64).collect();
        let share: f64 = joint.iter().sum();
        if share > 0.0 {
            let own = |class| (0..members).map(|m| joint[m] * says(m, row, class)).sum();
            let mixture: Vec<f64> = (0..classes).map(own).collect();
            total += share * h(mixture.iter().map(|p| p / share));
        }
    }
    let own = |member| h((0..classes).map(|class| says(member, row, class)));
    total - (0..members).map(own).sum::<f64>() / members as f64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn picks_are_those_of_the_naive_algorithm(
        seed in any::<u64>(),
        members in 1_usize..7,
        rows in 1_usize..40,
        classes in 2_usize..10,
    ) {
        let pool = Pool::new((members, rows, classes), seed);
        let k = rows.min(if classes < 5 { 5 } else { 3 });
        let batch = picked(&pool.members(), &options(k, 10_000));
        prop_assert_eq!(batch.picks.len(), k);
        for at in 0..k {
            let before = &batch.picks[..at];
            let best = gain(&pool, before, batch.picks[at]);
            prop_assert!((batch.gains[at] - best).abs() < 1e-8);
            for row in (0..rows).filter(|row| !before.contains(row)) {
                prop_assert!(gain(&pool, before, row) < best + 1e-8);
            }
        }
    }

    #[test]
    fn groups_are_bounds_and_so_is_what_was(
        seed in any::<u64>(),
        members in 2_usize..12,
        classes in 2_usize..12,
        samples in prop::sample::select(vec![1_000, 3_000, 10_000]),
    ) {
        let pool = Pool::new((members, 40, classes), seed);
        let mut joint = Joint::new((members, classes), samples, seed);
        let mut before = [f64::INFINITY; 40];
        let mut is_exact = true;
        for depth in 1..12 {
            joint.add(pool.row(depth));
            let levels = joint.levels();
            is_exact &= classes.pow(depth as u32) <= samples;
            for (row, before) in before.iter_mut().enumerate() {
                let says = pool.row(row);
                let mut bound = f64::INFINITY;
                for level in 0..levels.costs.len() {
                    let gain = levels.gain(Simd::detect(), level, &says);
                    prop_assert!(gain >= -ROUNDING && gain <= bound + ROUNDING);
                    bound = gain;
                }
                prop_assert!(!is_exact || bound <= *before + ROUNDING);
                *before = bound;
            }
        }
    }
}

#[test]
fn machines_and_threads_agree() {
    for (shape, samples) in [
        ((9, 700, 10), 2_000),
        ((3, 90, 5), 100_000),
        ((17, 60, 2), 64),
    ] {
        let pool = Pool::new(shape, 5);
        let members = pool.members();
        let options = options(12, samples);
        let expected = picked(&members, &options);
        for simd in Simd::available() {
            let threads = ThreadPoolBuilder::new().num_threads(3).build();
            let threads = threads.expect("threads");
            for pool in [None, Some(&threads)] {
                let got = pick(pool, simd, &members, &options);
                assert!(got == Ok(Ok(expected.clone())), "{}", simd.name());
            }
        }
    }
}

#[test]
fn rows_that_are_barred_or_in_the_batch_are_not_picked() {
    let pool = Pool::new((5, 30, 3), 11);
    let members = pool.members();
    let whole = picked(&members, &options(6, 10_000));
    let first: Vec<i64> = whole.picks[..2].iter().map(|row| *row as i64).collect();
    let mut exclude = vec![0; 30];
    exclude[whole.picks[2]] = 1;
    let rest = BatchBald {
        limits: taken(&first),
        ..options(4, 10_000)
    };
    let batch = picked(&members, &rest);
    assert_eq!(batch.picks, whole.picks[2..]);
    assert_eq!(batch.gains, whole.gains[2..]);
    let all = BatchBald {
        exclude: Some(&exclude),
        limits: taken(&first),
        ..options(100, 200)
    };
    let mut picks = picked(&members, &all).picks;
    picks.sort_unstable();
    let may = |row: &usize| exclude[*row] == 0 && !first.contains(&(*row as i64));
    assert_eq!(picks, (0..30).filter(may).collect::<Vec<_>>());
}

#[test]
fn what_does_not_fit_is_refused() {
    let pool = Pool::new((2, 4, 2), 1);
    let members = pool.members();
    let refused = |options| {
        let found = pick(None, Simd::detect(), &members, &options);
        assert!(matches!(found, Err(Error::Shape(_) | Error::Option(_))));
    };
    refused(options(1, 0));
    refused(BatchBald {
        limits: taken(&[4]),
        ..options(1, 10)
    });
    refused(BatchBald {
        limits: taken(&[-1]),
        ..options(1, 10)
    });
    refused(BatchBald {
        exclude: Some(&[0; 3]),
        ..options(1, 10)
    });
    let none = pick(None, Simd::detect(), &[], &options(1, 10));
    assert!(matches!(none, Err(Error::Shape(_))));
    let mut bad = Pool::new((2, 4, 2), 1);
    bad.values[1][4] = f64::NAN;
    let found = pick(None, Simd::detect(), &bad.members(), &options(1, 10));
    assert!(matches!(found, Ok(Err(InvalidMember { member: 1, rows })) if rows.row == 2));
}
