//! The `k` best of a stream, in O(k) memory and O(1) amortised time a row.
//!
//! Rows collect in a buffer of about `2k`; when it is full, a quickselect keeps
//! the best `k`, and the worst of those becomes the bar for all that come later.

use std::cmp::Ordering;

use super::ids::{Id, Key, Ties};

/// Smaller buffers are copied rather than taken over.
const LARGE: usize = 64 << 10;

/// A row that may be selected: no more than what its place among others follows from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<I> {
    /// Its score.
    pub score: f64,
    /// Its position in the stream.
    pub index: i64,
    /// Its id.
    pub id: I,
}

impl<I: Id> Row<I> {
    /// The row as it is compared.
    #[inline]
    pub(crate) fn look(&self) -> Row<I::Key<'_>> {
        Row {
            score: self.score,
            index: self.index,
            id: self.id.key(),
        }
    }
}

impl<K: Key> Row<K> {
    /// Best first: the higher score, then the lower tie, then the lower id.
    #[inline]
    pub(crate) fn order(&self, other: &Self, ties: Ties) -> Ordering {
        other.score.total_cmp(&self.score).then_with(|| {
            let tie = |row: &Self| row.id.tie(row.index, ties);
            tie(self)
                .cmp(&tie(other))
                .then_with(|| self.id.cmp(&other.id))
                .then(self.index.cmp(&other.index))
        })
    }
}

/// The best `k` rows offered so far.
#[derive(Debug, Clone)]
pub(crate) struct TopK<I> {
    k: usize,
    ties: Ties,
    rows: Vec<Row<I>>,
    /// Buffers that were taken over from others.
    more: Vec<Vec<Row<I>>>,
    /// The worst of `k` rows that were kept together, and its tie: nothing below it
    /// matters.
    bar: Option<(Row<I>, u64)>,
}

impl<I: Id> TopK<I> {
    pub(crate) const fn new(k: usize, ties: Ties) -> Self {
        Self {
            k,
            ties,
            rows: Vec::new(),
            more: Vec::new(),
            bar: None,
        }
    }

    /// With room for so many rows.
    pub(crate) fn with_room(k: usize, ties: Ties, rows: usize) -> Self {
        let mut top = Self::new(k, ties);
        top.rows.reserve(rows);
        top
    }

    /// The score that a row must at least have.
    #[inline]
    pub(crate) fn floor(&self) -> f64 {
        self.bar
            .as_ref()
            .map_or(f64::NEG_INFINITY, |(bar, _)| bar.score)
    }

    /// Takes the row if it may be among the best; `id` is asked for only then.
    /// True when the bar was raised.
    #[inline]
    pub(crate) fn offer(
        &mut self,
        score: f64,
        tie: u64,
        index: i64,
        id: impl FnOnce() -> I,
    ) -> bool {
        if let Some((bar, bar_tie)) = &self.bar
            && (score < bar.score || (score == bar.score && tie > *bar_tie))
        {
            return false;
        }
        let id = id();
        self.push(Row { score, index, id })
    }

    /// Takes all rows of another that orders as this one does.
    pub(crate) fn absorb(&mut self, other: Self) {
        if self.bar.is_some() {
            for row in other.more.into_iter().flatten().chain(other.rows) {
                self.push(row);
            }
            return;
        }
        self.bar = other.bar;
        for mut rows in other.more.into_iter().chain([other.rows]) {
            if rows.len() < LARGE {
                self.rows.append(&mut rows);
            } else {
                self.more.push(rows);
            }
        }
        if self.len() >= self.full() {
            self.compact();
        }
    }

    /// Takes the row if it may be among the best. True when the bar was raised.
    #[inline]
    pub(crate) fn push(&mut self, row: Row<I>) -> bool {
        let too_low = |(bar, _): &(Row<I>, u64)| row.look().order(&bar.look(), self.ties).is_ge();
        if self.k == 0 || self.bar.as_ref().is_some_and(too_low) {
            return false;
        }
        self.rows.push(row);
        let full = self.rows.len() >= self.full() || self.crowded();
        if full {
            self.compact();
        }
        full
    }

    /// Number of rows at which there is a bar to be had.
    #[inline]
    fn full(&self) -> usize {
        self.k.saturating_mul(2).max(self.k.saturating_add(64))
    }

    #[inline]
    fn crowded(&self) -> bool {
        !self.more.is_empty() && self.len() >= self.full()
    }

    fn compact(&mut self) {
        for mut rows in self.more.drain(..) {
            self.rows.append(&mut rows);
        }
        let ties = self.ties;
        if let Some(last) = self.k.checked_sub(1)
            && self.rows.len() > last
        {
            let order = |a: &Row<I>, b: &Row<I>| a.look().order(&b.look(), ties);
            self.rows.select_nth_unstable_by(last, order);
            self.rows.truncate(self.k);
            let bar = self.rows.last().cloned();
            self.bar = bar.map(|bar| {
                let tie = bar.id.key().tie(bar.index, ties);
                (bar, tie)
            });
        }
    }

    /// Number of rows kept, which may be more than `k`.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() + self.more.iter().map(Vec::len).sum::<usize>()
    }

    /// The rows kept, in no order, in a few pieces.
    pub(crate) fn parts(&self) -> Vec<&[Row<I>]> {
        let more = self.more.iter().map(Vec::as_slice);
        more.chain([self.rows.as_slice()]).collect()
    }

    /// How many of the rows kept have at least this score.
    pub(crate) fn count_from(&self, score: f64) -> usize {
        let count = |rows: &[Row<I>]| rows.iter().filter(|row| row.score >= score).count();
        self.parts().into_iter().map(count).sum()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Row<I>> {
        self.more.iter().flatten().chain(&self.rows)
    }
}
