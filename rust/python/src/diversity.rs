//! Covers of pools: greedy k-center, D² sampling, and the nearest centre of every row.

use numpy::{PyArray1, PyUntypedArray};
use pickwise_core::distances::{Metric, Nearest, nearest as core_nearest};
use pickwise_core::matrix::Matrix;
use pickwise_core::select::{
    Cover as CoreCover, D2Sampling, KCenter, d2_sampling, k_center as core_k_center,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::enter::enter;
use crate::parse;

fn metric(name: &str) -> PyResult<Metric> {
    match name {
        "euclidean" => Ok(Metric::Euclidean),
        "sqeuclidean" => Ok(Metric::SqEuclidean),
        "cosine" => Ok(Metric::Cosine),
        _ => Err(PyValueError::new_err(format!(
            "metric: expected one of euclidean, sqeuclidean, cosine, got {name:?}"
        ))),
    }
}

fn matrix<'a>(array: &'a Bound<'_, PyUntypedArray>, name: &str) -> PyResult<Matrix<'a>> {
    parse::matrix(array).map_err(|error| {
        let py = array.py();
        let message = format!("{name}: {}", error.value(py));
        if error.is_instance_of::<PyTypeError>(py) {
            PyTypeError::new_err(message)
        } else {
            PyValueError::new_err(message)
        }
    })
}

fn slice<'a, T: Copy>(
    array: Option<&'a Bound<'_, PyUntypedArray>>,
    kinds: &[u8],
    name: &str,
) -> PyResult<Option<&'a [T]>> {
    array.map(|a| parse::slice(a, kinds, name)).transpose()
}

/// Positions, distances, radius, distances computed.
type Cover<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
    f64,
    u64,
);

/// Indices and distances.
type Assigned<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f64>>);

/// Picks up to `k` rows by greedy k-center.
#[pyfunction]
#[pyo3(signature = (embeddings, k, *, metric, centers=None, labelled=None, start=None, weights=None, exclude=None, groups=None, max_per_group=None, min_distance=None, outliers=0, progress=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub(crate) fn k_center<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    k: usize,
    metric: &str,
    centers: Option<&Bound<'_, PyUntypedArray>>,
    labelled: Option<&Bound<'_, PyUntypedArray>>,
    start: Option<usize>,
    weights: Option<&Bound<'_, PyUntypedArray>>,
    exclude: Option<&Bound<'_, PyUntypedArray>>,
    groups: Option<&Bound<'_, PyUntypedArray>>,
    max_per_group: Option<usize>,
    min_distance: Option<f64>,
    outliers: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Cover<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let options = KCenter {
        k,
        metric: self::metric(metric)?,
        centers: centers.map(|c| matrix(c, "centers")).transpose()?,
        labelled: slice(labelled, b"i", "labelled")?.unwrap_or(&[]),
        start,
        weights: slice(weights, b"f", "weights")?,
        exclude: slice(exclude, b"bu", "exclude")?,
        groups: slice(groups, b"i", "groups")?,
        max_per_group,
        min_distance,
        outliers,
    };
    let size = view.cols().saturating_mul(view.kind().size());
    let bytes = size.saturating_mul(view.rows()).saturating_mul(k.max(1));
    let cover = enter(py, progress.as_ref(), |door| {
        let door = door.with_figure();
        door.run(bytes, |exec| core_k_center(exec, &view, &options))
    })?;
    Ok(wrap(py, cover))
}

fn wrap(py: Python<'_>, cover: CoreCover) -> Cover<'_> {
    let picks = cover.picks.iter().map(|row| *row as i64);
    (
        PyArray1::from_iter(py, picks),
        PyArray1::from_vec(py, cover.distances),
        cover.radius,
        cover.computed,
    )
}

/// Draws up to `k` rows from the D² distribution: the seeding of k-means++.
#[pyfunction]
#[pyo3(signature = (embeddings, k, *, metric, seed, centers=None, labelled=None, start=None, weights=None, exclude=None, progress=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub(crate) fn kmeans_plusplus<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    k: usize,
    metric: &str,
    seed: u64,
    centers: Option<&Bound<'_, PyUntypedArray>>,
    labelled: Option<&Bound<'_, PyUntypedArray>>,
    start: Option<usize>,
    weights: Option<&Bound<'_, PyUntypedArray>>,
    exclude: Option<&Bound<'_, PyUntypedArray>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Cover<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let options = D2Sampling {
        k,
        metric: self::metric(metric)?,
        seed,
        centers: centers.map(|c| matrix(c, "centers")).transpose()?,
        labelled: slice(labelled, b"i", "labelled")?.unwrap_or(&[]),
        start,
        weights: slice(weights, b"f", "weights")?,
        exclude: slice(exclude, b"bu", "exclude")?,
    };
    let size = view.cols().saturating_mul(view.kind().size());
    let bytes = size.saturating_mul(view.rows()).saturating_mul(k.max(1));
    let cover = enter(py, progress.as_ref(), |door| {
        let door = door.with_figure();
        door.run(bytes, |exec| d2_sampling(exec, &view, &options))
    })?;
    Ok(wrap(py, cover))
}

/// The nearest row of `centers` for each row of `embeddings`, and its distance.
#[pyfunction]
#[pyo3(signature = (embeddings, centers, metric, progress=None))]
pub(crate) fn nearest<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    centers: &Bound<'_, PyUntypedArray>,
    metric: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<Assigned<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let centers = matrix(centers, "centers")?;
    let metric = self::metric(metric)?;
    let size = view.cols().saturating_mul(view.kind().size());
    let bytes = size
        .saturating_mul(view.rows())
        .saturating_mul(centers.rows().max(1));
    let Nearest { index, distance } = enter(py, progress.as_ref(), |door| {
        door.run(bytes, |exec| core_nearest(exec, &view, &centers, metric))
    })?;
    Ok((
        PyArray1::from_vec(py, index),
        PyArray1::from_vec(py, distance),
    ))
}
