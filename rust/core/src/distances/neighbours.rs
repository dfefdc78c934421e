//! The neighbours of every row: so many of the nearest, or all within a radius.
//!
//! All rows meet all others in `f32` lanes (see `pairs`).
//! That tells which few pairs have to be measured exactly: of the nearest, a few more
//! than are wanted; within a radius, those that are too close to it to tell. A row of
//! which it tells too little is measured against all. So the answer is the one of exact
//! distances, and memory is needed for rows and for what is found, half as much again.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::pairs::{self, Pairs};
use super::screen::{SAFE, Screen};
use super::{Metric, Space};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;

/// Candidates that are kept beside the nearest that are wanted.
const SPARE: usize = 16;
/// Rows measured exactly at a time where all are.
const STEP: usize = 256;
/// Rows that a worker takes at a time.
const CHUNK: usize = 64;
/// Whom a row has as neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reach {
    /// So many of the nearest; of two as near, the lower.
    Nearest(usize),
    /// All that are not farther than this.
    Within(f64),
}

/// The neighbours of all rows, one row after the other. No row is its own neighbour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Neighbours {
    /// Where those of a row begin, and at the end where the last ones end.
    pub starts: Vec<i64>,
    /// By distance where the nearest were asked for, else by position.
    pub rows: Vec<u32>,
    /// In the unit of the metric; none where all within a radius were asked for.
    pub distances: Vec<f64>,
}

impl Neighbours {
    /// Refuses what does not hang together.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn checked(&self) -> Result<()> {
        if are_lists(&self.starts, &self.rows) && self.distances.len() == self.rows.len() {
            return Ok(());
        }
        Err(Error::Shape(
            "neighbours: expected a list for each row, and rows of the pool in it".into(),
        ))
    }

    /// The same where being neighbours is mutual, and every row is its own neighbour too;
    /// by position.
    #[must_use]
    pub fn mutual(self) -> Self {
        let rows = self.starts.len().saturating_sub(1);
        let range = |row: usize| self.starts[row] as usize..self.starts[row + 1] as usize;
        // By position, so that a neighbour is found at once.
        let mut own: Vec<(u32, f64)> = Vec::with_capacity(self.rows.len());
        for row in 0..rows {
            let first = own.len();
            own.extend(range(row).map(|at| (self.rows[at], self.distances[at])));
            own[first..].sort_unstable_by_key(|(other, _)| *other);
        }
        let knows = |row: usize, other: usize| {
            let list = &own[range(row)];
            list.binary_search_by_key(&(other as u32), |(other, _)| *other)
                .is_ok()
        };
        // Rows are gone through in order, so those that others bring come in order, too.
        let mut brought: Vec<Vec<(u32, f64)>> = vec![Vec::new(); rows];
        for row in 0..rows {
            for (other, distance) in &own[range(row)] {
                if !knows(*other as usize, row) {
                    brought[*other as usize].push((row as u32, *distance));
                }
            }
        }
        let mut out = Self::default();
        out.starts.push(0);
        for (row, brought) in brought.into_iter().enumerate() {
            let mut all = brought;
            all.extend_from_slice(&own[range(row)]);
            all.push((row as u32, 0.0));
            all.sort_unstable_by_key(|(other, _)| *other);
            out.rows.extend(all.iter().map(|(other, _)| *other));
            out.distances
                .extend(all.iter().map(|(_, distance)| *distance));
            out.starts.push(out.rows.len() as i64);
        }
        out
    }
}

/// Whether these are lists of rows, one for each row: where each begins, and the lists.
pub(crate) fn are_lists(starts: &[i64], rows: &[u32]) -> bool {
    let count = starts.len().saturating_sub(1);
    starts.first() == Some(&0)
        && starts.is_sorted()
        && starts.last() == Some(&(rows.len() as i64))
        && rows.iter().all(|row| (*row as usize) < count)
}

/// Finds the neighbours of all rows of `matrix`, `most` of them in all.
///
/// # Errors
/// [`Error::Value`] for rows that have no distance and for more neighbours than `most`,
/// [`Error::Option`] for more nearest rows than there are others, [`Error::Cancelled`].
pub fn neighbours(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    metric: Metric,
    reach: Reach,
    most: usize,
) -> Result<Neighbours> {
    let rows = matrix.rows();
    if let Reach::Nearest(count) = reach
        && count >= rows
    {
        return Err(Error::Option(format!(
            "neighbours: expected fewer than the {rows} rows, got {count}"
        )));
    }
    if rows == 0 || matrix.cols() == 0 {
        return Err(Error::Shape(format!(
            "embeddings: expected rows and dimensions, got the shape ({rows}, {})",
            matrix.cols()
        )));
    }
    let space = Space::new(*matrix, metric, exec.simd);
    let (mean, largest) = space.check(exec, "embeddings", |_| true)?;
    let screen = (1.0 / SAFE..SAFE).contains(&largest).then(|| {
        let mut screen = Screen::new(mean.iter().map(|x| *x as f32).collect());
        let is_on = |_: &usize| !exec.cancel.load(Ordering::Relaxed);
        (0..rows)
            .take_while(is_on)
            .for_each(|row| screen.push(&space.row(row)));
        screen
    });
    if exec.cancel.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let search = Search {
        exec,
        space,
        metric,
        reach,
        screen,
        found: AtomicUsize::new(0),
        most,
    };
    search.run()
}

/// See the module.
struct Search<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    metric: Metric,
    reach: Reach,
    /// All rows; none where numbers are too large or too small.
    screen: Option<Screen>,
    found: AtomicUsize,
    most: usize,
}

/// A row and its squared distance.
type Near = (f64, u32);

/// Scratch of a worker, and the neighbours of the rows that it has done.
struct Worker {
    prepared: Vec<f64>,
    done: Vec<Lists>,
}

/// The neighbours of some rows, one row after the other.
struct Lists {
    first: usize,
    counts: Vec<usize>,
    rows: Vec<u32>,
    squared: Vec<f64>,
}

impl Search<'_> {
    fn run(self) -> Result<Neighbours> {
        let (rows, width) = (self.space.rows(), self.space.width());
        let pairs = self.screen.as_ref().map(|screen| self.pairs(screen));
        if let Some(pairs) = &pairs {
            let most = match self.reach {
                Reach::Nearest(_) => usize::MAX,
                // Rows themselves and those that are just outside are kept, too, for now.
                Reach::Within(_) => self.most.saturating_mul(2).saturating_add(2 * rows),
            };
            if !pairs.meet(self.exec, most)? {
                return Err(self.too_many());
            }
        }
        let start = || Worker {
            prepared: vec![0.0; STEP * width],
            done: Vec::new(),
        };
        let work = |worker: &mut Worker, range: Range<usize>| {
            if self.found.load(Ordering::Relaxed) > self.most {
                return;
            }
            let mut lists = Lists {
                first: range.start,
                counts: Vec::with_capacity(range.len()),
                rows: Vec::new(),
                squared: Vec::new(),
            };
            for row in range.clone() {
                if self.exec.cancel.load(Ordering::Relaxed) {
                    return;
                }
                let near = match &pairs {
                    Some(pairs) => self.settle(pairs, worker, row),
                    None => self.scan(worker, row),
                };
                lists.counts.push(near.len());
                lists.rows.extend(near.iter().map(|(_, row)| *row));
                if matches!(self.reach, Reach::Nearest(_)) {
                    lists
                        .squared
                        .extend(near.iter().map(|(squared, _)| *squared));
                }
            }
            self.found.fetch_add(lists.rows.len(), Ordering::Relaxed);
            if pairs.is_none() {
                self.exec.done.fetch_add(range.len(), Ordering::Relaxed);
            }
            worker.done.push(lists);
        };
        let states = self.exec.for_each_chunk(rows, CHUNK, start, work)?;
        let found = self.found.load(Ordering::Relaxed);
        if found > self.most {
            return Err(self.too_many());
        }
        let mut done: Vec<Lists> = states.into_iter().flat_map(|worker| worker.done).collect();
        done.sort_unstable_by_key(|lists| lists.first);
        let mut out = Neighbours::default();
        out.starts.push(0);
        out.rows.reserve_exact(found);
        for lists in done {
            out.rows.extend(lists.rows);
            let distances = lists.squared.into_iter();
            out.distances
                .extend(distances.map(|squared| self.metric.finish(squared)));
            for count in lists.counts {
                let last = out.starts.last().copied().unwrap_or(0);
                out.starts.push(last + count as i64);
            }
        }
        Ok(out)
    }

    fn too_many(&self) -> Error {
        Error::Value(format!(
            "radius: rows have more than {} neighbours each within it, too many to be kept; expected a smaller one",
            self.most / self.space.rows()
        ))
    }

    /// What screening is to keep.
    fn pairs<'s>(&self, screen: &'s Screen) -> Pairs<'s> {
        match self.reach {
            // The row itself is among those that it meets.
            Reach::Nearest(count) => Pairs::new(screen, |_| f32::INFINITY, Some(count + 1 + SPARE)),
            // A little more, as the square of the radius is rounded.
            Reach::Within(radius) => {
                let reach = self.squared(radius) * (1.0 + 2.0 * f64::EPSILON);
                Pairs::new(screen, |row| screen.bar(reach, screen.norm(row)), None)
            }
        }
    }

    /// The neighbours of a row among what screening has kept.
    fn settle(&self, pairs: &Pairs<'_>, worker: &mut Worker, row: usize) -> Vec<Near> {
        let (screen, norm) = (pairs.screen, pairs.screen.norm(row));
        let (mut others, bar) = pairs.of(row);
        others.retain(|(_, other)| *other as usize != row);
        let count = match self.reach {
            Reach::Nearest(count) => count,
            Reach::Within(radius) => {
                others.sort_unstable_by_key(|(_, other)| *other);
                let reach = self.squared(radius);
                let is_open = |(s, _): &pairs::Near| screen.above(*s, norm) > reach;
                let open: Vec<u32> = others.iter().filter(|o| is_open(o)).map(|o| o.1).collect();
                let mut outside = self.measure(worker, row, &open);
                outside.retain(|(squared, _)| self.metric.finish(*squared) > radius);
                let mut outside = outside.into_iter().map(|(_, other)| other).peekable();
                others.retain(|(_, other)| outside.next_if_eq(other).is_none());
                return others.into_iter().map(|(_, other)| (0.0, other)).collect();
            }
        };
        if let Some(last) = count.checked_sub(1)
            && others.len() > count
        {
            // So many are within its upper bound, so whoever is nearer has a lower one within.
            let by_screen = |a: &pairs::Near, b: &pairs::Near| a.0.total_cmp(&b.0);
            let (_, (s, _), _) = others.select_nth_unstable_by(last, by_screen);
            let reach = screen.above(*s, norm);
            others.retain(|(s, _)| screen.below(*s, norm) <= reach);
        }
        let list: Vec<u32> = others.iter().map(|(_, other)| *other).collect();
        let mut near = self.measure(worker, row, &list);
        nearest_first(&mut near, count);
        // All that was not kept is not below the bar.
        let last = near.last().map_or(f64::INFINITY, |near| near.0);
        if near.len() == count && screen.below(bar, norm) > last {
            near
        } else {
            self.scan(worker, row)
        }
    }

    /// The neighbours of a row among all, exactly.
    fn scan(&self, worker: &mut Worker, row: usize) -> Vec<Near> {
        let mut near: Vec<Near> = Vec::new();
        for first in (0..self.space.rows()).step_by(STEP) {
            if self.exec.cancel.load(Ordering::Relaxed) {
                break;
            }
            if let Reach::Nearest(count) = self.reach
                && near.iter().filter(|(squared, _)| *squared == 0.0).count() >= count
            {
                // Rows are gone through in order: no other copy comes before these.
                break;
            }
            let others = first..self.space.rows().min(first + STEP);
            let others: Vec<u32> = others
                .filter(|other| *other != row)
                .map(|o| o as u32)
                .collect();
            near.append(&mut self.measure(worker, row, &others));
            match self.reach {
                Reach::Nearest(count) if near.len() > 2 * count + STEP => {
                    nearest_first(&mut near, count);
                }
                Reach::Nearest(_) => {}
                Reach::Within(radius) => {
                    near.retain(|(squared, _)| self.metric.finish(*squared) <= radius);
                }
            }
        }
        if let Reach::Nearest(count) = self.reach {
            nearest_first(&mut near, count);
        }
        near
    }

    /// Squared distances of a row to others, in their order.
    fn measure(&self, worker: &mut Worker, row: usize, others: &[u32]) -> Vec<Near> {
        let own = self.space.row(row);
        let mut near = Vec::with_capacity(others.len());
        for others in others.chunks(STEP) {
            let prepared = &mut worker.prepared[..others.len() * own.len()];
            self.space.load(others, prepared);
            let mut squared = [0.0; STEP];
            let squared = &mut squared[..others.len()];
            self.space.measure(prepared, &own, squared);
            near.extend(squared.iter().copied().zip(others.iter().copied()));
        }
        near
    }

    /// A distance in the unit of squared distances of prepared rows.
    fn squared(&self, distance: f64) -> f64 {
        match self.metric {
            Metric::Euclidean => distance * distance,
            Metric::SqEuclidean => distance,
            Metric::Cosine => 2.0 * distance,
        }
    }
}

/// Leaves so many of the nearest, in order.
fn nearest_first(near: &mut Vec<Near>, count: usize) {
    let order = |a: &Near, b: &Near| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if near.len() > count {
        near.select_nth_unstable_by(count, order);
        near.truncate(count);
    }
    near.sort_unstable_by(order);
}
