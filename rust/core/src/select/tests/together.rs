//! The risk: rows that are chosen together, but not those of the plain algorithm.

use std::collections::BTreeMap;

use super::*;
use crate::distances::Metric;
use crate::select::{
    Budget, FacilityLocation, Graph, Limits, Order, Quota, RankedBatch, admit, facility_location,
    ranked_batch,
};

/// Groups, costs, and what may be picked of them.
struct Wanted {
    groups: Vec<i64>,
    most: usize,
    costs: Vec<f64>,
    budget: f64,
}

impl Wanted {
    fn new(rng: &mut Rng, rows: usize) -> Self {
        Self {
            groups: (0..rows).map(|_| rng.below(rows.min(4)) as i64).collect(),
            most: 1 + rng.below(4),
            costs: (0..rows).map(|_| 1.0 + rng.below(3) as f64).collect(),
            budget: 2.0 + rng.below(12) as f64,
        }
    }

    fn quotas(&self) -> [Quota<'_>; 1] {
        [Quota {
            name: "groups",
            groups: &self.groups,
            most: self.most,
        }]
    }

    fn limits<'a>(&'a self, quotas: &'a [Quota<'a>]) -> Limits<'a> {
        Limits {
            quotas,
            budget: Some(Budget {
                costs: &self.costs,
                budget: self.budget,
            }),
            ..Limits::default()
        }
    }

    fn fits(&self, picks: &[usize], row: usize) -> bool {
        let group = |row: usize| self.groups[row];
        let alike = picks.iter().filter(|pick| group(**pick) == group(row));
        let spent: f64 = picks.iter().map(|pick| self.costs[*pick]).sum();
        !picks.contains(&row) && alike.count() < self.most && spent + self.costs[row] <= self.budget
    }
}

/// The first of the highest.
fn highest(rows: impl Iterator<Item = (usize, f64)>) -> Option<(usize, f64)> {
    rows.fold(None, |best: Option<(usize, f64)>, next| {
        best.filter(|best| best.1 >= next.1).or(Some(next))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn rows_are_admitted_in_their_order(seed in any::<u64>(), rows in 1_usize..60) {
        let mut rng = Rng(seed);
        let wanted = Wanted::new(&mut rng, rows);
        let mut order: Vec<i64> = (0..rows as i64).collect();
        rng.shuffle(&mut order);
        let k = 1 + rng.below(rows);
        let quotas = wanted.quotas();
        let got = admit(&exec(None), &order, rows, k, &wanted.limits(&quotas)).expect("admitted");
        let mut picks = Vec::new();
        let mut places = Vec::new();
        for (place, row) in order.iter().enumerate() {
            if picks.len() < k && wanted.fits(&picks, *row as usize) {
                picks.push(*row as usize);
                places.push(place as i64);
            }
        }
        prop_assert_eq!(got, places);
    }

    #[test]
    fn facility_location_is_greedy(seed in any::<u64>(), rows in 1_usize..40, limited in any::<bool>()) {
        let mut rng = Rng(seed);
        let mut edges: Vec<BTreeMap<u32, f64>> = vec![BTreeMap::new(); rows];
        for edges in &mut edges {
            for _ in 0..rng.below(8) {
                edges.insert(rng.below(rows) as u32, rng.below(4) as f64 / 4.0);
            }
        }
        let counts = edges.iter().scan(0, |sum, edges| { *sum += edges.len() as i64; Some(*sum) });
        let starts: Vec<i64> = std::iter::once(0).chain(counts).collect();
        let ends: Vec<u32> = edges.iter().flat_map(BTreeMap::keys).copied().collect();
        let values: Vec<f64> = edges.iter().flat_map(BTreeMap::values).copied().collect();
        let weights: Vec<f64> = (0..rows).map(|_| rng.below(3) as f64).collect();
        let covered: Vec<f64> = (0..rows).map(|_| rng.below(3) as f64 / 8.0).collect();
        let wanted = Wanted::new(&mut rng, rows);
        let quotas = wanted.quotas();
        let k = 1 + rng.below(rows);
        let options = FacilityLocation {
            k,
            graph: Graph { starts: &starts, rows: &ends, values: Some(&values) },
            weights: Some(&weights),
            covered: Some(&covered),
            exclude: None,
            limits: if limited { wanted.limits(&quotas) } else { Limits::default() },
        };
        let got = facility_location(&exec(None), &options).expect("picked");
        let (mut picks, mut gains, mut best) = (Vec::new(), Vec::new(), covered.clone());
        while picks.len() < k {
            let gain = |row: usize| -> f64 {
                let more = |(to, value): (&u32, &f64)| {
                    weights[*to as usize] * (value - best[*to as usize]).max(0.0)
                };
                edges[row].iter().map(more).sum()
            };
            let may = |row: &usize| !picks.contains(row) && (!limited || wanted.fits(&picks, *row));
            let worth = |row: usize| gain(row) / if limited { wanted.costs[row] } else { 1.0 };
            let Some((row, _)) = highest((0..rows).filter(may).map(|row| (row, worth(row)))) else {
                break;
            };
            if gain(row) <= 0.0 {
                break;
            }
            gains.push(gain(row));
            for (to, value) in &edges[row] {
                best[*to as usize] = best[*to as usize].max(*value);
            }
            picks.push(row);
        }
        prop_assert_eq!(got.picks, picks);
        prop_assert_eq!(got.gains, gains);
    }

    #[test]
    fn ranked_batches_are_those_of_the_formula(
        seed in any::<u64>(),
        rows in 2_usize..90,
        known in 1_usize..6,
        limited in any::<bool>(),
    ) {
        let mut rng = Rng(seed);
        let rows = rows.max(known + 1);
        let x: Vec<f64> = (0..rows).map(|_| rng.below(40) as f64).collect();
        let matrix = Matrix::from_slice(&x, rows, 1).expect("fits");
        let uncertainty: Vec<f64> = (0..rows).map(|_| rng.below(9) as f64 / 8.0).collect();
        let labelled: Vec<i64> = (0..known as i64).collect();
        let wanted = Wanted::new(&mut rng, rows);
        let quotas = wanted.quotas();
        let k = 1 + rng.below(rows - known);
        let options = RankedBatch {
            k,
            metric: Metric::Euclidean,
            order: Order::Ranked { uncertainty: &uncertainty, alpha: None },
            centers: None,
            labelled: &labelled,
            start: None,
            exclude: None,
            limits: if limited { wanted.limits(&quotas) } else { Limits::default() },
        };
        let (cover, scores) = ranked_batch(&exec(None), &matrix, &options).expect("picked");
        let (mut picks, mut wanted_scores) = (Vec::new(), Vec::new());
        while picks.len() < k {
            let near = |row: usize| {
                let seen = (0..known).chain(picks.iter().copied());
                seen.map(|other| (x[row] - x[other]).abs()).fold(f64::INFINITY, f64::min)
            };
            let unknown = (rows - known - picks.len()) as f64;
            let alpha = unknown / (unknown + (known + picks.len()) as f64);
            let score = |row: usize| {
                alpha * (1.0 - 1.0 / (1.0 + near(row))) + (1.0 - alpha) * uncertainty[row]
            };
            let may = |row: &usize| {
                *row >= known && !picks.contains(row) && (!limited || wanted.fits(&picks, *row))
            };
            let worth = |row: usize| score(row) / if limited { wanted.costs[row] } else { 1.0 };
            let Some((row, _)) = highest((0..rows).filter(may).map(|row| (row, worth(row)))) else {
                break;
            };
            wanted_scores.push(score(row));
            picks.push(row);
        }
        prop_assert_eq!(cover.picks, picks);
        prop_assert_eq!(scores, wanted_scores);
    }
}
