//! Batches picked one row after the other by a score that falls with the distance to what
//! is labelled or picked.
//!
//! * Ranked batches (Cardoso et al. 2017): `a (1 - 1 / (1 + d)) + (1 - a) u`, `d` the
//!   distance, `u` an uncertainty, `a` the unlabelled part of all rows, which falls as rows
//!   are picked; the very first pick is by `u` alone.
//! * Greedy sampling for regression (Wu, Lin & Huang 2019): the distance in the features
//!   times the one in the targets.
//!
//! Distances only fall as rows are picked, so a stale one is an upper bound, and so is the
//! score that it gives, but for the fall of `a`, which changes no score by more than it
//! falls. Only rows with the highest bounds are brought up to date, a block at a time, and
//! picked from for as long as they are above the bounds of all others.

use super::d2_sampling::gauge::Gauge;
use super::gate::Limits;
use super::ids::mix;
use super::k_center::rules::{Ranked, Rules};
use super::k_center::trace::Trace;
use super::{Cover, KCenter};
use crate::distances::{Beside, Join, Metric, Space};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;

/// Centres that all rows are measured against in the beginning, at most.
const PIVOTS: usize = 64;
/// Rows that are brought up to date at a time.
const BLOCK: usize = 512;
/// More than rounding can do to a score.
const SLACK: f64 = 1e-12;

/// What rows are picked by.
#[derive(Debug, Clone, Copy)]
pub enum Order<'a> {
    /// Far from what is known, or unsure.
    Ranked {
        /// One number a row, from 0 to 1.
        uncertainty: &'a [f64],
        /// How much distance weighs, from 0 to 1; by default the unlabelled part of all.
        alpha: Option<f64>,
    },
    /// Far both in the embeddings and in the targets.
    Product {
        /// The targets of the rows.
        targets: Matrix<'a>,
        /// Those of the centres.
        centers: Option<Matrix<'a>>,
    },
}

/// What to pick, and how.
#[derive(Debug, Clone, Copy)]
pub struct RankedBatch<'a> {
    /// The rows to pick, at most.
    pub k: usize,
    /// The distance; Euclidean for products.
    pub metric: Metric,
    /// What rows are picked by.
    pub order: Order<'a>,
    /// Rows of another matrix that are labelled.
    pub centers: Option<Matrix<'a>>,
    /// Rows of the pool that are labelled, and are never picked.
    pub labelled: &'a [i64],
    /// The first pick, where nothing is labelled.
    pub start: Option<usize>,
    /// One byte a row: rows that are not zero are neither picked nor counted.
    pub exclude: Option<&'a [u8]>,
    /// What picks have to keep to beside.
    pub limits: Limits<'a>,
}

/// Picks rows: the distance of each to what was known before (the product of the two, for
/// products), and its score then.
///
/// # Errors
/// [`Error::Value`] for rows that have no distance, [`Error::Shape`] and
/// [`Error::Option`] for arguments that do not fit, [`Error::Cancelled`].
pub fn ranked_batch(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    options: &RankedBatch<'_>,
) -> Result<(Cover, Vec<f64>)> {
    let cover = KCenter {
        centers: options.centers,
        labelled: options.labelled,
        exclude: options.exclude,
        start: options.start,
        ..KCenter::new(options.k, options.metric)
    };
    cover.fits(matrix)?;
    if let Order::Product { targets, centers } = options.order
        && (centers.map(|c| (c.rows(), c.cols()))
            != options.centers.map(|c| (c.rows(), targets.cols())))
    {
        return Err(Error::Shape(
            "targets: expected those of each labelled row, as many as the pool's".into(),
        ));
    }
    let space = match options.order {
        Order::Ranked { uncertainty, .. } if uncertainty.len() != matrix.rows() => {
            return Err(Error::Shape(format!(
                "uncertainty: expected one value a row ({}), got {}",
                matrix.rows(),
                uncertainty.len()
            )));
        }
        Order::Ranked { .. } => Space::new(*matrix, options.metric, exec.simd),
        Order::Product { targets, .. } => Space::joint(*matrix, product(targets), exec.simd)?,
    };
    let gate = options.limits.gate(matrix.rows(), exec.simd)?;
    let rules = Rules::new(matrix.rows(), &cover, gate);
    let (mean, largest) = space.check(exec, "embeddings", |row| rules.is_used(row))?;
    let candidates = rules.covered();
    let worth = candidates.iter().map(|row| rules.worth(*row as usize, 1.0));
    let search = Search {
        exec,
        space,
        unlabelled: candidates.len(),
        most: worth.fold(0.0, f64::max),
        options,
        gauge: Gauge::new(exec, space, &mean, largest),
        trace: Trace::new(exec, options.metric),
        scores: Vec::new(),
        labelled: options.labelled.len() + options.centers.map_or(0, |c| c.rows()),
        candidates,
        rules,
    };
    search.run()
}

const fn product(matrix: Matrix<'_>) -> Beside<'_> {
    Beside {
        matrix,
        join: Join::Product,
    }
}

/// See the module.
struct Search<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    options: &'a RankedBatch<'a>,
    gauge: Gauge<'a>,
    trace: Trace<'a>,
    scores: Vec<f64>,
    /// How many rows are labelled, and how many were not.
    labelled: usize,
    unlabelled: usize,
    /// What a score of 1 is worth at most.
    most: f64,
    /// Rows that may be picked, or were.
    candidates: Vec<u32>,
    rules: Rules<'a>,
}

impl Search<'_> {
    fn run(mut self) -> Result<(Cover, Vec<f64>)> {
        self.add_centres()?;
        let first = self.options.start.or_else(|| self.most_unsure());
        if let Some(row) = first.filter(|_| self.options.k > 0) {
            self.pick(row)?;
        }
        let pivots = self.gauge.centres().min(PIVOTS);
        let rows = self.candidates.clone();
        self.gauge.deepen(&rows, pivots)?;
        while self.trace.picks.len() < self.options.k {
            let rules = &self.rules;
            self.candidates.retain(|row| rules.is_open(*row as usize));
            if self.candidates.is_empty() {
                break;
            }
            self.round()?;
        }
        let cover = Cover {
            picks: self.trace.picks,
            distances: self.trace.distances,
            radius: f64::NAN,
            computed: self.gauge.computed,
        };
        Ok((cover, self.scores))
    }

    /// Adds what is labelled, in an order that has nothing to do with theirs: the first
    /// ones stand for all.
    fn add_centres(&mut self) -> Result<()> {
        let mut sources = Vec::new();
        if let Some(centers) = self.options.centers {
            let others = match self.options.order {
                Order::Product {
                    centers: Some(targets),
                    ..
                } => Space::joint(centers, product(targets), self.exec.simd)?,
                _ => Space::new(centers, self.options.metric, self.exec.simd),
            };
            others.check(self.exec, "centers", |_| true)?;
            sources.extend((0..others.rows()).map(|row| (others, row)));
        }
        let labelled = self.options.labelled.iter();
        sources.extend(labelled.map(|row| (self.space, *row as usize)));
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_unstable_by_key(|at| mix(*at as u64));
        for at in order {
            let (space, row) = sources[at];
            self.gauge.push(&space.row(row));
        }
        Ok(())
    }

    /// The first pick where nothing is known and nothing but distance counts: all rows are
    /// as far then, and the uncertainty has to tell.
    fn most_unsure(&mut self) -> Option<usize> {
        let Order::Ranked { alpha, .. } = self.options.order else {
            return None;
        };
        if self.labelled > 0 || alpha.is_some_and(|alpha| alpha < 1.0) {
            return None;
        }
        let mut first = Ranked::LAST;
        for row in &self.candidates {
            let ranked = Ranked {
                key: (self.rules).worth(*row as usize, self.score(*row as usize, 0.0)),
                row: *row,
            };
            if ranked.is_before(first) && self.rules.admits(*row as usize) {
                first = ranked;
            }
        }
        (first.key >= 0.0).then_some(first.row as usize)
    }

    /// How much distance weighs at the next pick.
    fn alpha(&self) -> f64 {
        let picked = self.trace.picks.len();
        match self.options.order {
            Order::Ranked { alpha: None, .. } => {
                let known = (self.labelled + picked) as f64;
                let unknown = self.unlabelled.saturating_sub(picked) as f64;
                unknown / (unknown + known)
            }
            Order::Ranked {
                alpha: Some(alpha), ..
            } => alpha,
            Order::Product { .. } => 0.0,
        }
    }

    /// What a row is picked by, as far as it has been measured.
    fn score(&self, row: usize, alpha: f64) -> f64 {
        let squared = self.gauge.squared[row];
        match self.options.order {
            Order::Ranked { uncertainty, .. } => {
                let similarity = 1.0 / (1.0 + self.options.metric.finish(squared));
                alpha * (1.0 - similarity) + (1.0 - alpha) * uncertainty[row]
            }
            Order::Product { .. } => self.options.metric.finish(squared),
        }
    }

    fn ranked(&self, row: u32, alpha: f64) -> Ranked {
        let score = self.score(row as usize, alpha);
        Ranked {
            key: self.rules.worth(row as usize, score),
            row,
        }
    }

    /// Brings the rows of the highest bounds up to date, and picks from them while they
    /// are above all others.
    fn round(&mut self) -> Result<()> {
        let before = self.alpha();
        let candidates = self.candidates.iter();
        let mut tops: Vec<Ranked> = candidates.map(|row| self.ranked(*row, before)).collect();
        let mut rest = Ranked::LAST;
        if tops.len() > BLOCK {
            let (_, next, _) = tops.select_nth_unstable_by(BLOCK, |a, b| b.cmp(a));
            rest = *next;
            tops.truncate(BLOCK);
        }
        let mut block: Vec<u32> = tops.iter().map(|top| top.row).collect();
        while self.trace.picks.len() < self.options.k {
            self.gauge.update(&block)?;
            let alpha = self.alpha();
            let Some(best) = block.iter().map(|row| self.ranked(*row, alpha)).max() else {
                break;
            };
            let fallen = (before - alpha) * self.most;
            let is_first = if fallen == 0.0 {
                best.is_before(rest)
            } else {
                best.key > rest.key + fallen + SLACK
            };
            if !is_first {
                break;
            }
            self.exec.go_on()?;
            block.retain(|row| *row != best.row);
            if self.rules.admits(best.row as usize) {
                self.pick(best.row as usize)?;
            }
        }
        Ok(())
    }

    /// Picks a row that is up to date.
    fn pick(&mut self, row: usize) -> Result<()> {
        self.scores.push(self.score(row, self.alpha()));
        let squared = self.gauge.squared[row];
        self.gauge.take(row);
        self.rules.pick(row);
        self.trace.record(row, squared)
    }
}
