//! Votes: the class that each member would choose, and how little they agree.

use std::ops::Range;

use crate::element::{Element, ElementKind, bf16, f16};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};
use crate::scores::pool::InvalidRows;
use crate::scores::{Measure, Score};
use crate::simd::math;

/// Votes that a worker claims at a time.
const CLAIM: usize = 64 << 10;

/// How the votes for a row become a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// Entropy of the shares of the votes, in nats (Engelson & Dagan, 1996).
    Entropy,
    /// Share of the votes that are not for the winner (Freeman, 1965).
    Dissent,
}

/// Writes the most probable class of every row to `out`, of several the lowest; the votes of
/// invalid rows mean nothing. `logits` tells what the rows are.
///
/// # Errors
/// [`Error::Cancelled`].
///
/// # Panics
/// When `out` is not one vote a row.
pub fn vote(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    logits: bool,
    out: &mut [u32],
) -> Result<Option<InvalidRows>> {
    assert_eq!(matrix.rows(), out.len(), "one vote a row");
    let mut score = Score::new(Measure::Entropy);
    score.temperature = logits.then_some(1.0);
    let voters = match matrix.kind() {
        ElementKind::F16 => vote_block::<f16>,
        ElementKind::Bf16 => vote_block::<bf16>,
        ElementKind::F32 => vote_block::<f32>,
        ElementKind::F64 => vote_block::<f64>,
    };
    let out = Disjoint::new(out);
    let grain = CLAIM / matrix.cols().max(1) + 1;
    let work = |invalid: &mut Option<InvalidRows>, rows: Range<usize>| {
        // SAFETY: ranges do not overlap.
        let out = unsafe { out.range(rows.clone()) };
        voters(matrix, &score, rows, out, invalid);
    };
    let states = exec.for_each_chunk(matrix.rows(), grain, || None, work)?;
    let mut invalid = None;
    for found in states {
        InvalidRows::add(&mut invalid, found);
    }
    Ok(invalid)
}

fn vote_block<E: Element>(
    matrix: &Matrix<'_>,
    score: &Score,
    rows: Range<usize>,
    out: &mut [u32],
    invalid: &mut Option<InvalidRows>,
) {
    let probabilities = score.temperature.is_none();
    let tolerance = E::KIND.sum_tolerance();
    for (row, vote) in rows.zip(out) {
        let (start, step) = (matrix.row_ptr(row), matrix.col_stride());
        let (mut best, mut winner, mut sum, mut valid) = (f64::NEG_INFINITY, 0, 0.0, true);
        for col in 0..matrix.cols() {
            let at = start.wrapping_offset(col.cast_signed() * step);
            // SAFETY: an element of the matrix.
            let x = unsafe { at.cast::<E>().read_unaligned() }.to_f64();
            valid &= x < f64::INFINITY && (x >= 0.0 || !probabilities);
            sum += x;
            if x > best {
                (best, winner) = (x, col);
            }
        }
        *vote = winner as u32;
        valid &= best > f64::NEG_INFINITY;
        if !valid || (probabilities && (sum - 1.0_f64).abs() > tolerance) {
            InvalidRows::add(invalid, score.report(matrix, row));
        }
    }
}

/// Scores every row by its votes, `(members, rows)` in C order, into `out`.
///
/// # Errors
/// [`Error::Shape`] when the votes are not as many for each row, or none;
/// [`Error::Cancelled`].
pub fn score_votes(exec: &Exec<'_>, votes: &[u32], tally: Tally, out: &mut [f64]) -> Result<()> {
    let rows = out.len();
    if votes.is_empty() || !votes.len().is_multiple_of(rows) {
        return Err(Error::Shape(format!(
            "{} votes cannot be as many for each of {rows} rows",
            votes.len()
        )));
    }
    let members = votes.len() / rows;
    let share = |count: usize| count as f64 / members as f64;
    // Of every number of votes that a class may have.
    let terms: Vec<f64> = (0..=members)
        .map(|count| match tally {
            Tally::Entropy if count == 0 => 0.0,
            Tally::Entropy => 0.0 - share(count) * math::ln(share(count)),
            Tally::Dissent => share(members - count),
        })
        .collect();
    let out = Disjoint::new(out);
    let start = || vec![0; members];
    let work = |ballots: &mut Vec<u32>, block: Range<usize>| {
        // SAFETY: ranges do not overlap.
        let out = unsafe { out.range(block.clone()) };
        for (row, out) in block.zip(out) {
            for (ballot, member) in ballots.iter_mut().zip(votes.chunks_exact(rows)) {
                *ballot = member[row];
            }
            ballots.sort_unstable();
            let counts = ballots.chunk_by(|a, b| a == b).map(<[u32]>::len);
            *out = match tally {
                Tally::Entropy => counts.map(|count| terms[count]).sum::<f64>() + 0.0,
                Tally::Dissent => terms[counts.max().unwrap_or(members)],
            };
        }
    };
    exec.for_each_chunk(rows, CLAIM / members + 1, start, work)?;
    Ok(())
}
