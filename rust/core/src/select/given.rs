//! Scores that the caller has already: whatever they measure, the highest are kept.

use super::ids::Ids;
use super::pass::{Floor, Pass, Worker};
use crate::matrix::Matrix;
use crate::scores::Invalid;
use crate::scores::pool::InvalidRows;

impl<I: Ids> Pass<'_, I> {
    /// Takes a block of rows by the scores that came with them.
    pub(super) fn given(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        scores: &Matrix<'_>,
        first: usize,
        len: usize,
    ) {
        for row in first..first + len {
            // Zeros tie, whatever their signs.
            let score = scores.get(row, 0) + 0.0;
            let is_low = score < floor.get().max(worker.top.floor());
            if is_low || self.is_excluded(row) {
                continue;
            }
            if score.is_nan() {
                let why = Invalid::Score(score);
                let report = InvalidRows { count: 1, row, why };
                InvalidRows::add(&mut worker.invalid, Some(report));
            } else {
                self.offer(worker, floor, row, score);
            }
        }
    }
}
