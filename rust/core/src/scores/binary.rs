//! Two-class scores of single probabilities, or sigmoids: one number a row
//! (`P(y = 1)`), or independent labels whose scores are added up or maximised.
//!
//! Of `p` and `1 - p` the smaller one, `a`, is exact: `p` itself, or a difference
//! that rounds nothing (Sterbenz, 1974). Every score is a function of `a`, so `p`
//! and `1 - p` tie exactly, and the scores never disagree about the order.

use std::marker::PhantomData;

use super::rows::{Fold, Kernel, Parts, Source};
use crate::element::Element;
use crate::simd::{Lanes, Real};

/// A score of two probabilities that sum to one.
pub(super) trait OfTwo: Copy + Sync {
    /// From the smaller, `a`, and `b = 1 - a`.
    fn of_probability<V: Lanes>(a: V, b: V) -> V;
    /// From the sigmoid of `±t`: `e = exp(-t)`, `t >= 0`.
    #[inline(always)]
    fn of_sigmoid<V: Lanes>(_t: V, e: V) -> V {
        let one = e.splat(V::Elem::of(1.0));
        let b = one.div(one.add(e));
        Self::of_probability(e.mul(b), b)
    }
}

/// `-a ln a - b ln b`.
#[derive(Debug, Clone, Copy)]
pub(super) struct BinaryEntropy;
/// `a`: the least confidence, and half the margin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Smaller;
/// `a / b`.
#[derive(Debug, Clone, Copy)]
pub(super) struct BinaryRatio;

impl OfTwo for BinaryEntropy {
    #[inline(always)]
    fn of_probability<V: Lanes>(a: V, b: V) -> V {
        // ln(1 - a) from a itself: b has rounded.
        let zero = a.splat(V::Elem::ZERO);
        let one = a.splat(V::Elem::of(1.0));
        let small = a.lt(a.splat(V::Elem::of(V::Elem::SPLIT)));
        let exponent = V::select(small, zero, zero.sub(one));
        let fraction = V::select(small, zero.sub(a), one.sub(a.add(a)));
        let sum = b.mul(V::Elem::log_of_parts(exponent, fraction));
        let sum = a.fma(V::Elem::log(a), sum);
        zero.sub(sum).mul(a.splat(V::Elem::of(V::Elem::LOG_UNIT)))
    }
    #[inline(always)]
    fn of_sigmoid<V: Lanes>(t: V, e: V) -> V {
        let one = e.splat(V::Elem::of(1.0));
        V::Elem::ln_1p(e).add(t.mul(e.div(one.add(e))))
    }
}

impl OfTwo for Smaller {
    #[inline(always)]
    fn of_probability<V: Lanes>(a: V, _: V) -> V {
        a
    }
}

impl OfTwo for BinaryRatio {
    #[inline(always)]
    fn of_probability<V: Lanes>(a: V, b: V) -> V {
        a.div(b)
    }
    #[inline(always)]
    fn of_sigmoid<V: Lanes>(_: V, e: V) -> V {
        e
    }
}

/// Where the two probabilities come from.
pub(super) trait Link: Copy + Sync {
    const LOGITS: bool;
    /// The score of one number, and a number that is negative or NaN when that
    /// number is invalid.
    fn score<V: Lanes, M: OfTwo>(self, x: V) -> (V, V);
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Probability;

impl Link for Probability {
    const LOGITS: bool = false;
    #[inline(always)]
    fn score<V: Lanes, M: OfTwo>(self, x: V) -> (V, V) {
        let one = x.splat(V::Elem::of(1.0));
        let a = x.min(one.sub(x));
        (M::of_probability(a, one.sub(a)), a)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sigmoid {
    pub inverse_temperature: f64,
}

impl Link for Sigmoid {
    const LOGITS: bool = true;
    #[inline(always)]
    fn score<V: Lanes, M: OfTwo>(self, x: V) -> (V, V) {
        let t = x.abs().mul(x.splat(V::Elem::of(self.inverse_temperature)));
        // Beyond a thousand the score is zero; a NaN stays.
        let t = x.splat(V::Elem::of(1000.0)).min(t);
        let e = V::Elem::exp(x.splat(V::Elem::ZERO).sub(t));
        (M::of_sigmoid(t, e), t)
    }
}

/// The scores of all labels of a row, added up or maximised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labels<L, M> {
    pub link: L,
    pub max: bool,
    pub scale: f64,
    pub measure: PhantomData<M>,
}

/// Parts: the sum of the scores, the largest, all signs, the sum of the checks.
impl<V: Lanes, L: Link, M: OfTwo> Fold<V> for Labels<L, M> {
    #[inline(always)]
    fn start(self, zero: V) -> Parts<V> {
        [zero; 4]
    }
    #[inline(always)]
    fn step(self, [total, largest, signs, sum]: Parts<V>, x: V) -> Parts<V> {
        let (score, check) = self.link.score::<V, M>(x);
        [
            total.add(score),
            largest.max(score),
            signs.or(check),
            sum.add(check),
        ]
    }
    #[inline(always)]
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        [
            a[0].add(b[0]),
            a[1].max(b[1]),
            a[2].or(b[2]),
            a[3].add(b[3]),
        ]
    }
}

impl<L: Link, M: OfTwo> Kernel for Labels<L, M> {
    const LOGITS: bool = L::LOGITS;
    const HALVES: bool = false;
    const EXACT: bool = false;
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
    fn score<V: Lanes>(self, [total, largest, ..]: Parts<V>) -> V {
        let scores = if self.max { largest } else { total };
        let scale = scores.splat(V::Elem::of(self.scale));
        // Of a probability of -0, too, the score is 0.
        scores.mul(scale).add(scores.splat(V::Elem::ZERO))
    }

    #[inline(always)]
    fn suspects<V: Lanes>(self, [_, _, signs, sum]: Parts<V>) -> u32 {
        let infinity = sum.splat(V::Elem::of(f64::INFINITY));
        signs.sign_bits() | !V::bits(sum.lt(infinity))
    }
}
