//! Scores of the two largest probabilities: margin, least confidence, ratio.
//!
//! Finding them rounds nothing, so of `f32` rows the `f64` score can be had at once:
//! these scores need no second look.

use super::rows::{Fold, Kernel, Parts, Source};
use super::{Measure, sums_to_one};
use crate::element::Element;
use crate::simd::{Lanes, Real};

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
    const EXACT: bool = true;
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
    fn score<V: Lanes>(self, [_, first, second, _]: Parts<V>) -> V {
        of_two(self.measure, first, second)
    }
    #[inline(always)]
    fn exact<V: Lanes>(self, [_, first, second, _]: Parts<V>) -> [V::Double; 2] {
        let ([f0, f1], [s0, s1]) = (first.widen(), second.widen());
        [of_two(self.measure, f0, s0), of_two(self.measure, f1, s1)]
    }

    #[inline(always)]
    fn suspects<V: Lanes>(self, [sum, _, _, signs]: Parts<V>) -> u32 {
        signs.sign_bits() | !sums_to_one(sum, self.tolerance)
    }
}

#[inline(always)]
fn of_two<V: Lanes>(measure: Measure, first: V, second: V) -> V {
    let one = first.splat(V::Elem::of(1.0));
    match measure {
        Measure::LeastConfidence => one.sub(first),
        // Never -0.
        Measure::Ratio => second.div(first).add(first.splat(V::Elem::ZERO)),
        _ => one.sub(first.sub(second)),
    }
}
