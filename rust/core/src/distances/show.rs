//! Squared distances that are brought up to date where centres were added.

use super::to_centres::{STEP, ToCentres, screen_of};
use super::{Best, Centres, Metric, Space, Sums};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};

/// Rows, and what is known of them.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Positions in a matrix.
    pub rows: &'a [i64],
    /// So many of the first centres each row has seen. Neighbours are measured against what
    /// any of them lacks, so it is best to sort rows by it.
    pub seen: &'a [i64],
    /// The squared distance of each to the nearest of these.
    pub squared: &'a [f64],
}

/// Shows rows of `matrix` the centres that they have not seen: their squared distances to
/// the nearest of all.
///
/// With the `sums` of all rows of the matrix that are not excluded, most distances are only
/// screened. That changes no bit. Numbers are not checked.
///
/// # Errors
/// [`Error::Shape`] and [`Error::Option`] for arguments that do not fit, [`Error::Cancelled`].
pub fn show_centers(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    metric: Metric,
    known: Known<'_>,
    centers: &Matrix<'_>,
    sums: Option<&Sums>,
) -> Result<Vec<f64>> {
    known.fits(matrix, centers)?;
    let space = Space::new(*matrix, metric, exec.simd);
    let others = Space::new(*centers, metric, exec.simd);
    let least = known.seen.iter().min();
    let first = least.map_or(centers.rows(), |seen| *seen as usize);
    let mut centres = Centres::new(space.width());
    for row in first..centers.rows() {
        centres.push(&others.row(row));
    }
    let screen = sums.and_then(|sums| screen_of(&space, &centres, &sums.mean(), sums.largest));
    let mut nearest = known.squared.to_vec();
    let out = Disjoint::new(&mut nearest);
    let start = || ToCentres::new(exec.simd, space, &centres, screen.as_ref());
    exec.for_each_chunk(known.rows.len(), STEP, start, |worker, range| {
        let rows: Vec<u32> = known.rows[range.clone()]
            .iter()
            .map(|row| *row as u32)
            .collect();
        let since = known.seen[range.clone()].iter().min();
        let since = since.map_or(first, |seen| *seen as usize) - first;
        // SAFETY: ranges do not overlap.
        let out = unsafe { out.range(range) };
        let mut best = [Best::NONE; STEP];
        let best = &mut best[..rows.len()];
        for (best, squared) in best.iter_mut().zip(&*out) {
            best.squared = *squared;
        }
        worker.meet(&rows, since, best);
        for (out, best) in out.iter_mut().zip(best) {
            *out = best.squared;
        }
    })?;
    Ok(nearest)
}

impl Known<'_> {
    /// Refuses what cannot be worked with.
    fn fits(&self, matrix: &Matrix<'_>, centers: &Matrix<'_>) -> Result<()> {
        let count = self.rows.len();
        if matrix.cols() != centers.cols() {
            return Err(Error::Shape(format!(
                "centers: expected {} dimensions like the embeddings, got {}",
                matrix.cols(),
                centers.cols()
            )));
        }
        for (name, len) in [("seen", self.seen.len()), ("squared", self.squared.len())] {
            if len != count {
                return Err(Error::Shape(format!(
                    "{name}: expected {count}, one for each of the rows, got {len}"
                )));
            }
        }
        let is_below = |x: i64, end: usize| usize::try_from(x).is_ok_and(|x| x < end);
        if let Some(row) = self.rows.iter().find(|row| !is_below(**row, matrix.rows())) {
            return Err(Error::Option(format!(
                "rows: expected positions below {}, got {row}",
                matrix.rows()
            )));
        }
        if let Some(seen) = self
            .seen
            .iter()
            .find(|seen| !is_below(**seen, centers.rows() + 1))
        {
            return Err(Error::Option(format!(
                "seen: expected at most {}, the number of centers, got {seen}",
                centers.rows()
            )));
        }
        Ok(())
    }
}
