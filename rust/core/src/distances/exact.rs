//! The one distance function: squared differences, summed in `f64`.
//!
//! * Up to [`NARROW`] dimensions are summed in order, a row a lane.
//! * More have their lanes along the dimensions: lane `j % 8` takes dimension `j`,
//!   runs of 16 vectors are summed before they join the rest, and a butterfly joins
//!   the lanes.

use super::space::NARROW;
use crate::simd::{Isa, Lanes, Op};

/// Vectors that are accumulated before they are joined with the rest.
const RUN: usize = 16;

/// The nearest of the centres that a row was measured against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Best {
    /// Squared distance.
    pub squared: f64,
    /// Which centre.
    pub near: u32,
}

/// Measures rows against centres. The lower centre wins a tie.
pub(crate) struct Sweep<'a> {
    pub width: usize,
    /// Prepared rows.
    pub rows: &'a [f64],
    /// Prepared centres, the first of them numbered `first`.
    pub centres: &'a [f64],
    pub first: u32,
    /// What is known so far of each row.
    pub best: &'a mut [Best],
}

impl Op for Sweep<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(mut self) {
        assert_eq!(self.rows.len(), self.best.len() * self.width);
        if self.centres.is_empty() {
            return;
        }
        // SAFETY: dispatch vouches for the CPU.
        unsafe {
            if self.width > NARROW {
                self.along::<I::F64>();
            } else {
                self.across::<I::F64>();
            }
        }
    }
}

impl Sweep<'_> {
    /// Two rows and four centres at a time.
    ///
    /// # Safety
    /// The CPU must have the level.
    #[inline(always)]
    unsafe fn along<V: Lanes<Elem = f64>>(&mut self) {
        let width = self.width;
        let count = self.centres.len() / width;
        for (rows, best) in self.rows.chunks(2 * width).zip(self.best.chunks_mut(2)) {
            // An odd row stands in for its missing neighbour.
            let pair = [rows.as_ptr(), rows[(best.len() - 1) * width..].as_ptr()];
            for first in (0..count).step_by(4) {
                let len = (count - first).min(4);
                let mut centres = [std::ptr::null(); 4];
                for (i, centre) in centres.iter_mut().enumerate() {
                    *centre = self.centres[(first + i.min(len - 1)) * width..].as_ptr();
                }
                let mut squared = [0.0; 8];
                // SAFETY: the caller vouches for the CPU; all are `width` long.
                unsafe { tile::<V, true>(pair, centres, width / 8).store(squared.as_mut_ptr()) };
                for (best, squared) in best.iter_mut().zip(squared.as_chunks::<4>().0) {
                    for (i, squared) in squared[..len].iter().enumerate() {
                        best.take(*squared, self.first + (first + i) as u32);
                    }
                }
            }
        }
    }

    /// Eight rows at a time, a row a lane.
    ///
    /// # Safety
    /// The CPU must have the level.
    #[inline(always)]
    unsafe fn across<V: Lanes<Elem = f64>>(&mut self) {
        let width = self.width;
        let mut planes = [[0.0; 8]; NARROW];
        for (rows, best) in self.rows.chunks(8 * width).zip(self.best.chunks_mut(8)) {
            transpose(rows, width, &mut planes);
            for (at, centre) in self.centres.chunks_exact(width).enumerate() {
                let mut squared = [0.0; 8];
                // SAFETY: the caller vouches for the CPU.
                unsafe { squares::<V>(&planes, centre).store(squared.as_mut_ptr()) };
                for (best, squared) in best.iter_mut().zip(squared) {
                    best.take(squared, self.first + at as u32);
                }
            }
        }
    }
}

/// Measures rows against one point: as [`Sweep`] does with one centre, but with a place
/// for each distance, and no lane spent on centres that are not there.
pub(super) struct ToPoint<'a> {
    pub width: usize,
    /// Prepared rows.
    pub rows: &'a [f64],
    /// A prepared point.
    pub point: &'a [f64],
    /// Squared distances.
    pub squared: &'a mut [f64],
}

impl Op for ToPoint<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let width = self.width;
        assert_eq!(self.rows.len(), self.squared.len() * width);
        assert_eq!(self.point.len(), width);
        let mut planes = [[0.0; 8]; NARROW];
        let mut out = [0.0; 8];
        for (rows, squared) in self.rows.chunks(8 * width).zip(self.squared.chunks_mut(8)) {
            // SAFETY: dispatch vouches for the CPU; rows and point are `width` long.
            unsafe {
                if width > NARROW {
                    // The last row stands in for those that are missing.
                    let row = |i: usize| rows[i.min(squared.len() - 1) * width..].as_ptr();
                    let sums =
                        octet::<I::F64>(std::array::from_fn(row), self.point.as_ptr(), width / 8);
                    sums.store(out.as_mut_ptr());
                } else {
                    transpose(rows, width, &mut planes);
                    squares::<I::F64>(&planes, self.point).store(out.as_mut_ptr());
                }
            }
            squared.copy_from_slice(&out[..squared.len()]);
        }
    }
}

/// Up to eight narrow rows, a row a lane.
fn transpose(rows: &[f64], width: usize, planes: &mut [[f64; 8]; NARROW]) {
    for (i, row) in rows.chunks_exact(width).enumerate() {
        for (plane, x) in planes.iter_mut().zip(row) {
            plane[i] = *x;
        }
    }
}

/// Squared distances of eight narrow rows to a point.
///
/// # Safety
/// The CPU must have the level.
#[inline(always)]
unsafe fn squares<V: Lanes<Elem = f64>>(planes: &[[f64; 8]; NARROW], point: &[f64]) -> V {
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        let mut sum = V::new(0.0);
        for (plane, c) in planes.iter().zip(point) {
            let d = V::load(plane.as_ptr()).sub(V::new(*c));
            sum = d.fma(d, sum);
        }
        sum
    }
}

impl Best {
    /// Nothing measured yet.
    pub(crate) const NONE: Self = Self {
        squared: f64::INFINITY,
        near: u32::MAX,
    };

    #[inline(always)]
    pub(crate) fn take(&mut self, squared: f64, near: u32) {
        if squared < self.squared {
            *self = Self { squared, near };
        }
    }
}

/// Eight sums over so many vectors, to which `$add` adds one: those of a run by
/// themselves, and in the end the lanes of each. A macro, as closures are not always
/// inlined, and then do not have the instructions of the level.
macro_rules! summed {
    ($vectors:expr, |$vector:ident, $sum:ident| $add:block) => {{
        let zero = V::new(0.0);
        let mut total = [zero; 8];
        for run in (0..$vectors).step_by(RUN) {
            let mut $sum = [zero; 8];
            for $vector in run..$vectors.min(run + RUN) $add
            for i in 0..8 {
                total[i] = total[i].add($sum[i]);
            }
        }
        butterfly(total)
    }};
}

/// Squared distances of two rows to four centres, or their products if not `APART`: of
/// the first row, then the second.
///
/// # Safety
/// The CPU must have the level; all pointers must be readable for `vectors` vectors.
#[inline(always)]
pub(super) unsafe fn tile<V: Lanes<Elem = f64>, const APART: bool>(
    rows: [*const f64; 2],
    centres: [*const f64; 4],
    vectors: usize,
) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        summed!(vectors, |vector, sum| {
            let x = V::load(rows[0].add(8 * vector));
            let y = V::load(rows[1].add(8 * vector));
            for i in 0..4 {
                let c = V::load(centres[i].add(8 * vector));
                if APART {
                    let (d, e) = (x.sub(c), y.sub(c));
                    sum[i] = d.fma(d, sum[i]);
                    sum[i + 4] = e.fma(e, sum[i + 4]);
                } else {
                    sum[i] = x.fma(c, sum[i]);
                    sum[i + 4] = y.fma(c, sum[i + 4]);
                }
            }
        })
    }
}

/// Squared distances of eight rows to a point, each summed as [`tile`] does.
///
/// # Safety
/// The CPU must have the level; all pointers must be readable for `vectors` vectors.
#[inline(always)]
unsafe fn octet<V: Lanes<Elem = f64>>(
    rows: [*const f64; 8],
    point: *const f64,
    vectors: usize,
) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        summed!(vectors, |vector, sum| {
            let c = V::load(point.add(8 * vector));
            for i in 0..8 {
                let d = V::load(rows[i].add(8 * vector)).sub(c);
                sum[i] = d.fma(d, sum[i]);
            }
        })
    }
}

/// The sum of the lanes of each of eight vectors.
#[inline(always)]
fn butterfly<V: Lanes<Elem = f64>>(mut total: [V; 8]) -> V {
    for i in 0..4 {
        let (a, b) = total[i].deal::<4>(total[i + 4]);
        total[i] = a.add(b);
    }
    for i in 0..2 {
        let (a, b) = total[i].deal::<2>(total[i + 2]);
        total[i] = a.add(b);
    }
    let (a, b) = total[0].deal::<1>(total[1]);
    a.add(b)
}
