//! Squared distances that are brought up to date where centres were added.

use super::{Best, Centres, GROUP, GROUPS, Metric, Pack, SAFE, Screen, Space, Sums};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};

/// Rows that a worker takes at a time.
const STEP: usize = GROUP * GROUPS;
/// Fewer centres are measured, not screened.
const MANY: usize = 32;
/// Centres that rows are screened against until it is known whether that pays.
const BLOCK: usize = 256;
/// Exact distances one by one that cost as much as this share of all in a row.
const SHARE: usize = 8;

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
    let screen = sums.and_then(|sums| screen_of(&space, &centres, sums));
    let mut nearest = known.squared.to_vec();
    let out = Disjoint::new(&mut nearest);
    let start = || Worker {
        exec,
        space,
        centres: &centres,
        prepared: vec![0.0; STEP * space.width()],
        pack: screen.as_ref().map(|_| Pack::new(space.width())),
    };
    exec.for_each_chunk(known.rows.len(), STEP, start, |worker, range| {
        let rows: Vec<u32> = known.rows[range.clone()]
            .iter()
            .map(|row| *row as u32)
            .collect();
        let since = known.seen[range.clone()].iter().min();
        let since = since.map_or(first, |seen| *seen as usize) - first;
        // SAFETY: ranges do not overlap.
        let out = unsafe { out.range(range) };
        let since = match &screen {
            Some(screen) if centres.len() - since >= MANY => {
                worker.screen(screen, &rows, since, out)
            }
            _ => since,
        };
        worker.measure(&rows, since, out);
    })?;
    Ok(nearest)
}

/// Centres to screen rows against, if that can tell anything.
fn screen_of(space: &Space<'_>, centres: &Centres, sums: &Sums) -> Option<Screen> {
    let all = centres.range(0..centres.len());
    let is_safe = (1.0 / SAFE..SAFE).contains(&sums.largest) && all.iter().all(|x| x.abs() < SAFE);
    if !is_safe || centres.len() < MANY || !space.is_screenable() {
        return None;
    }
    let mut shift: Vec<f32> = sums.mean().iter().map(|x| *x as f32).collect();
    shift.resize(space.width(), 0.0);
    let mut screen = Screen::new(shift);
    for centre in all.chunks_exact(space.width()) {
        screen.push(centre);
    }
    Some(screen)
}

struct Worker<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    centres: &'a Centres,
    prepared: Vec<f64>,
    /// If there is a screen.
    pack: Option<Pack>,
}

impl Worker<'_> {
    /// Measures rows against the centres from `since` on.
    fn measure(&mut self, rows: &[u32], since: usize, out: &mut [f64]) {
        let centres = self.centres.range(since..self.centres.len());
        if centres.is_empty() {
            return;
        }
        let prepared = &mut self.prepared[..rows.len() * self.space.width()];
        self.space.load(rows, prepared);
        let mut best = [Best::NONE; STEP];
        let best = &mut best[..rows.len()];
        for (best, squared) in best.iter_mut().zip(&*out) {
            best.squared = *squared;
        }
        self.space.sweep(prepared, centres, 0, best);
        for (out, best) in out.iter_mut().zip(best) {
            *out = best.squared;
        }
    }

    /// Screens rows against the centres from `since` on, and measures what is not clear, for
    /// as long as that is little; the first centre that they were not screened against.
    fn screen(&mut self, screen: &Screen, rows: &[u32], since: usize, out: &mut [f64]) -> usize {
        let Some(pack) = &mut self.pack else {
            return since;
        };
        let (simd, space, width) = (self.exec.simd, self.space, self.space.width());
        let spare = &mut self.prepared;
        screen.fill(simd, pack, rows.len(), |range, out| {
            space.load_shifted(&rows[range], &screen.shift, spare, out);
        });
        let mut bars = [f32::NEG_INFINITY; STEP];
        for (i, squared) in out.iter().enumerate() {
            bars[i] = screen.bar(*squared, pack.norms[i]);
        }
        let mut is_loaded = [false; STEP];
        let mut first = since;
        while first < self.centres.len() {
            let last = self.centres.len().min(first + BLOCK);
            let mut measured = 0;
            screen.meet(simd, pack, first..last, &mut bars, |i, at, _| {
                let own = &mut self.prepared[i * width..(i + 1) * width];
                if !is_loaded[i] {
                    space.load(&rows[i..=i], own);
                    is_loaded[i] = true;
                }
                let mut best = [Best {
                    squared: out[i],
                    ..Best::NONE
                }];
                let centre = self.centres.range(at as usize..at as usize + 1);
                space.sweep(own, centre, 0, &mut best);
                measured += 1;
                out[i] = best[0].squared;
                if out[i] > 0.0 {
                    screen.bar(out[i], pack.norms[i])
                } else {
                    f32::NEG_INFINITY
                }
            });
            if measured * SHARE > (last - first) * rows.len() {
                return last;
            }
            first = last;
        }
        first
    }
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
