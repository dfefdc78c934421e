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
/// Keys are looked up in a table of so many cells, which bounds approximate.
const CELLS: usize = 4 << 10;
/// Rows that are dealt out so often are sorted by comparing: nothing tells them apart.
const MAX_DEPTH: usize = 16;
/// Rows that are sorted by insertion.
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
    let wanted = columns.scores.len();
    let parts = Parts(parts);
    if parts.len() < wanted || columns.indices.len() != wanted || columns.ids.len() != wanted {
        return Err(Error::Shape(
            "the columns of a selection differ in length".into(),
        ));
    }
    let out = Out {
        scores: Disjoint::new(columns.scores),
        indices: Disjoint::new(columns.indices),
        ids: Disjoint::new(columns.ids),
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

/// How keys are dealt out: monotone, so that no row of a later piece is better.
struct Bounds {
    low: u64,
    shift: u32,
    piece: Box<[u16; CELLS]>,
    /// Whether all keys of a piece must be equal.
    equal: Vec<bool>,
}

impl Bounds {
    /// `sample`: sorted keys, not none.
    fn new(sample: &[u64], pieces: usize) -> Self {
        // Stragglers at both ends would make all cells but a few useless.
        let margin = sample.len() / 256;
        let (low, high) = (sample[margin], sample[sample.len() - 1 - margin]);
        let shift = (high - low)
            .checked_ilog2()
            .map_or(0, |log| (log + 1).saturating_sub(CELLS.ilog2()));
        let mut bounds = Self {
            low: low.saturating_sub(1 << shift),
            shift,
            piece: Box::new([0; CELLS]),
            equal: Vec::new(),
        };
        let mut counts = [0_usize; CELLS];
        for key in sample {
            counts[bounds.cell(*key)] += 1;
        }
        let share = sample.len().div_ceil(pieces);
        let mut held = 0;
        let mut cells = 0;
        for (cell, count) in counts.into_iter().enumerate() {
            let crowded = count >= share || held >= share;
            if cells == 0 || crowded && held > 0 {
                bounds.equal.push(true);
                (held, cells) = (0, 0);
            }
            held += count;
            cells += 1;
            bounds.piece[cell] = (bounds.equal.len() - 1) as u16;
            // The outer cells hold all that lies further out.
            let exact = shift == 0 && cells == 1 && cell > 0 && cell < CELLS - 1;
            if let Some(equal) = bounds.equal.last_mut() {
                *equal = exact;
            }
        }
        bounds
    }

    #[inline]
    fn cell(&self, key: u64) -> usize {
        let cell = key.saturating_sub(self.low) >> self.shift;
        cell.min(CELLS as u64 - 1) as usize
    }

    #[inline]
    fn piece(&self, key: u64) -> usize {
        usize::from(self.piece[self.cell(key)])
    }

    fn pieces(&self) -> usize {
        self.equal.len()
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
        let mut dealt = self.count(stage, rows, look, &bounds)?;
        let mut totals = vec![0; bounds.pieces()];
        for (_, counts) in &dealt {
            totals.iter_mut().zip(counts).for_each(|(t, n)| *t += n);
        }
        // One piece holds all: there is nothing to be dealt out.
        if let Some(piece) = totals.iter().position(|total| *total == count) {
            let step = (stage + usize::from(bounds.equal[piece]), depth + 1);
            return self.sort(step, rows, look, span);
        }

        let too_large = (4 * count / pieces).max(4 * FEW);
        let mut fates = Vec::with_capacity(totals.len());
        let mut collected = Vec::new();
        let mut starts = Vec::new();
        let mut start = span.start;
        for (piece, total) in totals.iter().enumerate() {
            let end = start + total;
            let fate = if start >= span.end {
                Fate::Dropped
            } else if end > span.end || *total > too_large {
                collected.push((start..end.min(span.end), bounds.equal[piece]));
                Fate::Collected(collected.len() - 1)
            } else {
                starts.push(start);
                Fate::Placed
            };
            let mut at = start;
            for (_, counts) in &mut dealt {
                let number = counts[piece];
                counts[piece] = if fate == Fate::Placed { at } else { NOWHERE };
                at += number;
            }
            fates.push((fate, start..end));
            start = end;
        }

        let heaps = self.deal(
            stage,
            rows,
            look,
            &bounds,
            (&dealt, &fates, collected.len()),
        )?;
        let placed: Vec<Range<usize>> = fates
            .into_iter()
            .filter_map(|(fate, place)| (fate == Fate::Placed).then_some(place))
            .collect();
        self.sort_pieces(stage, &placed, span)?;
        for (n, (span, equal)) in collected.into_iter().enumerate() {
            let parts = heaps.iter().map(|heap| heap[n].as_slice()).collect();
            let step = (stage + usize::from(equal), depth + 1);
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
    ) -> Result<Vec<(usize, Vec<usize>)>> {
        let counted = self.exec.for_each_range(
            rows.len(),
            size_of::<T>(),
            Vec::new,
            |ranges: &mut Vec<_>, range| {
                let mut counts = vec![0; bounds.pieces()];
                let start = range.start;
                for row in rows.slices(range).flatten() {
                    counts[bounds.piece(self.key(stage, &look(row)))] += 1;
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
        (places, fates, heaps): (&[(usize, Vec<usize>)], &[(Fate, Range<usize>)], usize),
    ) -> Result<Vec<Vec<Vec<Row<K>>>>> {
        // The same ranges as when they were counted, by any worker.
        self.exec.for_each_range(
            rows.len(),
            size_of::<T>(),
            || vec![Vec::new(); heaps],
            |heaps: &mut Vec<Vec<Row<K>>>, range| {
                let Ok(n) = places.binary_search_by_key(&range.start, |(start, _)| *start) else {
                    unreachable!("ranges are a matter of row counts and sizes");
                };
                let mut places = places[n].1.clone();
                for row in rows.slices(range).flatten() {
                    let row = look(row);
                    let piece = bounds.piece(self.key(stage, &row));
                    let place = &mut places[piece];
                    if *place != NOWHERE {
                        // SAFETY: places were counted, one for each row.
                        unsafe { self.out.set(*place, row) };
                        *place += 1;
                    } else if let Fate::Collected(heap) = fates[piece].0 {
                        heaps[heap].push(row);
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
        places.resize(cells + 1, 0);
        for row in &*rows {
            places[cell(row) + 1] += 1;
        }
        for i in 1..=cells {
            places[i] += places[i - 1];
        }
        sorted.clear();
        sorted.resize(rows.len(), rows[0]);
        for row in &*rows {
            let place = &mut places[cell(row)];
            sorted[*place as usize] = *row;
            *place += 1;
        }
        let mut start = 0;
        for end in &places[..cells] {
            let end = *end as usize;
            if end - start > 1 {
                sort_few(&mut sorted[start..end], &order);
            }
            start = end;
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

/// By insertion, as long as that is fast.
#[inline]
fn sort_few<K: Key>(rows: &mut [Row<K>], order: &impl Fn(&Row<K>, &Row<K>) -> std::cmp::Ordering) {
    if rows.len() > HANDFUL {
        rows.sort_unstable_by(order);
        return;
    }
    for i in 1..rows.len() {
        let row = rows[i];
        let mut at = i;
        while at > 0 && order(&row, &rows[at - 1]).is_lt() {
            rows[at] = rows[at - 1];
            at -= 1;
        }
        rows[at] = row;
    }
}
