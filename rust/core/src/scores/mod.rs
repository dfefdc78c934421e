//! Scores: one number a row, higher = more worth labelling.
//!
//! A [`Score`] says what is computed; `Score::of_rows` computes it. Each kernel
//! reduces a row in one pass (logits: two over the cached row), and finds invalid
//! rows in the same pass: the sign bits of all elements and their sum are enough
//! to tell that something is wrong, and only then is the row looked at closely.

mod binary;
mod entropy;
mod logits;
pub mod pool;
pub(crate) mod rows;
pub(crate) mod sink;
mod sources;
#[cfg(test)]
pub(crate) mod tests;
mod top_two;

use std::marker::PhantomData;

use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::simd::{Lanes, Real, Simd, math};
use binary::{BinaryEntropy, BinaryRatio, Labels, OfTwo, Probability, Sigmoid, Smaller};
use entropy::Entropy;
use logits::Softmax;
use rows::{Kernel, Rows};
use sink::Sink;
use top_two::TopTwo;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// `-Σ p ln p`, in nats.
    Entropy,
    /// `1 - (p1 - p2)`.
    Margin,
    /// `1 - p1`.
    LeastConfidence,
    /// `p2 / p1`.
    Ratio,
}

/// What the numbers of a row are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Classes that exclude each other: probabilities that sum to one.
    Multiclass,
    /// Independent labels, each with a probability of its own; their two-class
    /// scores are aggregated. One label: `P(y = 1)` of a binary task.
    Multilabel(Aggregate),
}

/// How the scores of a row's labels become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// Their mean.
    Mean,
    /// Their largest.
    Max,
    /// Their sum.
    Sum,
}

/// The unit of entropy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// Natural logarithms.
    Nats,
    /// Logarithms to this base.
    Base(f64),
    /// Divided by the largest possible value, `ln(classes)`.
    Normalized,
}

/// A score of rows of probabilities or logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// What is measured.
    pub measure: Measure,
    /// What the numbers are about.
    pub task: Task,
    /// The unit of an entropy.
    pub unit: Unit,
    /// `Some` for logits, which are divided by this before the softmax or sigmoid.
    pub temperature: Option<f64>,
}

/// Why a row is invalid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Invalid {
    /// The value in this column is no probability (or no logit).
    Value(usize, f64),
    /// The row sums to this instead of one.
    Sum(f64),
    /// What was given as its score is none.
    Score(f64),
}

/// `s <= true score <= upper` for a score `s` of a screening pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bound {
    relative: f64,
    absolute: f64,
}

impl Bound {
    /// The least screening score that a row of true score `score` or more can have.
    pub(crate) fn least(self, score: f64) -> f64 {
        // The factor covers the rounding of this very line.
        (score - self.absolute) / (1.0 + self.relative) - score.abs() * 1e-15
    }
}

/// The bits of lanes whose value is close enough to one (a NaN is not).
#[inline(always)]
fn sums_to_one<V: Lanes>(sum: V, tolerance: f64) -> u32 {
    let off = sum.sub(sum.splat(V::Elem::of(1.0))).abs();
    V::bits(off.lt(sum.splat(V::Elem::of(tolerance))))
}

impl Score {
    /// A score in nats of mutually exclusive classes' probabilities.
    #[must_use]
    pub const fn new(measure: Measure) -> Self {
        Self {
            measure,
            task: Task::Multiclass,
            unit: Unit::Nats,
            temperature: None,
        }
    }

    /// Refuses options that make no sense.
    ///
    /// # Errors
    /// [`Error::Option`] for a temperature or base out of range.
    pub fn checked(self) -> Result<Self> {
        if let Some(t) = self.temperature
            && !(1e-30..=1e30).contains(&t)
        {
            return Err(Error::Option(format!(
                "temperature: expected a number from 1e-30 to 1e30, got {t}"
            )));
        }
        if let Unit::Base(base) = self.unit
            && !(base > 1.0 && base.is_finite())
        {
            return Err(Error::Option(format!(
                "base: expected a finite number above 1, got {base}"
            )));
        }
        Ok(self)
    }

    /// What a natural score is multiplied by, for rows of `cols` numbers.
    fn scale(&self, cols: usize) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 columns")]
        let count = cols as f64;
        let mean = if self.task == Task::Multilabel(Aggregate::Mean) {
            count
        } else {
            1.0
        };
        let unit = match (self.measure, self.unit) {
            (Measure::Entropy, Unit::Base(base)) => math::ln(base),
            (Measure::Entropy, Unit::Normalized) if self.task == Task::Multiclass => {
                math::ln(count)
            }
            (Measure::Entropy, Unit::Normalized) => std::f64::consts::LN_2,
            _ => 1.0,
        };
        1.0 / (unit * mean)
    }

    /// Whether a pass in `f32` already gives the score that `f64` would.
    pub(crate) fn is_exact(&self) -> bool {
        self.measure != Measure::Entropy
            && self.task == Task::Multiclass
            && self.temperature.is_none()
    }

    /// How far the `f32` pass may be below the `f64` score.
    ///
    /// With `u = 2^-24`: a sum of `n` terms of one sign is off by at most
    /// `depth(n) u` of itself, a term by the polynomial's error and a few `u`.
    /// Probabilities make terms of one sign, so there the bound is relative, but for
    /// one value that may be above one, within tolerance. A softmax term's error
    /// grows with its exponent; the weighted sum of squared exponents stays below
    /// `(ln n + 4)^2`.
    pub(crate) fn bound(&self, matrix: &Matrix<'_>) -> Bound {
        let cols = matrix.cols();
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 columns")]
        let n = cols as f64;
        let u = 2.0_f64.powi(-24);
        // Runs of 16, joined one after the other, then a butterfly.
        let depth = 24.0 + n / 16.0;
        let relative = 4e-6 + 2.0 * depth * u;
        let labels = match self.task {
            Task::Multilabel(Aggregate::Sum) => n,
            _ => 1.0,
        };
        let absolute = if self.temperature.is_none() {
            relative * (1e-8 * n + 4.0 * matrix.kind().sum_tolerance()) + 1e-30 * n
        } else {
            let spread = n.ln() + 4.0;
            labels * u * (64.0 + depth + 16.0 * spread * spread)
        };
        let scale = if self.measure == Measure::Entropy {
            self.scale(cols).abs()
                * if matches!(self.task, Task::Multilabel(Aggregate::Mean)) {
                    n
                } else {
                    1.0
                }
        } else {
            1.0
        };
        Bound {
            relative,
            absolute: absolute * scale.max(1.0),
        }
    }

    /// Scores `rows` into `sink` (see [`rows::score_rows`]).
    pub(crate) fn of_rows(
        &self,
        simd: Simd,
        matrix: &Matrix<'_>,
        rows: Rows<'_>,
        sink: Sink<'_>,
        suspects: &mut Vec<usize>,
    ) {
        let call = Call {
            simd,
            matrix,
            rows,
            sink,
            suspects,
        };
        let measure = self.measure;
        let scale = self.scale(matrix.cols());
        let tolerance = matrix.kind().sum_tolerance();
        match (self.task, self.temperature) {
            (Task::Multiclass, None) if measure == Measure::Entropy => {
                call.run(Entropy { scale, tolerance });
            }
            (Task::Multiclass, None) => call.run(TopTwo { measure, tolerance }),
            (Task::Multiclass, Some(t)) => call.run(Softmax {
                measure,
                inverse_temperature: 1.0 / t,
                scale,
            }),
            (Task::Multilabel(how), temperature) => {
                let max = how == Aggregate::Max;
                match measure {
                    Measure::Entropy => call.labels::<BinaryEntropy>(max, temperature, scale),
                    Measure::Margin => call.labels::<Smaller>(max, temperature, 2.0 * scale),
                    Measure::LeastConfidence => call.labels::<Smaller>(max, temperature, scale),
                    Measure::Ratio => call.labels::<BinaryRatio>(max, temperature, scale),
                }
            }
        }
    }

    /// What is wrong with a row, if anything.
    #[must_use]
    pub fn inspect(&self, matrix: &Matrix<'_>, row: usize) -> Option<Invalid> {
        let cols = matrix.cols();
        let tolerance = matrix.kind().sum_tolerance();
        let valid = |x: f64| match (self.task, self.temperature) {
            (Task::Multiclass, Some(_)) => x < f64::INFINITY,
            (Task::Multilabel(_), Some(_)) => !x.is_nan(),
            (Task::Multiclass, None) => x >= 0.0 && x <= 1.0 + tolerance,
            (Task::Multilabel(_), None) => (0.0..=1.0).contains(&x),
        };
        let (mut sum, mut largest) = (0.0, f64::NEG_INFINITY);
        for col in 0..cols {
            let x = matrix.get(row, col);
            if !valid(x) {
                return Some(Invalid::Value(col, x));
            }
            sum += x;
            largest = largest.max(x);
        }
        match (self.task, self.temperature) {
            (Task::Multiclass, None) if (sum - 1.0).abs() > tolerance => Some(Invalid::Sum(sum)),
            // All logits are minus infinity: there is no softmax.
            (Task::Multiclass, Some(_)) if largest == f64::NEG_INFINITY => {
                Some(Invalid::Value(0, largest))
            }
            _ => None,
        }
    }
}

/// The arguments of one call on their way to a kernel.
struct Call<'a> {
    simd: Simd,
    matrix: &'a Matrix<'a>,
    rows: Rows<'a>,
    sink: Sink<'a>,
    suspects: &'a mut Vec<usize>,
}

impl Call<'_> {
    fn run<K: Kernel>(self, kernel: K) {
        rows::score_rows(
            self.simd,
            kernel,
            self.matrix,
            self.rows,
            self.sink,
            self.suspects,
        );
    }

    fn labels<M: OfTwo>(self, max: bool, temperature: Option<f64>, scale: f64) {
        let measure = PhantomData::<M>;
        match temperature {
            None => self.run(Labels {
                link: Probability,
                max,
                scale,
                measure,
            }),
            Some(t) => self.run(Labels {
                link: Sigmoid {
                    inverse_temperature: 1.0 / t,
                },
                max,
                scale,
                measure,
            }),
        }
    }
}
