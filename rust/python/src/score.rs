//! Scores of whole arrays.

use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pickwise_core::scores::pool::{InvalidRows as Report, Output, score_pool};
use pickwise_core::scores::{Aggregate, Invalid, Measure, Score as Core, Task, Unit};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::enter::{enter, to_python};
use crate::parse;

/// What is computed for every row.
#[pyclass(frozen, module = "pickwise._native")]
pub(crate) struct Score(pub Core);

#[pymethods]
impl Score {
    #[new]
    #[pyo3(signature = (name, *, from_logits=false, temperature=1.0, task="multiclass", how="mean", base=None, normalize=false))]
    fn new(
        name: &str,
        from_logits: bool,
        temperature: f64,
        task: &str,
        how: &str,
        base: Option<f64>,
        normalize: bool,
    ) -> PyResult<Self> {
        let measure = match name {
            "entropy" => Measure::Entropy,
            "margin" => Measure::Margin,
            "least_confidence" => Measure::LeastConfidence,
            "ratio" => Measure::Ratio,
            _ => {
                return Err(unknown(
                    "score",
                    name,
                    "entropy, margin, least_confidence, ratio",
                ));
            }
        };
        let how = match how {
            "mean" => Aggregate::Mean,
            "max" => Aggregate::Max,
            "sum" => Aggregate::Sum,
            _ => return Err(unknown("how", how, "mean, max, sum")),
        };
        let task = match task {
            "multiclass" => Task::Multiclass,
            "multilabel" => Task::Multilabel(how),
            "binary" => Task::Multilabel(Aggregate::Sum),
            _ => return Err(unknown("task", task, "multiclass, multilabel")),
        };
        let unit = match (base, normalize) {
            (None, false) => Unit::Nats,
            (Some(base), false) => Unit::Base(base),
            (None, true) => Unit::Normalized,
            (Some(_), true) => {
                return Err(PyValueError::new_err(
                    "base: cannot be combined with normalize=True, which makes it irrelevant",
                ));
            }
        };
        if !from_logits && temperature != 1.0 {
            return Err(PyValueError::new_err(format!(
                "temperature: expected 1 for probabilities, got {temperature}; it softens logits (from_logits=True)"
            )));
        }
        let score = Core {
            measure,
            task,
            unit,
            temperature: from_logits.then_some(temperature),
        };
        score.checked().map(Self).map_err(|e| to_python(&e))
    }
}

fn unknown(argument: &str, got: &str, expected: &str) -> PyErr {
    PyValueError::new_err(format!(
        "{argument}: expected one of {expected}, got {got:?}"
    ))
}

/// The invalid rows that a pass found.
#[pyclass(frozen, get_all, module = "pickwise._native")]
pub(crate) struct InvalidRows {
    count: usize,
    row: usize,
    column: usize,
    value: f64,
    reason: &'static str,
}

#[pymethods]
impl InvalidRows {
    /// The report of both.
    fn merged(&self, other: &Self) -> Self {
        let first = if other.row < self.row { other } else { self };
        Self {
            count: self.count + other.count,
            ..*first
        }
    }
}

impl InvalidRows {
    /// The core's report, its rows numbered from `offset`.
    pub(crate) fn new(report: Report, offset: usize) -> Self {
        let (column, value, reason) = match report.why {
            Invalid::Value(column, value) => (column, value, "value"),
            Invalid::Sum(sum) => (0, sum, "sum"),
            Invalid::Score(score) => (0, score, "score"),
        };
        Self {
            count: report.count,
            row: report.row + offset,
            column,
            value,
            reason,
        }
    }
}

/// Scores every row of `matrix` into `out`; reports invalid rows.
#[pyfunction]
#[pyo3(signature = (matrix, score, out, row_offset=0, progress=None))]
#[allow(clippy::needless_pass_by_value, reason = "made for the call")]
pub(crate) fn score(
    py: Python<'_>,
    matrix: parse::PyRows<'_>,
    score: &Score,
    out: &Bound<'_, PyUntypedArray>,
    row_offset: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Option<InvalidRows>> {
    let mut starts = Vec::new();
    let view = matrix.view(&mut starts)?;
    // SAFETY: `out` was made for this call.
    let target = unsafe {
        if out.dtype().itemsize() == 4 {
            Output::F32(parse::slice_mut(out, b"f", "out")?)
        } else {
            Output::F64(parse::slice_mut(out, b"f", "out")?)
        }
    };
    if out.len() != view.rows() {
        return Err(PyValueError::new_err("out: expected one score a row"));
    }
    let bytes = view.rows() * view.cols() * view.kind().size();
    let report = enter(py, progress.as_ref(), |door| {
        door.run(bytes, |exec| score_pool(exec, &score.0, &view, target))
    })?;
    Ok(report.map(|report| InvalidRows::new(report, row_offset)))
}
