//! What a selection has to keep to, whatever picks the rows: quotas of groups, a
//! budget, a distance from each other.
//!
//! Picks only ever use up what there is, so a row that is refused once is refused for
//! good. Every algorithm asks [`Gate::admits`] before it picks a row, and tells
//! [`Gate::take`] afterwards.

use super::k_center::KCenter;
use crate::distances::{Best, Centres, Metric, Space, Sweep};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;
use crate::simd::{Simd, dispatch};

/// Groups that rows belong to, and how many of each may be picked.
#[derive(Debug, Clone, Copy)]
pub struct Quota<'a> {
    /// What these groups are called, for messages.
    pub name: &'a str,
    /// The group of each row: codes from 0, fewer than rows.
    pub groups: &'a [i64],
    /// The most picks of one group.
    pub most: usize,
}

/// What labels cost, and what there is to spend.
#[derive(Debug, Clone, Copy)]
pub struct Budget<'a> {
    /// The cost of each row.
    pub costs: &'a [f64],
    /// All picks together may cost so much.
    pub budget: f64,
}

/// How far from each other picks have to be.
#[derive(Debug, Clone, Copy)]
pub struct Apart<'a> {
    /// The rows as points.
    pub embeddings: Matrix<'a>,
    /// The distance.
    pub metric: Metric,
    /// Rows nearer than this to a pick are not picked.
    pub least: f64,
    /// Rows of another matrix to keep away from as well.
    pub centers: Option<Matrix<'a>>,
    /// Rows of the pool to keep away from as well.
    pub labelled: &'a [i64],
}

/// All that picks have to keep to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits<'a> {
    /// Quotas; a row has to be within all of them.
    pub quotas: &'a [Quota<'a>],
    /// What may be spent.
    pub budget: Option<Budget<'a>>,
    /// How far apart picks are.
    pub apart: Option<Apart<'a>>,
    /// Rows that are picked already.
    pub taken: &'a [i64],
}

impl<'a> Limits<'a> {
    /// A gate that has let in what is `taken`.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Option`] and [`Error::Value`] for what does not fit a
    /// pool of so many rows.
    pub(crate) fn gate(&self, rows: usize, simd: Simd) -> Result<Gate<'a>> {
        let mut gate = Gate {
            quotas: Vec::new(),
            budget: self.budget,
            apart: None,
        };
        for quota in self.quotas {
            fits(quota.name, quota.groups.len(), rows)?;
            let most = quota.groups.iter().max().map_or(0, |most| *most as usize);
            let row = quota
                .groups
                .iter()
                .position(|g| *g < 0 || *g as usize >= rows);
            if let Some(row) = row {
                return Err(Error::Option(format!(
                    "{}: row {row} has code {}; expected codes from 0 to {}",
                    quota.name,
                    quota.groups[row],
                    rows.saturating_sub(1)
                )));
            }
            gate.quotas.push((quota.groups, vec![quota.most; most + 1]));
        }
        if let Some(Budget { costs, .. }) = self.budget {
            fits("costs", costs.len(), rows)?;
            // So that one over them is a number, too.
            let is_bad = |cost: &f64| !(1e-300..f64::INFINITY).contains(cost);
            if let Some(row) = costs.iter().position(is_bad) {
                return Err(Error::Value(format!(
                    "costs: row {row} has {}; expected finite numbers above 0",
                    costs[row]
                )));
            }
        }
        if let Some(apart) = self.apart {
            fits("embeddings", apart.embeddings.rows(), rows)?;
            gate.apart = Some(Distancing::new(&apart, simd)?);
        }
        let is_outside = |row: &&i64| usize::try_from(**row).map_or(true, |row| row >= rows);
        if let Some(row) = self.taken.iter().find(is_outside) {
            return Err(Error::Option(format!(
                "must_include: expected positions from 0 to {}, got {row}",
                rows.saturating_sub(1)
            )));
        }
        for row in self.taken {
            gate.take(*row as usize);
        }
        Ok(gate)
    }
}

fn fits(name: &str, len: usize, rows: usize) -> Result<()> {
    if len == rows {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "{name}: expected one value a row ({rows}), got {len}"
    )))
}

/// What is left of the limits.
#[derive(Debug, Default)]
pub(crate) struct Gate<'a> {
    /// The group of each row, and the picks that each group may still have.
    quotas: Vec<(&'a [i64], Vec<usize>)>,
    budget: Option<Budget<'a>>,
    apart: Option<Distancing<'a>>,
}

impl Gate<'_> {
    /// Whether a row may be picked as things stand.
    pub(crate) fn admits(&self, row: usize) -> bool {
        let is_full = |(groups, left): &(&[i64], Vec<usize>)| left[groups[row] as usize] == 0;
        !self.quotas.iter().any(is_full)
            && self.budget.is_none_or(|b| b.costs[row] <= b.budget)
            && self.apart.as_ref().is_none_or(|apart| apart.admits(row))
    }

    /// A row is picked.
    pub(crate) fn take(&mut self, row: usize) {
        for (groups, left) in &mut self.quotas {
            let left = &mut left[groups[row] as usize];
            *left = left.saturating_sub(1);
        }
        if let Some(budget) = &mut self.budget {
            budget.budget -= budget.costs[row];
        }
        if let Some(apart) = &mut self.apart {
            apart.take(row);
        }
    }

    /// What a row is worth: its score, for each unit of cost.
    pub(crate) fn worth(&self, row: usize, score: f64) -> f64 {
        self.budget.map_or(score, |b| score / b.costs[row])
    }
}

/// See [`Apart`].
#[derive(Debug)]
struct Distancing<'a> {
    space: Space<'a>,
    simd: Simd,
    metric: Metric,
    least: f64,
    /// What rows are to be apart from.
    centres: Centres,
}

impl<'a> Distancing<'a> {
    fn new(apart: &Apart<'a>, simd: Simd) -> Result<Self> {
        let space = Space::new(apart.embeddings, apart.metric, simd);
        let cover = KCenter {
            centers: apart.centers,
            labelled: apart.labelled,
            min_distance: Some(apart.least),
            ..KCenter::new(0, apart.metric)
        };
        cover.fits(&apart.embeddings)?;
        let mut made = Self {
            space,
            simd,
            metric: apart.metric,
            least: apart.least,
            centres: Centres::new(space.width()),
        };
        if let Some(centers) = apart.centers {
            let others = Space::new(centers, apart.metric, simd);
            for row in 0..centers.rows() {
                made.centres.push(&others.row(row));
            }
        }
        for row in apart.labelled {
            made.take(*row as usize);
        }
        Ok(made)
    }

    /// A row that has no distance (NaN, or zeros under cosine) is near nothing.
    fn admits(&self, row: usize) -> bool {
        let prepared = self.space.row(row);
        let mut best = [Best::NONE];
        let sweep = Sweep {
            width: self.space.width(),
            rows: &prepared,
            centres: self.centres.range(0..self.centres.len()),
            first: 0,
            best: &mut best,
        };
        dispatch(self.simd, sweep);
        self.metric.finish(best[0].squared) >= self.least
    }

    fn take(&mut self, row: usize) {
        self.centres.push(&self.space.row(row));
    }
}

/// The first `k` rows of an order that keep to the limits, as positions in the order.
///
/// # Errors
/// As [`Limits`] has them, and [`Error::Option`] for rows outside the pool.
pub fn admit(
    exec: &Exec<'_>,
    order: &[i64],
    rows: usize,
    k: usize,
    limits: &Limits<'_>,
) -> Result<Vec<i64>> {
    let mut gate = limits.gate(rows, exec.simd)?;
    let mut admitted = Vec::new();
    for (at, row) in order.iter().enumerate() {
        if admitted.len() == k {
            break;
        }
        exec.go_on()?;
        let row = usize::try_from(*row).ok().filter(|row| *row < rows);
        let row = row.ok_or_else(|| Error::Option(format!("order: expected rows below {rows}")))?;
        if gate.admits(row) {
            gate.take(row);
            admitted.push(at as i64);
        }
    }
    Ok(admitted)
}
