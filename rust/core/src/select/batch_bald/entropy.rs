//! The mean entropy of what configurations make of a row, lanes across configurations.

use crate::simd::{Isa, Lanes, Op, Real, Simd, dispatch};

/// Configurations in a vector.
const LANES: usize = 8;
/// Vectors that are summed apart, whether they are worked on together or not.
const ABREAST: usize = 2;
/// Classes that are worked on together: members are loaded once for all of them.
const TILE: usize = 4;

/// Room for so many numbers in whole vectors.
pub(super) const fn padded(len: usize) -> usize {
    len.next_multiple_of(LANES)
}

/// Eight numbers that never straddle two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Vector([f64; LANES]);

/// Configurations in vectors.
#[derive(Debug)]
pub(super) struct Packed {
    /// Probabilities of the configurations; of those that fill up the last vectors zero.
    shares: Vec<Vector>,
    /// For each vector of configurations one for each member.
    weights: Vec<Vector>,
}

impl Packed {
    /// `weights`: of the members, configuration after configuration.
    pub(super) fn new(shares: &[f64], weights: &[f64]) -> Self {
        let members = weights.len() / shares.len();
        let vectors = shares.len().div_ceil(LANES).next_multiple_of(ABREAST);
        let zero = Vector([0.0; LANES]);
        let mut packed = Self {
            shares: vec![zero; vectors],
            weights: vec![zero; vectors * members],
        };
        for (at, share) in shares.iter().enumerate() {
            let (vector, lane) = (at / LANES, at % LANES);
            packed.shares[vector].0[lane] = *share;
            for (member, weight) in weights[at * members..][..members].iter().enumerate() {
                packed.weights[vector * members + member].0[lane] = *weight;
            }
        }
        packed
    }

    /// The configurations, filled up.
    pub(super) const fn len(&self) -> usize {
        self.shares.len() * LANES
    }

    /// What the label of a row tells: the mean entropy of what configurations make of it,
    /// less that of the members.
    ///
    /// `row`: probabilities by members, class by class, then zeros; `means`: the mean
    /// weight of the member that each belongs to, then zeros.
    pub(super) fn gain(&self, simd: Simd, classes: usize, means: &[f64], row: &[f64]) -> f64 {
        let shape = (self.weights.len() / self.shares.len(), classes);
        let len = padded(shape.0 * shape.1);
        assert!(row.len() == len && means.len() == len, "whole vectors");
        let gain = Gain {
            packed: self,
            means,
            row,
            shape,
        };
        dispatch(simd, gain)
    }
}

struct Gain<'a> {
    packed: &'a Packed,
    means: &'a [f64],
    row: &'a [f64],
    /// Members and classes.
    shape: (usize, usize),
}

impl Op for Gain<'_> {
    type Out = f64;

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> f64 {
        let Packed { shares, weights } = self.packed;
        let members = self.shape.0;
        // SAFETY: dispatch vouches for the CPU.
        let zero = unsafe { I::F64::new(0.0) };
        let mut of_mixtures = [zero; ABREAST];
        for (vectors, shares) in weights
            .chunks_exact(ABREAST * members)
            .zip(shares.chunks_exact(ABREAST))
        {
            // SAFETY: these are LANES numbers.
            let shares = [&shares[0], &shares[1]].map(|v| unsafe { I::F64::load(v.0.as_ptr()) });
            let sums = if I::ROOM >= 16 {
                self.mixtures::<I, ABREAST>(vectors, zero)
            } else {
                let (a, b) = vectors.split_at(members);
                let [a] = self.mixtures::<I, 1>(a, zero);
                let [b] = self.mixtures::<I, 1>(b, zero);
                [a, b]
            };
            for (total, (sum, share)) in of_mixtures.iter_mut().zip(sums.into_iter().zip(shares)) {
                *total = sum.fma(share, *total);
            }
        }
        let mut of_members = zero;
        let means = self.means.chunks_exact(LANES);
        for (p, mean) in self.row.chunks_exact(LANES).zip(means) {
            // SAFETY: these are LANES numbers.
            let (p, mean) = unsafe { (I::F64::load(p.as_ptr()), I::F64::load(mean.as_ptr())) };
            of_members = p.mul(<f64 as Real>::log(p)).fma(mean, of_members);
        }
        total(of_members) - total(of_mixtures[0].add(of_mixtures[1]))
    }
}

impl Gain<'_> {
    /// `Σ p ln p` of what some vectors of configurations make of the row.
    #[inline(always)]
    fn mixtures<I: Isa, const N: usize>(&self, weights: &[Vector], zero: I::F64) -> [I::F64; N] {
        let classes = self.shape.1;
        let mut sums = [zero; N];
        let mut class = 0;
        while class + TILE <= classes {
            self.tile::<I, N, TILE>(weights, class, &mut sums);
            class += TILE;
        }
        match classes - class {
            1 => self.tile::<I, N, 1>(weights, class, &mut sums),
            2 => self.tile::<I, N, 2>(weights, class, &mut sums),
            3 => self.tile::<I, N, 3>(weights, class, &mut sums),
            _ => {}
        }
        sums
    }

    /// Adds `p ln p` of some classes.
    #[inline(always)]
    fn tile<I: Isa, const N: usize, const W: usize>(
        &self,
        weights: &[Vector],
        class: usize,
        sums: &mut [I::F64; N],
    ) {
        let (members, classes) = self.shape;
        assert!(weights.len() == N * members && class + W <= classes);
        assert!(members * classes <= self.row.len());
        let zero = sums[0].splat(0.0);
        let mut p = [[zero; N]; W];
        for member in 0..members {
            let mut weight = [zero; N];
            for (at, weight) in weight.iter_mut().enumerate() {
                // SAFETY: there is a vector for each member in each of N.
                *weight = unsafe {
                    I::F64::load(weights.get_unchecked(at * members + member).0.as_ptr())
                };
            }
            for (of_class, p) in p.iter_mut().enumerate() {
                // SAFETY: the row has a number for each member and class.
                let says = unsafe { *self.row.get_unchecked(member * classes + class + of_class) };
                let says = zero.splat(says);
                for (p, weight) in p.iter_mut().zip(weight) {
                    *p = weight.fma(says, *p);
                }
            }
        }
        for p in p {
            for (p, sum) in p.into_iter().zip(sums.iter_mut()) {
                *sum = p.fma(<f64 as Real>::log(p), *sum);
            }
        }
    }
}

/// The sum of the lanes.
#[inline(always)]
fn total<V: Lanes<Elem = f64>>(v: V) -> f64 {
    let mut lanes = [0.0; LANES];
    // SAFETY: room for LANES numbers.
    unsafe { v.store(lanes.as_mut_ptr()) };
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
