//! Picks among a few rows whose distances to the centres so far are known.

use std::collections::BinaryHeap;

use super::rules::Ranked;
use crate::distances::{Best, Centres, Metric, Space};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;

/// What to pick, and of what.
#[derive(Debug, Clone, Copy)]
pub struct Among<'a> {
    /// The rows to pick, at most.
    pub k: usize,
    /// The distance.
    pub metric: Metric,
    /// The squared distance of each row to the centres there are.
    pub squared: &'a [f64],
    /// The highest squared distance that a row elsewhere may have, and how many of the rows
    /// here are before that one if theirs is the same. Picking ends where it comes first.
    pub bar: Option<(f64, usize)>,
}

/// Picks rows as [`super::k_center`] does, of rows that are in order: their positions and
/// squared distances. Numbers are not checked.
///
/// # Errors
/// [`Error::Shape`] for as many distances as there are not rows, [`Error::Cancelled`].
pub fn pick_among(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    options: &Among<'_>,
) -> Result<(Vec<usize>, Vec<f64>)> {
    let rows = matrix.rows();
    if options.squared.len() != rows || u32::try_from(rows).is_err() {
        return Err(Error::Shape(format!(
            "squared: expected one value a row ({rows}), got {}",
            options.squared.len()
        )));
    }
    let bar = options.bar.map_or(Ranked::LAST, |(key, row)| Ranked {
        key,
        row: u32::try_from(row).unwrap_or(u32::MAX),
    });
    let space = Space::new(*matrix, options.metric, exec.simd);
    let mut picked = Centres::new(space.width());
    let mut seen = vec![0; rows];
    let (mut picks, mut distances) = (Vec::new(), Vec::new());
    let all = options.squared.iter().zip(0..);
    let mut heap: BinaryHeap<_> = all.map(|(key, row)| Ranked { key: *key, row }).collect();
    while picks.len() < options.k
        && let Some(first) = heap.pop()
        // A row elsewhere comes between those here.
        && (first.key > bar.key || (first.key == bar.key && first.row < bar.row))
    {
        exec.go_on()?;
        let row = first.row as usize;
        let prepared = space.row(row);
        if first.key > 0.0 && seen[row] < picked.len() {
            let mut best = [Best {
                squared: first.key,
                ..Best::NONE
            }];
            space.sweep(
                &prepared,
                picked.range(seen[row]..picked.len()),
                0,
                &mut best,
            );
            seen[row] = picked.len();
            heap.push(Ranked {
                key: best[0].squared,
                ..first
            });
            continue;
        }
        picks.push(row);
        distances.push(first.key);
        picked.push(&prepared);
    }
    Ok((picks, distances))
}
