//! What a kernel folds over: one wide row, or a tile of narrow ones.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::rows::{Fold, Kernel, LANES, Parts, RUN, Source};
use crate::element::Element;
use crate::simd::{Isa, Lanes, LoadAs, Precision, prefetch};

/// Bytes to ask for ahead of the arithmetic: the hardware alone does not run far
/// enough ahead of a loop that computes this much.
pub(super) const AHEAD: usize = 2048;

/// `N` rows of two numbers each, side by side.
pub(super) struct Pairs<V: Lanes>(pub *const V::Elem);

impl<V: Lanes> Source<V> for Pairs<V> {
    #[inline(always)]
    fn fold<F: Fold<V>>(&self, fold: F) -> Parts<V> {
        prefetch(self.0.wrapping_byte_add(AHEAD));
        prefetch(self.0.wrapping_byte_add(AHEAD + 64));
        // SAFETY: made behind dispatch, for 2 N numbers.
        let (a, b) = unsafe { V::load_pairs(self.0) };
        let start = fold.start(a.splat(V::Elem::default()));
        fold.step_both(start, a, b)
    }
}

/// `N` rows whose elements lie side by side in each column (Fortran order, one
/// column, or columns that lie apart).
pub(super) struct Columns<'a, P, E, I> {
    /// Where the columns begin.
    pub starts: &'a [*const u8],
    /// The first of the rows.
    pub row: usize,
    pub types: PhantomData<(P, E, I)>,
}

impl<P: Precision, E: LoadAs<P>, I: Isa> Source<P::Lanes<I>> for Columns<'_, P, E, I> {
    #[inline(always)]
    fn fold<F: Fold<P::Lanes<I>>>(&self, fold: F) -> Parts<P::Lanes<I>> {
        // SAFETY: made behind dispatch, for N elements of each column.
        unsafe {
            let start = fold.start(<P::Lanes<I>>::new(P::Elem::default()));
            let mut total = start;
            for (i, run) in self.starts.chunks(RUN).enumerate() {
                let mut parts = start;
                for column in run {
                    let at = column.cast::<E>().wrapping_add(self.row);
                    parts = fold.step(parts, E::load::<I>(at));
                }
                total = if i == 0 {
                    parts
                } else {
                    fold.join(total, parts)
                };
            }
            total
        }
    }
}

/// Where the rows of a tile begin.
pub(super) enum Starts {
    /// The first, and the bytes from each to the next.
    Regular(*const u8, isize),
    Listed([*const u8; LANES]),
}

/// `N` narrow rows.
pub(super) struct Tile<P, E, I> {
    pub starts: Starts,
    pub col_stride: isize,
    pub contiguous: bool,
    pub cols: usize,
    pub types: PhantomData<(P, E, I)>,
}

/// Rows on their way into lanes, as the type of the lanes; loads of whole rows must
/// not straddle cache lines.
#[repr(align(64))]
struct Copied<T>([[MaybeUninit<T>; RUN]; LANES]);

impl<P: Precision, E: LoadAs<P>, I: Isa> Tile<P, E, I> {
    /// Where an element is.
    #[inline(always)]
    fn at(&self, row: usize, col: usize) -> *const E {
        let start = match self.starts {
            Starts::Regular(first, stride) => first.wrapping_offset(row.cast_signed() * stride),
            Starts::Listed(rows) => rows[row],
        };
        start
            .wrapping_offset(col.cast_signed() * self.col_stride)
            .cast()
    }

    /// Copies `width` elements of row `row` to `to`, as the type of the lanes.
    ///
    /// # Safety
    /// The CPU must have `I`; the row must have these columns; `to` must have room
    /// for 16.
    #[inline(always)]
    unsafe fn convert(&self, row: usize, col: usize, width: usize, to: *mut P::Elem) {
        let n = <P::Lanes<I>>::N;
        let mut elements = [E::ZERO; RUN];
        // SAFETY: the caller vouches for the elements; the buffers hold 16.
        unsafe {
            let from = if self.contiguous {
                self.at(row, col)
            } else {
                for (j, element) in elements[..width].iter_mut().enumerate() {
                    *element = self.at(row, col + j).read_unaligned();
                }
                elements.as_ptr()
            };
            let mut at = 0;
            while at + n <= width {
                E::load::<I>(from.add(at)).store(to.add(at));
                at += n;
            }
            if at < width {
                E::load_head::<I>(from.add(at), width - at, E::ZERO).store(to.add(at));
            }
        }
    }

    /// Folds columns `col..col + width`, at most a run of them.
    ///
    /// # Safety
    /// The CPU must have `I`; the rows must have these columns.
    #[inline(always)]
    unsafe fn fold_run<F: Fold<P::Lanes<I>>>(
        &self,
        fold: F,
        start: Parts<P::Lanes<I>>,
        col: usize,
        width: usize,
    ) -> Parts<P::Lanes<I>> {
        // SAFETY: all addresses are those of elements, or of copies of them.
        unsafe {
            match self.starts {
                Starts::Regular(_, stride) if E::KIND == P::Elem::KIND && self.contiguous => {
                    fold_columns(fold, start, self.at(0, col).cast(), stride, width)
                }
                _ => {
                    let mut copy: Copied<P::Elem> = Copied([[MaybeUninit::uninit(); RUN]; LANES]);
                    for (i, row) in copy.0[..<P::Lanes<I>>::N].iter_mut().enumerate() {
                        self.convert(i, col, width, row.as_mut_ptr().cast());
                    }
                    let stride = size_of_val(&copy.0[0]).cast_signed();
                    fold_columns(fold, start, copy.0.as_ptr().cast(), stride, width)
                }
            }
        }
    }
}

/// Folds the first `width` columns of `N` rows, four at a time.
///
/// # Safety
/// As [`Lanes::four_columns`].
#[inline(always)]
unsafe fn fold_columns<V: Lanes, F: Fold<V>>(
    fold: F,
    start: Parts<V>,
    rows: *const V::Elem,
    stride: isize,
    width: usize,
) -> Parts<V> {
    let mut parts = start;
    let mut col = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while col + 4 <= width {
            let [a, b, c, d] = V::four_columns(rows.wrapping_add(col), stride, 4);
            parts = fold.step_both(fold.step_both(parts, a, b), c, d);
            col += 4;
        }
        let left = width - col;
        if left == 0 {
            return parts;
        }
        // The last ones come with some before them, where there are any.
        let [a, b, c] = if width >= 4 {
            let [_, b, c, d] = V::four_columns(rows.wrapping_add(width - 4), stride, 4);
            match left {
                1 => [d, d, d],
                2 => [c, d, d],
                _ => [b, c, d],
            }
        } else {
            let [a, b, c, _] = V::four_columns(rows, stride, width);
            [a, b, c]
        };
        match left {
            1 => fold.step(parts, a),
            2 => fold.step_both(parts, a, b),
            _ => fold.step(fold.step_both(parts, a, b), c),
        }
    }
}

impl<P: Precision, E: LoadAs<P>, I: Isa> Source<P::Lanes<I>> for Tile<P, E, I> {
    #[inline(always)]
    fn fold<F: Fold<P::Lanes<I>>>(&self, fold: F) -> Parts<P::Lanes<I>> {
        // SAFETY: tiles are made behind dispatch, so the CPU has I; the rows have
        // these columns.
        unsafe {
            let start = fold.start(<P::Lanes<I>>::new(P::Elem::default()));
            let mut total = start;
            for col in (0..self.cols).step_by(RUN) {
                let width = RUN.min(self.cols - col);
                let parts = self.fold_run(fold, start, col, width);
                total = if col == 0 {
                    parts
                } else {
                    fold.join(total, parts)
                };
            }
            total
        }
    }
}

#[inline(always)]
fn swapped<V: Lanes, const DISTANCE: usize>([a, b, c, d]: Parts<V>) -> Parts<V> {
    [
        a.swap::<DISTANCE>(),
        b.swap::<DISTANCE>(),
        c.swap::<DISTANCE>(),
        d.swap::<DISTANCE>(),
    ]
}

/// One wide row: lanes along it.
pub(super) struct Row<P, E, K, I> {
    pub ptr: *const E,
    pub cols: usize,
    pub types: PhantomData<(P, K, I)>,
}

impl<P: Precision, E: LoadAs<P>, K: Kernel, I: Isa> Source<P::Lanes<I>> for Row<P, E, K, I> {
    #[inline(always)]
    fn sweep<F: Fold<P::Lanes<I>>>(&self, fold: F) -> Parts<P::Lanes<I>> {
        let n = <P::Lanes<I>>::N;
        // SAFETY: rows are made behind dispatch, so the CPU has I; every load
        // stays within the row's elements.
        unsafe {
            let start = fold.start(<P::Lanes<I>>::new(P::Elem::default()));
            let mut total = start;
            let mut at = 0;
            while at < self.cols {
                let end = self.cols.min(at + RUN * n);
                let mut parts = start;
                while at + 2 * n <= end {
                    let (a, b) = (self.ptr.add(at), self.ptr.add(at + n));
                    prefetch(a.wrapping_byte_add(AHEAD));
                    prefetch(b.wrapping_byte_add(AHEAD));
                    parts = fold.step_both(parts, E::load::<I>(a), E::load::<I>(b));
                    at += 2 * n;
                }
                let pad = if K::LOGITS { E::LOWEST } else { E::ZERO };
                let left = end - at;
                let tail = self.ptr.add(at);
                prefetch(tail.wrapping_byte_add(AHEAD));
                if left > n {
                    let head = E::load_head::<I>(tail.add(n), left - n, pad);
                    parts = fold.step_both(parts, E::load::<I>(tail), head);
                } else if left == n {
                    parts = fold.step(parts, E::load::<I>(tail));
                } else if left > 0 {
                    parts = fold.step(parts, E::load_head::<I>(tail, left, pad));
                }
                at = end;
                total = fold.join(total, parts);
            }
            total
        }
    }

    #[inline(always)]
    fn fold<F: Fold<P::Lanes<I>>>(&self, fold: F) -> Parts<P::Lanes<I>> {
        let mut total = self.sweep(fold);
        if <P::Lanes<I>>::N == 16 {
            total = fold.join(total, swapped::<_, 8>(total));
        }
        total = fold.join(total, swapped::<_, 4>(total));
        total = fold.join(total, swapped::<_, 2>(total));
        fold.join(total, swapped::<_, 1>(total))
    }
}
