//! D² sampling, the seeding of k-means++ (Arthur & Vassilvitskii 2007): each pick is
//! drawn with a probability proportional to `w D^2`, its weight times the squared
//! distance to the nearest of the centres before it.
//!
//! It is drawn from that distribution exactly, with few of the distances. What `D^2`
//! was when fewer centres were known is an upper bound of what it is. A row drawn in
//! proportion to such stale bounds `s` is measured, and accepted with probability
//! `w D^2 / s`: what is accepted first is distributed as `s * w D^2 / s`.
//!
//! # Rounds
//! Rows are drawn many at a time, all by the bounds at the start of the round, and
//! measured in parallel. Then they are accepted or rejected in the order of the
//! draws, against all centres before them, those of this round included. The draws
//! of a round are independent of each other and of what is accepted, so the first
//! one accepted after any pick has the right distribution, whatever was picked
//! before it. No draw is left out but those after the last pick of all. Bounds are
//! replaced by what was measured between rounds.
//!
//! # Refreshing
//! Where the bounds are far too high, most draws are rejected. Once measuring those
//! has cost as much as showing all rows twice as many centres as they have seen, all
//! are shown these: work is at most about twice what the better of the two ways would
//! take. So it goes with many labelled rows, too: nothing is measured against all
//! of them but what is drawn.
//!
//! Bounds are exact distances to the first so many centres, in `f64`, and draws are
//! hashes of the seed and a counter. Picks therefore depend on rows and options
//! alone, not on threads or instructions.

pub(super) mod gauge;
#[cfg(test)]
mod tests;
mod tree;

use super::gate::Limits;
use super::ids::{mix, uniform};
use super::k_center::rules::Rules;
use super::k_center::trace::Trace;
use super::{Cover, KCenter};
use crate::distances::{Beside, Join, Metric, Space};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;
use gauge::Gauge;
use tree::Tree;

/// Centres that all rows are measured against in the beginning, at most.
const PIVOTS: usize = 64;
/// Draws of a round.
const DRAWS: [usize; 2] = [16, 1024];
/// Picks that a round is meant to yield, as a part of the centres: more, and
/// measuring draws against picks of the same round would outweigh the rest.
const PART: usize = 8;
/// Rows that are measured to the end for a first idea of the radius.
const FARTHEST: usize = 1024;
/// Centres that others are shown, at least, when looking for the farthest.
const GLANCE: usize = 16;

/// What to draw, and how.
#[derive(Debug, Clone, Copy)]
pub struct D2Sampling<'a> {
    /// The rows to pick, at most.
    pub k: usize,
    /// The distance. Cosine distances are proportional to squared distances of rows
    /// scaled to length one, and are drawn by as they are.
    pub metric: Metric,
    /// What the draws depend on.
    pub seed: u64,
    /// Rows of another matrix that are centres already.
    pub centers: Option<Matrix<'a>>,
    /// Rows of the pool that are centres already, and are never picked.
    pub labelled: &'a [i64],
    /// The first pick. Without it, and with no centres, it is drawn by weight alone.
    pub start: Option<usize>,
    /// One number a row: what its squared distance is multiplied with.
    pub weights: Option<&'a [f64]>,
    /// One byte a row: rows that are not zero are never picked.
    pub exclude: Option<&'a [u8]>,
    /// What picks have to keep to beside.
    pub limits: Limits<'a>,
    /// Predictions of the rows: distances are those of the gradients that rows would
    /// give at the last layer (Ash et al. 2020), not of the rows themselves.
    pub predictions: Option<Matrix<'a>>,
}

/// Draws `k` rows of `matrix` from the D² distribution.
///
/// Rows at distance zero of a centre, or of weight zero, are picked last, lower
/// positions first. The radius is that of the rows that may be picked.
///
/// # Errors
/// [`Error::Value`] for rows that have no distance, or distances whose squares `f64`
/// cannot sum, [`Error::Shape`] and [`Error::Option`] for arguments that do not fit,
/// [`Error::Cancelled`].
pub fn d2_sampling(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    options: &D2Sampling<'_>,
) -> Result<Cover> {
    let cover = options.as_cover();
    cover.fits(matrix)?;
    if options.centers.is_some() && options.predictions.is_some() {
        return Err(Error::Option(
            "centers: expected none with predictions, as they have no gradients".into(),
        ));
    }
    let space = match options.predictions {
        None => Space::new(*matrix, options.metric, exec.simd),
        Some(predictions) => {
            let beside = Beside {
                matrix: predictions,
                join: Join::Gradients,
            };
            Space::joint(*matrix, beside, exec.simd)?
        }
    };
    let gate = options.limits.gate(matrix.rows(), exec.simd)?;
    let mut rules = Rules::new(matrix.rows(), &cover, gate);
    let (mean, largest) = space.check(exec, "embeddings", |row| rules.is_used(row))?;
    let candidates = rules.covered();
    let mut open = 0;
    for row in &candidates {
        exec.go_on()?;
        open += usize::from(rules.admits(*row as usize));
    }
    let k = options.k.min(open);
    let sampler = Sampler {
        exec,
        space,
        options,
        gauge: Gauge::new(exec, space, &mean, largest),
        tree: Tree::new(matrix.rows()),
        trace: Trace::new(exec, options.metric),
        k,
        candidates,
        rules,
        draws: 0,
    };
    sampler.run()
}

impl<'a> D2Sampling<'a> {
    /// The cover whose arguments are the same.
    fn as_cover(&self) -> KCenter<'a> {
        KCenter {
            centers: self.centers,
            labelled: self.labelled,
            start: self.start,
            weights: self.weights,
            exclude: self.exclude,
            ..KCenter::new(self.k, self.metric)
        }
    }
}

/// See the module.
struct Sampler<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    options: &'a D2Sampling<'a>,
    /// Rows that are to be covered, ascending.
    candidates: Vec<u32>,
    rules: Rules<'a>,
    /// Picks to be made.
    k: usize,
    gauge: Gauge<'a>,
    /// Upper bounds of `w D^2`; zero for rows that are no candidates.
    tree: Tree,
    trace: Trace<'a>,
    /// Random numbers used so far.
    draws: u64,
}

impl Sampler<'_> {
    fn run(mut self) -> Result<Cover> {
        self.add_centres()?;
        let mut start = self.options.start.filter(|_| self.k > 0);
        if self.gauge.centres() == 0 && self.k > 0 {
            let first = match start.take() {
                Some(row) => row,
                None if self.options.predictions.is_some() => self.longest()?,
                None => self.draw_first(),
            };
            self.pick(first)?;
        }
        if self.gauge.centres() > 0 {
            self.deepen(self.gauge.centres().min(PIVOTS))?;
            if let Some(row) = start {
                self.gauge.update(&[row as u32])?;
                self.pick(row)?;
                self.tree.set(row, 0.0);
            }
            self.draw_all()?;
            self.pick_rest()?;
        }
        let radius = self.radius()?;
        Ok(Cover {
            picks: self.trace.picks,
            distances: self.trace.distances,
            radius: self.options.metric.finish(radius),
            computed: self.gauge.computed,
        })
    }

    /// Adds what are centres already, in an order that has nothing to do with theirs:
    /// the first ones stand for all.
    fn add_centres(&mut self) -> Result<()> {
        let options = self.options;
        let centers = options.centers.map(|matrix| {
            let others = Space::new(matrix, options.metric, self.exec.simd);
            others.check(self.exec, "centers", |_| true).map(|_| others)
        });
        let mut sources = Vec::new();
        if let Some(others) = centers.transpose()? {
            sources.extend((0..others.rows()).map(|row| (others, row)));
        }
        let labelled = options.labelled.iter();
        sources.extend(labelled.map(|row| (self.space, *row as usize)));
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_unstable_by_key(|at| mix(*at as u64));
        for at in order {
            let (space, row) = sources[at];
            self.gauge.push(&space.row(row));
        }
        Ok(())
    }

    fn weight(&self, row: usize) -> f64 {
        self.options.weights.map_or(1.0, |weights| weights[row])
    }

    /// The bound of a row as far as it has been measured; nothing if it may not be picked.
    fn bound(&self, row: usize) -> f64 {
        if self.rules.is_open(row) {
            self.weight(row) * self.gauge.squared[row]
        } else {
            0.0
        }
    }

    /// The next uniform number in `[0, 1)`.
    fn random(&mut self) -> f64 {
        let hash = mix(self.draws ^ mix(self.options.seed));
        self.draws += 1;
        uniform(hash)
    }

    /// A row drawn by weight; the first where all weights are zero.
    fn draw_first(&mut self) -> usize {
        let mut tree = Tree::new(self.space.rows());
        let open = (self.candidates.iter().map(|row| *row as usize))
            .filter(|row| self.rules.is_open(*row));
        let first = open.clone().next().unwrap_or(0);
        tree.set_all(open.map(|row| (row, self.weight(row))));
        let part = self.random();
        if tree.total() > 0.0 {
            tree.find(part)
        } else {
            first
        }
    }

    /// The row of the longest gradient.
    fn longest(&self) -> Result<usize> {
        let lengths = self.space.squared_lengths(self.exec, &self.candidates)?;
        let mut first = (f64::NEG_INFINITY, 0);
        for (row, squared) in self.candidates.iter().zip(lengths) {
            let squared = self.weight(*row as usize) * squared;
            if squared > first.0 && self.rules.is_open(*row as usize) {
                first = (squared, *row as usize);
            }
        }
        Ok(first.1)
    }

    /// Picks a row that is up to date.
    fn pick(&mut self, row: usize) -> Result<()> {
        let squared = self.gauge.squared[row];
        // A copy of a centre tells nothing new.
        if squared > 0.0 {
            self.gauge.take(row);
        }
        self.rules.pick(row);
        self.trace.record(row, squared)
    }

    /// Measures all candidates against the first `depth` centres.
    fn deepen(&mut self, depth: usize) -> Result<()> {
        let squared = &self.gauge.squared;
        let is_apart = |row: &u32| squared[*row as usize] > 0.0;
        let rows: Vec<u32> = self.candidates.iter().copied().filter(is_apart).collect();
        self.gauge.deepen(&rows, depth)?;
        let mut tree = std::mem::replace(&mut self.tree, Tree::new(0));
        let rows = self.candidates.iter().map(|row| *row as usize);
        tree.set_all(rows.map(|row| (row, self.bound(row))));
        self.tree = tree;
        if self.tree.total().is_finite() {
            return Ok(());
        }
        Err(Error::Value(
            "embeddings: squared distances (times weights) are too large to be summed in float64; scale the rows down"
                .into(),
        ))
    }

    /// Draws rows until there are `k`, or all that are left have no weight.
    fn draw_all(&mut self) -> Result<()> {
        let (mut draws, mut wasted) = (DRAWS[0], 0);
        while self.trace.picks.len() < self.k && self.tree.total() > 0.0 {
            let before = self.trace.picks.len();
            let spent = self.round(draws)?;
            let picked = self.trace.picks.len() - before;
            wasted += spent * draws.saturating_sub(picked) / draws;
            let wanted = (self.gauge.centres() / PART).max(DRAWS[0] / 2);
            draws = (wanted * draws / picked.max(1)).clamp(DRAWS[0], (2 * draws).min(DRAWS[1]));
            let depth = (2 * self.gauge.depth).min(self.gauge.centres());
            let cost = (depth - self.gauge.depth) * self.candidates.len();
            if depth > self.gauge.depth && wasted >= cost {
                self.deepen(depth)?;
                wasted = 0;
            }
        }
        Ok(())
    }

    /// Draws so many rows, and picks those that are accepted. How many centres the
    /// rows had not seen, taken together.
    fn round(&mut self, draws: usize) -> Result<usize> {
        let mut drawn = Vec::with_capacity(draws);
        for _ in 0..draws {
            let (place, height) = (self.random(), self.random());
            let row = self.tree.find(place);
            drawn.push((row, height * self.tree.get(row)));
        }
        let mut rows: Vec<u32> = drawn.iter().map(|(row, _)| *row as u32).collect();
        rows.sort_unstable();
        rows.dedup();
        let unseen = rows.iter().map(|row| self.gauge.unseen(*row as usize));
        let spent = unseen.sum();
        self.gauge.update(&rows)?;
        for (row, height) in drawn {
            if self.trace.picks.len() == self.k {
                break;
            }
            // What was measured at the start of the round is a bound as well.
            if height < self.bound(row) {
                self.gauge.verify(row);
                // The first of the draws that are admitted: as if those that are not had
                // had no weight.
                if height < self.bound(row) && self.rules.admits(row) {
                    self.pick(row)?;
                }
            }
        }
        for row in rows {
            let bound = self.bound(row as usize);
            self.tree.set(row as usize, bound);
        }
        Ok(spent)
    }

    /// Picks what nothing tells apart by position.
    fn pick_rest(&mut self) -> Result<()> {
        let missing = self.k - self.trace.picks.len();
        if missing == 0 {
            return Ok(());
        }
        let rest: Vec<u32> = (self.candidates.iter().copied())
            .filter(|row| self.rules.is_open(*row as usize))
            .collect();
        for rest in rest.chunks(missing) {
            self.gauge.update(rest)?;
            for row in rest.iter().map(|row| *row as usize) {
                if self.trace.picks.len() < self.k && self.rules.admits(row) {
                    self.gauge.verify(row);
                    self.pick(row)?;
                }
            }
            if self.trace.picks.len() == self.k {
                break;
            }
        }
        Ok(())
    }

    /// The largest squared distance of a candidate to its nearest centre.
    ///
    /// Those that have been far from what they have seen are measured first. The rest
    /// need to be measured no further than until they are seen to be nearer.
    fn radius(&mut self) -> Result<f64> {
        let mut rows = std::mem::take(&mut self.candidates);
        let farthest = |gauge: &Gauge<'_>, rows: &[u32]| {
            let squared = rows.iter().map(|row| gauge.squared[*row as usize]);
            squared.fold(0.0, f64::max)
        };
        if rows.len() > FARTHEST {
            let squared = &self.gauge.squared;
            rows.select_nth_unstable_by(FARTHEST, |a, b| {
                let (a, b) = (*a as usize, *b as usize);
                squared[b].total_cmp(&squared[a]).then(a.cmp(&b))
            });
        }
        let first = &rows[..rows.len().min(FARTHEST)];
        self.gauge.update(first)?;
        let radius = farthest(&self.gauge, first);
        loop {
            rows.retain(|row| self.gauge.squared[*row as usize] > radius);
            let depth = self.gauge.depth;
            if depth == self.gauge.centres() || rows.is_empty() {
                return Ok(farthest(&self.gauge, &rows).max(radius));
            }
            let deeper = (2 * depth).max(GLANCE).min(self.gauge.centres());
            self.gauge.deepen(&rows, deeper)?;
        }
    }
}

/// The length of the gradient that each row would give at the last layer, `|a| |x|`.
///
/// # Errors
/// [`Error::Value`] for rows that are not finite, [`Error::Shape`] for predictions that
/// are not as many, [`Error::Cancelled`].
pub fn gradient_lengths(
    exec: &Exec<'_>,
    embeddings: &Matrix<'_>,
    predictions: &Matrix<'_>,
) -> Result<Vec<f64>> {
    let beside = Beside {
        matrix: *predictions,
        join: Join::Gradients,
    };
    let space = Space::joint(*embeddings, beside, exec.simd)?;
    space.check(exec, "embeddings", |_| true)?;
    let rows: Vec<u32> = (0..embeddings.rows() as u32).collect();
    let squared = space.squared_lengths(exec, &rows)?;
    Ok(squared.into_iter().map(f64::sqrt).collect())
}
