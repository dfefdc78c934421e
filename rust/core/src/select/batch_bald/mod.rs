//! `BatchBALD` (Kirsch, van Amersfoort & Gal 2019): rows whose labels together tell most
//! about the model.
//!
//! Greedy: each pick is the row whose label tells most beside those of the batch `S` so
//! far, `I(y; θ | y_S) = E[H(y | y_S)] - E[H(y | θ)]`. The members of a committee are
//! the values of `θ`. The labels of the batch are a list of [`joint`] configurations,
//! each with what it makes of the members, so that the gain of a row is
//! `Σ_c q_c (H(Σ_m w_cm p_m) - Σ_m w_cm H(p_m))`: configurations times classes times
//! members multiplications and configurations times classes logarithms.
//!
//! # Lazily
//! Knowing more labels leaves less to be told, so a gain only falls, and one that was
//! computed for a smaller batch is an upper bound. So is one for groups of
//! configurations, each with the mean of its weights: whoever is told the group alone
//! knows less of the labels, and entropy is concave. Rows wait in a heap by their
//! bounds; those on top are computed for ever smaller groups, and go back to where
//! their bounds put them. Few rows but those picked are computed for all configurations:
//! where these have left little to be told, it is in few of them, and groups of the
//! others lose nothing.
//!
//! While all configurations are there, picks are those of the naive algorithm. Once
//! labels are drawn, gains are estimates, and bounds of smaller batches hold up to
//! their noise; bounds of groups still hold.

mod entropy;
mod joint;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::atomic;

use crate::committee::{Committee, InvalidMember, Measure, softmax, sums};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};
use crate::select::gate::{Gate, Limits};
use joint::{Joint, Levels};

/// What rounding can make of a gain, in nats. Gains below are none.
const ROUNDING: f64 = 1e-12;
/// Rows that are computed to the end at a time, to begin with; for groups as many more
/// as these are less work. The number of threads has no part in it: picks would depend
/// on it.
const ROWS: usize = 2;
/// The most configurations that may be asked for.
pub const MOST_SAMPLES: usize = 100_000_000;
/// Multiplications that are not worth waking another thread.
const SMALL: usize = 200_000;

/// What to pick.
#[derive(Debug, Clone, Copy)]
pub struct BatchBald<'a> {
    /// The rows to pick, at most.
    pub k: usize,
    /// `Some` for logits, which are divided by this before the softmax.
    pub temperature: Option<f64>,
    /// The most configurations of labels. Where there are more, so many are drawn,
    /// rounded up to as many for each member. From 1 to [`MOST_SAMPLES`].
    pub samples: usize,
    /// What the draws depend on.
    pub seed: u64,
    /// One byte a row: rows that are not zero are never picked.
    pub exclude: Option<&'a [u8]>,
    /// What picks have to keep to. Rows that are taken are in the batch already.
    pub limits: Limits<'a>,
}

/// The rows picked, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Their positions.
    pub picks: Vec<usize>,
    /// What the label of each tells beside those before it, in nats.
    pub gains: Vec<f64>,
    /// Entropies computed, each of a row and a configuration or a group of them.
    pub computed: u64,
}

/// Picks `k` rows, or all that may be picked; of two equally good the lower position.
///
/// With invalid rows in the committee nothing is picked, and they are reported.
///
/// # Errors
/// [`Error::Shape`] when members differ in shape or there are none, or the options do not
/// fit them; [`Error::Option`] for a temperature out of range; [`Error::Cancelled`].
pub fn batch_bald(
    exec: &Exec<'_>,
    members: &[Matrix<'_>],
    options: &BatchBald<'_>,
) -> Result<std::result::Result<Batch, InvalidMember>> {
    let committee = Committee {
        measure: Measure::Disagreement,
        temperature: options.temperature,
        double: true,
    };
    let committee = committee.checked()?;
    let rows = members.first().map_or(0, Matrix::rows);
    let gate = options.limits.gate(rows, exec.simd)?;
    if options.exclude.is_some_and(|mask| mask.len() != rows)
        || !(1..=MOST_SAMPLES).contains(&options.samples)
    {
        return Err(Error::Shape(
            "the options do not fit the committee".to_owned(),
        ));
    }
    let mut scores = vec![0.0; rows];
    if let Some(invalid) = committee.score(exec, members, &mut scores)? {
        return Ok(Err(invalid));
    }
    let greedy = Greedy::new(exec, members, options, gate, &scores);
    greedy.run().map(Ok)
}

/// A row that may be picked, and what is known of its gain.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// An upper bound.
    bound: f64,
    row: usize,
    /// Rows of the batch that it was computed for.
    depth: usize,
    /// The next level to compute it for.
    level: usize,
    /// What a gain is multiplied by to order rows: one for each unit of cost.
    factor: f64,
}

impl Entry {
    /// The greater first, then the lower.
    fn is_before(&self, other: &Self) -> bool {
        *self > *other
    }

    /// Whether the gain may turn out to be before that of the best so far.
    fn may_beat(&self, best: Option<&Self>) -> bool {
        let rounding = if self.bound > 0.0 { ROUNDING } else { 0.0 };
        let hope = Self {
            bound: self.bound + rounding,
            ..*self
        };
        best.is_none_or(|best| hope.is_before(best))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl Ord for Entry {
    /// The greatest is the first.
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (self.bound * self.factor, other.bound * other.factor);
        own.total_cmp(&others).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// See the module.
struct Greedy<'a> {
    exec: &'a Exec<'a>,
    members: &'a [Matrix<'a>],
    options: &'a BatchBald<'a>,
    barred: Vec<bool>,
    gate: Gate<'a>,
    heap: BinaryHeap<Entry>,
    joint: Joint,
    /// Of the joint distribution; none while the batch is empty.
    levels: Levels,
    batch: Batch,
}

impl<'a> Greedy<'a> {
    /// `scores`: what a label tells by itself.
    fn new(
        exec: &'a Exec<'a>,
        members: &'a [Matrix<'a>],
        options: &'a BatchBald<'a>,
        gate: Gate<'a>,
        scores: &[f64],
    ) -> Self {
        let mut barred = vec![false; scores.len()];
        if let Some(mask) = options.exclude {
            for (barred, byte) in barred.iter_mut().zip(mask) {
                *barred = *byte != 0;
            }
        }
        for row in options.limits.taken {
            barred[*row as usize] = true;
        }
        let shape = (members.len(), members[0].cols());
        let mut greedy = Self {
            exec,
            members,
            options,
            barred,
            gate,
            heap: BinaryHeap::new(),
            joint: Joint::new(shape, options.samples, options.seed),
            levels: Levels::default(),
            batch: Batch {
                picks: Vec::new(),
                gains: Vec::new(),
                computed: 0,
            },
        };
        let entry = |(row, bound): (usize, &f64)| Entry {
            bound: *bound,
            row,
            depth: 0,
            level: 0,
            factor: greedy.gate.worth(row, 1.0),
        };
        let entries = scores.iter().enumerate().map(entry);
        let entries: Vec<Entry> = entries.filter(|e| !greedy.barred[e.row]).collect();
        greedy.heap = entries.into();
        greedy
    }

    /// Whether a row may be picked now. One that may not is not asked for again.
    fn admits(&self, row: usize) -> bool {
        !self.barred[row] && self.gate.admits(row)
    }

    fn run(mut self) -> Result<Batch> {
        for row in self.options.limits.taken {
            self.condition_on(*row as usize)?;
        }
        if !self.options.limits.taken.is_empty() {
            self.levels = self.joint.levels();
        }
        while self.batch.picks.len() < self.options.k
            && let Some(best) = self.best()?
        {
            self.gate.take(best.row);
            self.batch.picks.push(best.row);
            self.batch.gains.push(best.bound);
            self.exec.done.fetch_add(1, atomic::Ordering::Relaxed);
            // Where the best tells nothing the others don't, whatever comes.
            if best.bound > 0.0 && self.batch.picks.len() < self.options.k {
                self.condition_on(best.row)?;
                self.levels = self.joint.levels();
            }
        }
        Ok(self.batch)
    }

    /// Adds a row to the batch that others are conditioned on.
    fn condition_on(&mut self, row: usize) -> Result<()> {
        if self.exec.cancel.load(atomic::Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let mut p = Vec::new();
        self.read(row, &mut p);
        self.joint.add(p);
        Ok(())
    }

    /// What the members say of a row, one after the other, in whole vectors.
    fn read(&self, row: usize, out: &mut Vec<f64>) {
        let (classes, simd) = (self.members[0].cols(), self.exec.simd);
        out.clear();
        out.resize(entropy::padded(self.members.len() * classes), 0.0);
        for (member, out) in self.members.iter().zip(out.chunks_exact_mut(classes)) {
            match self.options.temperature {
                Some(temperature) => {
                    softmax::softmax(simd, member, row..row + 1, temperature, out);
                }
                None => sums::add(simd, member, row..row + 1, out),
            }
        }
    }

    /// Takes the best row from the heap.
    fn best(&mut self) -> Result<Option<Entry>> {
        let (mut best, mut known): (Option<Entry>, _) = (None, Vec::new());
        let whole = self.levels.costs.last().copied().unwrap_or(0);
        let costs = self.levels.costs.iter();
        let mut limits: Vec<usize> = costs.map(|cost| ROWS * whole / cost).collect();
        loop {
            let (mut pulled, mut counts) = (Vec::new(), vec![0; limits.len()]);
            while let Some(top) = self.heap.peek()
                && top.may_beat(best.as_ref())
            {
                self.exec.go_on()?;
                let level = self.next_level(top).filter(|_| self.admits(top.row));
                if level.is_some_and(|level| counts[level] == limits[level]) {
                    break;
                }
                let Some(top) = self.heap.pop() else { break };
                if let Some(level) = level {
                    counts[level] += 1;
                    pulled.push(top);
                } else if self.admits(top.row) {
                    if best.is_none_or(|best| top.is_before(&best)) {
                        best = Some(top);
                    }
                    known.push(top);
                }
            }
            if pulled.is_empty() {
                break;
            }
            self.refresh(&mut pulled)?;
            self.heap.extend(pulled);
            for (limit, count) in limits.iter_mut().zip(counts) {
                if count == *limit {
                    *limit *= 2;
                }
            }
        }
        let row = best.map(|best| best.row);
        self.heap
            .extend(known.into_iter().filter(|e| Some(e.row) != row));
        Ok(best)
    }

    /// The level that a row is to be computed for next; none if its gain is known.
    fn next_level(&self, entry: &Entry) -> Option<usize> {
        let level = if entry.depth == self.joint.depth() {
            entry.level
        } else {
            0
        };
        (entry.bound > 0.0 && level < self.levels.costs.len()).then_some(level)
    }

    /// Computes the next bounds of some rows.
    fn refresh(&mut self, entries: &mut [Entry]) -> Result<()> {
        let levels = &self.levels;
        let next = |entry: &Entry| self.next_level(entry).unwrap_or(0);
        let work: usize = entries.iter().map(|entry| levels.costs[next(entry)]).sum();
        let exec = Exec {
            pool: self
                .exec
                .pool
                .filter(|_| work * self.members[0].cols() * self.members.len() > SMALL),
            ..*self.exec
        };
        let (count, last) = (entries.len(), levels.costs.len() - 1);
        let entries = Disjoint::new(entries);
        let update = |row: &mut Vec<f64>, at: Range<usize>| {
            // SAFETY: each is handed out once.
            for entry in unsafe { entries.range(at) } {
                let level = next(entry);
                self.read(entry.row, row);
                let gain = levels.gain(exec.simd, level, row);
                entry.bound = match gain {
                    gain if gain < ROUNDING => 0.0,
                    gain if level == last => gain,
                    gain => gain.min(entry.bound),
                };
                (entry.depth, entry.level) = (self.joint.depth(), level + 1);
            }
        };
        exec.for_each_chunk(count, 1, Vec::new, update)?;
        self.batch.computed += work as u64;
        Ok(())
    }
}
