//! NEON (every 64-bit Arm CPU has it): four registers a vector.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one note for all blocks of an impl: they differ in the intrinsic only"
)]

#[allow(clippy::wildcard_imports, reason = "the intrinsics")]
use std::arch::aarch64::*;

use super::{Isa, Lanes, Load, Op};
use crate::element::{bf16, f16};

pub(crate) struct Neon;

impl Isa for Neon {
    const ROOM: usize = 8;
    type F32 = F32x16;
    type F64 = F64x8;
}

/// # Safety
/// None to speak of: NEON is part of the baseline; the signature is that of the other levels.
pub(super) unsafe fn enter<O: Op>(op: O) -> O::Out {
    // SAFETY: NEON is part of the baseline.
    unsafe { op.run::<Neon>() }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x16([float32x4_t; 4]);
#[derive(Clone, Copy)]
pub(crate) struct F64x8([float64x2_t; 4]);

macro_rules! quarters {
    ($vector:ident, $float:ident, $register:ident, $integer:ident, $n:literal, $quarter:literal, $mantissa:literal,
     $pivot:literal, $dup:ident, $ld1:ident, $st1:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $fma:ident,
     $gt:ident, $bsl:ident, $orr:ident, $abs:ident, $to_bits:ident, $from_bits:ident, $to_signed:ident,
     $idup:ident, $iadd:ident, $isub:ident, $ishr:ident, $ishl:ident, $cvt:ident, $from_signed:ident, $rev:expr, $near:expr, $far:expr; $($rest:tt)*) => {
        impl $vector {
            #[inline(always)]
            fn zip(self, b: Self, f: impl Fn($register, $register) -> $register) -> Self {
                Self(std::array::from_fn(|i| f(self.0[i], b.0[i])))
            }
        }

        // SAFETY (of every block here): NEON is part of the baseline; pointers
        // are vouched for by the caller and the accesses are unaligned ones.
        #[allow(unused_unsafe, reason = "many of these intrinsics are safe in newer compilers")]
        impl Lanes for $vector {
            type Elem = $float;
            type Mask = [$integer; 4];
            type Double = F64x8;
            const N: usize = $n;

            #[inline(always)]
            unsafe fn new(x: $float) -> Self {
                Self(unsafe { [$dup(x); 4] })
            }
            #[inline(always)]
            unsafe fn load(ptr: *const $float) -> Self {
                Self(std::array::from_fn(|i| unsafe { $ld1(ptr.add(i * $quarter)) }))
            }
            #[inline(always)]
            unsafe fn store(self, ptr: *mut $float) {
                for (i, part) in self.0.into_iter().enumerate() {
                    unsafe { $st1(ptr.add(i * $quarter), part) }
                }
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $add(a, b) })
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $sub(a, b) })
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $mul(a, b) })
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $div(a, b) })
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                Self(std::array::from_fn(|i| unsafe { $fma(c.0[i], self.0[i], b.0[i]) }))
            }
            // Arm's own maximum and minimum treat NaN another way.
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $bsl($gt(a, b), a, b) })
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $bsl($gt(b, a), a, b) })
            }
            #[inline(always)]
            fn or(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $from_bits($orr($to_bits(a), $to_bits(b))) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0.map(|a| unsafe { $abs(a) }))
            }
            #[inline(always)]
            fn lt(self, b: Self) -> Self::Mask {
                std::array::from_fn(|i| unsafe { $gt(b.0[i], self.0[i]) })
            }
            #[inline(always)]
            fn select(mask: Self::Mask, a: Self, b: Self) -> Self {
                Self(std::array::from_fn(|i| unsafe { $bsl(mask[i], a.0[i], b.0[i]) }))
            }
            #[inline(always)]
            fn bits(mask: Self::Mask) -> u32 {
                Self(mask.map(|m| unsafe { $from_bits(m) })).sign_bits()
            }
            #[inline(always)]
            fn sign_bits(self) -> u32 {
                let mut lanes = [0.0; $n];
                // SAFETY: room for N lanes.
                unsafe { self.store(lanes.as_mut_ptr()) };
                lanes
                    .iter()
                    .enumerate()
                    .fold(0, |bits, (i, x)| bits | u32::from(x.is_sign_negative()) << i)
            }
            #[inline(always)]
            fn swap<const DISTANCE: usize>(self) -> Self {
                let [a, b, c, d] = self.0;
                if DISTANCE == 2 * $quarter {
                    Self([c, d, a, b])
                } else if DISTANCE == $quarter {
                    Self([b, a, d, c])
                } else {
                    Self(self.0.map(|x| unsafe { $rev(x, DISTANCE) }))
                }
            }
            #[inline(always)]
            fn deal<const DISTANCE: usize>(self, other: Self) -> (Self, Self) {
                let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.0, other.0);
                if DISTANCE == 2 * $quarter {
                    return (Self([a0, a1, b0, b1]), Self([a2, a3, b2, b3]));
                }
                if DISTANCE == $quarter {
                    return (Self([a0, b0, a2, b2]), Self([a1, b1, a3, b3]));
                }
                (
                    self.zip(other, |a, b| unsafe { $near(a, b, DISTANCE) }),
                    self.zip(other, |a, b| unsafe { $far(a, b, DISTANCE) }),
                )
            }
            #[inline(always)]
            fn split(self) -> (Self, Self) {
                let parts = self.0.map(|x| unsafe {
                    let bits = $to_signed(x);
                    let exponent = $ishr::<$mantissa>($isub(bits, $idup($pivot)));
                    let m = $isub(bits, $ishl::<$mantissa>(exponent));
                    ($cvt(exponent), $sub($from_signed(m), $dup(1.0)))
                });
                (Self(parts.map(|p| p.0)), Self(parts.map(|p| p.1)))
            }
            #[inline(always)]
            fn scale(self, shifter: Self) -> Self {
                self.zip(shifter, |x, n| unsafe {
                    $from_signed($iadd($to_signed(x), $ishl::<$mantissa>($to_signed(n))))
                })
            }
            $($rest)*
        }
    };
}

quarters! {
    F32x16, f32, float32x4_t, uint32x4_t, 16, 4, 23, 0x3f2a_aaab,
    vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vsubq_f32, vmulq_f32, vdivq_f32, vfmaq_f32,
    vcgtq_f32, vbslq_f32, vorrq_u32, vabsq_f32, vreinterpretq_u32_f32, vreinterpretq_f32_u32, vreinterpretq_s32_f32,
    vdupq_n_s32, vaddq_s32, vsubq_s32, vshrq_n_s32, vshlq_n_s32, vcvtq_f32_s32, vreinterpretq_f32_s32,
    |x, distance| if distance == 2 { vextq_f32::<2>(x, x) } else { vrev64q_f32(x) },
    |a, b, distance| if distance == 2 { vreinterpretq_f32_f64(vtrn1q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b))) } else { vtrn1q_f32(a, b) },
    |a, b, distance| if distance == 2 { vreinterpretq_f32_f64(vtrn2q_f64(vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b))) } else { vtrn2q_f32(a, b) };

    #[inline(always)]
    fn widen(self) -> [F64x8; 2] {
        let [a, b, c, d] = self.0;
        let low = |x| unsafe { vcvt_f64_f32(vget_low_f32(x)) };
        let high = |x| unsafe { vcvt_high_f64_f32(x) };
        [F64x8([low(a), high(a), low(b), high(b)]), F64x8([low(c), high(c), low(d), high(d)])]
    }
}

quarters! {
    F64x8, f64, float64x2_t, uint64x2_t, 8, 2, 52, 0x3fe6_a09e_667f_3bcd,
    vdupq_n_f64, vld1q_f64, vst1q_f64, vaddq_f64, vsubq_f64, vmulq_f64, vdivq_f64, vfmaq_f64,
    vcgtq_f64, vbslq_f64, vorrq_u64, vabsq_f64, vreinterpretq_u64_f64, vreinterpretq_f64_u64, vreinterpretq_s64_f64,
    vdupq_n_s64, vaddq_s64, vsubq_s64, vshrq_n_s64, vshlq_n_s64, vcvtq_f64_s64, vreinterpretq_f64_s64,
    |x, _| vextq_f64::<1>(x, x),
    |a, b, _| vtrn1q_f64(a, b),
    |a, b, _| vtrn2q_f64(a, b);

    #[inline(always)]
    fn widen(self) -> [Self; 2] {
        [self, self]
    }
}

macro_rules! load {
    ($vector:ident, $elem:ty, $quarter:literal, |$ptr:ident| $load:expr) => {
        impl Load<$elem> for $vector {
            #[inline(always)]
            unsafe fn load_from(ptr: *const $elem) -> Self {
                // SAFETY: the caller vouches for N elements; the loads are unaligned ones.
                Self(std::array::from_fn(|i| unsafe {
                    let $ptr = ptr.add(i * $quarter);
                    $load
                }))
            }
        }
    };
}

/// Four halves, widened one by one: the vector conversion is not yet stable Rust.
#[inline(always)]
unsafe fn widen_f16(ptr: *const f16) -> float32x4_t {
    // SAFETY: the caller vouches for four elements.
    let wide: [f32; 4] = std::array::from_fn(|i| unsafe { ptr.add(i).read_unaligned() }.to_f32());
    // SAFETY: four floats.
    unsafe { vld1q_f32(wide.as_ptr()) }
}

load!(F32x16, f32, 4, |ptr| vld1q_f32(ptr));
load!(F32x16, f16, 4, |ptr| widen_f16(ptr));
load!(F32x16, bf16, 4, |ptr| vreinterpretq_f32_u32(vshlq_n_u32::<
    16,
>(vmovl_u16(
    vld1_u16(ptr.cast())
))));
load!(F64x8, f32, 2, |ptr| vcvt_f64_f32(vld1_f32(ptr)));
load!(F64x8, f64, 2, |ptr| vld1q_f64(ptr));
