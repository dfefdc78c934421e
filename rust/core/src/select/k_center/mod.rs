//! Greedy k-center: each pick is the row farthest from everything picked so far
//! (Gonzalez 1985: the cover radius is at most twice the best possible).
//!
//! The picks are those of the naive algorithm over the exact distance function of
//! [`crate::distances`], found with few of its distances. A row's distance to its
//! nearest centre only falls as centres are added, so a stale one is an upper
//! bound, and only rows whose bound is the highest need to be looked at.
//!
//! * `rules`: which rows may be picked, and what orders them.
//! * `tops`: finds the rows with the highest bounds.
//! * `bounds`: what is known of every row, and how to know more.
//! * `lazy`: the rounds that put these together.
//! * `warm`: first bounds where many rows cover already.
//! * `leaves`: the same for few dimensions, over the leaves of a k-d `tree`.
//! * `trace`: the picks.
//! * `among`: picks among a few rows, where the others are elsewhere.

mod among;
pub(super) mod bounds;
mod lazy;
mod leaves;
pub(super) mod rules;
#[cfg(test)]
mod tests;
mod tops;
pub(super) mod trace;
mod tree;
mod warm;

use super::gate::Limits;
use crate::distances::{Metric, NARROW, Space};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;
pub use among::{Among, pick_among};
use bounds::Bounds;
use lazy::Lazy;
use leaves::Leaves;
use rules::{Ranked, Rules};
use trace::Trace;

/// What to cover, and how.
#[derive(Debug, Clone, Copy)]
pub struct KCenter<'a> {
    /// The rows to pick, at most.
    pub k: usize,
    /// The distance.
    pub metric: Metric,
    /// Rows of other matrices that cover already.
    pub centers: Option<Matrix<'a>>,
    /// Rows of the pool that cover already, and are never picked.
    pub labelled: &'a [i64],
    /// The first pick. Without it, and with nothing that covers already, it is the
    /// row farthest from the mean of the rows that are to be covered.
    pub start: Option<usize>,
    /// One number a row: picks are the rows of the highest weight times distance.
    pub weights: Option<&'a [f64]>,
    /// One byte a row: rows that are not zero are neither picked nor covered.
    pub exclude: Option<&'a [u8]>,
    /// What picks have to keep to beside.
    pub limits: Limits<'a>,
    /// Rows nearer than this to a centre are not picked.
    pub min_distance: Option<f64>,
    /// Farthest rows that are set aside at each pick.
    pub outliers: usize,
}

/// Picks and what they cover.
#[derive(Debug, Clone, PartialEq)]
pub struct Cover {
    /// The picks in order; fewer than `k` where no other row may be picked.
    pub picks: Vec<usize>,
    /// The distance of each to the centres before it; infinite for the first of all.
    pub distances: Vec<f64>,
    /// The largest distance of a row to its nearest centre, outliers set aside.
    pub radius: f64,
    /// How many distances were computed, of any precision.
    pub computed: u64,
}

/// Picks `k` rows of `matrix` that cover the rest.
///
/// Rows at distance zero of a centre are picked last, lower positions first.
///
/// # Errors
/// [`Error::Value`] for rows that have no distance, [`Error::Shape`] and
/// [`Error::Option`] for arguments that do not fit, [`Error::Cancelled`].
pub fn k_center(exec: &Exec<'_>, matrix: &Matrix<'_>, options: &KCenter<'_>) -> Result<Cover> {
    options.fits(matrix)?;
    let space = Space::new(*matrix, options.metric, exec.simd);
    let gate = options.limits.gate(matrix.rows(), exec.simd)?;
    let rules = Rules::new(matrix.rows(), options, gate);
    let (mean, largest) = space.check(exec, "embeddings", |row| rules.is_used(row))?;
    let covered = rules.covered();
    let task = Task {
        exec,
        space,
        options,
        rules,
        mean: &mean,
    };
    if space.dims() <= NARROW && options.outliers == 0 {
        task.run(Leaves::new(exec, space, covered)?)
    } else {
        let bounds = Bounds::new(exec, space, &mean, largest);
        task.run(Lazy::new(bounds, covered))
    }
}

/// A way to find the farthest rows.
trait Engine {
    /// Adds a prepared row to the centres.
    fn push(&mut self, centre: &[f64]);
    /// Bounds the distances of all rows to the centres that are there.
    fn update(&mut self) -> Result<()>;
    /// The squared distance of a row, after an update.
    fn squared(&mut self, row: usize) -> f64;
    /// Adds a row of the pool to the centres.
    fn take(&mut self, row: usize);
    /// Picks until there are `k`, or no row may be picked. When the rules are
    /// measuring, the squared distance of the first row that would be picked.
    fn search(
        &mut self,
        rules: &mut Rules<'_>,
        trace: &mut Trace<'_>,
        k: usize,
    ) -> Result<Option<f64>>;
    /// Distances computed so far.
    fn computed(&self) -> u64;
}

/// What is to be done, whatever the engine.
struct Task<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    options: &'a KCenter<'a>,
    rules: Rules<'a>,
    /// The mean of the rows, prepared.
    mean: &'a [f64],
}

impl Task<'_> {
    fn run(mut self, mut engine: impl Engine) -> Result<Cover> {
        let k = self.options.k.min(self.space.rows());
        let covered = self.rules.covered();
        let mut trace = Trace::new(self.exec, self.options.metric);
        let mut computed = 0;
        let mut centres = self.add_centres(&mut engine)?;
        let mut start = self.options.start;
        if centres == 0 && k > 0 {
            if start.is_none() {
                start = self.farthest_from_mean(&covered)?;
                computed = covered.len() as u64;
            }
            if let Some(row) = start.take() {
                engine.take(row);
                self.rules.pick(row);
                trace.record(row, f64::INFINITY)?;
                centres = 1;
            }
        }
        let mut radius = None;
        if centres > 0 {
            engine.update()?;
            if let Some(row) = start.filter(|_| k > 0) {
                let squared = engine.squared(row);
                engine.take(row);
                self.rules.pick(row);
                trace.record(row, squared)?;
            }
            engine.search(&mut self.rules, &mut trace, k)?;
            self.rules.measure();
            radius = engine.search(&mut self.rules, &mut trace, usize::MAX)?;
        } else if covered.len() > self.options.outliers {
            radius = Some(f64::INFINITY);
        }
        Ok(Cover {
            picks: trace.picks,
            distances: trace.distances,
            radius: self.options.metric.finish(radius.unwrap_or(0.0)),
            computed: computed + engine.computed(),
        })
    }

    /// Adds what covers already; how many rows that is.
    fn add_centres(&self, engine: &mut impl Engine) -> Result<usize> {
        let mut count = 0;
        if let Some(centers) = self.options.centers {
            let others = Space::new(centers, self.options.metric, self.exec.simd);
            others.check(self.exec, "centers", |_| true)?;
            for row in 0..centers.rows() {
                engine.push(&others.row(row));
            }
            count += centers.rows();
        }
        for row in self.options.labelled {
            engine.push(&self.space.row(*row as usize));
        }
        Ok(count + self.options.labelled.len())
    }

    /// The row farthest from the mean; the lower of two.
    fn farthest_from_mean(&mut self, covered: &[u32]) -> Result<Option<usize>> {
        let squared = self.space.distances_to(self.exec, covered, self.mean)?;
        let mut first = Ranked::LAST;
        for (key, row) in squared.into_iter().zip(covered) {
            let ranked = Ranked { key, row: *row };
            if ranked.is_before(first) && self.rules.admits(*row as usize) {
                first = ranked;
            }
        }
        Ok((first.key >= 0.0).then_some(first.row as usize))
    }
}

impl KCenter<'_> {
    /// To pick so many rows of a pool of which nothing else is known.
    #[must_use]
    pub const fn new(k: usize, metric: Metric) -> Self {
        Self {
            k,
            metric,
            centers: None,
            labelled: &[],
            start: None,
            weights: None,
            exclude: None,
            limits: Limits {
                quotas: &[],
                budget: None,
                apart: None,
                taken: &[],
            },
            min_distance: None,
            outliers: 0,
        }
    }

    /// Refuses what cannot be worked with.
    pub(super) fn fits(&self, matrix: &Matrix<'_>) -> Result<()> {
        let (rows, dims) = (matrix.rows(), matrix.cols());
        if rows == 0 || dims == 0 {
            return Err(Error::Shape(format!(
                "embeddings: expected rows and dimensions, got the shape ({rows}, {dims})"
            )));
        }
        if u32::try_from(rows).is_err() {
            return Err(Error::Shape(format!(
                "embeddings: expected fewer than 2**32 rows, got {rows}; split the pool"
            )));
        }
        if let Some(centers) = self.centers
            && centers.cols() != dims
        {
            return Err(Error::Shape(format!(
                "centers: expected {dims} dimensions like the embeddings, got {}",
                centers.cols()
            )));
        }
        let lengths = [
            ("weights", self.weights.map(<[f64]>::len)),
            ("exclude", self.exclude.map(<[u8]>::len)),
        ];
        for (name, len) in lengths {
            if let Some(len) = len
                && len != rows
            {
                return Err(Error::Shape(format!(
                    "{name}: expected one value a row ({rows}), got {len}"
                )));
            }
        }
        let within = |row: i64| usize::try_from(row).is_ok_and(|row| row < rows);
        if let Some(row) = self.labelled.iter().find(|row| !within(**row)) {
            return Err(Error::Option(format!(
                "labelled: expected positions from 0 to {}, got {row}",
                rows - 1
            )));
        }
        if let Some(start) = self.start {
            let barred = self.exclude.is_some_and(|mask| mask.get(start) != Some(&0));
            if start >= rows || barred || self.labelled.contains(&(start as i64)) {
                return Err(Error::Option(format!(
                    "start: expected a position below {rows} that is neither excluded nor labelled, got {start}"
                )));
            }
        }
        // Squares of larger weights are infinite.
        let bad = |w: &f64| !(0.0..=1e150).contains(w);
        if let Some(weights) = self.weights
            && let Some(row) = weights.iter().position(bad)
        {
            return Err(Error::Value(format!(
                "weights: row {row} has {}; expected finite numbers of 0 or more",
                weights[row]
            )));
        }
        match self.min_distance {
            Some(least) if least.is_nan() || least < 0.0 => Err(Error::Option(format!(
                "min_distance: expected a distance of 0 or more, got {least}"
            ))),
            _ => Ok(()),
        }
    }
}
