//! Adding the rows of a member to the sums of those before it, in `f64`.

use std::marker::PhantomData;
use std::ops::Range;

use crate::element::{ElementKind, bf16, f16};
use crate::matrix::Matrix;
use crate::simd::{Double, Isa, Lanes, LoadAs, Op, Precision, Simd, Single, dispatch};

/// Adds the numbers of `rows` to `sums`, row after row.
pub(crate) fn add(simd: Simd, matrix: &Matrix<'_>, rows: Range<usize>, sums: &mut [f64]) {
    assert_eq!(sums.len(), rows.len() * matrix.cols(), "a sum a number");
    assert!(rows.end <= matrix.rows(), "rows of the matrix");
    macro_rules! run {
        ($precision:ty, $elem:ty) => {{
            let types = PhantomData::<($precision, $elem)>;
            let op = Add {
                matrix,
                rows,
                sums,
                types,
            };
            dispatch(simd, op);
        }};
    }
    match matrix.kind() {
        ElementKind::F16 => run!(Single, f16),
        ElementKind::Bf16 => run!(Single, bf16),
        ElementKind::F32 => run!(Double, f32),
        ElementKind::F64 => run!(Double, f64),
    }
}

struct Add<'a, P, E> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    sums: &'a mut [f64],
    types: PhantomData<(P, E)>,
}

impl<P: Precision, E: LoadAs<P>> Op for Add<'_, P, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let matrix = self.matrix;
        let cols = matrix.cols();
        if cols == 0 || self.rows.is_empty() {
            return;
        }
        let (step, size) = (matrix.col_stride(), size_of::<E>().cast_signed());
        if !matrix.has_contiguous_rows() {
            for (row, sums) in self.rows.zip(self.sums.chunks_exact_mut(cols)) {
                let start = matrix.row_ptr(row);
                for (col, sum) in sums.iter_mut().enumerate() {
                    let at = start.wrapping_offset(col.cast_signed() * step);
                    // SAFETY: an element of the matrix.
                    *sum += unsafe { at.cast::<E>().read_unaligned() }.to_f64();
                }
            }
        } else if matrix.row_stride() == cols.cast_signed() * size {
            let start = matrix.row_ptr(self.rows.start).cast();
            // SAFETY: dispatch vouches for the CPU; rows without gaps are one run.
            unsafe { add_run::<P, E, I>(start, self.sums) };
        } else {
            for (row, sums) in self.rows.zip(self.sums.chunks_exact_mut(cols)) {
                // SAFETY: dispatch vouches for the CPU; the elements of a row lie side by side.
                unsafe { add_run::<P, E, I>(matrix.row_ptr(row).cast(), sums) };
            }
        }
    }
}

/// # Safety
/// The CPU must have `I`; `from` must be readable for as many elements as there are sums.
#[inline(always)]
unsafe fn add_run<P: Precision, E: LoadAs<P>, I: Isa>(from: *const E, sums: &mut [f64]) {
    type Wide<P, I> = <<P as Precision>::Lanes<I> as Lanes>::Double;
    let n = <P::Lanes<I>>::N;
    let to = sums.as_mut_ptr();
    let whole = sums.len() - sums.len() % n;
    // SAFETY: the caller's promise, and there is a sum for each element.
    unsafe {
        for at in (0..whole).step_by(n) {
            let [low, high] = E::load::<I>(from.add(at)).widen();
            let to = to.add(at);
            <Wide<P, I>>::load(to).add(low).store(to);
            if n > <Wide<P, I>>::N {
                let to = to.add(<Wide<P, I>>::N);
                <Wide<P, I>>::load(to).add(high).store(to);
            }
        }
        for (at, sum) in sums.iter_mut().enumerate().skip(whole) {
            *sum += from.add(at).read_unaligned().to_f64();
        }
    }
}
