//! Selector states as bytes: little-endian, versioned, with a checksum.

use std::collections::HashSet;

use super::ids::{Id, Name, Position, Ties, hash_bytes};
use super::top_k::{Row, TopK};
use super::{Criterion, Noise, Selector, Weight};
use crate::error::{Error, Result};
use crate::scores::{Aggregate, Measure, Score, Task, Unit};

/// Its last byte is the version.
const MAGIC: &[u8; 8] = b"pickwis2";

/// What rows are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdKind {
    /// [`Position`].
    Positions,
    /// `i64`.
    Integers,
    /// `Box<[u8]>`.
    Strings,
}

/// What can be written down.
pub trait Bytes: Sized {
    /// Appends it.
    fn write(&self, to: &mut Vec<u8>);
    /// Reads one off the front.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    fn read(from: &mut &[u8]) -> Result<Self>;
}

/// Ids that can be written down.
pub trait Stored: Id<Name: Bytes> + Bytes {
    /// Tells the kinds of id apart.
    const KIND: IdKind;
}

impl Stored for Position {
    const KIND: IdKind = IdKind::Positions;
}

impl Bytes for Position {
    fn write(&self, _: &mut Vec<u8>) {}
    fn read(_: &mut &[u8]) -> Result<Self> {
        Ok(Self)
    }
}

impl Stored for i64 {
    const KIND: IdKind = IdKind::Integers;
}

impl Bytes for i64 {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }
    fn read(from: &mut &[u8]) -> Result<Self> {
        Ok(Self::from_le_bytes(take(from)?))
    }
}

impl Stored for Box<[u8]> {
    const KIND: IdKind = IdKind::Strings;
}

impl Bytes for Box<[u8]> {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend((self.len() as u64).to_le_bytes());
        to.extend(self.iter());
    }
    fn read(from: &mut &[u8]) -> Result<Self> {
        let len = read_u64(from)?;
        if len > from.len() as u64 {
            return Err(Error::Corrupt("it ends too early"));
        }
        let (id, rest) = from.split_at(len as usize);
        *from = rest;
        if std::str::from_utf8(id).is_err() {
            return Err(Error::Corrupt("an id is not UTF-8"));
        }
        Ok(id.into())
    }
}

impl<I: Stored> Selector<I> {
    /// The state as bytes, the same for equal states of one history.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = MAGIC.to_vec();
        to.push(I::KIND as u8);
        write_criterion(&self.criterion, &mut to);
        match self.ties {
            Ties::First => write_tagged(0, 0, &mut to),
            Ties::Random(seed) => write_tagged(1, seed, &mut to),
        }
        for number in [self.k as u64, self.rows, self.skipped] {
            to.extend(number.to_le_bytes());
        }
        let mut ids: Vec<&Name<I>> = self.exclude_ids.iter().collect();
        ids.sort_unstable();
        to.extend((ids.len() as u64).to_le_bytes());
        for id in ids {
            id.write(&mut to);
        }
        to.extend((self.top.len() as u64).to_le_bytes());
        for row in self.top.entries() {
            to.extend(row.score.to_le_bytes());
            to.extend(row.index.to_le_bytes());
            row.id.write(&mut to);
        }
        let sum = hash_bytes(&to, 0);
        to.extend(sum.to_le_bytes());
        to
    }

    /// Reads what [`Selector::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let version = MAGIC.len() - 1;
        if bytes.len() < MAGIC.len() + 8 || bytes[..version] != MAGIC[..version] {
            return Err(Error::Corrupt("it does not begin as one"));
        }
        if bytes[version] != MAGIC[version] {
            return Err(Error::Corrupt("it is of another version"));
        }
        let (mut from, sum) = bytes.split_at(bytes.len() - 8);
        if hash_bytes(from, 0).to_le_bytes() != sum {
            return Err(Error::Corrupt("the checksum does not match"));
        }
        let from = &mut from;
        take::<8>(from)?;
        if read_u8(from)? != I::KIND as u8 {
            return Err(Error::Corrupt("its ids are of another kind"));
        }
        let criterion = read_criterion(from)?;
        let ties = match read_tagged(from)? {
            (0, _) => Ties::First,
            (1, seed) => Ties::Random(seed),
            _ => return Err(Error::Corrupt("unknown order of ties")),
        };
        let k = read_u64(from)? as usize;
        let (rows, skipped) = (read_u64(from)?, read_u64(from)?);
        let exclude_ids = (0..read_u64(from)?)
            .map(|_| Name::<I>::read(from))
            .collect::<Result<HashSet<_>>>()?;
        let mut top = TopK::new(k, ties);
        for _ in 0..read_u64(from)? {
            let row = Row {
                score: f64::from_le_bytes(take(from)?),
                index: i64::from_le_bytes(take(from)?),
                id: I::read(from)?,
            };
            top.push(row);
        }
        if !from.is_empty() {
            return Err(Error::Corrupt("it goes on after its end"));
        }
        Ok(Self {
            criterion,
            ties,
            k,
            exclude_ids,
            rows,
            skipped,
            top,
        })
    }
}

/// The kind of ids that these bytes claim to hold.
#[must_use]
pub fn id_kind(bytes: &[u8]) -> Option<IdKind> {
    let kind = *bytes.get(MAGIC.len())?;
    [IdKind::Positions, IdKind::Integers, IdKind::Strings]
        .into_iter()
        .find(|known| *known as u8 == kind)
}

fn write_criterion(criterion: &Criterion, to: &mut Vec<u8>) {
    match criterion {
        Criterion::Random(seed) => write_tagged(0, *seed, to),
        Criterion::Given => to.push(2),
        Criterion::Noisy(score, noise) => {
            to.push(3);
            write_tagged(noise.weight as u8, noise.beta.to_bits(), to);
            to.extend(noise.seed.to_le_bytes());
            write_criterion(&score.map_or(Criterion::Given, Criterion::Score), to);
        }
        Criterion::Score(score) => {
            to.push(1);
            to.push(score.measure as u8);
            to.push(match score.task {
                Task::Multiclass => 0,
                Task::Multilabel(how) => 1 + how as u8,
            });
            let (unit, base) = match score.unit {
                Unit::Nats => (0, 0.0),
                Unit::Normalized => (1, 0.0),
                Unit::Base(base) => (2, base),
            };
            write_tagged(unit, base.to_bits(), to);
            let (logits, temperature) = score.temperature.map_or((0, 0.0), |t| (1, t));
            write_tagged(logits, temperature.to_bits(), to);
        }
    }
}

fn read_criterion(from: &mut &[u8]) -> Result<Criterion> {
    const UNKNOWN: Error = Error::Corrupt("unknown score");
    match read_u8(from)? {
        0 => Ok(Criterion::Random(read_u64(from)?)),
        1 => {
            let measure = match read_u8(from)? {
                0 => Measure::Entropy,
                1 => Measure::Margin,
                2 => Measure::LeastConfidence,
                3 => Measure::Ratio,
                _ => return Err(UNKNOWN),
            };
            let task = match read_u8(from)? {
                0 => Task::Multiclass,
                1 => Task::Multilabel(Aggregate::Mean),
                2 => Task::Multilabel(Aggregate::Max),
                3 => Task::Multilabel(Aggregate::Sum),
                _ => return Err(UNKNOWN),
            };
            let unit = match read_tagged(from)? {
                (0, _) => Unit::Nats,
                (1, _) => Unit::Normalized,
                (2, base) => Unit::Base(f64::from_bits(base)),
                _ => return Err(UNKNOWN),
            };
            let temperature = match read_tagged(from)? {
                (0, _) => None,
                (1, t) => Some(f64::from_bits(t)),
                _ => return Err(UNKNOWN),
            };
            let score = Score {
                measure,
                task,
                unit,
                temperature,
            };
            Ok(Criterion::Score(score.checked()?))
        }
        2 => Ok(Criterion::Given),
        3 => {
            let (weight, beta) = match read_tagged(from)? {
                (0, beta) => (Weight::Power, f64::from_bits(beta)),
                (1, beta) => (Weight::Softmax, f64::from_bits(beta)),
                _ => return Err(UNKNOWN),
            };
            let seed = read_u64(from)?;
            let noise = Noise { weight, beta, seed }.checked()?;
            // Noise on noise is not written, so this goes no deeper.
            match from.first() {
                Some(1 | 2) => match read_criterion(from)? {
                    Criterion::Score(score) => Ok(Criterion::Noisy(Some(score), noise)),
                    _ => Ok(Criterion::Noisy(None, noise)),
                },
                _ => Err(UNKNOWN),
            }
        }
        _ => Err(UNKNOWN),
    }
}

fn write_tagged(tag: u8, value: u64, to: &mut Vec<u8>) {
    to.push(tag);
    to.extend(value.to_le_bytes());
}

fn read_tagged(from: &mut &[u8]) -> Result<(u8, u64)> {
    Ok((read_u8(from)?, read_u64(from)?))
}

fn read_u8(from: &mut &[u8]) -> Result<u8> {
    Ok(take::<1>(from)?[0])
}

fn read_u64(from: &mut &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(take(from)?))
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = from
        .split_first_chunk()
        .ok_or(Error::Corrupt("it ends too early"))?;
    *from = rest;
    Ok(*head)
}
