//! Facility location over a sparse graph, greedily: each pick is the row that adds the
//! most to `sum_n w_n max_s v(n, s)`, how well the picks `s` stand for all rows `n`
//! (Nemhauser, Wolsey & Fisher 1978: at least 63 % of the best there is).
//!
//! What a row adds only falls as others are picked, so a stale gain is an upper bound
//! (Minoux 1978): only rows at the top of a heap are brought up to date.
//!
//! One objective, many names: with similarities as values it is facility location, with a
//! kernel it is herding, with ones within a radius it counts what balls cover.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};
use std::sync::atomic::Ordering::Relaxed;

use super::gate::{Gate, Limits};
use crate::distances::are_lists;
use crate::error::{Error, Result};
use crate::parallel::{Disjoint, Exec};

/// Rows whose first gains are computed at a time.
const GRAIN: usize = 1024;

/// Whom each row stands for, and how well.
#[derive(Debug, Clone, Copy)]
pub struct Graph<'a> {
    /// Where those of a row begin, and at the end where the last ones end.
    pub starts: &'a [i64],
    /// Rows that it stands for, each once.
    pub rows: &'a [u32],
    /// How well: 0 or more; 1 if there are none.
    pub values: Option<&'a [f64]>,
}

/// What to pick, and how.
#[derive(Debug, Clone, Copy)]
pub struct FacilityLocation<'a> {
    /// The rows to pick, at most.
    pub k: usize,
    /// Whom each row stands for.
    pub graph: Graph<'a>,
    /// How much each row counts: 0 or more.
    pub weights: Option<&'a [f64]>,
    /// How well each row is stood for from the beginning.
    pub covered: Option<&'a [f64]>,
    /// One byte a row: rows that are not zero are never picked.
    pub exclude: Option<&'a [u8]>,
    /// What picks have to keep to beside.
    pub limits: Limits<'a>,
}

/// Picks in order, and what each added.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gains {
    /// Fewer than `k` where no other row may be picked or adds anything.
    pub picks: Vec<usize>,
    /// What each added.
    pub gains: Vec<f64>,
}

/// Picks rows until there are `k` or none adds anything.
///
/// # Errors
/// [`Error::Shape`], [`Error::Value`] and [`Error::Option`] for arguments that do not fit,
/// [`Error::Cancelled`].
pub fn facility_location(exec: &Exec<'_>, options: &FacilityLocation<'_>) -> Result<Gains> {
    let rows = options.fits()?;
    let mut gate = options.limits.gate(rows, exec.simd)?;
    let mut covered = options
        .covered
        .map_or_else(|| vec![0.0; rows], <[f64]>::to_vec);
    for row in options.limits.taken {
        options.stand(*row as usize, &mut covered);
    }
    let mut heap = options.first_gains(exec, &gate, &covered)?;
    let mut out = Gains::default();
    while out.picks.len() < options.k {
        exec.go_on()?;
        let Some(mut top) = heap.pop() else { break };
        let row = top.row as usize;
        if !gate.admits(row) {
            continue;
        }
        if top.picks < out.picks.len() {
            top.gain = options.gain(row, &covered);
            top.worth = gate.worth(row, top.gain);
            top.picks = out.picks.len();
            heap.push(top);
            continue;
        }
        if top.gain <= 0.0 {
            break;
        }
        gate.take(row);
        options.stand(row, &mut covered);
        out.picks.push(row);
        out.gains.push(top.gain);
        exec.done.fetch_add(1, Relaxed);
    }
    Ok(out)
}

impl FacilityLocation<'_> {
    /// Refuses what cannot be worked with; the number of rows.
    fn fits(&self) -> Result<usize> {
        let Graph {
            starts,
            rows: ends,
            values,
        } = self.graph;
        let rows = starts.len().saturating_sub(1);
        let is_sound = values.is_none_or(|values| values.len() == ends.len());
        if !is_sound || !are_lists(starts, ends) {
            return Err(Error::Shape(
                "graph: expected rows of neighbours in the pool".into(),
            ));
        }
        let lengths = [
            ("weights", self.weights.map(<[f64]>::len)),
            ("covered", self.covered.map(<[f64]>::len)),
            ("exclude", self.exclude.map(<[u8]>::len)),
        ];
        for (name, len) in lengths {
            if len.is_some_and(|len| len != rows) {
                return Err(Error::Shape(format!(
                    "{name}: expected one value a row ({rows})"
                )));
            }
        }
        let is_bad = |x: &f64| !(*x >= 0.0 && *x < f64::INFINITY);
        if let Some(row) = self
            .weights
            .and_then(|weights| weights.iter().position(is_bad))
        {
            return Err(Error::Value(format!(
                "weights: row {row} has a number that is not finite or below 0"
            )));
        }
        Ok(rows)
    }

    /// Whom a row stands for, and how well.
    fn stands_for(&self, row: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.graph.starts[row] as usize..self.graph.starts[row + 1] as usize;
        let values = self.graph.values;
        let value = move |at: usize| values.map_or(1.0, |values| values[at]);
        range.map(move |at| (self.graph.rows[at] as usize, value(at)))
    }

    /// What a row adds.
    fn gain(&self, row: usize, covered: &[f64]) -> f64 {
        let mut gain = 0.0;
        for (other, value) in self.stands_for(row) {
            let more = (value - covered[other]).max(0.0);
            gain += self.weights.map_or(more, |weights| weights[other] * more);
        }
        gain
    }

    /// From now on a row stands for others.
    fn stand(&self, row: usize, covered: &mut [f64]) {
        for (other, value) in self.stands_for(row) {
            covered[other] = covered[other].max(value);
        }
    }

    fn first_gains(
        &self,
        exec: &Exec<'_>,
        gate: &Gate<'_>,
        covered: &[f64],
    ) -> Result<BinaryHeap<Top>> {
        let mut gains = vec![0.0; covered.len()];
        let out = Disjoint::new(&mut gains);
        exec.for_each_chunk(
            covered.len(),
            GRAIN,
            || (),
            |(), range| {
                // SAFETY: ranges do not overlap.
                let out = unsafe { out.range(range.clone()) };
                for (row, gain) in range.zip(out) {
                    *gain = self.gain(row, covered);
                }
            },
        )?;
        let taken: HashSet<i64> = self.limits.taken.iter().copied().collect();
        let is_in = |row: &usize| {
            self.exclude.is_none_or(|mask| mask[*row] == 0) && !taken.contains(&(*row as i64))
        };
        let tops = (0..covered.len()).filter(is_in).map(|row| Top {
            worth: gate.worth(row, gains[row]),
            gain: gains[row],
            row: row as u32,
            picks: 0,
        });
        Ok(tops.collect())
    }
}

/// A row, what it is worth, and how many picks were known then.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Top {
    worth: f64,
    gain: f64,
    row: u32,
    picks: usize,
}

impl Eq for Top {}

impl Ord for Top {
    /// The greatest is the first: the highest worth, then the lowest row.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_worth = self.worth.total_cmp(&other.worth);
        by_worth.then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Top {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
