//! How densely a pool lies around each of its rows: its mean cosine similarity to all
//! (Settles & Craven 2008).
//!
//! The mean of products is the product with the mean, `mean(x.y) = x.mean(y)`, so two
//! passes over the rows are enough: one for the mean of the rows scaled to length one,
//! one for its product with each.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::element::{Element as _, ElementKind, bf16, f16};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::parallel::{Disjoint, Exec};
use crate::simd::{Double, Isa, Lanes, LoadAs, Op, Precision, Real, Single, dispatch};

/// Rows whose sum is one term of the mean, whoever computes it.
const BLOCK: usize = 256;

/// The mean cosine similarity of each row of `matrix` to all rows, itself included.
///
/// Rows of `f16`, `bf16` and `f32` go through `f32` lanes; sums of many rows are in `f64`.
///
/// # Errors
/// [`Error::Value`] for rows that are not finite or have no direction, [`Error::Shape`]
/// without rows or dimensions, [`Error::Cancelled`].
pub fn density(exec: &Exec<'_>, matrix: &Matrix<'_>) -> Result<Vec<f64>> {
    if matrix.rows() == 0 || matrix.cols() == 0 {
        return Err(Error::Shape(format!(
            "embeddings: expected rows and dimensions, got the shape ({}, {})",
            matrix.rows(),
            matrix.cols()
        )));
    }
    match matrix.kind() {
        ElementKind::F16 => run::<Single, f16>(exec, matrix),
        ElementKind::Bf16 => run::<Single, bf16>(exec, matrix),
        ElementKind::F32 => run::<Single, f32>(exec, matrix),
        ElementKind::F64 => run::<Double, f64>(exec, matrix),
    }
}

fn run<P: Precision, E: LoadAs<P>>(exec: &Exec<'_>, matrix: &Matrix<'_>) -> Result<Vec<f64>> {
    let (rows, dims) = (matrix.rows(), matrix.cols());
    let blocks = rows.div_ceil(BLOCK);
    let start = || (Vec::new(), None, Vec::new());
    let states = exec.for_each_chunk(blocks, 1, start, |(sums, bad, spare), range| {
        for block in range {
            let rows = block * BLOCK..rows.min((block + 1) * BLOCK);
            let op = Sum::<P, E> {
                matrix,
                rows,
                spare,
                types: PhantomData,
            };
            match dispatch(exec.simd, op) {
                Ok(sum) => sums.push((block, sum)),
                Err(row) => *bad = Some(bad.map_or(row, |first: usize| first.min(row))),
            }
        }
    })?;
    if let Some(row) = states.iter().filter_map(|(_, bad, _)| *bad).min() {
        return Err(complain(matrix, row));
    }
    let mut sums: Vec<_> = states.into_iter().flat_map(|(sums, ..)| sums).collect();
    sums.sort_unstable_by_key(|(block, _): &(usize, Vec<f64>)| *block);
    let mut mean = vec![0.0; dims];
    for (_, sum) in sums {
        for (mean, sum) in mean.iter_mut().zip(sum) {
            *mean += sum;
        }
    }
    for mean in &mut mean {
        *mean /= rows as f64;
    }
    let mut mean: Vec<P::Elem> = mean.into_iter().map(real::<P>).collect();
    mean.resize(dims.next_multiple_of(16), real::<P>(0.0));
    let mut density = vec![0.0; rows];
    let out = Disjoint::new(&mut density);
    exec.for_each_chunk(rows, BLOCK, Vec::new, |spare, range| {
        let op = Project::<P, E> {
            matrix,
            rows: range.clone(),
            mean: &mean,
            // SAFETY: ranges do not overlap.
            out: unsafe { out.range(range.clone()) },
            spare,
            types: PhantomData,
        };
        dispatch(exec.simd, op);
        exec.done.fetch_add(range.len(), Ordering::Relaxed);
    })?;
    Ok(density)
}

/// What is wrong with a row.
fn complain(matrix: &Matrix<'_>, row: usize) -> Error {
    let odd = (0..matrix.cols()).find(|col| !matrix.get(row, *col).is_finite());
    Error::Value(match odd {
        Some(col) => format!(
            "embeddings: row {row} has {} in column {col}; expected finite numbers: impute or exclude such rows",
            matrix.get(row, col)
        ),
        None => format!("embeddings: row {row} is zero, so it has no direction; exclude such rows"),
    })
}

/// A row as vectors, the last completed with zeros.
struct Row<'a, P: Precision, E> {
    from: *const E,
    /// The row where its elements do not lie side by side.
    spare: &'a [P::Elem],
    len: usize,
}

impl<'a, P: Precision, E: LoadAs<P>> Row<'a, P, E> {
    #[inline(always)]
    fn new(matrix: &Matrix<'_>, row: usize, spare: &'a mut Vec<P::Elem>) -> Self {
        let from = matrix.row_ptr(row);
        spare.clear();
        if !matrix.has_contiguous_rows() {
            let numbers = (0..matrix.cols()).map(|col| real::<P>(matrix.get(row, col)));
            spare.extend(numbers);
            spare.resize(matrix.cols().next_multiple_of(16), real::<P>(0.0));
        }
        Self {
            from: from.cast(),
            spare,
            len: matrix.cols(),
        }
    }

    /// Calls `f` with the vectors of the row and where each begins, and which of two sums
    /// it is to go to: one alone would wait for itself.
    ///
    /// # Safety
    /// The CPU must have `I`.
    #[inline(always)]
    unsafe fn each<I: Isa>(&self, mut f: impl FnMut(P::Lanes<I>, usize, bool)) {
        let n = P::Lanes::<I>::N;
        let pairs = self.len / (2 * n) * 2 * n;
        // SAFETY: the caller vouches for the CPU; multiples of the lanes below the length.
        unsafe {
            for at in (0..pairs).step_by(2 * n) {
                f(self.vector::<I>(at), at, false);
                f(self.vector::<I>(at + n), at + n, true);
            }
            for at in (pairs..self.len).step_by(n) {
                f(self.vector::<I>(at), at, false);
            }
        }
    }

    /// # Safety
    /// The CPU must have `I`; `at` is a multiple of the lanes below the length.
    #[inline(always)]
    unsafe fn vector<I: Isa>(&self, at: usize) -> P::Lanes<I> {
        // SAFETY: the caller's promise; a row of a matrix, or its completed copy.
        unsafe {
            if !self.spare.is_empty() {
                P::Lanes::<I>::load(self.spare.as_ptr().add(at))
            } else if at + P::Lanes::<I>::N <= self.len {
                E::load::<I>(self.from.add(at))
            } else {
                E::load_head::<I>(self.from.add(at), self.len - at, E::ZERO)
            }
        }
    }
}

#[inline(always)]
fn real<P: Precision>(x: f64) -> P::Elem {
    <P::Elem as Real>::of(x)
}

/// The sum of the lanes, in `f64`, always in the same order.
#[inline(always)]
fn total<V: Lanes>(lanes: V) -> f64 {
    let [low, high] = lanes.widen();
    let mut sum = if V::N == 16 { low.add(high) } else { low };
    sum = sum.add(sum.swap::<4>());
    sum = sum.add(sum.swap::<2>());
    sum = sum.add(sum.swap::<1>());
    let mut numbers = [0.0; 8];
    // SAFETY: room for all lanes.
    unsafe { sum.store(numbers.as_mut_ptr()) };
    numbers[0]
}

/// Whether a squared length is one that lanes can work with.
fn is_usable(squared: f64) -> bool {
    squared.is_finite() && squared > f64::from(f32::MIN_POSITIVE)
}

/// One over the length of a row that lanes cannot work with; none if it has no direction.
fn inverse_length(matrix: &Matrix<'_>, row: usize) -> Option<f64> {
    let numbers = (0..matrix.cols()).map(|col| matrix.get(row, col));
    let squared: f64 = numbers.map(|x| x * x).sum();
    squared.is_normal().then(|| 1.0 / squared.sqrt())
}

/// The sum of some rows scaled to length one, or the first that has none.
struct Sum<'a, P: Precision, E> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    spare: &'a mut Vec<P::Elem>,
    types: PhantomData<E>,
}

impl<P: Precision, E: LoadAs<P>> Op for Sum<'_, P, E> {
    type Out = std::result::Result<Vec<f64>, usize>;

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> Self::Out {
        let dims = self.matrix.cols();
        let mut sum = vec![real::<P>(0.0); dims.next_multiple_of(16)];
        for at in self.rows {
            let row = Row::<P, E>::new(self.matrix, at, self.spare);
            // SAFETY: dispatch vouches for the CPU; vectors of a row, and a sum as long.
            unsafe {
                let zero = P::Lanes::<I>::new(real::<P>(0.0));
                let mut squares = (zero, zero);
                row.each::<I>(|x, _, second| {
                    let sum = if second {
                        &mut squares.1
                    } else {
                        &mut squares.0
                    };
                    *sum = x.fma(x, *sum);
                });
                let squared = total(squares.0.add(squares.1));
                if !is_usable(squared) {
                    let scale = inverse_length(self.matrix, at).ok_or(at)?;
                    for (col, sum) in sum[..dims].iter_mut().enumerate() {
                        let x = self.matrix.get(at, col) * scale;
                        *sum = real::<P>(sum.to_f64() + x);
                    }
                    continue;
                }
                let scale = zero.splat(real::<P>(1.0 / squared.sqrt()));
                row.each::<I>(|x, at, _| {
                    let to = sum.as_mut_ptr().add(at);
                    x.fma(scale, P::Lanes::<I>::load(to)).store(to);
                });
            }
        }
        Ok(sum[..dims].iter().map(|x| x.to_f64()).collect())
    }
}

/// The product of some rows scaled to length one with the mean of all.
struct Project<'a, P: Precision, E> {
    matrix: &'a Matrix<'a>,
    rows: Range<usize>,
    /// Completed with zeros.
    mean: &'a [P::Elem],
    out: &'a mut [f64],
    spare: &'a mut Vec<P::Elem>,
    types: PhantomData<E>,
}

impl<P: Precision, E: LoadAs<P>> Op for Project<'_, P, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        for (at, out) in self.rows.zip(self.out) {
            let row = Row::<P, E>::new(self.matrix, at, self.spare);
            // SAFETY: dispatch vouches for the CPU; vectors of a row, and a mean as long.
            unsafe {
                let zero = P::Lanes::<I>::new(real::<P>(0.0));
                let (mut squares, mut products) = ((zero, zero), (zero, zero));
                row.each::<I>(|x, at, second| {
                    let mean = P::Lanes::<I>::load(self.mean.as_ptr().add(at));
                    let (square, product) = if second {
                        (&mut squares.1, &mut products.1)
                    } else {
                        (&mut squares.0, &mut products.0)
                    };
                    *square = x.fma(x, *square);
                    *product = x.fma(mean, *product);
                });
                let squared = total(squares.0.add(squares.1));
                let product = total(products.0.add(products.1));
                *out = if is_usable(squared) {
                    product / squared.sqrt()
                } else {
                    slowly(self.matrix, at, self.mean)
                };
            }
        }
    }
}

/// The same of a row that lanes cannot work with.
fn slowly<R: Real>(matrix: &Matrix<'_>, row: usize, mean: &[R]) -> f64 {
    let scale = inverse_length(matrix, row).unwrap_or(0.0);
    let numbers = (0..matrix.cols()).map(|col| matrix.get(row, col) * scale);
    numbers.zip(mean).map(|(x, mean)| x * mean.to_f64()).sum()
}
