//! Rows meet centres, and each is told of those that are near it (see `screen`).

use std::ops::Range;

use super::screen::{GROUP, GROUPS, Pack, Screen, tile};
use crate::simd::{Isa, Lanes, Op};

/// Who is told of rows and centres that are near each other.
pub(crate) trait Visit {
    /// Whether centres have bars, too.
    const MUTUAL: bool = false;

    /// A row and a centre whose `s` is below the row's bar; gives the row's next bar.
    fn row(&mut self, row: usize, centre: u32, s: f32) -> f32;

    /// The bar of a centre.
    #[inline(always)]
    fn bar(&self, _centre: u32) -> f32 {
        f32::NEG_INFINITY
    }

    /// A row and a centre whose `s` is below the centre's bar. The pack may have fewer rows.
    #[inline(always)]
    fn centre(&mut self, _row: usize, _centre: u32, _s: f32) {}
}

impl<F: FnMut(usize, u32, f32) -> f32> Visit for F {
    fn row(&mut self, row: usize, centre: u32, s: f32) -> f32 {
        self(row, centre, s)
    }
}

/// See [`Screen::meet`].
pub(super) struct Meet<'a, F> {
    pub screen: &'a Screen,
    pub pack: &'a Pack,
    pub centres: Range<usize>,
    pub bars: &'a mut [f32; GROUP * GROUPS],
    pub visit: F,
}

impl<F: Visit> Op for Meet<'_, F> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(mut self) {
        // SAFETY: dispatch vouches for the CPU.
        unsafe {
            if I::ROOM >= 32 && self.pack.groups == 3 {
                self.meet::<I::F32, 3, 8>(0);
            } else {
                for group in 0..self.pack.groups {
                    if I::ROOM >= 32 {
                        self.meet::<I::F32, 1, 8>(group);
                    } else {
                        self.meet::<I::F32, 1, 6>(group);
                    }
                }
            }
        }
    }
}

impl<F: Visit> Meet<'_, F> {
    /// `P` groups of rows from `group` on, `C` centres at a time.
    ///
    /// # Safety
    /// The CPU must have the level.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "centres by groups of rows")]
    unsafe fn meet<V: Lanes<Elem = f32>, const P: usize, const C: usize>(&mut self, group: usize) {
        let (screen, pack, width) = (self.screen, self.pack, self.pack.width);
        let planes = &pack.planes[group * width..(group + P) * width];
        // SAFETY: the caller vouches for the CPU; the arrays hold P groups and more, and
        // the screen has `TILE >= C` rows of zeros behind the last.
        unsafe {
            let zero = V::new(0.0);
            let mut bars = [zero; P];
            for p in 0..P {
                bars[p] = V::load(self.bars.as_ptr().add((group + p) * GROUP));
            }
            for at in self.centres.clone().step_by(C) {
                let centres = screen.data.as_ptr().add(at * width);
                let dots = tile::<V, P, C>(planes.as_ptr().cast(), centres, width);
                for c in 0..C.min(self.centres.end - at) {
                    let norm = V::new(*screen.norms.get_unchecked(at + c));
                    let centre = (at + c) as u32;
                    let bar = V::new(self.visit.bar(centre));
                    for p in 0..P {
                        let own = V::load(pack.norms.as_ptr().add((group + p) * GROUP));
                        let s = dots[p][c].fma(V::new(-2.0), own.add(norm)).max(zero);
                        let mut below = V::bits(s.lt(bars[p]));
                        let mut near = if F::MUTUAL { V::bits(s.lt(bar)) } else { 0 };
                        if below | near == 0 {
                            continue;
                        }
                        let mut lanes = [0.0; GROUP];
                        s.store(lanes.as_mut_ptr());
                        while near != 0 {
                            let lane = near.trailing_zeros() as usize;
                            near &= near - 1;
                            self.visit
                                .centre((group + p) * GROUP + lane, centre, lanes[lane]);
                        }
                        while below != 0 {
                            let lane = below.trailing_zeros() as usize;
                            below &= below - 1;
                            let row = (group + p) * GROUP + lane;
                            self.bars[row] = self.visit.row(row, centre, lanes[lane]);
                        }
                        bars[p] = V::load(self.bars.as_ptr().add((group + p) * GROUP));
                    }
                }
            }
        }
    }
}
