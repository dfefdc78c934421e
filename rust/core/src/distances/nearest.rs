//! The nearest centre of every row.

use super::{Best, Centres, Metric, Space, Sweep};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};
use crate::simd::dispatch;

/// Rows measured at a time.
const STEP: usize = 16;
/// Centres that a step is measured against at a time.
const CENTRES: usize = 1024;

/// The nearest centre of each row, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    /// Which centre; of two as near, the lower.
    pub index: Vec<i64>,
    /// In the unit of the metric.
    pub distance: Vec<f64>,
}

/// Finds the nearest of the rows of `centers` for each row of `matrix`.
///
/// # Errors
/// [`Error::Shape`] when dimensions disagree or there is no centre, [`Error::Value`]
/// for rows that have no distance, [`Error::Cancelled`].
pub fn nearest(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    centers: &Matrix<'_>,
    metric: Metric,
) -> Result<Nearest> {
    let dims = matrix.cols();
    if centers.rows() == 0 || centers.cols() != dims || dims == 0 {
        return Err(Error::Shape(format!(
            "centers: expected one row or more of {dims} dimensions like the embeddings, got the shape ({}, {})",
            centers.rows(),
            centers.cols()
        )));
    }
    let space = Space::new(*matrix, metric, exec.simd);
    let others = Space::new(*centers, metric, exec.simd);
    space.check(exec, "embeddings", |_| true)?;
    others.check(exec, "centers", |_| true)?;
    let width = space.width();
    let mut measured = Centres::new(width);
    for row in 0..centers.rows() {
        measured.push(&others.row(row));
    }
    let rows = matrix.rows();
    let (mut index, mut distance) = (vec![0; rows], vec![0.0; rows]);
    let (indices, distances) = (Disjoint::new(&mut index), Disjoint::new(&mut distance));
    let row_bytes = dims * matrix.kind().size() * measured.len();
    let start = || vec![0.0; STEP * width];
    exec.for_each_range(rows, row_bytes, start, |prepared, range| {
        for first in range.clone().step_by(STEP) {
            let step = first..range.end.min(first + STEP);
            let list: Vec<u32> = step.clone().map(|row| row as u32).collect();
            let prepared = &mut prepared[..list.len() * width];
            space.load(&list, prepared);
            let mut best = [Best::NONE; STEP];
            let best = &mut best[..list.len()];
            for first in (0..measured.len()).step_by(CENTRES) {
                let sweep = Sweep {
                    width,
                    rows: prepared,
                    centres: measured.range(first..measured.len().min(first + CENTRES)),
                    first: first as u32,
                    best,
                };
                dispatch(exec.simd, sweep);
            }
            // SAFETY: ranges do not overlap, nor do their steps.
            let (index, distance) = unsafe { (indices.range(step.clone()), distances.range(step)) };
            for ((index, distance), best) in index.iter_mut().zip(distance).zip(best) {
                // Distances that overflow are all alike: the first centre then.
                *index = if best.near == u32::MAX {
                    0
                } else {
                    i64::from(best.near)
                };
                *distance = metric.finish(best.squared);
            }
        }
    })?;
    Ok(Nearest { index, distance })
}

/// How far each of some rows is from those before it, from rows that are `labelled`, and
/// from all of `centers`: infinitely, if there are none.
///
/// # Errors
/// As [`nearest`], and [`Error::Option`] for rows outside the matrix.
pub fn distances_before(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    metric: Metric,
    rows: &[i64],
    labelled: &[i64],
    centers: Option<Matrix<'_>>,
) -> Result<Vec<f64>> {
    let is_outside = |row: &&i64| usize::try_from(**row).map_or(true, |row| row >= matrix.rows());
    if let Some(row) = rows.iter().chain(labelled).find(is_outside) {
        return Err(Error::Option(format!(
            "rows: expected positions below {}, got {row}",
            matrix.rows()
        )));
    }
    let space = Space::new(*matrix, metric, exec.simd);
    let mut known = Centres::new(space.width());
    if let Some(centers) = centers {
        if centers.cols() != matrix.cols() {
            return Err(Error::Shape(format!(
                "centers: expected {} dimensions like the embeddings, got {}",
                matrix.cols(),
                centers.cols()
            )));
        }
        let others = Space::new(centers, metric, exec.simd);
        for row in 0..centers.rows() {
            exec.go_on()?;
            known.push(&others.row(row));
        }
    }
    for row in labelled.iter().chain(rows) {
        exec.go_on()?;
        known.push(&space.row(*row as usize));
    }
    let before = known.len() - rows.len();
    let mut distances = vec![0.0; rows.len()];
    let out = Disjoint::new(&mut distances);
    exec.for_each_chunk(
        rows.len(),
        STEP,
        || (),
        |(), range| {
            // SAFETY: ranges do not overlap.
            let out = unsafe { out.range(range.clone()) };
            for (i, out) in range.zip(out) {
                let (own, mut best) = (known.range(before + i..before + i + 1), [Best::NONE]);
                space.sweep(own, known.range(0..before + i), 0, &mut best);
                *out = metric.finish(best[0].squared);
            }
        },
    )?;
    Ok(distances)
}
