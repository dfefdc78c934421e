//! Selections: the `k` best rows of a stream of chunks.
//!
//! A [`Selector`] is the mergeable state of a streaming selection. Its answer
//! depends on rows, ids and options alone: not on how the stream was cut into
//! chunks, in which order selectors were merged, or who ran them.

mod batch_bald;
mod bounds;
mod codec;
mod d2_sampling;
mod exact;
mod facility;
mod gate;
mod ids;
mod k_center;
mod noise;
mod pass;
mod ranked_batch;
mod sort;
#[cfg(test)]
mod tests;
mod top_k;

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;
use crate::scores::Score;
use crate::scores::pool::InvalidRows;
pub use batch_bald::{Batch, BatchBald, MOST_SAMPLES, batch_bald};
pub use codec::{Bytes, IdKind, Stored, id_kind};
pub use d2_sampling::{D2Sampling, d2_sampling, gradient_lengths};
use exact::Exact;
pub use facility::{FacilityLocation, Gains, Graph, facility_location};
pub use gate::{Apart, Budget, Limits, Quota, admit};
pub use ids::{Id, Ids, Key, Name, Position, Positions, Strings, Ties};
pub use k_center::{Among, Cover, KCenter, k_center, pick_among};
pub use noise::{Noise, Weight};
use pass::{Pass, Scores};
pub use ranked_batch::{Order, RankedBatch, ranked_batch};
pub use sort::Columns;
use top_k::{Row, TopK};

/// What rows are selected by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Criterion {
    /// The highest scores.
    Score(Score),
    /// The highest of scores that come with the rows: the one column of a chunk.
    Given,
    /// The highest of scores, given ones if `None`, with noise on them: a draw.
    Noisy(Option<Score>, Noise),
    /// A hash of this seed and the id: a uniform sample.
    Random(u64),
}

/// A chunk of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The predictions, or the scores where these are given; a random selection needs none.
    pub matrix: Option<Matrix<'a>>,
    /// Number of rows.
    pub rows: usize,
    /// One byte a row: rows that must not be selected are not zero.
    pub exclude: Option<&'a [u8]>,
    /// Leave out invalid rows instead of refusing the chunk.
    pub skip_invalid: bool,
    /// Where the rows are in the stream.
    pub places: Places<'a>,
}

/// Positions of the rows of a chunk.
#[derive(Debug, Clone, Copy)]
pub enum Places<'a> {
    /// They follow the rows before them.
    Next,
    /// They follow each other from this position on.
    From(i64),
    /// One position a row.
    At(&'a [i64]),
}

impl Places<'_> {
    /// The position of a row, in a stream of which so many rows have been taken.
    #[inline]
    fn of(self, row: usize, taken: u64) -> i64 {
        match self {
            Places::Next => taken as i64 + row as i64,
            Places::From(first) => first + row as i64,
            Places::At(places) => places[row],
        }
    }
}

/// A selected row.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<N> {
    /// Its score.
    pub score: f64,
    /// Its id.
    pub id: N,
    /// Its position in the stream.
    pub index: i64,
}

/// The `k` best rows of what it has seen.
#[derive(Debug, Clone)]
pub struct Selector<I: Id> {
    criterion: Criterion,
    ties: Ties,
    k: usize,
    exclude_ids: HashSet<Name<I>>,
    rows: u64,
    skipped: u64,
    top: TopK<I>,
}

impl<I: Id> Selector<I> {
    /// A selector that has seen nothing.
    #[must_use]
    pub const fn new(
        criterion: Criterion,
        k: usize,
        ties: Ties,
        exclude_ids: HashSet<Name<I>>,
    ) -> Self {
        Self {
            criterion,
            ties,
            k,
            exclude_ids,
            rows: 0,
            skipped: 0,
            top: TopK::new(k, ties),
        }
    }

    /// Number of rows to select.
    #[must_use]
    pub const fn k(&self) -> usize {
        self.k
    }

    /// Rows taken so far.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Invalid rows left out so far.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes the rows of a chunk.
    ///
    /// A report means that there were invalid rows (by their positions). If
    /// the chunk does not say to skip them, it was refused and nothing has changed.
    ///
    /// # Errors
    /// [`Error::Cancelled`], after which nothing has changed; [`Error::Shape`] when
    /// lengths disagree.
    pub fn update<S: Ids<Id = I>>(
        &mut self,
        exec: &Exec<'_>,
        chunk: &Chunk<'_>,
        ids: S,
    ) -> Result<Option<InvalidRows>> {
        let rows = chunk.rows;
        if chunk.matrix.is_some_and(|m| m.rows() != rows)
            || chunk.exclude.is_some_and(|mask| mask.len() != rows)
            || matches!(chunk.places, Places::At(places) if places.len() != rows)
        {
            return Err(Error::Shape("the parts of a chunk differ in length".into()));
        }
        let scores = self.scores(chunk.matrix)?;
        let pass = Pass {
            exec: *exec,
            scores,
            rows,
            places: chunk.places,
            taken: self.rows,
            ids,
            ties: self.ties,
            exclude: chunk.exclude,
            exclude_ids: &self.exclude_ids,
            k: self.k,
            floor: self.top.floor(),
        };
        let found = pass.run()?;
        let invalid = found.invalid.map(|report| InvalidRows {
            row: chunk.places.of(report.row, self.rows) as usize,
            ..report
        });
        if invalid.is_some() && !chunk.skip_invalid {
            return Ok(invalid);
        }
        for top in found.top {
            self.top.absorb(top);
        }
        self.rows += rows as u64;
        self.skipped += invalid.map_or(0, |report| report.count as u64);
        Ok(invalid)
    }

    fn scores<'a>(&'a self, matrix: Option<Matrix<'a>>) -> Result<Scores<'a>> {
        let (score, noise) = match &self.criterion {
            Criterion::Random(seed) => return Ok(Scores::Random(*seed)),
            Criterion::Score(score) => (Some(score), None),
            Criterion::Given => (None, None),
            Criterion::Noisy(score, noise) => (score.as_ref(), Some(*noise)),
        };
        let Some(matrix) = matrix else {
            return Err(Error::Shape("a score needs rows to score".into()));
        };
        match (score, noise) {
            (Some(score), None) => Ok(Scores::Rows(score, matrix)),
            (None, _) if matrix.cols() != 1 => Err(Error::Shape(format!(
                "expected one score a row, got {} columns",
                matrix.cols()
            ))),
            _ => Ok(Scores::Exact(Exact {
                score,
                matrix,
                noise,
            })),
        }
    }

    /// Takes what another selector has seen.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the two do not select the same thing, or when both
    /// number their rows from zero.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let differing = [
            ("k", self.k != other.k),
            ("strategy or seed", self.criterion != other.criterion),
            ("ties", self.ties != other.ties),
            ("exclude_ids", self.exclude_ids != other.exclude_ids),
        ];
        if let Some((what, _)) = differing.iter().find(|(_, differs)| *differs) {
            return Err(Error::Mismatch(format!(
                "cannot merge: the two selections differ in {what}"
            )));
        }
        if !I::OWN && self.rows > 0 && other.rows > 0 {
            return Err(Error::Mismatch(
                "cannot merge: both selections number their rows from 0; give ids with every chunk"
                    .into(),
            ));
        }
        self.top.absorb(other.top.clone());
        self.rows += other.rows;
        self.skipped += other.skipped;
        Ok(())
    }

    /// Number of rows that [`Selector::finish`] returns: `k`, or all there are.
    #[must_use]
    pub fn selected(&self) -> usize {
        self.k.min(self.top.len())
    }

    /// Writes the best rows so far, best first, to columns of [`Selector::selected`]
    /// rows. More may follow.
    ///
    /// # Errors
    /// [`Error::Cancelled`], after which the columns hold anything; [`Error::Shape`]
    /// when they have another length.
    pub fn finish_into<'a>(
        &'a self,
        exec: &Exec<'_>,
        columns: Columns<'_, I::Key<'a>>,
    ) -> Result<()> {
        sort::sort(exec, self.ties, self.top.parts(), Row::look, columns)
    }

    /// The best rows so far, best first; fewer than `k` if there are no more.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn finish(&self, exec: &Exec<'_>) -> Result<Vec<Entry<Name<I>>>> {
        let selected = self.selected();
        let Some(any) = self.top.entries().next() else {
            return Ok(Vec::new());
        };
        let (mut scores, mut indices) = (vec![0.0; selected], vec![0; selected]);
        let mut ids = vec![any.id.key(); selected];
        let columns = Columns {
            scores: &mut scores,
            indices: &mut indices,
            ids: &mut ids,
        };
        self.finish_into(exec, columns)?;
        let columns = scores.into_iter().zip(indices).zip(ids);
        let entry = |((score, index), id)| Entry {
            score,
            id: I::name(id, index),
            index,
        };
        Ok(columns.map(entry).collect())
    }
}
