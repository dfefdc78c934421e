//! Distances between rows: what they are, and how they are computed exactly.
//!
//! There is one distance function, in `f64`, from differences: squared Euclidean
//! distance between *prepared* rows (`space`). The metrics differ in how rows are
//! prepared (cosine scales them to length one) and in the unit they report
//! ([`Metric::finish`]). Its order of summation depends on the number of dimensions
//! alone, so it gives the same bits on every machine, for any neighbours.

mod boxes;
mod density;
mod exact;
mod joint;
mod meet;
mod nearest;
mod neighbours;
mod pairs;
mod prepare;
mod screen;
mod show;
mod space;
mod sums;
#[cfg(test)]
mod tests;
mod to_centres;

use std::ops::Range;

pub(crate) use boxes::{EIGHT, FirstOfBox, PlaneCentres, ShowBox};
pub use density::density;
pub(crate) use exact::{Best, Sweep};
pub(crate) use joint::{Beside, Join};
pub use nearest::{Nearest, distances_before, nearest};
pub(crate) use neighbours::are_lists;
pub use neighbours::{Neighbours, Reach, neighbours};
pub(crate) use prepare::shift_rows;
pub(crate) use screen::{GROUP, GROUPS, Pack, SAFE, Screen, Screened};
pub use show::{Known, show_centers};
pub(crate) use space::{NARROW, Space};
pub use sums::{Sums, squared_to_point, sum_of_rows};

/// How far two rows are from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// `sqrt(sum (x_j - y_j)^2)`.
    Euclidean,
    /// `sum (x_j - y_j)^2`.
    SqEuclidean,
    /// `1 - cos(x, y)`, computed as half the squared distance of the rows scaled to
    /// length one: accurate also where the rows are nearly parallel.
    Cosine,
}

impl Metric {
    /// A squared distance of prepared rows in the unit of the metric.
    #[must_use]
    pub fn finish(self, squared: f64) -> f64 {
        match self {
            Self::Euclidean => squared.sqrt(),
            Self::SqEuclidean => squared,
            Self::Cosine => 0.5 * squared,
        }
    }

    /// What squared distances are to be multiplied with to order rows by
    /// `weight * distance`.
    #[must_use]
    pub fn factor(self, weight: f64) -> f64 {
        match self {
            Self::Euclidean => weight * weight,
            Self::SqEuclidean | Self::Cosine => weight,
        }
    }
}

/// Prepared rows that others are measured against, in `f64`, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Centres {
    width: usize,
    data: Vec<f64>,
    len: usize,
}

impl Centres {
    pub(crate) fn new(width: usize) -> Self {
        Self {
            width,
            data: Vec::new(),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a prepared row.
    pub(crate) fn push(&mut self, row: &[f64]) {
        debug_assert_eq!(row.len(), self.width);
        self.data.extend_from_slice(row);
        self.len += 1;
    }

    pub(crate) fn range(&self, range: Range<usize>) -> &[f64] {
        &self.data[range.start * self.width..range.end * self.width]
    }
}
