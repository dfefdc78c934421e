//! Numbers that rows are drawn by, and the sums that find a row.

/// A complete binary tree: a node is the sum of its two children.
///
/// Sums are recomputed, never adjusted, so nothing drifts: they are those of the
/// leaves as they are, always in the same order.
#[derive(Debug)]
pub(super) struct Tree {
    /// Leaves, some of them zeros beyond the last row: a power of two.
    leaves: usize,
    /// The root is `nodes[1]`, the children of `i` are `2 i` and `2 i + 1`.
    nodes: Vec<f64>,
}

impl Tree {
    /// A tree over `rows` zeros.
    pub(super) fn new(rows: usize) -> Self {
        let leaves = rows.next_power_of_two();
        Self {
            leaves,
            nodes: vec![0.0; 2 * leaves],
        }
    }

    /// The number of a row.
    pub(super) fn get(&self, row: usize) -> f64 {
        self.nodes[self.leaves + row]
    }

    /// The sum of all numbers.
    pub(super) fn total(&self) -> f64 {
        self.nodes[1]
    }

    /// Changes the number of a row.
    pub(super) fn set(&mut self, row: usize, number: f64) {
        let mut at = self.leaves + row;
        self.nodes[at] = number;
        while at > 1 {
            at /= 2;
            self.add_up(at);
        }
    }

    /// Changes the numbers of many rows.
    pub(super) fn set_all(&mut self, numbers: impl Iterator<Item = (usize, f64)>) {
        for (row, number) in numbers {
            self.nodes[self.leaves + row] = number;
        }
        for at in (1..self.leaves).rev() {
            self.add_up(at);
        }
    }

    fn add_up(&mut self, at: usize) {
        self.nodes[at] = self.nodes[2 * at] + self.nodes[2 * at + 1];
    }

    /// The row at which the running sum passes `part` of the total: never one whose
    /// number is zero, as long as there are others.
    pub(super) fn find(&self, part: f64) -> usize {
        let mut rest = part * self.total();
        let mut at = 1;
        while at < self.leaves {
            at *= 2;
            let left = self.nodes[at];
            // Rounding may leave more than there is on the left of nothing.
            if rest >= left && self.nodes[at + 1] > 0.0 {
                rest -= left;
                at += 1;
            }
        }
        at - self.leaves
    }
}
