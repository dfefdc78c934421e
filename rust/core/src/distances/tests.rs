//! The risks: neighbours, densities or gradients that are not those of plain arithmetic,
//! or that depend on threads, machines, layouts or lane boundaries.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use proptest::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::element::{Element, bf16, f16};
use crate::matrix::Matrix;
use crate::parallel::Exec;
use crate::scores::tests::pools::Rng;
use crate::simd::Simd;

/// Runs `work` on all machines, alone and on threads, and checks that the answers are one.
fn everywhere<T: PartialEq + std::fmt::Debug>(work: impl Fn(&Exec<'_>) -> T) -> T {
    let pool = ThreadPoolBuilder::new().num_threads(3).build();
    let pool: ThreadPool = pool.expect("threads");
    let mut answers = Vec::new();
    for simd in Simd::available() {
        for pool in [None, Some(&pool)] {
            let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
            let figure = AtomicU64::new(0);
            let exec = Exec {
                pool,
                simd,
                cancel: &cancel,
                done: &done,
                figure: &figure,
            };
            answers.push(work(&exec));
        }
    }
    for other in &answers[1..] {
        assert_eq!(&answers[0], other, "machines and threads agree");
    }
    answers.swap_remove(0)
}

/// Numbers on a grid, so that distances tie, or not.
fn values(rng: &mut Rng, count: usize, coarse: bool) -> Vec<f64> {
    let number = |rng: &mut Rng| {
        if coarse {
            rng.below(3) as f64
        } else {
            rng.bell()
        }
    };
    (0..count).map(|_| number(rng)).collect()
}

/// All the values of each type, exact in all.
fn rounded<E: Element>(values: &[f64], of: impl Fn(f64) -> E) -> (Vec<E>, Vec<f64>) {
    let elements: Vec<E> = values.iter().map(|x| of(*x)).collect();
    let exact = elements.iter().map(|x| x.to_f64()).collect();
    (elements, exact)
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The nearest centres by exact distances to all.
fn one_by_one(exec: &Exec<'_>, x: &Matrix<'_>, centers: &Matrix<'_>, metric: Metric) -> Nearest {
    let (space, others) = (
        Space::new(*x, metric, exec.simd),
        Space::new(*centers, metric, exec.simd),
    );
    let all: Vec<f64> = (0..centers.rows())
        .flat_map(|row| others.row(row))
        .collect();
    let mut best = vec![Best::NONE; x.rows()];
    for (row, best) in best.iter_mut().enumerate() {
        space.sweep(&space.row(row), &all, 0, std::slice::from_mut(best));
    }
    Nearest {
        index: best.iter().map(|best| i64::from(best.near)).collect(),
        distance: best
            .iter()
            .map(|best| metric.finish(best.squared))
            .collect(),
    }
}

/// The nearest by plain arithmetic, by distance and position.
fn plain(x: &[f64], dims: usize, row: usize) -> Vec<(f64, u32)> {
    let rows = x
        .chunks(dims)
        .enumerate()
        .filter(|(other, _)| *other != row);
    let own = &x[row * dims..][..dims];
    let mut all: Vec<_> = rows
        .map(|(other, b)| (squared(own, b), other as u32))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn one_point_is_measured_with_the_bits_of_one_centre(
        rows in 1..40_usize,
        dims in prop_oneof![1..20_usize, 250..270_usize],
        seed in any::<u64>(),
    ) {
        let mut rng = Rng(seed);
        let data = values(&mut rng, rows * dims, false);
        let matrix = Matrix::from_slice(&data, rows, dims).expect("fits");
        let pairs = everywhere(|exec| {
            let space = Space::new(matrix, Metric::Euclidean, exec.simd);
            let list: Vec<u32> = (0..rows as u32).collect();
            let mut prepared = vec![0.0; rows * space.width()];
            space.load(&list, &mut prepared);
            let point = space.row(rows / 2);
            let (mut ours, mut best) = (vec![-1.0; rows], vec![Best::NONE; rows]);
            space.measure(&prepared, &point, &mut ours);
            space.sweep(&prepared, &point, 0, &mut best);
            ours.into_iter().zip(best).map(|(x, best)| (x.to_bits(), best.squared.to_bits())).collect::<Vec<_>>()
        });
        for (x, best) in pairs {
            prop_assert_eq!(x, best);
        }
    }

    #[test]
    fn neighbours_are_those_of_plain_arithmetic(
        seed in any::<u64>(),
        rows in prop_oneof![2_usize..20, 40_usize..60, 90_usize..200],
        dims in prop_oneof![1_usize..20, Just(33), Just(128), Just(145)],
        coarse in any::<bool>(),
        kind in 0..4_usize,
    ) {
        let mut rng = Rng(seed);
        let given = values(&mut rng, rows * dims, coarse);
        macro_rules! check {
            ($of:expr) => {{
                let (elements, x) = rounded(&given, $of);
                let matrix = Matrix::from_slice(&elements, rows, dims).expect("fits");
                let count = 1 + rng.below(rows - 1);
                let near = everywhere(|exec| {
                    let reach = Reach::Nearest(count);
                    neighbours(exec, &matrix, Metric::SqEuclidean, reach, usize::MAX).expect("found")
                });
                let radius = plain(&x, dims, 0)[rng.below(rows - 1)].0 + 1e-9;
                let within = everywhere(|exec| {
                    let reach = Reach::Within(radius);
                    neighbours(exec, &matrix, Metric::SqEuclidean, reach, usize::MAX).expect("found")
                });
                for row in 0..rows {
                    let all = plain(&x, dims, row);
                    let range = near.starts[row] as usize..near.starts[row + 1] as usize;
                    prop_assert_eq!(range.len(), count);
                    for (at, (squared, other)) in range.zip(&all) {
                        prop_assert!((near.distances[at] - squared).abs() <= 1e-12 * squared);
                        // Sums of another order may tell rows that are equally near apart.
                        prop_assert!(near.rows[at] == *other || !coarse);
                    }
                    let range = within.starts[row] as usize..within.starts[row + 1] as usize;
                    let mut inside: Vec<u32> = all.iter().filter(|n| n.0 <= radius).map(|n| n.1).collect();
                    inside.sort_unstable();
                    prop_assert_eq!(&within.rows[range], &inside[..]);
                }
            }};
        }
        match kind {
            0 => check!(f16::from_f64),
            1 => check!(bf16::from_f64),
            2 => check!(|x| x as f32),
            _ => check!(|x| x),
        }
    }

    #[test]
    fn density_is_the_mean_of_all_cosines(
        seed in any::<u64>(),
        rows in 1_usize..70,
        dims in prop_oneof![1_usize..40, Just(128), Just(130)],
    ) {
        let mut rng = Rng(seed);
        let (elements, x) = rounded(&values(&mut rng, rows * dims, false), |x| (x + 3.0) as f32);
        let narrow = Matrix::from_slice(&elements, rows, dims).expect("fits");
        let wide = Matrix::from_slice(&x, rows, dims).expect("fits");
        // Columns side by side: elements of a row lie apart.
        let turned: Vec<f64> = (0..dims * rows).map(|at| x[at % rows * dims + at / rows]).collect();
        // SAFETY: the columns of `turned` are the rows.
        let across = unsafe {
            let strides = (8, 8 * rows.cast_signed());
            Matrix::from_raw_parts(turned.as_ptr().cast(), (rows, dims), strides, f64::KIND)
        };
        let single = everywhere(|exec| density(exec, &narrow).expect("dense"));
        let double = everywhere(|exec| density(exec, &wide).expect("dense"));
        prop_assert_eq!(&everywhere(|exec| density(exec, &across).expect("dense")), &double);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (row, a) in x.chunks(dims).enumerate() {
            let cosine = |b: &[f64]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
            let mean = x.chunks(dims).map(cosine).sum::<f64>() / rows as f64;
            prop_assert!((double[row] - mean).abs() < 1e-13);
            prop_assert!((single[row] - mean).abs() < 2e-6);
        }
    }

    #[test]
    fn means_are_those_of_any_order_and_shards(
        seed in any::<u64>(),
        rows in prop_oneof![1_usize..40, 1000_usize..1100],
        dims in prop_oneof![1_usize..20, Just(33), Just(130)],
        metric in prop_oneof![Just(Metric::Euclidean), Just(Metric::Cosine)],
    ) {
        let mut rng = Rng(seed);
        let x: Vec<f64> = values(&mut rng, rows * dims, false).iter().map(|x| x + 1e-3).collect();
        let turned: Vec<f64> = x.chunks(dims).rev().flatten().copied().collect();
        let sums = |x: &[f64]| everywhere(|exec| {
            let matrix = Matrix::from_slice(x, x.len() / dims, dims).expect("fits");
            sum_of_rows(exec, &matrix, metric, None).expect("added")
        });
        let whole = sums(&x);
        prop_assert_eq!(whole.mean(), sums(&turned).mean());
        let (left, right) = x.split_at(rng.below(rows) * dims);
        let mut both = sums(left);
        both.add(&sums(right));
        prop_assert_eq!(whole.mean(), both.mean());
        prop_assert_eq!((whole.count, whole.largest), (both.count, both.largest));
    }

    #[test]
    fn centers_that_are_shown_later_give_the_same_distances(
        seed in any::<u64>(),
        rows in 1_usize..120,
        centers in 1_usize..400,
        dims in prop_oneof![1_usize..20, Just(33), Just(145)],
        coarse in any::<bool>(),
        metric in prop_oneof![Just(Metric::SqEuclidean), Just(Metric::Cosine)],
    ) {
        let mut rng = Rng(seed);
        let x: Vec<f32> = values(&mut rng, rows * dims, coarse).iter().map(|x| *x as f32 + 0.5).collect();
        let y: Vec<f32> = values(&mut rng, centers * dims, coarse).iter().map(|x| *x as f32 + 0.5).collect();
        let x = Matrix::from_slice(&x, rows, dims).expect("fits");
        let few = rng.below(centers);
        let all = Matrix::from_slice(&y, centers, dims).expect("fits");
        let first = Matrix::from_slice(&y[..few * dims], few, dims).expect("fits");
        let list: Vec<i64> = (0..rows as i64).collect();
        let seen: Vec<i64> = list.iter().map(|_| if rng.below(2) == 0 { 0 } else { few as i64 }).collect();
        let (before, after, wanted) = everywhere(|exec| {
            let sums = sum_of_rows(exec, &x, metric, None).expect("added");
            let nothing = (vec![0; rows], vec![f64::INFINITY; rows]);
            let known = Known { rows: &list, seen: &nothing.0, squared: &nothing.1 };
            let before = show_centers(exec, &x, metric, known, &first, Some(&sums)).expect("shown");
            let upper: Vec<f64> = before.iter().zip(&seen).map(|(squared, seen)| {
                if *seen == 0 { f64::INFINITY } else { *squared }
            }).collect();
            let known = Known { rows: &list, seen: &seen, squared: &upper };
            let after = show_centers(exec, &x, metric, known, &all, Some(&sums)).expect("shown");
            (before, after, one_by_one(exec, &x, &all, metric))
        });
        let after: Vec<f64> = after.into_iter().map(|squared| metric.finish(squared)).collect();
        prop_assert_eq!(before.len(), rows);
        prop_assert_eq!(after, wanted.distance);
    }

    #[test]
    fn the_nearest_centre_is_that_of_all_exact_distances(
        seed in any::<u64>(),
        rows in 1_usize..120,
        centers in prop_oneof![1_usize..60, 250_usize..270, 510_usize..530, 1020_usize..1100],
        dims in prop_oneof![1_usize..20, Just(33), Just(145)],
        coarse in any::<bool>(),
        scale in prop_oneof![Just(1.0), Just(1e18), Just(1e-18)],
        metric in prop_oneof![Just(Metric::Euclidean), Just(Metric::SqEuclidean), Just(Metric::Cosine)],
    ) {
        let mut rng = Rng(seed);
        let mut numbers = |count| values(&mut rng, count, coarse).iter().map(|x| (x + 0.5) * scale).collect::<Vec<_>>();
        let (x, y) = (numbers(rows * dims), numbers(centers * dims));
        let x = Matrix::from_slice(&x, rows, dims).expect("fits");
        let y = Matrix::from_slice(&y, centers, dims).expect("fits");
        let (found, wanted) = everywhere(|exec| {
            (nearest(exec, &x, &y, metric).expect("found"), one_by_one(exec, &x, &y, metric))
        });
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn gradients_and_products_are_those_that_are_written_out(
        seed in any::<u64>(),
        rows in 2_usize..12,
        dims in 1_usize..40,
        classes in 1_usize..36,
        near in any::<bool>(),
    ) {
        let mut rng = Rng(seed);
        let mut x = values(&mut rng, rows * dims, false);
        let mut p = values(&mut rng, rows * classes, false);
        if near {
            // Rows that differ by little cancel in products.
            for at in dims..x.len() {
                x[at] = x[at % dims] + 1e-7 * x[at];
            }
            for at in classes..p.len() {
                p[at] = p[at % classes] + 1e-7 * p[at];
            }
        }
        let (points, beside) = (
            Matrix::from_slice(&x, rows, dims).expect("fits"),
            Matrix::from_slice(&p, rows, classes).expect("fits"),
        );
        for join in [Join::Gradients, Join::Product] {
            let measured = everywhere(|exec| {
                let beside = Beside { matrix: beside, join };
                let space = Space::joint(points, beside, exec.simd).expect("fits");
                let all: Vec<f64> = (0..rows).flat_map(|row| space.row(row)).collect();
                let mut squared = Vec::new();
                for row in 0..rows {
                    let mut best = vec![Best::NONE; rows];
                    space.sweep(&all, &space.row(row), 0, &mut best);
                    squared.extend(best.iter().map(|best| best.squared.to_bits()));
                }
                squared
            });
            let gradient = |row: usize| {
                let own = &p[row * classes..][..classes];
                let named = (0..classes).fold(0, |a, b| if own[b] > own[a] { b } else { a });
                let part = move |class: usize| own[class] - f64::from(u8::from(class == named));
                let x = &x[row * dims..][..dims];
                (0..classes).flat_map(move |class| x.iter().map(move |x| part(class) * x))
            };
            for (at, bits) in measured.iter().enumerate() {
                let (a, b) = (at / rows, at % rows);
                let of = |v: &[f64], width: usize| squared(&v[a * width..][..width], &v[b * width..][..width]);
                let (wanted, scale) = match join {
                    Join::Product => (of(&x, dims) * of(&p, classes), 0.0),
                    Join::Gradients => {
                        let (a, b): (Vec<f64>, Vec<f64>) = (gradient(a).collect(), gradient(b).collect());
                        // What writing products out rounds off.
                        (squared(&a, &b), 1e-28 * squared(&a, &vec![0.0; a.len()]))
                    }
                };
                let got = f64::from_bits(*bits);
                prop_assert!((got - wanted).abs() <= 1e-6 * wanted + scale, "{got} {wanted}");
                prop_assert!(a != b || got == 0.0);
            }
        }
    }
}
