//! Scores of the two largest probabilities: margin, least confidence, ratio.
//!
//! Finding them rounds nothing, and the rest is done in `f64` whatever the lanes:
//! these scores need no second look.

use std::marker::PhantomData;

use super::rows::{Fold, Kernel, Parts, Source};
use super::sums_to_one;
use crate::element::Element;
use crate::simd::{Lanes, Real};

/// A score of the largest (`p1`) and second largest (`p2`) probability.
pub(super) trait Measure: Copy + Sync {
    /// Whether `p2` matters.
    const SECOND: bool;
    /// From the probabilities.
    fn of_pair(p1: f64, p2: f64) -> f64;
    /// From the softmax: `rest` is the sum of all terms but the largest, which is
    /// one; `second` the second largest term.
    fn of_softmax<V: Lanes>(rest: V, second: V) -> V;
    /// From the smaller `a` and the larger `b = 1 - a` of two probabilities.
    fn of_binary<V: Lanes>(a: V, b: V) -> V;
}

/// `1 - (p1 - p2)` (Scheffer et al., 2001).
#[derive(Debug, Clone, Copy)]
pub(super) struct Margin;
/// `1 - p1` (Lewis & Gale, 1994; Culotta & McCallum, 2005).
#[derive(Debug, Clone, Copy)]
pub(super) struct LeastConfidence;
/// `p2 / p1`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ratio;

impl Measure for Margin {
    const SECOND: bool = true;
    #[inline(always)]
    fn of_pair(p1: f64, p2: f64) -> f64 {
        1.0 - (p1 - p2)
    }
    #[inline(always)]
    fn of_softmax<V: Lanes>(rest: V, second: V) -> V {
        let one = rest.splat(V::Elem::of(1.0));
        rest.add(second).div(rest.add(one))
    }
    #[inline(always)]
    fn of_binary<V: Lanes>(a: V, _: V) -> V {
        a.add(a)
    }
}

impl Measure for LeastConfidence {
    const SECOND: bool = false;
    #[inline(always)]
    fn of_pair(p1: f64, _: f64) -> f64 {
        1.0 - p1
    }
    #[inline(always)]
    fn of_softmax<V: Lanes>(rest: V, _: V) -> V {
        let one = rest.splat(V::Elem::of(1.0));
        rest.div(rest.add(one))
    }
    #[inline(always)]
    fn of_binary<V: Lanes>(a: V, _: V) -> V {
        a
    }
}

impl Measure for Ratio {
    const SECOND: bool = true;
    #[inline(always)]
    fn of_pair(p1: f64, p2: f64) -> f64 {
        p2 / p1
    }
    #[inline(always)]
    fn of_softmax<V: Lanes>(_: V, second: V) -> V {
        second
    }
    #[inline(always)]
    fn of_binary<V: Lanes>(a: V, b: V) -> V {
        a.div(b)
    }
}

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
pub(super) struct TopTwo<M> {
    pub tolerance: f64,
    pub measure: PhantomData<M>,
}

impl<V: Lanes, M: Measure> Fold<V> for TopTwo<M> {
    #[inline(always)]
    fn start(self, zero: V) -> Parts<V> {
        [zero; 4]
    }
    #[inline(always)]
    fn step(self, [sum, first, second, signs]: Parts<V>, x: V) -> Parts<V> {
        let top = push_top(first, second, x);
        let second = if M::SECOND { top.1 } else { second };
        [sum.add(x), top.0, second, signs.or(x)]
    }
    #[inline(always)]
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        let top = join_top((a[1], a[2]), (b[1], b[2]));
        let second = if M::SECOND { top.1 } else { a[2] };
        [a[0].add(b[0]), top.0, second, a[3].or(b[3])]
    }
}

impl<M: Measure> Kernel for TopTwo<M> {
    const LOGITS: bool = false;

    #[inline(always)]
    fn reduce<V: Lanes, S: Source<V>>(self, row: &S) -> Parts<V> {
        row.fold(self)
    }

    #[inline(always)]
    fn finish<V: Lanes>(self, [sum, first, second, signs]: Parts<V>, out: &mut [f64; 16]) -> u32 {
        let mut p1 = [V::Elem::default(); 16];
        let mut p2 = p1;
        // SAFETY: room for 16 lanes each.
        unsafe {
            first.store(p1.as_mut_ptr());
            second.store(p2.as_mut_ptr());
        }
        for (score, (p1, p2)) in out.iter_mut().zip(p1.into_iter().zip(p2)) {
            *score = M::of_pair(p1.to_f64(), p2.to_f64());
        }
        signs.sign_bits() | !sums_to_one(sum, self.tolerance)
    }
}
