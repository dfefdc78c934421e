//! AVX2 with FMA and F16C: two registers a vector.
//!
//! No `array::map` and the like here: they are not always inlined, and what is
//! not inlined is compiled for the baseline CPU.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one note for all blocks of an impl: they differ in the intrinsic only"
)]

#[allow(clippy::wildcard_imports, reason = "the intrinsics")]
use std::arch::x86_64::*;

mod registers;

use super::{Isa, Lanes, Load, Op};
use crate::element::{bf16, f16};
use registers::{
    at_once, deal_ps, head_of_halves, split_pd, split_ps, transpose_pd, transpose_ps, unzip,
    widen_bf16,
};

pub(crate) struct Avx2;

impl Isa for Avx2 {
    const ROOM: usize = 8;
    type F32 = F32x16;
    type F64 = F64x8;
}

/// # Safety
/// The CPU must have AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn enter<O: Op>(op: O) -> O::Out {
    // SAFETY: the caller's promise.
    unsafe { op.run::<Avx2>() }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x16([__m256; 2]);
#[derive(Clone, Copy)]
pub(crate) struct F64x8([__m256d; 2]);

macro_rules! halves {
    ($vector:ident, $float:ident, $n:literal, $half:literal,
     $set1:ident, $loadu:ident, $storeu:ident, $add:ident, $sub:ident, $mul:ident, $div:ident,
     $fmadd:ident, $max:ident, $min:ident, $or:ident, $andnot:ident, $cmp:ident, $blendv:ident, $movemask:ident;
     $($rest:tt)*) => {
        impl $vector {
            #[inline(always)]
            fn zip(self, b: Self, f: impl Fn(Half<$float>, Half<$float>) -> Half<$float>) -> Self {
                Self([f(self.0[0], b.0[0]), f(self.0[1], b.0[1])])
            }
        }

        // SAFETY (of every block here): a vector exists, or the caller of an
        // unsafe function vouches, so the CPU has AVX2, FMA and F16C; pointers
        // are vouched for by the caller and the accesses are unaligned ones.
        impl Lanes for $vector {
            type Elem = $float;
            type Mask = Self;
            type Double = F64x8;
            const N: usize = $n;

            #[inline(always)]
            unsafe fn new(x: $float) -> Self {
                Self(unsafe { [$set1(x), $set1(x)] })
            }
            #[inline(always)]
            unsafe fn load(ptr: *const $float) -> Self {
                Self(unsafe { [$loadu(ptr), $loadu(ptr.add($half))] })
            }
            #[inline(always)]
            unsafe fn store(self, ptr: *mut $float) {
                unsafe {
                    $storeu(ptr, self.0[0]);
                    $storeu(ptr.add($half), self.0[1]);
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
                Self(unsafe {
                    [
                        $fmadd(self.0[0], b.0[0], c.0[0]),
                        $fmadd(self.0[1], b.0[1], c.0[1]),
                    ]
                })
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $max(a, b) })
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $min(a, b) })
            }
            #[inline(always)]
            fn or(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $or(a, b) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                self.splat(-0.0).zip(self, |a, b| unsafe { $andnot(a, b) })
            }
            #[inline(always)]
            fn lt(self, b: Self) -> Self {
                self.zip(b, |a, b| unsafe { $cmp::<_CMP_LT_OQ>(a, b) })
            }
            #[inline(always)]
            fn select(mask: Self, a: Self, b: Self) -> Self {
                Self(unsafe {
                    [
                        $blendv(b.0[0], a.0[0], mask.0[0]),
                        $blendv(b.0[1], a.0[1], mask.0[1]),
                    ]
                })
            }
            #[inline(always)]
            fn bits(mask: Self) -> u32 {
                mask.sign_bits()
            }
            #[inline(always)]
            fn sign_bits(self) -> u32 {
                let (a, b) = unsafe { ($movemask(self.0[0]), $movemask(self.0[1])) };
                let (a, b) = (a.cast_unsigned(), b.cast_unsigned());
                a | b << $half
            }
            $($rest)*
        }
    };
}

trait Register {
    type Half;
}
impl Register for f32 {
    type Half = __m256;
}
impl Register for f64 {
    type Half = __m256d;
}
type Half<T> = <T as Register>::Half;

halves! {
    F32x16, f32, 16, 8,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_div_ps,
    _mm256_fmadd_ps, _mm256_max_ps, _mm256_min_ps, _mm256_or_ps, _mm256_andnot_ps, _mm256_cmp_ps, _mm256_blendv_ps, _mm256_movemask_ps;

    #[inline(always)]
    fn swap<const DISTANCE: usize>(self) -> Self {
        let [a, b] = self.0;
        unsafe {
            match DISTANCE {
                8 => Self([b, a]),
                4 => Self([_mm256_permute2f128_ps::<1>(a, a), _mm256_permute2f128_ps::<1>(b, b)]),
                2 => Self([_mm256_permute_ps::<0b01_00_11_10>(a), _mm256_permute_ps::<0b01_00_11_10>(b)]),
                _ => Self([_mm256_permute_ps::<0b10_11_00_01>(a), _mm256_permute_ps::<0b10_11_00_01>(b)]),
            }
        }
    }
    #[inline(always)]
    fn deal<const DISTANCE: usize>(self, other: Self) -> (Self, Self) {
        let ([a, c], [b, d]) = (self.0, other.0);
        if DISTANCE == 8 {
            return (Self([a, b]), Self([c, d]));
        }
        let ((ab_near, ab_far), (cd_near, cd_far)) = (deal_ps::<DISTANCE>(a, b), deal_ps::<DISTANCE>(c, d));
        (Self([ab_near, cd_near]), Self([ab_far, cd_far]))
    }
    #[inline(always)]
    fn abreast(a: Self, b: Self) -> (Self, Self) {
        let [a0, a1, b0, b1] = unsafe { at_once([a.0[0], a.0[1], b.0[0], b.0[1]]) };
        (Self([a0, a1]), Self([b0, b1]))
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        let ((e0, r0), (e1, r1)) = unsafe { (split_ps(self.0[0]), split_ps(self.0[1])) };
        (Self([e0, e1]), Self([r0, r1]))
    }
    #[inline(always)]
    fn scale(self, shifter: Self) -> Self {
        self.zip(shifter, |x, n| unsafe {
            let n = _mm256_slli_epi32::<23>(_mm256_castps_si256(n));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n))
        })
    }
    #[inline(always)]
    fn widen(self) -> [F64x8; 2] {
        let wide = |x: __m256| unsafe {
            let (low, high) = (_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            F64x8([_mm256_cvtps_pd(low), _mm256_cvtps_pd(high)])
        };
        [wide(self.0[0]), wide(self.0[1])]
    }
    #[inline(always)]
    unsafe fn load_pairs(pairs: *const f32) -> (Self, Self) {
        // SAFETY: the caller vouches for 32 elements.
        unsafe {
            let (a, c) = unzip(_mm256_loadu_ps(pairs), _mm256_loadu_ps(pairs.add(8)));
            let (b, d) = unzip(_mm256_loadu_ps(pairs.add(16)), _mm256_loadu_ps(pairs.add(24)));
            (Self([a, b]), Self([c, d]))
        }
    }
    #[inline(always)]
    unsafe fn four_columns(rows: *const f32, stride: isize, width: usize) -> [Self; 4] {
        // SAFETY: the caller vouches for rows; a mask keeps loads of fewer than four
        // columns within the row.
        unsafe {
            let lower = rows.wrapping_byte_offset(8 * stride);
            let ([a, b, c, d], [e, f, g, h]) = if width >= 4 {
                let load = |row| _mm_loadu_ps(row);
                (transpose_ps(rows, stride, load), transpose_ps(lower, stride, load))
            } else {
                let mask = _mm_cmpgt_epi32(_mm_set1_epi32(width as i32), _mm_setr_epi32(0, 1, 2, 3));
                let load = |row| _mm_maskload_ps(row, mask);
                (transpose_ps(rows, stride, load), transpose_ps(lower, stride, load))
            };
            [Self([a, e]), Self([b, f]), Self([c, g]), Self([d, h])]
        }
    }
}

halves! {
    F64x8, f64, 8, 4,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_div_pd,
    _mm256_fmadd_pd, _mm256_max_pd, _mm256_min_pd, _mm256_or_pd, _mm256_andnot_pd, _mm256_cmp_pd, _mm256_blendv_pd, _mm256_movemask_pd;

    #[inline(always)]
    fn swap<const DISTANCE: usize>(self) -> Self {
        let [a, b] = self.0;
        unsafe {
            match DISTANCE {
                4 => Self([b, a]),
                2 => Self([_mm256_permute2f128_pd::<1>(a, a), _mm256_permute2f128_pd::<1>(b, b)]),
                _ => Self([_mm256_permute_pd::<0b0101>(a), _mm256_permute_pd::<0b0101>(b)]),
            }
        }
    }
    #[inline(always)]
    fn deal<const DISTANCE: usize>(self, other: Self) -> (Self, Self) {
        let ([a, c], [b, d]) = (self.0, other.0);
        unsafe {
            match DISTANCE {
                4 => (Self([a, b]), Self([c, d])),
                2 => (
                    Self([_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x20>(c, d)]),
                    Self([_mm256_permute2f128_pd::<0x31>(a, b), _mm256_permute2f128_pd::<0x31>(c, d)]),
                ),
                _ => (
                    Self([_mm256_unpacklo_pd(a, b), _mm256_unpacklo_pd(c, d)]),
                    Self([_mm256_unpackhi_pd(a, b), _mm256_unpackhi_pd(c, d)]),
                ),
            }
        }
    }
    #[inline(always)]
    fn abreast(a: Self, b: Self) -> (Self, Self) {
        unsafe {
            let [a0, a1, b0, b1] = at_once([
                _mm256_castpd_ps(a.0[0]), _mm256_castpd_ps(a.0[1]),
                _mm256_castpd_ps(b.0[0]), _mm256_castpd_ps(b.0[1]),
            ]);
            (
                Self([_mm256_castps_pd(a0), _mm256_castps_pd(a1)]),
                Self([_mm256_castps_pd(b0), _mm256_castps_pd(b1)]),
            )
        }
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        // There is no 64-bit arithmetic shift nor conversion: the exponent is kept
        // positive by the bias and made a double by the mantissa of 2^52.
        let ((e0, r0), (e1, r1)) = unsafe { (split_pd(self.0[0]), split_pd(self.0[1])) };
        (Self([e0, e1]), Self([r0, r1]))
    }
    #[inline(always)]
    fn scale(self, shifter: Self) -> Self {
        self.zip(shifter, |x, n| unsafe {
            let n = _mm256_slli_epi64::<52>(_mm256_castpd_si256(n));
            _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(x), n))
        })
    }
    #[inline(always)]
    fn widen(self) -> [Self; 2] {
        [self, self]
    }
    #[inline(always)]
    unsafe fn four_columns(rows: *const f64, stride: isize, width: usize) -> [Self; 4] {
        // SAFETY: the caller vouches for rows; a mask keeps loads of fewer than four
        // columns within the row.
        unsafe {
            let mask = _mm256_cmpgt_epi64(_mm256_set1_epi64x(width as i64), _mm256_setr_epi64x(0, 1, 2, 3));
            let [a, b, c, d] = transpose_pd(rows, stride, mask);
            let [e, f, g, h] = transpose_pd(rows.wrapping_byte_offset(4 * stride), stride, mask);
            [Self([a, e]), Self([b, f]), Self([c, g]), Self([d, h])]
        }
    }
}

/// Masks of the first `len` lanes begin at `N - len`.
static LIVE_32: [i32; 32] = {
    let mut mask = [0; 32];
    let mut i = 0;
    while i < 16 {
        mask[i] = -1;
        i += 1;
    }
    mask
};
/// The same for 64-bit lanes.
static LIVE_64: [i64; 16] = {
    let mut mask = [0; 16];
    let mut i = 0;
    while i < 8 {
        mask[i] = -1;
        i += 1;
    }
    mask
};

macro_rules! load {
    ($vector:ident, $elem:ty, $half:literal, |$ptr:ident| $load:expr $(; $($head:tt)*)?) => {
        impl Load<$elem> for $vector {
            #[inline(always)]
            unsafe fn load_from(ptr: *const $elem) -> Self {
                // SAFETY: the caller vouches for the CPU and for N elements; the loads are unaligned ones.
                let half = |$ptr: *const $elem| unsafe { $load };
                Self([half(ptr), half(unsafe { ptr.add($half) })])
            }
            $($($head)*)?
        }
    };
}

load!(F32x16, f32, 8, |ptr| _mm256_loadu_ps(ptr);
    #[inline(always)]
    unsafe fn load_head(ptr: *const f32, len: usize, pad: f32) -> Self {
        // SAFETY: the caller vouches for `len` elements; masked ones are not read.
        unsafe {
            let mask = LIVE_32.as_ptr().add(16 - len);
            let (low, high) = (_mm256_loadu_si256(mask.cast()), _mm256_loadu_si256(mask.add(8).cast()));
            let x = Self([_mm256_maskload_ps(ptr, low), _mm256_maskload_ps(ptr.wrapping_add(8), high)]);
            let live = Self([_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]);
            Self::select(live, x, Self::new(pad))
        }
    }
);
load!(F32x16, f16, 8, |ptr| _mm256_cvtph_ps(_mm_loadu_si128(ptr.cast()));
    #[inline(always)]
    unsafe fn load_head(ptr: *const f16, len: usize, pad: f16) -> Self {
        // SAFETY: the caller vouches for `len` elements.
        unsafe {
            let [low, high] = head_of_halves(ptr.cast(), len, pad.to_bits());
            Self([_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)])
        }
    }
);
load!(F32x16, bf16, 8, |ptr| widen_bf16(_mm_loadu_si128(ptr.cast()));
    #[inline(always)]
    unsafe fn load_head(ptr: *const bf16, len: usize, pad: bf16) -> Self {
        // SAFETY: the caller vouches for `len` elements.
        unsafe {
            let [low, high] = head_of_halves(ptr.cast(), len, pad.to_bits());
            Self([widen_bf16(low), widen_bf16(high)])
        }
    }
);
load!(F64x8, f32, 4, |ptr| _mm256_cvtps_pd(_mm_loadu_ps(ptr));
    #[inline(always)]
    unsafe fn load_head(ptr: *const f32, len: usize, pad: f32) -> Self {
        // SAFETY: the caller vouches for `len` elements; masked ones are not read.
        unsafe {
            let live = _mm256_loadu_si256(LIVE_32.as_ptr().add(16 - len).cast());
            let x = _mm256_maskload_ps(ptr, live);
            let x = _mm256_blendv_ps(_mm256_set1_ps(pad), x, _mm256_castsi256_ps(live));
            let (low, high) = (_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            Self([_mm256_cvtps_pd(low), _mm256_cvtps_pd(high)])
        }
    }
);
load!(F64x8, f64, 4, |ptr| _mm256_loadu_pd(ptr);
    #[inline(always)]
    unsafe fn load_head(ptr: *const f64, len: usize, pad: f64) -> Self {
        // SAFETY: the caller vouches for `len` elements; masked ones are not read.
        unsafe {
            let mask = LIVE_64.as_ptr().add(8 - len);
            let (low, high) = (_mm256_loadu_si256(mask.cast()), _mm256_loadu_si256(mask.add(4).cast()));
            let x = Self([_mm256_maskload_pd(ptr, low), _mm256_maskload_pd(ptr.wrapping_add(4), high)]);
            let live = Self([_mm256_castsi256_pd(low), _mm256_castsi256_pd(high)]);
            Self::select(live, x, Self::new(pad))
        }
    }
);
