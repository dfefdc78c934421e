//! One vector model, four machines.
//!
//! A kernel is written once over [`Lanes`]: a *virtual vector* of 512 bits (16
//! `f32` or 8 `f64`), whatever the registers of the machine. Each backing maps
//! every operation to the same IEEE operation on the same lane, with a fused
//! multiply-add where a kernel says so, and sums lanes along one fixed butterfly.
//! So all machines compute the same bits: AVX-512 does in one instruction what
//! AVX2 does in two, NEON in four and the portable backing in a loop.
//!
//! A [`Simd`] level can only be had after the CPU was asked for it. [`dispatch`]
//! is the one place that crosses from ordinary code into code compiled for a
//! level; all that runs behind it must be `#[inline(always)]`, or it would be
//! compiled for the baseline CPU and call the intrinsics one by one.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

use crate::element::{Element, bf16, f16};
pub(crate) use math::Real;

/// The levels by name, best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// An instruction set that this CPU is known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simd(Level);

impl Simd {
    /// The names of all levels, on any machine.
    pub const NAMES: [&'static str; 4] = ["portable", "avx2", "avx512", "neon"];

    /// All levels of this CPU, the fastest last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "no level but the portable one on other machines")]
        let mut levels = vec![Self(Level::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                levels.push(Self(Level::Avx2));
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                {
                    levels.push(Self(Level::Avx512));
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        levels.push(Self(Level::Neon));
        levels
    }

    /// The fastest level of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().pop().unwrap_or(Self(Level::Portable))
    }

    /// The level called `name`, if this CPU has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|s| s.name() == name)
    }

    /// `"portable"`, `"avx2"`, `"avx512"` or `"neon"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Level::Neon => "neon",
        }
    }
}

/// Asks for the cache line at `ptr`, which need not exist.
#[inline(always)]
pub(crate) fn prefetch<T>(ptr: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has it, and no address makes it fail.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(ptr.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = ptr;
}

/// The same pointer, but the compiler does not know: it would keep the address of every
/// row of a tile apart, on the stack, where a base and a stride in registers do.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(
    clippy::pointers_in_nomem_asm_block,
    reason = "only the address passes through; nothing is read or written there"
)]
pub(crate) fn opaque<T>(ptr: *const T) -> *const T {
    let mut ptr = ptr;
    // SAFETY: a comment.
    unsafe {
        std::arch::asm!("/* {0} */", inout(reg) ptr, options(pure, nomem, nostack, preserves_flags));
    }
    ptr
}

/// Work that is compiled once for every level.
pub(crate) trait Op {
    type Out;
    /// Must be `#[inline(always)]`.
    ///
    /// # Safety
    /// Only [`dispatch`] may call this: the CPU must have `I`.
    unsafe fn run<I: Isa>(self) -> Self::Out;
}

/// Runs `op` with the instructions of `simd`.
pub(crate) fn dispatch<O: Op>(simd: Simd, op: O) -> O::Out {
    // SAFETY: a Simd is only made for a level that the CPU has.
    unsafe {
        match simd.0 {
            Level::Portable => op.run::<portable::Portable>(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2::enter(op),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512::enter(op),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => neon::enter(op),
        }
    }
}

/// The two vector types of a level.
pub(crate) trait Isa {
    /// Virtual vectors that its registers hold.
    const ROOM: usize;
    type F32: Lanes<Elem = f32> + Load<f32> + Load<f16> + Load<bf16>;
    type F64: Lanes<Elem = f64> + Load<f32> + Load<f64>;
}

/// The precision of a pass: which of the two vector types it computes in.
pub(crate) trait Precision {
    type Elem: Real;
    type Lanes<I: Isa>: Lanes<Elem = Self::Elem>;
}
/// `f32` lanes.
pub(crate) struct Single;
/// `f64` lanes.
pub(crate) struct Double;

impl Precision for Single {
    type Elem = f32;
    type Lanes<I: Isa> = I::F32;
}
impl Precision for Double {
    type Elem = f64;
    type Lanes<I: Isa> = I::F64;
}

/// Elements that a pass of precision `P` can read.
pub(crate) trait LoadAs<P: Precision>: Element {
    /// Rows of fewer columns are scored with lanes across rows: the more columns
    /// the cheaper the elements are to transpose.
    const WIDE: usize;
    /// # Safety
    /// As [`Load::load_from`].
    unsafe fn load<I: Isa>(ptr: *const Self) -> P::Lanes<I>;
    /// # Safety
    /// As [`Load::load_head`].
    unsafe fn load_head<I: Isa>(ptr: *const Self, len: usize, pad: Self) -> P::Lanes<I>;
}

macro_rules! load_as {
    ($($elem:ty => $precision:ident $lanes:ident below $wide:literal),*) => {$(
        impl LoadAs<$precision> for $elem {
            const WIDE: usize = $wide;
            #[inline(always)]
            unsafe fn load<I: Isa>(ptr: *const Self) -> I::$lanes {
                // SAFETY: the caller's promise.
                unsafe { I::$lanes::load_from(ptr) }
            }
            #[inline(always)]
            unsafe fn load_head<I: Isa>(ptr: *const Self, len: usize, pad: Self) -> I::$lanes {
                // SAFETY: the caller's promise.
                unsafe { I::$lanes::load_head(ptr, len, pad) }
            }
        }
    )*};
}
load_as!(f16 => Single F32 below 64, bf16 => Single F32 below 64, f32 => Single F32 below 64);
load_as!(f32 => Double F64 below 32, f64 => Double F64 below 32);

/// A virtual vector of 512 bits.
///
/// Only [`Lanes::new`] and the loads are unsafe for want of a CPU check: once a
/// value exists, the CPU has what it takes to work with it.
pub(crate) trait Lanes: Copy {
    type Elem: Real;
    type Mask: Copy;
    /// `f64` lanes of the same level.
    type Double: Lanes<Elem = f64>;
    /// Lanes of a vector: 16 `f32` or 8 `f64`.
    const N: usize;

    /// All lanes `x`.
    ///
    /// # Safety
    /// The CPU must have the level.
    unsafe fn new(x: Self::Elem) -> Self;
    /// # Safety
    /// The CPU must have the level; `ptr` must be readable for `N` elements.
    unsafe fn load(ptr: *const Self::Elem) -> Self;
    /// # Safety
    /// `ptr` must be writable for `N` elements.
    unsafe fn store(self, ptr: *mut Self::Elem);
    /// The lanes as `f64`, exactly, the lower half first. (Of `f64` lanes each half is
    /// the vector itself.)
    fn widen(self) -> [Self::Double; 2];

    /// A vector like this one, all lanes `x`.
    #[inline(always)]
    fn splat(self, x: Self::Elem) -> Self {
        // SAFETY: `self` exists, so the CPU has the level.
        unsafe { Self::new(x) }
    }

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, rounded once.
    fn fma(self, factor: Self, addend: Self) -> Self;
    /// `if self > other { self } else { other }`: `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// `if self < other { self } else { other }`: `other` where either is NaN.
    fn min(self, other: Self) -> Self;
    /// Bitwise or: the sign bits of many numbers in one.
    fn or(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// False where either is NaN.
    fn lt(self, other: Self) -> Self::Mask;
    /// `a` where the mask is set, `b` elsewhere.
    fn select(mask: Self::Mask, a: Self, b: Self) -> Self;
    /// The mask as bits, lane 0 lowest.
    fn bits(mask: Self::Mask) -> u32;
    /// The sign bits, lane 0 lowest.
    fn sign_bits(self) -> u32;
    /// Lane `i` receives lane `i ^ DISTANCE` (a power of two below `N`).
    fn swap<const DISTANCE: usize>(self) -> Self;
    /// One step of a butterfly for two vectors at once. Lanes whose index has the bit
    /// `DISTANCE` are `other`'s business, the rest are `self`'s: there, the first
    /// result has the owner's lane without that bit, the second the one with it.
    fn deal<const DISTANCE: usize>(self, other: Self) -> (Self, Self);
    /// Splits `x = 2^e * (1 + r)`, exactly: `(e, r)`, with `1 + r` in [2/3, 4/3)
    /// for `f32` and in [√½, √2) for `f64`.
    ///
    /// For normal positive numbers; zeros give some finite pair.
    fn split(self) -> (Self, Self);
    /// Both as they are, and both at once: a compiler that would compute one to its
    /// end and then the other, to save registers, has to go on with the two in turn.
    #[inline(always)]
    fn abreast(a: Self, b: Self) -> (Self, Self) {
        (a, b)
    }
    /// `self * 2^n`, where `n` sits in the low bits of `shifter`'s mantissa.
    fn scale(self, shifter: Self) -> Self;
    /// The first `width` columns, four at most, of `N` rows, the first at `rows` and each
    /// `stride` bytes after the one before. What is in the other vectors means nothing.
    ///
    /// # Safety
    /// The CPU must have the level; each row must be readable for `width` elements.
    #[inline(always)]
    unsafe fn four_columns(rows: *const Self::Elem, stride: isize, width: usize) -> [Self; 4] {
        let mut columns = [[Self::Elem::default(); 16]; 4];
        for i in 0..Self::N {
            let row = rows.wrapping_byte_offset(i.cast_signed() * stride);
            for (col, column) in columns[..width].iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                column[i] = unsafe { row.add(col).read_unaligned() };
            }
        }
        let [a, b, c, d] = &columns;
        // SAFETY: the caller's promise; the arrays hold N elements and more.
        unsafe {
            [
                Self::load(a.as_ptr()),
                Self::load(b.as_ptr()),
                Self::load(c.as_ptr()),
                Self::load(d.as_ptr()),
            ]
        }
    }

    /// The first and the second numbers of `N` pairs that lie side by side.
    ///
    /// # Safety
    /// The CPU must have the level; `pairs` must be readable for `2 N` elements.
    #[inline(always)]
    unsafe fn load_pairs(pairs: *const Self::Elem) -> (Self, Self) {
        let (mut first, mut second) = ([Self::Elem::default(); 16], [Self::Elem::default(); 16]);
        // SAFETY: the caller's promise; the arrays hold N elements and more.
        unsafe {
            for i in 0..Self::N {
                first[i] = pairs.add(2 * i).read_unaligned();
                second[i] = pairs.add(2 * i + 1).read_unaligned();
            }
            (Self::load(first.as_ptr()), Self::load(second.as_ptr()))
        }
    }
}

/// Loading other element types into lanes, exactly.
pub(crate) trait Load<E: Element>: Lanes {
    /// # Safety
    /// The CPU must have the level; `ptr` must be readable for `N` elements
    /// (no alignment needed).
    unsafe fn load_from(ptr: *const E) -> Self;

    /// Loads `len < N` elements and completes the vector with `pad`.
    ///
    /// # Safety
    /// As [`Load::load_from`], for `len` elements.
    #[inline(always)]
    unsafe fn load_head(ptr: *const E, len: usize, pad: E) -> Self {
        debug_assert!(len < Self::N && Self::N <= 16);
        let mut full = [pad; 16];
        let to = full.as_mut_ptr();
        let mut at = 0;
        // SAFETY: len < N <= 16, and the caller vouches for ptr.
        unsafe {
            // In pieces of fixed sizes: nothing to call, and branches that rows of one
            // length foretell.
            if len & 8 != 0 {
                to.cast::<[E; 8]>()
                    .write(ptr.cast::<[E; 8]>().read_unaligned());
                at = 8;
            }
            if len & 4 != 0 {
                let piece = ptr.add(at).cast::<[E; 4]>().read_unaligned();
                to.add(at).cast::<[E; 4]>().write(piece);
                at += 4;
            }
            if len & 2 != 0 {
                let piece = ptr.add(at).cast::<[E; 2]>().read_unaligned();
                to.add(at).cast::<[E; 2]>().write(piece);
                at += 2;
            }
            if len & 1 != 0 {
                to.add(at).write(ptr.add(at).read_unaligned());
            }
            Self::load_from(to)
        }
    }
}
