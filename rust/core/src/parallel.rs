//! Row ranges over somebody else's threads, with cancellation and progress.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rayon::ThreadPool;

use crate::error::{Error, Result};
use crate::simd::Simd;

/// Bytes of input that a worker claims at a time: long enough for the memory
/// system to run ahead, short enough to stop and to balance within milliseconds.
const CLAIM: usize = 512 << 10;

/// How work is to be run, and how it is watched from outside.
#[derive(Debug, Clone, Copy)]
pub struct Exec<'a> {
    /// The threads to use; the calling thread alone if there are none.
    pub pool: Option<&'a ThreadPool>,
    /// The instructions to use.
    pub simd: Simd,
    /// Set by anyone: the work stops at the next claim.
    pub cancel: &'a AtomicBool,
    /// Rows done so far, or picks made.
    pub done: &'a AtomicUsize,
    /// The bits of an `f64` to be shown beside `done`: the radius of a cover.
    pub figure: &'a AtomicU64,
}

impl Exec<'_> {
    /// Whether work is to go on.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn go_on(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Workers that [`Exec::for_each_range`] will use for so many rows.
    pub(crate) fn workers(&self, rows: usize, row_bytes: usize) -> usize {
        let threads = self.pool.map_or(1, ThreadPool::current_num_threads);
        threads.min(rows.div_ceil(claim(row_bytes))).max(1)
    }

    /// Splits `0..rows` into ranges and runs `work` on each, one state a worker.
    ///
    /// A worker sees its ranges in increasing order; which worker gets which range
    /// is left to chance, so results must not depend on it.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn for_each_range<S: Send>(
        &self,
        rows: usize,
        row_bytes: usize,
        start: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, Range<usize>) + Sync,
    ) -> Result<Vec<S>> {
        self.for_each_chunk(rows, claim(row_bytes), start, |state, range| {
            let len = range.len();
            work(state, range);
            self.done.fetch_add(len, Ordering::Relaxed);
        })
    }

    /// [`Exec::for_each_range`] for ranges of `grain` items that are not counted as
    /// rows done.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn for_each_chunk<S: Send>(
        &self,
        items: usize,
        grain: usize,
        start: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, Range<usize>) + Sync,
    ) -> Result<Vec<S>> {
        let next = AtomicUsize::new(0);
        let run = || {
            let mut state = start();
            while !self.cancel.load(Ordering::Relaxed) {
                let first = next.fetch_add(grain, Ordering::Relaxed);
                if first >= items {
                    break;
                }
                work(&mut state, first..items.min(first + grain));
            }
            state
        };
        let threads = self.pool.map_or(1, ThreadPool::current_num_threads);
        let workers = threads.min(items.div_ceil(grain)).max(1);
        let states = match self.pool {
            Some(pool) if workers > 1 => {
                let mut states: Vec<Option<S>> = (0..workers).map(|_| None).collect();
                pool.scope(|scope| {
                    for state in &mut states {
                        scope.spawn(|_| *state = Some(run()));
                    }
                });
                states.into_iter().flatten().collect()
            }
            _ => vec![run()],
        };
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(states)
    }
}

/// Rows to claim at a time: a multiple of the lanes.
fn claim(row_bytes: usize) -> usize {
    (CLAIM / row_bytes.max(1))
        .next_multiple_of(16)
        .clamp(16, 1 << 20)
}

/// A slice that several workers write to, each to ranges of its own.
pub(crate) struct Disjoint<'a, T> {
    ptr: *mut T,
    len: usize,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: ranges are handed out once each (the promise of `range`).
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            ptr: slice.as_mut_ptr(),
            len: slice.len(),
            memory: PhantomData,
        }
    }

    /// # Safety
    /// No two live slices may overlap.
    #[allow(clippy::mut_from_ref, reason = "the point of this type")]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: within the slice, and the caller promises that it is not shared.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start), range.len()) }
    }

    /// # Safety
    /// `at` is within the slice, and no live slice holds it.
    #[inline]
    pub(crate) unsafe fn set(&self, at: usize, value: T)
    where
        T: Copy,
    {
        debug_assert!(at < self.len);
        // SAFETY: the caller's promise.
        unsafe { self.ptr.add(at).write(value) };
    }
}
