//! NumPy arrays as the core's borrowed views. No array is ever written to.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pickwise_core::element::ElementKind;
use pickwise_core::matrix::Matrix;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// A two-dimensional float array, any strides, as a view.
///
/// The view borrows from `array`, so the array outlives it; that nobody writes to
/// the memory meanwhile is the caller's affair, as in NumPy itself.
pub(crate) fn matrix<'a>(array: &'a Bound<'_, PyUntypedArray>) -> PyResult<Matrix<'a>> {
    let &[rows, cols] = array.shape() else {
        return Err(PyValueError::new_err(format!(
            "expected a 2-D array, got {} dimensions",
            array.ndim()
        )));
    };
    let &[row_stride, col_stride] = array.strides() else {
        return Err(PyValueError::new_err("expected a 2-D array"));
    };
    let kind = element_kind(array)?;
    // SAFETY: NumPy vouches for its own shape, strides and data.
    Ok(
        unsafe {
            Matrix::from_raw_parts(data(array), (rows, cols), (row_stride, col_stride), kind)
        },
    )
}

/// Rows to score as they come from Python: a two-dimensional array, or its columns.
#[derive(FromPyObject)]
pub(crate) enum PyRows<'py> {
    #[pyo3(transparent)]
    Matrix(Bound<'py, PyUntypedArray>),
    #[pyo3(transparent)]
    Columns(Vec<Bound<'py, PyUntypedArray>>),
}

impl PyRows<'_> {
    /// As [`matrix()`]; `starts` is for where columns begin.
    pub(crate) fn view<'a>(&'a self, starts: &'a mut Vec<*const u8>) -> PyResult<Matrix<'a>> {
        let columns = match self {
            Self::Matrix(array) => return matrix(array),
            Self::Columns(columns) => columns,
        };
        let Some(first) = columns.first() else {
            return Err(PyValueError::new_err(
                "matrix: expected at least one column, got none",
            ));
        };
        let (rows, kind) = (first.len(), element_kind(first)?);
        for (at, column) in columns.iter().enumerate() {
            if column.ndim() != 1 || !column.is_c_contiguous() {
                return Err(PyValueError::new_err(format!(
                    "matrix: expected contiguous 1-D columns, got {} dimensions in column {at}",
                    column.ndim()
                )));
            }
            if column.len() != rows || element_kind(column)? != kind {
                return Err(PyValueError::new_err(format!(
                    "matrix: expected {rows} rows of {} as in column 0, got {} of {} in column {at}",
                    first.dtype().str()?,
                    column.len(),
                    column.dtype().str()?
                )));
            }
            starts.push(data(column));
        }
        // SAFETY: as many elements of one type in each, side by side; the arrays outlive
        // the view.
        Ok(unsafe { Matrix::from_columns(starts, rows, kind) })
    }
}

fn element_kind(array: &Bound<'_, PyUntypedArray>) -> PyResult<ElementKind> {
    let dtype = array.dtype();
    let native = dtype.byteorder()
        != if cfg!(target_endian = "little") {
            b'>'
        } else {
            b'<'
        };
    match (dtype.kind(), dtype.itemsize(), native) {
        (b'f', 2, true) => Ok(ElementKind::F16),
        (b'f', 4, true) => Ok(ElementKind::F32),
        (b'f', 8, true) => Ok(ElementKind::F64),
        (_, 2, true) if dtype.str()?.to_str()? == "bfloat16" => Ok(ElementKind::Bf16),
        _ => Err(PyTypeError::new_err(format!(
            "expected float16, bfloat16, float32 or float64 in native byte order, got {}",
            dtype.str()?
        ))),
    }
}

/// A contiguous one-dimensional array of a type of `size_of::<T>()` bytes whose
/// kind is one of `kinds`, as a slice.
pub(crate) fn slice<'a, T: Copy>(
    array: &'a Bound<'_, PyUntypedArray>,
    kinds: &[u8],
    what: &str,
) -> PyResult<&'a [T]> {
    let dtype = array.dtype();
    if !kinds.contains(&dtype.kind())
        || dtype.itemsize() != size_of::<T>()
        || array.ndim() != 1
        || !array.is_c_contiguous()
    {
        return Err(PyTypeError::new_err(format!(
            "{what}: expected a contiguous 1-D array, got {} dimensions of {}",
            array.ndim(),
            dtype.str()?
        )));
    }
    if array.is_empty() {
        return Ok(&[]);
    }
    let pointer = data(array).cast::<T>();
    if !pointer.is_aligned() {
        return Err(PyTypeError::new_err(format!(
            "{what}: the array is not aligned"
        )));
    }
    // SAFETY: contiguous, of this size and aligned, as just checked; the array
    // outlives the slice.
    Ok(unsafe { std::slice::from_raw_parts(pointer, array.len()) })
}

/// As [`slice()`], for writing.
///
/// # Safety
/// Nobody else may use the array meanwhile.
#[allow(
    clippy::mut_from_ref,
    reason = "NumPy arrays are mutable behind shared handles"
)]
pub(crate) unsafe fn slice_mut<'a, T: Copy>(
    array: &'a Bound<'_, PyUntypedArray>,
    kinds: &[u8],
    what: &str,
) -> PyResult<&'a mut [T]> {
    let checked = slice::<T>(array, kinds, what)?;
    // SAFETY: NumPy's flags are plain bits of a live object.
    let writable =
        unsafe { (*array.as_array_ptr()).fields.flags & numpy::npyffi::NPY_ARRAY_WRITEABLE } != 0;
    if !writable {
        return Err(PyValueError::new_err(format!(
            "{what}: the array is read-only"
        )));
    }
    // SAFETY: as `slice`, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(checked.as_ptr().cast_mut(), checked.len()) })
}

fn data(array: &Bound<'_, PyUntypedArray>) -> *const u8 {
    // SAFETY: a live array object.
    unsafe { (*array.as_array_ptr()).fields.data.cast() }
}
