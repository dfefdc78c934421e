//! Running a kernel over rows: where the lanes go.
//!
//! * Wide rows (32 classes or more): lanes run *along* a row; lane `j % N` takes
//!   column `j`, runs of 16 vectors are summed before they are joined, and the
//!   lanes are joined along a butterfly.
//! * Narrow rows: lanes run *across* rows, one row a lane, columns in order. The
//!   rows are first turned into planes, one vector a column.
//!
//! Which of the two applies depends on the number of classes alone, so a row's
//! bits never depend on its neighbours, its position or the layout of the pool.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::element::{Element, ElementKind, bf16, f16};
use crate::matrix::Matrix;
use crate::simd::{Double, Isa, Lanes, LoadAs, Op, Precision, Simd, Single, dispatch};

/// Rows of fewer columns than this are scored with lanes across rows.
pub(crate) const WIDE: usize = 32;
/// Vectors of a wide row that are summed before they are joined with the rest:
/// keeps rounding errors from growing with the number of classes.
const RUN: usize = 16;
/// The most lanes a vector has.
const LANES: usize = 16;

/// What a row is reduced to: four numbers, each kernel knows which.
pub(crate) type Parts<V> = [V; 4];

/// An accumulation over the elements of a row.
pub(crate) trait Fold<V: Lanes>: Copy {
    /// The neutral element; `zero` is there to be [`Lanes::splat`] from.
    fn start(self, zero: V) -> Parts<V>;
    fn step(self, parts: Parts<V>, x: V) -> Parts<V>;
    /// Must be commutative, bit for bit.
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V>;
}

/// A row (the result fills all lanes) or `N` rows (a result in each lane).
pub(crate) trait Source<V: Lanes> {
    fn fold<F: Fold<V>>(&self, fold: F) -> Parts<V>;
}

/// A score: how a row is reduced, and what the reduced parts mean.
pub(crate) trait Kernel: Copy + Sync {
    /// Short vectors are completed with minus infinity instead of zero.
    const LOGITS: bool;
    /// Half-precision rows are read as they are, for speed; other kernels get a
    /// widened copy of a block, and there is less machine code.
    const HALVES: bool;
    fn reduce<V: Lanes, S: Source<V>>(self, row: &S) -> Parts<V>;
    /// Writes the scores of `V::N` rows; the bits of the result mark rows that
    /// may be invalid.
    fn finish<V: Lanes>(self, parts: Parts<V>, out: &mut [f64; LANES]) -> u32;
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
struct Pass<'a, P, E, K> {
    kernel: K,
    matrix: &'a Matrix<'a>,
    rows: Rows<'a>,
    out: &'a mut [f64],
    suspects: &'a mut Vec<usize>,
    types: PhantomData<(P, E)>,
}

/// Scores `rows` of `matrix` into `out`. The places (in `out`) of rows that may be
/// invalid are added to `suspects`; their scores mean nothing.
pub(crate) fn score_rows<K: Kernel>(
    simd: Simd,
    kernel: K,
    matrix: &Matrix<'_>,
    rows: Rows<'_>,
    double: bool,
    out: &mut [f64],
    suspects: &mut Vec<usize>,
) {
    assert_eq!(rows.len(), out.len(), "one score a row");
    macro_rules! run {
        ($precision:ty, $elem:ty) => {
            dispatch(
                simd,
                Pass::<'_, $precision, $elem, K> {
                    kernel,
                    matrix,
                    rows,
                    out,
                    suspects,
                    types: PhantomData,
                },
            )
        };
    }
    match (matrix.kind(), double) {
        (ElementKind::F16, false) if K::HALVES => run!(Single, f16),
        (ElementKind::Bf16, false) if K::HALVES => run!(Single, bf16),
        (ElementKind::F16 | ElementKind::Bf16, _) => {
            let wide = widen(matrix, rows);
            let shape = (rows.len(), matrix.cols());
            let wide = Matrix::dense(&wide, shape);
            let rows = Rows::Range(0, rows.len());
            score_rows(simd, kernel, &wide, rows, double, out, suspects);
        }
        (ElementKind::F32, false) => run!(Single, f32),
        (ElementKind::F32, true) => run!(Double, f32),
        (ElementKind::F64, _) => run!(Double, f64),
    }
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
            if self.matrix.cols() < WIDE {
                self.narrow::<I>();
            } else {
                self.wide::<I>();
            }
        }
    }
}

impl<P: Precision, E: LoadAs<P>, K: Kernel> Pass<'_, P, E, K> {
    #[inline(always)]
    fn finish<V: Lanes>(&mut self, parts: Parts<V>, first: usize, len: usize) {
        let mut scores = [0.0; LANES];
        let mut bits = self.kernel.finish(parts, &mut scores) & (u32::MAX >> (32 - len));
        self.out[first..first + len].copy_from_slice(&scores[..len]);
        while bits != 0 {
            self.suspects.push(first + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
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
            let mut staged = [[P::Elem::default(); LANES]; 4];
            for i in 0..len {
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
                let parts = self.kernel.reduce(&row);
                for (stage, part) in staged.iter_mut().zip(parts) {
                    let mut lanes = [P::Elem::default(); LANES];
                    // SAFETY: room for 16 lanes.
                    unsafe { part.store(lanes.as_mut_ptr()) };
                    stage[i] = lanes[0];
                }
            }
            // SAFETY: 16 numbers each, and the CPU has I.
            let parts = staged.map(|s| unsafe { <P::Lanes<I>>::load(s.as_ptr()) });
            self.finish(parts, first, len);
            first += len;
        }
    }

    /// Copies `len` rows whose elements do not lie side by side.
    ///
    /// # Safety
    /// `to` must have room for them.
    #[inline(always)]
    unsafe fn gather(&self, first: usize, len: usize, to: &mut [E]) {
        let cols = self.matrix.cols();
        let step = self.matrix.col_stride();
        let rows: [*const u8; LANES] =
            std::array::from_fn(|i| self.matrix.row_ptr(self.rows.get(first + i.min(len - 1))));
        for col in 0..cols {
            let offset = col.cast_signed() * step;
            for (i, row) in rows[..len].iter().enumerate() {
                // SAFETY: an element of the matrix.
                to[i * cols + col] =
                    unsafe { row.wrapping_offset(offset).cast::<E>().read_unaligned() };
            }
        }
    }

    /// # Safety
    /// The CPU must have `I`.
    #[inline(always)]
    unsafe fn narrow<I: Isa>(&mut self) {
        let n = <P::Lanes<I>>::N;
        let mut planes = [[MaybeUninit::<P::Elem>::uninit(); LANES]; WIDE];
        let mut first = 0;
        while first < self.rows.len() {
            let len = n.min(self.rows.len() - first);
            // SAFETY: planes has room for 31 columns of n lanes.
            unsafe { self.fill::<I>(first, len, planes.as_mut_ptr().cast()) };
            let tile = Planes {
                ptr: planes.as_ptr().cast::<P::Elem>(),
                cols: self.matrix.cols(),
                lanes: PhantomData::<P::Lanes<I>>,
            };
            let parts = self.kernel.reduce(&tile);
            self.finish(parts, first, len);
            first += len;
        }
    }

    /// Turns `len` rows into planes; missing rows repeat the last one.
    ///
    /// # Safety
    /// The CPU must have `I`; `planes` must have room for `cols * N` numbers.
    #[inline(always)]
    unsafe fn fill<I: Isa>(&self, first: usize, len: usize, planes: *mut P::Elem) {
        let n = <P::Lanes<I>>::N;
        let (cols, step) = (self.matrix.cols(), self.matrix.col_stride());
        let size = size_of::<E>().cast_signed();
        let row = |i: usize| self.matrix.row_ptr(self.rows.get(first + i.min(len - 1)));
        let neighbours = matches!(self.rows, Rows::Range(..)) && self.matrix.row_stride() == size;
        if neighbours && len == n {
            // Columns lie side by side (Fortran order, or one column).
            for col in 0..cols {
                let ptr = row(0).wrapping_offset(col.cast_signed() * step).cast::<E>();
                // SAFETY: N rows of this column are contiguous; planes has room.
                unsafe { E::load::<I>(ptr).store(planes.add(col * n)) };
            }
            return;
        }
        let mut rows: [*const P::Elem; LANES] = [std::ptr::null(); LANES];
        let mut converted = [[MaybeUninit::<P::Elem>::uninit(); WIDE]; LANES];
        if E::KIND == P::Elem::KIND && self.matrix.has_contiguous_rows() {
            for (i, ptr) in rows[..n].iter_mut().enumerate() {
                *ptr = row(i).cast();
            }
        } else {
            for i in 0..n {
                let mut elements = [E::ZERO; WIDE];
                for (col, e) in elements[..cols].iter_mut().enumerate() {
                    let at = row(i).wrapping_offset(col.cast_signed() * step);
                    // SAFETY: an element of the matrix.
                    *e = unsafe { at.cast::<E>().read_unaligned() };
                }
                for at in (0..cols).step_by(n) {
                    // SAFETY: elements and converted hold 32 each, a multiple of N.
                    unsafe {
                        E::load::<I>(elements.as_ptr().add(at))
                            .store(converted[i].as_mut_ptr().add(at).cast());
                    }
                }
                rows[i] = converted[i].as_ptr().cast();
            }
        }
        // SAFETY: N rows of cols numbers each; planes has room.
        unsafe {
            if !<P::Lanes<I>>::transpose(&rows[..n], cols, planes) {
                for (i, row) in rows[..n].iter().enumerate() {
                    for col in 0..cols {
                        *planes.add(col * n + i) = row.add(col).read_unaligned();
                    }
                }
            }
        }
    }
}

/// One wide row: lanes along it.
struct Row<P, E, K, I> {
    ptr: *const E,
    cols: usize,
    types: PhantomData<(P, K, I)>,
}

impl<P: Precision, E: LoadAs<P>, K: Kernel, I: Isa> Source<P::Lanes<I>> for Row<P, E, K, I> {
    #[inline(always)]
    fn fold<F: Fold<P::Lanes<I>>>(&self, fold: F) -> Parts<P::Lanes<I>> {
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
                while at + n <= end {
                    parts = fold.step(parts, E::load::<I>(self.ptr.add(at)));
                    at += n;
                }
                if at < end {
                    let pad = if K::LOGITS { E::LOWEST } else { E::ZERO };
                    parts = fold.step(parts, E::load_head::<I>(self.ptr.add(at), end - at, pad));
                    at = end;
                }
                total = fold.join(total, parts);
            }
            if n == 16 {
                total = fold.join(total, total.map(Lanes::swap::<8>));
            }
            total = fold.join(total, total.map(Lanes::swap::<4>));
            total = fold.join(total, total.map(Lanes::swap::<2>));
            fold.join(total, total.map(Lanes::swap::<1>))
        }
    }
}

/// `N` narrow rows, one a lane.
struct Planes<V: Lanes> {
    ptr: *const V::Elem,
    cols: usize,
    lanes: PhantomData<V>,
}

impl<V: Lanes> Source<V> for Planes<V> {
    #[inline(always)]
    fn fold<F: Fold<V>>(&self, fold: F) -> Parts<V> {
        // SAFETY: planes are made behind dispatch, cols vectors of them.
        unsafe {
            let mut parts = fold.start(V::new(V::Elem::default()));
            for col in 0..self.cols {
                parts = fold.step(parts, V::load(self.ptr.add(col * V::N)));
            }
            parts
        }
    }
}
