//! Logits as probabilities, in `f64`.

use std::ops::Range;

use super::sums;
use crate::matrix::Matrix;
use crate::simd::{Isa, Lanes, Op, Real, Simd, dispatch};

/// Writes the softmax of `rows` to `out`, row after row. A row that has none (NaN, plus
/// infinity, or minus infinity throughout) becomes zeros, which no one takes for probabilities.
pub(crate) fn softmax(
    simd: Simd,
    logits: &Matrix<'_>,
    rows: Range<usize>,
    temperature: f64,
    out: &mut [f64],
) {
    out.fill(0.0);
    sums::add(simd, logits, rows, out);
    let op = Softmax {
        rows: out,
        cols: logits.cols(),
        inverse_temperature: 1.0 / temperature,
    };
    dispatch(simd, op);
}

/// Turns logits into probabilities where they are.
struct Softmax<'a> {
    rows: &'a mut [f64],
    cols: usize,
    inverse_temperature: f64,
}

impl Op for Softmax<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let n = <I::F64>::N;
        let mut terms = vec![0.0; self.cols.next_multiple_of(n)];
        for row in self.rows.chunks_exact_mut(self.cols.max(1)) {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let valid = row.iter().all(|logit| *logit < f64::INFINITY);
            if !valid || largest == f64::NEG_INFINITY {
                row.fill(0.0);
                continue;
            }
            let (own, pad) = terms.split_at_mut(self.cols);
            own.copy_from_slice(row);
            pad.fill(f64::NEG_INFINITY);
            for lanes in terms.chunks_exact_mut(n) {
                // SAFETY: dispatch vouches for the CPU; N numbers.
                unsafe {
                    let x = <I::F64>::load(lanes.as_ptr());
                    let d = x.sub(x.splat(largest));
                    let d = d.mul(x.splat(self.inverse_temperature));
                    <f64 as Real>::exp(d).store(lanes.as_mut_ptr());
                }
            }
            let total: f64 = terms[..self.cols].iter().sum();
            for (p, term) in row.iter_mut().zip(&terms) {
                *p = term / total;
            }
        }
    }
}
