//! The same scores from logits: a softmax in two turns over a row in cache, with
//! nothing stored.
//!
//! With `d = (z - max) / T` and `Z = Σ e^d`, the entropy is `ln Z - Σ d e^d / Z`.
//! The largest term is one; the others are summed apart from it, so that confident
//! rows, whose `Z` rounds to one, keep their relative accuracy.

use super::Measure;
use super::rows::{Fold, Kernel, Parts, Source};
use super::top_two::{join_top, push_top};
use crate::element::Element;
use crate::simd::{Lanes, Real};

/// Below this a term is zero in either precision.
const FLOOR: f64 = -1000.0;

/// A row of logits, softened by `1 / temperature`.
///
/// Parts: the sum of the terms below the largest, `Σ d e^d`, how many are as large as
/// the largest, the second largest term.
#[derive(Debug, Clone, Copy)]
pub(super) struct Softmax {
    pub measure: Measure,
    pub inverse_temperature: f64,
    pub scale: f64,
}

impl Softmax {
    #[inline(always)]
    fn measured<V: Lanes>(self, rest: V, weighted: V, second: V) -> V {
        let total = rest.add(rest.splat(V::Elem::of(1.0)));
        match self.measure {
            Measure::Entropy => V::Elem::ln_1p(rest).sub(weighted.div(total)),
            Measure::Margin => rest.add(second).div(total),
            Measure::LeastConfidence => rest.div(total),
            Measure::Ratio => second,
        }
    }
}

/// First turn; parts: the two largest.
#[derive(Clone, Copy)]
struct Top;

impl<V: Lanes> Fold<V> for Top {
    #[inline(always)]
    fn start(self, zero: V) -> Parts<V> {
        let lowest = zero.splat(V::Elem::LOWEST);
        [lowest, lowest, zero, zero]
    }
    #[inline(always)]
    fn step(self, [first, second, a, b]: Parts<V>, x: V) -> Parts<V> {
        let (first, second) = push_top(first, second, x);
        [first, second, a, b]
    }
    #[inline(always)]
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        let (first, second) = join_top((a[0], a[1]), (b[0], b[1]));
        [first, second, a[2], a[3]]
    }
}

/// Second turn; parts: `Σ e^d` and `Σ d e^d` over `d < 0`, and how many have `d = 0`.
#[derive(Clone, Copy)]
struct Terms<V> {
    largest: V,
    factor: V,
}

impl<V: Lanes> Terms<V> {
    /// `(z - max) / T`, or NaN where the row has no softmax.
    #[inline(always)]
    fn exponent(self, x: V) -> V {
        // The order of the operands keeps a NaN.
        let d = x.sub(self.largest).mul(self.factor);
        x.splat(V::Elem::of(FLOOR)).max(d)
    }
}

impl<V: Lanes> Fold<V> for Terms<V> {
    #[inline(always)]
    fn start(self, zero: V) -> Parts<V> {
        [zero; 4]
    }
    #[inline(always)]
    fn step(self, [rest, weighted, ties, none]: Parts<V>, x: V) -> Parts<V> {
        let d = self.exponent(x);
        let zero = x.splat(V::Elem::ZERO);
        let term = V::Elem::exp(d);
        let below = d.lt(zero);
        [
            rest.add(V::select(below, term, zero)),
            d.fma(term, weighted),
            ties.add(V::select(below, zero, x.splat(V::Elem::of(1.0)))),
            none,
        ]
    }
    #[inline(always)]
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        [a[0].add(b[0]), a[1].add(b[1]), a[2].add(b[2]), a[3]]
    }
}

impl Kernel for Softmax {
    const LOGITS: bool = true;
    const HALVES: bool = false;
    const EXACT: bool = false;
    const PARTS: usize = 4;

    #[inline(always)]
    fn reduce<V: Lanes, S: Source<V>>(self, row: &S) -> Parts<V> {
        let [largest, runner_up, ..] = row.fold(Top);
        let terms = Terms {
            largest,
            factor: largest.splat(V::Elem::of(self.inverse_temperature)),
        };
        let [rest, weighted, ties, _] = row.sweep(terms);
        [
            rest,
            weighted,
            ties,
            V::Elem::exp(terms.exponent(runner_up)),
        ]
    }
    #[inline(always)]
    fn join<V: Lanes>(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        [a[0].add(b[0]), a[1].add(b[1]), a[2].add(b[2]), a[3]]
    }

    #[inline(always)]
    fn score<V: Lanes>(self, [rest, weighted, ties, second]: Parts<V>) -> V {
        let rest = ties.sub(ties.splat(V::Elem::of(1.0))).add(rest);
        let scale = rest.splat(V::Elem::of(self.scale));
        self.measured(rest, weighted, second).mul(scale)
    }

    #[inline(always)]
    fn suspects<V: Lanes>(self, [_, weighted, ..]: Parts<V>) -> u32 {
        // A NaN anywhere, or a largest logit that is infinite, ends up in `weighted`.
        !V::bits(weighted.lt(weighted.splat(V::Elem::of(1.0))))
    }
}
