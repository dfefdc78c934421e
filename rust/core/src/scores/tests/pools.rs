//! Pools to score: rows of every kind, in every layout, in memory that ends where
//! the pool ends.

use crate::element::{Element, ElementKind, bf16, f16};
use crate::matrix::Matrix;

/// `SplitMix64`.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// In `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2.0_f64.powi(-53)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Bell-shaped, of variance one.
    pub(crate) fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

pub(crate) trait Number: Element {
    fn of(x: f64) -> Self;
}
impl Number for f16 {
    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }
}
impl Number for bf16 {
    fn of(x: f64) -> Self {
        Self::from_f64(x)
    }
}
impl Number for f32 {
    fn of(x: f64) -> Self {
        x as Self
    }
}
impl Number for f64 {
    fn of(x: f64) -> Self {
        x
    }
}

/// What rows hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Probabilities,
    Logits,
    LabelProbabilities,
    LabelLogits,
}

/// Valid rows of a kind: ordinary ones, and those on which arithmetic fails.
pub(crate) fn rows_of(kind: Kind, rows: usize, cols: usize, rng: &mut Rng) -> Vec<f64> {
    let row = |_| match kind {
        Kind::Probabilities => probabilities(cols, rng),
        Kind::Logits => logits(cols, rng),
        Kind::LabelProbabilities => (0..cols).map(|_| label(rng)).collect(),
        Kind::LabelLogits => (0..cols).map(|_| label_logit(rng)).collect(),
    };
    (0..rows).flat_map(row).collect()
}

fn probabilities(cols: usize, rng: &mut Rng) -> Vec<f64> {
    let at = rng.below(cols);
    let others = (cols - 1).max(1) as f64;
    // Almost all on one class, the rest on all others or on one.
    let confident = |rest: f64| -> Vec<f64> {
        let mut row = vec![rest / others; cols];
        row[at] = if cols == 1 { 1.0 } else { 1.0 - rest };
        row
    };
    match rng.below(8) {
        0 => confident(0.0),
        1 => vec![1.0 / cols as f64; cols],
        2 => confident(10.0_f64.powf(-1.0 - 7.0 * rng.unit())),
        3 => {
            let mut row = confident(0.0);
            let (low, other) = (10.0_f64.powf(-8.0 * rng.unit()) / 2.0, rng.below(cols));
            if other != at {
                row[at] = 1.0 - low;
                row[other] = low;
            }
            row
        }
        sharpness => {
            let raw: Vec<f64> = (0..cols)
                .map(|_| (rng.bell() * (sharpness - 3) as f64).exp())
                .collect();
            let total: f64 = raw.iter().sum();
            raw.iter().map(|x| x / total).collect()
        }
    }
}

fn logits(cols: usize, rng: &mut Rng) -> Vec<f64> {
    let (shape, at) = (rng.below(6), rng.below(cols));
    let shift = [0.0, -50.0, 1000.0][rng.below(3)];
    let logit = |i: usize| match shape {
        0 => shift,
        1 if i != at && rng.below(2) == 0 => f64::NEG_INFINITY,
        2 => f64::from(i == at) * 30.0 * rng.unit(),
        3 => (rng.bell() * 2.0).round(),
        4 => shift + rng.bell(),
        _ => rng.bell() * 4.0,
    };
    (0..cols).map(logit).collect()
}

fn label(rng: &mut Rng) -> f64 {
    let small = 10.0_f64.powf(-9.0 * rng.unit());
    match rng.below(10) {
        0 => 0.0,
        1 => 1.0,
        2 => 0.5,
        3 => small,
        4 => 1.0 - small,
        5 => 0.5 - small / 1e3,
        _ => rng.unit(),
    }
}

fn label_logit(rng: &mut Rng) -> f64 {
    match rng.below(10) {
        0 => f64::NEG_INFINITY,
        1 => f64::INFINITY,
        2 => 0.0,
        3 => rng.bell() * 1e-4,
        4 => rng.bell() * 100.0,
        _ => rng.bell() * 3.0,
    }
}

/// Rows on which the two precisions differ as much as they can.
pub(crate) fn hard_rows(kind: Kind, element: ElementKind, cols: usize, rng: &mut Rng) -> Vec<f64> {
    let mut values = rows_of(kind, 96, cols, rng);
    for row in values.chunks_mut(cols) {
        let at = rng.below(cols);
        match (kind, rng.below(5)) {
            // Above one within the tolerance: terms of both signs.
            (Kind::Probabilities, 0) => {
                row.fill(0.0);
                row[at] = 1.0 + 0.9 * element.sum_tolerance() * rng.unit();
            }
            (Kind::Probabilities, 1) => {
                row.fill(1e-40);
                row[at] = 1.0;
            }
            (Kind::Probabilities, 2) => {
                let excess = 1.0 + 0.9 * element.sum_tolerance() * (2.0 * rng.unit() - 1.0);
                for x in row {
                    *x *= excess;
                }
            }
            (Kind::LabelProbabilities, 0) => row.fill(1e-41 * rng.unit()),
            (Kind::LabelProbabilities, 1) => row.fill(1e-38 * rng.unit()),
            (Kind::Logits | Kind::LabelLogits, 0) => {
                row.fill_with(|| 1e4 * rng.bell());
            }
            // Large logits close together: their differences have rounded.
            (Kind::Logits | Kind::LabelLogits, 1) => {
                row.fill_with(|| 1000.0 + 20.0 * rng.unit());
            }
            (Kind::Logits | Kind::LabelLogits, 2) => {
                let size = 10.0_f64.powf(10.0 * rng.unit() - 7.0);
                row.fill_with(|| size * rng.bell());
            }
            _ => {}
        }
    }
    values
}

pub(crate) fn as_elements<E: Number>(values: &[f64]) -> Vec<E> {
    values.iter().map(|x| E::of(*x)).collect()
}

/// How a pool lies in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Layout {
    C,
    /// C order with something between the rows.
    Gaps,
    Fortran,
    /// Every third column of a wider pool.
    Strided,
    /// Last row first.
    Reversed,
    /// Last row and last column first.
    Mirrored,
    /// C order from an odd address.
    Odd,
    /// Columns here and there, the last one first.
    Apart,
}

pub(crate) const LAYOUTS: [Layout; 8] = [
    Layout::C,
    Layout::Gaps,
    Layout::Fortran,
    Layout::Strided,
    Layout::Reversed,
    Layout::Mirrored,
    Layout::Odd,
    Layout::Apart,
];

/// A pool that owns its memory.
pub(crate) struct Pool<E> {
    memory: Fenced,
    origin: usize,
    shape: (usize, usize),
    strides: (isize, isize),
    /// Where columns that lie apart begin.
    columns: Vec<*const u8>,
    element: std::marker::PhantomData<E>,
}

impl<E: Number> Pool<E> {
    pub(crate) fn new(values: &[E], cols: usize, layout: Layout) -> Self {
        let rows = values.len() / cols;
        if layout == Layout::Apart {
            return Self::apart(values, rows, cols);
        }
        let size = size_of::<E>().cast_signed();
        let (r, c) = (rows.cast_signed(), cols.cast_signed());
        let (row, col) = match layout {
            Layout::C | Layout::Odd => (c, 1),
            Layout::Gaps => (c + 3, 1),
            Layout::Fortran => (1, r),
            Layout::Strided => (3 * c + 2, 3),
            Layout::Reversed => (-c, 1),
            Layout::Mirrored => (-c, -1),
            Layout::Apart => unreachable!("made above"),
        };
        let (row, col) = (row * size, col * size);
        let ends = [(r - 1).max(0) * row, (c - 1) * col];
        let origin = ends.iter().map(|end| (-end).max(0)).sum::<isize>();
        let reach = ends.iter().map(|end| (*end).max(0)).sum::<isize>();
        let odd = usize::from(layout == Layout::Odd);
        let pool = Self {
            memory: Fenced::new((origin + reach + size).cast_unsigned() + odd),
            origin: origin.cast_unsigned(),
            shape: (rows, cols),
            strides: (row, col),
            columns: Vec::new(),
            element: std::marker::PhantomData,
        };
        for (i, x) in values.iter().enumerate() {
            let at = origin + (i / cols).cast_signed() * row + (i % cols).cast_signed() * col;
            // SAFETY: between the two ends.
            unsafe { pool.memory.start.offset(at).cast::<E>().write_unaligned(*x) };
        }
        pool
    }

    fn apart(values: &[E], rows: usize, cols: usize) -> Self {
        let len = rows * size_of::<E>();
        let gaps: usize = (1..cols).map(|col| col % 3).sum();
        let memory = Fenced::new(cols * len + gaps);
        let (mut columns, mut at) = (vec![std::ptr::null(); cols], 0);
        for col in (0..cols).rev() {
            let start = memory.start.wrapping_add(at);
            for row in 0..rows {
                let to = start.cast::<E>().wrapping_add(row);
                // SAFETY: the memory has room for all columns and the gaps between.
                unsafe { to.write_unaligned(values[row * cols + col]) };
            }
            columns[col] = start.cast_const();
            at += len + col % 3;
        }
        Self {
            memory,
            origin: 0,
            shape: (rows, cols),
            strides: (0, 0),
            columns,
            element: std::marker::PhantomData,
        }
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        if !self.columns.is_empty() {
            // SAFETY: the memory holds all columns and is borrowed.
            return unsafe { Matrix::from_columns(&self.columns, self.shape.0, E::KIND) };
        }
        // SAFETY: the memory holds all elements and is borrowed.
        unsafe {
            let origin = self.memory.start.add(self.origin);
            Matrix::from_raw_parts(origin, self.shape, self.strides, E::KIND)
        }
    }
}

/// Bytes with an unreadable page behind them: who reads too far is stopped there.
struct Fenced {
    start: *mut u8,
    #[allow(dead_code, reason = "kept alive, or unmapped when dropped")]
    memory: Memory,
}

#[cfg(not(target_os = "linux"))]
type Memory = Box<[u8]>;

#[cfg(not(target_os = "linux"))]
impl Fenced {
    fn new(len: usize) -> Self {
        let mut memory = vec![0xff; len].into_boxed_slice();
        let start = memory.as_mut_ptr();
        Self { start, memory }
    }
}

#[cfg(target_os = "linux")]
struct Memory(*mut u8, usize);

#[cfg(target_os = "linux")]
mod libc {
    unsafe extern "C" {
        pub(super) fn mmap(
            at: *mut u8,
            len: usize,
            prot: i32,
            flags: i32,
            fd: i32,
            offset: i64,
        ) -> *mut u8;
        pub(super) fn mprotect(at: *mut u8, len: usize, prot: i32) -> i32;
        pub(super) fn munmap(at: *mut u8, len: usize) -> i32;
    }
}

#[cfg(target_os = "linux")]
impl Fenced {
    fn new(len: usize) -> Self {
        // A multiple of every page size in use.
        const PAGE: usize = 1 << 16;
        let room = len.next_multiple_of(PAGE);
        // SAFETY: a new private mapping (readable, writable, anonymous), which
        // nobody else knows; its last page is closed.
        unsafe {
            let map = libc::mmap(std::ptr::null_mut(), room + PAGE, 3, 0x22, -1, 0);
            assert!(map.addr() != usize::MAX, "mmap");
            assert_eq!(libc::mprotect(map.add(room), PAGE, 0), 0, "mprotect");
            let start = map.add(room - len);
            // NaN, if it is read as any type.
            start.write_bytes(0xff, len);
            let memory = Memory(map, room + PAGE);
            Self { start, memory }
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made above, which its only owner gives back.
        unsafe { libc::munmap(self.0, self.1) };
    }
}
