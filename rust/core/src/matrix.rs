//! A borrowed two-dimensional view: shape, byte strides, element type.

use std::marker::PhantomData;

use crate::element::{Element, ElementKind, bf16, f16};
use crate::error::{Error, Result};

/// A read-only `(rows, cols)` view of somebody else's memory.
///
/// Strides are in bytes and may be anything: negative, zero, no multiple of the
/// element size. That covers C and Fortran order, slices, reversed and
/// broadcast views, and fields of structured arrays, all without a copy. Columns
/// that lie apart are a matrix, too, for scores (see [`Matrix::from_columns`]).
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: *const u8,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
    kind: ElementKind,
    /// Where each column begins, if they lie apart; `data` is then the first, and
    /// strides lead to nothing else.
    apart: Option<&'a [*const u8]>,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: a Matrix only ever reads memory that stays borrowed for 'a.
unsafe impl Send for Matrix<'_> {}
// SAFETY: as above; shared reads need no synchronisation.
unsafe impl Sync for Matrix<'_> {}

impl<'a> Matrix<'a> {
    /// A view of a row-major slice.
    ///
    /// # Errors
    /// [`Error::Shape`] when `values` does not hold `rows * cols` elements.
    pub fn from_slice<E: Element>(values: &'a [E], rows: usize, cols: usize) -> Result<Self> {
        if rows.checked_mul(cols) != Some(values.len()) {
            return Err(Error::Shape(format!(
                "{} values cannot be {rows} rows of {cols}",
                values.len()
            )));
        }
        Ok(Self::dense(values, (rows, cols)))
    }

    /// [`Matrix::from_slice`] of a slice that is known to fit.
    pub(crate) fn dense<E: Element>(values: &'a [E], shape: (usize, usize)) -> Self {
        assert_eq!(values.len(), shape.0 * shape.1, "shape fits");
        let size = size_of::<E>().cast_signed();
        let strides = (shape.1.cast_signed() * size, size);
        // SAFETY: the slice holds rows * cols elements, row after row.
        unsafe { Self::from_raw_parts(values.as_ptr().cast(), shape, strides, E::KIND) }
    }

    /// A view of raw memory: `shape` is `(rows, cols)`, `strides` their bytes.
    ///
    /// # Safety
    /// Every element that shape and strides can reach must be readable for `'a`.
    #[must_use]
    pub const unsafe fn from_raw_parts(
        data: *const u8,
        shape: (usize, usize),
        strides: (isize, isize),
        kind: ElementKind,
    ) -> Self {
        Self {
            data,
            rows: shape.0,
            cols: shape.1,
            row_stride: strides.0,
            col_stride: strides.1,
            kind,
            apart: None,
            memory: PhantomData,
        }
    }

    /// A view of columns that lie anywhere, each of `rows` elements side by side.
    ///
    /// Scores and selections by a score read it. All else asks for the bytes from
    /// one column to the next, which there are not, and panics.
    ///
    /// # Safety
    /// Every column must be readable for `rows` elements for `'a`.
    #[must_use]
    pub const unsafe fn from_columns(
        columns: &'a [*const u8],
        rows: usize,
        kind: ElementKind,
    ) -> Self {
        let data = match columns.first() {
            Some(first) => *first,
            None => std::ptr::null(),
        };
        let strides = (kind.size().cast_signed(), 0);
        // SAFETY: with these strides no element but those of the first column.
        let view = unsafe { Self::from_raw_parts(data, (rows, columns.len()), strides, kind) };
        Self {
            apart: Some(columns),
            ..view
        }
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: classes, labels or dimensions.
    #[must_use]
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// The element type.
    #[must_use]
    pub const fn kind(&self) -> ElementKind {
        self.kind
    }

    /// Bytes from one row to the next.
    pub(crate) const fn row_stride(&self) -> isize {
        self.row_stride
    }

    /// Bytes from one column to the next.
    ///
    /// # Panics
    /// When columns lie apart.
    pub(crate) const fn col_stride(&self) -> isize {
        assert!(
            self.apart.is_none(),
            "columns that lie apart are for scores"
        );
        self.col_stride
    }

    /// Whether there may be no stride from one column to the next.
    pub(crate) const fn is_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// Whether the elements of a row lie side by side.
    pub(crate) const fn has_contiguous_rows(&self) -> bool {
        self.col_stride == self.kind.size().cast_signed() || self.cols == 1
    }

    /// Where row `row` begins.
    #[inline(always)]
    pub(crate) fn row_ptr(&self, row: usize) -> *const u8 {
        debug_assert!(row < self.rows);
        self.data
            .wrapping_offset(row.cast_signed() * self.row_stride)
    }

    /// Where column `col` begins.
    #[inline(always)]
    pub(crate) fn col_ptr(&self, col: usize) -> *const u8 {
        debug_assert!(col < self.cols);
        self.apart.map_or_else(
            || {
                self.data
                    .wrapping_offset(col.cast_signed() * self.col_stride)
            },
            |columns| columns[col],
        )
    }

    /// The element at `(row, col)`, exactly.
    ///
    /// # Panics
    /// When `row` or `col` is out of range.
    #[must_use]
    pub fn get(&self, row: usize, col: usize) -> f64 {
        assert!(row < self.rows && col < self.cols, "index out of range");
        let at = self
            .col_ptr(col)
            .wrapping_offset(row.cast_signed() * self.row_stride);
        // SAFETY: (row, col) is in range, so the constructor's promise covers it.
        unsafe {
            match self.kind {
                ElementKind::F16 => at.cast::<f16>().read_unaligned().to_f64(),
                ElementKind::Bf16 => at.cast::<bf16>().read_unaligned().to_f64(),
                ElementKind::F32 => f64::from(at.cast::<f32>().read_unaligned()),
                ElementKind::F64 => at.cast::<f64>().read_unaligned(),
            }
        }
    }

    /// Whether `len` rows from `first` on hold the same bytes as row `row`.
    pub(crate) fn are_copies(&self, row: usize, first: usize, len: usize) -> bool {
        let size = self.kind.size();
        let row_size = self.cols * size;
        if !self.has_contiguous_rows() {
            let at = |row: usize| row.cast_signed() * self.row_stride;
            return (first..first + len).all(|other| {
                (0..self.cols).all(|col| {
                    let a = self.col_ptr(col).wrapping_offset(at(row));
                    let b = self.col_ptr(col).wrapping_offset(at(other));
                    // SAFETY: an element of each row.
                    unsafe { bytes(a, size) == bytes(b, size) }
                })
            });
        }
        // SAFETY: rows of this view, contiguous.
        let is_copy = |other| unsafe {
            bytes(self.row_ptr(row), row_size) == bytes(self.row_ptr(other), row_size)
        };
        if self.row_stride != row_size.cast_signed() {
            return (first..first + len).all(is_copy);
        }
        // Rows without gaps are copies of each other if shifting them by one row
        // changes nothing.
        let rest = (len - 1) * row_size;
        // SAFETY: rows `first..first + len` lie side by side.
        let (these, those) = unsafe {
            let start = self.row_ptr(first);
            (bytes(start, rest), bytes(start.add(row_size), rest))
        };
        is_copy(first) && these == those
    }
}

/// # Safety
/// `ptr` must be readable for `len` bytes for as long as the slice is used.
unsafe fn bytes<'a>(ptr: *const u8, len: usize) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(ptr, len) }
}
