//! Scoring a whole pool, and the report of its invalid rows.

use super::rows::Rows;
use super::{Invalid, Score};
use crate::element::ElementKind;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};
use crate::simd::{Isa, Op, Real, dispatch};

/// Rows scored between two looks at their scores; their `f64` scores stay in L1.
pub(crate) const BLOCK: usize = 256;

/// The invalid rows of a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvalidRows {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub row: usize,
    /// What is wrong with the first.
    pub why: Invalid,
}

impl InvalidRows {
    /// The report of both.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let first = if other.row < self.row { other } else { self };
        Self {
            count: self.count + other.count,
            ..first
        }
    }

    /// Adds one to a report that may be empty.
    pub(crate) fn add(report: &mut Option<Self>, other: Option<Self>) {
        *report = match (*report, other) {
            (Some(a), Some(b)) => Some(a.merged(b)),
            (a, b) => a.or(b),
        };
    }
}

/// Where scores go.
#[derive(Debug)]
pub enum Output<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Double precision; asks for arithmetic in `f64`, whatever the rows hold.
    F64(&'a mut [f64]),
}

/// Scores every row of `matrix`; scores of invalid rows mean nothing.
///
/// Arithmetic is in `f64` if the rows or the output are, else in `f32`.
///
/// # Errors
/// [`crate::error::Error::Cancelled`].
///
/// # Panics
/// When `out` is not one score a row.
pub fn score_pool(
    exec: &Exec<'_>,
    score: &Score,
    matrix: &Matrix<'_>,
    out: Output<'_>,
) -> Result<Option<InvalidRows>> {
    match out {
        Output::F32(out) => {
            let double = matrix.kind() == ElementKind::F64;
            score_as(exec, score, matrix, double, out)
        }
        Output::F64(out) => score_as(exec, score, matrix, true, out),
    }
}

/// Rounds scores to the type that was asked for.
struct Round<'a, T> {
    scores: &'a [f64],
    out: &'a mut [T],
}

impl<T: Real> Op for Round<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        for (out, score) in self.out.iter_mut().zip(self.scores) {
            *out = T::of(*score);
        }
    }
}

fn score_as<T: Real + Send>(
    exec: &Exec<'_>,
    score: &Score,
    matrix: &Matrix<'_>,
    double: bool,
    out: &mut [T],
) -> Result<Option<InvalidRows>> {
    assert_eq!(matrix.rows(), out.len(), "one score a row");
    let out = Disjoint::new(out);
    let row_bytes = matrix.cols() * matrix.kind().size();
    let start = || (None, Vec::new());
    let states = exec.for_each_range(matrix.rows(), row_bytes, start, |state, range| {
        let (invalid, suspects) = state;
        let mut scores = [0.0; BLOCK];
        for first in range.clone().step_by(BLOCK) {
            let len = BLOCK.min(range.end - first);
            let scores = &mut scores[..len];
            let rows = Rows::Range(first, len);
            score.of_rows(exec.simd, matrix, rows, double, scores, suspects);
            for at in suspects.drain(..) {
                InvalidRows::add(invalid, score.report(matrix, first + at));
            }
            // SAFETY: ranges do not overlap, nor do their blocks.
            let out = unsafe { out.range(first..first + len) };
            dispatch(exec.simd, Round { scores, out });
        }
    })?;
    let mut invalid = None;
    for (found, _) in states {
        InvalidRows::add(&mut invalid, found);
    }
    Ok(invalid)
}

impl Score {
    /// [`Score::inspect`] as a report.
    pub(crate) fn report(&self, matrix: &Matrix<'_>, row: usize) -> Option<InvalidRows> {
        let why = self.inspect(matrix, row)?;
        Some(InvalidRows { count: 1, row, why })
    }
}
