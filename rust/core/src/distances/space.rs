//! Prepared rows: elements as `f64`, scaled to length one under cosine.

use std::fmt::Display;
use std::marker::PhantomData;
use std::ops::Range;

use super::exact::ToPoint;
use super::joint::{Beside, JointSweep, Parts};
use super::prepare::{Shift, prepare, shift_rows};
use super::sums::{AddRows, Sums};
use super::{Best, Metric, Sweep};
use crate::element::{ElementKind, bf16, f16};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};
use crate::simd::{Simd, dispatch};

/// Rows of more dimensions have their lanes along the dimensions.
pub(crate) const NARROW: usize = 12;
/// Rows that are added up at a time.
const BLOCK: usize = 1024;
/// Rows prepared at a time in a pass over all.
const STEP: usize = 16;

/// The rows of a matrix as points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space<'a> {
    pub(super) matrix: Matrix<'a>,
    metric: Metric,
    simd: Simd,
    beside: Option<Beside<'a>>,
}

impl<'a> Space<'a> {
    pub(crate) const fn new(matrix: Matrix<'a>, metric: Metric, simd: Simd) -> Self {
        Self {
            matrix,
            metric,
            simd,
            beside: None,
        }
    }

    /// A space in which rows have two parts.
    ///
    /// # Errors
    /// [`Error::Shape`] when these are not as many.
    pub(crate) fn joint(matrix: Matrix<'a>, beside: Beside<'a>, simd: Simd) -> Result<Self> {
        if beside.matrix.rows() != matrix.rows() {
            return Err(Error::Shape(format!(
                "embeddings: expected {} rows, as many as predictions, got {}",
                beside.matrix.rows(),
                matrix.rows()
            )));
        }
        Ok(Self {
            matrix,
            metric: Metric::Euclidean,
            simd,
            beside: Some(beside),
        })
    }

    /// The widths of the parts, if there are two.
    pub(crate) fn parts(&self) -> Option<Parts> {
        let parts = |beside: Beside<'_>| Parts::new(self.dims(), beside.matrix.cols());
        self.beside.map(parts)
    }

    pub(crate) const fn rows(&self) -> usize {
        self.matrix.rows()
    }

    pub(crate) const fn dims(&self) -> usize {
        self.matrix.cols()
    }

    /// Numbers of a prepared row: the dimensions, completed with zeros.
    pub(crate) fn width(&self) -> usize {
        match self.parts() {
            Some(parts) => parts.width(),
            None if self.dims() > NARROW => self.dims().next_multiple_of(16),
            None => self.dims(),
        }
    }

    /// Prepares `rows` into `out`, row after row.
    pub(crate) fn load(&self, rows: &[u32], out: &mut [f64]) {
        let width = self.width();
        assert_eq!(out.len(), rows.len() * width, "room for all rows");
        let (Some(parts), Some(beside)) = (self.parts(), &self.beside) else {
            return prepare(self.simd, &self.matrix, self.metric, rows, width, out);
        };
        let plain = Metric::Euclidean;
        for (row, out) in rows.chunks(1).zip(out.chunks_exact_mut(width)) {
            let (own, rest) = out.split_at_mut(parts.own);
            let rest = &mut rest[..parts.beside];
            prepare(self.simd, &self.matrix, plain, row, parts.own, own);
            prepare(self.simd, &beside.matrix, plain, row, parts.beside, rest);
            parts.complete(beside.join, beside.matrix.cols(), out);
        }
    }

    /// Measures prepared rows against prepared centres, the first of which has the
    /// number `first`.
    pub(crate) fn sweep(&self, rows: &[f64], centres: &[f64], first: u32, best: &mut [Best]) {
        let (Some(parts), Some(beside)) = (self.parts(), &self.beside) else {
            let sweep = Sweep {
                width: self.width(),
                rows,
                centres,
                first,
                best,
            };
            return dispatch(self.simd, sweep);
        };
        let sweep = JointSweep {
            parts,
            join: beside.join,
            rows,
            centres,
            first,
            best,
        };
        dispatch(self.simd, sweep);
    }

    /// Squared distances of prepared rows, of one part, to a prepared point.
    pub(super) fn measure(&self, rows: &[f64], point: &[f64], squared: &mut [f64]) {
        let measure = ToPoint {
            width: self.width(),
            rows,
            point,
            squared,
        };
        dispatch(self.simd, measure);
    }

    /// Whether rows are worth screening: they have one part, of more than a few dimensions.
    pub(crate) const fn is_screenable(&self) -> bool {
        self.beside.is_none() && self.dims() > NARROW
    }

    /// Prepares rows less `shift`, as `f32`; `spare` has room for them as they are.
    pub(crate) fn load_shifted(
        &self,
        rows: &[u32],
        shift: &[f32],
        spare: &mut [f64],
        out: &mut [f32],
    ) {
        let width = self.width();
        assert!(shift.len() == width && out.len() == rows.len() * width);
        let is_plain = self.matrix.has_contiguous_rows()
            && self.metric != Metric::Cosine
            && self.is_screenable();
        macro_rules! run {
            ($elem:ty) => {
                dispatch(
                    self.simd,
                    Shift::<$elem> {
                        space: self,
                        rows,
                        origin: shift,
                        out,
                        types: PhantomData,
                    },
                )
            };
        }
        match self.matrix.kind() {
            ElementKind::F16 if is_plain => run!(f16),
            ElementKind::Bf16 if is_plain => run!(bf16),
            ElementKind::F32 if is_plain => run!(f32),
            _ => {
                let spare = &mut spare[..out.len()];
                self.load(rows, spare);
                shift_rows(self.simd, spare, shift, out);
            }
        }
    }

    /// Squared distances of some rows to a point.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn distances_to(
        &self,
        exec: &Exec<'_>,
        rows: &[u32],
        point: &[f64],
    ) -> Result<Vec<f64>> {
        let mut squared = vec![0.0; rows.len()];
        let out = Disjoint::new(&mut squared);
        let width = self.width();
        let start = || vec![0.0; STEP * width];
        exec.for_each_chunk(rows.len(), BLOCK, start, |prepared, range| {
            for first in range.clone().step_by(STEP) {
                let step = first..range.end.min(first + STEP);
                let prepared = &mut prepared[..step.len() * width];
                self.load(&rows[step.clone()], prepared);
                // SAFETY: ranges do not overlap, nor do their steps.
                self.measure(prepared, point, unsafe { out.range(step) });
            }
        })?;
        Ok(squared)
    }

    /// The squared lengths of some rows of two parts: of their outer products.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn squared_lengths(&self, exec: &Exec<'_>, rows: &[u32]) -> Result<Vec<f64>> {
        let mut squared = vec![0.0; rows.len()];
        let Some(parts) = self.parts() else {
            return Ok(squared);
        };
        let out = Disjoint::new(&mut squared);
        let start = || vec![0.0; self.width()];
        exec.for_each_chunk(rows.len(), BLOCK, start, |prepared, range| {
            // SAFETY: ranges do not overlap.
            let out = unsafe { out.range(range.clone()) };
            for (out, row) in out.iter_mut().zip(rows[range].chunks(1)) {
                self.load(row, prepared);
                *out = parts.squared_length(prepared);
            }
        })?;
        Ok(squared)
    }

    /// One prepared row.
    pub(crate) fn row(&self, row: usize) -> Vec<f64> {
        let mut out = vec![0.0; self.width()];
        self.load(&[row as u32], &mut out);
        out
    }

    /// Looks for numbers that have no distance among the rows that are `used`, and
    /// gives the mean of these rows, prepared, and their largest magnitude.
    ///
    /// # Errors
    /// [`Error::Value`] with `name` and the first such row; [`Error::Cancelled`].
    pub(crate) fn check(
        &self,
        exec: &Exec<'_>,
        name: &str,
        used: impl Fn(usize) -> bool + Sync,
    ) -> Result<(Vec<f64>, f64)> {
        let sums = self.sums(exec, name, used)?;
        Ok((sums.mean(), sums.largest))
    }

    /// [`Space::check`] with the sums of the rows.
    ///
    /// # Errors
    /// As [`Space::check`].
    pub(super) fn sums(
        &self,
        exec: &Exec<'_>,
        name: &str,
        used: impl Fn(usize) -> bool + Sync,
    ) -> Result<Sums> {
        let blocks = self.rows().div_ceil(BLOCK);
        let start = || (Vec::new(), None);
        let states = exec.for_each_chunk(blocks, 1, start, |(sums, bad), range| {
            for block in range {
                let rows = block * BLOCK..self.rows().min((block + 1) * BLOCK);
                let (sum, found) = self.sum_of(rows, &used);
                sums.push((block, sum));
                if let Some(row) = found {
                    *bad = Some(bad.map_or(row, |first: usize| first.min(row)));
                }
            }
        })?;
        if let Some(row) = states.iter().filter_map(|(_, bad)| *bad).min() {
            return Err(self.complain(name, row));
        }
        let mut sums: Vec<_> = states.into_iter().flat_map(|(sums, _)| sums).collect();
        sums.sort_unstable_by_key(|(block, _)| *block);
        let mut total = Sums::new(self.width());
        for (_, sum) in &sums {
            total.add(sum);
        }
        Ok(total)
    }

    /// The sums of the used rows of a block, and the first bad one.
    fn sum_of(&self, rows: Range<usize>, used: &impl Fn(usize) -> bool) -> (Sums, Option<usize>) {
        let width = self.width();
        let list: Vec<u32> = rows
            .filter(|row| used(*row))
            .map(|row| row as u32)
            .collect();
        let (mut sums, mut bad) = (Sums::new(width), None);
        let mut prepared = vec![0.0; STEP * width];
        for step in list.chunks(STEP) {
            let prepared = &mut prepared[..step.len() * width];
            self.load(step, prepared);
            let add = AddRows {
                rows: prepared,
                sums: &mut sums,
            };
            if !dispatch(self.simd, add) && bad.is_none() {
                let is_bad = |row: &[f64]| row.iter().any(|x| !x.is_finite());
                let at = prepared.chunks(width.max(1)).position(is_bad);
                bad = at.map(|at| step[at] as usize);
            }
        }
        sums.count = list.len() as u64;
        (sums, bad)
    }

    /// What is wrong with a bad row.
    fn complain(&self, name: &str, row: usize) -> Error {
        for col in 0..self.dims() {
            let x = self.matrix.get(row, col);
            if !x.is_finite() {
                let x: &dyn Display = if x.is_nan() { &"nan" } else { &x };
                return Error::Value(format!(
                    "{name}: row {row} has {x} in column {col}; expected finite numbers: impute or exclude such rows"
                ));
            }
        }
        Error::Value(format!(
            "{name}: row {row} is zero (or of a length that f64 cannot square), so it has no direction; exclude such rows, or use metric=\"euclidean\""
        ))
    }
}
