//! The lazy algorithm: rounds that pull the rows with the highest bounds, bring them
//! up to date, and pick among them while their best beats the bounds outside.

use std::collections::BinaryHeap;

use super::Engine;
use super::bounds::Bounds;
use super::rules::{Ranked, Rules};
use super::tops::{Pulled, Tops};
use super::trace::Trace;
use crate::error::Result;

/// Rows pulled in a round, at least. It is twice as many after a round of `FEW`er
/// picks, and half as many after one of more than `MANY`.
const LEAST: usize = 256;
const FEW: usize = 4;
const MANY: usize = 16;
/// A round ends when verifying has cost this many distances, and a part of those
/// that bringing rows up to date has: it is slower, and one thread's work.
const VERIFY: u64 = 2048;
const PART: u64 = 8;

/// See the module.
pub(super) struct Lazy<'a> {
    bounds: Bounds<'a>,
    covered: Vec<u32>,
}

impl<'a> Lazy<'a> {
    /// `covered` are the rows that are to be covered.
    pub(super) const fn new(bounds: Bounds<'a>, covered: Vec<u32>) -> Self {
        Self { bounds, covered }
    }
}

impl Engine for Lazy<'_> {
    fn push(&mut self, centre: &[f64]) {
        self.bounds.push(centre);
    }

    fn update(&mut self) -> Result<()> {
        if self.bounds.approach(&self.covered)? {
            return Ok(());
        }
        self.bounds.update(&self.covered)
    }

    fn squared(&mut self, row: usize) -> f64 {
        self.bounds.verify(row);
        self.bounds.upper[row]
    }

    fn take(&mut self, row: usize) {
        self.bounds.push_row(row);
    }

    fn computed(&self) -> u64 {
        self.bounds.computed
    }

    fn search(
        &mut self,
        rules: &mut Rules<'_>,
        trace: &mut Trace<'_>,
        k: usize,
    ) -> Result<Option<f64>> {
        let mut tops = Tops::new(self.bounds.space.rows(), |row| {
            rules.key(row, self.bounds.upper[row])
        });
        let least = LEAST.max(2 * (rules.outliers + 1));
        let mut limit = least.max(1024);
        let mut pulled = Pulled::default();
        while trace.picks.len() < k {
            let key = |row: usize| rules.key(row, self.bounds.upper[row]);
            tops.pull(limit, key, &mut pulled);
            let mut rows: Vec<u32> = pulled.rows.iter().map(|ranked| ranked.row).collect();
            // Rows that are brought up to date together should lack the same centres.
            rows.sort_unstable_by_key(|row| (self.bounds.seen(*row as usize), *row));
            if rows.is_empty() {
                return Ok(None);
            }
            let computed = self.bounds.computed;
            self.bounds.update(&rows)?;
            // Those that stay before all others are shown the rest of many centres.
            let mut behind = rows.clone();
            loop {
                behind.retain(|row| {
                    let key = rules.key(*row as usize, self.bounds.upper[*row as usize]);
                    let ranked = Ranked { key, row: *row };
                    key > 0.0
                        && self.bounds.is_behind(*row as usize)
                        && pulled.next.is_none_or(|next| ranked.is_before(next))
                });
                if behind.is_empty() {
                    break;
                }
                self.bounds.update(&behind)?;
            }
            let budget = VERIFY + (self.bounds.computed - computed) / PART;
            let before = trace.picks.len();
            if let Some(squared) = self.pick_among(&rows, pulled.next, budget, rules, trace, k)? {
                return Ok(Some(squared));
            }
            let picked = trace.picks.len() - before;
            if picked == 0 && pulled.next.is_none() {
                return Ok(None);
            } else if picked < FEW {
                limit = (2 * limit).min(self.bounds.space.rows());
            } else if picked > MANY {
                limit = (limit / 2).max(least);
            }
            tops.refresh(pulled.blocks.iter().copied(), |row| {
                rules.key(row, self.bounds.upper[row])
            });
        }
        Ok(None)
    }
}

impl Lazy<'_> {
    /// Picks among `rows`, which were up to date a moment ago, while the best of them
    /// is before `next`.
    fn pick_among(
        &mut self,
        rows: &[u32],
        next: Option<Ranked>,
        budget: u64,
        rules: &mut Rules<'_>,
        trace: &mut Trace<'_>,
        k: usize,
    ) -> Result<Option<f64>> {
        let (before, budget) = (trace.picks.len(), self.bounds.computed + budget);
        let ranked = |bounds: &Bounds<'_>, rules: &Rules<'_>, row: u32| Ranked {
            key: rules.key(row as usize, bounds.upper[row as usize]),
            row,
        };
        let all = rows.iter().map(|row| ranked(&self.bounds, rules, *row));
        let mut heap: BinaryHeap<_> = all.filter(|first| first.key >= 0.0).collect();
        let mut aside = Vec::new();
        let mut outliers = 0;
        while trace.picks.len() < k
            && let Some(first) = heap.pop()
        {
            let row = first.row as usize;
            if next.is_some_and(|next| next.is_before(first)) {
                break;
            }
            if self.bounds.computed > budget && trace.picks.len() > before {
                break;
            }
            if rules.outliers == 0 && !rules.admits(row) {
                continue;
            }
            if !self.bounds.is_current(row) {
                self.bounds.verify(row);
                heap.push(ranked(&self.bounds, rules, first.row));
                continue;
            }
            let squared = self.bounds.upper[row];
            if outliers < rules.outliers {
                outliers += 1;
                aside.push(first);
            } else if rules.admits_at(row, squared) {
                if rules.is_measuring() {
                    return Ok(Some(squared));
                }
                self.take(row);
                rules.pick(row);
                trace.record(row, squared)?;
                outliers = 0;
                heap.extend(aside.drain(..));
                if rules.outliers > 0 {
                    // At distance zero it is one of those that may be set aside.
                    heap.push(ranked(&self.bounds, rules, first.row));
                }
            } else if rules.outliers > 0 {
                aside.push(first);
            }
        }
        Ok(None)
    }
}
