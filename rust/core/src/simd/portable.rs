//! Plain Rust: the reference for every other backing, and the fallback.
//!
//! On a CPU without FMA `mul_add` is a call into libm: slow, but correctly rounded.

use super::{Isa, Lanes, Load};
use crate::element::{Element, bf16, f16};

pub(crate) struct Portable;

impl Isa for Portable {
    const ROOM: usize = 8;
    type F32 = Plain<f32, 16>;
    type F64 = Plain<f64, 8>;
}

#[derive(Clone, Copy)]
pub(crate) struct Plain<T, const N: usize>([T; N]);

impl<T: Copy, const N: usize> Plain<T, N> {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn mask(self, f: impl Fn(T) -> bool) -> u32 {
        (0..N).fold(0, |bits, i| bits | u32::from(f(self.0[i])) << i)
    }
}

macro_rules! plain {
    ($float:ident, $bits:ident, $n:literal, $mantissa:literal, $pivot:literal) => {
        impl Lanes for Plain<$float, $n> {
            type Elem = $float;
            type Mask = u32;
            type Double = Plain<f64, 8>;
            const N: usize = $n;

            #[inline(always)]
            unsafe fn new(x: $float) -> Self {
                Self([x; $n])
            }
            #[inline(always)]
            unsafe fn load(ptr: *const $float) -> Self {
                // SAFETY: the caller vouches for N elements.
                Self(unsafe { ptr.cast::<[$float; $n]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn store(self, ptr: *mut $float) {
                // SAFETY: the caller vouches for N elements.
                unsafe { ptr.cast::<[$float; $n]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.zip(other, |a, b| a + b)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self.zip(other, |a, b| a - b)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.zip(other, |a, b| a * b)
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self.zip(other, |a, b| a / b)
            }
            #[inline(always)]
            fn fma(self, factor: Self, addend: Self) -> Self {
                Self(std::array::from_fn(|i| {
                    self.0[i].mul_add(factor.0[i], addend.0[i])
                }))
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                self.zip(other, |a, b| if a > b { a } else { b })
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                self.zip(other, |a, b| if a < b { a } else { b })
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self.zip(other, |a, b| $float::from_bits(a.to_bits() | b.to_bits()))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(
                    self.0
                        .map(|a| $float::from_bits(a.to_bits() & ($bits::MAX >> 1))),
                )
            }
            #[inline(always)]
            fn lt(self, other: Self) -> u32 {
                (0..$n).fold(0, |bits, i| bits | u32::from(self.0[i] < other.0[i]) << i)
            }
            #[inline(always)]
            fn select(mask: u32, a: Self, b: Self) -> Self {
                Self(std::array::from_fn(|i| {
                    if mask >> i & 1 == 1 { a.0[i] } else { b.0[i] }
                }))
            }
            #[inline(always)]
            fn bits(mask: u32) -> u32 {
                mask
            }
            #[inline(always)]
            fn sign_bits(self) -> u32 {
                self.mask(|a| a.to_bits() >> ($bits::BITS - 1) == 1)
            }
            #[inline(always)]
            fn swap<const DISTANCE: usize>(self) -> Self {
                Self(std::array::from_fn(|i| self.0[i ^ DISTANCE]))
            }
            #[inline(always)]
            fn deal<const DISTANCE: usize>(self, other: Self) -> (Self, Self) {
                let (a, b) = (self.0, other.0);
                let own = |i: usize| i & DISTANCE == 0;
                let near = |i: usize| if own(i) { a[i] } else { b[i ^ DISTANCE] };
                let far = |i: usize| if own(i) { a[i ^ DISTANCE] } else { b[i] };
                (
                    Self(std::array::from_fn(near)),
                    Self(std::array::from_fn(far)),
                )
            }
            #[inline(always)]
            fn widen(self) -> [Plain<f64, 8>; 2] {
                let half =
                    |at: usize| Plain(std::array::from_fn(|i| self.0[(at + i) % $n].to_f64()));
                [half(0), half(8)]
            }
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                const BIAS: $bits = $bits::MAX >> ($mantissa + 2);
                let shifted = |x: $float| {
                    x.to_bits()
                        .wrapping_add(BIAS << $mantissa)
                        .wrapping_sub($pivot)
                };
                let exponent = self.0.map(|x| {
                    #[allow(clippy::cast_precision_loss, reason = "at most 2^12")]
                    let biased = (shifted(x) >> $mantissa) as $float;
                    #[allow(clippy::cast_precision_loss, reason = "at most 2^10")]
                    let bias = BIAS as $float;
                    biased - bias
                });
                let fraction = self.0.map(|x| {
                    let power = shifted(x) & !((1 << $mantissa) - 1);
                    let m = x
                        .to_bits()
                        .wrapping_sub(power)
                        .wrapping_add(BIAS << $mantissa);
                    $float::from_bits(m) - 1.0
                });
                (Self(exponent), Self(fraction))
            }
            #[inline(always)]
            fn scale(self, shifter: Self) -> Self {
                self.zip(shifter, |x, n| {
                    $float::from_bits(x.to_bits().wrapping_add(n.to_bits() << $mantissa))
                })
            }
        }
    };
}

plain!(f32, u32, 16, 23, 0x3f2a_aaab);
plain!(f64, u64, 8, 52, 0x3fe6_a09e_667f_3bcd);

macro_rules! load {
    ($float:ident, $n:literal, $elem:ty, |$x:ident| $wide:expr) => {
        impl Load<$elem> for Plain<$float, $n> {
            #[inline(always)]
            unsafe fn load_from(ptr: *const $elem) -> Self {
                Self(std::array::from_fn(|i| {
                    // SAFETY: the caller vouches for N elements.
                    let $x = unsafe { ptr.add(i).read_unaligned() };
                    $wide
                }))
            }
        }
    };
}

load!(f32, 16, f32, |x| x);
load!(f32, 16, f16, |x| x.to_f32());
load!(f32, 16, bf16, |x| x.to_f32());
load!(f64, 8, f32, |x| Element::to_f64(x));
load!(f64, 8, f64, |x| x);
