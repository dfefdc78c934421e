//! Ids of rows, and the order among rows of equal score.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What stands first among rows of equal score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ties {
    /// The lower id.
    First,
    /// The lower hash of this seed and the id.
    Random(u64),
}

/// What is kept of the id of a row, beside its position.
pub trait Id: Clone + Send + Sync {
    /// Whether rows are known by more than their position, and from anywhere.
    const OWN: bool = true;
    /// What the caller knows the row as.
    type Name: Debug + Ord + Hash + Clone + Send + Sync;
    /// The id as it is compared.
    type Key<'a>: Key
    where
        Self: 'a;
    /// The id, for comparing.
    fn key(&self) -> Self::Key<'_>;
    /// The name of the row at this position.
    fn name(key: Self::Key<'_>, index: i64) -> Self::Name;
}

/// An id as it is compared; equal scores are ordered by tie, then by id.
pub trait Key: Copy + Ord + Send + Sync {
    /// A number that orders rows of equal score. Equal numbers leave the decision
    /// to the ids.
    fn tie(self, index: i64, ties: Ties) -> u64;
    /// The `n`th of the numbers that order as the ids do, 0 for those that have run
    /// out of them; none at all where that is all there is to tell.
    fn word(self, _n: usize) -> Option<u64> {
        None
    }
}

/// The id of a row that has no other than its position: nothing more is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position;

impl Id for Position {
    const OWN: bool = false;
    type Name = i64;
    type Key<'a> = Self;
    #[inline]
    fn key(&self) -> Self {
        *self
    }
    fn name(_: Self, index: i64) -> i64 {
        index
    }
}

impl Key for Position {
    #[inline]
    fn tie(self, index: i64, ties: Ties) -> u64 {
        tie_of_number(index, ties)
    }
}

impl Id for i64 {
    type Name = Self;
    type Key<'a> = Self;
    #[inline]
    fn key(&self) -> Self {
        *self
    }
    fn name(key: Self, _: i64) -> Self {
        key
    }
}

impl Key for i64 {
    #[inline]
    fn tie(self, _: i64, ties: Ties) -> u64 {
        tie_of_number(self, ties)
    }
}

impl Id for Box<[u8]> {
    type Name = Self;
    type Key<'a> = &'a [u8];
    #[inline]
    fn key(&self) -> &[u8] {
        self
    }
    fn name(key: &[u8], _: i64) -> Self {
        key.into()
    }
}

impl Key for &[u8] {
    #[inline]
    fn tie(self, _: i64, ties: Ties) -> u64 {
        match ties {
            // The first eight bytes order as the strings do, or leave it open.
            Ties::First => self.word(0).unwrap_or(0),
            Ties::Random(seed) => hash_bytes(self, seed),
        }
    }
    #[inline]
    fn word(self, n: usize) -> Option<u64> {
        let rest = self.get(n * 8..).filter(|rest| !rest.is_empty())?;
        let mut word = [0; 8];
        let len = rest.len().min(8);
        word[..len].copy_from_slice(&rest[..len]);
        Some(u64::from_be_bytes(word))
    }
}

/// What the caller knows rows with such ids as.
pub type Name<I> = <I as Id>::Name;

/// The ids of the rows of a chunk.
pub trait Ids: Sync {
    /// What is kept of an id.
    type Id: Id;
    /// The id of a row.
    fn get(&self, row: usize) -> Self::Id;
    /// The [`Key::tie`] of a row.
    fn tie(&self, row: usize, ties: Ties) -> u64;
    /// Whether ties of later rows are always higher.
    fn ascend(&self, _: Ties) -> bool {
        false
    }
    /// Whether the id of `row` is in `set`.
    fn is_in(&self, row: usize, set: &HashSet<Name<Self::Id>>) -> bool;
}

/// Rows without ids: their position in the stream.
#[derive(Debug, Clone, Copy)]
pub struct Positions {
    /// The position of row 0.
    pub start: i64,
}

impl Ids for Positions {
    type Id = Position;
    #[inline]
    fn get(&self, _: usize) -> Position {
        Position
    }
    #[inline]
    fn tie(&self, row: usize, ties: Ties) -> u64 {
        tie_of_number(self.start + row as i64, ties)
    }
    fn ascend(&self, ties: Ties) -> bool {
        ties == Ties::First
    }
    fn is_in(&self, row: usize, set: &HashSet<i64>) -> bool {
        set.contains(&(self.start + row as i64))
    }
}

impl Ids for &[i64] {
    type Id = i64;
    #[inline]
    fn get(&self, row: usize) -> i64 {
        self[row]
    }
    #[inline]
    fn tie(&self, row: usize, ties: Ties) -> u64 {
        tie_of_number(self[row], ties)
    }
    fn is_in(&self, row: usize, set: &HashSet<i64>) -> bool {
        set.contains(&self[row])
    }
}

/// UTF-8 strings in Arrow's layout: string `i` is `bytes[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Copy)]
pub struct Strings<'a> {
    offsets: &'a [i64],
    bytes: &'a [u8],
}

impl<'a> Strings<'a> {
    /// Strings whose offsets have been checked.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when offsets decrease or reach outside `bytes`.
    pub fn new(offsets: &'a [i64], bytes: &'a [u8]) -> crate::Result<Self> {
        let ordered = offsets.is_sorted() && offsets.first().is_some_and(|first| *first >= 0);
        if !ordered
            || offsets
                .last()
                .is_some_and(|last| *last > bytes.len() as i64)
        {
            return Err(crate::Error::Shape(
                "ids: string offsets do not fit their bytes".into(),
            ));
        }
        Ok(Self { offsets, bytes })
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of string `row`.
    #[must_use]
    pub fn bytes(&self, row: usize) -> &'a [u8] {
        &self.bytes[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

impl Ids for Strings<'_> {
    type Id = Box<[u8]>;
    fn get(&self, row: usize) -> Box<[u8]> {
        self.bytes(row).into()
    }
    fn tie(&self, row: usize, ties: Ties) -> u64 {
        self.bytes(row).tie(0, ties)
    }
    fn is_in(&self, row: usize, set: &HashSet<Box<[u8]>>) -> bool {
        set.contains(self.bytes(row))
    }
}

fn tie_of_number(id: i64, ties: Ties) -> u64 {
    let ordered = id as u64 ^ 1 << 63;
    match ties {
        Ties::First => ordered,
        Ties::Random(seed) => mix(ordered ^ mix(seed)),
    }
}

/// A bijection of `u64` that leaves no trace of order (the finaliser of
/// `SplitMix64`; Steele, Lea & Flood, 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A hash of bytes that will never change between versions or machines.
pub(crate) fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    let mut hash = mix(seed ^ bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    hash
}

/// A uniform number in `[0, 1)` from a hash.
pub(crate) fn uniform(hash: u64) -> f64 {
    (hash >> 11) as f64 * 2.0_f64.powi(-53)
}
