//! One pass over a chunk: score, screen, re-score, keep.
//!
//! Rows are scored in `f32`. With the proven bound of that pass, a row that cannot
//! reach the bar is dropped after one comparison; contenders are scored again in
//! `f64`, and only that score decides. Of the scores that two `f32` probabilities
//! decide exactly (see [`crate::scores`]) there is nothing to screen.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Places;
use super::exact::Exact;
use super::ids::{Ids, Name, Ties, mix, uniform};
use super::top_k::TopK;
use crate::element::ElementKind;
use crate::error::Result;
use crate::matrix::Matrix;
use crate::parallel::Exec;
use crate::scores::Score;
use crate::scores::pool::{InvalidRows, Output};
use crate::scores::rows::Rows;
use crate::scores::sink::{Above, Sink};

/// Rows that are scored against one bar.
const BLOCK: usize = 1024;
/// Contenders that are worth re-scoring together.
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
    /// Those that are not screened.
    Exact(Exact<'a>),
    Random(u64),
}

/// A chunk and all that its rows are judged by.
pub(super) struct Pass<'a, I: Ids> {
    pub exec: Exec<'a>,
    pub scores: Scores<'a>,
    pub rows: usize,
    pub places: Places<'a>,
    /// Rows of the stream before this chunk.
    pub taken: u64,
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

pub(super) struct Worker<K> {
    pub top: TopK<K>,
    pub invalid: Option<InvalidRows>,
    above: Above,
    pub suspects: Vec<usize>,
    /// Contenders of a block, and what the `f32` pass made of them.
    contenders: Vec<usize>,
    screened: Vec<f64>,
    pub exact: Vec<f64>,
    /// Where the noise of a block comes from.
    pub uniforms: Vec<f64>,
    /// A row whose copies all come too late.
    late: Option<usize>,
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
        let mut above = Above {
            least: f64::NEG_INFINITY,
            ..Above::default()
        };
        let mut suspects = Vec::new();
        let sink = Sink::Above(&mut above);
        score.of_rows(
            self.exec.simd,
            &matrix,
            Rows::List(&sample),
            sink,
            &mut suspects,
        );
        let mut scores: Vec<f64> = above.hits.iter().map(|(_, score)| *score).collect();
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
            Scores::Rows(_, matrix) | Scores::Exact(Exact { matrix, .. }) => {
                matrix.cols() * matrix.kind().size()
            }
            Scores::Random(_) => 16,
        };
        let floor = Floor::new(floor);
        // A little more for each worker, in case they do not share evenly.
        let share = expected / self.exec.workers(self.rows, row_bytes) * 5 / 4;
        let start = || Worker {
            top: TopK::with_room(self.k, self.ties, share),
            invalid: None,
            above: Above::default(),
            suspects: Vec::new(),
            contenders: Vec::new(),
            screened: Vec::new(),
            exact: Vec::new(),
            uniforms: Vec::new(),
            late: None,
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
        for first in range.clone().step_by(BLOCK) {
            let len = BLOCK.min(range.end - first);
            match self.scores {
                Scores::Random(seed) => {
                    for row in first..first + len {
                        let score = uniform(self.ids.tie(row, Ties::Random(seed)));
                        if score >= floor.get().max(worker.top.floor()) && !self.is_excluded(row) {
                            self.offer(worker, floor, row, score);
                        }
                    }
                }
                Scores::Exact(exact) => self.exact(worker, floor, &exact, first, len),
                Scores::Rows(score, matrix) => {
                    self.block(worker, floor, (score, &matrix), first, len);
                }
            }
        }
        if let Scores::Rows(score, matrix) = self.scores {
            self.rescore(worker, floor, (score, &matrix));
        }
    }

    /// Scores a block of rows, and keeps those that may be selected.
    fn block(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        (score, matrix): (&Score, &Matrix<'_>),
        first: usize,
        len: usize,
    ) {
        if worker
            .late
            .is_some_and(|copy| matrix.are_copies(copy, first, len))
        {
            return;
        }
        let is_final = score.is_exact() || matrix.kind() == ElementKind::F64;
        let bar = floor.get().max(worker.top.floor());
        worker.above.least = if !is_final {
            score.bound(matrix).least(bar)
        } else if self.ids.ascend(self.ties) && worker.top.floor() == bar {
            // A later row that only ties with the bar comes too late.
            bar.next_up()
        } else {
            bar
        };
        let mut above = std::mem::take(&mut worker.above);
        let sink = Sink::Above(&mut above);
        let rows = Rows::Range(first, len);
        score.of_rows(self.exec.simd, matrix, rows, sink, &mut worker.suspects);
        self.drop_invalid(worker, &mut above, (score, matrix), first);
        if is_final {
            for (at, score) in &above.hits {
                if !self.is_excluded(first + at) {
                    self.offer(worker, floor, first + at, *score);
                }
            }
        } else {
            self.screen(worker, floor, matrix, first, &above.hits);
            if worker.contenders.len() >= BATCH {
                self.rescore(worker, floor, (score, matrix));
            }
        }
        above.hits.clear();
        worker.above = above;
    }

    /// Reports the suspects that are invalid; they are no hits.
    fn drop_invalid(
        &self,
        worker: &mut Worker<I::Id>,
        above: &mut Above,
        (score, matrix): (&Score, &Matrix<'_>),
        first: usize,
    ) {
        if worker.suspects.is_empty() {
            return;
        }
        self.report(worker, first, |row| score.report(matrix, row));
        let invalid = &worker.suspects;
        above
            .hits
            .retain(|(at, _)| invalid.binary_search(at).is_err());
        worker.suspects.clear();
    }

    /// Reports the suspects of a block that are invalid, and leaves no others; what is
    /// excluded may be anything.
    pub(super) fn report(
        &self,
        worker: &mut Worker<I::Id>,
        first: usize,
        inspect: impl Fn(usize) -> Option<InvalidRows>,
    ) {
        worker.suspects.retain(|at| {
            let row = first + at;
            let found = (!self.is_excluded(row)).then(|| inspect(row)).flatten();
            InvalidRows::add(&mut worker.invalid, found);
            found.is_some()
        });
    }

    pub(super) fn is_excluded(&self, row: usize) -> bool {
        self.exclude.is_some_and(|mask| mask[row] != 0)
            || (!self.exclude_ids.is_empty() && self.ids.is_in(row, self.exclude_ids))
    }

    pub(super) fn offer(&self, worker: &mut Worker<I::Id>, floor: &Floor, row: usize, score: f64) {
        let tie = self.ids.tie(row, self.ties);
        let index = self.places.of(row, self.taken);
        if worker.top.offer(score, tie, index, || self.ids.get(row)) {
            floor.raise(worker.top.floor());
        }
    }

    /// Collects the hits that have to be scored again.
    fn screen(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        matrix: &Matrix<'_>,
        first: usize,
        hits: &[(usize, f64)],
    ) {
        let mut left = hits;
        while let Some(&(at, screened)) = left.first() {
            let row = first + at;
            let late = self.contend(worker, floor, matrix, row, screened);
            left = &left[1..];
            if late {
                worker.late = Some(row);
                // And so do all copies that follow: most are told by one comparison.
                let is_next = |(i, hit): &(usize, &(usize, f64))| **hit == (at + 1 + i, screened);
                let run = left.iter().enumerate().take_while(is_next).count();
                if run > 0 && matrix.are_copies(row, row + 1, run) {
                    left = &left[run..];
                }
            }
        }
    }

    /// Takes one contender. True if it is one more copy of a row that is known, and
    /// comes too late.
    fn contend(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        matrix: &Matrix<'_>,
        row: usize,
        screened: f64,
    ) -> bool {
        if self.is_excluded(row) {
            return false;
        }
        if let Some((known, copy, exact)) = worker.memo[memo_slot(screened)]
            && known == screened
            && matrix.are_copies(copy, row, 1)
        {
            self.offer(worker, floor, row, exact);
            return self.ids.ascend(self.ties) && exact <= worker.top.floor();
        }
        worker.contenders.push(row);
        worker.screened.push(screened);
        false
    }

    /// Scores the collected rows in `f64` and offers them.
    fn rescore(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        (score, matrix): (&Score, &Matrix<'_>),
    ) {
        if worker.contenders.is_empty() {
            return;
        }
        let contenders = std::mem::take(&mut worker.contenders);
        let mut exact = std::mem::take(&mut worker.exact);
        exact.clear();
        exact.resize(contenders.len(), 0.0);
        let sink = Sink::All(Output::F64(&mut exact));
        let rows = Rows::List(&contenders);
        score.of_rows(self.exec.simd, matrix, rows, sink, &mut worker.suspects);
        // Whether a row is valid was decided by the first pass.
        worker.suspects.clear();
        for (i, (row, score)) in contenders.iter().zip(&exact).enumerate() {
            let screened = worker.screened[i];
            worker.memo[memo_slot(screened)] = Some((screened, *row, *score));
            self.offer(worker, floor, *row, *score);
        }
        worker.contenders = contenders;
        worker.contenders.clear();
        worker.screened.clear();
        worker.exact = exact;
    }
}

fn memo_slot(score: f64) -> usize {
    let hash = score.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 58) as usize
}

/// The best bar of all workers: a lower bound of the last selected score.
pub(super) struct Floor(AtomicU64);

impl Floor {
    fn new(score: f64) -> Self {
        Self(AtomicU64::new(ordered(score)))
    }

    pub(super) fn get(&self) -> f64 {
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
