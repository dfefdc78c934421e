//! What the scores are, written as in the papers, in `f64` with `std`'s functions
//! and compensated sums.

use crate::scores::{Aggregate, Measure, Score, Task};

/// A sum with the rounding errors added up apart (Neumaier, 1974).
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0);
    for x in terms {
        let next = sum + x;
        lost += if sum.abs() >= x.abs() {
            (sum - next) + x
        } else {
            (x - next) + sum
        };
        sum = next;
    }
    sum + lost
}

fn times_log(p: f64) -> f64 {
    if p == 0.0 { 0.0 } else { p * p.ln() }
}

/// The two largest, and where the largest is.
fn top_two(row: &[f64]) -> (usize, f64, f64) {
    let first = (0..row.len())
        .max_by(|a, b| row[*a].total_cmp(&row[*b]))
        .expect("a row");
    let others = row.iter().enumerate().filter(|(i, _)| *i != first);
    let second = others.map(|(_, x)| *x).fold(f64::NEG_INFINITY, f64::max);
    (first, row[first], second)
}

fn of_probabilities(measure: Measure, p: &[f64]) -> f64 {
    let (_, first, second) = top_two(p);
    let second = second.max(0.0);
    match measure {
        Measure::Entropy => -sum(p.iter().map(|p| times_log(*p))),
        Measure::Margin => 1.0 - (first - second),
        Measure::LeastConfidence => 1.0 - first,
        Measure::Ratio => second / first,
    }
}

/// With the largest term apart: `1 - p1` of a confident row has digits, too.
fn of_logits(measure: Measure, z: &[f64], t: f64) -> f64 {
    let (at, first, second) = top_two(z);
    let d = |z: f64| (z - first) / t;
    let others = || {
        z.iter()
            .enumerate()
            .filter(|(i, z)| *i != at && z.is_finite())
    };
    let rest = sum(others().map(|(_, z)| d(*z).exp()));
    let second = d(second).exp();
    match measure {
        Measure::Entropy => {
            let weighted = sum(others().map(|(_, z)| d(*z) * d(*z).exp()));
            rest.ln_1p() - weighted / (1.0 + rest)
        }
        Measure::Margin => (rest + second) / (1.0 + rest),
        Measure::LeastConfidence => rest / (1.0 + rest),
        Measure::Ratio => second,
    }
}

/// From the smaller of two probabilities.
fn of_smaller(measure: Measure, a: f64) -> f64 {
    match measure {
        Measure::Entropy => -times_log(a) - (1.0 - a) * (-a).ln_1p(),
        Measure::Margin => 2.0 * a,
        Measure::LeastConfidence => a,
        Measure::Ratio => a / (1.0 - a),
    }
}

fn of_label(measure: Measure, x: f64, temperature: Option<f64>) -> f64 {
    let Some(temperature) = temperature else {
        return of_smaller(measure, x.min(1.0 - x));
    };
    let t = x.abs() / temperature;
    let e = (-t).exp();
    match measure {
        Measure::Entropy if e == 0.0 => 0.0,
        Measure::Entropy => e.ln_1p() + t * e / (1.0 + e),
        Measure::Ratio => e,
        _ => of_smaller(measure, e / (1.0 + e)),
    }
}

/// The score of one valid row, in nats.
pub(super) fn oracle(score: &Score, row: &[f64]) -> f64 {
    let Task::Multilabel(how) = score.task else {
        return match score.temperature {
            None => of_probabilities(score.measure, row),
            Some(t) => of_logits(score.measure, row, t),
        };
    };
    let labels = row
        .iter()
        .map(|x| of_label(score.measure, *x, score.temperature));
    match how {
        Aggregate::Mean => sum(labels) / row.len() as f64,
        Aggregate::Max => labels.fold(0.0, f64::max),
        Aggregate::Sum => sum(labels),
    }
}
