//! Which piece a key belongs to, by bounds that a sample has told.

/// Keys are looked up in a table of so many cells, which bounds approximate.
const CELLS: usize = 4 << 10;

/// How keys are dealt out: monotone, so that no row of a later piece is better.
pub(super) struct Bounds {
    low: u64,
    shift: u32,
    piece: Box<[u16; CELLS]>,
    /// Whether all keys of a piece must be equal.
    pub equal: Vec<bool>,
}

impl Bounds {
    /// `sample`: sorted keys, not none.
    pub(super) fn new(sample: &[u64], pieces: usize) -> Self {
        // Stragglers at both ends would make all cells but a few useless.
        let margin = sample.len() / 256;
        let (low, high) = (sample[margin], sample[sample.len() - 1 - margin]);
        let shift = (high - low)
            .checked_ilog2()
            .map_or(0, |log| (log + 1).saturating_sub(CELLS.ilog2()));
        let mut bounds = Self {
            low: low.saturating_sub(1 << shift),
            shift,
            piece: Box::new([0; CELLS]),
            equal: Vec::new(),
        };
        let mut counts = vec![0; CELLS];
        for key in sample {
            counts[bounds.cell(*key)] += 1;
        }
        let share = sample.len().div_ceil(pieces);
        let mut held = 0;
        let mut cells = 0;
        for (cell, count) in counts.into_iter().enumerate() {
            let crowded = count >= share || held >= share;
            if cells == 0 || crowded && held > 0 {
                bounds.equal.push(true);
                (held, cells) = (0, 0);
            }
            held += count;
            cells += 1;
            bounds.piece[cell] = (bounds.equal.len() - 1) as u16;
            // The outer cells hold all that lies further out.
            let exact = shift == 0 && cells == 1 && cell > 0 && cell < CELLS - 1;
            if let Some(equal) = bounds.equal.last_mut() {
                *equal = exact;
            }
        }
        bounds
    }

    #[inline]
    fn cell(&self, key: u64) -> usize {
        let cell = key.saturating_sub(self.low) >> self.shift;
        cell.min(CELLS as u64 - 1) as usize
    }

    #[inline]
    pub(super) fn piece(&self, key: u64) -> usize {
        usize::from(self.piece[self.cell(key)])
    }
}
