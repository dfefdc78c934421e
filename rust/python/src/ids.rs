//! Looking for repeated ids.

use std::collections::HashMap;
use std::hash::Hash;

use pyo3::prelude::*;

use crate::enter::enter;
use crate::top_k::{IdView, PyIds};

/// The positions of two equal ids, if there are any.
#[pyfunction]
pub(crate) fn first_repeated(py: Python<'_>, ids: PyIds<'_>) -> PyResult<Option<(usize, usize)>> {
    let ids = ids.view()?;
    enter(py, None, |_| {
        Ok(match ids {
            IdView::Integers(ids) => repeated_integer(ids),
            IdView::Strings(ids) => repeated((0..ids.len()).map(|row| ids.bytes(row))),
        })
    })
}

fn repeated_integer(ids: &[i64]) -> Option<(usize, usize)> {
    // Most ids ascend, and most of the rest fill their range: no table is needed.
    if ids.windows(2).all(|pair| pair[0] < pair[1]) {
        return None;
    }
    let (low, high) = (*ids.iter().min()?, *ids.iter().max()?);
    let span = high.abs_diff(low);
    if span / 64 <= ids.len() as u64 {
        let mut seen = vec![0u64; (span / 64 + 1) as usize];
        let is_new = |id: &i64| {
            let at = id.abs_diff(low);
            let word = &mut seen[(at / 64) as usize];
            let bit = 1 << (at % 64);
            let new = *word & bit == 0;
            *word |= bit;
            new
        };
        if ids.iter().all(is_new) {
            return None;
        }
    }
    repeated(ids.iter())
}

fn repeated<T: Hash + Eq>(ids: impl ExactSizeIterator<Item = T>) -> Option<(usize, usize)> {
    let mut seen = HashMap::with_capacity(ids.len());
    ids.enumerate()
        .find_map(|(row, id)| seen.insert(id, row).map(|first| (first, row)))
}
