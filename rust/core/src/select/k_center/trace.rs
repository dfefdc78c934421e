//! The picks that were made, for the caller and for those who watch.

use std::sync::atomic::Ordering;

use crate::distances::Metric;
use crate::error::{Error, Result};
use crate::parallel::Exec;

/// Picks in order.
#[derive(Debug)]
pub(in crate::select) struct Trace<'a> {
    exec: &'a Exec<'a>,
    metric: Metric,
    pub picks: Vec<usize>,
    pub distances: Vec<f64>,
}

impl<'a> Trace<'a> {
    pub(in crate::select) const fn new(exec: &'a Exec<'a>, metric: Metric) -> Self {
        Self {
            exec,
            metric,
            picks: Vec::new(),
            distances: Vec::new(),
        }
    }

    /// Records a pick, and its squared distance to the centres before it.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(in crate::select) fn record(&mut self, row: usize, squared: f64) -> Result<()> {
        let distance = self.metric.finish(squared);
        self.picks.push(row);
        self.distances.push(distance);
        self.exec.done.fetch_add(1, Ordering::Relaxed);
        let figure = distance.to_bits();
        self.exec.figure.store(figure, Ordering::Relaxed);
        if self.exec.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}
