//! The rows with the highest keys, found without looking at all.

use super::rules::Ranked;

/// Rows that share a maximum.
const BLOCK: usize = 128;

/// The first row of every block.
#[derive(Debug)]
pub(super) struct Tops {
    rows: usize,
    firsts: Vec<Ranked>,
    /// Scratch.
    keys: Vec<f64>,
}

/// What [`Tops::pull`] found.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// The first rows of all.
    pub rows: Vec<Ranked>,
    /// The blocks that they are in.
    pub blocks: Vec<u32>,
    /// The first row that is not among them.
    pub next: Option<Ranked>,
}

impl Tops {
    pub(super) fn new(rows: usize, key: impl Fn(usize) -> f64) -> Self {
        let mut tops = Self {
            rows,
            firsts: vec![Ranked::LAST; rows.div_ceil(BLOCK)],
            keys: Vec::new(),
        };
        tops.refresh(0..rows.div_ceil(BLOCK) as u32, key);
        tops
    }

    /// Looks again at the keys of some blocks.
    pub(super) fn refresh(
        &mut self,
        blocks: impl IntoIterator<Item = u32>,
        key: impl Fn(usize) -> f64,
    ) {
        for block in blocks {
            let rows = block as usize * BLOCK..self.rows.min((block as usize + 1) * BLOCK);
            let mut first = Ranked::LAST;
            for row in rows {
                let key = key(row);
                if key > first.key {
                    first = Ranked {
                        key,
                        row: row as u32,
                    };
                }
            }
            self.firsts[block as usize] = first;
        }
    }

    /// The `limit` first rows, or fewer.
    ///
    /// More exactly: those of the rows that are before the first row of most blocks.
    pub(super) fn pull(&mut self, limit: usize, key: impl Fn(usize) -> f64, found: &mut Pulled) {
        found.rows.clear();
        found.blocks.clear();
        let bar = self.bar(limit);
        let mut next = Ranked::LAST;
        for (block, first) in self.firsts.iter().enumerate() {
            if first.key < bar || first.key < 0.0 {
                if first.is_before(next) {
                    next = *first;
                }
                continue;
            }
            found.blocks.push(block as u32);
            for row in block * BLOCK..self.rows.min((block + 1) * BLOCK) {
                let ranked = Ranked {
                    key: key(row),
                    row: row as u32,
                };
                if ranked.key >= bar && ranked.key >= 0.0 {
                    found.rows.push(ranked);
                } else if ranked.is_before(next) {
                    next = ranked;
                }
            }
        }
        if found.rows.len() > limit {
            found.rows.select_nth_unstable_by(limit, |a, b| b.cmp(a));
            if found.rows[limit].is_before(next) {
                next = found.rows[limit];
            }
            found.rows.truncate(limit);
        }
        found.next = (next.key >= 0.0).then_some(next);
    }

    /// A key that about a quarter of `limit` blocks reach.
    fn bar(&mut self, limit: usize) -> f64 {
        let share = (limit / 4).max(1);
        if share >= self.firsts.len() {
            return 0.0;
        }
        self.keys.clear();
        self.keys.extend(self.firsts.iter().map(|first| first.key));
        let (_, bar, _) = self
            .keys
            .select_nth_unstable_by(share, |a, b| b.total_cmp(a));
        *bar
    }
}
