//! What several models make of the same rows: how unsure they are together, and how
//! far they disagree.
//!
//! The entropy of the mean prediction splits in two: the mean entropy of the members,
//! which more data will not lower, and what is left, their disagreement (the mutual
//! information of label and model, Houlsby 2011; also the mean KL divergence of the
//! members from their mean, `McCallum` & Nigam 1998). Both are sums over members, so
//! members can come one after the other: nothing is kept but a sum of probabilities
//! for each row and class and a sum of entropies for each row, in `f64`.
//!
//! A block of rows goes through all members before the next one begins, so that of
//! members in memory the sums never leave the cache.

pub(crate) mod softmax;
pub(crate) mod sums;
#[cfg(test)]
mod tests;
mod votes;

use std::ops::Range;

use crate::element::ElementKind;
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};
use crate::scores::pool::{InvalidRows, Output};
use crate::scores::rows::Rows;
use crate::scores::sink::Sink;
use crate::scores::{Invalid, Measure as Uncertainty, Score};
use crate::simd::Simd;
pub use votes::{Tally, score_votes, vote};

/// Bytes of a member's rows that make a block: with their sums they fit into the first
/// cache.
const BLOCK: usize = 8 << 10;
/// Blocks that a worker claims at a time: of a member, the next one is then asked for
/// while this one is read.
const CLAIM: usize = 8;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Entropy of the mean prediction less the mean entropy: the disagreement.
    Disagreement,
    /// Entropy of the mean prediction.
    Predictive,
    /// Mean entropy of the predictions.
    Expected,
    /// Standard deviation of predicted numbers, of one column.
    Deviation,
}

/// A score of a committee, in nats.
///
/// Entropies are computed in `f32` lanes or in `f64` ones, and the entropy of the mean
/// with the same lanes as those of the members: what the logarithm is off by then
/// cancels in the difference, and members that agree disagree by exactly 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Committee {
    /// What is measured.
    pub measure: Measure,
    /// `Some` for logits, which are divided by this before the softmax.
    pub temperature: Option<f64>,
    /// Whether arithmetic is in `f64` also for members of a smaller type.
    pub double: bool,
}

/// The invalid rows of the first member that has any.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvalidMember {
    /// Its position in the committee.
    pub member: usize,
    /// What is wrong with its rows.
    pub rows: InvalidRows,
}

impl InvalidMember {
    fn add(report: &mut Option<Self>, other: Option<Self>) {
        *report = match (*report, other) {
            (Some(a), Some(b)) if a.member == b.member => Some(Self {
                rows: a.rows.merged(b.rows),
                ..a
            }),
            (Some(a), Some(b)) => Some(if a.member < b.member { a } else { b }),
            (a, b) => a.or(b),
        };
    }
}

/// What is known of a block of rows.
struct Sums<'a> {
    /// Of the probabilities; for deviations the mean so far.
    rows: &'a mut [f64],
    /// Of the entropies; for deviations the squares so far.
    entropies: &'a mut [f64],
}

/// What a worker needs besides.
#[derive(Default)]
struct Scratch {
    entropies: Entropies,
    probabilities: Vec<f64>,
    invalid: Option<InvalidMember>,
}

/// The entropies of a block.
#[derive(Default)]
struct Entropies {
    single: Vec<f32>,
    double: Vec<f64>,
    suspects: Vec<usize>,
}

impl Entropies {
    fn of(&mut self, simd: Simd, matrix: &Matrix<'_>, rows: Range<usize>, is_double: bool) {
        let rows = Rows::Range(rows.start, rows.len());
        self.double.resize(rows.len(), 0.0);
        self.single.resize(rows.len(), 0.0);
        let out = if is_double {
            Output::F64(&mut self.double)
        } else {
            Output::F32(&mut self.single)
        };
        let score = Score::new(Uncertainty::Entropy);
        score.of_rows(simd, matrix, rows, Sink::All(out), &mut self.suspects);
        if !is_double {
            for (double, single) in self.double.iter_mut().zip(&self.single) {
                *double = f64::from(*single);
            }
        }
    }
}

impl Committee {
    /// Refuses options that make no sense.
    ///
    /// # Errors
    /// [`Error::Option`] for a temperature out of range.
    pub fn checked(self) -> Result<Self> {
        self.input().checked().map(|_| self)
    }

    /// Scores every row of members in memory into `out`; scores of invalid rows mean
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] when members differ in shape or there are none;
    /// [`Error::Cancelled`].
    ///
    /// # Panics
    /// When `out` is not one score a row.
    pub fn score(
        &self,
        exec: &Exec<'_>,
        members: &[Matrix<'_>],
        out: &mut [f64],
    ) -> Result<Option<InvalidMember>> {
        let shape = members.first().map(shape_of).ok_or_else(no_member)?;
        for member in members {
            check_shape(member, shape)?;
        }
        assert_eq!(shape.0, out.len(), "one score a row");
        let double = members.iter().any(|member| self.is_double(member.kind()));
        let out = Disjoint::new(out);
        let start = || (Scratch::default(), Vec::new(), Vec::new());
        let work = |state: &mut (Scratch, Vec<f64>, Vec<f64>), block: Range<usize>| {
            let (scratch, rows, entropies) = state;
            let mut sums = Sums {
                rows: zeros(rows, block.len() * shape.1),
                entropies: zeros(entropies, block.len()),
            };
            for (at, member) in members.iter().enumerate() {
                self.add(exec.simd, scratch, &mut sums, (at, member), block.clone());
            }
            // SAFETY: blocks do not overlap.
            let out = unsafe { out.range(block) };
            let sums = (&*sums.rows, &*sums.entropies);
            self.finish(exec.simd, scratch, sums, (members.len(), double), out);
        };
        let states = for_each_block(exec, shape.0, row_bytes(&members[0]), start, work)?;
        Ok(merged(states.into_iter().map(|(scratch, ..)| scratch)))
    }

    /// What the members are made of, as the scores of single predictions have it.
    const fn input(&self) -> Score {
        let mut score = Score::new(Uncertainty::Entropy);
        score.temperature = self.temperature;
        score
    }

    /// A softmax is always computed in `f64`.
    fn is_double(&self, kind: ElementKind) -> bool {
        self.double || kind == ElementKind::F64 || self.temperature.is_some()
    }

    /// Adds the rows `block` of member number `at`.
    fn add(
        &self,
        simd: Simd,
        scratch: &mut Scratch,
        sums: &mut Sums<'_>,
        (at, member): (usize, &Matrix<'_>),
        block: Range<usize>,
    ) {
        let mut report = |rows: Option<InvalidRows>| {
            let found = rows.map(|rows| InvalidMember { member: at, rows });
            InvalidMember::add(&mut scratch.invalid, found);
        };
        if self.measure == Measure::Deviation {
            for (i, row) in block.enumerate() {
                let x = member.get(row, 0);
                let why = Invalid::Value(0, x);
                report((!x.is_finite()).then_some(InvalidRows { count: 1, row, why }));
                // Welford's recurrence: nothing cancels (Technometrics 4, 1962).
                let off = x - sums.rows[i];
                sums.rows[i] += off / (at + 1) as f64;
                sums.entropies[i] += off * (x - sums.rows[i]);
            }
            return;
        }
        let shape = (block.len(), member.cols());
        let softened;
        let (matrix, rows) = if let Some(temperature) = self.temperature {
            let p = &mut scratch.probabilities;
            p.resize(shape.0 * shape.1, 0.0);
            softmax::softmax(simd, member, block.clone(), temperature, p);
            softened = Matrix::dense(p, shape);
            (&softened, 0..shape.0)
        } else {
            (member, block.clone())
        };
        let entropies = &mut scratch.entropies;
        entropies.of(simd, matrix, rows.clone(), self.is_double(matrix.kind()));
        for (sum, entropy) in sums.entropies.iter_mut().zip(&entropies.double) {
            *sum += entropy;
        }
        for suspect in entropies.suspects.drain(..) {
            report(self.input().report(member, block.start + suspect));
        }
        if self.measure != Measure::Expected {
            sums::add(simd, matrix, rows, sums.rows);
        }
    }

    /// The scores of a block that all members have been added to.
    fn finish(
        &self,
        simd: Simd,
        scratch: &mut Scratch,
        (rows, entropies): (&[f64], &[f64]),
        (members, is_double): (usize, bool),
        out: &mut [f64],
    ) {
        let members = members as f64;
        let of_mean = &mut scratch.entropies;
        if matches!(self.measure, Measure::Predictive | Measure::Disagreement) {
            let mean = rows.iter().map(|sum| sum / members);
            let shape = (out.len(), rows.len() / out.len());
            if is_double {
                let mean: Vec<f64> = mean.collect();
                of_mean.of(simd, &Matrix::dense(&mean, shape), 0..shape.0, true);
            } else {
                let mean: Vec<f32> = mean.map(|p| p as f32).collect();
                of_mean.of(simd, &Matrix::dense(&mean, shape), 0..shape.0, false);
            }
            of_mean.suspects.clear();
        }
        for (row, out) in out.iter_mut().enumerate() {
            let expected = entropies[row] / members;
            *out = match self.measure {
                Measure::Predictive => of_mean.double[row],
                // What is below zero was rounded to there.
                Measure::Disagreement => (of_mean.double[row] - expected).max(0.0),
                Measure::Expected => expected,
                Measure::Deviation => expected.sqrt(),
            };
        }
    }
}

/// A committee whose members come one after the other.
///
/// The scores are those of [`Committee::score`], bit for bit.
#[derive(Debug)]
pub struct Members {
    committee: Committee,
    shape: (usize, usize),
    count: usize,
    double: bool,
    rows: Vec<f64>,
    entropies: Vec<f64>,
}

impl Members {
    /// No members yet.
    #[must_use]
    pub const fn new(committee: Committee) -> Self {
        Self {
            committee,
            shape: (0, 0),
            count: 0,
            double: false,
            rows: Vec::new(),
            entropies: Vec::new(),
        }
    }

    /// How many rows each member has; none before the first.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.shape.0
    }

    /// Adds one more member; the scores of invalid rows will mean nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] when its shape is not that of the first; [`Error::Cancelled`],
    /// after which nothing that follows means anything.
    pub fn add(&mut self, exec: &Exec<'_>, member: &Matrix<'_>) -> Result<Option<InvalidMember>> {
        if self.count == 0 {
            self.shape = shape_of(member);
            self.rows.resize(self.shape.0 * self.shape.1, 0.0);
            self.entropies.resize(self.shape.0, 0.0);
        }
        check_shape(member, self.shape)?;
        let (at, cols, committee) = (self.count, self.shape.1, self.committee);
        self.count += 1;
        self.double |= committee.is_double(member.kind());
        let rows = Disjoint::new(&mut self.rows);
        let entropies = Disjoint::new(&mut self.entropies);
        let work = |scratch: &mut Scratch, block: Range<usize>| {
            // SAFETY: blocks do not overlap.
            let mut sums = unsafe {
                Sums {
                    rows: rows.range(block.start * cols..block.end * cols),
                    entropies: entropies.range(block.clone()),
                }
            };
            committee.add(exec.simd, scratch, &mut sums, (at, member), block);
        };
        let bytes = row_bytes(member);
        let states = for_each_block(exec, self.shape.0, bytes, Scratch::default, work)?;
        Ok(merged(states.into_iter()))
    }

    /// Bytes of what is kept.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        (self.rows.len() + self.entropies.len()) * size_of::<f64>()
    }

    /// Scores every row into `out`, by the members that there are.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are no members; [`Error::Cancelled`].
    ///
    /// # Panics
    /// When `out` is not one score a row.
    pub fn scores(&self, exec: &Exec<'_>, out: &mut [f64]) -> Result<()> {
        if self.count == 0 {
            return Err(no_member());
        }
        assert_eq!(self.shape.0, out.len(), "one score a row");
        let cols = self.shape.1;
        let out = Disjoint::new(out);
        let work = |scratch: &mut Scratch, block: Range<usize>| {
            let rows = &self.rows[block.start * cols..block.end * cols];
            let entropies = &self.entropies[block.clone()];
            // SAFETY: blocks do not overlap.
            let out = unsafe { out.range(block) };
            let members = (self.count, self.double);
            self.committee
                .finish(exec.simd, scratch, (rows, entropies), members, out);
        };
        let bytes = cols * size_of::<f64>();
        for_each_block(exec, self.shape.0, bytes, Scratch::default, work)?;
        Ok(())
    }
}

fn shape_of(matrix: &Matrix<'_>) -> (usize, usize) {
    (matrix.rows(), matrix.cols())
}

fn check_shape(member: &Matrix<'_>, shape: (usize, usize)) -> Result<()> {
    if shape_of(member) == shape {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "expected a member of the shape {shape:?}, got {:?}",
        shape_of(member)
    )))
}

fn no_member() -> Error {
    Error::Shape("expected at least one member, got none".into())
}

/// So many zeros, from the start of a cache line on: vectors that straddle two cost twice.
fn zeros(buffer: &mut Vec<f64>, len: usize) -> &mut [f64] {
    const LINE: usize = 64;
    buffer.clear();
    buffer.resize(len + LINE / size_of::<f64>(), 0.0);
    let skipped = buffer.as_ptr().align_offset(LINE);
    &mut buffer[skipped..][..len]
}

fn row_bytes(member: &Matrix<'_>) -> usize {
    member.cols() * member.kind().size()
}

/// Runs `work` on blocks of rows, one state a worker.
fn for_each_block<S: Send>(
    exec: &Exec<'_>,
    rows: usize,
    row_bytes: usize,
    start: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, Range<usize>) + Sync,
) -> Result<Vec<S>> {
    // A multiple of the lanes.
    let block = (BLOCK / row_bytes.max(1)).next_multiple_of(16).max(16);
    exec.for_each_chunk(rows, CLAIM * block, start, |state, claim| {
        for first in claim.clone().step_by(block) {
            work(state, first..claim.end.min(first + block));
        }
    })
}

fn merged(states: impl Iterator<Item = Scratch>) -> Option<InvalidMember> {
    let mut invalid = None;
    for state in states {
        InvalidMember::add(&mut invalid, state.invalid);
    }
    invalid
}
