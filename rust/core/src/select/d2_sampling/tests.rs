//! The risk: picks that are not drawn from the D² distribution, or that depend on
//! screening, threads or instructions.

mod distribution;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::*;
use crate::distances::Metric::{Cosine, Euclidean, SqEuclidean};
use crate::element::{Element, bf16, f16};
use crate::simd::Simd;

/// Numbers that look random.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        mix(self.0)
    }

    fn unit(&mut self) -> f64 {
        uniform(self.next())
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn exec(pool: Option<&ThreadPool>, simd: Simd) -> Exec<'_> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    static FIGURE: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicUsize = AtomicUsize::new(0);
    Exec {
        pool,
        simd,
        cancel: &NEVER,
        done: &DONE,
        figure: &FIGURE,
    }
}

fn alone() -> Exec<'static> {
    exec(None, Simd::detect())
}

fn options(k: usize, seed: u64) -> D2Sampling<'static> {
    D2Sampling {
        k,
        metric: Euclidean,
        seed,
        centers: None,
        labelled: &[],
        start: None,
        weights: None,
        exclude: None,
        limits: Limits::default(),
        predictions: None,
    }
}

/// The same rounds, with all distances from the beginning, and no shortcuts.
struct Naive<'a> {
    space: Space<'a>,
    options: D2Sampling<'a>,
    /// Squared distances of all rows to each centre.
    columns: Vec<Vec<f64>>,
    seen: Vec<usize>,
    draws: u64,
    picks: Vec<usize>,
    squared: Vec<f64>,
}

impl Naive<'_> {
    fn add(&mut self, centre: &[f64]) {
        let all: Vec<u32> = (0..self.space.rows() as u32).collect();
        let column = self.space.distances_to(&alone(), &all, centre);
        self.columns.push(column.expect("distances"));
    }

    /// The bound of a row that has seen so many centres.
    fn bound(&self, row: usize, centres: usize) -> f64 {
        let columns = self.columns[..centres].iter();
        columns.fold(f64::INFINITY, |least, column| least.min(column[row]))
    }

    fn weight(&self, row: usize) -> f64 {
        self.options.weights.map_or(1.0, |w| w[row])
    }

    fn pick(&mut self, row: usize) {
        let squared = self.bound(row, self.columns.len());
        self.picks.push(row);
        self.squared.push(squared);
        if squared > 0.0 {
            self.add(&self.space.row(row));
        }
    }

    fn random(&mut self) -> f64 {
        self.draws += 1;
        uniform(mix((self.draws - 1) ^ mix(self.options.seed)))
    }

    fn run(mut self) -> (Vec<usize>, Vec<f64>, f64) {
        let options = self.options;
        let rows = self.space.rows();
        let is_barred = |row: &usize| {
            options.exclude.is_some_and(|mask| mask[*row] != 0)
                || options.labelled.contains(&(*row as i64))
        };
        let candidates: Vec<usize> = (0..rows).filter(|row| !is_barred(row)).collect();
        let k = options.k.min(candidates.len());
        let mut centres = Vec::new();
        if let Some(matrix) = options.centers {
            let others = Space::new(matrix, options.metric, Simd::detect());
            centres.extend((0..others.rows()).map(|row| others.row(row)));
        }
        centres.extend(options.labelled.iter().map(|r| self.space.row(*r as usize)));
        let mut order: Vec<usize> = (0..centres.len()).collect();
        order.sort_by_key(|at| mix(*at as u64));
        for at in order {
            self.add(&centres[at]);
        }
        let mut depth = self.columns.len().min(PIVOTS);
        if let Some(row) = options.start {
            self.pick(row);
        } else if self.columns.is_empty() {
            let mut tree = Tree::new(rows);
            for row in &candidates {
                tree.set(*row, self.weight(*row));
            }
            let row = tree.find(self.random());
            self.pick(row);
        }
        depth = depth.max(1);
        self.seen.fill(depth);
        let (mut draws, mut wasted) = (DRAWS[0], 0);
        loop {
            let mut tree = Tree::new(rows);
            let is_left = |row: &&usize| !self.picks.contains(row);
            for row in candidates.iter().filter(is_left) {
                tree.set(*row, self.weight(*row) * self.bound(*row, self.seen[*row]));
            }
            if self.picks.len() == k || tree.total() == 0.0 {
                break;
            }
            let (before, centres) = (self.picks.len(), self.columns.len());
            let mut drawn = Vec::new();
            for _ in 0..draws {
                let (place, height) = (self.random(), self.random());
                let row = tree.find(place);
                drawn.push((row, height * tree.get(row)));
            }
            let mut spent = 0;
            for (row, _) in &drawn {
                spent += centres - self.seen[*row];
                self.seen[*row] = centres;
            }
            for (row, height) in drawn {
                let now = |naive: &Self, seen| naive.weight(row) * naive.bound(row, seen);
                if self.picks.len() < k && height < now(&self, self.seen[row]) {
                    let all = self.columns.len();
                    self.seen[row] = all;
                    if height < now(&self, all) {
                        self.pick(row);
                    }
                }
            }
            let picked = self.picks.len() - before;
            wasted += spent * draws.saturating_sub(picked) / draws;
            let wanted = (self.columns.len() / PART).max(DRAWS[0] / 2);
            draws = (wanted * draws / picked.max(1)).clamp(DRAWS[0], (2 * draws).min(DRAWS[1]));
            let deeper = (2 * depth).min(self.columns.len());
            if deeper > depth && wasted >= (deeper - depth) * candidates.len() {
                (depth, wasted) = (deeper, 0);
                for seen in &mut self.seen {
                    *seen = (*seen).max(depth);
                }
            }
        }
        for row in &candidates {
            if self.picks.len() < k && !self.picks.contains(row) {
                self.pick(*row);
            }
        }
        let all = self.columns.len();
        let left = candidates.iter().map(|row| self.bound(*row, all));
        let radius = left.fold(0.0, f64::max);
        (self.picks, self.squared, radius)
    }
}

/// Checks picks against the naive algorithm, on all levels and some threads.
#[track_caller]
fn check(matrix: &Matrix<'_>, options: &D2Sampling<'_>, what: &str) {
    let space = Space::new(*matrix, options.metric, Simd::detect());
    let naive = Naive {
        space,
        options: *options,
        columns: Vec::new(),
        seen: vec![0; matrix.rows()],
        draws: 0,
        picks: Vec::new(),
        squared: Vec::new(),
    };
    let (picks, squared, radius) = naive.run();
    let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let distances: Vec<f64> = squared.iter().map(|d| options.metric.finish(*d)).collect();
    for simd in Simd::available() {
        for threads in 0..3 {
            let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).build();
            let pool = pool.expect("threads");
            let exec = exec((threads > 0).then_some(&pool), simd);
            let found = d2_sampling(&exec, matrix, options).expect("picks");
            let name = simd.name();
            assert_eq!(found.picks, picks, "{what}, {name}, {threads} threads");
            assert_eq!(bits(&found.distances), bits(&distances), "{what}, {name}");
            assert_eq!(
                found.radius,
                options.metric.finish(radius),
                "{what}, {name}, radius"
            );
        }
    }
}

/// Rows in a few clusters, some of them copies.
fn clusters(rng: &mut Rng, rows: usize, dims: usize, offset: f64) -> Vec<f64> {
    let middles: Vec<f64> = (0..5 * dims).map(|_| 4.0 * rng.unit()).collect();
    let mut values: Vec<f64> = Vec::with_capacity(rows * dims);
    for row in 0..rows {
        if row > 0 && rng.below(8) == 0 {
            let from = rng.below(row) * dims;
            values.extend_from_within(from..from + dims);
        } else {
            let middle = rng.below(5) * dims;
            let near = middles[middle..middle + dims].iter();
            values.extend(near.map(|x| x + rng.unit() + offset));
        }
    }
    values
}

fn of_kind<E: Element>(values: &[f64], narrow: impl Fn(f64) -> E) -> Vec<E> {
    values.iter().map(|x| narrow(*x)).collect()
}

#[test]
fn picks_are_those_of_the_naive_algorithm() {
    let mut rng = Rng(1);
    let shapes = [
        (1, 3),
        (2, 1),
        (40, 2),
        (90, 12),
        (90, 13),
        (200, 40),
        (60, 385),
    ];
    for (case, (rows, dims)) in shapes.into_iter().enumerate() {
        let values = clusters(&mut rng, rows, dims, 0.0);
        for metric in [Euclidean, SqEuclidean, Cosine] {
            for k in [1, rows.div_ceil(3), rows] {
                let seed = rng.next();
                let options = D2Sampling {
                    metric,
                    ..options(k, seed)
                };
                let what = format!("{rows} x {dims}, k = {k}, {metric:?}");
                match case % 4 {
                    0 => check(
                        &Matrix::dense(&of_kind(&values, |x| x), (rows, dims)),
                        &options,
                        &what,
                    ),
                    1 => check(
                        &Matrix::dense(&of_kind(&values, |x| x as f32), (rows, dims)),
                        &options,
                        &what,
                    ),
                    2 => check(
                        &Matrix::dense(&of_kind(&values, f16::from_f64), (rows, dims)),
                        &options,
                        &what,
                    ),
                    _ => check(
                        &Matrix::dense(&of_kind(&values, bf16::from_f64), (rows, dims)),
                        &options,
                        &what,
                    ),
                }
            }
        }
    }
}

#[test]
fn many_rounds_and_many_rows() {
    let mut rng = Rng(2);
    for (dims, offset) in [(3, 0.0), (32, 0.0), (32, 1e4)] {
        let values = of_kind(&clusters(&mut rng, 2500, dims, offset), |x| x as f32);
        let matrix = Matrix::dense(&values, (2500, dims));
        check(&matrix, &options(300, 7), &format!("{dims} dims"));
    }
}

#[test]
fn all_options_at_once() {
    let mut rng = Rng(3);
    for dims in [4, 24] {
        let values = clusters(&mut rng, 300, dims, 0.0);
        let matrix = Matrix::dense(&values, (300, dims));
        // More than there are pivots.
        let others = clusters(&mut rng, 150, dims, 0.5);
        let centers = Some(Matrix::dense(&others, (150, dims)));
        let weights: Vec<f64> = (0..300).map(|i| f64::from(i % 4) * rng.unit()).collect();
        let exclude: Vec<u8> = (0..300).map(|i| u8::from(i % 11 == 3)).collect();
        let labelled = [5, 17, 17, 3, 100];
        for k in [0, 1, 50, 300] {
            let options = D2Sampling {
                centers,
                weights: Some(&weights),
                ..options(k, 5)
            };
            check(&matrix, &options, "centers and weights");
            let options = D2Sampling {
                labelled: &labelled,
                exclude: Some(&exclude),
                start: (k > 0).then_some(8),
                ..options
            };
            if k > 0 {
                check(&matrix, &options, "all");
            }
        }
    }
}

#[test]
fn copies_and_weightless_rows_come_last_in_order() {
    let values: Vec<f64> = (0..40).map(|i| f64::from(i / 8)).collect();
    let matrix = Matrix::dense(&values, (40, 1));
    for seed in 0..50 {
        let found = d2_sampling(&alone(), &matrix, &options(40, seed)).expect("picks");
        let mut distinct: Vec<f64> = found.picks[..5].iter().map(|row| values[*row]).collect();
        distinct.sort_by(f64::total_cmp);
        assert_eq!(distinct, [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert!(found.picks[5..].is_sorted());
        assert!(found.distances[5..].iter().all(|d| *d == 0.0));
        assert_eq!(found.radius, 0.0);
        let mut all = found.picks;
        all.sort_unstable();
        assert!(all.into_iter().eq(0..40));
        let weights: Vec<f64> = (0..40).map(|i| f64::from(u8::from(i >= 38))).collect();
        let options = D2Sampling {
            weights: Some(&weights),
            ..options(4, seed)
        };
        let found = d2_sampling(&alone(), &matrix, &options).expect("picks");
        assert!(found.picks[0] >= 38);
        // Row 0 is far from it, but weighs nothing; so does row 1, a copy of row 0.
        assert_eq!(found.picks[1..], [0, 1, 2]);
        assert_eq!(found.distances[1..], [4.0, 0.0, 0.0]);
    }
    let copies = vec![1.5_f32; 30 * 20];
    let matrix = Matrix::dense(&copies, (30, 20));
    let found = d2_sampling(&alone(), &matrix, &options(30, 3)).expect("picks");
    let rest = (0..30).filter(|row| *row != found.picks[0]);
    assert!(found.picks[1..].iter().copied().eq(rest));
}

#[test]
fn what_cannot_be_drawn_from_is_refused() {
    let error = |values: &[f64], options: &D2Sampling<'_>| {
        let matrix = Matrix::dense(values, (values.len() / 2, 2));
        d2_sampling(&alone(), &matrix, options).expect_err("an error")
    };
    let is = |error: Error, start: &str| assert!(error.to_string().starts_with(start), "{error}");
    let fine = options(1, 0);
    let nan = [0.0, 1.0, 2.0, f64::NAN];
    is(error(&nan, &fine), "embeddings: row 1 has nan in column 1");
    let cosine = D2Sampling {
        metric: Cosine,
        ..fine
    };
    is(
        error(&[1.0, 1.0, 0.0, 0.0], &cosine),
        "embeddings: row 1 is zero",
    );
    let far = [0.0, 0.0, 1e200, 0.0];
    is(error(&far, &fine), "embeddings: squared distances");
    let start = D2Sampling {
        start: Some(2),
        ..fine
    };
    is(error(&[0.0; 4], &start), "start: ");
    let excluded = D2Sampling {
        exclude: Some(&[0, 1]),
        ..options(2, 0)
    };
    let matrix = Matrix::dense(&nan, (2, 2));
    let found = d2_sampling(&alone(), &matrix, &excluded).expect("picks");
    assert_eq!(found.picks, [0]);
    let none = D2Sampling {
        exclude: Some(&[1, 1]),
        ..fine
    };
    let found = d2_sampling(&alone(), &matrix, &none).expect("no picks");
    assert_eq!((found.picks.len(), found.radius), (0, 0.0));
}

#[test]
fn stops_when_told_to() {
    let values = vec![0.5_f32; 400];
    let matrix = Matrix::dense(&values, (20, 20));
    let stop = AtomicBool::new(true);
    let exec = Exec {
        cancel: &stop,
        ..alone()
    };
    let found = d2_sampling(&exec, &matrix, &options(3, 0));
    assert_eq!(found, Err(Error::Cancelled));
}
