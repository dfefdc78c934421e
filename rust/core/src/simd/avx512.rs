//! AVX-512 (F, DQ, BW, VL): one register a vector.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one note for all blocks of an impl: they differ in the intrinsic only"
)]

#[allow(clippy::wildcard_imports, reason = "the intrinsics")]
use std::arch::x86_64::*;

use super::{Isa, Lanes, Load, Op, opaque};
use crate::element::{bf16, f16};

pub(crate) struct Avx512;

impl Isa for Avx512 {
    const ROOM: usize = 32;
    type F32 = F32x16;
    type F64 = F64x8;
}

/// # Safety
/// The CPU must have AVX-512 F, DQ, BW and VL, and what AVX2 code expects.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")]
pub(super) unsafe fn enter<O: Op>(op: O) -> O::Out {
    // SAFETY: the caller's promise.
    unsafe { op.run::<Avx512>() }
}

#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);
#[derive(Clone, Copy)]
pub(crate) struct F64x8(__m512d);

macro_rules! lanes {
    ($vector:ident, $float:ident, $n:literal, $mask:ident,
     $set1:ident, $loadu:ident, $storeu:ident, $add:ident, $sub:ident, $mul:ident, $div:ident,
     $fmadd:ident, $max:ident, $min:ident, $or:ident, $abs:ident, $cmp:ident, $blend:ident, $signs:expr;
     $($rest:tt)*) => {
        // SAFETY (of every block here): a vector exists, or the caller of an
        // unsafe function vouches, so the CPU has AVX-512; pointers are vouched
        // for by the caller and the accesses are unaligned ones.
        impl Lanes for $vector {
            type Elem = $float;
            type Mask = $mask;
            type Double = F64x8;
            const N: usize = $n;

            #[inline(always)]
            unsafe fn new(x: $float) -> Self {
                Self(unsafe { $set1(x) })
            }
            #[inline(always)]
            unsafe fn load(ptr: *const $float) -> Self {
                Self(unsafe { $loadu(ptr) })
            }
            #[inline(always)]
            unsafe fn store(self, ptr: *mut $float) {
                unsafe { $storeu(ptr, self.0) }
            }
            #[inline(always)]
            fn add(self, b: Self) -> Self {
                Self(unsafe { $add(self.0, b.0) })
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                Self(unsafe { $sub(self.0, b.0) })
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                Self(unsafe { $mul(self.0, b.0) })
            }
            #[inline(always)]
            fn div(self, b: Self) -> Self {
                Self(unsafe { $div(self.0, b.0) })
            }
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                Self(unsafe { $fmadd(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn max(self, b: Self) -> Self {
                Self(unsafe { $max(self.0, b.0) })
            }
            #[inline(always)]
            fn min(self, b: Self) -> Self {
                Self(unsafe { $min(self.0, b.0) })
            }
            #[inline(always)]
            fn or(self, b: Self) -> Self {
                Self(unsafe { $or(self.0, b.0) })
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(unsafe { $abs(self.0) })
            }
            #[inline(always)]
            fn lt(self, b: Self) -> $mask {
                unsafe { $cmp::<_CMP_LT_OQ>(self.0, b.0) }
            }
            #[inline(always)]
            fn select(mask: $mask, a: Self, b: Self) -> Self {
                Self(unsafe { $blend(mask, b.0, a.0) })
            }
            #[inline(always)]
            fn bits(mask: $mask) -> u32 {
                u32::from(mask)
            }
            #[inline(always)]
            fn sign_bits(self) -> u32 {
                u32::from($signs(self))
            }
            $($rest)*
        }
    };
}

lanes! {
    F32x16, f32, 16, __mmask16,
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_div_ps,
    _mm512_fmadd_ps, _mm512_max_ps, _mm512_min_ps, _mm512_or_ps, _mm512_abs_ps, _mm512_cmp_ps_mask, _mm512_mask_blend_ps,
    |x: Self| unsafe { _mm512_movepi32_mask(_mm512_castps_si512(x.0)) };

    #[inline(always)]
    fn swap<const DISTANCE: usize>(self) -> Self {
        let a = self.0;
        Self(unsafe {
            match DISTANCE {
                8 => _mm512_shuffle_f32x4::<0b01_00_11_10>(a, a),
                4 => _mm512_shuffle_f32x4::<0b10_11_00_01>(a, a),
                2 => _mm512_permute_ps::<0b01_00_11_10>(a),
                _ => _mm512_permute_ps::<0b10_11_00_01>(a),
            }
        })
    }
    #[inline(always)]
    fn deal<const DISTANCE: usize>(self, other: Self) -> (Self, Self) {
        let (a, b) = (self.0, other.0);
        let (near, far) = unsafe {
            match DISTANCE {
                8 => (
                    _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
                    _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
                ),
                4 => (
                    _mm512_mask_shuffle_f32x4::<0b10_10_00_00>(a, 0xF0F0, b, b),
                    _mm512_mask_shuffle_f32x4::<0b11_11_01_01>(b, 0x0F0F, a, a),
                ),
                2 => (
                    _mm512_shuffle_ps::<0b01_00_01_00>(a, b),
                    _mm512_shuffle_ps::<0b11_10_11_10>(a, b),
                ),
                _ => (
                    _mm512_mask_moveldup_ps(a, 0xAAAA, b),
                    _mm512_mask_movehdup_ps(b, 0x5555, a),
                ),
            }
        };
        (Self(near), Self(far))
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        unsafe {
            let bits = _mm512_castps_si512(self.0);
            let exponent = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(0x3f2a_aaab)));
            let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(exponent));
            (
                Self(_mm512_cvtepi32_ps(exponent)),
                Self(_mm512_sub_ps(_mm512_castsi512_ps(m), _mm512_set1_ps(1.0))),
            )
        }
    }
    #[inline(always)]
    fn scale(self, shifter: Self) -> Self {
        Self(unsafe {
            let n = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifter.0));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(self.0), n))
        })
    }
    #[inline(always)]
    fn widen(self) -> [F64x8; 2] {
        unsafe {
            let (low, high) = (_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
            [F64x8(_mm512_cvtps_pd(low)), F64x8(_mm512_cvtps_pd(high))]
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(pairs: *const f32) -> (Self, Self) {
        // SAFETY: the caller vouches for 32 elements.
        unsafe {
            let (a, b) = (_mm512_loadu_ps(pairs), _mm512_loadu_ps(pairs.add(16)));
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            (
                Self(_mm512_permutex2var_ps(a, even, b)),
                Self(_mm512_permutex2var_ps(a, odd, b)),
            )
        }
    }
    #[inline(always)]
    unsafe fn four_columns(rows: *const f32, stride: isize, width: usize) -> [Self; 4] {
        // SAFETY: the caller vouches for rows; a mask keeps loads of fewer than four
        // columns within the row.
        unsafe {
            if width >= 4 {
                transpose_ps(rows, stride, |row| _mm_loadu_ps(row))
            } else {
                let mask = (1u8 << width) - 1;
                transpose_ps(rows, stride, |row| _mm_maskz_loadu_ps(mask, row))
            }
        }
    }
}

lanes! {
    F64x8, f64, 8, __mmask8,
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_div_pd,
    _mm512_fmadd_pd, _mm512_max_pd, _mm512_min_pd, _mm512_or_pd, _mm512_abs_pd, _mm512_cmp_pd_mask, _mm512_mask_blend_pd,
    |x: Self| unsafe { _mm512_movepi64_mask(_mm512_castpd_si512(x.0)) };

    #[inline(always)]
    fn swap<const DISTANCE: usize>(self) -> Self {
        let a = self.0;
        Self(unsafe {
            match DISTANCE {
                4 => _mm512_shuffle_f64x2::<0b01_00_11_10>(a, a),
                2 => _mm512_shuffle_f64x2::<0b10_11_00_01>(a, a),
                _ => _mm512_permute_pd::<0b0101_0101>(a),
            }
        })
    }
    #[inline(always)]
    fn deal<const DISTANCE: usize>(self, other: Self) -> (Self, Self) {
        let (a, b) = (self.0, other.0);
        let (near, far) = unsafe {
            match DISTANCE {
                4 => (
                    _mm512_shuffle_f64x2::<0b01_00_01_00>(a, b),
                    _mm512_shuffle_f64x2::<0b11_10_11_10>(a, b),
                ),
                2 => (
                    _mm512_mask_shuffle_f64x2::<0b10_10_00_00>(a, 0xCC, b, b),
                    _mm512_mask_shuffle_f64x2::<0b11_11_01_01>(b, 0x33, a, a),
                ),
                _ => (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)),
            }
        };
        (Self(near), Self(far))
    }
    #[inline(always)]
    fn split(self) -> (Self, Self) {
        unsafe {
            let bits = _mm512_castpd_si512(self.0);
            let exponent = _mm512_srai_epi64::<52>(_mm512_sub_epi64(
                bits,
                _mm512_set1_epi64(0x3fe6_a09e_667f_3bcd),
            ));
            let m = _mm512_sub_epi64(bits, _mm512_slli_epi64::<52>(exponent));
            (
                Self(_mm512_cvtepi64_pd(exponent)),
                Self(_mm512_sub_pd(_mm512_castsi512_pd(m), _mm512_set1_pd(1.0))),
            )
        }
    }
    #[inline(always)]
    fn scale(self, shifter: Self) -> Self {
        Self(unsafe {
            let n = _mm512_slli_epi64::<52>(_mm512_castpd_si512(shifter.0));
            _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(self.0), n))
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
            let mask = if width >= 4 { 0b1111 } else { (1u8 << width) - 1 };
            transpose_pd(rows, stride, mask)
        }
    }
}

/// Four columns of sixteen rows, given how to load four elements of one.
///
/// # Safety
/// The CPU must have AVX-512, and `load` must be sound for every row.
#[inline(always)]
unsafe fn transpose_ps(
    rows: *const f32,
    stride: isize,
    load: impl Fn(*const f32) -> __m128,
) -> [F32x16; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let q0 = opaque(rows);
        let q1 = opaque(q0.wrapping_byte_offset(4 * stride));
        let q2 = opaque(q1.wrapping_byte_offset(4 * stride));
        let q3 = opaque(q2.wrapping_byte_offset(4 * stride));
        let every_fourth = |i: isize| {
            let load = |q: *const f32| load(q.wrapping_byte_offset(i * stride));
            join(load(q0), load(q1), load(q2), load(q3))
        };
        let (a, b) = (every_fourth(0), every_fourth(1));
        let (c, d) = (every_fourth(2), every_fourth(3));
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            F32x16(_mm512_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low)),
            F32x16(_mm512_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low)),
            F32x16(_mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high)),
            F32x16(_mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high)),
        ]
    }
}

/// Four columns, or those of `mask`, of eight rows.
///
/// # Safety
/// The CPU must have AVX-512, and every row must be readable where `mask` is set.
#[inline(always)]
unsafe fn transpose_pd(rows: *const f64, stride: isize, mask: __mmask8) -> [F64x8; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let upper = opaque(rows);
        let lower = opaque(upper.wrapping_byte_offset(4 * stride));
        let both = |i: isize| {
            let load =
                |q: *const f64| _mm256_maskz_loadu_pd(mask, q.wrapping_byte_offset(i * stride));
            _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(load(upper)), load(lower))
        };
        let (a, b, c, d) = (both(0), both(1), both(2), both(3));
        // Pairs of rows: the columns 0 and 2, or 1 and 3, of each.
        let (ab_even, ab_odd) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        let (cd_even, cd_odd) = (_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
        let near = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
        let far = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
        [
            F64x8(_mm512_permutex2var_pd(ab_even, near, cd_even)),
            F64x8(_mm512_permutex2var_pd(ab_odd, near, cd_odd)),
            F64x8(_mm512_permutex2var_pd(ab_even, far, cd_even)),
            F64x8(_mm512_permutex2var_pd(ab_odd, far, cd_odd)),
        ]
    }
}

/// # Safety
/// The CPU must have AVX-512.
#[inline(always)]
unsafe fn join(a: __m128, b: __m128, c: __m128, d: __m128) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_insertf32x4::<1>(_mm512_castps128_ps512(a), b);
        _mm512_insertf32x4::<3>(_mm512_insertf32x4::<2>(low, c), d)
    }
}

/// # Safety
/// The CPU must have AVX-512.
#[inline(always)]
unsafe fn widen_f16(halves: __m256i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtph_ps(halves) }
}

/// # Safety
/// The CPU must have AVX-512.
#[inline(always)]
unsafe fn widen_bf16(halves: __m256i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves))) }
}

/// # Safety
/// The CPU must have AVX-512; `ptr` must be readable for `len` elements, of 16.
#[inline(always)]
unsafe fn head_of_halves(ptr: *const i16, len: usize, pad: u16) -> __m256i {
    // SAFETY: masked elements are not read.
    unsafe {
        let pad = _mm256_set1_epi16(pad.cast_signed());
        _mm256_mask_loadu_epi16(pad, (1 << len) - 1, ptr)
    }
}

macro_rules! load {
    ($vector:ident, $elem:ty, |$ptr:ident| $load:expr $(; $($head:tt)*)?) => {
        impl Load<$elem> for $vector {
            #[inline(always)]
            unsafe fn load_from($ptr: *const $elem) -> Self {
                // SAFETY: the caller vouches for the CPU and for N elements; the loads are unaligned ones.
                Self(unsafe { $load })
            }
            $($($head)*)?
        }
    };
}

load!(F32x16, f32, |ptr| _mm512_loadu_ps(ptr);
    #[inline(always)]
    unsafe fn load_head(ptr: *const f32, len: usize, pad: f32) -> Self {
        // SAFETY: the caller vouches for `len` elements; masked ones are not read.
        Self(unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(pad), (1 << len) - 1, ptr) })
    }
);
load!(F32x16, f16, |ptr| widen_f16(_mm256_loadu_si256(ptr.cast()));
    #[inline(always)]
    unsafe fn load_head(ptr: *const f16, len: usize, pad: f16) -> Self {
        // SAFETY: the caller vouches for `len` elements.
        Self(unsafe { widen_f16(head_of_halves(ptr.cast(), len, pad.to_bits())) })
    }
);
load!(F32x16, bf16, |ptr| widen_bf16(_mm256_loadu_si256(ptr.cast()));
    #[inline(always)]
    unsafe fn load_head(ptr: *const bf16, len: usize, pad: bf16) -> Self {
        // SAFETY: the caller vouches for `len` elements.
        Self(unsafe { widen_bf16(head_of_halves(ptr.cast(), len, pad.to_bits())) })
    }
);
load!(F64x8, f32, |ptr| _mm512_cvtps_pd(_mm256_loadu_ps(ptr));
    #[inline(always)]
    unsafe fn load_head(ptr: *const f32, len: usize, pad: f32) -> Self {
        // SAFETY: the caller vouches for `len` elements; masked ones are not read.
        Self(unsafe {
            _mm512_cvtps_pd(_mm256_mask_loadu_ps(_mm256_set1_ps(pad), (1 << len) - 1, ptr))
        })
    }
);
load!(F64x8, f64, |ptr| _mm512_loadu_pd(ptr);
    #[inline(always)]
    unsafe fn load_head(ptr: *const f64, len: usize, pad: f64) -> Self {
        // SAFETY: the caller vouches for `len` elements; masked ones are not read.
        Self(unsafe { _mm512_mask_loadu_pd(_mm512_set1_pd(pad), (1 << len) - 1, ptr) })
    }
);
