//! The state of a streaming selection.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use numpy::{PyArray1, PyUntypedArray};
use pickwise_core::parallel::Exec;
use pickwise_core::scores::pool::InvalidRows as Report;
use pickwise_core::select::{
    Chunk, Criterion, Entry, Id, Positions, Selector, Strings, Ties, holds_strings,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::enter::{Door, detached, enter, to_python};
use crate::parse;
use crate::score::{InvalidRows, Score};

/// Ids of a chunk as they come from Python: integers, or `(offsets, bytes)`.
#[derive(FromPyObject)]
pub(crate) enum PyIds<'py> {
    #[pyo3(transparent)]
    Integers(Bound<'py, PyUntypedArray>),
    #[pyo3(transparent)]
    Strings((Bound<'py, PyUntypedArray>, Bound<'py, PyUntypedArray>)),
}

/// The same as the core sees them.
#[derive(Clone, Copy)]
pub(crate) enum IdView<'a> {
    Integers(&'a [i64]),
    Strings(Strings<'a>),
}

impl PyIds<'_> {
    pub(crate) fn view(&self) -> PyResult<IdView<'_>> {
        match self {
            Self::Integers(ids) => Ok(IdView::Integers(parse::slice(ids, b"i", "ids")?)),
            Self::Strings((offsets, bytes)) => {
                let offsets = parse::slice(offsets, b"i", "ids")?;
                let bytes = parse::slice(bytes, b"u", "ids")?;
                let strings = Strings::new(offsets, bytes).map_err(|e| to_python(&e))?;
                Ok(IdView::Strings(strings))
            }
        }
    }
}

impl IdView<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Integers(ids) => ids.len(),
            Self::Strings(ids) => ids.len(),
        }
    }
}

/// Ids that are never to be selected.
#[derive(FromPyObject)]
enum ExcludeIds<'py> {
    #[pyo3(transparent)]
    Integers(Bound<'py, PyUntypedArray>),
    #[pyo3(transparent)]
    Strings(Vec<String>),
}

enum State {
    Integers(Selector<i64>),
    Strings(Selector<Box<[u8]>>),
}

/// Runs `$body` on the selector, whatever its ids are.
macro_rules! with_selector {
    ($state:expr, $selector:ident => $body:expr) => {
        match $state {
            State::Integers($selector) => $body,
            State::Strings($selector) => $body,
        }
    };
}

/// Ids (an array of integers or a list of strings), positions and scores.
type Finished<'py> = (
    Py<PyAny>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<f64>>,
);

/// The `k` best rows of the chunks seen so far.
#[pyclass(frozen, module = "pickwise._native")]
pub(crate) struct TopK(Mutex<State>);

impl TopK {
    /// The state, by a thread that is detached.
    fn with<T: Send>(&self, py: Python<'_>, f: impl FnOnce(&mut State) -> T + Send) -> T {
        detached(py, || {
            f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

#[pymethods]
impl TopK {
    #[new]
    #[pyo3(signature = (score, k, *, tie_seed, seed, string_ids, exclude_ids))]
    fn new(
        score: Option<&Score>,
        k: usize,
        tie_seed: Option<u64>,
        seed: u64,
        string_ids: bool,
        exclude_ids: Option<ExcludeIds<'_>>,
    ) -> PyResult<Self> {
        let criterion = score.map_or(Criterion::Random(seed), |s| Criterion::Score(s.0));
        let ties = tie_seed.map_or(Ties::First, Ties::Random);
        let state = match (string_ids, exclude_ids) {
            (false, None) => State::Integers(Selector::new(criterion, k, ties, HashSet::new())),
            (false, Some(ExcludeIds::Integers(ids))) => {
                let ids = parse::slice::<i64>(&ids, b"i", "exclude_ids")?;
                let ids = ids.iter().copied().collect();
                State::Integers(Selector::new(criterion, k, ties, ids))
            }
            (true, None) => State::Strings(Selector::new(criterion, k, ties, HashSet::new())),
            (true, Some(ExcludeIds::Strings(ids))) => {
                let ids = ids.into_iter().map(|id| id.into_bytes().into()).collect();
                State::Strings(Selector::new(criterion, k, ties, ids))
            }
            _ => {
                return Err(PyTypeError::new_err(
                    "exclude_ids: expected ids of the same kind as the pool's (integers or strings)",
                ));
            }
        };
        Ok(Self(Mutex::new(state)))
    }

    #[pyo3(signature = (matrix, rows, *, ids=None, exclude=None, skip_invalid=false, progress=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn update(
        &self,
        py: Python<'_>,
        matrix: Option<&Bound<'_, PyUntypedArray>>,
        rows: usize,
        ids: Option<PyIds<'_>>,
        exclude: Option<&Bound<'_, PyUntypedArray>>,
        skip_invalid: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Option<InvalidRows>> {
        let matrix = matrix.map(parse::matrix).transpose()?;
        let exclude = match exclude {
            Some(mask) => Some(parse::slice::<u8>(mask, b"bu", "exclude")?),
            None => None,
        };
        let ids = ids.as_ref().map(PyIds::view).transpose()?;
        if ids.is_some_and(|ids| ids.len() != rows) {
            return Err(PyValueError::new_err("ids: expected one id a row"));
        }
        let chunk = Chunk {
            matrix,
            rows,
            exclude,
            skip_invalid,
        };
        let report = enter(py, progress.as_ref(), |door| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            update(door, &mut state, &chunk, ids)
        })?;
        Ok(report.map(|report| InvalidRows::new(report, 0)))
    }

    fn merge(&self, py: Python<'_>, other: &Bound<'_, Self>) -> PyResult<()> {
        // A copy, so that two threads may merge two selections into each other.
        let other = other.get().with(py, |state| match state {
            State::Integers(s) => State::Integers(s.clone()),
            State::Strings(s) => State::Strings(s.clone()),
        });
        self.with(py, |state| match (state, &other) {
            (State::Integers(a), State::Integers(b)) => a.merge(b),
            (State::Strings(a), State::Strings(b)) => a.merge(b),
            _ => Err(pickwise_core::Error::Mismatch(
                "cannot merge: one selection has integer ids, the other strings".into(),
            )),
        })
        .map_err(|e| to_python(&e))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Finished<'py>> {
        let selected = enter(py, None, |door| {
            match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
                State::Integers(s) => finish(door, s, |id| *id).map(Selected::Integers),
                State::Strings(s) => finish(door, s, |id| String::from_utf8_lossy(id).into_owned())
                    .map(Selected::Strings),
            }
        })?;
        let (ids, indices, scores) = match selected {
            Selected::Integers((ids, indices, scores)) => (
                PyArray1::from_vec(py, ids).into_any().unbind(),
                indices,
                scores,
            ),
            Selected::Strings((ids, indices, scores)) => {
                (ids.into_pyobject(py)?.into_any().unbind(), indices, scores)
            }
        };
        let indices = PyArray1::from_vec(py, indices);
        Ok((ids, indices, PyArray1::from_vec(py, scores)))
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = self.with(py, |state| with_selector!(state, s => s.to_bytes()));
        PyBytes::new(py, &bytes)
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let state = detached(py, || {
            if holds_strings(data) {
                Selector::from_bytes(data).map(State::Strings)
            } else {
                Selector::from_bytes(data).map(State::Integers)
            }
        });
        Ok(Self(Mutex::new(state.map_err(|e| to_python(&e))?)))
    }

    #[getter]
    fn k(&self, py: Python<'_>) -> usize {
        self.with(py, |state| with_selector!(state, s => s.k()))
    }

    #[getter]
    fn rows(&self, py: Python<'_>) -> u64 {
        self.with(py, |state| with_selector!(state, s => s.rows()))
    }

    #[getter]
    fn skipped(&self, py: Python<'_>) -> u64 {
        self.with(py, |state| with_selector!(state, s => s.skipped()))
    }
}

/// Ids, positions and scores, best first.
type Columns<I> = (Vec<I>, Vec<i64>, Vec<f64>);

enum Selected {
    Integers(Columns<i64>),
    Strings(Columns<String>),
}

fn finish<I: Id, T: Send>(
    door: &Door<'_>,
    selector: &mut Selector<I>,
    id: impl Fn(&I) -> T + Sync,
) -> PyResult<Columns<T>> {
    let bytes = selector.k() * size_of::<Entry<I>>();
    door.run(bytes, |exec| {
        let entries = selector.finish(exec);
        Ok((
            entries.iter().map(|e| id(&e.id)).collect(),
            entries.iter().map(|e| e.index).collect(),
            entries.iter().map(|e| e.score).collect(),
        ))
    })
}

fn update(
    door: &Door<'_>,
    state: &mut State,
    chunk: &Chunk<'_>,
    ids: Option<IdView<'_>>,
) -> PyResult<Option<Report>> {
    let row_bytes = chunk.matrix.map_or(16, |m| m.cols() * m.kind().size());
    let bytes = chunk.rows * row_bytes;
    door.run(bytes, move |exec: &Exec<'_>| match (state, ids) {
        (State::Integers(s), Some(IdView::Integers(ids))) => s.update(exec, chunk, ids, true),
        (State::Integers(s), None) => {
            let start = s.rows() as i64;
            s.update(exec, chunk, Positions { start }, false)
        }
        (State::Strings(s), Some(IdView::Strings(ids))) => s.update(exec, chunk, ids, true),
        _ => Err(pickwise_core::Error::Mismatch(
            "ids: expected the same kind of ids (integers, strings or none) with every chunk"
                .into(),
        )),
    })
}
