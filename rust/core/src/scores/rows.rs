//! Running a kernel over rows: where the lanes go.
//!
//! * Wide rows: lanes run *along* a row; lane `j % N` takes column `j`, and the
//!   lanes are joined along a butterfly, `N` rows at a time.
//! * Narrow rows: lanes run *across* rows, one row a lane, columns in order. Tiles
//!   of rows are first turned into planes, one vector a column.
//!
//! Either way runs of 16 vectors are accumulated before they are joined with the
//! rest, which keeps rounding errors from growing with the number of classes.
//!
//! Which of the two applies depends on the number of classes alone, so a row's
//! bits never depend on its neighbours, its position or the layout of the pool.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::sink::{Sink, Target, for_each_bit};
use super::sources::{AHEAD, Columns, Pairs, Row, Starts, Tile};
use crate::element::{Element, ElementKind, bf16, f16};
use crate::matrix::Matrix;
use crate::simd::{
    Double, Isa, Lanes, LoadAs, Op, Precision, Real, Simd, Single, dispatch, prefetch,
};

/// Vectors that are accumulated before they are joined with the rest.
pub(super) const RUN: usize = 16;
/// Bytes of a cache line.
const LINE: usize = 64;
/// The most lanes a vector has.
pub(super) const LANES: usize = 16;
/// The most columns of narrow rows.
const MOST: usize = 63;

/// What a row is reduced to: four numbers, each kernel knows which.
pub(crate) type Parts<V> = [V; 4];

/// An accumulation over the elements of a row.
pub(crate) trait Fold<V: Lanes>: Copy {
    /// The neutral element; `zero` is there to be [`Lanes::splat`] from.
    fn start(self, zero: V) -> Parts<V>;
    fn step(self, parts: Parts<V>, x: V) -> Parts<V>;
    /// Two steps, first `a`, then `b`.
    #[inline(always)]
    fn step_both(self, parts: Parts<V>, a: V, b: V) -> Parts<V> {
        self.step(self.step(parts, a), b)
    }
    /// Must be commutative, bit for bit.
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V>;
}

/// A row (the result fills all lanes) or `N` rows (a result in each lane).
pub(crate) trait Source<V: Lanes> {
    fn fold<F: Fold<V>>(&self, fold: F) -> Parts<V>;
    /// The same, but that the lanes of a wide row are still to be joined.
    #[inline(always)]
    fn sweep<F: Fold<V>>(&self, fold: F) -> Parts<V> {
        self.fold(fold)
    }
}

/// A score: how a row is reduced, and what the reduced parts mean.
pub(crate) trait Kernel: Copy + Sync {
    /// Short vectors are completed with minus infinity instead of zero.
    const LOGITS: bool;
    /// Half-precision rows are read as they are, for speed; other kernels get a
    /// widened copy of a block, and there is less machine code.
    const HALVES: bool;
    /// How many of the parts mean anything.
    const PARTS: usize;
    /// The lanes of a wide row are still to be joined.
    fn reduce<V: Lanes, S: Source<V>>(self, row: &S) -> Parts<V>;
    /// Whether [`Kernel::exact`] gives of `f32` rows what `f64` lanes would.
    const EXACT: bool;
    /// Joins two lanes of a row. Must be commutative, bit for bit.
    fn join<V: Lanes>(self, a: Parts<V>, b: Parts<V>) -> Parts<V>;
    /// The scores of `V::N` rows.
    fn score<V: Lanes>(self, parts: Parts<V>) -> V;
    /// The same in `f64`, the lower half of the rows first.
    #[inline(always)]
    fn exact<V: Lanes>(self, parts: Parts<V>) -> [V::Double; 2] {
        self.score(parts).widen()
    }
    /// The bits of rows that may be invalid; their scores mean nothing if they are.
    fn suspects<V: Lanes>(self, parts: Parts<V>) -> u32;
}

/// Which rows of the matrix: `start..start + len`, or a list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    Range(usize, usize),
    List(&'a [usize]),
}

impl Rows<'_> {
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Range(_, len) => *len,
            Self::List(list) => list.len(),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, i: usize) -> usize {
        match self {
            Self::Range(start, _) => start + i,
            Self::List(list) => list[i],
        }
    }
}

/// Scores `rows` of `matrix` with lanes of precision `P` (see [`score_rows`]).
struct Pass<'a, P: Precision, E, K> {
    kernel: K,
    matrix: &'a Matrix<'a>,
    rows: Rows<'a>,
    target: Target<'a, P::Elem>,
    suspects: &'a mut Vec<usize>,
    types: PhantomData<(P, E)>,
}

/// Scores `rows` of `matrix` into `sink`. The places (among `rows`) of rows that may be
/// invalid are added to `suspects`; their scores mean nothing if they are.
pub(crate) fn score_rows<K: Kernel>(
    simd: Simd,
    kernel: K,
    matrix: &Matrix<'_>,
    rows: Rows<'_>,
    sink: Sink<'_>,
    suspects: &mut Vec<usize>,
) {
    let double = sink.is_double(matrix.kind());
    if let Sink::All(out) = &sink {
        assert_eq!(rows.len(), out.len(), "one score a row");
    }
    macro_rules! run {
        ($precision:ty, $elem:ty, $target:ident) => {
            dispatch(
                simd,
                Pass::<'_, $precision, $elem, K> {
                    kernel,
                    matrix,
                    rows,
                    target: sink.$target(),
                    suspects,
                    types: PhantomData,
                },
            )
        };
    }
    match (matrix.kind(), double) {
        (ElementKind::F16, false) if K::HALVES => run!(Single, f16, single),
        (ElementKind::Bf16, false) if K::HALVES => run!(Single, bf16, single),
        (ElementKind::F16 | ElementKind::Bf16, _) => {
            let wide = widen(matrix, rows);
            let shape = (rows.len(), matrix.cols());
            let wide = Matrix::dense(&wide, shape);
            let rows = Rows::Range(0, rows.len());
            score_rows(simd, kernel, &wide, rows, sink, suspects);
        }
        (ElementKind::F32, false) => run!(Single, f32, single),
        (ElementKind::F32, true) => run!(Double, f32, double),
        (ElementKind::F64, _) => run!(Double, f64, double),
    }
}

#[inline(always)]
fn lanes_of<V: Lanes>(vector: V) -> [V::Elem; LANES] {
    let mut lanes = [V::Elem::default(); LANES];
    // SAFETY: a place a lane, and more.
    unsafe { vector.store(lanes.as_mut_ptr()) };
    lanes
}

/// A copy of half-precision rows as `f32`.
fn widen(matrix: &Matrix<'_>, rows: Rows<'_>) -> Vec<f32> {
    let row = |i| (0..matrix.cols()).map(move |col| matrix.get(rows.get(i), col) as f32);
    (0..rows.len()).flat_map(row).collect()
}

impl<P: Precision, E: LoadAs<P>, K: Kernel> Op for Pass<'_, P, E, K> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(mut self) {
        // SAFETY: dispatch vouches for the CPU.
        unsafe {
            if self.matrix.cols() < E::WIDE {
                self.narrow::<I>();
            } else {
                self.wide::<I>();
            }
        }
    }
}

impl<P: Precision, E: LoadAs<P>, K: Kernel> Pass<'_, P, E, K> {
    /// Hands over the scores of `len` rows.
    #[inline(always)]
    fn finish<V: Lanes<Elem = P::Elem>>(&mut self, parts: Parts<V>, first: usize, len: usize) {
        let live = u32::MAX >> (32 - len);
        match &mut self.target {
            Target::All(out) => {
                let out = &mut out[first..first + len];
                let scores = self.kernel.score(parts);
                if len == V::N {
                    // SAFETY: one place a lane.
                    unsafe { scores.store(out.as_mut_ptr()) };
                } else {
                    out.copy_from_slice(&lanes_of(scores)[..len]);
                }
            }
            Target::Rounded(out) => {
                let scores = lanes_of(self.kernel.score(parts));
                for (out, score) in out[first..first + len].iter_mut().zip(scores) {
                    *out = f32::of(score.to_f64());
                }
            }
            Target::Above(above) => above.take(self.kernel, parts, first, live),
        }
        for_each_bit(self.kernel.suspects(parts) & live, |lane| {
            self.suspects.push(first + lane);
        });
    }

    /// # Safety
    /// The CPU must have `I`.
    #[inline(always)]
    unsafe fn wide<I: Isa>(&mut self) {
        let n = <P::Lanes<I>>::N;
        let cols = self.matrix.cols();
        let mut copy: Vec<E> = Vec::new();
        if !self.matrix.has_contiguous_rows() {
            copy.resize(n * cols, E::ZERO);
        }
        let mut first = 0;
        while first < self.rows.len() {
            let len = n.min(self.rows.len() - first);
            if !copy.is_empty() {
                // SAFETY: copy has room for n rows.
                unsafe { self.gather(first, len, &mut copy) };
            }
            let mut parts = [MaybeUninit::uninit(); LANES];
            for (i, parts) in parts[..len].iter_mut().enumerate() {
                let ptr = if copy.is_empty() {
                    self.matrix.row_ptr(self.rows.get(first + i)).cast()
                } else {
                    copy[i * cols..].as_ptr()
                };
                let row = Row::<P, E, K, I> {
                    ptr,
                    cols,
                    types: PhantomData,
                };
                parts.write(self.kernel.reduce(&row));
            }
            // Missing rows repeat the last one.
            for i in len..n {
                parts[i] = parts[len - 1];
            }
            // SAFETY: n of them have been written.
            let parts = unsafe { self.join_lanes(&mut parts) };
            self.finish(parts, first, len);
            first += len;
        }
    }

    /// Where the `len` rows from `first` on begin, and more, to make them `n`.
    #[inline(always)]
    fn starts(&self, first: usize, len: usize, n: usize) -> Starts {
        if let Rows::Range(start, _) = self.rows
            && len == n
        {
            let (row, stride) = (self.matrix.row_ptr(start + first), self.matrix.row_stride());
            let bytes = n * stride.unsigned_abs();
            if bytes < 2 * n * self.matrix.cols() * size_of::<E>() {
                for offset in (0..bytes).step_by(LINE) {
                    prefetch(row.wrapping_add(AHEAD + offset));
                }
            }
            return Starts::Regular(row, stride);
        }
        if let Rows::List(list) = self.rows {
            // Rows in any order: nobody but us knows which come next.
            for row in list.iter().skip(first + 4 * n).take(n) {
                let row = self.matrix.row_ptr(*row);
                prefetch(row);
                prefetch(row.wrapping_add(LINE / 2));
            }
        }
        let mut rows = [std::ptr::null(); LANES];
        for (i, row) in rows[..n].iter_mut().enumerate() {
            // Missing rows repeat the last one.
            *row = self.matrix.row_ptr(self.rows.get(first + i.min(len - 1)));
        }
        Starts::Listed(rows)
    }

    /// The butterflies of `N` rows as one: lane `i` of the result is row `i`, joined.
    ///
    /// # Safety
    /// `N` parts must have been written.
    #[inline(always)]
    unsafe fn join_lanes<V: Lanes>(&self, parts: &mut [MaybeUninit<Parts<V>>; LANES]) -> Parts<V> {
        // SAFETY: the caller's promise.
        unsafe {
            if V::N == 16 {
                self.join_level::<V, 8>(parts);
            }
            self.join_level::<V, 4>(parts);
            self.join_level::<V, 2>(parts);
            self.join_level::<V, 1>(parts);
            parts[0].assume_init()
        }
    }

    /// Joins rows `i` and `i + DISTANCE`.
    ///
    /// # Safety
    /// `2 * DISTANCE` parts must have been written.
    #[inline(always)]
    unsafe fn join_level<V: Lanes, const DISTANCE: usize>(
        &self,
        parts: &mut [MaybeUninit<Parts<V>>; LANES],
    ) {
        for i in 0..DISTANCE {
            // SAFETY: the caller's promise.
            let (mut a, mut b) =
                unsafe { (parts[i].assume_init(), parts[i + DISTANCE].assume_init()) };
            for part in 0..K::PARTS {
                (a[part], b[part]) = a[part].deal::<DISTANCE>(b[part]);
            }
            parts[i].write(self.kernel.join(a, b));
        }
    }

    /// Copies `len` rows whose elements do not lie side by side.
    ///
    /// # Safety
    /// `to` must have room for them.
    #[inline(always)]
    unsafe fn gather(&self, first: usize, len: usize, to: &mut [E]) {
        let cols = self.matrix.cols();
        let step = self.matrix.row_stride();
        let rows: [isize; LANES] =
            std::array::from_fn(|i| self.rows.get(first + i.min(len - 1)).cast_signed() * step);
        for col in 0..cols {
            let column = self.matrix.col_ptr(col);
            for (i, offset) in rows[..len].iter().enumerate() {
                // SAFETY: an element of the matrix.
                to[i * cols + col] =
                    unsafe { column.wrapping_offset(*offset).cast::<E>().read_unaligned() };
            }
        }
    }

    /// # Safety
    /// The CPU must have `I`.
    #[inline(always)]
    unsafe fn narrow<I: Isa>(&mut self) {
        let n = <P::Lanes<I>>::N;
        let size = size_of::<E>().cast_signed();
        let mut first = 0;
        if let Rows::Range(start, len) = self.rows {
            let same_type = E::KIND == P::Elem::KIND;
            let contiguous = self.matrix.has_contiguous_rows();
            let cols = self.matrix.cols();
            if same_type && contiguous && cols == 2 && self.matrix.row_stride() == 2 * size {
                while first + n <= len {
                    let ptr = self.matrix.row_ptr(start + first).cast();
                    let parts = self.kernel.reduce(&Pairs::<P::Lanes<I>>(ptr));
                    self.finish(parts, first, n);
                    first += n;
                }
            } else if self.matrix.row_stride() == size {
                let mut starts = [std::ptr::null(); MOST];
                for (col, column) in starts[..cols].iter_mut().enumerate() {
                    *column = self.matrix.col_ptr(col);
                }
                while first + n <= len {
                    let columns = Columns::<P, E, I> {
                        starts: &starts[..cols],
                        row: start + first,
                        types: PhantomData,
                    };
                    let parts = self.kernel.reduce(&columns);
                    self.finish(parts, first, n);
                    first += n;
                }
            }
        }
        // Of columns that lie apart, rows that are listed or left over are copied.
        let (cols, is_apart) = (self.matrix.cols(), self.matrix.is_apart());
        let mut copy: Vec<E> = vec![E::ZERO; if is_apart { n * cols } else { 0 }];
        let (contiguous, col_stride) = if is_apart {
            (true, size)
        } else {
            (self.matrix.has_contiguous_rows(), self.matrix.col_stride())
        };
        while first < self.rows.len() {
            let len = n.min(self.rows.len() - first);
            let starts = if is_apart {
                // SAFETY: copy has room for n rows.
                unsafe { self.gather(first, len, &mut copy) };
                Starts::Regular(copy.as_ptr().cast(), cols.cast_signed() * size)
            } else {
                self.starts(first, len, n)
            };
            let tile = Tile::<P, E, I> {
                starts,
                col_stride,
                contiguous,
                cols,
                types: PhantomData,
            };
            let parts = self.kernel.reduce(&tile);
            self.finish(parts, first, len);
            first += len;
        }
    }
}
