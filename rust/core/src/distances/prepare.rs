//! The kernels that prepare rows: elements as `f64`, or as `f32` less a shift.

use std::marker::PhantomData;

use super::Metric;
use super::space::{NARROW, Space};
use crate::element::{Element, ElementKind, bf16, f16};
use crate::matrix::Matrix;
use crate::simd::{Isa, Lanes, Load, LoadAs, Op, Simd, Single, dispatch};

/// Prepares rows of a matrix (see [`Space::load`]).
pub(super) fn prepare(
    simd: Simd,
    matrix: &Matrix<'_>,
    metric: Metric,
    rows: &[u32],
    width: usize,
    out: &mut [f64],
) {
    macro_rules! run {
        ($elem:ty) => {
            dispatch(
                simd,
                Prepare::<$elem> {
                    matrix,
                    metric,
                    rows,
                    width,
                    out,
                    types: PhantomData,
                },
            )
        };
    }
    match matrix.kind() {
        ElementKind::F16 => run!(f16),
        ElementKind::Bf16 => run!(bf16),
        ElementKind::F32 => run!(f32),
        ElementKind::F64 => run!(f64),
    }
}

struct Prepare<'a, E> {
    matrix: &'a Matrix<'a>,
    metric: Metric,
    rows: &'a [u32],
    width: usize,
    out: &'a mut [f64],
    types: PhantomData<E>,
}

/// Elements that can be widened along a row.
pub(crate) trait Widen: Element {
    /// Writes `len` elements as `f64`, completed with zeros to a multiple of 16.
    ///
    /// # Safety
    /// The CPU must have `I`; `from` must be readable for `len` elements, `to`
    /// writable for `len` rounded up to a multiple of 16.
    unsafe fn widen<I: Isa>(from: *const Self, len: usize, to: *mut f64);
}

macro_rules! widen {
    ($($elem:ty),*) => {$(
        impl Widen for $elem {
            #[inline(always)]
            unsafe fn widen<I: Isa>(from: *const Self, len: usize, to: *mut f64) {
                let whole = len / 16 * 16;
                // SAFETY: the caller's promise.
                unsafe {
                    for at in (0..whole).step_by(16) {
                        let [low, high] = I::F32::load_from(from.add(at)).widen();
                        low.store(to.add(at));
                        high.store(to.add(at + 8));
                    }
                    if whole < len {
                        let head = I::F32::load_head(from.add(whole), len - whole, Self::ZERO);
                        let [low, high] = head.widen();
                        low.store(to.add(whole));
                        high.store(to.add(whole + 8));
                    }
                }
            }
        }
    )*};
}
widen!(f16, bf16, f32);

impl Widen for f64 {
    #[inline(always)]
    unsafe fn widen<I: Isa>(from: *const Self, len: usize, to: *mut f64) {
        // SAFETY: the caller's promise.
        unsafe {
            for at in 0..len {
                *to.add(at) = from.add(at).read_unaligned();
            }
            for at in len..len.next_multiple_of(16) {
                *to.add(at) = 0.0;
            }
        }
    }
}

impl<E: Widen> Op for Prepare<'_, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let (matrix, width) = (self.matrix, self.width);
        let dims = matrix.cols();
        let along = matrix.has_contiguous_rows() && width > NARROW;
        for (row, out) in self
            .rows
            .iter()
            .zip(self.out.chunks_exact_mut(width.max(1)))
        {
            let row = *row as usize;
            assert!(row < matrix.rows());
            let from = matrix.row_ptr(row);
            if along {
                // SAFETY: dispatch vouches for the CPU; a row of the matrix, and
                // `width` is `dims` rounded up.
                unsafe { E::widen::<I>(from.cast(), dims, out.as_mut_ptr()) };
            } else {
                for (col, out) in out[..dims].iter_mut().enumerate() {
                    let at = from.wrapping_offset(col.cast_signed() * matrix.col_stride());
                    // SAFETY: an element of the matrix.
                    *out = unsafe { at.cast::<E>().read_unaligned() }.to_f64();
                }
                out[dims..].fill(0.0);
            }
            if self.metric == Metric::Cosine {
                // SAFETY: dispatch vouches for the CPU.
                unsafe { normalise::<I>(out) };
            }
        }
    }
}

/// Prepared rows less `shift`, as `f32`.
pub(crate) fn shift_rows(simd: Simd, rows: &[f64], shift: &[f32], out: &mut [f32]) {
    dispatch(simd, ShiftPrepared { rows, shift, out });
}

struct ShiftPrepared<'a> {
    rows: &'a [f64],
    shift: &'a [f32],
    out: &'a mut [f32],
}

impl Op for ShiftPrepared<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let width = self.shift.len().max(1);
        let rows = self.rows.chunks_exact(width);
        for (row, out) in rows.zip(self.out.chunks_exact_mut(width)) {
            for ((out, x), shift) in out.iter_mut().zip(row).zip(self.shift) {
                *out = (x - f64::from(*shift)) as f32;
            }
        }
    }
}

/// See [`Space::load_shifted`].
pub(super) struct Shift<'a, E> {
    pub space: &'a Space<'a>,
    pub rows: &'a [u32],
    pub origin: &'a [f32],
    pub out: &'a mut [f32],
    pub types: PhantomData<E>,
}

impl<E: Widen> Op for Shift<'_, E>
where
    E: LoadAs<Single>,
{
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let (matrix, width) = (&self.space.matrix, self.space.width());
        let dims = matrix.cols();
        let whole = dims / 16 * 16;
        for (row, out) in self.rows.iter().zip(self.out.chunks_exact_mut(width)) {
            let row = *row as usize;
            assert!(row < matrix.rows());
            let from = matrix.row_ptr(row).cast::<E>();
            // SAFETY: dispatch vouches for the CPU; a contiguous row of the matrix, and
            // `shift` and `out` are as long, rounded up to a multiple of 16.
            unsafe {
                for at in (0..whole).step_by(16) {
                    let shift = I::F32::load(self.origin.as_ptr().add(at));
                    let x = E::load::<I>(from.add(at));
                    x.sub(shift).store(out.as_mut_ptr().add(at));
                }
                if whole < dims {
                    let shift = I::F32::load(self.origin.as_ptr().add(whole));
                    let x = E::load_head::<I>(from.add(whole), dims - whole, E::ZERO);
                    x.sub(shift).store(out.as_mut_ptr().add(whole));
                }
            }
        }
    }
}

/// Scales a row to length one; to NaN where that cannot be done.
///
/// # Safety
/// The CPU must have `I`.
#[inline(always)]
unsafe fn normalise<I: Isa>(row: &mut [f64]) {
    // SAFETY: the caller vouches for the CPU; eights of the row.
    unsafe {
        let mut sum = I::F64::new(0.0);
        let (eights, odd) = row.as_chunks::<8>();
        for x in eights {
            let x = I::F64::load(x.as_ptr());
            sum = x.fma(x, sum);
        }
        let mut last = [0.0; 8];
        last[..odd.len()].copy_from_slice(odd);
        let x = I::F64::load(last.as_ptr());
        sum = x.fma(x, sum);
        sum = sum.add(sum.swap::<4>());
        sum = sum.add(sum.swap::<2>());
        sum = sum.add(sum.swap::<1>());
        let mut lanes = [0.0; 8];
        sum.store(lanes.as_mut_ptr());
        let scale = if lanes[0].is_normal() {
            1.0 / lanes[0].sqrt()
        } else {
            f64::NAN
        };
        for x in row {
            *x *= scale;
        }
    }
}
