//! The naive algorithm, over a plain version of the exact distance function.

use super::super::{Cover, KCenter};
use super::{Budget, Quota};
use crate::distances::Metric;
use crate::matrix::Matrix;

/// Sums 8 lanes along a row, in runs of 16 vectors, joined by a butterfly; rows of up
/// to 12 numbers in order.
fn sum_of_squares(x: &[f64]) -> f64 {
    if x.len() <= 12 {
        return x.iter().fold(0.0, |sum, x| x.mul_add(*x, sum));
    }
    let mut total = [0.0; 8];
    for run in x.chunks(128) {
        let mut sum = [0.0; 8];
        for (i, x) in run.iter().enumerate() {
            sum[i % 8] = x.mul_add(*x, sum[i % 8]);
        }
        for (total, sum) in total.iter_mut().zip(sum) {
            *total += sum;
        }
    }
    butterfly(total)
}

fn butterfly(mut lanes: [f64; 8]) -> f64 {
    for distance in [4, 2, 1] {
        for i in 0..distance {
            lanes[i] += lanes[i + distance];
        }
    }
    lanes[0]
}

fn prepared(matrix: &Matrix<'_>, metric: Metric) -> Vec<Vec<f64>> {
    let row = |row| (0..matrix.cols()).map(move |col| matrix.get(row, col));
    let mut rows: Vec<Vec<f64>> = (0..matrix.rows()).map(|r| row(r).collect()).collect();
    if metric == Metric::Cosine {
        for row in &mut rows {
            let mut lanes = [0.0; 8];
            for (i, x) in row.iter().enumerate() {
                lanes[i % 8] = x.mul_add(*x, lanes[i % 8]);
            }
            let scale = 1.0 / butterfly(lanes).sqrt();
            for x in row {
                *x *= scale;
            }
        }
    }
    rows
}

fn squared(x: &[f64], y: &[f64]) -> f64 {
    let gaps: Vec<f64> = x.iter().zip(y).map(|(x, y)| x - y).collect();
    sum_of_squares(&gaps)
}

pub(super) fn nearest(
    matrix: &Matrix<'_>,
    centers: &Matrix<'_>,
    metric: Metric,
) -> (Vec<i64>, Vec<f64>) {
    let (rows, centers) = (prepared(matrix, metric), prepared(centers, metric));
    let nearest = rows.iter().map(|row| {
        let all = centers.iter().map(|c| squared(row, c)).enumerate();
        let (at, least) = all.fold(
            (0, f64::INFINITY),
            |best, (at, x)| {
                if x < best.1 { (at, x) } else { best }
            },
        );
        (at as i64, metric.finish(least))
    });
    nearest.unzip()
}

pub(super) fn naive(matrix: &Matrix<'_>, options: &KCenter<'_>) -> Cover {
    let n = matrix.rows();
    let rows = prepared(matrix, options.metric);
    let covered: Vec<usize> = (0..n)
        .filter(|row| options.exclude.is_none_or(|mask| mask[*row] == 0))
        .collect();
    let mut least = vec![f64::INFINITY; n];
    let show = |least: &mut Vec<f64>, centre: &[f64]| {
        for (least, row) in least.iter_mut().zip(&rows) {
            *least = least.min(squared(row, centre));
        }
    };
    if let Some(centers) = options.centers {
        for centre in prepared(&centers, options.metric) {
            show(&mut least, &centre);
        }
    }
    for row in options.labelled {
        show(&mut least, &rows[*row as usize]);
    }
    let has_centres = options.centers.is_some() || !options.labelled.is_empty();
    let (mut picks, mut distances) = (Vec::new(), Vec::new());
    let is_within = |picks: &[usize], row: usize| {
        let all = || picks.iter().copied().chain([row]);
        let fits = |quota: &Quota<'_>| {
            let group = quota.groups[row];
            all().filter(|row| quota.groups[*row] == group).count() <= quota.most
        };
        let is_paid = |budget: Budget<'_>| {
            let before = picks
                .iter()
                .fold(budget.budget, |left, row| left - budget.costs[*row]);
            budget.costs[row] <= before
        };
        options.limits.quotas.iter().all(fits) && options.limits.budget.is_none_or(is_paid)
    };
    let factor = |row: usize| {
        options
            .weights
            .map_or(1.0, |w| options.metric.factor(w[row]))
    };
    while picks.len() < options.k.min(n) {
        let is_first = picks.is_empty();
        let may = |row: &usize| {
            !picks.contains(row)
                && !options.labelled.contains(&(*row as i64))
                && is_within(&picks, *row)
                && (options.min_distance).is_none_or(|m| options.metric.finish(least[*row]) >= m)
        };
        // The first of equals: lower rows come first, and the sort is stable.
        let order = |keys: &[f64]| {
            let mut order = covered.clone();
            // What covers is no outlier.
            order.retain(|row| !picks.contains(row));
            order.retain(|row| !options.labelled.contains(&(*row as i64)));
            order.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]));
            order
        };
        let pick = if is_first && options.start.is_some() {
            options.start
        } else if is_first && !has_centres {
            let mean = mean(&rows, &covered);
            let keys: Vec<f64> = rows.iter().map(|row| squared(row, &mean)).collect();
            order(&keys).into_iter().find(may)
        } else {
            let key = |row: usize| match factor(row) {
                0.0 => 0.0,
                factor => factor * least[row],
            };
            let keys: Vec<f64> = (0..n).map(key).collect();
            let order = order(&keys);
            order.into_iter().skip(options.outliers).find(may)
        };
        let Some(pick) = pick else { break };
        picks.push(pick);
        distances.push(options.metric.finish(least[pick]));
        show(&mut least, &rows[pick]);
    }
    let mut left: Vec<f64> = covered.iter().map(|row| least[*row]).collect();
    left.sort_by(|a, b| b.total_cmp(a));
    let radius = left.get(options.outliers).copied().unwrap_or(0.0);
    Cover {
        picks,
        distances,
        radius: options.metric.finish(radius),
        computed: 0,
    }
}

/// From the last row to the first, with what rounding takes from the sums beside them.
fn mean(rows: &[Vec<f64>], covered: &[usize]) -> Vec<f64> {
    let mean = |col: usize| {
        let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
        for row in covered.iter().rev() {
            let x = rows[*row][col];
            let next = sum + x;
            lost += if sum.abs() >= x.abs() {
                (sum - next) + x
            } else {
                (x - next) + sum
            };
            sum = next;
        }
        (sum + lost) / covered.len() as f64
    };
    (0..rows[0].len()).map(mean).collect()
}
