//! Distances between rows that have two parts: an embedding `x` and something beside it.
//!
//! * Gradients: the gradient of the loss at the last layer of a network is the outer
//!   product `a x`, `a = p - e` of the predicted probabilities and the class that they
//!   name (Ash et al. 2020). Of two such, `|a x - b y|^2 = |a|^2 |x|^2 + |b|^2 |y|^2 -
//!   2 (a.b)(x.y)`, so that nothing of size classes times dimensions is ever needed.
//!   Where that cancels, the same is summed from differences,
//!   `|a|^2 |x - y|^2 + |a - b|^2 |y|^2 + 2 (a.(a - b))((x - y).y)`.
//! * Products: `|x - y|^2 |a - b|^2`, far in both (Wu, Lin & Huang 2019).
//!
//! A prepared row is `x`, then `a`, each completed with zeros, then `|x|^2` and `|a|^2`.

use super::exact::{Best, tile};
use crate::matrix::Matrix;
use crate::simd::{Isa, Lanes, Op};

/// Numbers behind the two parts of a prepared row: the squared lengths.
const TAIL: usize = 8;
/// Below this part of the two squared lengths, differences are summed.
const CANCELS: f64 = 1.0 / 16.0;

/// What there is beside the embeddings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside<'a> {
    pub matrix: Matrix<'a>,
    pub join: Join,
}

/// How the two parts of a row make a distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    Gradients,
    Product,
}

/// The widths of the two parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub own: usize,
    pub beside: usize,
}

impl Parts {
    pub(super) const fn new(dims: usize, beside: usize) -> Self {
        Self {
            own: dims.next_multiple_of(16),
            beside: beside.next_multiple_of(16),
        }
    }

    /// Numbers of a prepared row.
    pub(super) const fn width(self) -> usize {
        self.own + self.beside + TAIL
    }

    /// Completes a row whose parts are there: `count` predictions become a gradient.
    pub(super) fn complete(self, join: Join, count: usize, row: &mut [f64]) {
        let (x, rest) = row.split_at_mut(self.own);
        let (a, tail) = rest.split_at_mut(self.beside);
        if join == Join::Gradients {
            let mut named = 0;
            for (class, p) in a[..count].iter().enumerate() {
                if *p > a[named] {
                    named = class;
                }
            }
            a[named] -= 1.0;
        }
        tail.fill(0.0);
        tail[0] = x.iter().map(|x| x * x).sum();
        tail[1] = a.iter().map(|a| a * a).sum();
    }

    /// `|a x|^2` of a completed row.
    pub(crate) fn squared_length(self, row: &[f64]) -> f64 {
        let tail = &row[self.own + self.beside..];
        tail[0] * tail[1]
    }
}

/// Measures rows against centres, as [`Sweep`](super::Sweep) does.
pub(super) struct JointSweep<'a> {
    pub parts: Parts,
    pub join: Join,
    pub rows: &'a [f64],
    pub centres: &'a [f64],
    pub first: u32,
    pub best: &'a mut [Best],
}

impl Op for JointSweep<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let (parts, width) = (self.parts, self.parts.width());
        assert_eq!(self.rows.len(), self.best.len() * width);
        let count = self.centres.len() / width;
        for (rows, best) in self.rows.chunks(2 * width).zip(self.best.chunks_mut(2)) {
            // An odd row stands in for its missing neighbour.
            let pair = [rows, &rows[(best.len() - 1) * width..]];
            for first in (0..count).step_by(4) {
                let len = (count - first).min(4);
                let centre = |i: usize| &self.centres[(first + i.min(len - 1)) * width..][..width];
                let centres = [centre(0), centre(1), centre(2), centre(3)];
                // SAFETY: dispatch vouches for the CPU.
                let squared = unsafe { measure::<I::F64>(parts, self.join, pair, centres) };
                for (best, squared) in best.iter_mut().zip(squared.as_chunks::<4>().0) {
                    for (i, squared) in squared[..len].iter().enumerate() {
                        best.take(*squared, self.first + (first + i) as u32);
                    }
                }
            }
        }
    }
}

/// Squared distances of two rows to four centres: of the first row, then the second.
///
/// # Safety
/// The CPU must have the level.
#[inline(always)]
unsafe fn measure<V: Lanes<Elem = f64>>(
    parts: Parts,
    join: Join,
    rows: [&[f64]; 2],
    centres: [&[f64]; 4],
) -> [f64; 8] {
    let at = |offset: usize| {
        (
            rows.map(|row| row[offset..].as_ptr()),
            centres.map(|centre| centre[offset..].as_ptr()),
        )
    };
    let ((x, y), (a, b)) = (at(0), at(parts.own));
    let (mut own, mut beside) = ([0.0; 8], [0.0; 8]);
    let lengths = (parts.own / 8, parts.beside / 8);
    // SAFETY: the caller vouches for the CPU; the parts are so long.
    unsafe {
        if join == Join::Product {
            tile::<V, true>(x, y, lengths.0).store(own.as_mut_ptr());
            tile::<V, true>(a, b, lengths.1).store(beside.as_mut_ptr());
        } else {
            tile::<V, false>(x, y, lengths.0).store(own.as_mut_ptr());
            tile::<V, false>(a, b, lengths.1).store(beside.as_mut_ptr());
        }
    }
    let mut squared = [0.0; 8];
    for (i, squared) in squared.iter_mut().enumerate() {
        let (row, centre) = (rows[i / 4], centres[i % 4]);
        // Not the product, which would be NaN for an infinite distance.
        *squared = match (own[i], beside[i]) {
            (0.0, _) | (_, 0.0) => 0.0,
            (own, beside) => own * beside,
        };
        if join == Join::Gradients {
            let lengths = parts.squared_length(row) + parts.squared_length(centre);
            *squared = lengths - 2.0 * *squared;
            if *squared < CANCELS * lengths {
                *squared = from_differences(parts, row, centre);
            }
        }
    }
    squared
}

/// The squared distance of two gradients that are near each other.
fn from_differences(parts: Parts, row: &[f64], centre: &[f64]) -> f64 {
    // The square of the difference, and its product with a part of one of the two.
    let compare = |from: usize, to: usize, with: &[f64]| {
        let mut sums = (0.0, 0.0);
        for ((p, q), with) in row[from..to]
            .iter()
            .zip(&centre[from..to])
            .zip(&with[from..to])
        {
            sums.0 += (p - q) * (p - q);
            sums.1 += (p - q) * with;
        }
        sums
    };
    let tail = parts.own + parts.beside;
    let (own, own_with) = compare(0, parts.own, centre);
    let (beside, beside_with) = compare(parts.own, tail, row);
    let sum = row[tail + 1] * own + beside * centre[tail] + 2.0 * beside_with * own_with;
    sum.max(0.0)
}
