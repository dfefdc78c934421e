//! Over many seeds, picks are distributed as the definition says: chi-square tests
//! against all sequences of picks, whose probabilities small pools let us compute.

use std::collections::HashMap;

use super::*;

/// The probability of every sequence of `k` picks, by the definition.
fn sequences(
    distance: &dyn Fn(usize, usize) -> f64,
    covered: &[f64],
    weights: &[f64],
    k: usize,
) -> HashMap<Vec<usize>, f64> {
    let mut all = HashMap::from([(Vec::new(), 1.0)]);
    for _ in 0..k {
        let mut longer = HashMap::new();
        for (picks, probability) in all {
            let weigh = |row: usize| {
                let near = |d: f64, pick: &usize| d.min(distance(row, *pick));
                let squared = picks.iter().fold(covered[row], near);
                // Nothing covers yet: the weight alone.
                weights[row]
                    * if squared == f64::INFINITY {
                        1.0
                    } else {
                        squared
                    }
            };
            let total: f64 = (0..weights.len()).map(weigh).sum();
            for row in (0..weights.len()).filter(|row| weigh(*row) > 0.0) {
                let mut picks = picks.clone();
                picks.push(row);
                longer.insert(picks, probability * weigh(row) / total);
            }
        }
        all = longer;
    }
    all
}

/// Fails where counts are less likely than once in millions.
#[track_caller]
fn chi_square(counts: &HashMap<Vec<usize>, usize>, expected: &HashMap<Vec<usize>, f64>, n: usize) {
    assert!(counts.keys().all(|key| expected.contains_key(key)));
    let (mut chi, mut cells) = (0.0, 0.0);
    // Rare sequences share a cell.
    let (mut few, mut few_expected) = (0.0, 0.0);
    for (key, probability) in expected {
        let count = counts.get(key).copied().unwrap_or(0) as f64;
        let mean = probability * n as f64;
        if mean < 8.0 {
            few += count;
            few_expected += mean;
        } else {
            chi += (count - mean).powi(2) / mean;
            cells += 1.0;
        }
    }
    if few_expected >= 8.0 {
        chi += (few - few_expected).powi(2) / few_expected;
        cells += 1.0;
    }
    let freedom: f64 = cells - 1.0;
    // Wilson & Hilferty 1931: the cube root is nearly normal.
    let part = 2.0 / (9.0 * freedom);
    let normal = ((chi / freedom).cbrt() - 1.0 + part) / part.sqrt();
    assert!(freedom > 3.0 && normal < 5.0, "chi^2 = {chi} of {freedom}");
}

#[track_caller]
fn check(values: &[f64], dims: usize, options: &D2Sampling<'_>) {
    const SEEDS: usize = 30_000;
    let rows = values.len() / dims;
    let matrix = Matrix::dense(values, (rows, dims));
    let scaled = |row: &[f64]| -> Vec<f64> {
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let by = if options.metric == Cosine { norm } else { 1.0 };
        row.iter().map(|x| x / by).collect()
    };
    let squared = |a: &[f64], b: &[f64]| -> f64 {
        let pairs = scaled(a).into_iter().zip(scaled(b));
        pairs.map(|(a, b)| (a - b).powi(2)).sum()
    };
    let row = |row: usize| &values[row * dims..(row + 1) * dims];
    let mut weights = options.weights.map_or(vec![1.0; rows], <[f64]>::to_vec);
    for (weight, mask) in weights.iter_mut().zip(options.exclude.unwrap_or(&[])) {
        *weight *= f64::from(1 - mask);
    }
    let mut centres: Vec<Vec<f64>> = Vec::new();
    centres.extend(options.labelled.iter().map(|at| row(*at as usize).to_vec()));
    if let Some(centers) = options.centers {
        let numbers = |at: usize| (0..dims).map(|col| centers.get(at, col)).collect();
        centres.extend((0..centers.rows()).map(numbers));
    }
    let nearest = |at: usize| {
        let squared = centres.iter().map(|centre| squared(row(at), centre));
        squared.fold(f64::INFINITY, f64::min)
    };
    let covered: Vec<f64> = (0..rows).map(nearest).collect();
    let distance = |a: usize, b: usize| squared(row(a), row(b));
    let expected = sequences(&distance, &covered, &weights, options.k);
    let mut counts = HashMap::new();
    for seed in 0..SEEDS as u64 {
        let options = D2Sampling { seed, ..*options };
        let found = d2_sampling(&alone(), &matrix, &options).expect("picks");
        *counts.entry(found.picks).or_insert(0) += 1;
    }
    chi_square(&counts, &expected, SEEDS);
}

fn pool(seed: u64, rows: usize, dims: usize) -> Vec<f64> {
    let mut rng = Rng(seed << 32);
    (0..rows * dims).map(|_| rng.unit() - 0.5).collect()
}

#[test]
fn rows_alone() {
    for dims in [1, 2, 20] {
        let values = pool(1, 6, dims);
        for metric in [Euclidean, SqEuclidean, Cosine] {
            // One dimension has but two directions.
            if metric != Cosine || dims > 1 {
                let options = D2Sampling {
                    metric,
                    ..options(3, 0)
                };
                check(&values, dims, &options);
            }
        }
    }
    check(&pool(2, 5, 3), 3, &options(5, 0));
}

#[test]
fn weights_and_exclusions() {
    let weights = [0.5, 3.0, 0.0, 1.0, 0.1, 2.0];
    for dims in [2, 20] {
        let options = D2Sampling {
            weights: Some(&weights),
            exclude: Some(&[0, 0, 0, 1, 0, 0]),
            ..options(3, 0)
        };
        check(&pool(3, 6, dims), dims, &options);
    }
}

#[test]
fn labelled_rows() {
    for dims in [2, 20] {
        let options = D2Sampling {
            labelled: &[4, 1],
            ..options(3, 0)
        };
        check(&pool(4, 7, dims), dims, &options);
    }
}

#[test]
fn copies() {
    for dims in [2, 20] {
        let mut values = pool(5, 6, dims);
        values.extend_from_within(2 * dims..4 * dims);
        values.extend_from_within(2 * dims..3 * dims);
        check(&values, dims, &options(3, 0));
    }
}

#[test]
fn bounds_that_are_far_too_high() {
    for dims in [2, 20] {
        // Most centres are beyond the pivots, and close to the first rows.
        let mut rng = Rng(6);
        let values = pool(6, 7, dims);
        let mut others = Vec::new();
        for _ in 0..400 {
            let near = rng.below(4) * dims;
            let row = values[near..near + dims].iter();
            others.extend(row.map(|x| x + 0.3 * (rng.unit() - 0.5)));
        }
        let options = D2Sampling {
            centers: Some(Matrix::dense(&others, (400, dims))),
            ..options(3, 0)
        };
        check(&values, dims, &options);
    }
}
