//! Where scores go: all of them, or those that reach a bar.

use super::pool::Output;
use super::rows::{Kernel, LANES, Parts};
use crate::element::ElementKind;
use crate::simd::{Lanes, Real};

/// What becomes of the scores.
#[derive(Debug)]
pub(crate) enum Sink<'a> {
    /// All are kept, in the precision that they are computed in.
    All(Output<'a>),
    /// Those that reach a bar are kept.
    Above(&'a mut Above),
}

/// The rows that score at least so much.
#[derive(Debug, Default)]
pub(crate) struct Above {
    /// The bar.
    pub least: f64,
    /// Arithmetic in `f64`, whatever the rows hold.
    pub double: bool,
    /// Places (among the rows that were asked for) and scores, in order. Of a score
    /// that two `f32` numbers decide exactly this is the `f64` score.
    pub hits: Vec<(usize, f64)>,
}

/// A [`Sink`] of one precision.
pub(super) enum Target<'a, T> {
    All(&'a mut [T]),
    Rounded(&'a mut [f32]),
    Above(&'a mut Above),
}

impl<'a> Sink<'a> {
    pub(super) fn is_double(&self, kind: ElementKind) -> bool {
        kind == ElementKind::F64
            || match self {
                Self::All(out) => matches!(out, Output::F64(_)),
                Self::Above(above) => above.double,
            }
    }

    pub(super) fn single(self) -> Target<'a, f32> {
        match self {
            Self::All(Output::F32(out)) => Target::All(out),
            Self::All(Output::F64(_)) => unreachable!("is_double"),
            Self::Above(above) => Target::Above(above),
        }
    }

    pub(super) fn double(self) -> Target<'a, f64> {
        match self {
            Self::All(Output::F64(out)) => Target::All(out),
            Self::All(Output::F32(out)) => Target::Rounded(out),
            Self::Above(above) => Target::Above(above),
        }
    }
}

impl Above {
    #[inline(always)]
    pub(super) fn take<V: Lanes, K: Kernel>(
        &mut self,
        kernel: K,
        parts: Parts<V>,
        first: usize,
        live: u32,
    ) {
        let mut scores = [0.0; LANES];
        let bits = if K::EXACT && V::N == LANES {
            let [low, high] = kernel.exact(parts);
            let least = low.splat(self.least);
            let bits = not_below(low, least) | not_below(high, least) << 8;
            if bits & live == 0 {
                return;
            }
            // SAFETY: one place a lane.
            unsafe {
                low.store(scores.as_mut_ptr());
                high.store(scores.as_mut_ptr().add(8));
            }
            bits
        } else {
            let score = kernel.score(parts);
            let least = score.splat(V::Elem::at_most(self.least));
            let bits = not_below(score, least);
            if bits & live == 0 {
                return;
            }
            let [low, high] = score.widen();
            // SAFETY: one place a lane; of `f64` lanes the second half is not looked at.
            unsafe {
                low.store(scores.as_mut_ptr());
                high.store(scores.as_mut_ptr().add(8));
            }
            bits
        };
        for_each_bit(bits & live, |lane| {
            self.hits.push((first + lane, scores[lane]));
        });
    }
}

/// The bits of lanes that are not below `least`: a NaN is among them.
#[inline(always)]
fn not_below<V: Lanes>(scores: V, least: V) -> u32 {
    !V::bits(scores.lt(least)) & (u32::MAX >> (32 - V::N))
}

#[inline(always)]
pub(super) fn for_each_bit(mut bits: u32, mut f: impl FnMut(usize)) {
    while bits != 0 {
        f(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
