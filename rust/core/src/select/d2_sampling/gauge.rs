//! Exact distances to the nearest of the first so many centres, a row at a time.

use std::ops::Range;

use super::super::k_center::bounds::{COUNTABLE, PRICE};
use crate::distances::{Best, Centres, GROUP, GROUPS, Pack, SAFE, Screen, Space, shift_rows};
use crate::error::Result;
use crate::parallel::{Disjoint, Exec};

/// Rows that a worker measures at a time.
const STEP: usize = GROUP * GROUPS;
/// So few centres are measured at once, without screening them first.
const FEW: usize = 12;

/// What is known of every row.
///
/// Screening tells which distances need to be computed, never what they are: what is
/// known does not depend on it.
pub(in crate::select) struct Gauge<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    centres: Centres,
    /// Centres that all rows of interest have seen.
    pub depth: usize,
    /// None where screening tells too little.
    screen: Option<Screen>,
    /// Squared distance of each row to the nearest of the centres that it has seen.
    pub squared: Vec<f64>,
    /// How many centres that is: the first ones.
    seen: Vec<u32>,
    /// Distances computed, of any precision.
    pub computed: u64,
}

/// Scratch of a worker, and what it has done.
struct Worker {
    prepared: Vec<f64>,
    pack: Pack,
    computed: u64,
    /// Distances computed exactly since screening had left too much open.
    rescanned: u64,
}

impl<'a> Gauge<'a> {
    /// Nothing is known yet. `mean` and `largest` are those of the rows.
    pub(in crate::select) fn new(
        exec: &'a Exec<'a>,
        space: Space<'a>,
        mean: &[f64],
        largest: f64,
    ) -> Self {
        let can_screen = space.is_screenable() && (1.0 / SAFE..SAFE).contains(&largest);
        Self {
            exec,
            space,
            centres: Centres::new(space.width()),
            depth: 0,
            screen: can_screen.then(|| Screen::new(mean.iter().map(|x| *x as f32).collect())),
            squared: vec![f64::INFINITY; space.rows()],
            seen: vec![0; space.rows()],
            computed: 0,
        }
    }

    /// The number of centres.
    pub(in crate::select) const fn centres(&self) -> usize {
        self.centres.len()
    }

    /// How many centres a row has not seen.
    pub(in crate::select) fn unseen(&self, row: usize) -> usize {
        self.centres.len() - self.seen[row] as usize
    }

    /// Adds a prepared row to the centres.
    pub(in crate::select) fn push(&mut self, row: &[f64]) {
        self.centres.push(row);
        if let Some(screen) = &mut self.screen {
            screen.push(row);
        }
        if self.centres.len() > COUNTABLE {
            self.screen = None;
        }
    }

    /// Adds a row of the pool to the centres.
    pub(in crate::select) fn take(&mut self, row: usize) {
        let prepared = self.space.row(row);
        self.push(&prepared);
        self.squared[row] = 0.0;
    }

    /// Measures `rows` (each once) against the centres up to a greater depth.
    pub(in crate::select) fn deepen(&mut self, rows: &[u32], depth: usize) -> Result<()> {
        self.depth = depth;
        self.measure(rows, depth)
    }

    /// Measures `rows` (each once) against all centres.
    pub(in crate::select) fn update(&mut self, rows: &[u32]) -> Result<()> {
        self.measure(rows, self.centres.len())
    }

    /// Measures `rows` against those of the first `last` centres that they have not
    /// seen, in parallel.
    fn measure(&mut self, rows: &[u32], last: usize) -> Result<()> {
        let mut rows: Vec<u32> = rows
            .iter()
            .copied()
            .filter(|row| (self.seen[*row as usize] as usize) < last)
            .collect();
        // Rows that are measured together should lack the same centres.
        rows.sort_unstable_by_key(|row| (self.seen[*row as usize], *row));
        let mut squared = std::mem::take(&mut self.squared);
        let mut seen = std::mem::take(&mut self.seen);
        let states = {
            let (squared, seen) = (Disjoint::new(&mut squared), Disjoint::new(&mut seen));
            let width = self.space.width();
            let start = || Worker {
                prepared: vec![0.0; STEP * width],
                pack: Pack::new(width),
                computed: 0,
                rescanned: 0,
            };
            let work = |worker: &mut Worker, range: Range<usize>| {
                let rows = &rows[range];
                let mut best = [Best::NONE; STEP];
                let mut first = [last as u32; STEP];
                for ((best, first), row) in best.iter_mut().zip(&mut first).zip(rows) {
                    let row = *row as usize;
                    // SAFETY: each row is there once.
                    unsafe {
                        best.squared = squared.range(row..row + 1)[0];
                        *first = std::mem::replace(&mut seen.range(row..row + 1)[0], last as u32);
                    }
                }
                self.measure_few(worker, rows, &first, last, &mut best[..rows.len()]);
                for (best, row) in best.iter().zip(rows) {
                    let row = *row as usize;
                    // SAFETY: as above.
                    unsafe { squared.range(row..row + 1)[0] = best.squared };
                }
            };
            self.exec.for_each_chunk(rows.len(), STEP, start, work)
        };
        (self.squared, self.seen) = (squared, seen);
        let (mut computed, mut rescanned) = (0, 0);
        for worker in states? {
            computed += worker.computed;
            rescanned += worker.rescanned;
        }
        self.computed += computed;
        if rescanned * PRICE > computed + (1 << 16) {
            self.screen = None;
        }
        Ok(())
    }

    /// [`Gauge::measure`] for the rows of a worker; `first` tells what they have seen.
    fn measure_few(
        &self,
        worker: &mut Worker,
        rows: &[u32],
        first: &[u32; STEP],
        last: usize,
        best: &mut [Best],
    ) {
        let width = self.space.width();
        let prepared = &mut worker.prepared[..rows.len() * width];
        self.space.load(rows, prepared);
        let least = first.iter().min().map_or(last, |first| *first as usize);
        let screen = self.screen.as_ref().filter(|_| last - least > FEW);
        let Some(screen) = screen else {
            self.sweep(prepared, least..last, best);
            worker.computed += ((last - least) * rows.len()) as u64;
            return;
        };
        let pack = &mut worker.pack;
        pack.first = *first;
        screen.sift(self.exec.simd, pack, rows.len(), last, |range, out| {
            let rows = &prepared[range.start * width..range.end * width];
            shift_rows(self.exec.simd, rows, &screen.shift, out);
        });
        for (i, row) in prepared.chunks_exact(width).enumerate() {
            let (first, norm, found) = (first[i] as usize, pack.norms[i], pack.found[i]);
            let best = &mut best[i..=i];
            worker.computed += (last - first) as u64;
            if screen.below(found.least, norm) < best[0].squared {
                let near = found.near as usize;
                self.sweep(row, near..near + 1, best);
                worker.computed += 1;
            }
            if screen.below(found.second, norm) < best[0].squared {
                self.sweep(row, first..last, best);
                worker.computed += (last - first) as u64;
                worker.rescanned += (last - first) as u64;
            }
        }
    }

    /// Measures one row against the few centres that it has not seen.
    pub(in crate::select) fn verify(&mut self, row: usize) {
        let centres = self.seen[row] as usize..self.centres.len();
        if centres.is_empty() {
            return;
        }
        let prepared = self.space.row(row);
        let mut best = [Best {
            squared: self.squared[row],
            ..Best::NONE
        }];
        self.computed += centres.len() as u64;
        self.seen[row] = centres.end as u32;
        self.sweep(&prepared, centres, &mut best);
        self.squared[row] = best[0].squared;
    }

    fn sweep(&self, rows: &[f64], centres: Range<usize>, best: &mut [Best]) {
        let first = centres.start as u32;
        let centres = self.centres.range(centres);
        self.space.sweep(rows, centres, first, best);
    }
}
