//! Sums of rows that do not depend on where rows lie.
//!
//! A sum is kept in two numbers, the second of which holds what rounding took from the
//! first, and is rounded once, at the end. It is exact, or so close that rows in another
//! order, or in shards, give the same bits: with n rows it is off by about n * 2^-105, and
//! what rounds differently must lie as close to the middle between two numbers.

use super::{Metric, Space};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::Exec;
use crate::simd::{Isa, Lanes, Op};

/// The sums of the columns of some prepared rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Sums {
    /// The sums.
    pub high: Vec<f64>,
    /// What they lack.
    pub low: Vec<f64>,
    /// How many rows they are of.
    pub count: u64,
    /// The largest magnitude of a number in these.
    pub largest: f64,
}

/// The rounded sum of two numbers, and what rounding took.
///
/// D. E. Knuth. The Art of Computer Programming, volume 2, 4.2.2.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

impl Sums {
    /// Of no rows.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self {
            high: vec![0.0; width],
            low: vec![0.0; width],
            count: 0,
            largest: 0.0,
        }
    }

    /// Adds the sums of other rows, of as many columns.
    pub fn add(&mut self, other: &Self) {
        let others = other.high.iter().zip(&other.low);
        let own = self.high.iter_mut().zip(&mut self.low);
        for ((high, low), (other, rest)) in own.zip(others) {
            let (sum, lost) = two_sum(*high, *other);
            (*high, *low) = two_sum(sum, *low + rest + lost);
        }
        self.count += other.count;
        self.largest = self.largest.max(other.largest);
    }

    /// The means of the columns; zeros of no rows.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let count = self.count.max(1) as f64;
        let sums = self.high.iter().zip(&self.low);
        sums.map(|(high, low)| (high + low) / count).collect()
    }
}

/// Adds a few rows to sums, but does not count them; whether all numbers are finite.
pub(super) struct AddRows<'a> {
    pub rows: &'a [f64],
    pub sums: &'a mut Sums,
}

impl Op for AddRows<'_> {
    type Out = bool;

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> bool {
        let Sums {
            high, low, largest, ..
        } = self.sums;
        let width = high.len().max(1);
        let eights = width / 8 * 8;
        // Zero times a number that is not finite is NaN.
        let mut odd_zero = 0.0;
        let mut lanes = [0.0; 8];
        // SAFETY: dispatch vouches for the CPU; eights of the rows and sums, and `lanes`.
        unsafe {
            let zero = I::F64::new(0.0);
            let (mut zeros, mut most) = (zero, zero);
            for at in (0..eights).step_by(8) {
                let (to, rest) = (high[at..at + 8].as_mut_ptr(), low[at..at + 8].as_mut_ptr());
                let (mut sum, mut lacking) = (I::F64::load(to), I::F64::load(rest));
                for row in self.rows.chunks_exact(width) {
                    let x = I::F64::load(row[at..at + 8].as_ptr());
                    let lost;
                    (sum, lost) = two_sums(sum, x);
                    lacking = lacking.add(lost);
                    zeros = x.fma(zero, zeros);
                    most = x.abs().max(most);
                }
                // What is lacking stays small beside the sum.
                (sum, lacking) = two_sums(sum, lacking);
                sum.store(to);
                lacking.store(rest);
            }
            zeros.store(lanes.as_mut_ptr());
            for zero in lanes {
                odd_zero += zero;
            }
            most.store(lanes.as_mut_ptr());
        }
        for x in lanes {
            *largest = largest.max(x);
        }
        for at in eights..high.len() {
            let (mut sum, mut lacking) = (high[at], low[at]);
            for row in self.rows.chunks_exact(width) {
                let lost;
                (sum, lost) = two_sum(sum, row[at]);
                lacking += lost;
                odd_zero += row[at] * 0.0;
                *largest = largest.max(row[at].abs());
            }
            (high[at], low[at]) = two_sum(sum, lacking);
        }
        odd_zero == 0.0
    }
}

/// [`two_sum`] of lanes.
#[inline(always)]
fn two_sums<V: Lanes>(a: V, b: V) -> (V, V) {
    let sum = a.add(b);
    let part = sum.sub(a);
    (sum, a.sub(sum.sub(part)).add(b.sub(part)))
}

/// Adds the rows of `matrix`, but for those whose byte of `exclude` is not zero: scaled to
/// length one under cosine.
///
/// # Errors
/// [`Error::Value`] for rows that have no distance, [`Error::Shape`] for a mask of another
/// length, [`Error::Cancelled`].
pub fn sum_of_rows(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    metric: Metric,
    exclude: Option<&[u8]>,
) -> Result<Sums> {
    if let Some(mask) = exclude
        && mask.len() != matrix.rows()
    {
        return Err(Error::Shape(format!(
            "exclude: expected one value a row ({}), got {}",
            matrix.rows(),
            mask.len()
        )));
    }
    let space = Space::new(*matrix, metric, exec.simd);
    let used = |row: usize| exclude.is_none_or(|mask| mask[row] == 0);
    let mut sums = space.sums(exec, "embeddings", used)?;
    sums.high.truncate(space.dims());
    sums.low.truncate(space.dims());
    Ok(sums)
}

/// The squared distances of all rows of `matrix` to a point, which is taken as it is while
/// rows are scaled to length one under cosine.
///
/// # Errors
/// [`Error::Shape`] for a point of other dimensions, [`Error::Cancelled`].
pub fn squared_to_point(
    exec: &Exec<'_>,
    matrix: &Matrix<'_>,
    metric: Metric,
    point: &[f64],
) -> Result<Vec<f64>> {
    if point.len() != matrix.cols() {
        return Err(Error::Shape(format!(
            "point: expected {} dimensions like the embeddings, got {}",
            matrix.cols(),
            point.len()
        )));
    }
    let space = Space::new(*matrix, metric, exec.simd);
    let mut prepared = point.to_vec();
    prepared.resize(space.width(), 0.0);
    let rows: Vec<u32> = (0..space.rows() as u32).collect();
    space.distances_to(exec, &rows, &prepared)
}
