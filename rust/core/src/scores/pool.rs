//! Scoring a whole pool, and the report of its invalid rows.

use super::rows::Rows;
use super::sink::Sink;
use super::{Invalid, Score};
use crate::error::Result;
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};

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

impl Output<'_> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::F32(out) => out.len(),
            Self::F64(out) => out.len(),
        }
    }
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
    assert_eq!(matrix.rows(), out.len(), "one score a row");
    let out = match out {
        Output::F32(out) => Places::F32(Disjoint::new(out)),
        Output::F64(out) => Places::F64(Disjoint::new(out)),
    };
    let row_bytes = matrix.cols() * matrix.kind().size();
    let start = || (None, Vec::new());
    let states = exec.for_each_range(matrix.rows(), row_bytes, start, |state, range| {
        let (invalid, suspects) = state;
        let (first, rows) = (range.start, Rows::Range(range.start, range.len()));
        // SAFETY: ranges do not overlap.
        let out = unsafe {
            match &out {
                Places::F32(out) => Output::F32(out.range(range)),
                Places::F64(out) => Output::F64(out.range(range)),
            }
        };
        score.of_rows(exec.simd, matrix, rows, Sink::All(out), suspects);
        for at in suspects.drain(..) {
            InvalidRows::add(invalid, score.report(matrix, first + at));
        }
    })?;
    let mut invalid = None;
    for (found, _) in states {
        InvalidRows::add(&mut invalid, found);
    }
    Ok(invalid)
}

/// An [`Output`] that several workers write to.
enum Places<'a> {
    F32(Disjoint<'a, f32>),
    F64(Disjoint<'a, f64>),
}

impl Score {
    /// [`Score::inspect`] as a report.
    pub(crate) fn report(&self, matrix: &Matrix<'_>, row: usize) -> Option<InvalidRows> {
        let why = self.inspect(matrix, row)?;
        Some(InvalidRows { count: 1, row, why })
    }
}
