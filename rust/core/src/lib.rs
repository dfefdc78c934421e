//! The engine of pickwise: scoring and selecting over millions of rows.
//!
//! A map of the house:
//!
//! * [`matrix`] and [`element`]: borrowed views of somebody else's memory.
//! * `simd`: one vector model, four machines; the same bits on all.
//! * [`scores`]: a number a row. One file a family of scores; `rows` decides where
//!   the lanes go, `pool` runs over all rows.
//! * [`committee`]: what several models make of a row: doubt and disagreement.
//! * [`distances`]: between rows: one exact function, and ways not to need it.
//! * [`select`]: the `k` best rows of a stream, as a state that can be merged,
//!   stored and sent; the `k` rows that cover a pool, or a draw of rows far apart.
//! * [`parallel`]: row ranges over threads that the caller owns.
//!
//! The core knows nothing of Python, files or models, has no global state, and
//! starts no threads.

pub mod committee;
pub mod distances;
pub mod element;
pub mod error;
pub mod matrix;
pub mod parallel;
pub mod scores;
pub mod select;
mod simd;

pub use error::{Error, Result};
pub use rayon;
pub use simd::Simd;
