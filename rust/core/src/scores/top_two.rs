//! Scores of the two largest probabilities: margin, least confidence, ratio.
//!
//! Finding them rounds nothing, and the rest is done in `f64` whatever the lanes:
//! these scores need no second look.

use super::rows::{Fold, Kernel, Parts, Source};
use super::{Measure, sums_to_one};
use crate::simd::Lanes;

/// The running largest and second largest, and what `x` makes of them.
#[inline(always)]
pub(super) fn push_top<V: Lanes>(first: V, second: V, x: V) -> (V, V) {
    (first.max(x), second.max(first.min(x)))
}

/// The two largest of two pairs.
#[inline(always)]
pub(super) fn join_top<V: Lanes>(a: (V, V), b: (V, V)) -> (V, V) {
    (a.0.max(b.0), a.0.min(b.0).max(a.1.max(b.1)))
}

/// Parts: the sum of the row, the two largest, all sign bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct TopTwo {
    pub measure: Measure,
    pub tolerance: f64,
}

impl<V: Lanes> Fold<V> for TopTwo {
    #[inline(always)]
    fn start(self, zero: V) -> Parts<V> {
        [zero; 4]
    }
    #[inline(always)]
    fn step(self, [sum, first, second, signs]: Parts<V>, x: V) -> Parts<V> {
        let (first, second) = push_top(first, second, x);
        [sum.add(x), first, second, signs.or(x)]
    }
    #[inline(always)]
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        let (first, second) = join_top((a[1], a[2]), (b[1], b[2]));
        [a[0].add(b[0]), first, second, a[3].or(b[3])]
    }
}

impl Kernel for TopTwo {
    const LOGITS: bool = false;
    const HALVES: bool = true;
    const PARTS: usize = 4;

    #[inline(always)]
    fn reduce<V: Lanes, S: Source<V>>(self, row: &S) -> Parts<V> {
        row.sweep(self)
    }
    #[inline(always)]
    fn join<V: Lanes>(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        Fold::join(self, a, b)
    }

    #[inline(always)]
    fn finish<V: Lanes>(self, [sum, first, second, signs]: Parts<V>, out: &mut [f64]) -> u32 {
        let mut seconds = [0.0; 16];
        // SAFETY: one place a lane, 16 or fewer.
        unsafe {
            first.store_f64(out.as_mut_ptr());
            second.store_f64(seconds.as_mut_ptr());
        }
        let seconds = &seconds[..V::N];
        match self.measure {
            Measure::LeastConfidence => replace(out, seconds, |p1, _| 1.0 - p1),
            Measure::Ratio => replace(out, seconds, |p1, p2| p2 / p1 + 0.0), // never -0
            _ => replace(out, seconds, |p1, p2| 1.0 - (p1 - p2)),
        }
        signs.sign_bits() | !sums_to_one(sum, self.tolerance)
    }
}

/// Replaces every largest probability by a score.
#[inline(always)]
fn replace(firsts: &mut [f64], seconds: &[f64], score: impl Fn(f64, f64) -> f64) {
    for (first, second) in firsts.iter_mut().zip(seconds) {
        *first = score(*first, *second);
    }
}
