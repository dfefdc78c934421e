//! Logits as probabilities, in `f64`.

use std::ops::Range;

use crate::matrix::Matrix;
use crate::simd::{Isa, Lanes, Op, Real, Simd, dispatch};

/// Writes the softmax of `rows` to `out`, row after row. A row that has none (NaN, plus
/// infinity, or minus infinity throughout) becomes zeros, which no one takes for probabilities.
pub(super) fn softmax(
    simd: Simd,
    logits: &Matrix<'_>,
    rows: Range<usize>,
    temperature: f64,
    out: &mut [f64],
) {
    let op = Softmax {
        logits,
        rows,
        inverse_temperature: 1.0 / temperature,
        out,
    };
    dispatch(simd, op);
}

struct Softmax<'a> {
    logits: &'a Matrix<'a>,
    rows: Range<usize>,
    inverse_temperature: f64,
    out: &'a mut [f64],
}

impl Op for Softmax<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let n = <I::F64>::N;
        let cols = self.logits.cols();
        let mut row = vec![f64::NEG_INFINITY; cols.next_multiple_of(n)];
        for (at, out) in self.rows.zip(self.out.chunks_exact_mut(cols.max(1))) {
            let mut largest = f64::NEG_INFINITY;
            let mut valid = true;
            for (col, logit) in row[..cols].iter_mut().enumerate() {
                *logit = self.logits.get(at, col);
                valid &= *logit < f64::INFINITY;
                largest = largest.max(*logit);
            }
            if !valid || largest == f64::NEG_INFINITY {
                out.fill(0.0);
                row.fill(f64::NEG_INFINITY);
                continue;
            }
            for lanes in row.chunks_exact_mut(n) {
                // SAFETY: dispatch vouches for the CPU; N numbers.
                unsafe {
                    let x = <I::F64>::load(lanes.as_ptr());
                    let d = x.sub(x.splat(largest));
                    let d = d.mul(x.splat(self.inverse_temperature));
                    <f64 as Real>::exp(d).store(lanes.as_mut_ptr());
                }
            }
            let total: f64 = row[..cols].iter().sum();
            for (p, term) in out.iter_mut().zip(&row) {
                *p = term / total;
            }
            row[cols..].fill(f64::NEG_INFINITY);
        }
    }
}
