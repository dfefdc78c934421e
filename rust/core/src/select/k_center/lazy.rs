//! The lazy algorithm: rounds that pull the rows with the highest bounds, bring them
//! up to date, and pick among them while their best beats the bounds outside.

use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use super::Cover;
use super::bounds::Bounds;
use super::rules::{Ranked, Rules};
use super::tops::{Pulled, Tops};
use crate::distances::Space;
use crate::error::Result;
use crate::parallel::Exec;

/// Rows pulled in a round, at least. It is twice as many after a round of `FEW`er
/// picks, and half as many after one of more than `MANY`.
const LEAST: usize = 256;
const FEW: usize = 4;
const MANY: usize = 16;
/// A round ends when verifying has cost this many distances, and a part of those
/// that bringing rows up to date has: it is slower, and one thread's work.
const VERIFY: u64 = 2048;
const PART: u64 = 8;

/// The state of a cover.
pub(super) struct Lazy<'a> {
    exec: &'a Exec<'a>,
    rules: &'a mut Rules<'a>,
    bounds: Bounds<'a>,
    picks: Vec<usize>,
    distances: Vec<f64>,
}

impl<'a> Lazy<'a> {
    pub(super) fn new(exec: &'a Exec<'a>, bounds: Bounds<'a>, rules: &'a mut Rules<'a>) -> Self {
        Self {
            exec,
            rules,
            bounds,
            picks: Vec::new(),
            distances: Vec::new(),
        }
    }

    /// Adds rows that cover already.
    pub(super) fn add_centres(&mut self, space: &Space<'_>, rows: impl Iterator<Item = u32>) {
        let mut prepared = vec![0.0; space.width()];
        for row in rows {
            space.load(&[row], &mut prepared);
            self.bounds.push(&prepared);
        }
    }

    /// Makes up to `k` picks, and measures what they cover.
    pub(super) fn run(mut self, k: usize, start: Option<usize>, mean: &[f64]) -> Result<Cover> {
        let covered = self.rules.covered();
        let is_first = self.bounds.centres() == 0;
        if is_first && k > 0 {
            let start = match start {
                None => self.farthest(&covered, mean)?,
                start => start,
            };
            if let Some(row) = start {
                self.pick(row, f64::INFINITY);
            }
        }
        let mut radius = None;
        if self.bounds.centres() > 0 {
            self.bounds.update(&covered)?;
            if !is_first
                && k > 0
                && let Some(row) = start
            {
                self.bounds.verify(row);
                self.pick(row, self.bounds.upper[row]);
            }
            self.search(k)?;
            self.rules.measure();
            radius = self.search(usize::MAX)?;
        } else if !covered.is_empty() {
            radius = Some(f64::INFINITY);
        }
        Ok(Cover {
            picks: self.picks,
            distances: self.distances,
            radius: self.rules.metric.finish(radius.unwrap_or(0.0)),
            computed: self.bounds.computed,
        })
    }

    /// The row farthest from a point; the lower of two.
    fn farthest(&mut self, rows: &[u32], from: &[f64]) -> Result<Option<usize>> {
        let squared = self.bounds.distances_to(rows, from)?;
        self.bounds.computed += rows.len() as u64;
        let mut first = Ranked::LAST;
        for (key, row) in squared.into_iter().zip(rows) {
            let ranked = Ranked { key, row: *row };
            if ranked.is_before(first) && self.rules.admits(*row as usize) {
                first = ranked;
            }
        }
        Ok((first.key >= 0.0).then_some(first.row as usize))
    }

    fn pick(&mut self, row: usize, squared: f64) {
        self.bounds.push_row(row);
        self.rules.pick(row);
        self.picks.push(row);
        let distance = self.rules.metric.finish(squared);
        self.distances.push(distance);
        self.exec.done.fetch_add(1, Ordering::Relaxed);
        let figure = distance.to_bits();
        self.exec.figure.store(figure, Ordering::Relaxed);
    }

    /// Picks until there are `k`, or no row may be picked. When measuring, the
    /// squared distance of the first row that would be picked.
    fn search(&mut self, k: usize) -> Result<Option<f64>> {
        let mut tops = Tops::new(self.bounds.space.rows(), |row| {
            self.rules.key(row, self.bounds.upper[row])
        });
        let least = LEAST.max(2 * (self.rules.outliers + 1));
        let mut limit = least.max(1024);
        let mut pulled = Pulled::default();
        while self.picks.len() < k {
            let key = |row: usize| self.rules.key(row, self.bounds.upper[row]);
            tops.pull(limit, key, &mut pulled);
            let mut rows: Vec<u32> = pulled.rows.iter().map(|ranked| ranked.row).collect();
            // Rows that are brought up to date together should lack the same centres.
            rows.sort_unstable_by_key(|row| (self.bounds.seen(*row as usize), *row));
            if rows.is_empty() {
                return Ok(None);
            }
            let computed = self.bounds.computed;
            self.bounds.update(&rows)?;
            let budget = VERIFY + (self.bounds.computed - computed) / PART;
            let before = self.picks.len();
            if let Some(squared) = self.pick_among(&rows, pulled.next, k, budget) {
                return Ok(Some(squared));
            }
            let picked = self.picks.len() - before;
            if picked == 0 && pulled.next.is_none() {
                return Ok(None);
            }
            if picked < FEW {
                limit = (2 * limit).min(self.bounds.space.rows());
            } else if picked > MANY {
                limit = (limit / 2).max(least);
            }
            tops.refresh(pulled.blocks.iter().copied(), |row| {
                self.rules.key(row, self.bounds.upper[row])
            });
        }
        Ok(None)
    }

    /// Picks among `rows`, which were up to date a moment ago, while the best of them
    /// is before `next`.
    fn pick_among(
        &mut self,
        rows: &[u32],
        next: Option<Ranked>,
        k: usize,
        budget: u64,
    ) -> Option<f64> {
        let (before, budget) = (self.picks.len(), self.bounds.computed + budget);
        let ranked = |lazy: &Self, row: u32| Ranked {
            key: lazy
                .rules
                .key(row as usize, lazy.bounds.upper[row as usize]),
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
            if self.bounds.computed > budget && self.picks.len() > before {
                break;
            }
            if self.rules.outliers == 0 && !self.rules.admits(row) {
                continue;
            }
            if !self.bounds.is_current(row) {
                self.bounds.verify(row);
                heap.push(ranked(self, first.row));
                continue;
            }
            let squared = self.bounds.upper[row];
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
}
