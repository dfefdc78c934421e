//! The nearest centre of every row.

use std::sync::atomic::Ordering;

use super::to_centres::{STEP, ToCentres, screen_of};
use super::{Best, Centres, Metric, Space};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};

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
    let (mean, largest) = space.check(exec, "embeddings", |_| true)?;
    others.check(exec, "centers", |_| true)?;
    let mut centres = Centres::new(space.width());
    for row in 0..centers.rows() {
        centres.push(&others.row(row));
    }
    let screen = screen_of(&space, &centres, &mean, largest);
    let rows = matrix.rows();
    let (mut index, mut distance) = (vec![0; rows], vec![0.0; rows]);
    let (indices, distances) = (Disjoint::new(&mut index), Disjoint::new(&mut distance));
    let start = || ToCentres::new(exec.simd, space, &centres, screen.as_ref());
    exec.for_each_chunk(rows, STEP, start, |worker, range| {
        let list: Vec<u32> = range.clone().map(|row| row as u32).collect();
        let mut best = [Best::NONE; STEP];
        let best = &mut best[..list.len()];
        worker.meet(&list, 0, best);
        // SAFETY: ranges do not overlap.
        let (index, distance) = unsafe { (indices.range(range.clone()), distances.range(range)) };
        for ((index, distance), best) in index.iter_mut().zip(distance).zip(best) {
            // Distances that overflow are all alike: the first centre then.
            *index = if best.near == u32::MAX {
                0
            } else {
                i64::from(best.near)
            };
            *distance = metric.finish(best.squared);
        }
        exec.done.fetch_add(list.len(), Ordering::Relaxed);
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
