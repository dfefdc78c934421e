//! Everything that can go wrong in the core: one enum, one line a message.

use std::fmt;

/// An error of the core. The shell turns these into Python exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for the work to stop.
    Cancelled,
    /// A view would reach outside the memory that it was given.
    Shape(String),
    /// An option has a value that it cannot have.
    Option(String),
    /// A number that nothing can be computed with.
    Value(String),
    /// Two selections that do not belong together were to be merged.
    Mismatch(String),
    /// Bytes that are not a stored selection state.
    Corrupt(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Shape(what) | Self::Option(what) | Self::Value(what) | Self::Mismatch(what) => {
                f.write_str(what)
            }
            Self::Corrupt(what) => write!(f, "not a valid selection state: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// The core's result.
pub type Result<T> = std::result::Result<T, Error>;
