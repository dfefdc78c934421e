//! The lazy algorithm: rounds that pull the rows with the highest bounds, bring them
//! up to date, and pick among them while their best beats the bounds outside.

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use super::Cover;
use super::rules::{Ranked, Rules};
use super::tops::{Pulled, Tops};
use crate::distances::{Best, Centres, Space, Sweep};
use crate::error::Result;
use crate::parallel::{Disjoint, Exec};
use crate::simd::dispatch;

/// Rows pulled in a round, to begin with.
const PULL: usize = 1024;
/// Rows that a worker brings up to date at a time.
const GRAIN: usize = 32;
/// Rows prepared at a time.
const STEP: usize = 16;

/// The state of a cover.
pub(super) struct Lazy<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    rules: &'a mut Rules<'a>,
    centres: Centres,
    /// An upper bound of each row's squared distance to the nearest centre: that to
    /// the nearest of the first `seen`.
    upper: Vec<f64>,
    seen: Vec<u32>,
    picks: Vec<usize>,
    distances: Vec<f64>,
    computed: u64,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(exec: &'a Exec<'a>, space: Space<'a>, rules: &'a mut Rules<'a>) -> Self {
        let rows = space.rows();
        Self {
            exec,
            space,
            rules,
            centres: Centres::new(space.width()),
            upper: vec![f64::INFINITY; rows],
            seen: vec![0; rows],
            picks: Vec::new(),
            distances: Vec::new(),
            computed: 0,
        }
    }

    /// Adds rows that cover already.
    pub(super) fn add_centres(&mut self, space: &Space<'_>, rows: impl Iterator<Item = u32>) {
        let mut prepared = vec![0.0; space.width()];
        for row in rows {
            space.load(&[row], &mut prepared);
            self.centres.push(&prepared);
        }
    }

    /// Makes up to `k` picks, and measures what they cover.
    pub(super) fn run(mut self, k: usize, start: Option<usize>, mean: &[f64]) -> Result<Cover> {
        let covered = self.rules.covered();
        if k > 0 {
            let is_first = self.centres.len() == 0;
            let start = match start {
                None if is_first => self.farthest(&covered, mean)?,
                start => start,
            };
            if is_first && let Some(row) = start {
                self.pick(row, f64::INFINITY);
            }
            self.update(&covered)?;
            if !is_first && let Some(row) = start {
                self.pick(row, self.upper[row]);
            }
            self.search(k)?;
        }
        self.rules.measure();
        let radius = match self.centres.len() {
            0 if covered.is_empty() => 0.0,
            0 => f64::INFINITY,
            _ => {
                if k == 0 {
                    self.update(&covered)?;
                }
                self.search(usize::MAX)?.unwrap_or(0.0)
            }
        };
        Ok(Cover {
            picks: self.picks,
            distances: self.distances,
            radius: self.rules.metric.finish(radius),
            computed: self.computed,
        })
    }

    /// The row farthest from a point; the lower of two.
    fn farthest(&mut self, rows: &[u32], from: &[f64]) -> Result<Option<usize>> {
        let mut mean = Centres::new(self.space.width());
        mean.push(from);
        let centres = std::mem::replace(&mut self.centres, mean);
        self.update(rows)?;
        self.centres = centres;
        let mut first = Ranked::LAST;
        for row in rows {
            let at = *row as usize;
            let ranked = Ranked {
                key: self.upper[at],
                row: *row,
            };
            if ranked.is_before(first) && self.rules.admits(at) {
                first = ranked;
            }
            self.upper[at] = f64::INFINITY;
            self.seen[at] = 0;
        }
        Ok((first.key >= 0.0).then_some(first.row as usize))
    }

    fn pick(&mut self, row: usize, squared: f64) {
        let prepared = self.space.row(row);
        self.centres.push(&prepared);
        self.rules.pick(row);
        self.upper[row] = 0.0;
        self.picks.push(row);
        let distance = self.rules.metric.finish(squared);
        self.distances.push(distance);
        self.exec.done.fetch_add(1, Ordering::Relaxed);
        self.exec
            .figure
            .store(distance.to_bits(), Ordering::Relaxed);
    }

    /// Brings rows up to date, in parallel.
    fn update(&mut self, rows: &[u32]) -> Result<()> {
        let (space, centres, simd) = (&self.space, &self.centres, self.exec.simd);
        let (upper, seen) = (
            Disjoint::new(&mut self.upper),
            Disjoint::new(&mut self.seen),
        );
        let width = space.width();
        let last = centres.len();
        let start = || (vec![0.0; STEP * width], 0);
        let states =
            self.exec
                .for_each_chunk(rows.len(), GRAIN, start, |(prepared, computed), range| {
                    for step in rows[range].chunks(STEP) {
                        let prepared = &mut prepared[..step.len() * width];
                        space.load(step, prepared);
                        let mut best = [Best::NONE; STEP];
                        let mut first = last;
                        for (best, row) in best.iter_mut().zip(step) {
                            let row = *row as usize;
                            // SAFETY: each row is in `rows` once.
                            let (upper, seen) =
                                unsafe { (upper.range(row..row + 1), seen.range(row..row + 1)) };
                            best.squared = upper[0];
                            first = first.min(seen[0] as usize);
                            seen[0] = last as u32;
                        }
                        *computed += ((last - first) * step.len()) as u64;
                        let sweep = Sweep {
                            width,
                            rows: prepared,
                            centres: centres.range(first..last),
                            first: first as u32,
                            best: &mut best[..step.len()],
                        };
                        dispatch(simd, sweep);
                        for (best, row) in best.iter().zip(step) {
                            let row = *row as usize;
                            // SAFETY: each row is in `rows` once.
                            unsafe { upper.range(row..row + 1)[0] = best.squared };
                        }
                    }
                })?;
        self.computed += states.iter().map(|(_, computed)| computed).sum::<u64>();
        Ok(())
    }

    /// Picks until there are `k`, or no row may be picked. When measuring, the
    /// squared distance of the first row that would be picked.
    fn search(&mut self, k: usize) -> Result<Option<f64>> {
        let mut tops = Tops::new(self.space.rows(), |row| {
            self.rules.key(row, self.upper[row])
        });
        let mut limit = PULL.max(2 * (self.rules.outliers + 1));
        let mut pulled = Pulled::default();
        while self.picks.len() < k {
            let key = |row: usize| self.rules.key(row, self.upper[row]);
            tops.pull(limit, key, &mut pulled);
            let rows: Vec<u32> = pulled.rows.iter().map(|ranked| ranked.row).collect();
            if rows.is_empty() {
                return Ok(None);
            }
            self.update(&rows)?;
            let before = self.picks.len();
            if let Some(squared) = self.pick_among(&rows, pulled.next, k) {
                return Ok(Some(squared));
            }
            if self.picks.len() == before {
                if pulled.next.is_none() {
                    return Ok(None);
                }
                limit = (2 * limit).min(self.space.rows());
            }
            tops.refresh(pulled.blocks.iter().copied(), |row| {
                self.rules.key(row, self.upper[row])
            });
        }
        Ok(None)
    }

    /// Picks among `rows`, which were up to date a moment ago, while the best of them
    /// is before `next`.
    fn pick_among(&mut self, rows: &[u32], next: Option<Ranked>, k: usize) -> Option<f64> {
        let ranked = |lazy: &Self, row: u32| Ranked {
            key: lazy.rules.key(row as usize, lazy.upper[row as usize]),
            row,
        };
        let all = rows.iter().map(|row| ranked(self, *row));
        let mut heap: BinaryHeap<_> = all.filter(|first| first.key >= 0.0).collect();
        let mut aside = Vec::new();
        let mut outliers = 0;
        while self.picks.len() < k
            && let Some(first) = heap.pop()
        {
            let row = first.row as usize;
            if next.is_some_and(|next| next.is_before(first)) {
                break;
            }
            if self.rules.outliers == 0 && !self.rules.admits(row) {
                continue;
            }
            if !self.is_current(row) {
                self.verify(row);
                heap.push(ranked(self, first.row));
                continue;
            }
            let squared = self.upper[row];
            if outliers < self.rules.outliers {
                outliers += 1;
                aside.push(first);
            } else if self.rules.admits_at(row, squared) {
                if k == usize::MAX {
                    return Some(squared);
                }
                self.pick(row, squared);
                outliers = 0;
                heap.extend(aside.drain(..));
            } else if self.rules.outliers > 0 {
                aside.push(first);
            }
        }
        None
    }

    /// Whether the bound of a row is its distance.
    fn is_current(&self, row: usize) -> bool {
        self.upper[row] == 0.0 || self.seen[row] as usize == self.centres.len()
    }

    /// Brings one row up to date.
    fn verify(&mut self, row: usize) {
        let range = self.seen[row] as usize..self.centres.len();
        self.computed += range.len() as u64;
        let prepared = self.space.row(row);
        let mut best = [Best {
            squared: self.upper[row],
            ..Best::NONE
        }];
        let sweep = Sweep {
            width: self.space.width(),
            rows: &prepared,
            centres: self.centres.range(range.clone()),
            first: range.start as u32,
            best: &mut best,
        };
        dispatch(self.exec.simd, sweep);
        self.upper[row] = best[0].squared;
        self.seen[row] = range.end as u32;
    }
}
