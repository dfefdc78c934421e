//! A k-d tree, of which only the leaves are kept.

/// Rows of a leaf, at most.
const LEAF: usize = 512;
/// Rows whose points fit the cache.
const LOCAL: usize = 1 << 15;
/// Rows that a split is chosen by.
const SAMPLE: usize = 256;
/// The most dimensions there are.
const DIMS: usize = crate::distances::NARROW;

/// Prepared rows, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Points<'a> {
    pub dims: usize,
    pub points: &'a [f64],
}

impl Points<'_> {
    /// Orders `rows`, which ascend, by leaves, in which they ascend again; the sizes of
    /// these. `parallel` uses the threads that this one belongs to.
    pub(super) fn split(&self, rows: &mut [u32], parallel: bool) -> Vec<usize> {
        let mut spare = vec![0; rows.len()];
        if rows.len() > LOCAL {
            let half = self.halve(rows, &mut spare);
            let (left, right) = rows.split_at_mut(half);
            let (mut sizes, more) = if parallel {
                rayon::join(|| self.split(left, true), || self.split(right, true))
            } else {
                (self.split(left, false), self.split(right, false))
            };
            sizes.extend(more);
            return sizes;
        }
        // The points of few rows are brought together: they fit the cache then.
        let mut points = Vec::with_capacity(rows.len() * self.dims);
        for row in &*rows {
            points.extend_from_slice(self.point(*row));
        }
        let local = Points {
            points: &points,
            ..*self
        };
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        let mut sizes = Vec::new();
        local.split_on(&mut order, &mut spare, &mut sizes);
        for at in &mut order {
            *at = rows[*at as usize];
        }
        rows.copy_from_slice(&order);
        sizes
    }

    /// Halves `rows` down to the leaves.
    fn split_on(&self, rows: &mut [u32], spare: &mut [u32], sizes: &mut Vec<usize>) {
        if rows.len() > LEAF {
            let half = self.halve(rows, spare);
            let (left, right) = rows.split_at_mut(half);
            self.split_on(left, spare, sizes);
            self.split_on(right, spare, sizes);
        } else if !rows.is_empty() {
            sizes.push(rows.len());
        }
    }

    fn point(&self, row: u32) -> &[f64] {
        &self.points[row as usize * self.dims..][..self.dims]
    }

    /// Moves about half of the rows to the left, those that are low along a dimension
    /// in which they lie far apart; how many they are. The order is kept otherwise.
    fn halve(&self, rows: &mut [u32], spare: &mut [u32]) -> usize {
        let len = rows.len();
        let step = len.div_ceil(SAMPLE);
        let sample: Vec<_> = rows.iter().step_by(step).map(|r| self.point(*r)).collect();
        let (mut low, mut high) = ([f64::INFINITY; DIMS], [f64::NEG_INFINITY; DIMS]);
        for point in &sample {
            for (d, x) in point.iter().enumerate() {
                low[d] = low[d].min(*x);
                high[d] = high[d].max(*x);
            }
        }
        let by_extent =
            |a: &usize, b: &usize| (high[*a] - low[*a]).total_cmp(&(high[*b] - low[*b]));
        let dim = (0..self.dims).max_by(by_extent).unwrap_or(0);
        if low[dim] == high[dim] {
            // They are nearly all alike: any split is right.
            return len / 2;
        }
        let mut keys: Vec<f64> = sample.iter().map(|point| point[dim]).collect();
        let (_, pivot, _) = keys.select_nth_unstable_by(sample.len() / 2, f64::total_cmp);
        let pivot = *pivot;
        // Rows like the pivot go to either side, all of them.
        let below = keys.iter().filter(|key| **key < pivot).count();
        let above = keys.iter().filter(|key| **key > pivot).count();
        let ties_left = below < above;
        let (mut left, mut right) = (0, 0);
        for at in 0..len {
            let row = rows[at];
            let key = self.points[row as usize * self.dims + dim];
            let is_left = if ties_left { key <= pivot } else { key < pivot };
            spare[right] = row;
            rows[left] = row;
            left += usize::from(is_left);
            right += usize::from(!is_left);
        }
        rows[left..].copy_from_slice(&spare[..right]);
        left
    }
}
