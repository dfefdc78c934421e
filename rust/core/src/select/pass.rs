//! One pass over a chunk: score, screen, re-score, keep.
//!
//! Rows are scored in `f32`. With the proven bound of that pass, a row that cannot
//! reach the bar is dropped after one comparison; contenders are scored again in
//! `f64`, and only that score decides. Of the scores that two `f32` probabilities
//! decide exactly (see [`crate::scores`]) there is nothing to screen.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ids::{Ids, Name, Ties, mix, uniform};
use super::top_k::TopK;
use crate::element::ElementKind;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::parallel::Exec;
use crate::scores::pool::{BLOCK, InvalidRows};
use crate::scores::rows::Rows;
use crate::scores::{Bound, Score};

/// Contenders that are re-scored together.
const BATCH: usize = 64;
/// Chunks of so many rows are sampled before they are read.
const SAMPLED: usize = 100_000;
/// Rows whose `f64` scores are remembered, so that pools full of copies are not
/// re-scored row by row.
const MEMO: usize = 64;

/// Where the scores of a chunk come from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scores<'a> {
    Rows(&'a Score, Matrix<'a>),
    Random(u64),
}

/// A chunk and all that its rows are judged by.
pub(super) struct Pass<'a, I: Ids> {
    pub exec: Exec<'a>,
    pub scores: Scores<'a>,
    pub rows: usize,
    /// Position of row 0 in the stream.
    pub start: i64,
    pub ids: I,
    pub ties: Ties,
    pub exclude: Option<&'a [u8]>,
    pub exclude_ids: &'a HashSet<Name<I::Id>>,
    pub k: usize,
    pub floor: f64,
}

/// What a pass found.
pub(super) struct Found<K> {
    pub top: Vec<TopK<K>>,
    pub invalid: Option<InvalidRows>,
}

struct Worker<K> {
    top: TopK<K>,
    invalid: Option<InvalidRows>,
    suspects: Vec<usize>,
    contenders: Vec<usize>,
    screened: Vec<f64>,
    memo: [Option<(f64, usize, f64)>; MEMO],
}

impl<I: Ids> Pass<'_, I> {
    pub(super) fn run(&self) -> Result<Found<I::Id>> {
        if let Some(guess) = self.guess() {
            let found = self.run_above(guess, self.k)?;
            // Every row that was passed over scores below the guess. If enough did
            // not, that is where they belong; rows within the bound do not count.
            let reached = found.top.iter().map(|top| top.count_from(guess));
            if reached.sum::<usize>() >= self.k {
                return Ok(found);
            }
            self.exec.done.store(0, Ordering::Relaxed);
        }
        self.run_above(self.floor, 0)
    }

    /// A score that a little more than `k` rows are likely to reach, from a sample.
    ///
    /// With it even the first rows of a large pool meet a bar, and about `k` rows
    /// are kept and re-scored instead of `k (1 + ln(rows / k))`. It is a guess, not
    /// a bound: the caller checks the outcome.
    fn guess(&self) -> Option<f64> {
        let Scores::Rows(score, matrix) = self.scores else {
            return None;
        };
        if self.rows < SAMPLED || self.floor > f64::NEG_INFINITY {
            return None;
        }
        let size = (self.rows / 512).min(16 << 10);
        let expected = size as f64 * self.k as f64 / self.rows as f64;
        let rank = (expected + 4.0 * expected.sqrt() + 4.0) as usize;
        if rank >= size {
            return None;
        }
        // One row of every stratum: neither order nor period of the pool matters.
        let stratum = self.rows / size;
        let row = |i: usize| i * stratum + (uniform(mix(i as u64)) * stratum as f64) as usize;
        let sample: Vec<usize> = (0..size)
            .map(row)
            .filter(|row| !self.is_excluded(*row))
            .collect();
        let mut scores = vec![0.0; sample.len()];
        let mut suspects = Vec::new();
        let rows = Rows::List(&sample);
        score.of_rows(
            self.exec.simd,
            &matrix,
            rows,
            false,
            &mut scores,
            &mut suspects,
        );
        for at in suspects {
            scores[at] = f64::NEG_INFINITY;
        }
        if rank >= scores.len() {
            return None;
        }
        let (_, guess, _) = scores.select_nth_unstable_by(rank, |a, b| b.total_cmp(a));
        Some(*guess)
    }

    /// `expected`: how many rows are likely to be kept.
    fn run_above(&self, floor: f64, expected: usize) -> Result<Found<I::Id>> {
        let row_bytes = match self.scores {
            Scores::Rows(_, matrix) => matrix.cols() * matrix.kind().size(),
            Scores::Random(_) => 16,
        };
        let floor = Floor::new(floor);
        // A little more for each worker, in case they do not share evenly.
        let share = expected / self.exec.workers(self.rows, row_bytes) * 5 / 4;
        let start = || Worker {
            top: TopK::with_room(self.k, self.ties, share),
            invalid: None,
            suspects: Vec::new(),
            contenders: Vec::with_capacity(BATCH),
            screened: Vec::with_capacity(BATCH),
            memo: [None; MEMO],
        };
        let workers = self
            .exec
            .for_each_range(self.rows, row_bytes, start, |worker, range| {
                self.range(worker, &floor, range);
            })?;
        let mut found = Found {
            top: Vec::new(),
            invalid: None,
        };
        for worker in workers {
            InvalidRows::add(&mut found.invalid, worker.invalid);
            found.top.push(worker.top);
        }
        Ok(found)
    }

    fn range(&self, worker: &mut Worker<I::Id>, floor: &Floor, range: Range<usize>) {
        let mut scores = [0.0; BLOCK];
        for first in range.clone().step_by(BLOCK) {
            let scores = &mut scores[..BLOCK.min(range.end - first)];
            match self.scores {
                Scores::Random(seed) => {
                    for (i, score) in scores.iter_mut().enumerate() {
                        *score = uniform(self.ids.tie(first + i, Ties::Random(seed)));
                    }
                    self.keep(worker, floor, first, scores);
                }
                Scores::Rows(score, matrix) => {
                    self.score(worker, score, &matrix, first, scores);
                    if score.is_exact() || matrix.kind() == ElementKind::F64 {
                        self.keep(worker, floor, first, scores);
                    } else {
                        let bound = score.bound(&matrix);
                        self.screen(worker, floor, (score, &matrix, bound), first, scores);
                    }
                }
            }
        }
        if let Scores::Rows(score, matrix) = self.scores {
            self.rescore(worker, floor, score, &matrix);
        }
    }

    /// Scores a block; rows that cannot be selected get NaN.
    fn score(
        &self,
        worker: &mut Worker<I::Id>,
        score: &Score,
        matrix: &Matrix<'_>,
        first: usize,
        scores: &mut [f64],
    ) {
        let rows = Rows::Range(first, scores.len());
        let suspects = &mut worker.suspects;
        score.of_rows(self.exec.simd, matrix, rows, false, scores, suspects);
        for at in suspects.drain(..) {
            if self.is_excluded(first + at) {
                scores[at] = f64::NAN;
            } else if let Some(found) = score.report(matrix, first + at) {
                scores[at] = f64::NAN;
                InvalidRows::add(&mut worker.invalid, Some(found));
            }
        }
    }

    fn is_excluded(&self, row: usize) -> bool {
        self.exclude.is_some_and(|mask| mask[row] != 0)
            || (!self.exclude_ids.is_empty() && self.ids.is_in(row, self.exclude_ids))
    }

    /// Offers the rows of a block whose scores are final.
    fn keep(&self, worker: &mut Worker<I::Id>, floor: &Floor, first: usize, scores: &[f64]) {
        let mut least = floor.get().max(worker.top.floor());
        if self.ids.ascend(self.ties) && worker.top.floor() == least {
            // A later row that only ties with the bar comes too late.
            least = least.next_up();
        }
        for_each_at_least(scores, least, |at, score| {
            if !self.is_excluded(first + at) {
                self.offer(worker, floor, first + at, score);
            }
        });
    }

    fn offer(&self, worker: &mut Worker<I::Id>, floor: &Floor, row: usize, score: f64) {
        let tie = self.ids.tie(row, self.ties);
        let index = self.start + row as i64;
        if worker.top.offer(score, tie, index, || self.ids.get(row)) {
            floor.raise(worker.top.floor());
        }
    }

    /// Collects the rows of a block that may reach the bar.
    fn screen(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        (score, matrix, bound): (&Score, &Matrix<'_>, Bound),
        first: usize,
        scores: &[f64],
    ) {
        let least = bound.least(floor.get().max(worker.top.floor()));
        let mut late = None;
        let is_late = |late: Option<(f64, usize)>, at: usize, scores: &[f64]| {
            late.is_some_and(|(known, copy)| {
                scores.iter().all(|score| *score == known)
                    && matrix.are_copies(copy, first + at, scores.len())
            })
        };
        for_each_group_at_least(scores, least, |at, group| {
            // Later copies of a row that only tied with the bar come too late.
            if is_late(late, at, group) {
                return;
            }
            for (i, screened) in group.iter().enumerate() {
                if *screened >= least && !is_late(late, at + i, &group[i..=i]) {
                    late = self.contend(worker, floor, score, matrix, first + at + i, *screened);
                }
            }
        });
    }

    /// Takes one contender. Returns its score and place if it was one more copy of
    /// a row that cannot be selected any more.
    fn contend(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        score: &Score,
        matrix: &Matrix<'_>,
        row: usize,
        screened: f64,
    ) -> Option<(f64, usize)> {
        if self.is_excluded(row) {
            return None;
        }
        if let Some((known, copy, exact)) = worker.memo[memo_slot(screened)]
            && known == screened
            && matrix.are_copies(copy, row, 1)
        {
            self.offer(worker, floor, row, exact);
            let late = self.ids.ascend(self.ties) && exact <= worker.top.floor();
            return late.then_some((screened, row));
        }
        worker.contenders.push(row);
        worker.screened.push(screened);
        if worker.contenders.len() == BATCH {
            self.rescore(worker, floor, score, matrix);
        }
        None
    }

    /// Scores the collected rows in `f64` and offers them.
    fn rescore(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        score: &Score,
        matrix: &Matrix<'_>,
    ) {
        let mut exact = [0.0; BATCH];
        let contenders = std::mem::take(&mut worker.contenders);
        let exact = &mut exact[..contenders.len()];
        // Whether a row is valid was decided by the first pass.
        let mut ignored = std::mem::take(&mut worker.suspects);
        let rows = Rows::List(&contenders);
        score.of_rows(self.exec.simd, matrix, rows, true, exact, &mut ignored);
        ignored.clear();
        worker.suspects = ignored;
        for (i, (row, score)) in contenders.iter().zip(exact).enumerate() {
            let screened = worker.screened[i];
            worker.memo[memo_slot(screened)] = Some((screened, *row, *score));
            self.offer(worker, floor, *row, *score);
        }
        worker.contenders = contenders;
        worker.contenders.clear();
        worker.screened.clear();
    }
}

/// Calls `f` with the place and value of every score that is at least `least`.
fn for_each_at_least(scores: &[f64], least: f64, mut f: impl FnMut(usize, f64)) {
    for_each_group_at_least(scores, least, |at, group| {
        for (i, score) in group.iter().enumerate() {
            if *score >= least {
                f(at + i, *score);
            }
        }
    });
}

/// Calls `f` with the place and scores of every group that has one of at least
/// `least`. Most have none, and finding that out takes no branch a row.
#[allow(
    clippy::needless_bitwise_bool,
    reason = "a lazy `or` would be a branch a row"
)]
fn for_each_group_at_least(scores: &[f64], least: f64, mut f: impl FnMut(usize, &[f64])) {
    for (i, group) in scores.chunks(16).enumerate() {
        if group.iter().fold(false, |any, s| any | (*s >= least)) {
            f(i * 16, group);
        }
    }
}

fn memo_slot(score: f64) -> usize {
    let hash = score.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 58) as usize
}

/// The best bar of all workers: a lower bound of the last selected score.
struct Floor(AtomicU64);

impl Floor {
    fn new(score: f64) -> Self {
        Self(AtomicU64::new(ordered(score)))
    }

    fn get(&self) -> f64 {
        let bits = self.0.load(Ordering::Relaxed);
        f64::from_bits(if bits >> 63 == 1 {
            bits ^ 1 << 63
        } else {
            !bits
        })
    }

    fn raise(&self, score: f64) {
        self.0.fetch_max(ordered(score), Ordering::Relaxed);
    }
}

/// Bits that order as the numbers do.
pub(super) fn ordered(score: f64) -> u64 {
    let bits = score.to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}
