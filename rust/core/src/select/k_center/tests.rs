//! The risk: picks that are not those of the naive algorithm, or that depend on
//! threads, machines or layouts (contracts 1, 2 and 4).

mod oracle;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::distances::nearest;
use crate::element::{ElementKind, bf16, f16};
use crate::select::gate::{Budget, Quota};
use crate::simd::Simd;
use oracle::naive;

/// `SplitMix64`.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2.0_f64.powi(-53)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }
}

fn exec(pool: Option<&ThreadPool>, simd: Simd) -> Exec<'_> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    static DONE: AtomicUsize = AtomicUsize::new(0);
    static FIGURE: AtomicU64 = AtomicU64::new(0);
    Exec {
        pool,
        simd,
        cancel: &NEVER,
        done: &DONE,
        figure: &FIGURE,
    }
}

fn threads(n: usize) -> ThreadPool {
    let pool = ThreadPoolBuilder::new().num_threads(n);
    pool.build().expect("threads")
}

/// What the numbers of a pool look like.
const SHAPES: usize = 7;

fn number(shape: usize, row: usize, col: usize, rng: &mut Rng) -> f64 {
    let x = rng.unit() - 0.5;
    match shape {
        // Masses of ties.
        0 => (rng.below(3) as f64) - 1.0,
        // One-hot and scaled: ties that are no f32.
        1 => 0.3 * f64::from(u8::from(rng.chance(0.2))),
        // A large offset and a small spread.
        2 => 1e4 + 0.01 * x,
        // Two tight clusters far apart, whose radius falls below what a screen can see.
        3 => 1e3 * (row % 2) as f64 + 1e-3 * x,
        // Widely different scales of the columns.
        4 => x * 10.0_f64.powi((col % 7) as i32 - 3),
        // A few outliers.
        5 if row.is_multiple_of(29) => 50.0 * x,
        _ => x,
    }
}

/// The bytes of a matrix, and how to read them.
struct Pool {
    bytes: Vec<u8>,
    shape: (usize, usize),
    strides: (isize, isize),
    kind: ElementKind,
    first: usize,
}

const KINDS: [ElementKind; 4] = [
    ElementKind::F16,
    ElementKind::Bf16,
    ElementKind::F32,
    ElementKind::F64,
];

impl Pool {
    /// Rows of numbers as `kind`, in one of four layouts.
    fn new(values: &[f64], shape: (usize, usize), kind: ElementKind, layout: usize) -> Self {
        let size = kind.size();
        let (rows, cols) = shape;
        let (row, col, first) = match layout {
            0 => (cols, 1, 0),
            1 => (1, rows, 0),
            2 => (cols + 3, 1, 2),
            _ => (2 * cols, 2, 1),
        };
        let mut bytes = vec![0xff; (first + rows * row.max(cols * col) + cols * col) * size + 8];
        for i in 0..rows {
            for j in 0..cols {
                let x = values[i * cols + j];
                let at = (first + i * row + j * col) * size;
                let number: &[u8] = match kind {
                    ElementKind::F16 => &f16::from_f64(x).to_ne_bytes(),
                    ElementKind::Bf16 => &bf16::from_f64(x).to_ne_bytes(),
                    ElementKind::F32 => &(x as f32).to_ne_bytes(),
                    ElementKind::F64 => &x.to_ne_bytes(),
                };
                bytes[at..at + size].copy_from_slice(number);
            }
        }
        Self {
            bytes,
            shape,
            strides: ((row * size) as isize, (col * size) as isize),
            kind,
            first: first * size,
        }
    }

    fn view(&self) -> Matrix<'_> {
        let data = self.bytes[self.first..].as_ptr();
        // SAFETY: `new` made room for every element.
        unsafe { Matrix::from_raw_parts(data, self.shape, self.strides, self.kind) }
    }
}

fn pool_of(shape: usize, size: (usize, usize), kind: ElementKind, rng: &mut Rng) -> Pool {
    let (rows, cols) = size;
    let mut values = Vec::with_capacity(rows * cols);
    let copies = rng.chance(0.3);
    for row in 0..rows {
        let from = rng.below(rows.max(1));
        if copies && from < row {
            values.extend_from_within(from * cols..(from + 1) * cols);
        } else {
            for col in 0..cols {
                values.push(number(shape, row, col, rng));
            }
            // No direction is no row under cosine.
            values[row * cols] += 2.0;
        }
    }
    Pool::new(&values, size, kind, rng.below(4))
}

/// All machines, with and without threads, against the oracle.
fn compare(matrix: &Matrix<'_>, options: &KCenter<'_>) {
    let want = naive(matrix, options);
    for simd in Simd::available() {
        for threads in [None, Some(&*POOLS.0), Some(&*POOLS.1)] {
            let got = k_center(&exec(threads, simd), matrix, options).expect("covered");
            let at = format!("{} {options:?} {:?}", simd.name(), matrix.kind());
            assert_eq!(got.picks, want.picks, "{at}");
            let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&got.distances), bits(&want.distances), "{at}");
            assert_eq!(got.radius.to_bits(), want.radius.to_bits(), "{at}");
        }
    }
}

static POOLS: (
    std::sync::LazyLock<ThreadPool>,
    std::sync::LazyLock<ThreadPool>,
) = (
    std::sync::LazyLock::new(|| threads(2)),
    std::sync::LazyLock::new(|| threads(3)),
);

const METRICS: [Metric; 3] = [Metric::Euclidean, Metric::SqEuclidean, Metric::Cosine];

fn plain(k: usize, metric: Metric) -> KCenter<'static> {
    KCenter::new(k, metric)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn picks_are_those_of_the_naive_algorithm(
        seed in any::<u64>(),
        rows in prop_oneof![1_usize..6, 1_usize..300],
        dims in prop_oneof![1_usize..40, Just(100), Just(384), Just(785)],
        shape in 0..SHAPES,
        kind in 0..4_usize,
        metric in 0..3_usize,
        all in prop::bool::weighted(0.1),
    ) {
        let mut rng = Rng(seed);
        let pool = pool_of(shape, (rows, dims), KINDS[kind], &mut rng);
        let others = pool_of(shape, (1 + rng.below(9), dims), KINDS[rng.below(4)], &mut rng);
        let matrix = pool.view();
        let mask: Vec<u8> = (0..rows).map(|_| u8::from(rng.chance(0.2)) * 2).collect();
        let weights: Vec<f64> = (0..rows).map(|_| rng.below(4) as f64 / 3.0).collect();
        let groups: Vec<i64> = (0..rows).map(|_| rng.below(rows.min(5)) as i64).collect();
        let labelled: Vec<i64> = (0..rng.below(4)).map(|_| rng.below(rows) as i64).collect();
        let start = rng.below(rows);
        let free = mask[start] == 0 && !labelled.contains(&(start as i64));
        let k = if all { rows } else { 1 + rng.below(rows.min(40)) };
        let mut options = plain(k, METRICS[metric]);
        if rng.chance(0.3) {
            options.centers = Some(others.view());
        }
        let is_labelled = rng.chance(0.3);
        if is_labelled {
            options.labelled = &labelled;
        }
        let is_masked = rng.chance(0.3);
        if is_masked {
            options.exclude = Some(&mask);
        }
        if rng.chance(0.3) && free {
            options.start = Some(start);
        }
        if rng.chance(0.3) {
            options.weights = Some(&weights);
        }
        let kinds: Vec<i64> = (0..rows).map(|_| rng.below(rows.min(3)) as i64).collect();
        let quotas = [
            Quota { name: "groups", groups: &groups, most: 1 + rng.below(6) },
            Quota { name: "kinds", groups: &kinds, most: 1 + rng.below(9) },
        ];
        let costs: Vec<f64> = (0..rows).map(|_| 1.0 + rng.unit()).collect();
        options.limits.quotas = &quotas[..rng.below(6).saturating_sub(3)];
        if rng.chance(0.2) {
            options.limits.budget = Some(Budget { costs: &costs, budget: 20.0 * rng.unit() });
        }
        if rng.chance(0.2) {
            options.min_distance = Some(rng.unit());
        }
        if rng.chance(0.3) {
            options.outliers = rng.below(12);
        }
        compare(&matrix, &options);
    }
}

#[test]
fn large_pools_take_every_shortcut() {
    let mut rng = Rng(7);
    for (rows, dims, shape) in [
        (3000, 40, 6),
        (3000, 13, 0),
        (2500, 33, 3),
        (6000, 3, 6),
        (6000, 5, 0),
        (4000, 10, 5),
    ] {
        let pool = pool_of(shape, (rows, dims), ElementKind::F32, &mut rng);
        for metric in METRICS {
            compare(&pool.view(), &plain(400, metric));
        }
        let options = KCenter {
            outliers: 20,
            ..plain(60, Metric::Euclidean)
        };
        compare(&pool.view(), &options);
    }
}

#[test]
fn many_labelled_rows_are_as_good_as_few() {
    let mut rng = Rng(11);
    for dims in [3, 24] {
        let pool = pool_of(6, (4000, dims), ElementKind::F32, &mut rng);
        let others = pool_of(6, (3000, dims), ElementKind::F32, &mut rng);
        let labelled: Vec<i64> = (0..700).map(|i| 5 * i).collect();
        let options = KCenter {
            centers: Some(others.view()),
            labelled: &labelled,
            ..plain(300, Metric::Euclidean)
        };
        compare(&pool.view(), &options);
    }
}

#[test]
fn copies_come_last_and_once() {
    let values: Vec<f32> = (0..600).map(|i| (i / 20 % 3) as f32).collect();
    for dims in [2, 20] {
        let rows = values.len() / dims;
        let matrix = Matrix::from_slice(&values, rows, dims).expect("fits");
        let cover = k_center(
            &exec(None, Simd::detect()),
            &matrix,
            &plain(rows, Metric::Euclidean),
        );
        let mut picks = cover.expect("covered").picks;
        picks.sort_unstable();
        assert_eq!(picks, (0..rows).collect::<Vec<_>>());
        compare(&matrix, &plain(rows, Metric::Euclidean));
    }
}

#[test]
fn extreme_magnitudes_are_no_trouble() {
    let mut rng = Rng(3);
    for scale in [1e-30, 1e-15, 1e15, 1e30, 1e140] {
        for dims in [4, 30] {
            let values: Vec<f64> = (0..100 * dims)
                .map(|_| scale * (rng.unit() - 0.5))
                .collect();
            for kind in [ElementKind::F32, ElementKind::F64] {
                if kind == ElementKind::F32 && scale > 1e38 {
                    continue;
                }
                let pool = Pool::new(&values, (100, dims), kind, 0);
                for metric in METRICS {
                    compare(&pool.view(), &plain(30, metric));
                }
            }
        }
    }
}

#[test]
fn bad_numbers_are_named() {
    let exec = exec(None, Simd::detect());
    for dims in [3, 20] {
        let mut values = vec![1.0_f32; 50 * dims];
        values[7 * dims + 2] = f32::NAN;
        let matrix = Matrix::from_slice(&values, 50, dims).expect("fits");
        let error = k_center(&exec, &matrix, &plain(3, Metric::Euclidean)).expect_err("nan");
        let text = error.to_string();
        assert!(
            text.starts_with("embeddings: row 7 has nan in column 2;"),
            "{text}"
        );
        // Nobody asks what an excluded row holds.
        let mut mask = vec![0; 50];
        mask[7] = 1;
        let options = KCenter {
            exclude: Some(&mask),
            ..plain(3, Metric::Euclidean)
        };
        assert_eq!(
            k_center(&exec, &matrix, &options)
                .expect("covered")
                .picks
                .len(),
            3
        );
        values[7 * dims..8 * dims].fill(0.0);
        let matrix = Matrix::from_slice(&values, 50, dims).expect("fits");
        let error = k_center(&exec, &matrix, &plain(3, Metric::Cosine)).expect_err("zero");
        assert!(error.to_string().starts_with("embeddings: row 7 is zero"));
        let ones = vec![1.0_f32; 2 * dims];
        let others = Matrix::from_slice(&ones, 2, dims).expect("fits");
        let error = nearest(&exec, &others, &matrix, Metric::Cosine).expect_err("zero");
        assert!(error.to_string().starts_with("centers: row 7 is zero"));
    }
}

#[test]
fn a_cancelled_cover_says_so() {
    let cancel = AtomicBool::new(true);
    let exec = Exec {
        cancel: &cancel,
        ..exec(None, Simd::detect())
    };
    let values = vec![1.0_f32; 100];
    for dims in [2, 20] {
        let matrix = Matrix::from_slice(&values, 100 / dims, dims).expect("fits");
        let got = k_center(&exec, &matrix, &plain(2, Metric::Euclidean));
        assert_eq!(got, Err(Error::Cancelled));
    }
}

#[test]
fn the_nearest_centre_is_the_nearest() {
    let mut rng = Rng(5);
    for dims in [1, 3, 12, 13, 16, 40, 100] {
        for shape in 0..SHAPES {
            let kind = KINDS[rng.below(4)];
            let pool = pool_of(shape, (130, dims), kind, &mut rng);
            let others = pool_of(shape, (37, dims), ElementKind::F32, &mut rng);
            for metric in METRICS {
                let want = oracle::nearest(&pool.view(), &others.view(), metric);
                for simd in Simd::available() {
                    for threads in [None, Some(&*POOLS.0)] {
                        let exec = exec(threads, simd);
                        let got = nearest(&exec, &pool.view(), &others.view(), metric);
                        let got = got.expect("measured");
                        assert_eq!((got.index, got.distance), want);
                    }
                }
            }
        }
    }
}
