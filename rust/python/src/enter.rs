//! The one door between Python and the core.
//!
//! It detaches from the interpreter, owns the thread pool, watches for Ctrl-C,
//! reports progress, and turns errors and panics into Python exceptions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pickwise_core::parallel::Exec;
use pickwise_core::rayon::{ThreadPool, ThreadPoolBuilder};
use pickwise_core::{Error, Simd};
use pyo3::exceptions::{PyKeyboardInterrupt, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Work on fewer bytes is done on the calling thread: waking another costs more.
const SMALL: usize = 256 << 10;
/// Between two looks at signals and progress.
const TICK: Duration = Duration::from_millis(20);

/// Detached from Python; [`Door::run`] leads to the threads.
pub(crate) struct Door<'a> {
    simd: Simd,
    progress: Option<&'a Py<PyAny>>,
    /// Whether progress is told the figure beside the count.
    figure: bool,
}

/// Detaches from the interpreter and calls `f`.
pub(crate) fn enter<T, F>(py: Python<'_>, progress: Option<&Py<PyAny>>, f: F) -> PyResult<T>
where
    F: FnOnce(&Door<'_>) -> PyResult<T> + Send,
    T: Send,
{
    let simd = simd(py)?;
    let door = Door {
        simd,
        progress,
        figure: false,
    };
    detached(py, || f(&door))
}

/// Calls `f` detached, on this thread: for work too small to watch, and for locks,
/// whose holders may be waiting to attach.
pub(crate) fn detached<T: Send>(py: Python<'_>, f: impl FnOnce() -> T + Send) -> T {
    py.detach(f)
}

impl Door<'_> {
    /// The same door, whose progress is told the core's figure as well.
    pub(crate) fn with_figure(&self) -> Self {
        Self {
            figure: true,
            ..*self
        }
    }

    /// Runs a job on `bytes` of input, on the pool if that is worth it.
    pub(crate) fn run<T: Send>(
        &self,
        bytes: usize,
        job: impl FnOnce(&Exec<'_>) -> pickwise_core::Result<T> + Send,
    ) -> PyResult<T> {
        let (cancel, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let figure = AtomicU64::new(f64::INFINITY.to_bits());
        let mut exec = Exec {
            pool: None,
            simd: self.simd,
            cancel: &cancel,
            done: &done,
            figure: &figure,
        };
        let (result, interrupt) = if bytes < SMALL {
            (catch_unwind(AssertUnwindSafe(|| job(&exec))), Ok(()))
        } else {
            let pool = pool()?;
            exec.pool = Some(&pool);
            self.on_pool(&pool, &exec, || {
                catch_unwind(AssertUnwindSafe(|| job(&exec)))
            })
        };
        interrupt?;
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(to_python(&error)),
            Err(_) => Err(PyRuntimeError::new_err(
                "pickwise: internal error (please report it, with the message above)",
            )),
        }
    }

    /// Runs `job` on the pool while this thread watches.
    fn on_pool<T: Send>(
        &self,
        pool: &ThreadPool,
        exec: &Exec<'_>,
        job: impl FnOnce() -> T + Send,
    ) -> (T, PyResult<()>) {
        let (sender, receiver) = channel();
        let mut interrupt = Ok(());
        let value = pool.in_place_scope(|scope| {
            scope.spawn(move |_| {
                // The receiver lives until this arrives.
                let _ = sender.send(job());
            });
            loop {
                match receiver.recv_timeout(TICK) {
                    Ok(value) => return Some(value),
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) if interrupt.is_ok() => {
                        interrupt = self.look_up(exec);
                        if interrupt.is_err() {
                            exec.cancel.store(true, Ordering::Relaxed);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        });
        match value {
            Some(value) => (value, interrupt),
            None => unreachable!("the job always sends its result"),
        }
    }

    /// Lets Python handle signals, and reports progress.
    fn look_up(&self, exec: &Exec<'_>) -> PyResult<()> {
        Python::attach(|py| {
            py.check_signals()?;
            if let Some(progress) = self.progress {
                let done = exec.done.load(Ordering::Relaxed);
                if self.figure {
                    let figure = f64::from_bits(exec.figure.load(Ordering::Relaxed));
                    progress.call1(py, (done, figure))?;
                } else {
                    progress.call1(py, (done,))?;
                }
            }
            Ok(())
        })
    }
}

/// The core's error as an exception.
pub(crate) fn to_python(error: &Error) -> PyErr {
    match error {
        Error::Cancelled => PyKeyboardInterrupt::new_err(()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// The instructions to use: the best there are, or what `PICKWISE_SIMD` says.
pub(crate) fn simd(py: Python<'_>) -> PyResult<Simd> {
    static CHOSEN: PyOnceLock<Simd> = PyOnceLock::new();
    CHOSEN.get_or_try_init(py, choose_simd).copied()
}

fn choose_simd() -> PyResult<Simd> {
    let Some(name) = std::env::var_os("PICKWISE_SIMD").filter(|name| !name.is_empty()) else {
        return Ok(Simd::detect());
    };
    let name = name.to_string_lossy();
    Simd::named(&name).ok_or_else(|| {
        let here: Vec<_> = Simd::available().into_iter().map(Simd::name).collect();
        let problem = if Simd::NAMES.contains(&&*name) {
            "this CPU lacks it"
        } else {
            "there is no such level"
        };
        PyValueError::new_err(format!(
            "PICKWISE_SIMD={name}: {problem}; expected one of {}, or unset it",
            here.join(", ")
        ))
    })
}

/// The pool of one process. A forked child sees its parent's, whose threads it
/// does not have and whose lock may be held by one of them: it makes its own.
struct Process {
    id: u32,
    asked: AtomicUsize,
    pool: Mutex<Option<Arc<ThreadPool>>>,
}

static PROCESS: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());

fn process() -> &'static Process {
    let id = std::process::id();
    let current = PROCESS.load(Ordering::Acquire);
    // SAFETY: never freed once published.
    let known = unsafe { current.as_ref() };
    if let Some(process) = known
        && process.id == id
    {
        return process;
    }
    let asked = known.map_or(0, |parent| parent.asked.load(Ordering::Relaxed));
    let fresh = Box::into_raw(Box::new(Process {
        id,
        asked: AtomicUsize::new(asked),
        pool: Mutex::new(None),
    }));
    match PROCESS.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: published just now, and never freed: a parent's pool is leaked in
        // the child, since dropping it would wait for threads that do not exist.
        Ok(_) => unsafe { &*fresh },
        Err(winner) => {
            // SAFETY: `fresh` was not published; `winner` was, by this process.
            unsafe {
                drop(Box::from_raw(fresh));
                &*winner
            }
        }
    }
}

/// Sets the number of threads; `None` goes back to the default.
pub(crate) fn set_threads(threads: Option<usize>) {
    process()
        .asked
        .store(threads.unwrap_or(0), Ordering::Relaxed);
}

/// The number of threads that work will use.
pub(crate) fn threads() -> PyResult<usize> {
    match process().asked.load(Ordering::Relaxed) {
        0 => default_threads(),
        asked => Ok(asked),
    }
}

/// `PICKWISE_NUM_THREADS`, or the CPUs that affinity and cgroup limits leave.
fn default_threads() -> PyResult<usize> {
    match std::env::var("PICKWISE_NUM_THREADS") {
        Ok(text) if !text.is_empty() => match text.parse() {
            Ok(threads @ 1..=1024) => Ok(threads),
            _ => Err(PyValueError::new_err(format!(
                "PICKWISE_NUM_THREADS={text}: expected a whole number from 1 to 1024"
            ))),
        },
        _ => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// The pool, built on first use or when the number of threads has changed.
///
/// It belongs to one call at a time. A call made meanwhile gets a thread of its
/// own: queued behind the other it would wait for all of it, and so would Ctrl-C.
fn pool() -> PyResult<Arc<ThreadPool>> {
    let threads = threads()?;
    let mut current = process()
        .pool
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match &*current {
        Some(pool) if pool.current_num_threads() == threads => {
            // Every call in progress holds a reference.
            if Arc::strong_count(pool) == 1 {
                Ok(Arc::clone(pool))
            } else {
                new_pool(1)
            }
        }
        _ => {
            let pool = new_pool(threads)?;
            *current = Some(Arc::clone(&pool));
            Ok(pool)
        }
    }
}

fn new_pool(threads: usize) -> PyResult<Arc<ThreadPool>> {
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("pickwise-{i}"))
        .build()
        .map(Arc::new)
        .map_err(|e| PyRuntimeError::new_err(format!("cannot start threads: {e}")))
}
