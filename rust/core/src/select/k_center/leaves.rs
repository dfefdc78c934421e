//! Few dimensions: the leaves of a k-d tree in place of single rows.
//!
//! A leaf's farthest row is as lazy a bound as a row's distance is. A leaf on top is
//! brought up to date against the centres that its box does not rule out.

use std::collections::BinaryHeap;

use super::Engine;
use super::rules::{Ranked, Rules};
use super::trace::Trace;
use super::tree::Points;
use crate::distances::{EIGHT, FirstOfBox, PlaneCentres, ShowBox, Space};
use crate::error::Result;
use crate::parallel::{Disjoint, Exec};
use crate::simd::dispatch;

/// Leaves brought up to date at a time, at most.
const BATCH: usize = 64;
/// Leaves that are worth waking another thread for.
const PARALLEL: usize = 12;

/// Rows that lie close to each other.
struct Leaf {
    /// Where its rows begin, in eights.
    first: usize,
    /// Its rows in eights.
    eights: usize,
    /// Centres that it was shown.
    seen: usize,
    /// The first row as of then, and its place.
    top: Ranked,
    place: usize,
}

/// See the module.
pub(super) struct Leaves<'a> {
    exec: &'a Exec<'a>,
    space: Space<'a>,
    dims: usize,
    /// The leaves.
    each: Vec<Leaf>,
    /// The corners of their boxes: lowest, then highest.
    corners: Vec<f64>,
    /// The rows in order of the leaves, eight by eight; missing ones repeat others.
    ids: Vec<u32>,
    planes: Vec<[f64; EIGHT]>,
    squared: Vec<[f64; EIGHT]>,
    factor: Vec<[f64; EIGHT]>,
    cap: Vec<[f64; EIGHT]>,
    centres: PlaneCentres,
    computed: u64,
}

impl<'a> Leaves<'a> {
    /// Plants the tree over the rows that are to be covered.
    pub(super) fn new(exec: &'a Exec<'a>, space: Space<'a>, mut rows: Vec<u32>) -> Result<Self> {
        let dims = space.width();
        let mut points = vec![0.0; space.rows() * dims];
        {
            let out = Disjoint::new(&mut points);
            let all = space.rows();
            exec.for_each_chunk(
                all,
                4096,
                || (),
                |(), range| {
                    let list: Vec<u32> = range.clone().map(|row| row as u32).collect();
                    // SAFETY: ranges do not overlap.
                    let out = unsafe { out.range(range.start * dims..range.end * dims) };
                    space.load(&list, out);
                },
            )?;
        }
        let sizes = {
            let points = Points {
                dims,
                points: &points,
            };
            match exec.pool {
                Some(pool) => pool.install(|| points.split(&mut rows, true)),
                None => points.split(&mut rows, false),
            }
        };
        let mut leaves = Vec::with_capacity(sizes.len());
        let mut eights = 0;
        for size in &sizes {
            leaves.push(Leaf {
                first: eights,
                eights: size.div_ceil(EIGHT),
                seen: 0,
                top: Ranked::LAST,
                place: 0,
            });
            eights += size.div_ceil(EIGHT);
        }
        let mut tree = Self {
            exec,
            space,
            dims,
            corners: vec![0.0; 2 * dims * leaves.len()],
            ids: vec![0; eights * EIGHT],
            planes: vec![[0.0; EIGHT]; eights * dims],
            squared: vec![[f64::INFINITY; EIGHT]; eights],
            factor: vec![[1.0; EIGHT]; eights],
            cap: vec![[-1.0; EIGHT]; eights],
            each: leaves,
            centres: PlaneCentres::new(dims),
            computed: 0,
        };
        tree.fill(&points, &rows, &sizes)?;
        Ok(tree)
    }

    /// Copies the rows into their leaves.
    fn fill(&mut self, points: &[f64], rows: &[u32], sizes: &[usize]) -> Result<()> {
        let dims = self.dims;
        let mut starts = Vec::with_capacity(sizes.len());
        let mut start = 0;
        for size in sizes {
            starts.push(start);
            start += size;
        }
        let corners = Disjoint::new(&mut self.corners);
        let ids = Disjoint::new(&mut self.ids);
        let planes = Disjoint::new(&mut self.planes);
        let squared = Disjoint::new(&mut self.squared);
        let leaves = &self.each;
        self.exec.for_each_chunk(
            sizes.len(),
            16,
            || (),
            |(), range| {
                for at in range {
                    let leaf = &leaves[at];
                    let rows = &rows[starts[at]..starts[at] + sizes[at]];
                    let (first, last) = (leaf.first, leaf.first + leaf.eights);
                    // SAFETY: leaves do not overlap.
                    let (corners, ids, planes, squared) = unsafe {
                        (
                            corners.range(2 * dims * at..2 * dims * (at + 1)),
                            ids.range(first * EIGHT..last * EIGHT),
                            planes.range(first * dims..last * dims),
                            squared.range(first..last),
                        )
                    };
                    let (low, high) = corners.split_at_mut(dims);
                    low.fill(f64::INFINITY);
                    high.fill(f64::NEG_INFINITY);
                    for (i, id) in ids.iter_mut().enumerate() {
                        *id = rows[i.min(rows.len() - 1)];
                        let point = &points[*id as usize * dims..][..dims];
                        for (d, x) in point.iter().enumerate() {
                            planes[i / EIGHT * dims + d][i % EIGHT] = *x;
                            low[d] = low[d].min(*x);
                            high[d] = high[d].max(*x);
                        }
                        if i >= rows.len() {
                            squared[i / EIGHT][i % EIGHT] = 0.0;
                        }
                    }
                }
            },
        )?;
        Ok(())
    }

    /// Takes over what orders the rows.
    fn order(&mut self, rules: &Rules<'_>) -> Result<BinaryHeap<(Ranked, usize)>> {
        let (leaves, ids) = (&self.each, &self.ids);
        let factor = Disjoint::new(&mut self.factor);
        let cap = Disjoint::new(&mut self.cap);
        self.exec.for_each_chunk(
            leaves.len(),
            16,
            || (),
            |(), range| {
                for leaf in &leaves[range] {
                    let eights = leaf.first..leaf.first + leaf.eights;
                    // SAFETY: leaves do not overlap.
                    let (factor, cap) =
                        unsafe { (factor.range(eights.clone()), cap.range(eights.clone())) };
                    let (factor, cap) = (factor.as_flattened_mut(), cap.as_flattened_mut());
                    let mut before = u32::MAX;
                    for (i, row) in ids[eights.start * EIGHT..eights.end * EIGHT]
                        .iter()
                        .enumerate()
                    {
                        // Rows ascend in a leaf; those that complete an eight repeat.
                        (factor[i], cap[i]) = if *row == before {
                            (1.0, -1.0)
                        } else {
                            rules.factor_and_cap(*row as usize)
                        };
                        before = *row;
                    }
                }
            },
        )?;
        for at in 0..self.each.len() {
            self.rank(at);
        }
        let leaves = self.each.iter().enumerate();
        Ok(leaves.map(|(at, leaf)| (leaf.top, at)).collect())
    }

    /// Finds the first row of a leaf.
    fn rank(&mut self, at: usize) {
        let leaf = &mut self.each[at];
        let eights = leaf.first..leaf.first + leaf.eights;
        let first = FirstOfBox {
            squared: &self.squared[eights.clone()],
            factor: &self.factor[eights.clone()],
            cap: &self.cap[eights],
        };
        let (key, place) = dispatch(self.exec.simd, first);
        leaf.place = leaf.first * EIGHT + place;
        leaf.top = Ranked {
            key,
            row: self.ids[leaf.place],
        };
    }

    /// Whether the first row of a leaf may be nearer to a centre than is known.
    fn is_stale(&self, at: usize) -> bool {
        let leaf = &self.each[at];
        let squared = self.squared[leaf.place / EIGHT][leaf.place % EIGHT];
        squared > 0.0 && leaf.seen < self.centres.len()
    }

    /// Shows some leaves (each once) the centres that they have not seen.
    fn show(&mut self, which: &[usize]) -> Result<()> {
        let (dims, centres, simd) = (self.dims, &self.centres, self.exec.simd);
        let (corners, planes, ids) = (&self.corners, &self.planes, &self.ids);
        let (factor, cap) = (&self.factor, &self.cap);
        let leaves = Disjoint::new(&mut self.each);
        let squared = Disjoint::new(&mut self.squared);
        let work = |computed: &mut u64, at: usize| {
            // SAFETY: each leaf is there once.
            let leaf = unsafe { &mut leaves.range(at..at + 1)[0] };
            let eights = leaf.first..leaf.first + leaf.eights;
            // SAFETY: leaves do not overlap.
            let squared = unsafe { squared.range(eights.clone()) };
            let corners = &corners[2 * dims * at..2 * dims * (at + 1)];
            let show = ShowBox {
                centres,
                first: leaf.seen,
                corners: [&corners[..dims], &corners[dims..]],
                planes: &planes[eights.start * dims..eights.end * dims],
                squared,
            };
            *computed += dispatch(simd, show) as u64;
            let first = FirstOfBox {
                squared,
                factor: &factor[eights.clone()],
                cap: &cap[eights],
            };
            let (key, place) = dispatch(simd, first);
            leaf.seen = centres.len();
            leaf.place = leaf.first * EIGHT + place;
            leaf.top = Ranked {
                key,
                row: ids[leaf.place],
            };
        };
        if which.len() < PARALLEL {
            for at in which {
                work(&mut self.computed, *at);
            }
            return Ok(());
        }
        let states = self.exec.for_each_chunk(
            which.len(),
            4,
            || 0,
            |computed, range| {
                for at in &which[range] {
                    work(computed, *at);
                }
            },
        )?;
        self.computed += states.iter().sum::<u64>();
        Ok(())
    }
}

impl Engine for Leaves<'_> {
    fn push(&mut self, centre: &[f64]) {
        self.centres.push(centre);
    }

    fn update(&mut self) -> Result<()> {
        let all: Vec<usize> = (0..self.each.len()).collect();
        self.show(&all)
    }

    fn squared(&mut self, row: usize) -> f64 {
        let place = self.ids.iter().position(|id| *id as usize == row);
        place.map_or(0.0, |place| self.squared[place / EIGHT][place % EIGHT])
    }

    fn take(&mut self, row: usize) {
        let centre = self.space.row(row);
        self.push(&centre);
    }

    fn computed(&self) -> u64 {
        self.computed
    }

    fn search(
        &mut self,
        rules: &mut Rules<'_>,
        trace: &mut Trace<'_>,
        k: usize,
    ) -> Result<Option<f64>> {
        let mut heap = self.order(rules)?;
        let mut batch = Vec::new();
        // As many leaves at once as the last pick needed.
        let (mut size, mut updated) = (1, 0);
        while trace.picks.len() < k
            && let Some((top, at)) = heap.pop()
            && top.key >= 0.0
        {
            if self.is_stale(at) {
                batch.clear();
                batch.push(at);
                while batch.len() < size
                    && let Some((_, at)) = heap.peek()
                    && self.is_stale(*at)
                {
                    batch.push(*at);
                    heap.pop();
                }
                self.show(&batch)?;
                updated += batch.len();
                heap.extend(batch.iter().map(|at| (self.each[*at].top, *at)));
                continue;
            }
            let row = top.row as usize;
            let place = self.each[at].place;
            let (eight, lane) = (place / EIGHT, place % EIGHT);
            let squared = self.squared[eight][lane];
            let admitted = rules.admits_at(row, squared);
            if admitted && rules.is_measuring() {
                return Ok(Some(squared));
            }
            if admitted {
                self.take(row);
                rules.pick(row);
                trace.record(row, squared)?;
                self.squared[eight][lane] = 0.0;
                size = (updated / 2).clamp(1, BATCH);
                updated = 0;
            }
            self.cap[eight][lane] = -1.0;
            self.rank(at);
            heap.push((self.each[at].top, at));
        }
        Ok(None)
    }
}
