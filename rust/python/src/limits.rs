//! What selections have to keep to, as Python says it.

use numpy::{PyArray1, PyUntypedArray};
use pickwise_core::select::{Apart, Budget, Limits, Quota, admit as core_admit};
use pyo3::prelude::*;

use crate::diversity::{matrix, metric, slice};
use crate::enter::enter;
use crate::parse;

/// Embeddings, metric, least distance, centres, labelled rows.
type PyApart<'py> = (
    Bound<'py, PyUntypedArray>,
    String,
    f64,
    Option<Bound<'py, PyUntypedArray>>,
    Option<Bound<'py, PyUntypedArray>>,
);

/// Read from an object with these attributes.
#[derive(FromPyObject, Default)]
pub(crate) struct PyLimits<'py> {
    /// Name, groups, the most of one group.
    quotas: Vec<(String, Bound<'py, PyUntypedArray>, usize)>,
    costs: Option<Bound<'py, PyUntypedArray>>,
    budget: Option<f64>,
    apart: Option<PyApart<'py>>,
    taken: Option<Bound<'py, PyUntypedArray>>,
}

impl PyLimits<'_> {
    /// The quotas, for [`PyLimits::view`].
    pub(crate) fn quotas(&self) -> PyResult<Vec<Quota<'_>>> {
        self.quotas
            .iter()
            .map(|(name, groups, most)| {
                Ok(Quota {
                    name,
                    groups: parse::slice(groups, b"i", name)?,
                    most: *most,
                })
            })
            .collect()
    }

    pub(crate) fn view<'a>(&'a self, quotas: &'a [Quota<'a>]) -> PyResult<Limits<'a>> {
        let costs = slice(self.costs.as_ref(), b"f", "costs")?;
        let apart = self.apart.as_ref();
        let apart = apart.map(|(embeddings, metric, least, centers, labelled)| {
            Ok::<_, PyErr>(Apart {
                embeddings: matrix(embeddings, "embeddings")?,
                metric: self::metric(metric)?,
                least: *least,
                centers: centers.as_ref().map(|c| matrix(c, "centers")).transpose()?,
                labelled: slice(labelled.as_ref(), b"i", "labelled")?.unwrap_or(&[]),
            })
        });
        Ok(Limits {
            quotas,
            budget: costs.map(|costs| Budget {
                costs,
                budget: self.budget.unwrap_or(f64::INFINITY),
            }),
            apart: apart.transpose()?,
            taken: slice(self.taken.as_ref(), b"i", "must_include")?.unwrap_or(&[]),
        })
    }
}

/// Positions in `order`, rows of a pool, of the first `k` that keep to the limits.
#[pyfunction]
pub(crate) fn admit<'py>(
    py: Python<'py>,
    order: &Bound<'_, PyUntypedArray>,
    rows: usize,
    k: usize,
    limits: PyLimits<'_>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let order = parse::slice::<i64>(order, b"i", "order")?;
    let quotas = limits.quotas()?;
    let limits = limits.view(&quotas)?;
    let admitted = enter(py, None, |door| {
        door.run(usize::MAX, |exec| core_admit(exec, order, rows, k, &limits))
    })?;
    Ok(PyArray1::from_vec(py, admitted))
}
