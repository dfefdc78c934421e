//! The joint distribution of the labels of a batch: configurations of labels, how
//! probable each is, and how probable each member is once it is known.
//!
//! Weights of members are brought to sum one in each configuration, whatever its
//! probability, so that nothing underflows however large the batch.
//!
//! # Too many configurations
//! Then configurations are drawn, as many from each member: the labels of one are what
//! its member says, so it comes from the joint distribution of member and labels, and
//! over all members from that of the labels. A row that is added has its label drawn by
//! the same member. Within a member, the numbers that labels are drawn with are spread
//! evenly over `[0, 1)`, in an order of their own for each row (Latin hypercube
//! sampling; `McKay`, Beckman & Conover 1979): each still is uniform, so means are
//! unbiased, and every label has its due share.
//!
//! The mean weights of the members are those of the configurations drawn, not
//! `1 / members`: expected entropies are weighted by them, so that a gain is a mean of
//! numbers that are not negative, of the same expectation and less noise, which goes to
//! zero with the gain.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::entropy::{Packed, padded};
use crate::select::ids::{mix, uniform};
use crate::simd::Simd;

/// Configurations less probable than this are none: all together they are less than
/// rounding takes away.
const LEAST: f64 = 1e-30;
/// Nor has a member a part in a configuration that makes it less probable than this.
const NEVER: f64 = 1e-100;
/// Groups that configurations are cut into.
const GROUPS: [usize; 4] = [32, 128, 512, 2048];
/// Configurations of a group, on average, that make it worth while.
const WORTH: usize = 4;
/// Weights of members that vary less are the same.
const ALIKE: f64 = 1e-20;

/// Configurations that are alike.
struct Part {
    /// How far they are from that: what knowing which it is tells of the member, to the
    /// second order and times two, `Σ_m var(w_m) / mean(w_m)` times their probability.
    spread: f64,
    /// In the order.
    range: Range<usize>,
    /// The member whose weights vary most, and their mean.
    member: usize,
    cut: f64,
}

/// See the module.
pub(super) struct Joint {
    classes: usize,
    samples: usize,
    seed: u64,
    depth: usize,
    /// What each row of the batch is by the members, until labels are drawn.
    batch: Vec<Vec<f64>>,
    is_drawn: bool,
    all: Configurations,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Part {}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_spread = self.spread.total_cmp(&other.spread);
        by_spread.then(other.range.start.cmp(&self.range.start))
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Configurations, one after the other.
#[derive(Clone)]
struct Configurations {
    members: usize,
    /// Their probabilities.
    shares: Vec<f64>,
    /// Of the members.
    weights: Vec<f64>,
}

/// Configurations in groups of falling size; the last level is the configurations themselves.
#[derive(Default)]
pub(super) struct Levels {
    groups: Vec<Packed>,
    classes: usize,
    /// The mean weights of the members, each for every class, in whole vectors.
    means: Vec<f64>,
    /// Entropies that are computed for each.
    pub costs: Vec<usize>,
}

impl Levels {
    /// The gain of a row, or an upper bound where the level is not the last.
    pub(super) fn gain(&self, simd: Simd, level: usize, row: &[f64]) -> f64 {
        self.groups[level].gain(simd, self.classes, &self.means, row)
    }
}

impl Joint {
    /// Of no rows, for so many members and classes.
    pub(super) fn new((members, classes): (usize, usize), samples: usize, seed: u64) -> Self {
        Self {
            classes,
            samples,
            seed,
            depth: 0,
            batch: Vec::new(),
            is_drawn: false,
            all: Configurations::drawn(1, members),
        }
    }

    /// Rows that have been added.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Adds a row, by what the members say of it.
    pub(super) fn add(&mut self, mut row: Vec<f64>) {
        row.truncate(self.all.members * self.classes);
        // Rows need not sum to one exactly, but what is known of members would drift.
        for p in row.chunks_exact_mut(self.classes) {
            let sum: f64 = p.iter().sum();
            for p in p {
                *p /= sum;
            }
        }
        self.depth += 1;
        if self.is_drawn {
            self.draw(&row, self.depth);
            return;
        }
        if let Some(all) = self.all.times(&row, self.classes, self.samples) {
            self.all = all;
            self.batch.push(row);
            return;
        }
        self.is_drawn = true;
        let members = self.all.members;
        self.all = Configurations::drawn(self.samples.div_ceil(members) * members, members);
        self.batch.push(row);
        for (at, row) in std::mem::take(&mut self.batch).iter().enumerate() {
            self.draw(row, at + 1);
        }
    }

    /// Draws a label of the row for each configuration.
    fn draw(&mut self, row: &[f64], depth: usize) {
        let members = self.all.members;
        let count = self.all.shares.len() / members;
        let salt = mix(depth as u64 ^ mix(self.seed));
        for member in 0..members {
            let says = &row[member * self.classes..][..self.classes];
            let own = member * count..(member + 1) * count;
            let mut order: Vec<(u64, usize)> = own.map(|c| (mix(c as u64 ^ salt), c)).collect();
            order.sort_unstable();
            for (rank, (hash, configuration)) in order.into_iter().enumerate() {
                let height = (rank as f64 + uniform(mix(hash))) / count as f64;
                let label = label_at(says, height);
                let weights = &mut self.all.weights[configuration * members..][..members];
                for (weight, p) in weights.iter_mut().zip(row.chunks_exact(self.classes)) {
                    *weight *= p[label];
                }
                if !normalise(weights) {
                    weights.fill(0.0);
                    weights[member] = 1.0;
                }
            }
        }
    }

    /// What gains are computed with.
    pub(super) fn levels(&self) -> Levels {
        let count = self.all.shares.len();
        let mut order: Vec<u32> = (0..count as u32).collect();
        let mut parts = BinaryHeap::new();
        let mut packed = Vec::new();
        for groups in GROUPS.into_iter().filter(|groups| groups * WORTH <= count) {
            if parts.is_empty() {
                parts.push(self.all.part(0..count, &order));
            }
            self.all.cut(&mut order, &mut parts, groups);
            let groups = self.all.grouped(&order, &parts);
            packed.push(Packed::new(&groups.shares, &groups.weights));
        }
        packed.push(Packed::new(&self.all.shares, &self.all.weights));
        let each = |mean| std::iter::repeat_n(mean, self.classes);
        let mut means: Vec<f64> = self.all.means().into_iter().flat_map(each).collect();
        means.resize(padded(means.len()), 0.0);
        Levels {
            costs: packed.iter().map(Packed::len).collect(),
            groups: packed,
            classes: self.classes,
            means,
        }
    }
}

/// The label that a number in `[0, 1)` falls to; never one of probability zero.
fn label_at(p: &[f64], height: f64) -> usize {
    let mut sum = 0.0;
    let reaches = |p: &f64| {
        sum += p;
        sum > height
    };
    let found = p.iter().position(reaches);
    found.unwrap_or_else(|| p.iter().rposition(|p| *p > 0.0).unwrap_or(0))
}

/// Brings weights to sum one, if they can be.
fn normalise(weights: &mut [f64]) -> bool {
    let total: f64 = weights.iter().sum();
    for weight in weights.iter_mut() {
        *weight /= total;
        // Numbers that are not normal are slow.
        if *weight < NEVER {
            *weight = 0.0;
        }
    }
    total >= f64::MIN_POSITIVE
}

impl Configurations {
    /// Of no labels yet, all members as probable.
    fn drawn(count: usize, members: usize) -> Self {
        Self {
            members,
            shares: vec![1.0 / count as f64; count],
            weights: vec![1.0 / members as f64; count * members],
        }
    }

    fn iter(&self) -> impl Iterator<Item = (f64, &[f64])> {
        let shares = self.shares.iter().copied();
        shares.zip(self.weights.chunks_exact(self.members))
    }

    /// Each with each label of a row; none if that makes more than `most`.
    fn times(&self, row: &[f64], classes: usize, most: usize) -> Option<Self> {
        let (mut shares, mut weights) = (Vec::new(), Vec::new());
        for (share, old) in self.iter() {
            for label in 0..classes {
                let says = row.chunks_exact(classes).map(|p| p[label]);
                let total: f64 = old.iter().zip(says.clone()).map(|(w, p)| w * p).sum();
                if share * total < LEAST {
                    continue;
                }
                if shares.len() == most {
                    return None;
                }
                shares.push(share * total);
                let start = weights.len();
                weights.extend(old.iter().zip(says).map(|(w, p)| w * p));
                normalise(&mut weights[start..]);
            }
        }
        Some(Self {
            members: self.members,
            shares,
            weights,
        })
    }

    /// How probable the members are over all.
    fn means(&self) -> Vec<f64> {
        let mut means = vec![0.0; self.members];
        for (share, weights) in self.iter() {
            for (mean, weight) in means.iter_mut().zip(weights) {
                *mean += share * weight;
            }
        }
        means
    }

    /// Moments of the weights of some.
    fn part(&self, range: Range<usize>, order: &[u32]) -> Part {
        let mut total = 0.0;
        let mut moments = vec![(0.0, 0.0); self.members];
        for at in &order[range.clone()] {
            let at = *at as usize;
            let share = self.shares[at];
            total += share;
            let weights = &self.weights[at * self.members..][..self.members];
            for ((first, second), weight) in moments.iter_mut().zip(weights) {
                *first += share * weight;
                *second += share * weight * weight;
            }
        }
        let mut part = Part {
            spread: 0.0,
            range,
            member: 0,
            cut: 0.0,
        };
        let mut widest = 0.0;
        for (member, (first, second)) in moments.into_iter().enumerate() {
            let spread = second / first - first / total;
            if spread > 0.0 {
                part.spread += spread;
            }
            if spread > widest {
                (widest, part.member, part.cut) = (spread, member, first / total);
            }
        }
        part
    }

    /// Cuts configurations into parts that are alike, always the one that tells most of
    /// its members, until there are so many.
    fn cut(&self, order: &mut [u32], parts: &mut BinaryHeap<Part>, count: usize) {
        while parts.len() < count
            && let Some(part) = parts.pop()
        {
            let Range { start, end } = part.range;
            let weight = |at: u32| self.weights[at as usize * self.members + part.member];
            let own = &mut order[start..end];
            own.sort_unstable_by_key(|at| (weight(*at) <= part.cut, *at));
            let middle = start + own.partition_point(|at| weight(*at) > part.cut);
            if part.spread <= ALIKE || middle == start || middle == end {
                parts.push(Part {
                    spread: 0.0,
                    ..part
                });
                break;
            }
            parts.push(self.part(start..middle, order));
            parts.push(self.part(middle..end, order));
        }
    }

    /// Parts in place of their configurations.
    fn grouped(&self, order: &[u32], parts: &BinaryHeap<Part>) -> Self {
        let (mut shares, mut weights) = (Vec::new(), Vec::new());
        for part in parts {
            let own = || order[part.range.clone()].iter().map(|at| *at as usize);
            let share: f64 = own().map(|at| self.shares[at]).sum();
            let start = weights.len();
            weights.resize(start + self.members, 0.0);
            for at in own() {
                let part = self.shares[at] / share;
                let own = &self.weights[at * self.members..][..self.members];
                for (weight, own) in weights[start..].iter_mut().zip(own) {
                    *weight += part * own;
                }
            }
            shares.push(share);
        }
        Self {
            members: self.members,
            shares,
            weights,
        }
    }
}
