//! The risks: noise that differs between machines or is not the one of the formula, and
//! a draw that is not by the weights it should be.

use super::*;
use crate::select::ids::uniform;
use crate::select::noise::LANES;

/// Scores as a criterion compares them.
pub(super) fn added<S: Ids>(criterion: &Criterion, scores: &[f64], ids: &S) -> Vec<f64> {
    let mut keys = scores.to_vec();
    if let Criterion::Noisy(_, noise) = criterion {
        let ties = Ties::Random(noise.seed);
        let mut uniforms: Vec<f64> = (0..keys.len())
            .map(|row| uniform(ids.tie(row, ties)))
            .collect();
        uniforms.resize(keys.len().next_multiple_of(LANES), 0.0);
        keys.resize(uniforms.len(), 0.0);
        noise.add(Simd::detect(), &mut keys, &uniforms);
        keys.truncate(scores.len());
    }
    keys
}

#[test]
fn noise_is_that_of_the_formula_on_every_level() {
    let mut rng = Rng(3);
    let special = [
        0.0,
        -0.0,
        5e-324,
        1e-310,
        f64::MIN_POSITIVE,
        1.0,
        f64::MAX,
        f64::INFINITY,
    ];
    let mut scores: Vec<f64> = (0..4000)
        .map(|_| (rng.unit() * 60.0 - 30.0).exp())
        .collect();
    scores.extend(special);
    let least = 2.0_f64.powi(-53);
    let mut uniforms: Vec<f64> = scores.iter().map(|_| rng.unit()).collect();
    uniforms[..4].copy_from_slice(&[0.0, least, 0.5, 1.0 - least]);
    for weight in [Weight::Power, Weight::Softmax] {
        for beta in [0.1, 1.0, 1e6] {
            let seed = 0;
            let noise = Noise { weight, beta, seed };
            let keys = |simd| {
                let mut keys = scores.clone();
                noise.add(simd, &mut keys, &uniforms);
                keys
            };
            let first = keys(Simd::detect());
            for simd in Simd::available() {
                let bits = |keys: &[f64]| keys.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&keys(simd)), bits(&first), "{}", simd.name());
            }
            for ((key, score), u) in first.iter().zip(&scores).zip(&uniforms) {
                let gumbel = -(-u.max(least / 2.0).ln()).ln();
                let base = if weight == Weight::Power {
                    score.ln()
                } else {
                    *score
                };
                let want = base + gumbel / beta;
                // Where `-ln u` is nearly 1, an ulp of it is all that its logarithm has.
                let scale = base.abs() + (1.0 + gumbel.abs()) / beta;
                let near = (key - want).abs() <= 1e-14 * scale;
                assert!(*key == want || near, "{score} {u} {key} {want}");
            }
        }
    }
}

#[test]
fn a_score_below_zero_counts_as_zero_where_it_was_computed() {
    let (weight, beta, seed) = (Weight::Power, 1.0, 0);
    let mut keys = [-1e-9, 0.0, 1.0, 2.0, -0.0, -1.0, 3.0, 4.0];
    Noise { weight, beta, seed }.add(Simd::detect(), &mut keys, &[0.5; 8]);
    let is_last = |key: &f64| *key == f64::NEG_INFINITY;
    assert_eq!(
        keys.map(|key| is_last(&key)),
        [true, true, false, false, true, true, false, false]
    );
}

/// Given scores, with and without noise: all the invalid ones are found, and the rest
/// are sorted.
#[test]
fn given_scores_are_sorted() {
    let mut rng = Rng(4);
    let rows = 3000;
    let mut values: Vec<f64> = (0..rows).map(|_| rng.below(900) as f64 / 64.0).collect();
    for i in 0..rows / 50 {
        values[50 * i] = [f64::NAN, -1.0, -0.0, f64::INFINITY][i % 4];
    }
    let matrix = Matrix::from_slice(&values, rows, 1).expect("fits");
    let numbers: Vec<i64> = (0..rows as i64).map(|i| i * 7 % 3000 - 1000).collect();
    let noisy = |weight| {
        let (beta, seed) = (2.0, 5);
        Criterion::Noisy(None, Noise { weight, beta, seed })
    };
    for criterion in [
        Criterion::Given,
        noisy(Weight::Power),
        noisy(Weight::Softmax),
    ] {
        let power = criterion == noisy(Weight::Power);
        let case = Case {
            matrix,
            criterion,
            k: 700,
            ties: Ties::Random(1),
            mask: None,
            skip_invalid: true,
        };
        let is_valid = |row: usize| !values[row].is_nan() && (!power || values[row] >= 0.0);
        let plain: Vec<f64> = values.iter().map(|x| x + 0.0).collect();
        let keys = added(&criterion, &plain, &numbers.as_slice());
        let best = naive(&keys, &numbers.as_slice(), case.ties, is_valid);
        let best: Vec<_> = best[..700]
            .iter()
            .map(|row| (numbers[*row], keys[*row]))
            .collect();
        let ids = |rows: Range<usize>| &numbers[rows];
        assert_selects(&case, &best, &HashSet::new(), ids, &mut rng);

        let mut selector = case.selector(&HashSet::new());
        let found = case.update(&mut selector, None, 0..rows, numbers.as_slice());
        let invalid = (0..rows).filter(|row| !is_valid(*row)).count();
        assert_eq!(found.expect("selected").map(|r| r.count), Some(invalid));
        let restored = Selector::<i64>::from_bytes(&selector.to_bytes()).expect("stored");
        assert_eq!(restored.to_bytes(), selector.to_bytes());
    }
}

#[test]
fn a_beta_out_of_range_is_refused() {
    for beta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let (weight, seed) = (Weight::Softmax, 0);
        assert!(Noise { weight, beta, seed }.checked().is_err());
    }
}
