//! Which rows may be picked, and what orders them.

use std::cmp::Ordering;

use super::KCenter;
use crate::distances::Metric;
use crate::select::gate::Gate;

/// A row and what it is ordered by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::select) struct Ranked {
    /// Weighted squared distance, or an upper bound of it; negative if out of the race.
    pub key: f64,
    pub row: u32,
}

impl Ranked {
    /// Behind every row.
    pub(in crate::select) const LAST: Self = Self {
        key: -1.0,
        row: u32::MAX,
    };

    /// The farther first, then the lower.
    #[inline(always)]
    pub(in crate::select) fn is_before(self, other: Self) -> bool {
        self.key > other.key || (self.key == other.key && self.row < other.row)
    }
}

impl Eq for Ranked {}

impl Ord for Ranked {
    /// The greatest is the first.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_key = self.key.total_cmp(&other.key);
        by_key.then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Neither picked nor covered.
    Excluded,
    /// Picked or labelled: it covers.
    Centre,
    /// To be covered, but not to be picked.
    Barred,
    /// To be covered or picked.
    Candidate,
}

/// See the module.
#[derive(Debug)]
pub(in crate::select) struct Rules<'a> {
    standing: Vec<Standing>,
    weights: Option<&'a [f64]>,
    gate: Gate<'a>,
    min_distance: f64,
    pub metric: Metric,
    pub outliers: usize,
    /// The picks are made: all that counts is how far rows are.
    measuring: bool,
}

impl<'a> Rules<'a> {
    pub(in crate::select) fn new(rows: usize, options: &KCenter<'a>, gate: Gate<'a>) -> Self {
        let mut standing = vec![Standing::Candidate; rows];
        if let Some(mask) = options.exclude {
            for (standing, mask) in standing.iter_mut().zip(mask) {
                if *mask != 0 {
                    *standing = Standing::Excluded;
                }
            }
        }
        for row in options.labelled {
            standing[*row as usize] = Standing::Centre;
        }
        Self {
            standing,
            weights: options.weights,
            gate,
            min_distance: options.min_distance.unwrap_or(0.0),
            metric: options.metric,
            outliers: options.outliers,
            measuring: false,
        }
    }

    /// Whether the numbers of a row matter.
    pub(in crate::select) fn is_used(&self, row: usize) -> bool {
        self.standing[row] != Standing::Excluded
    }

    /// The rows that are still to be covered.
    pub(in crate::select) fn covered(&self) -> Vec<u32> {
        let is_covered = |row: &u32| {
            let standing = self.standing[*row as usize];
            matches!(standing, Standing::Candidate | Standing::Barred)
        };
        (0..self.standing.len() as u32).filter(is_covered).collect()
    }

    /// What a row is ordered by, given (a bound of) its squared distance.
    #[inline(always)]
    pub(super) fn key(&self, row: usize, squared: f64) -> f64 {
        let is_in = match self.standing[row] {
            Standing::Candidate => true,
            // What cannot be picked can still be an outlier.
            Standing::Barred => self.measuring || self.outliers > 0,
            Standing::Excluded | Standing::Centre => false,
        };
        if !is_in {
            return -1.0;
        }
        match self.weights {
            Some(weights) if !self.measuring => match self.metric.factor(weights[row]) {
                // Not the product, which would be NaN for an infinite distance.
                0.0 => 0.0,
                factor => factor * squared,
            },
            _ => squared,
        }
    }

    /// The key of a row, as its squared distance times a factor up to a cap.
    pub(super) fn factor_and_cap(&self, row: usize) -> (f64, f64) {
        match self.key(row, 1.0) {
            out if out < 0.0 => (1.0, -1.0),
            0.0 => (1.0, 0.0),
            factor => (factor, f64::INFINITY),
        }
    }

    /// Whether all that counts is how far rows are.
    pub(super) const fn is_measuring(&self) -> bool {
        self.measuring
    }

    /// What a row is worth: its score, for each unit of cost.
    pub(in crate::select) fn worth(&self, row: usize, score: f64) -> f64 {
        self.gate.worth(row, score)
    }

    /// Whether a row is neither picked nor has been barred.
    pub(in crate::select) fn is_open(&self, row: usize) -> bool {
        self.standing[row] == Standing::Candidate
    }

    /// Whether a row may be picked as things stand: bars it if not.
    pub(in crate::select) fn admits(&mut self, row: usize) -> bool {
        if self.measuring {
            return true;
        }
        if self.standing[row] == Standing::Candidate && !self.gate.admits(row) {
            self.standing[row] = Standing::Barred;
        }
        self.standing[row] == Standing::Candidate
    }

    /// [`Rules::admits`] for a row whose distance is known.
    pub(super) fn admits_at(&mut self, row: usize, squared: f64) -> bool {
        let is_near = self.metric.finish(squared) < self.min_distance;
        if !self.measuring && is_near && self.standing[row] == Standing::Candidate {
            self.standing[row] = Standing::Barred;
        }
        self.admits(row)
    }

    /// A row was picked.
    pub(in crate::select) fn pick(&mut self, row: usize) {
        self.standing[row] = Standing::Centre;
        self.gate.take(row);
    }

    /// From now on all rows count, by their distance alone.
    pub(super) fn measure(&mut self) {
        self.measuring = true;
    }
}
