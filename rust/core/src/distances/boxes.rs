//! Few dimensions: rows in boxes, a row a lane, and centres too far from a box left
//! out.
//!
//! The distance of a centre to a box is summed in the order of the exact distance
//! function. Every step of that sum is monotone, rounding included, so it is never
//! above the exact distance of a row inside: no margin is needed.

use super::space::NARROW;
use crate::simd::{Isa, Lanes, Op};

/// Rows or centres that go through the lanes side by side.
pub(crate) const EIGHT: usize = 8;

/// Prepared rows that others are measured against, eight by eight, a plane a
/// dimension.
#[derive(Debug)]
pub(crate) struct PlaneCentres {
    dims: usize,
    planes: Vec<[f64; EIGHT]>,
    len: usize,
}

impl PlaneCentres {
    pub(crate) const fn new(dims: usize) -> Self {
        Self {
            dims,
            planes: Vec::new(),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a prepared row.
    pub(crate) fn push(&mut self, row: &[f64]) {
        let lane = self.len % EIGHT;
        if lane == 0 {
            let planes = self.planes.len() + self.dims;
            self.planes.resize(planes, [f64::NAN; EIGHT]);
        }
        let first = self.planes.len() - self.dims;
        for (plane, x) in self.planes[first..].iter_mut().zip(row) {
            plane[lane] = *x;
        }
        self.len += 1;
    }
}

/// Shows the rows of a box the centres from `first` on; how many distances to rows
/// that took.
pub(crate) struct ShowBox<'a> {
    pub centres: &'a PlaneCentres,
    pub first: usize,
    /// The lowest and the highest corner of the box.
    pub corners: [&'a [f64]; 2],
    /// The rows, eight by eight, a plane a dimension.
    pub planes: &'a [[f64; EIGHT]],
    /// Squared distances of the rows to their nearest centre.
    pub squared: &'a mut [[f64; EIGHT]],
}

impl Op for ShowBox<'_> {
    type Out = usize;

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> usize {
        let dims = self.centres.dims;
        assert!(dims <= NARROW && self.planes.len() == dims * self.squared.len());
        assert!(self.corners[0].len() == dims && self.corners[1].len() == dims);
        // SAFETY: dispatch vouches for the CPU; the lengths were checked.
        unsafe { self.show::<I::F64>() }
    }
}

impl ShowBox<'_> {
    /// # Safety
    /// The CPU must have the level.
    #[inline(always)]
    unsafe fn show<V: Lanes<Elem = f64>>(self) -> usize {
        let (dims, last) = (self.centres.dims, self.centres.len);
        let mut measured = 0;
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let zero = V::new(0.0);
            let mut reach = largest::<V>(self.squared);
            let from = self.first / EIGHT;
            for (eight, planes) in self
                .centres
                .planes
                .chunks_exact(dims)
                .enumerate()
                .skip(from)
            {
                let mut sum = zero;
                for (d, plane) in planes.iter().enumerate() {
                    let c = V::load(plane.as_ptr());
                    let low = V::new(self.corners[0][d]).sub(c);
                    let high = c.sub(V::new(self.corners[1][d]));
                    let gap = low.max(high).max(zero);
                    sum = gap.fma(gap, sum);
                }
                let mut bits = V::bits(sum.lt(zero.splat(reach)));
                // Lanes of centres seen before, and of those not yet there.
                if eight == from {
                    bits &= u32::MAX << (self.first % EIGHT);
                }
                if last - eight * EIGHT < EIGHT {
                    bits &= (1 << (last - eight * EIGHT)) - 1;
                }
                let mut gaps = [0.0; EIGHT];
                sum.store(gaps.as_mut_ptr());
                while bits != 0 {
                    let lane = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    if gaps[lane] >= reach {
                        continue;
                    }
                    let mut centre = [zero; NARROW];
                    for d in 0..dims {
                        centre[d] = V::new(planes[d][lane]);
                    }
                    let mut most = zero;
                    for (rows, squared) in
                        self.planes.chunks_exact(dims).zip(self.squared.iter_mut())
                    {
                        let mut sum = zero;
                        for d in 0..dims {
                            let gap = V::load(rows[d].as_ptr()).sub(centre[d]);
                            sum = gap.fma(gap, sum);
                        }
                        let least = sum.min(V::load(squared.as_ptr()));
                        least.store(squared.as_mut_ptr());
                        most = least.max(most);
                    }
                    measured += self.squared.len() * EIGHT;
                    reach = lanes_max(most);
                }
            }
        }
        measured
    }
}

#[inline(always)]
fn lanes_max<V: Lanes<Elem = f64>>(x: V) -> f64 {
    let x = x.max(x.swap::<4>());
    let x = x.max(x.swap::<2>());
    let x = x.max(x.swap::<1>());
    let mut lanes = [0.0; EIGHT];
    // SAFETY: room for eight lanes.
    unsafe { x.store(lanes.as_mut_ptr()) };
    lanes[0]
}

/// # Safety
/// The CPU must have the level.
#[inline(always)]
unsafe fn largest<V: Lanes<Elem = f64>>(eights: &[[f64; EIGHT]]) -> f64 {
    // SAFETY: the caller vouches for the CPU.
    unsafe {
        let mut most = V::new(0.0);
        for eight in eights {
            most = V::load(eight.as_ptr()).max(most);
        }
        lanes_max(most)
    }
}

/// The highest key of the rows of a box, and the first row that has it.
///
/// The key of a row is its squared distance times `factor`, but no more than `cap`.
pub(crate) struct FirstOfBox<'a> {
    pub squared: &'a [[f64; EIGHT]],
    pub factor: &'a [[f64; EIGHT]],
    pub cap: &'a [[f64; EIGHT]],
}

impl Op for FirstOfBox<'_> {
    type Out = (f64, usize);

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> (f64, usize) {
        // SAFETY: dispatch vouches for the CPU.
        unsafe {
            let mut most = I::F64::new(-1.0);
            for at in 0..self.squared.len() {
                most = self.key::<I::F64>(at).max(most);
            }
            let most = lanes_max(most);
            let below = I::F64::new(most);
            for at in 0..self.squared.len() {
                let bits = !I::F64::bits(self.key::<I::F64>(at).lt(below)) & 0xff;
                if bits != 0 {
                    return (most, at * EIGHT + bits.trailing_zeros() as usize);
                }
            }
            (most, 0)
        }
    }
}

impl FirstOfBox<'_> {
    /// The keys of eight rows.
    ///
    /// # Safety
    /// The CPU must have the level.
    #[inline(always)]
    unsafe fn key<V: Lanes<Elem = f64>>(&self, at: usize) -> V {
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            let squared = V::load(self.squared[at].as_ptr());
            let factor = V::load(self.factor[at].as_ptr());
            squared.mul(factor).min(V::load(self.cap[at].as_ptr()))
        }
    }
}
