//! Batches that are picked one row after the other by what each adds.

use numpy::{PyArray1, PyUntypedArray};
use pickwise_core::select::{
    FacilityLocation, Gains, Graph, Order, RankedBatch,
    facility_location as core_facility_location, ranked_batch as core_ranked_batch,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::diversity::{matrix, metric, slice};
use crate::enter::enter;
use crate::limits::PyLimits;
use crate::parse;

/// Positions, distances, scores.
type Ranked<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
);

/// Positions, and a number for each.
type Picks<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f64>>);

fn positions(py: Python<'_>, picks: Vec<usize>) -> Bound<'_, PyArray1<i64>> {
    PyArray1::from_iter(py, picks.into_iter().map(|row| row as i64))
}

/// Picks up to `k` rows that stand for the others, by a sparse graph.
#[pyfunction]
#[pyo3(signature = (starts, rows, values, k, *, weights=None, covered=None, exclude=None, limits=None, progress=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub(crate) fn facility_location<'py>(
    py: Python<'py>,
    starts: &Bound<'_, PyUntypedArray>,
    rows: &Bound<'_, PyUntypedArray>,
    values: Option<&Bound<'_, PyUntypedArray>>,
    k: usize,
    weights: Option<&Bound<'_, PyUntypedArray>>,
    covered: Option<&Bound<'_, PyUntypedArray>>,
    exclude: Option<&Bound<'_, PyUntypedArray>>,
    limits: Option<PyLimits<'_>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Picks<'py>> {
    let limits = limits.unwrap_or_default();
    let quotas = limits.quotas()?;
    let options = FacilityLocation {
        k,
        graph: Graph {
            starts: parse::slice(starts, b"i", "starts")?,
            rows: parse::slice(rows, b"u", "rows")?,
            values: slice(values, b"f", "values")?,
        },
        weights: slice(weights, b"f", "weights")?,
        covered: slice(covered, b"f", "covered")?,
        exclude: slice(exclude, b"bu", "exclude")?,
        limits: limits.view(&quotas)?,
    };
    let bytes = size_of_val(options.graph.rows).saturating_mul(4);
    let Gains { picks, gains } = enter(py, progress.as_ref(), |door| {
        door.run(bytes, |exec| core_facility_location(exec, &options))
    })?;
    Ok((positions(py, picks), PyArray1::from_vec(py, gains)))
}

/// Picks up to `k` rows by distance and `uncertainty`, or by distance in the embeddings
/// times that in the `targets`. Positions, distances, scores.
#[pyfunction]
#[pyo3(signature = (embeddings, k, *, metric, uncertainty=None, alpha=None, targets=None, centers=None, center_targets=None, labelled=None, start=None, exclude=None, limits=None, progress=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub(crate) fn ranked_batch<'py>(
    py: Python<'py>,
    embeddings: &Bound<'_, PyUntypedArray>,
    k: usize,
    metric: &str,
    uncertainty: Option<&Bound<'_, PyUntypedArray>>,
    alpha: Option<f64>,
    targets: Option<&Bound<'_, PyUntypedArray>>,
    centers: Option<&Bound<'_, PyUntypedArray>>,
    center_targets: Option<&Bound<'_, PyUntypedArray>>,
    labelled: Option<&Bound<'_, PyUntypedArray>>,
    start: Option<usize>,
    exclude: Option<&Bound<'_, PyUntypedArray>>,
    limits: Option<PyLimits<'_>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Ranked<'py>> {
    let view = matrix(embeddings, "embeddings")?;
    let order = match (slice(uncertainty, b"f", "uncertainty")?, targets) {
        (Some(uncertainty), None) => Order::Ranked { uncertainty, alpha },
        (None, Some(targets)) => Order::Product {
            targets: matrix(targets, "targets")?,
            centers: center_targets.map(|t| matrix(t, "targets")).transpose()?,
        },
        _ => return Err(PyTypeError::new_err("expected uncertainty or targets")),
    };
    let limits = limits.unwrap_or_default();
    let quotas = limits.quotas()?;
    let options = RankedBatch {
        k,
        metric: self::metric(metric)?,
        order,
        centers: centers.map(|c| matrix(c, "centers")).transpose()?,
        labelled: slice(labelled, b"i", "labelled")?.unwrap_or(&[]),
        start,
        exclude: slice(exclude, b"bu", "exclude")?,
        limits: limits.view(&quotas)?,
    };
    let size = view.cols().saturating_mul(view.kind().size());
    let bytes = size.saturating_mul(view.rows()).saturating_mul(k.max(1));
    let (cover, scores) = enter(py, progress.as_ref(), |door| {
        door.run(bytes, |exec| core_ranked_batch(exec, &view, &options))
    })?;
    Ok((
        positions(py, cover.picks),
        PyArray1::from_vec(py, cover.distances),
        PyArray1::from_vec(py, scores),
    ))
}
