//! Noise that makes the highest scores a draw.
//!
//! Add independent Gumbel noise to `ln w` of every row, and the `k` highest are `k`
//! rows drawn one after the other, each with probability proportional to the weight
//! `w` among those that are left (Vieira, 2014; Kool, van Hoof & Welling, 2019). No
//! row has to know of another, so a draw streams and merges like any selection.
//!
//! The noise of a row is a function of the seed and its id, and comes from the lanes,
//! so that it has the same bits on every machine.

use crate::error::{Error, Result};
use crate::simd::{Isa, Lanes, Op, Real, Simd, dispatch};

/// Numbers that are worked on together.
pub(super) const LANES: usize = 8;

/// What the probability of a row to be drawn is proportional to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// `score^beta`: scores are 0 or more, and 0 is never drawn before anything else.
    Power,
    /// `e^(beta score)`.
    Softmax,
}

/// Gumbel noise on scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// What rows are drawn by.
    pub weight: Weight,
    /// The higher, the less noise.
    pub beta: f64,
    /// Of the hash of ids.
    pub seed: u64,
}

impl Noise {
    /// Refuses options that make no sense.
    ///
    /// # Errors
    /// [`Error::Option`] for a `beta` out of range.
    pub fn checked(self) -> Result<Self> {
        if (1e-30..=1e30).contains(&self.beta) {
            return Ok(self);
        }
        Err(Error::Option(format!(
            "beta: expected a number from 1e-30 to 1e30, got {}",
            self.beta
        )))
    }

    /// Whether rows can be drawn by this number.
    pub(super) fn takes(self, score: f64) -> bool {
        self.weight == Weight::Softmax || score >= 0.0
    }

    /// Turns scores into `ln score + G / beta` or `score + G / beta`, with the noise
    /// `G = -ln(-ln u)` of a uniform number in `[0, 1)`.
    ///
    /// Both are whole vectors of [`LANES`] numbers. Scores below zero count as zero to
    /// [`Weight::Power`]: of probabilities they are rounding errors.
    pub(super) fn add(self, simd: Simd, scores: &mut [f64], uniforms: &[f64]) {
        assert!(
            scores.len() == uniforms.len() && scores.len().is_multiple_of(LANES),
            "whole vectors"
        );
        let noise = self;
        let add = Add {
            noise,
            scores,
            uniforms,
        };
        dispatch(simd, add);
    }
}

struct Add<'a> {
    noise: Noise,
    scores: &'a mut [f64],
    uniforms: &'a [f64],
}

impl Op for Add<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let scores = self.scores.chunks_exact_mut(LANES);
        for (scores, uniforms) in scores.zip(self.uniforms.chunks_exact(LANES)) {
            // SAFETY: dispatch vouches for the CPU, and these are LANES numbers.
            unsafe {
                let score = I::F64::load(scores.as_ptr());
                let score = match self.noise.weight {
                    Weight::Power => ln(score),
                    Weight::Softmax => score,
                };
                let noise = gumbel(I::F64::load(uniforms.as_ptr()));
                let key = score.add(noise.div(score.splat(self.noise.beta)));
                key.store(scores.as_mut_ptr());
            }
        }
    }
}

/// `-ln(-ln u)`: where `u` is 0, of half the least number above that it can be.
#[inline(always)]
fn gumbel<V: Lanes<Elem = f64>>(u: V) -> V {
    let zero = u.splat(0.0);
    let u = u.max(u.splat(2.0_f64.powi(-54)));
    let exponential = zero.sub(Real::log(u));
    zero.sub(Real::log(exponential))
}

/// The natural logarithm of any number: minus infinity of zero and below.
#[inline(always)]
fn ln<V: Lanes<Elem = f64>>(x: V) -> V {
    let zero = x.splat(0.0);
    // Numbers that are not normal are made so.
    let tiny = x.lt(x.splat(f64::MIN_POSITIVE));
    let normal = V::select(tiny, x.mul(x.splat(2.0_f64.powi(54))), x);
    let shift = V::select(tiny, x.splat(54.0 * std::f64::consts::LN_2), zero);
    let log = Real::log(normal).sub(shift);
    let infinity = x.splat(f64::INFINITY);
    let log = V::select(x.lt(infinity), log, infinity);
    V::select(zero.lt(x), log, zero.sub(infinity))
}
