//! Many rows that cover already: bounds without measuring every row against all.
//!
//! Some of the centres are pivots, and every centre belongs to its nearest one. A row
//! is screened against the pivots, and then against the centres of its nearest: of
//! `n` centres it meets about `2 sqrt(n)`. The distance to the nearest of those is an
//! upper bound. Rows whose bound stays high meet other pivots, in rounds. Only rows
//! whose bound then comes to the top ever meet the rest.

use super::bounds::{Bounds, STEP};
use crate::distances::{GROUP, Pack, Screen, Screened, shift_rows};
use crate::error::Result;
use crate::parallel::Disjoint;

/// Fewer centres are met by every row.
const MANY: usize = 512;
/// Rounds, each with other pivots, for the half of the rows whose bounds are highest.
const ROUNDS: usize = 8;

/// Rows on their way through a screen.
enum Rows<'a> {
    /// Rows of the pool.
    Pool(&'a [u32]),
    /// All centres.
    Centres,
}

impl Bounds<'_> {
    /// Bounds the distances of `rows` (each once) to the centres; false if there are
    /// too few centres for that to pay, and nothing was done.
    pub(super) fn approach(&mut self, rows: &[u32]) -> Result<bool> {
        let centres = self.centres.len();
        if self.screen.is_none() || centres <= MANY {
            return Ok(false);
        }
        self.old = centres;
        let step = centres.isqrt();
        let mut rows = rows.to_vec();
        for round in 0..ROUNDS {
            self.approach_by(round * step / ROUNDS, step, &rows)?;
            let half = rows.len() / 2;
            if half == 0 {
                break;
            }
            let upper = |row: &u32| self.upper[*row as usize];
            rows.select_nth_unstable_by(half, |a, b| upper(b).total_cmp(&upper(a)));
            rows.truncate(half);
            rows.sort_unstable();
        }
        Ok(true)
    }

    /// Bounds the distances of `rows` by means of every `step`th centre from `first` on.
    fn approach_by(&mut self, first: usize, step: usize, rows: &[u32]) -> Result<()> {
        let centres = self.centres.len();
        let Some(screen) = &self.screen else {
            return Ok(());
        };
        let mut pivots = screen.like();
        for at in (first..centres).step_by(step) {
            pivots.push(self.centres.range(at..at + 1));
        }
        let members = by_nearest(&self.sift(&pivots, &Rows::Centres)?, pivots.len());
        let near = by_nearest(&self.sift(&pivots, &Rows::Pool(rows))?, pivots.len());
        let mut computed = (centres + rows.len()) * pivots.len();
        let mut upper = std::mem::take(&mut self.upper);
        let mut result = Ok(());
        for (members, near) in members.iter().zip(near) {
            // Pivots alike have their centres with the first of them.
            let mut screen = pivots.like();
            for at in members {
                let at = *at as usize;
                screen.push(self.centres.range(at..at + 1));
            }
            let rows: Vec<u32> = near.iter().map(|at| rows[*at as usize]).collect();
            computed += rows.len() * members.len();
            match self.sift(&screen, &Rows::Pool(&rows)) {
                Ok(found) => {
                    for (row, (found, norm)) in rows.iter().zip(found) {
                        let upper = &mut upper[*row as usize];
                        *upper = upper.min(screen.above(found.least, norm));
                    }
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.upper = upper;
        self.computed += computed as u64;
        result
    }

    /// Screens rows, in parallel: what was found, and their squared norms.
    fn sift(&self, screen: &Screen, rows: &Rows<'_>) -> Result<Vec<(Screened, f32)>> {
        let width = self.space.width();
        let len = match rows {
            Rows::Pool(rows) => rows.len(),
            Rows::Centres => self.centres.len(),
        };
        let mut all = vec![(Screened::NONE, 0.0); len];
        let out = Disjoint::new(&mut all);
        let start = || (vec![0.0; GROUP * width], Pack::new(width));
        self.exec
            .for_each_chunk(len, STEP, start, |(prepared, pack), range| {
                pack.first.fill(0);
                let shift = &screen.shift;
                screen.sift(
                    self.exec.simd,
                    pack,
                    range.len(),
                    screen.len(),
                    |some, out| {
                        let at = range.start + some.start..range.start + some.end;
                        match rows {
                            Rows::Pool(rows) => {
                                self.space.load_shifted(&rows[at], shift, prepared, out);
                            }
                            Rows::Centres => {
                                shift_rows(self.exec.simd, self.centres.range(at), shift, out);
                            }
                        }
                    },
                );
                // SAFETY: ranges do not overlap.
                let out = unsafe { out.range(range) };
                for (i, out) in out.iter_mut().enumerate() {
                    *out = (pack.found[i], pack.norms[i]);
                }
            })?;
        Ok(all)
    }
}

/// The places of `found` by the centre that is nearest.
fn by_nearest(found: &[(Screened, f32)], centres: usize) -> Vec<Vec<u32>> {
    let mut lists = vec![Vec::new(); centres];
    for (at, (found, _)) in found.iter().enumerate() {
        lists[found.near as usize].push(at as u32);
    }
    lists
}
