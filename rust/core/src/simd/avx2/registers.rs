//! What it takes several instructions to do within and between AVX2 registers.

#[allow(clippy::wildcard_imports, reason = "the intrinsics")]
use std::arch::{asm, x86_64::*};

use crate::simd::opaque;

/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn split_ps(x: __m256) -> (__m256, __m256) {
    // SAFETY: the caller's promise.
    unsafe {
        let bits = _mm256_castps_si256(x);
        let shifted = _mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f2a_aaab));
        let exponent = _mm256_srai_epi32::<23>(shifted);
        let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(exponent));
        (
            _mm256_cvtepi32_ps(exponent),
            _mm256_sub_ps(_mm256_castsi256_ps(m), _mm256_set1_ps(1.0)),
        )
    }
}

/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn split_pd(x: __m256d) -> (__m256d, __m256d) {
    // SAFETY: the caller's promise.
    unsafe {
        let pivot = _mm256_set1_epi64x(0x3fe6_a09e_667f_3bcd);
        let above = _mm256_sub_epi64(_mm256_castpd_si256(x), pivot);
        let biased = _mm256_srli_epi64::<52>(_mm256_add_epi64(
            above,
            _mm256_set1_epi64x(0x3ff0_0000_0000_0000),
        ));
        let two52 = 4_503_599_627_370_496.0;
        let exponent = _mm256_sub_pd(
            _mm256_castsi256_pd(_mm256_or_si256(
                biased,
                _mm256_castpd_si256(_mm256_set1_pd(two52)),
            )),
            _mm256_set1_pd(two52 + 1023.0),
        );
        let mantissa = _mm256_and_si256(above, _mm256_set1_epi64x(0x000f_ffff_ffff_ffff));
        let m = _mm256_castsi256_pd(_mm256_add_epi64(mantissa, pivot));
        (exponent, _mm256_sub_pd(m, _mm256_set1_pd(1.0)))
    }
}

/// The elements with even and with odd places of two registers, in order.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn unzip(a: __m256, b: __m256) -> (__m256, __m256) {
    // SAFETY: the caller's promise.
    unsafe {
        // Pairs 0 1 4 5 2 3 6 7, then in order.
        let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
        let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
        (
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(even)),
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(odd)),
        )
    }
}

/// Four columns of eight rows, given how to load four elements of one.
///
/// # Safety
/// The CPU must have AVX2, and `load` must be sound for every row.
#[inline(always)]
pub(super) unsafe fn transpose_ps(
    rows: *const f32,
    stride: isize,
    load: impl Fn(*const f32) -> __m128,
) -> [__m256; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let upper = opaque(rows);
        let lower = opaque(upper.wrapping_byte_offset(4 * stride));
        let both = |i: isize| {
            let load = |q: *const f32| load(q.wrapping_byte_offset(i * stride));
            _mm256_set_m128(load(lower), load(upper))
        };
        let (a, b, c, d) = (both(0), both(1), both(2), both(3));
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ]
    }
}

/// Four columns, or those of `mask`, of four rows.
///
/// # Safety
/// The CPU must have AVX2, and every row must be readable where `mask` is set.
#[inline(always)]
pub(super) unsafe fn transpose_pd(rows: *const f64, stride: isize, mask: __m256i) -> [__m256d; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let load = |i: isize| _mm256_maskload_pd(rows.wrapping_byte_offset(i * stride), mask);
        let (a, b, c, d) = (load(0), load(1), load(2), load(3));
        let (ab_even, ab_odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        let (cd_even, cd_odd) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
        [
            _mm256_permute2f128_pd::<0x20>(ab_even, cd_even),
            _mm256_permute2f128_pd::<0x20>(ab_odd, cd_odd),
            _mm256_permute2f128_pd::<0x31>(ab_even, cd_even),
            _mm256_permute2f128_pd::<0x31>(ab_odd, cd_odd),
        ]
    }
}

/// [`Lanes::deal`] within a register.
#[inline(always)]
pub(super) fn deal_ps<const DISTANCE: usize>(a: __m256, b: __m256) -> (__m256, __m256) {
    // SAFETY: registers exist, so the CPU has AVX2.
    unsafe {
        match DISTANCE {
            4 => (
                _mm256_permute2f128_ps::<0x20>(a, b),
                _mm256_permute2f128_ps::<0x31>(a, b),
            ),
            2 => (
                _mm256_shuffle_ps::<0b01_00_01_00>(a, b),
                _mm256_shuffle_ps::<0b11_10_11_10>(a, b),
            ),
            _ => (
                _mm256_blend_ps::<0b1010_1010>(a, _mm256_moveldup_ps(b)),
                _mm256_blend_ps::<0b1010_1010>(_mm256_movehdup_ps(a), b),
            ),
        }
    }
}

/// No instruction, but all four registers must be there before any of them is used.
///
/// # Safety
/// The CPU must have AVX.
#[inline]
#[target_feature(enable = "avx")]
pub(super) unsafe fn at_once([mut a, mut b, mut c, mut d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: a comment.
    unsafe {
        asm!(
            "/* {0} {1} {2} {3} */",
            inout(ymm_reg) a, inout(ymm_reg) b, inout(ymm_reg) c, inout(ymm_reg) d,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    [a, b, c, d]
}

/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn widen_bf16(halves: __m128i) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves))) }
}

/// Fewer than 16 elements of 16 bits, completed with `pad`.
///
/// # Safety
/// The CPU must have AVX2; `ptr` must be readable for `len` elements.
#[inline(always)]
pub(super) unsafe fn head_of_halves(ptr: *const u16, len: usize, pad: u16) -> [__m128i; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        if len < 8 {
            [
                head_of_eight(ptr, len, pad),
                _mm_set1_epi16(pad.cast_signed()),
            ]
        } else {
            let low = _mm_loadu_si128(ptr.cast());
            [low, head_of_eight(ptr.add(8), len - 8, pad)]
        }
    }
}

/// Put together in general registers: a vector read from where its pieces have just
/// been written would have to wait for them.
///
/// # Safety
/// As [`head_of_halves`], for `len < 8`.
#[inline(always)]
unsafe fn head_of_eight(ptr: *const u16, len: usize, pad: u16) -> __m128i {
    let fill = u64::from(pad) * 0x0001_0001_0001_0001;
    // SAFETY: the caller vouches for `len` elements; no others are read.
    unsafe {
        let whole = if len & 4 == 0 {
            fill
        } else {
            ptr.cast::<u64>().read_unaligned()
        };
        let rest = ptr.add(len & 4);
        let mut part = fill;
        if len & 2 != 0 {
            part = part >> 32 << 32 | u64::from(rest.cast::<u32>().read_unaligned());
        }
        if len & 1 != 0 {
            let at = (len & 2) * 16;
            let last = u64::from(rest.add(len & 2).read_unaligned());
            part = part & !(0xffff << at) | last << at;
        }
        let (low, high) = if len & 4 == 0 {
            (part, fill)
        } else {
            (whole, part)
        };
        _mm_set_epi64x(high.cast_signed(), low.cast_signed())
    }
}
