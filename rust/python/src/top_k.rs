//! The state of a streaming selection.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use numpy::{Element, PyArray1, PyArrayMethods, PyUntypedArray};
use pickwise_core::parallel::Exec;
use pickwise_core::scores::pool::InvalidRows as Report;
use pickwise_core::select::{
    Chunk, Columns, Criterion, Id, IdKind, Noise, Places, Position, Positions, Selector, Strings,
    Ties, Weight, id_kind,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

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

/// Positions of a chunk as they come from Python: the first one, or one a row.
#[derive(FromPyObject)]
enum PyPlaces<'py> {
    #[pyo3(transparent)]
    First(i64),
    #[pyo3(transparent)]
    Each(Bound<'py, PyUntypedArray>),
}

impl PyPlaces<'_> {
    fn view(&self) -> PyResult<Places<'_>> {
        match self {
            Self::First(first) => Ok(Places::From(*first)),
            Self::Each(places) => Ok(Places::At(parse::slice(places, b"i", "positions")?)),
        }
    }
}

/// What rows are selected by: a score of theirs, or what has a name.
#[derive(FromPyObject)]
enum By<'py> {
    #[pyo3(transparent)]
    Score(PyRef<'py, Score>),
    #[pyo3(transparent)]
    Name(String),
}

impl By<'_> {
    fn criterion(&self, noise: Option<Noise>, seed: u64) -> PyResult<Criterion> {
        match (self, noise) {
            (Self::Score(score), None) => Ok(Criterion::Score(score.0)),
            (Self::Score(score), Some(noise)) => Ok(Criterion::Noisy(Some(score.0), noise)),
            (Self::Name(name), None) if name == "given" => Ok(Criterion::Given),
            (Self::Name(name), Some(noise)) if name == "given" => Ok(Criterion::Noisy(None, noise)),
            (Self::Name(name), None) if name == "random" => Ok(Criterion::Random(seed)),
            (Self::Name(name), _) => Err(PyValueError::new_err(format!(
                "by: expected a Score, \"given\" or (without noise) \"random\", got {name:?}"
            ))),
        }
    }
}

/// Noise as it comes from Python: its kind and its beta.
fn noise((kind, beta): (String, f64), seed: u64) -> PyResult<Noise> {
    let weight = match kind.as_str() {
        "power" => Weight::Power,
        "softmax" => Weight::Softmax,
        _ => {
            return Err(PyValueError::new_err(format!(
                "noise: expected \"power\" or \"softmax\", got {kind:?}"
            )));
        }
    };
    let noise = Noise { weight, beta, seed };
    noise.checked().map_err(|e| to_python(&e))
}

/// Ids that are never to be selected.
#[derive(FromPyObject)]
enum ExcludeIds<'py> {
    #[pyo3(transparent)]
    Integers(Bound<'py, PyUntypedArray>),
    #[pyo3(transparent)]
    Strings(Vec<String>),
}

/// The same by their kind.
#[derive(Default)]
struct Excluded(HashSet<i64>, HashSet<Box<[u8]>>);

enum State {
    Positions(Selector<Position>),
    Integers(Selector<i64>),
    Strings(Selector<Box<[u8]>>),
}

/// Runs `$body` on the selector, whatever its ids are.
macro_rules! with_selector {
    ($state:expr, $selector:ident => $body:expr) => {
        match $state {
            State::Positions($selector) => $body,
            State::Integers($selector) => $body,
            State::Strings($selector) => $body,
        }
    };
}

/// Ids (an array of integers or a list of strings), positions and scores. Where rows
/// are known by their positions, these are their ids: one array.
type Finished = (Py<PyAny>, Py<PyArray1<i64>>, Py<PyArray1<f64>>);

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
    #[pyo3(signature = (by, k, *, tie_seed, seed, ids, exclude_ids, noise=None))]
    fn new(
        by: By<'_>,
        k: usize,
        tie_seed: Option<u64>,
        seed: u64,
        ids: &str,
        exclude_ids: Option<ExcludeIds<'_>>,
        noise: Option<(String, f64)>,
    ) -> PyResult<Self> {
        let noise = noise.map(|noise| self::noise(noise, seed)).transpose()?;
        let criterion = by.criterion(noise, seed)?;
        let ties = tie_seed.map_or(Ties::First, Ties::Random);
        let strings = ids == "string";
        let excluded = match exclude_ids {
            None => Excluded::default(),
            Some(ExcludeIds::Integers(ids)) if !strings => {
                let ids = parse::slice::<i64>(&ids, b"i", "exclude_ids")?;
                Excluded(ids.iter().copied().collect(), HashSet::new())
            }
            Some(ExcludeIds::Strings(ids)) if strings => {
                let ids = ids.into_iter().map(|id| id.into_bytes().into());
                Excluded(HashSet::new(), ids.collect())
            }
            Some(_) => {
                return Err(PyTypeError::new_err(
                    "exclude_ids: expected ids of the same kind as the pool's (integers or strings)",
                ));
            }
        };
        let state = match ids {
            "position" => State::Positions(Selector::new(criterion, k, ties, excluded.0)),
            "integer" => State::Integers(Selector::new(criterion, k, ties, excluded.0)),
            "string" => State::Strings(Selector::new(criterion, k, ties, excluded.1)),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "ids: expected \"position\", \"integer\" or \"string\", got {ids:?}"
                )));
            }
        };
        Ok(Self(Mutex::new(state)))
    }

    #[pyo3(signature = (matrix, rows, *, ids=None, positions=None, exclude=None, skip_invalid=false, progress=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn update(
        &self,
        py: Python<'_>,
        matrix: Option<parse::PyRows<'_>>,
        rows: usize,
        ids: Option<PyIds<'_>>,
        positions: Option<PyPlaces<'_>>,
        exclude: Option<&Bound<'_, PyUntypedArray>>,
        skip_invalid: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Option<InvalidRows>> {
        let mut starts = Vec::new();
        let matrix = matrix.as_ref().map(|m| m.view(&mut starts)).transpose()?;
        let exclude = match exclude {
            Some(mask) => Some(parse::slice::<u8>(mask, b"bu", "exclude")?),
            None => None,
        };
        let ids = ids.as_ref().map(PyIds::view).transpose()?;
        if ids.is_some_and(|ids| ids.len() != rows) {
            return Err(PyValueError::new_err("ids: expected one id a row"));
        }
        let places = positions.as_ref().map(PyPlaces::view).transpose()?;
        let chunk = Chunk {
            matrix,
            rows,
            exclude,
            skip_invalid,
            places: places.unwrap_or(Places::Next),
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
            State::Positions(s) => State::Positions(s.clone()),
            State::Integers(s) => State::Integers(s.clone()),
            State::Strings(s) => State::Strings(s.clone()),
        });
        self.with(py, |state| match (state, &other) {
            (State::Positions(a), State::Positions(b)) => a.merge(b),
            (State::Integers(a), State::Integers(b)) => a.merge(b),
            (State::Strings(a), State::Strings(b)) => a.merge(b),
            _ => Err(pickwise_core::Error::Mismatch(
                "cannot merge: the two selections differ in their kind of ids (integers, strings or none)"
                    .into(),
            )),
        })
        .map_err(|e| to_python(&e))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Finished> {
        enter(py, None, |door| {
            match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
                State::Positions(s) => {
                    let mut ids = vec![Position; s.selected()];
                    let (indices, scores) = finish(door, s, &mut ids)?;
                    Ok(Python::attach(|py| {
                        (indices.clone_ref(py).into_any(), indices, scores)
                    }))
                }
                State::Integers(s) => {
                    let mut ids = Column::new(s.selected());
                    let (indices, scores) = finish(door, s, ids.slice())?;
                    Ok((ids.array.into_any(), indices, scores))
                }
                State::Strings(s) => {
                    let mut ids = vec![&[][..]; s.selected()];
                    let (indices, scores) = finish(door, s, &mut ids)?;
                    // Whoever waits for the lock is detached.
                    let ids = Python::attach(|py| {
                        let id = |id: &&[u8]| PyString::new(py, &String::from_utf8_lossy(id));
                        PyList::new(py, ids.iter().map(id)).map(|list| list.into_any().unbind())
                    })?;
                    Ok((ids, indices, scores))
                }
            }
        })
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = self.with(py, |state| with_selector!(state, s => s.to_bytes()));
        PyBytes::new(py, &bytes)
    }

    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let state = detached(py, || match id_kind(data) {
            Some(IdKind::Positions) => Selector::from_bytes(data).map(State::Positions),
            Some(IdKind::Strings) => Selector::from_bytes(data).map(State::Strings),
            Some(IdKind::Integers) | None => Selector::from_bytes(data).map(State::Integers),
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

/// A new array of NumPy's own memory (large ones have large pages), which another
/// thread is to fill before anyone sees it.
struct Column<T> {
    array: Py<PyArray1<T>>,
    memory: *mut T,
    len: usize,
}

impl<T: Element> Column<T> {
    fn new(len: usize) -> Self {
        Python::attach(|py| {
            // SAFETY: numbers, any bits of which are some number, written before read.
            let array = unsafe { PyArray1::new(py, [len], false) };
            Self {
                memory: array.data(),
                len,
                array: array.unbind(),
            }
        })
    }

    fn slice(&mut self) -> &mut [T] {
        // SAFETY: the memory of an array that nobody else knows yet.
        unsafe { std::slice::from_raw_parts_mut(self.memory, self.len) }
    }
}

/// Positions and scores.
type Numbers = (Py<PyArray1<i64>>, Py<PyArray1<f64>>);

/// Positions and scores, best first; the ids are written to `ids`.
fn finish<'a, I: Id>(
    door: &Door<'_>,
    selector: &'a Selector<I>,
    ids: &mut [I::Key<'a>],
) -> PyResult<Numbers> {
    let selected = selector.selected();
    let mut indices = Column::<i64>::new(selected);
    let mut scores = Column::<f64>::new(selected);
    let columns = Columns {
        scores: scores.slice(),
        indices: indices.slice(),
        ids,
    };
    door.run(selected * 16, |exec| selector.finish_into(exec, columns))?;
    Ok((indices.array, scores.array))
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
        (State::Positions(s), None) => {
            let start = s.rows() as i64;
            s.update(exec, chunk, Positions { start })
        }
        (State::Integers(s), Some(IdView::Integers(ids))) => s.update(exec, chunk, ids),
        (State::Strings(s), Some(IdView::Strings(ids))) => s.update(exec, chunk, ids),
        _ => Err(pickwise_core::Error::Mismatch(
            "ids: expected the same kind of ids (integers, strings or none) with every chunk"
                .into(),
        )),
    })
}
