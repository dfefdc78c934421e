//! Scores that are not screened: those that the caller has already, and all that noise
//! is added to, each computed in `f64` at once.

use super::ids::{Ids, Ties, uniform};
use super::noise::{LANES, Noise};
use super::pass::{Floor, Pass, Worker};
use crate::matrix::Matrix;
use crate::scores::pool::{InvalidRows, Output};
use crate::scores::rows::Rows;
use crate::scores::sink::Sink;
use crate::scores::{Invalid, Score};

/// Where the scores of a chunk come from, if each is needed in `f64`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exact<'a> {
    /// `None` where the matrix is the column of scores.
    pub score: Option<&'a Score>,
    pub matrix: Matrix<'a>,
    pub noise: Option<Noise>,
}

impl Exact<'_> {
    /// Whether a number that was given is a score.
    fn takes(&self, given: f64) -> bool {
        !given.is_nan() && self.noise.is_none_or(|noise| noise.takes(given))
    }

    /// What is wrong with a row, if anything.
    fn report(&self, row: usize) -> Option<InvalidRows> {
        if let Some(score) = self.score {
            return score.report(&self.matrix, row);
        }
        let given = self.matrix.get(row, 0);
        let why = Invalid::Score(given);
        (!self.takes(given)).then_some(InvalidRows { count: 1, row, why })
    }
}

impl<I: Ids> Pass<'_, I> {
    /// Takes a block of rows.
    pub(super) fn exact(
        &self,
        worker: &mut Worker<I::Id>,
        floor: &Floor,
        of: &Exact<'_>,
        first: usize,
        len: usize,
    ) {
        let mut scores = std::mem::take(&mut worker.exact);
        scores.resize(len.next_multiple_of(LANES), 0.0);
        if let Some(score) = of.score {
            let sink = Sink::All(Output::F64(&mut scores[..len]));
            let rows = Rows::Range(first, len);
            let suspects = &mut worker.suspects;
            score.of_rows(self.exec.simd, &of.matrix, rows, sink, suspects);
        } else {
            for (at, score) in scores[..len].iter_mut().enumerate() {
                // Zeros tie, whatever their signs.
                *score = of.matrix.get(first + at, 0) + 0.0;
                if !of.takes(*score) {
                    worker.suspects.push(at);
                }
            }
        }
        if let Some(noise) = of.noise {
            let ties = Ties::Random(noise.seed);
            let hashes = (first..first + len).map(|row| self.ids.tie(row, ties));
            worker.uniforms.clear();
            worker.uniforms.extend(hashes.map(uniform));
            worker.uniforms.resize(scores.len(), 0.0);
            noise.add(self.exec.simd, &mut scores, &worker.uniforms);
        }
        self.report(worker, first, |row| of.report(row));
        for at in worker.suspects.drain(..) {
            scores[at] = f64::NAN;
        }
        for (at, score) in scores[..len].iter().enumerate() {
            let row = first + at;
            if *score >= floor.get().max(worker.top.floor()) && !self.is_excluded(row) {
                self.offer(worker, floor, row, *score);
            }
        }
        worker.exact = scores;
    }
}
