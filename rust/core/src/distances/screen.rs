//! Approximate squared distances in `f32` lanes, with bounds: they tell which rows
//! need not be measured exactly.
//!
//! Rows are shifted by a point near their mean, `u = x - shift`, and
//! `s = |u|^2 + |v|^2 - 2 u.v` takes one fused step a dimension, half of what
//! differences take, in tiles that stay in registers: lanes across rows, whose
//! elements lie in planes, against elements of centres that are broadcast.
//!
//! # The bound
//! Let `e = 2^-24`, `D` the exact distance, and `g = (n + 2) e` for the longest chain
//! of `n` roundings in a sum. `|u| |v| <= |u| (|u| + D) <= 3/2 |u|^2 + D^2 / 2` and
//! `|v|^2 <= 2 |u|^2 + 2 D^2`. The dot product is off by `g |u| |v|`, the norms by
//! `g |u|^2` and `e |v|^2`, the two additions by `e` of what they yield, and rounding
//! `u` and `v` to `f32` moves `D^2` by `2 e (|u| + |v|) D` and a little. Together
//! `|s - D^2| <= (4 g + 9 e) |u|^2 + (g + 13 e) D^2`: relative to the row's own
//! norm, whatever the centre.

use std::ops::Range;

use super::meet::{Meet, Visit};
use crate::simd::{Isa, Lanes, Op, Simd, dispatch};

/// Roundings in a row before a sum joins the rest.
const RUN: usize = 128;
/// Centres that a tile measures at once, at most.
const TILE: usize = 8;
/// Magnitudes (and their inverses) whose squares are safe in `f32`.
pub(crate) const SAFE: f64 = (1_u64 << 40) as f64;
/// Rows that go through the lanes side by side.
pub(crate) const GROUP: usize = 16;
/// Groups of rows in a tile, at most.
pub(crate) const GROUPS: usize = 3;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line([f32; GROUP]);

/// Rows that others are screened against.
#[derive(Debug)]
pub(crate) struct Screen {
    /// What all rows are shifted by.
    pub shift: Vec<f32>,
    /// Shifted rows, one after the other, and `TILE` rows of zeros.
    pub(super) data: Vec<f32>,
    /// Their squared norms.
    pub(super) norms: Vec<f32>,
    relative: f64,
    absolute: f64,
    floor: f64,
}

/// What screening found out about a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Screened {
    /// The least `s`.
    pub least: f32,
    /// The least but one.
    pub second: f32,
    /// The centre of the least.
    pub near: u32,
}

impl Screened {
    pub(crate) const NONE: Self = Self {
        least: f32::INFINITY,
        second: f32::INFINITY,
        near: u32::MAX,
    };

    /// What is known after two screenings against different centres.
    pub(crate) fn and(self, other: Self) -> Self {
        let (a, b) = if other.least < self.least {
            (other, self)
        } else {
            (self, other)
        };
        Self {
            second: a.second.min(b.least),
            ..a
        }
    }
}

impl Screen {
    pub(crate) fn new(shift: Vec<f32>) -> Self {
        let dims = shift.len();
        let chain = (dims.min(RUN) + dims.div_ceil(RUN) + 2) as f64;
        let e = f64::from(f32::EPSILON) / 2.0;
        Self {
            shift,
            data: vec![0.0; TILE * dims],
            norms: Vec::new(),
            relative: 1.01 * e * (chain + 13.0),
            absolute: 1.01 * e * (4.0 * chain + 9.0),
            // What denormals may lose, even where they are flushed to zero.
            floor: dims as f64 * 2.0_f64.powi(-120),
        }
    }

    /// A screen of the same space, without rows.
    pub(crate) fn like(&self) -> Self {
        Self::new(self.shift.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.norms.len()
    }

    fn width(&self) -> usize {
        self.shift.len()
    }

    /// Adds a prepared row.
    pub(crate) fn push(&mut self, row: &[f64]) {
        let (width, len) = (self.width(), self.len());
        self.data.resize((len + 1 + TILE) * width, 0.0);
        let to = &mut self.data[len * width..(len + 1) * width];
        let mut norm = 0.0;
        for ((to, x), shift) in to.iter_mut().zip(row).zip(&self.shift) {
            *to = (x - f64::from(*shift)) as f32;
            norm += f64::from(*to) * f64::from(*to);
        }
        self.norms.push(norm as f32);
    }

    /// Screens so many rows against those of the centres up to `last` that they have
    /// not seen, as `pack.first` tells; `load` has some of them, shifted.
    pub(crate) fn sift(
        &self,
        simd: Simd,
        pack: &mut Pack,
        rows: usize,
        last: usize,
        load: impl FnMut(Range<usize>, &mut [f32]),
    ) {
        self.fill(simd, pack, rows, load);
        let sift = Sift {
            screen: self,
            pack,
            last,
        };
        dispatch(simd, sift);
    }

    /// Puts so many rows into a pack; `load` has some of them, shifted.
    pub(crate) fn fill(
        &self,
        simd: Simd,
        pack: &mut Pack,
        rows: usize,
        mut load: impl FnMut(Range<usize>, &mut [f32]),
    ) {
        debug_assert_eq!(pack.width, self.width());
        pack.groups = rows.div_ceil(GROUP);
        for (group, first) in (0..rows).step_by(GROUP).enumerate() {
            let range = first..rows.min(first + GROUP);
            load(range.clone(), &mut pack.rows[..range.len() * pack.width]);
            dispatch(simd, Fill { pack, group });
        }
    }

    /// Puts so many of the centres themselves into a pack, from `first` on.
    pub(crate) fn fill_own(&self, simd: Simd, pack: &mut Pack, first: usize, rows: usize) {
        let width = self.width();
        self.fill(simd, pack, rows, |range, out| {
            let own = (first + range.start) * width..(first + range.end) * width;
            out.copy_from_slice(&self.data[own]);
        });
        pack.norms[..rows].copy_from_slice(&self.norms[first..first + rows]);
    }

    /// The squared norm of a centre.
    pub(crate) fn norm(&self, centre: usize) -> f32 {
        self.norms[centre]
    }

    /// Shows the rows of a pack some centres, centres ascending.
    pub(crate) fn meet(
        &self,
        simd: Simd,
        pack: &Pack,
        centres: Range<usize>,
        bars: &mut [f32; GROUP * GROUPS],
        visit: impl Visit,
    ) {
        assert!(centres.end <= self.len());
        let screen = self;
        dispatch(
            simd,
            Meet {
                screen,
                pack,
                centres,
                bars,
                visit,
            },
        );
    }

    /// A bar that all `s` of rows within a squared distance are below.
    pub(crate) fn bar(&self, squared: f64, norm: f32) -> f32 {
        let slack = self.absolute * f64::from(norm) + self.floor;
        let bar = squared / (1.0 - self.relative) + slack;
        (bar as f32).next_up().next_up()
    }

    /// An upper bound of the squared distance of a row with this squared norm.
    #[inline(always)]
    pub(crate) fn above(&self, s: f32, norm: f32) -> f64 {
        let slack = self.absolute * f64::from(norm) + self.floor;
        (f64::from(s) + slack) * (1.0 + 2.0 * self.relative)
    }

    /// A lower bound of the squared distance of a row with this squared norm.
    #[inline(always)]
    pub(crate) fn below(&self, s: f32, norm: f32) -> f64 {
        let slack = self.absolute * f64::from(norm) + self.floor;
        (f64::from(s) - slack) * (1.0 - self.relative)
    }
}

/// Rows on their way through a screen, in planes: scratch of a worker.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(super) planes: Vec<Line>,
    /// Up to `GROUP` shifted rows that are to be put into a group.
    rows: Vec<f32>,
    pub(super) width: usize,
    /// Groups that are filled.
    pub(super) groups: usize,
    pub norms: [f32; GROUP * GROUPS],
    pub first: [u32; GROUP * GROUPS],
    pub found: [Screened; GROUP * GROUPS],
}

impl Pack {
    pub(crate) fn new(width: usize) -> Self {
        Self {
            planes: vec![Line([0.0; GROUP]); GROUPS * width],
            rows: vec![0.0; GROUP * width],
            width,
            groups: 0,
            norms: [0.0; GROUP * GROUPS],
            first: [0; GROUP * GROUPS],
            found: [Screened::NONE; GROUP * GROUPS],
        }
    }
}

/// Puts the rows of a pack into one of its groups.
struct Fill<'a> {
    pack: &'a mut Pack,
    group: usize,
}

impl Op for Fill<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let width = self.pack.width;
        let rows = &self.pack.rows;
        let planes = &mut self.pack.planes[self.group * width..(self.group + 1) * width];
        let stride = (width * size_of::<f32>()).cast_signed();
        // SAFETY: dispatch vouches for the CPU; `GROUP` rows of `width` numbers, and
        // as many planes.
        unsafe {
            for (four, planes) in planes.chunks_mut(4).enumerate() {
                let rows = rows.as_ptr().wrapping_add(4 * four);
                let columns = I::F32::four_columns(rows, stride, planes.len());
                for (plane, column) in planes.iter_mut().zip(columns) {
                    column.store(plane.0.as_mut_ptr());
                }
            }
            let mut norm = I::F32::new(0.0);
            for run in planes.chunks(RUN) {
                let mut sum = norm.splat(0.0);
                for plane in run {
                    let x = I::F32::load(plane.0.as_ptr());
                    sum = x.fma(x, sum);
                }
                norm = norm.add(sum);
            }
            norm.store(self.pack.norms[self.group * GROUP..].as_mut_ptr());
        }
    }
}

/// Screens the rows of a pack against the centres that they have not seen.
struct Sift<'a> {
    screen: &'a Screen,
    pack: &'a mut Pack,
    /// How many of the centres there are to see.
    last: usize,
}

impl Op for Sift<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: dispatch vouches for the CPU.
        unsafe {
            if I::ROOM >= 32 {
                if self.pack.groups == 3 {
                    sift::<I::F32, 3, 8>(self.screen, self.pack, 0, self.last);
                } else {
                    for group in 0..self.pack.groups {
                        sift::<I::F32, 1, 8>(self.screen, self.pack, group, self.last);
                    }
                }
            } else {
                for group in 0..self.pack.groups {
                    sift::<I::F32, 1, 6>(self.screen, self.pack, group, self.last);
                }
            }
        }
    }
}

/// `P` groups of rows from `group` on, `C` centres at a time.
///
/// # Safety
/// The CPU must have the level.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "centres by groups of rows")]
unsafe fn sift<V: Lanes<Elem = f32>, const P: usize, const C: usize>(
    screen: &Screen,
    pack: &mut Pack,
    group: usize,
    last: usize,
) {
    assert!(last <= screen.len());
    let width = pack.width;
    let rows = group * GROUP..(group + P) * GROUP;
    let first = pack.first[rows.clone()].iter().min();
    let first = first.map_or(last, |first| *first as usize);
    let mut seen = [0.0_f32; GROUP * GROUPS];
    for (seen, first) in seen.iter_mut().zip(&pack.first[rows.clone()]) {
        *seen = *first as f32;
    }
    let planes = &pack.planes[group * width..(group + P) * width];
    // SAFETY: the caller vouches for the CPU; the arrays hold P groups and more, and
    // the screen has `TILE >= C` rows of zeros behind the last.
    unsafe {
        let zero = V::new(0.0);
        let infinity = zero.splat(f32::INFINITY);
        let (mut least, mut second, mut near) = ([infinity; P], [infinity; P], [zero; P]);
        for at in (first..last).step_by(C) {
            let centres = screen.data.as_ptr().add(at * width);
            let dots = tile::<V, P, C>(planes.as_ptr().cast(), centres, width);
            for c in 0..C {
                // A centre that is not to be seen is infinitely far.
                let norm = if at + c < last {
                    V::new(*screen.norms.get_unchecked(at + c))
                } else {
                    infinity
                };
                let index = V::new((at + c) as f32);
                for p in 0..P {
                    let own = V::load(pack.norms.as_ptr().add((group + p) * GROUP));
                    let s = dots[p][c].fma(V::new(-2.0), own.add(norm)).max(zero);
                    let seen = V::load(seen.as_ptr().add(p * GROUP));
                    let s = V::select(index.lt(seen), infinity, s);
                    second[p] = second[p].min(s.max(least[p]));
                    near[p] = V::select(s.lt(least[p]), index, near[p]);
                    least[p] = s.min(least[p]);
                }
            }
        }
        for p in 0..P {
            let (mut a, mut b, mut n) = ([0.0; GROUP], [0.0; GROUP], [0.0; GROUP]);
            least[p].store(a.as_mut_ptr());
            second[p].store(b.as_mut_ptr());
            near[p].store(n.as_mut_ptr());
            let found = &mut pack.found[(group + p) * GROUP..(group + p + 1) * GROUP];
            for (i, found) in found.iter_mut().enumerate() {
                *found = Screened {
                    least: a[i],
                    second: b[i],
                    near: n[i] as u32,
                };
            }
        }
    }
}

/// Dot products of `P` groups of rows, each `width` planes, with `C` centres.
///
/// # Safety
/// The CPU must have the level, and the pointers be readable for that.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "centres by groups of rows")]
pub(super) unsafe fn tile<V: Lanes<Elem = f32>, const P: usize, const C: usize>(
    planes: *const f32,
    centres: *const f32,
    width: usize,
) -> [[V; C]; P] {
    // SAFETY: the caller's promise.
    unsafe {
        let zero = V::new(0.0);
        let mut total = [[zero; C]; P];
        for run in (0..width).step_by(RUN) {
            let mut sum = [[zero; C]; P];
            for at in run..width.min(run + RUN) {
                let mut x = [zero; P];
                for p in 0..P {
                    x[p] = V::load(planes.add((p * width + at) * GROUP));
                }
                for c in 0..C {
                    let y = V::new(*centres.add(c * width + at));
                    for p in 0..P {
                        sum[p][c] = x[p].fma(y, sum[p][c]);
                    }
                }
            }
            for p in 0..P {
                for c in 0..C {
                    total[p][c] = total[p][c].add(sum[p][c]);
                }
            }
        }
        total
    }
}
