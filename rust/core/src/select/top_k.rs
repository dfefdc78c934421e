//! The `k` best of a stream, in O(k) memory and O(1) amortised time a row.
//!
//! Entries collect in a buffer of about `2k`; when it is full, a quickselect keeps
//! the best `k`, and the worst of those becomes the bar for all that come later.

use std::cmp::Ordering;

use rayon::slice::ParallelSliceMut;

use super::ids::Id;
use crate::parallel::Exec;

/// A row that may be selected.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<I> {
    /// Its score.
    pub score: f64,
    /// Its place among equals.
    pub tie: u64,
    /// Its id.
    pub id: I,
    /// Its position in the stream.
    pub index: i64,
}

impl<I: Id> Entry<I> {
    /// Best first: the higher score, then the lower tie, then the lower id.
    fn order(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then(self.tie.cmp(&other.tie))
            .then_with(|| self.id.cmp(&other.id))
            .then(self.index.cmp(&other.index))
    }
}

/// The best `k` entries offered so far.
#[derive(Debug, Clone)]
pub(crate) struct TopK<I> {
    k: usize,
    entries: Vec<Entry<I>>,
    /// The worst of `k` entries that were kept together: nothing below it matters.
    bar: Option<Entry<I>>,
}

impl<I: Id> TopK<I> {
    pub(crate) const fn new(k: usize) -> Self {
        Self {
            k,
            entries: Vec::new(),
            bar: None,
        }
    }

    /// With room for so many entries.
    pub(crate) fn with_room(k: usize, entries: usize) -> Self {
        let mut top = Self::new(k);
        top.entries.reserve(entries);
        top
    }

    /// The score that an entry must at least have.
    pub(crate) fn floor(&self) -> f64 {
        self.bar.as_ref().map_or(f64::NEG_INFINITY, |bar| bar.score)
    }

    /// Takes the entry if it may be among the best; `id` is asked for only then.
    /// True when the bar was raised.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        score: f64,
        tie: u64,
        index: i64,
        id: impl FnOnce() -> I,
    ) -> bool {
        if let Some(bar) = &self.bar
            && (score < bar.score || (score == bar.score && tie > bar.tie))
        {
            return false;
        }
        let id = id();
        self.push(Entry {
            score,
            tie,
            id,
            index,
        })
    }

    /// Takes all entries of another.
    pub(crate) fn absorb(&mut self, other: Self) {
        if self.entries.is_empty() {
            *self = other;
            return;
        }
        for entry in other.entries {
            self.push(entry);
        }
    }

    fn push(&mut self, entry: Entry<I>) -> bool {
        let too_low = |bar: &Entry<I>| entry.order(bar).is_ge();
        if self.k == 0 || self.bar.as_ref().is_some_and(too_low) {
            return false;
        }
        self.entries.push(entry);
        let full = self.entries.len() >= self.k.saturating_mul(2).max(self.k.saturating_add(64));
        if full {
            self.compact();
        }
        full
    }

    fn compact(&mut self) {
        if let Some(last) = self.k.checked_sub(1)
            && self.entries.len() > last
        {
            self.entries.select_nth_unstable_by(last, Entry::order);
            self.entries.truncate(self.k);
            self.bar = self.entries.last().cloned();
        }
    }

    /// The best entries, best first.
    pub(crate) fn sort(&mut self, exec: &Exec<'_>) -> &[Entry<I>] {
        self.compact();
        match exec.pool {
            Some(pool) => pool.install(|| self.entries.par_sort_unstable_by(Entry::order)),
            None => self.entries.sort_unstable_by(Entry::order),
        }
        &self.entries
    }

    pub(crate) fn entries(&self) -> &[Entry<I>] {
        &self.entries
    }
}
