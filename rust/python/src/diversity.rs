//! Covers of pools: greedy k-center, D² sampling, and the nearest centre of every row.

use numpy::{PyArray1, PyUntypedArray};
use pickwise_core::distances::{
    Metric, Nearest, Neighbours, Reach, density as core_density,
    distances_before as core_distances_before, nearest as core_nearest,
    neighbours as core_neighbours,
};
use pickwise_core::matrix::Matrix;
use pickwise_core::select::{
    Cover as CoreCover, D2Sampling, KCenter, d2_sampling,
    gradient_lengths as core_gradient_lengths, k_center as core_k_center,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::enter::enter;
use crate::limits::PyLimits;
use crate::parse;

pub(crate) fn metric(name: &str) -> PyResult<Metric> {
    match name {
        "euclidean" => Ok(Metric::Euclidean),
        "sqeuclidean" => Ok(Metric::SqEuclidean),
        "cosine" => Ok(Metric::Cosine),
        _ => Err(PyValueError::new_err(format!(
            "metric: expected one of euclidean, sqeuclidean, cosine, got {name:?}"
        ))),
    }
}

pub(crate) fn matrix<'a>(array: &'a Bound<'_, PyUntypedArray>, name: &str) -> PyResult<Matrix<'a>> {
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

pub(crate) fn slice<'a, T: Copy>(
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
#[pyo3(signature = (embeddings, k, *, metric, centers=None, labelled=None, start=None, weights=None, exclude=None, limits=None, min_distance=None, outliers=0, progress=None))]
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
    limits: Option<PyLimits<'_>>,
    min_distance: Option<f64>,
    outliers: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Cover<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let limits = limits.unwrap_or_default();
    let quotas = limits.quotas()?;
    let options = KCenter {
        k,
        metric: self::metric(metric)?,
        centers: centers.map(|c| matrix(c, "centers")).transpose()?,
        labelled: slice(labelled, b"i", "labelled")?.unwrap_or(&[]),
        start,
        weights: slice(weights, b"f", "weights")?,
        exclude: slice(exclude, b"bu", "exclude")?,
        limits: limits.view(&quotas)?,
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
#[pyo3(signature = (embeddings, k, *, metric, seed, centers=None, labelled=None, start=None, weights=None, exclude=None, limits=None, predictions=None, progress=None))]
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
    limits: Option<PyLimits<'_>>,
    predictions: Option<&Bound<'_, PyUntypedArray>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Cover<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let limits = limits.unwrap_or_default();
    let quotas = limits.quotas()?;
    let options = D2Sampling {
        k,
        metric: self::metric(metric)?,
        seed,
        centers: centers.map(|c| matrix(c, "centers")).transpose()?,
        labelled: slice(labelled, b"i", "labelled")?.unwrap_or(&[]),
        start,
        weights: slice(weights, b"f", "weights")?,
        exclude: slice(exclude, b"bu", "exclude")?,
        limits: limits.view(&quotas)?,
        predictions: predictions.map(|p| matrix(p, "predictions")).transpose()?,
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

/// The length of the gradient that each row would give at the last layer.
#[pyfunction]
pub(crate) fn gradient_lengths<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    predictions: &Bound<'_, PyUntypedArray>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let view = matrix(embeddings, "embeddings")?;
    let predictions = matrix(predictions, "predictions")?;
    let bytes = view.rows() * view.cols() * view.kind().size();
    let lengths = enter(py, None, |door| {
        door.run(bytes, |exec| {
            core_gradient_lengths(exec, &view, &predictions)
        })
    })?;
    Ok(PyArray1::from_vec(py, lengths))
}

/// The mean cosine similarity of each row to all.
#[pyfunction]
#[pyo3(signature = (embeddings, progress=None))]
pub(crate) fn density<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let view = matrix(embeddings, "embeddings")?;
    let bytes = view.rows() * view.cols() * view.kind().size();
    let density = enter(py, progress.as_ref(), |door| {
        door.run(bytes, |exec| core_density(exec, &view))
    })?;
    Ok(PyArray1::from_vec(py, density))
}

/// Where the neighbours of each row begin, the neighbours, and their distances.
type Neighbourhood<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<u32>>,
    Bound<'py, PyArray1<f64>>,
);

fn neighbourhood(py: Python<'_>, found: Neighbours) -> Neighbourhood<'_> {
    (
        PyArray1::from_vec(py, found.starts),
        PyArray1::from_vec(py, found.rows),
        PyArray1::from_vec(py, found.distances),
    )
}

/// The same neighbours where being neighbours is mutual, and every row is its own too.
#[pyfunction]
pub(crate) fn mutual<'py>(
    py: Python<'py>,
    starts: &Bound<'_, PyUntypedArray>,
    rows: &Bound<'_, PyUntypedArray>,
    distances: &Bound<'_, PyUntypedArray>,
) -> PyResult<Neighbourhood<'py>> {
    let given = Neighbours {
        starts: parse::slice(starts, b"i", "starts")?.to_vec(),
        rows: parse::slice(rows, b"u", "rows")?.to_vec(),
        distances: parse::slice(distances, b"f", "distances")?.to_vec(),
    };
    let found = enter(py, None, |door| {
        door.run(usize::MAX, |_| {
            given.checked()?;
            Ok(given.mutual())
        })
    })?;
    Ok(neighbourhood(py, found))
}

/// The neighbours of every row: so many of the nearest, or all within a distance.
#[pyfunction]
#[pyo3(signature = (embeddings, metric, *, nearest=None, within=None, mutual=false, most=usize::MAX, progress=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub(crate) fn neighbours<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    metric: &str,
    nearest: Option<usize>,
    within: Option<f64>,
    mutual: bool,
    most: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Neighbourhood<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let metric = self::metric(metric)?;
    let reach = match (nearest, within) {
        (Some(count), None) => Reach::Nearest(count),
        (None, Some(radius)) if !mutual => Reach::Within(radius),
        _ => return Err(PyValueError::new_err("expected nearest or within")),
    };
    let size = view.cols().saturating_mul(view.kind().size());
    let bytes = size.saturating_mul(view.rows()).saturating_mul(view.rows());
    let found = enter(py, progress.as_ref(), |door| {
        door.run(bytes, |exec| {
            let found = core_neighbours(exec, &view, metric, reach, most)?;
            Ok(if mutual { found.mutual() } else { found })
        })
    })?;
    Ok(neighbourhood(py, found))
}

/// How far each of some rows is from those before it and from what is labelled.
#[pyfunction]
#[pyo3(signature = (embeddings, metric, rows, *, labelled=None, centers=None))]
pub(crate) fn distances_before<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    metric: &str,
    rows: &Bound<'_, PyUntypedArray>,
    labelled: Option<&Bound<'_, PyUntypedArray>>,
    centers: Option<&Bound<'_, PyUntypedArray>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let view = matrix(embeddings, "embeddings")?;
    let metric = self::metric(metric)?;
    let rows = parse::slice::<i64>(rows, b"i", "rows")?;
    let labelled = slice(labelled, b"i", "labelled")?.unwrap_or(&[]);
    let centers = centers.map(|c| matrix(c, "centers")).transpose()?;
    let known = rows.len() + labelled.len() + centers.map_or(0, |c| c.rows());
    let bytes = view
        .cols()
        .saturating_mul(8 * known)
        .saturating_mul(rows.len());
    let distances = enter(py, None, |door| {
        door.run(bytes, |exec| {
            core_distances_before(exec, &view, metric, rows, labelled, centers)
        })
    })?;
    Ok(PyArray1::from_vec(py, distances))
}
