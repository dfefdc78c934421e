//! Covers of pools: greedy k-center, D² sampling, and the nearest centre of every row.

use numpy::{PyArray1, PyArrayMethods, PyUntypedArray};
use pickwise_core::distances::{
    Known, Metric, Nearest, Neighbours, Reach, Sums, density as core_density,
    distances_before as core_distances_before, nearest as core_nearest,
    neighbours as core_neighbours, show_centers as core_show_centers,
    squared_to_point as core_squared_to_point, sum_of_rows as core_sum_of_rows,
};
use pickwise_core::matrix::Matrix;
use pickwise_core::select::{
    Among, Cover as CoreCover, D2Sampling, KCenter, d2_sampling,
    gradient_lengths as core_gradient_lengths, k_center as core_k_center,
    pick_among as core_pick_among,
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

/// Picks by greedy k-center among a few rows, up to a bar: positions and squared distances.
#[pyfunction]
#[pyo3(signature = (embeddings, k, metric, squared, bar=None))]
pub(crate) fn pick_among<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    k: usize,
    metric: &str,
    squared: &Bound<'_, PyUntypedArray>,
    bar: Option<(f64, usize)>,
) -> PyResult<Assigned<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let options = Among {
        k,
        metric: self::metric(metric)?,
        squared: parse::slice(squared, b"f", "squared")?,
        bar,
    };
    let bytes = view.rows() * view.cols() * view.kind().size();
    let (picks, squared) = enter(py, None, |door| {
        door.run(bytes, |exec| core_pick_among(exec, &view, &options))
    })?;
    let picks = picks.iter().map(|row| *row as i64);
    Ok((
        PyArray1::from_iter(py, picks),
        PyArray1::from_vec(py, squared),
    ))
}

/// The squared distances of rows to the nearest centre, given those to the first so many.
#[pyfunction]
#[pyo3(signature = (embeddings, metric, rows, centers, seen, squared, sums=None))]
#[allow(clippy::too_many_arguments, reason = "arguments in Python")]
pub(crate) fn show_centers<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    metric: &str,
    rows: &Bound<'_, PyUntypedArray>,
    centers: &Bound<'_, PyUntypedArray>,
    seen: &Bound<'_, PyUntypedArray>,
    squared: &Bound<'_, PyUntypedArray>,
    sums: Option<ColumnSums<'py>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let view = matrix(embeddings, "embeddings")?;
    let metric = self::metric(metric)?;
    let sums = sums.map(|sums| self::sums(&sums)).transpose()?;
    let centers = matrix(centers, "centers")?;
    let known = Known {
        rows: parse::slice(rows, b"i", "rows")?,
        seen: parse::slice(seen, b"i", "seen")?,
        squared: parse::slice(squared, b"f", "squared")?,
    };
    let seen_by_all = known.seen.iter().min().map_or(0, |seen| *seen as usize);
    let lacking = centers.rows().saturating_sub(seen_by_all);
    // Centres come from the cache, many times faster than bytes of input.
    let bytes = view
        .cols()
        .saturating_mul(known.rows.len())
        .saturating_mul(lacking);
    let nearest = enter(py, None, |door| {
        door.run(bytes, |exec| {
            core_show_centers(exec, &view, metric, known, &centers, sums.as_ref())
        })
    })?;
    Ok(PyArray1::from_vec(py, nearest))
}

/// The sums of columns, what they lack, how many rows they are of, and the largest magnitude.
type ColumnSums<'py> = (
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    u64,
    f64,
);

fn sums(parts: &ColumnSums<'_>) -> PyResult<Sums> {
    let (high, low, count, largest) = parts;
    Ok(Sums {
        high: parse::slice(high.as_untyped(), b"f", "sums")?.to_vec(),
        low: parse::slice(low.as_untyped(), b"f", "sums")?.to_vec(),
        count: *count,
        largest: *largest,
    })
}

/// Adds all rows that are not excluded, without loss.
#[pyfunction]
#[pyo3(signature = (embeddings, metric, exclude=None))]
pub(crate) fn sum_of_rows<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    metric: &str,
    exclude: Option<&Bound<'_, PyUntypedArray>>,
) -> PyResult<ColumnSums<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let metric = self::metric(metric)?;
    let exclude = slice(exclude, b"bu", "exclude")?;
    let bytes = view.rows() * view.cols() * view.kind().size();
    let sums = enter(py, None, |door| {
        door.run(bytes, |exec| core_sum_of_rows(exec, &view, metric, exclude))
    })?;
    Ok((
        PyArray1::from_vec(py, sums.high),
        PyArray1::from_vec(py, sums.low),
        sums.count,
        sums.largest,
    ))
}

/// The mean of the rows that several sums are of.
#[pyfunction]
pub(crate) fn mean_of_sums<'py>(
    py: Python<'py>,
    parts: Vec<ColumnSums<'py>>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let mut total: Option<Sums> = None;
    for part in &parts {
        let part = sums(part)?;
        match &mut total {
            None => total = Some(part),
            Some(total) => total.add(&part),
        }
    }
    let mean = total.map_or_else(Vec::new, |total| total.mean());
    Ok(PyArray1::from_vec(py, mean))
}

/// The squared distance of each row to a point, which is taken as it is.
#[pyfunction]
pub(crate) fn squared_to_point<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    metric: &str,
    point: &Bound<'_, PyUntypedArray>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let view = matrix(embeddings, "embeddings")?;
    let metric = self::metric(metric)?;
    let point = parse::slice(point, b"f", "point")?;
    let bytes = view.rows() * view.cols() * view.kind().size();
    let squared = enter(py, None, |door| {
        door.run(bytes, |exec| {
            core_squared_to_point(exec, &view, metric, point)
        })
    })?;
    Ok(PyArray1::from_vec(py, squared))
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
