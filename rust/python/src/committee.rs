//! Scores of committees.

use std::sync::{Mutex, MutexGuard, PoisonError};

use numpy::{PyArray1, PyUntypedArray, PyUntypedArrayMethods};
use pickwise_core::committee::{
    Committee, InvalidMember, Measure, Members as CoreMembers, Tally, score_votes,
    vote as core_vote,
};
use pickwise_core::matrix::Matrix;
use pickwise_core::select::{BatchBald, batch_bald as core_batch_bald};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::enter::{enter, to_python};
use crate::limits::PyLimits;
use crate::parse;
use crate::score::InvalidRows;

/// Which member has invalid rows, and the report of them.
type Invalid = Option<(usize, InvalidRows)>;

fn wrap(report: Option<InvalidMember>) -> Invalid {
    report.map(|found| (found.member, InvalidRows::new(found.rows, 0)))
}

fn committee(measure: &str, temperature: Option<f64>, double: bool) -> PyResult<Committee> {
    let measure = match measure {
        "disagreement" => Measure::Disagreement,
        "predictive" => Measure::Predictive,
        "expected" => Measure::Expected,
        "deviation" => Measure::Deviation,
        _ => return Err(PyValueError::new_err(format!("no such measure: {measure}"))),
    };
    let committee = Committee {
        measure,
        temperature,
        double,
    };
    committee.checked().map_err(|e| to_python(&e))
}

/// Scores every row by all members at once.
#[pyfunction]
#[pyo3(signature = (members, measure, *, temperature=None, double=false))]
pub(crate) fn score_committee<'py>(
    py: Python<'py>,
    members: Vec<Bound<'py, PyUntypedArray>>,
    measure: &str,
    temperature: Option<f64>,
    double: bool,
) -> PyResult<(Bound<'py, PyArray1<f64>>, Invalid)> {
    let committee = committee(measure, temperature, double)?;
    let views: Vec<_> = members.iter().map(parse::matrix).collect::<PyResult<_>>()?;
    let bytes = |view: &Matrix<'_>| view.rows() * view.cols() * view.kind().size();
    let total = views.iter().map(bytes).sum();
    let mut out = vec![0.0; views.first().map_or(0, Matrix::rows)];
    let report = enter(py, None, |door| {
        door.run(total, |exec| committee.score(exec, &views, &mut out))
    })?;
    Ok((PyArray1::from_vec(py, out), wrap(report)))
}

/// The members that have come so far.
#[pyclass(frozen, module = "pickwise._native")]
pub(crate) struct Members(Mutex<CoreMembers>);

impl Members {
    fn lock(&self) -> MutexGuard<'_, CoreMembers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Members {
    #[new]
    #[pyo3(signature = (measure, *, temperature=None, double=false))]
    fn new(measure: &str, temperature: Option<f64>, double: bool) -> PyResult<Self> {
        let committee = committee(measure, temperature, double)?;
        Ok(Self(Mutex::new(CoreMembers::new(committee))))
    }

    /// Adds one more member.
    fn add(&self, py: Python<'_>, member: &Bound<'_, PyUntypedArray>) -> PyResult<Invalid> {
        let view = parse::matrix(member)?;
        let bytes = view.rows() * view.cols() * view.kind().size();
        let report = enter(py, None, |door| {
            let mut guard = self.lock();
            let members = &mut *guard;
            door.run(bytes, |exec| members.add(exec, &view))
        })?;
        Ok(wrap(report))
    }

    /// The scores of the members so far.
    fn scores<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let out = enter(py, None, |door| {
            let guard = self.lock();
            let members = &*guard;
            let mut out = vec![0.0; members.rows()];
            door.run(members.bytes(), |exec| members.scores(exec, &mut out))?;
            Ok(out)
        })?;
        Ok(PyArray1::from_vec(py, out))
    }
}

/// Writes the class that each row is most probably of to `out`.
#[pyfunction]
pub(crate) fn vote(
    py: Python<'_>,
    matrix: &Bound<'_, PyUntypedArray>,
    out: &Bound<'_, PyUntypedArray>,
    from_logits: bool,
) -> PyResult<Option<InvalidRows>> {
    let view = parse::matrix(matrix)?;
    // SAFETY: `out` was made for this call.
    let votes = unsafe { parse::slice_mut(out, b"u", "out")? };
    if out.len() != view.rows() {
        return Err(PyValueError::new_err("out: expected one vote a row"));
    }
    let bytes = view.rows() * view.cols() * view.kind().size();
    let report = enter(py, None, |door| {
        door.run(bytes, |exec| core_vote(exec, &view, from_logits, votes))
    })?;
    Ok(report.map(|report| InvalidRows::new(report, 0)))
}

/// Scores every row by its votes, `(members, rows)` in one.
#[pyfunction]
pub(crate) fn tally<'py>(
    py: Python<'py>,
    votes: &Bound<'py, PyUntypedArray>,
    rows: usize,
    measure: &str,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let votes = parse::slice::<u32>(votes, b"u", "votes")?;
    let tally = match measure {
        "entropy" => Tally::Entropy,
        "dissent" => Tally::Dissent,
        _ => return Err(PyValueError::new_err(format!("no such measure: {measure}"))),
    };
    let mut out = vec![0.0; rows];
    enter(py, None, |door| {
        door.run(size_of_val(votes), |exec| {
            score_votes(exec, votes, tally, &mut out)
        })
    })?;
    Ok(PyArray1::from_vec(py, out))
}

/// Positions, gains, entropies computed; or else the report of invalid rows.
type Batch<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
    u64,
    Invalid,
);

/// Picks up to `k` rows whose labels together tell most of the members.
#[pyfunction]
#[pyo3(signature = (members, k, *, samples, seed, temperature=None, exclude=None, limits=None, progress=None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
pub(crate) fn batch_bald<'py>(
    py: Python<'py>,
    members: Vec<Bound<'py, PyUntypedArray>>,
    k: usize,
    samples: usize,
    seed: u64,
    temperature: Option<f64>,
    exclude: Option<&Bound<'_, PyUntypedArray>>,
    limits: Option<PyLimits<'_>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Batch<'py>> {
    let views: Vec<_> = members.iter().map(parse::matrix).collect::<PyResult<_>>()?;
    let exclude = exclude.map(|mask| parse::slice(mask, b"bu", "exclude"));
    let limits = limits.unwrap_or_default();
    let quotas = limits.quotas()?;
    let options = BatchBald {
        k,
        temperature,
        samples,
        seed,
        exclude: exclude.transpose()?,
        limits: limits.view(&quotas)?,
    };
    // Configurations are many times what the rows are.
    let numbers = views.iter().map(|view| view.rows() * view.cols());
    let bytes = numbers.sum::<usize>().saturating_mul(samples.min(1 << 20));
    let picked = enter(py, progress.as_ref(), |door| {
        door.run(bytes, |exec| core_batch_bald(exec, &views, &options))
    })?;
    let (batch, invalid) = match picked {
        Ok(batch) => (Some(batch), None),
        Err(report) => (None, Some(report)),
    };
    let (picks, gains, computed) =
        batch.map_or_else(Default::default, |b| (b.picks, b.gains, b.computed));
    let picks = picks.into_iter().map(|row| row as i64);
    Ok((
        PyArray1::from_iter(py, picks),
        PyArray1::from_vec(py, gains),
        computed,
        wrap(invalid),
    ))
}
