//! What is known of every row's distance to its nearest centre.
//!
//! A row has been measured exactly against the first so many centres, screened
//! against those after them, and has not seen the rest. Where very many centres come
//! first, a row that has not seen them glances at those after them before: few, and
//! the new ones among them are what covers it most often.

use std::ops::Range;

use crate::distances::{
    Best, Centres, GROUP, GROUPS, NARROW, Pack, SAFE, Screen, Screened, Space, Sweep,
};
use crate::error::Result;
use crate::parallel::{Disjoint, Exec};
use crate::simd::dispatch;

/// Rows that a worker brings up to date at a time.
pub(super) const STEP: usize = GROUP * GROUPS;
/// Centres that a row is shown at a time: after that it may no longer be on top.
const SHOW: usize = 1024;
/// Exact distances that cost as much as one that is screened.
pub(in crate::select) const PRICE: u64 = 8;
/// Rows that may be measured once more without a thought.
const SLACK: u64 = 16;
/// Centres whose numbers `f32` can count.
pub(in crate::select) const COUNTABLE: usize = 1 << 24;

/// See the module.
pub(super) struct Bounds<'a> {
    pub exec: &'a Exec<'a>,
    pub space: Space<'a>,
    pub centres: Centres,
    /// None where screening tells too little.
    pub screen: Option<Screen>,
    /// An upper bound of each row's squared distance to the centres it has seen.
    pub upper: Vec<f64>,
    known: Vec<Known>,
    /// Very many centres that come first: rows have only been brought near to them.
    pub(super) old: usize,
    /// Distances computed.
    pub computed: u64,
    /// Distances computed lately: once more for want of a clear answer, and to screen.
    spent: (u64, u64),
}

/// See the module.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// The squared distance to the nearest of the first `exact_to` centres.
    exact: f64,
    exact_to: u32,
    /// Screened against the centres from `exact_to` on.
    seen: u32,
    /// Until it has seen the old centres: it has glanced at those after them, up to here.
    glanced: u32,
    screened: Screened,
    /// The row's squared norm in the screen.
    norm: f32,
}

impl Known {
    const NOTHING: Self = Self {
        exact: f64::INFINITY,
        exact_to: 0,
        seen: 0,
        glanced: 0,
        screened: Screened::NONE,
        norm: 0.0,
    };
}

impl<'a> Bounds<'a> {
    /// Nothing is known yet. `mean` and `largest` are those of the rows.
    pub(super) fn new(exec: &'a Exec<'a>, space: Space<'a>, mean: &[f64], largest: f64) -> Self {
        let can_screen = space.dims() > NARROW && (1.0 / SAFE..SAFE).contains(&largest);
        Self {
            exec,
            space,
            centres: Centres::new(space.width()),
            screen: can_screen.then(|| Screen::new(mean.iter().map(|x| *x as f32).collect())),
            upper: vec![f64::INFINITY; space.rows()],
            known: vec![Known::NOTHING; space.rows()],
            old: 0,
            computed: 0,
            spent: (0, 0),
        }
    }

    /// Adds a prepared row to the centres.
    pub(super) fn push(&mut self, row: &[f64]) {
        self.centres.push(row);
        if let Some(screen) = &mut self.screen {
            screen.push(row);
        }
        let is_safe = row.iter().all(|x| x.abs() < SAFE);
        if !is_safe || self.centres.len() > COUNTABLE {
            self.screen = None;
        }
    }

    /// Adds a row of the pool to the centres.
    pub(super) fn push_row(&mut self, row: usize) {
        let prepared = self.space.row(row);
        self.push(&prepared);
        self.upper[row] = 0.0;
    }

    /// Whether the bound of a row is its distance.
    pub(super) fn is_current(&self, row: usize) -> bool {
        self.upper[row] == 0.0 || self.known[row].exact_to as usize == self.centres.len()
    }

    /// Whether a row has so many centres to see that it should not be verified yet.
    pub(super) fn is_behind(&self, row: usize) -> bool {
        let known = &self.known[row];
        let seen = known.seen.max(known.exact_to) as usize;
        self.screen.is_some() && (seen < self.old || seen + SHOW <= self.centres.len())
    }

    /// How many centres a row has seen.
    pub(super) fn seen(&self, row: usize) -> u32 {
        self.known[row].seen
    }

    fn sweep(&self, rows: &[f64], centres: &[f64], first: usize, best: &mut [Best]) {
        let sweep = Sweep {
            width: self.space.width(),
            rows,
            centres,
            first: first as u32,
            best,
        };
        dispatch(self.exec.simd, sweep);
    }

    /// Shows rows (each once) centres that they have not seen, in parallel: all, the
    /// next `SHOW` of many, or at a glance those after the old ones.
    pub(super) fn update(&mut self, rows: &[u32]) -> Result<()> {
        if self.old == 0 || self.screen.is_none() {
            return self.update_by(rows, Self::show);
        }
        let is_to_glance = |row: &u32| {
            let known = &self.known[*row as usize];
            (known.seen as usize) < self.old && (known.glanced as usize) < self.centres.len()
        };
        let (glancing, seeing): (Vec<_>, Vec<_>) = rows.iter().partition(|row| is_to_glance(row));
        self.update_by(&glancing, Self::glance)?;
        self.update_by(&seeing, Self::show)
    }

    fn update_by(&mut self, rows: &[u32], show: Show<Self>) -> Result<()> {
        let (verified, screened) = self.spent;
        let few = SLACK * PRICE * self.centres.len() as u64;
        if verified * PRICE > screened + few.max(1 << 16) {
            self.screen = None;
        }
        self.spent = (verified / 2, screened / 2);
        let mut upper = std::mem::take(&mut self.upper);
        let mut known = std::mem::take(&mut self.known);
        let result = {
            let upper = Disjoint::new(&mut upper);
            let known = Disjoint::new(&mut known);
            let width = self.space.width();
            let start = || Worker {
                prepared: vec![0.0; STEP * width],
                pack: Pack::new(width),
                states: Vec::with_capacity(STEP),
                upper: [f64::INFINITY; STEP],
                computed: 0,
            };
            self.exec
                .for_each_chunk(rows.len(), STEP, start, |worker, range| {
                    let rows = &rows[range];
                    // SAFETY: each row is in `rows` once.
                    let state = |row: usize| unsafe {
                        (
                            &mut upper.range(row..row + 1)[0],
                            &mut known.range(row..row + 1)[0],
                        )
                    };
                    worker.states.clear();
                    for row in rows {
                        worker.states.push(*state(*row as usize).1);
                    }
                    worker.upper.fill(f64::INFINITY);
                    show(self, rows, worker);
                    for (i, row) in rows.iter().enumerate() {
                        let (upper, known) = state(*row as usize);
                        *known = worker.states[i];
                        *upper = upper.min(worker.upper[i]);
                    }
                })
        };
        (self.upper, self.known) = (upper, known);
        let computed = result?.iter().map(|worker| worker.computed).sum::<u64>();
        self.computed += computed;
        self.spent.1 += computed;
        Ok(())
    }

    /// Shows the rows of a worker centres that they have not seen.
    fn show(&self, rows: &[u32], worker: &mut Worker) {
        let width = self.space.width();
        let last = self.centres.len();
        let prepared = &mut worker.prepared[..rows.len() * width];
        let Some(screen) = &self.screen else {
            self.space.load(rows, prepared);
            let mut best = [Best::NONE; STEP];
            let exact_to = worker.states.iter().map(|known| known.exact_to as usize);
            let first = exact_to.min().unwrap_or(last);
            for (best, known) in best.iter_mut().zip(&worker.states) {
                best.squared = known.exact;
            }
            worker.computed += ((last - first) * rows.len()) as u64;
            let centres = self.centres.range(first..last);
            self.sweep(prepared, centres, first, &mut best[..rows.len()]);
            for (i, known) in worker.states.iter_mut().enumerate() {
                known.settle(best[i].squared, last);
                worker.upper[i] = best[i].squared;
            }
            return;
        };
        let seen = worker.states.iter().map(|known| known.seen as usize);
        let last = last.min(seen.max().unwrap_or(0) + SHOW);
        self.screen_rows(screen, rows, worker, last, |known| known.seen);
        for (i, known) in worker.states.iter_mut().enumerate() {
            known.screened = known.screened.and(worker.pack.found[i]);
            known.norm = worker.pack.norms[i];
            known.seen = last as u32;
            worker.upper[i] = known
                .exact
                .min(screen.above(known.screened.least, known.norm));
        }
    }

    /// Shows the rows of a worker centres after the old ones, for a bound.
    fn glance(&self, rows: &[u32], worker: &mut Worker) {
        let Some(screen) = &self.screen else { return };
        let (old, last) = (self.old as u32, self.centres.len());
        self.screen_rows(screen, rows, worker, last, |known| known.glanced.max(old));
        for (i, known) in worker.states.iter_mut().enumerate() {
            known.glanced = last as u32;
            worker.upper[i] = screen.above(worker.pack.found[i].least, worker.pack.norms[i]);
        }
    }

    /// Screens the rows of a worker against the centres from `first` to `last`.
    fn screen_rows(
        &self,
        screen: &Screen,
        rows: &[u32],
        worker: &mut Worker,
        last: usize,
        first: impl Fn(&Known) -> u32,
    ) {
        let Worker {
            prepared,
            pack,
            states,
            computed,
            ..
        } = worker;
        pack.first.fill(last as u32);
        for (to, known) in pack.first.iter_mut().zip(states) {
            *to = first(known);
            *computed += (last - *to as usize) as u64;
        }
        screen.sift(self.exec.simd, pack, rows.len(), last, |range, out| {
            self.space
                .load_shifted(&rows[range], &screen.shift, prepared, out);
        });
    }

    /// Measures one row against all centres, exactly.
    pub(super) fn verify(&mut self, row: usize) {
        let last = self.centres.len();
        let known = self.known[row];
        let prepared = self.space.row(row);
        let mut best = [Best {
            squared: known.exact,
            ..Best::NONE
        }];
        let mut measure = |range: Range<usize>| {
            self.computed += range.len() as u64;
            let centres = self.centres.range(range.clone());
            let sweep = Sweep {
                width: self.space.width(),
                rows: &prepared,
                centres,
                first: range.start as u32,
                best: &mut best,
            };
            dispatch(self.exec.simd, sweep);
            best[0].squared
        };
        let seen = known.seen.max(known.exact_to) as usize;
        let mut rescanned = 0;
        let mut squared = measure(seen..last);
        let Screened {
            least,
            second,
            near,
        } = known.screened;
        if let Some(screen) = &self.screen {
            if screen.below(least, known.norm) < squared {
                squared = measure(near as usize..near as usize + 1);
            }
            if screen.below(second, known.norm) < squared {
                squared = measure(known.exact_to as usize..seen);
                rescanned = seen - known.exact_to as usize;
            }
        } else {
            squared = measure(known.exact_to as usize..seen);
        }
        self.spent.0 += rescanned as u64;
        self.known[row].settle(squared, last);
        self.upper[row] = squared;
    }
}

impl Known {
    /// The distance to the nearest of the first `centres` is known.
    fn settle(&mut self, squared: f64, centres: usize) {
        self.exact = squared;
        self.exact_to = centres as u32;
        self.seen = centres as u32;
        self.screened = Screened::NONE;
    }
}

/// What brings rows of a worker up to date.
type Show<B> = fn(&B, &[u32], &mut Worker);

/// Scratch of a worker.
struct Worker {
    prepared: Vec<f64>,
    pack: Pack,
    states: Vec<Known>,
    upper: [f64; STEP],
    computed: u64,
}
