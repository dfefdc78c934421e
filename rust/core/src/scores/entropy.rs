//! Shannon entropy of a row of probabilities: `-Σ p ln p` (Shannon, 1948).

use super::rows::{Fold, Kernel, Parts, Source};
use super::sums_to_one;
use crate::element::Element;
use crate::simd::{Lanes, Real};

/// Parts: the sum of the row, `Σ p log p`, all sign bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entropy {
    /// From nats to the unit asked for.
    pub scale: f64,
    pub tolerance: f64,
}

impl<V: Lanes> Fold<V> for Entropy {
    #[inline(always)]
    fn start(self, zero: V) -> Parts<V> {
        [zero; 4]
    }
    #[inline(always)]
    fn step(self, [sum, plogp, signs, none]: Parts<V>, x: V) -> Parts<V> {
        let log = V::Elem::log(x);
        [sum.add(x), x.fma(log, plogp), signs.or(x), none]
    }
    #[inline(always)]
    fn step_both(self, [sum, plogp, signs, none]: Parts<V>, a: V, b: V) -> Parts<V> {
        let (log_a, log_b) = V::Elem::log_both(a, b);
        let plogp = b.fma(log_b, a.fma(log_a, plogp));
        [sum.add(a).add(b), plogp, signs.or(a).or(b), none]
    }
    #[inline(always)]
    fn join(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        [a[0].add(b[0]), a[1].add(b[1]), a[2].or(b[2]), a[3]]
    }
}

impl Kernel for Entropy {
    const LOGITS: bool = false;
    const HALVES: bool = true;
    const EXACT: bool = false;
    const PARTS: usize = 3;

    #[inline(always)]
    fn reduce<V: Lanes, S: Source<V>>(self, row: &S) -> Parts<V> {
        row.sweep(self)
    }
    #[inline(always)]
    fn join<V: Lanes>(self, a: Parts<V>, b: Parts<V>) -> Parts<V> {
        Fold::join(self, a, b)
    }

    #[inline(always)]
    fn score<V: Lanes>(self, [_, plogp, ..]: Parts<V>) -> V {
        let unit = plogp.splat(V::Elem::of(V::Elem::LOG_UNIT * self.scale));
        // Not a negation: the entropy of a one-hot row is 0, not -0.
        plogp.splat(V::Elem::ZERO).sub(plogp.mul(unit))
    }

    #[inline(always)]
    fn suspects<V: Lanes>(self, [sum, _, signs, _]: Parts<V>) -> u32 {
        signs.sign_bits() | !sums_to_one(sum, self.tolerance)
    }
}
