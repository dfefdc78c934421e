//! The best rows in order, at memory speed: a sample sort.
//!
//! Rows are dealt out by score to some hundred pieces, whose bounds a sample has
//! told; a piece fits the cache and is sorted there. Rows behind the last that is
//! wanted are passed over. Where one piece attracts too many rows it is dealt out
//! again by finer bounds, and where all its scores are equal by what decides next:
//! the tie, then the words of the ids. Every step is a pass over row ranges, so that
//! it has all workers and can be cancelled. Where a row ends up depends on the total
//! order of the rows alone, neither on the sample nor on the workers.

use std::ops::Range;

use rayon::slice::ParallelSliceMut;

use super::bounds::Bounds;
use super::ids::{Key, Ties, mix};
use super::pass::ordered;
use super::top_k::Row;
use crate::error::{Error, Result};
use crate::parallel::{Disjoint, Exec};

/// So few rows are sorted by comparing.
const FEW: usize = 16 << 10;
/// Rows of a piece, if all goes well: as many as the cache near a core holds twice.
const PIECE: usize = 4 << 10;
const MAX_PIECES: usize = 512;
/// Rows of the sample for one piece.
const OVERSAMPLED: usize = 8;
/// Rows that are dealt out so often are sorted by comparing: nothing tells them apart.
const MAX_DEPTH: usize = 16;
/// More rows of a cell are not sorted by insertion.
const HANDFUL: usize = 24;

/// Where rows are written, best first: as many as are wanted.
#[derive(Debug)]
pub struct Columns<'a, K> {
    /// Scores.
    pub scores: &'a mut [f64],
    /// Positions in the stream.
    pub indices: &'a mut [i64],
    /// Ids.
    pub ids: &'a mut [K],
}

/// Writes the best of all rows, which are given in `parts`, to `columns`.
///
/// # Errors
/// [`Error::Cancelled`], after which the columns hold anything; [`Error::Shape`] when
/// there are fewer rows than the columns want.
pub(super) fn sort<'a, T: Sync, K: Key>(
    exec: &Exec<'_>,
    ties: Ties,
    parts: Vec<&'a [T]>,
    look: impl Fn(&'a T) -> Row<K> + Sync,
    columns: Columns<'_, K>,
) -> Result<()> {
    let Columns {
        scores,
        indices,
        ids,
    } = columns;
    let (wanted, parts) = (scores.len(), Parts(parts));
    if parts.len() < wanted || indices.len() != wanted || ids.len() != wanted {
        return Err(Error::Shape(
            "the columns of a selection differ in length".into(),
        ));
    }
    let out = Out {
        scores: Disjoint::new(scores),
        indices: Disjoint::new(indices),
        ids: Disjoint::new(ids),
    };
    let sorter = Sorter { exec, ties, out };
    sorter.sort((0, 0), &parts, &look, 0..wanted)
}

struct Out<'a, K> {
    scores: Disjoint<'a, f64>,
    indices: Disjoint<'a, i64>,
    ids: Disjoint<'a, K>,
}

impl<K: Key> Out<'_, K> {
    /// # Safety
    /// Nobody else uses this place meanwhile.
    #[inline]
    unsafe fn set(&self, at: usize, row: Row<K>) {
        // SAFETY: the caller's promise.
        unsafe {
            self.scores.set(at, row.score);
            self.indices.set(at, row.index);
            self.ids.set(at, row.id);
        }
    }
}

/// Rows in several pieces of memory, numbered through.
struct Parts<'a, T>(Vec<&'a [T]>);

impl<'a, T> Parts<'a, T> {
    fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    /// The slices that make up a range.
    fn slices(&self, range: Range<usize>) -> impl Iterator<Item = &'a [T]> {
        let mut start = 0;
        self.0.iter().filter_map(move |part| {
            let (first, last) = (range.start.max(start), range.end.min(start + part.len()));
            let here = (first < last).then(|| &part[first - start..last - start]);
            start += part.len();
            here
        })
    }
}

/// What becomes of the rows of a piece.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// Written to where they belong, and sorted there.
    Placed,
    /// Collected, to be sorted by themselves.
    Collected(usize),
    /// None of them is wanted.
    Dropped,
}

/// A place of no row: of pieces that are not placed.
const NOWHERE: usize = usize::MAX;

/// Numbers for each piece, of ranges of rows that begin at the first number.
type Dealt = Vec<(usize, Vec<usize>)>;

/// Which rows go where.
struct Plan {
    /// Where the first row of a range and piece goes.
    places: Dealt,
    fates: Vec<Fate>,
}

/// What was collected by a worker, by number.
type Heaps<K> = Vec<Vec<Row<K>>>;

struct Sorter<'a, K> {
    exec: &'a Exec<'a>,
    ties: Ties,
    out: Out<'a, K>,
}

/// What rows are dealt out by, and how often they have been.
type Step = (usize, usize);

impl<K: Key> Sorter<'_, K> {
    /// The number that decides at a stage; the lower is the better.
    #[inline]
    fn key(&self, stage: usize, row: &Row<K>) -> u64 {
        match stage {
            0 => !ordered(row.score),
            1 => row.id.tie(row.index, self.ties),
            _ => row.id.word(stage - 2).unwrap_or(0),
        }
    }

    /// Writes the best of `rows`, in order, to a `span` of the columns.
    fn sort<'a, T: Sync>(
        &self,
        (stage, depth): Step,
        rows: &Parts<'a, T>,
        look: &(impl Fn(&'a T) -> Row<K> + Sync),
        span: Range<usize>,
    ) -> Result<()> {
        let count = rows.len();
        if span.is_empty() {
            return Ok(());
        }
        let pieces = (count / PIECE).clamp(2, MAX_PIECES);
        let Some(bounds) = self.bounds((stage, depth), rows, look, pieces) else {
            self.compare(rows, look, span);
            return Ok(());
        };
        let counts = self.count(stage, rows, look, &bounds)?;
        let mut totals = vec![0; bounds.equal.len()];
        for (_, counts) in &counts {
            totals.iter_mut().zip(counts).for_each(|(t, n)| *t += n);
        }
        let next = |piece: usize| (stage + usize::from(bounds.equal[piece]), depth + 1);
        // One piece holds all: there is nothing to be dealt out.
        if let Some(piece) = totals.iter().position(|total| *total == count) {
            return self.sort(next(piece), rows, look, span);
        }
        let too_large = (4 * count / pieces).max(4 * FEW);
        let mut plan = Plan {
            places: counts,
            fates: Vec::with_capacity(totals.len()),
        };
        let (mut placed, mut collected) = (Vec::new(), Vec::new());
        let mut start = span.start;
        for (piece, total) in totals.into_iter().enumerate() {
            let place = start..start + total;
            let fate = if place.start >= span.end {
                Fate::Dropped
            } else if place.end > span.end || total > too_large {
                collected.push((next(piece), place.start..place.end.min(span.end)));
                Fate::Collected(collected.len() - 1)
            } else {
                placed.push(place.clone());
                Fate::Placed
            };
            let mut at = place.start;
            for (_, places) in &mut plan.places {
                let number = places[piece];
                places[piece] = if fate == Fate::Placed { at } else { NOWHERE };
                at += number;
            }
            plan.fates.push(fate);
            start = place.end;
        }
        let heaps = self.deal(stage, rows, look, &bounds, &plan)?;
        self.sort_pieces(stage, &placed, span)?;
        for (n, (step, span)) in collected.into_iter().enumerate() {
            let parts = heaps.iter().map(|heaps| heaps[n].as_slice()).collect();
            self.sort(step, &Parts(parts), &Row::clone, span)?;
        }
        Ok(())
    }

    /// Bounds from a sample; none where comparing is better.
    fn bounds<'a, T>(
        &self,
        (stage, depth): Step,
        rows: &Parts<'a, T>,
        look: &impl Fn(&'a T) -> Row<K>,
        pieces: usize,
    ) -> Option<Bounds> {
        let count = rows.len();
        if count <= FEW || depth > MAX_DEPTH {
            return None;
        }
        let size = pieces * OVERSAMPLED;
        let stratum = count / size;
        let mut sample = Vec::with_capacity(size);
        let mut told = stage < 2;
        for i in 0..size {
            let at = i * stratum + mix((depth << 32 | i) as u64) as usize % stratum;
            for row in rows.slices(at..at + 1).flatten().map(look) {
                told = told || row.id.word(stage - 2).is_some();
                sample.push(self.key(stage, &row));
            }
        }
        sample.sort_unstable();
        told.then(|| Bounds::new(&sample, pieces))
    }

    /// How many rows of each range go to each piece.
    fn count<'a, T: Sync>(
        &self,
        stage: usize,
        rows: &Parts<'a, T>,
        look: &(impl Fn(&'a T) -> Row<K> + Sync),
        bounds: &Bounds,
    ) -> Result<Dealt> {
        let counted = self.exec.for_each_range(
            rows.len(),
            size_of::<T>(),
            Vec::new,
            |ranges: &mut Vec<_>, range| {
                let mut counts = vec![0; bounds.equal.len()];
                let start = range.start;
                for slice in rows.slices(range) {
                    for row in slice {
                        counts[bounds.piece(self.key(stage, &look(row)))] += 1;
                    }
                }
                ranges.push((start, counts));
            },
        )?;
        let mut counted: Vec<_> = counted.into_iter().flatten().collect();
        counted.sort_unstable_by_key(|(start, _)| *start);
        Ok(counted)
    }

    /// Sends every row to its piece; returns what was collected, by worker and heap.
    fn deal<'a, T: Sync>(
        &self,
        stage: usize,
        rows: &Parts<'a, T>,
        look: &(impl Fn(&'a T) -> Row<K> + Sync),
        bounds: &Bounds,
        plan: &Plan,
    ) -> Result<Vec<Heaps<K>>> {
        let is_collected = |fate: &&Fate| matches!(fate, Fate::Collected(_));
        let collected = plan.fates.iter().filter(is_collected).count();
        // The same ranges as when they were counted, by any worker.
        self.exec.for_each_range(
            rows.len(),
            size_of::<T>(),
            || vec![Vec::new(); collected],
            |heaps: &mut Heaps<K>, range| {
                let known = &plan.places;
                let Ok(n) = known.binary_search_by_key(&range.start, |(start, _)| *start) else {
                    unreachable!("ranges are a matter of row counts and sizes");
                };
                let mut places = known[n].1.clone();
                for slice in rows.slices(range) {
                    for row in slice {
                        let row = look(row);
                        let piece = bounds.piece(self.key(stage, &row));
                        let place = &mut places[piece];
                        if *place != NOWHERE {
                            // SAFETY: places were counted, one for each row.
                            unsafe { self.out.set(*place, row) };
                            *place += 1;
                        } else if let Fate::Collected(heap) = plan.fates[piece] {
                            heaps[heap].push(row);
                        }
                    }
                }
            },
        )
    }

    /// Sorts pieces that lie where they belong.
    fn sort_pieces(&self, stage: usize, pieces: &[Range<usize>], span: Range<usize>) -> Result<()> {
        let row_bytes = size_of::<Row<K>>();
        self.exec
            .for_each_range(span.len(), row_bytes, Scratch::default, |scratch, range| {
                // The pieces that begin in this range.
                let first = |at: usize| pieces.partition_point(|p| p.start < span.start + at);
                for piece in &pieces[first(range.start)..first(range.end)] {
                    // SAFETY: every piece begins in one range, and they do not overlap.
                    let (scores, indices, ids) = unsafe {
                        (
                            self.out.scores.range(piece.clone()),
                            self.out.indices.range(piece.clone()),
                            self.out.ids.range(piece.clone()),
                        )
                    };
                    let numbers = scores.iter().zip(&*indices).zip(&*ids);
                    scratch.rows.clear();
                    scratch.rows.extend(numbers.map(|((score, index), id)| Row {
                        score: *score,
                        index: *index,
                        id: *id,
                    }));
                    let sorted = self.sort_piece(stage, scratch);
                    for (i, row) in sorted.iter().enumerate() {
                        (scores[i], indices[i], ids[i]) = (row.score, row.index, row.id);
                    }
                }
            })?;
        Ok(())
    }

    /// Sorts the rows of a piece: about one a cell, then those of a cell.
    fn sort_piece<'s>(&self, stage: usize, scratch: &'s mut Scratch<K>) -> &'s [Row<K>] {
        let Scratch {
            rows,
            sorted,
            places,
        } = scratch;
        let order = |a: &Row<K>, b: &Row<K>| a.order(b, self.ties);
        let (low, high) = rows.iter().fold((u64::MAX, 0), |(low, high), row| {
            let key = self.key(stage, row);
            (low.min(key), high.max(key))
        });
        if rows.len() <= HANDFUL || low == high {
            rows.sort_unstable_by(order);
            return rows;
        }
        let cells = rows.len().next_power_of_two();
        let shift = ((high - low).ilog2() + 1).saturating_sub(cells.ilog2());
        let cell = |row: &Row<K>| ((self.key(stage, row) - low) >> shift) as usize;
        places.clear();
        places.resize(cells, 0);
        for row in &*rows {
            places[cell(row)] += 1;
        }
        let (mut start, mut most) = (0, 0);
        for place in &mut *places {
            let count = *place;
            *place = start;
            start += count;
            most = most.max(count);
        }
        if sorted.len() < rows.len() {
            sorted.resize(rows.len(), rows[0]);
        }
        let sorted = &mut sorted[..rows.len()];
        for row in &*rows {
            let place = &mut places[cell(row)];
            sorted[*place as usize] = *row;
            *place += 1;
        }
        if most as usize > HANDFUL {
            let mut start = 0;
            for end in places {
                let cell = start..*end as usize;
                start = cell.end;
                if cell.len() > HANDFUL {
                    sorted[cell].sort_unstable_by(order);
                }
            }
        }
        // Now no row is far from its place.
        let is_before = |a: &Row<K>, b: &Row<K>| {
            let (x, y) = (self.key(stage, a), self.key(stage, b));
            x < y || (x == y && order(a, b).is_lt())
        };
        for i in 1..sorted.len() {
            let row = sorted[i];
            let mut at = i;
            while at > 0 && is_before(&row, &sorted[at - 1]) {
                sorted[at] = sorted[at - 1];
                at -= 1;
            }
            sorted[at] = row;
        }
        sorted
    }

    /// Sorts rows by comparing them.
    fn compare<'a, T>(
        &self,
        rows: &Parts<'a, T>,
        look: &impl Fn(&'a T) -> Row<K>,
        span: Range<usize>,
    ) {
        let mut all: Vec<Row<K>> = rows.slices(0..rows.len()).flatten().map(look).collect();
        let order = |a: &Row<K>, b: &Row<K>| a.order(b, self.ties);
        if all.len() > span.len() {
            all.select_nth_unstable_by(span.len() - 1, order);
            all.truncate(span.len());
        }
        match self.exec.pool {
            Some(pool) => pool.install(|| all.par_sort_unstable_by(order)),
            None => all.sort_unstable_by(order),
        }
        for (at, row) in span.zip(all) {
            // SAFETY: no worker is at work.
            unsafe { self.out.set(at, row) };
        }
    }
}

/// What a worker sorts pieces in.
struct Scratch<K> {
    rows: Vec<Row<K>>,
    sorted: Vec<Row<K>>,
    places: Vec<u32>,
}

impl<K> Default for Scratch<K> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            sorted: Vec::new(),
            places: Vec::new(),
        }
    }
}
