//! `pickwise._native`: the shell between Python and `pickwise-core`.
//!
//! Every function parses its arguments, enters the core detached from the
//! interpreter, and wraps what comes back. What the arguments mean to a user is
//! said in the Python layer.

#![allow(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands over what Python passed"
)]

mod batches;
mod committee;
mod diversity;
mod enter;
mod ids;
mod limits;
mod parse;
mod score;
mod top_k;

use pickwise_core::Simd;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What this build is and what it found.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    let debug = cfg!(debug_assertions);
    info.set_item("profile", if debug { "debug" } else { "release" })?;
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    info.set_item("target", target)?;
    let available: Vec<_> = Simd::available().into_iter().map(Simd::name).collect();
    info.set_item("simd_available", available)?;
    info.set_item("simd", enter::simd(py)?.name())?;
    info.set_item("threads", enter::threads()?)?;
    Ok(info)
}

/// Sets the number of threads of this process; `None` goes back to the default.
#[pyfunction]
fn set_num_threads(n: Option<i64>) -> PyResult<()> {
    match n {
        None => enter::set_threads(None),
        Some(n @ 1..=1024) => enter::set_threads(Some(n as usize)),
        Some(n) => {
            return Err(PyValueError::new_err(format!(
                "n: expected a number of threads from 1 to 1024, got {n}"
            )));
        }
    }
    Ok(())
}

/// The number of threads that work will use.
#[pyfunction]
fn get_num_threads() -> PyResult<usize> {
    enter::threads()
}

/// The native part of pickwise.
#[pymodule(gil_used = false)]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    // A level that this CPU lacks is better noticed now than in the first call.
    enter::simd(m.py())?;
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_class::<score::Score>()?;
    m.add_class::<score::InvalidRows>()?;
    m.add_class::<top_k::TopK>()?;
    m.add_class::<committee::Members>()?;
    m.add_function(wrap_pyfunction!(committee::score_committee, m)?)?;
    m.add_function(wrap_pyfunction!(committee::batch_bald, m)?)?;
    m.add_function(wrap_pyfunction!(committee::vote, m)?)?;
    m.add_function(wrap_pyfunction!(committee::tally, m)?)?;
    m.add_function(wrap_pyfunction!(score::score, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::k_center, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::kmeans_plusplus, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::nearest, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::pick_among, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::show_centers, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::sum_of_rows, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::mean_of_sums, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::squared_to_point, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::gradient_lengths, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::density, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::distances_before, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::neighbours, m)?)?;
    m.add_function(wrap_pyfunction!(diversity::mutual, m)?)?;
    m.add_function(wrap_pyfunction!(batches::facility_location, m)?)?;
    m.add_function(wrap_pyfunction!(batches::ranked_batch, m)?)?;
    m.add_function(wrap_pyfunction!(limits::admit, m)?)?;
    m.add_function(wrap_pyfunction!(ids::first_repeated, m)?)?;
    m.add_function(wrap_pyfunction!(build_info, m)?)?;
    m.add_function(wrap_pyfunction!(set_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(get_num_threads, m)?)?;
    Ok(())
}
