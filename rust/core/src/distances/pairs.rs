//! All pairs of rows, each met once, for both of its rows (see `screen`).
//!
//! `s` is nearly symmetric: with both norms rounded once, the bound holds for either row.

use std::mem::take;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::meet::Visit;
use super::screen::{GROUP, GROUPS, Pack, Screen};
use crate::error::Result;
use crate::parallel::Exec;

/// Rows of a pack.
const PACK: usize = GROUP * GROUPS;
/// Bytes of the rows that a worker has in its lanes, and of those that they meet at a
/// time: both stay in its cache. Small pools of tests have several of each.
const CACHED: usize = if cfg!(test) { 16 << 10 } else { 256 << 10 };

/// A row and its `s`.
pub(super) type Near = (f32, u32);

/// What rows keep of those that they meet.
pub(super) struct Pairs<'a> {
    pub screen: &'a Screen,
    /// Others are kept if their `s` is below this, the bits of an `f32`.
    bars: Vec<AtomicU32>,
    lists: Vec<Mutex<Vec<Near>>>,
    /// The most to keep when there are too many; any number if none.
    room: Option<usize>,
    /// How many were kept in all, also for a while.
    kept: AtomicUsize,
}

impl<'a> Pairs<'a> {
    /// Nothing yet; rows keep others below their `bar`, and the least `room` of them.
    pub(super) fn new(screen: &'a Screen, bar: impl Fn(usize) -> f32, room: Option<usize>) -> Self {
        let rows = screen.len();
        Self {
            screen,
            bars: (0..rows)
                .map(|row| AtomicU32::new(bar(row).to_bits()))
                .collect(),
            lists: (0..rows).map(|_| Mutex::default()).collect(),
            room,
            kept: AtomicUsize::new(0),
        }
    }

    /// Lets all rows meet, unless they keep more than `most`; whether they have.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::error::Error::Cancelled).
    pub(super) fn meet(&self, exec: &Exec<'_>, most: usize) -> Result<bool> {
        let (rows, width) = (self.screen.len(), self.screen.shift.len());
        let packs =
            (CACHED / (PACK * width * size_of::<f32>())).clamp(1, if cfg!(test) { 1 } else { 64 });
        let start = || (0..packs).map(|_| Pack::new(width)).collect();
        exec.for_each_chunk(rows, packs * PACK, start, |packs: &mut Vec<Pack>, range| {
            self.meet_later(exec, packs, range.clone(), most);
            exec.done.fetch_add(range.len(), Ordering::Relaxed);
        })?;
        Ok(self.kept.load(Ordering::Relaxed) <= most)
    }

    /// Lets some rows meet each other and all later ones.
    fn meet_later(&self, exec: &Exec<'_>, packs: &mut [Pack], rows: Range<usize>, most: usize) {
        let width = self.screen.shift.len();
        let firsts: Vec<usize> = rows.clone().step_by(PACK).collect();
        for (pack, first) in packs.iter_mut().zip(&firsts) {
            let count = rows.end.min(first + PACK) - first;
            self.screen.fill_own(exec.simd, pack, *first, count);
        }
        let step = (CACHED / (width * size_of::<f32>()))
            .max(1)
            .next_multiple_of(8);
        let all = self.screen.len();
        let later = (rows.end..all)
            .step_by(step)
            .map(|first| first..all.min(first + step));
        for others in std::iter::once(rows.clone()).chain(later) {
            if exec.cancel.load(Ordering::Relaxed) || self.kept.load(Ordering::Relaxed) > most {
                return;
            }
            let is_own = others.start == rows.start;
            let mut kept = 0;
            for (pack, first) in packs.iter().zip(&firsts) {
                let count = rows.end.min(first + PACK) - first;
                let mut bars = [f32::NEG_INFINITY; PACK];
                for (bar, row) in bars.iter_mut().zip(*first..first + count) {
                    *bar = self.bar(row);
                }
                let pairs = self;
                let (first, kept) = (*first, &mut kept);
                // Those of one chunk meet from both sides.
                if is_own {
                    let meeting = |row: usize, other: u32, s: f32| {
                        *kept += 1;
                        pairs.take(first + row, other, s)
                    };
                    self.screen
                        .meet(exec.simd, pack, others.clone(), &mut bars, meeting);
                } else {
                    let meeting = Meeting {
                        pairs,
                        first,
                        count,
                        kept,
                    };
                    self.screen
                        .meet(exec.simd, pack, others.clone(), &mut bars, meeting);
                }
            }
            self.kept.fetch_add(kept, Ordering::Relaxed);
        }
    }

    /// What a row has kept, no more than there is room for, and the bar that all others are
    /// not below.
    pub(super) fn of(&self, row: usize) -> (Vec<Near>, f32) {
        let mut list = take(
            &mut *self.lists[row]
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut bar = self.bar(row);
        if let Some(room) = self.room {
            bar = trim(&mut list, room).unwrap_or(bar);
        }
        (list, bar)
    }

    #[inline(always)]
    fn bar(&self, row: usize) -> f32 {
        f32::from_bits(self.bars[row].load(Ordering::Relaxed))
    }

    /// Keeps one more, and tells the bar from now on.
    fn take(&self, row: usize, other: u32, s: f32) -> f32 {
        let mut list = self.lists[row]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(room) = self.room else {
            list.push((s, other));
            return self.bar(row);
        };
        // Half as many again, so that it is not trimmed all the time.
        let most = room + room / 2;
        if list.capacity() == 0 {
            list.reserve_exact(most);
        }
        list.push((s, other));
        if list.len() == most
            && let Some(bar) = trim(&mut list, room)
        {
            // Under the lock: bars only sink.
            self.bars[row].store(bar.to_bits(), Ordering::Relaxed);
        }
        self.bar(row)
    }
}

/// Leaves the least so many, and tells the least of those that went.
fn trim(list: &mut Vec<Near>, room: usize) -> Option<f32> {
    if list.len() <= room {
        return None;
    }
    let order = |a: &Near, b: &Near| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    let (_, (bar, _), _) = list.select_nth_unstable_by(room, order);
    let bar = *bar;
    list.truncate(room);
    Some(bar)
}

/// Rows of a pack meet later ones.
struct Meeting<'a> {
    pairs: &'a Pairs<'a>,
    first: usize,
    count: usize,
    kept: &'a mut usize,
}

impl Visit for Meeting<'_> {
    const MUTUAL: bool = true;

    fn row(&mut self, row: usize, centre: u32, s: f32) -> f32 {
        *self.kept += 1;
        self.pairs.take(self.first + row, centre, s)
    }

    #[inline(always)]
    fn bar(&self, centre: u32) -> f32 {
        self.pairs.bar(centre as usize)
    }

    fn centre(&mut self, row: usize, centre: u32, s: f32) {
        if row < self.count {
            *self.kept += 1;
            self.pairs
                .take(centre as usize, (self.first + row) as u32, s);
        }
    }
}
