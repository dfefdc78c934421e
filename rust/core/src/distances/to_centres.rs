//! Rows and the nearest of many centres: screened where that pays, and no bit other than
//! where all are measured.

use super::{Best, Centres, GROUP, GROUPS, Pack, SAFE, Screen, Space};
use crate::simd::Simd;

/// Rows that a worker takes at a time.
pub(super) const STEP: usize = GROUP * GROUPS;
/// Fewer centres are measured, not screened.
const MANY: usize = 32;
/// Centres that rows are screened against until it is known whether that pays.
const BLOCK: usize = 256;
/// Centres that rows are measured against at a time, while they are in the cache.
const CACHED: usize = 1024;
/// Exact distances one by one that cost as much as this share of all in a row.
const SHARE: usize = 8;

/// Centres to screen rows against, if that can tell anything: `mean` is that of the rows,
/// `largest` the largest magnitude in them.
pub(super) fn screen_of(
    space: &Space<'_>,
    centres: &Centres,
    mean: &[f64],
    largest: f64,
) -> Option<Screen> {
    let all = centres.range(0..centres.len());
    let is_safe = (1.0 / SAFE..SAFE).contains(&largest) && all.iter().all(|x| x.abs() < SAFE);
    if !is_safe || centres.len() < MANY || !space.is_screenable() {
        return None;
    }
    let mut shift: Vec<f32> = mean.iter().map(|x| *x as f32).collect();
    shift.resize(space.width(), 0.0);
    let mut screen = Screen::new(shift);
    for centre in all.chunks_exact(space.width()) {
        screen.push(centre);
    }
    Some(screen)
}

/// What a worker needs to find the nearest centres of rows.
pub(super) struct ToCentres<'a> {
    simd: Simd,
    space: Space<'a>,
    centres: &'a Centres,
    prepared: Vec<f64>,
    screen: Option<(&'a Screen, Pack)>,
}

impl<'a> ToCentres<'a> {
    pub(super) fn new(
        simd: Simd,
        space: Space<'a>,
        centres: &'a Centres,
        screen: Option<&'a Screen>,
    ) -> Self {
        let width = space.width();
        Self {
            simd,
            space,
            centres,
            prepared: vec![0.0; STEP * width],
            screen: screen.map(|screen| (screen, Pack::new(width))),
        }
    }

    /// Brings up to `STEP` rows up to date with the centres from `since` on.
    pub(super) fn meet(&mut self, rows: &[u32], since: usize, best: &mut [Best]) {
        let left = self.centres.len() - since;
        let since = match &self.screen {
            Some(_) if left >= MANY => self.sift(rows, since, best),
            _ => since,
        };
        self.measure(rows, since, best);
    }

    /// Measures rows against the centres from `since` on.
    fn measure(&mut self, rows: &[u32], since: usize, best: &mut [Best]) {
        if since == self.centres.len() {
            return;
        }
        let prepared = &mut self.prepared[..rows.len() * self.space.width()];
        self.space.load(rows, prepared);
        for first in (since..self.centres.len()).step_by(CACHED) {
            let last = self.centres.len().min(first + CACHED);
            let centres = self.centres.range(first..last);
            self.space.sweep(prepared, centres, first as u32, best);
        }
    }

    /// Screens rows against the centres from `since` on, and measures what is not clear, for
    /// as long as that is little; the first centre that they were not screened against.
    fn sift(&mut self, rows: &[u32], since: usize, best: &mut [Best]) -> usize {
        let Some((screen, pack)) = &mut self.screen else {
            return since;
        };
        let (simd, space, width) = (self.simd, self.space, self.space.width());
        let prepared = &mut self.prepared;
        screen.fill(simd, pack, rows.len(), |range, out| {
            space.load_shifted(&rows[range], &screen.shift, prepared, out);
        });
        let mut bars = [f32::NEG_INFINITY; STEP];
        for (i, best) in best.iter().enumerate() {
            bars[i] = screen.bar(best.squared, pack.norms[i]);
        }
        let mut is_loaded = [false; STEP];
        let mut first = since;
        while first < self.centres.len() {
            let last = self.centres.len().min(first + BLOCK);
            let mut measured = 0;
            screen.meet(
                simd,
                pack,
                first..last,
                &mut bars,
                |i: usize, at: u32, _: f32| {
                    let own = &mut prepared[i * width..(i + 1) * width];
                    if !is_loaded[i] {
                        space.load(&rows[i..=i], own);
                        is_loaded[i] = true;
                    }
                    let centre = self.centres.range(at as usize..at as usize + 1);
                    let best = &mut best[i..=i];
                    space.sweep(own, centre, at, best);
                    measured += 1;
                    if best[0].squared > 0.0 {
                        screen.bar(best[0].squared, pack.norms[i])
                    } else {
                        f32::NEG_INFINITY
                    }
                },
            );
            if measured * SHARE > (last - first) * rows.len() {
                return last;
            }
            first = last;
        }
        first
    }
}
