//! Logarithms and exponentials over lanes, in `f32` and `f64`.
//!
//! Every level runs these very operations, so there is no better or worse
//! polynomial on any machine. The coefficients are minimax fits for the reduced
//! ranges given, rounded to the working precision; the tests hold them against a
//! correctly rounded oracle.

use super::Lanes;
use crate::element::Element;

/// The two types that arithmetic is done in.
pub(crate) trait Real: Element + PartialOrd + Default {
    /// What [`Real::log`] counts in, in nats: `ln 2` (so base 2) or 1.
    const LOG_UNIT: f64;
    /// `ln(1 - a)` is computed from `-a` below this, from `1 - 2a` above: both
    /// exact, and in the range of the polynomial.
    const SPLIT: f64;

    /// The nearest number of this type.
    fn of(x: f64) -> Self;
    /// The largest number of this type that is not above `x`.
    fn at_most(x: f64) -> Self;
    /// The logarithm of `2^e * (1 + r)`, as [`Lanes::split`] gives them, in
    /// `LOG_UNIT`s.
    fn log_of_parts<V: Lanes<Elem = Self>>(e: V, r: V) -> V;
    /// `e^x` for `x <= 0`: exactly 1 at 0, exactly 0 where the result would not be
    /// a normal number. Anything may come of a NaN.
    fn exp<V: Lanes<Elem = Self>>(x: V) -> V;

    /// The logarithm of `x` in `LOG_UNIT`s, for normal `x > 0`; finite at zero, so
    /// that `0 * log(0)` is 0.
    #[inline(always)]
    fn log<V: Lanes<Elem = Self>>(x: V) -> V {
        let (e, r) = x.split();
        Self::log_of_parts(e, r)
    }

    /// [`Real::log`] of two vectors, step by step side by side: a chain of fused
    /// steps alone would leave most of the CPU waiting.
    #[inline(always)]
    fn log_both<V: Lanes<Elem = Self>>(a: V, b: V) -> (V, V) {
        (Self::log(a), Self::log(b))
    }

    /// `ln(1 + x)` in nats for `x >= 0`, also where `1 + x` rounds.
    #[inline(always)]
    fn ln_1p<V: Lanes<Elem = Self>>(x: V) -> V {
        let one = x.splat(Self::of(1.0));
        let u = x.add(one);
        let lost = x.sub(u.sub(one));
        let log = Self::log(u).mul(x.splat(Self::of(Self::LOG_UNIT)));
        log.add(lost.div(u))
    }
}

/// Horner's rule with fused steps, highest power first.
#[inline(always)]
fn polynomial<V: Lanes, const N: usize>(x: V, coefficients: [V::Elem; N]) -> V {
    let mut sum = x.splat(coefficients[0]);
    for c in &coefficients[1..] {
        sum = sum.fma(x, x.splat(*c));
    }
    sum
}

/// `log2(1 + r) / r` for `1 + r` in [2/3, 4/3).
const LOG2: [f32; 7] = [
    0.246_249_24,
    -0.279_900_07,
    0.285_675_26,
    -0.358_404_22,
    0.480_962_63,
    -0.721_379_34,
    1.442_694_8,
];

/// [`polynomial`] of two vectors, abreast.
#[inline(always)]
fn polynomials<V: Lanes, const N: usize>(a: V, b: V, coefficients: [V::Elem; N]) -> (V, V) {
    let first = a.splat(coefficients[0]);
    let (mut p, mut q) = (first, first);
    for c in &coefficients[1..] {
        let c = a.splat(*c);
        (p, q) = V::abreast(p.fma(a, c), q.fma(b, c));
    }
    (p, q)
}

impl Real for f32 {
    const LOG_UNIT: f64 = std::f64::consts::LN_2;
    const SPLIT: f64 = 1.0 / 3.0;

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounding is the point")]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn at_most(x: f64) -> Self {
        let near = Self::of(x);
        if f64::from(near) > x {
            near.next_down()
        } else {
            near
        }
    }

    /// `e + r Q(r)`: relative error 1.7e-6, so that nearly one-hot rows are as
    /// accurate as all others.
    #[inline(always)]
    fn log_of_parts<V: Lanes<Elem = Self>>(e: V, r: V) -> V {
        r.fma(polynomial(r, LOG2), e)
    }

    #[inline(always)]
    fn log_both<V: Lanes<Elem = Self>>(a: V, b: V) -> (V, V) {
        let ((ea, ra), (eb, rb)) = (a.split(), b.split());
        let (qa, qb) = polynomials(ra, rb, LOG2);
        (ra.fma(qa, ea), rb.fma(qb, eb))
    }

    /// Within 2 ulp.
    #[inline(always)]
    fn exp<V: Lanes<Elem = Self>>(x: V) -> V {
        let log2_e = x.splat(std::f32::consts::LOG2_E);
        let magic = x.splat(12_582_912.0);
        let shifter = x.fma(log2_e, magic);
        let n = magic.sub(shifter);
        let r = n.fma(x.splat(std::f32::consts::LN_2), x);
        let r = n.fma(x.splat(-1.904_654_2e-9), r);
        let p = polynomial(
            r,
            [
                0.008_289_582,
                0.041_897_822,
                0.166_676_49,
                0.499_991_5,
                0.999_999_7,
                1.0,
            ],
        );
        V::select(x.lt(x.splat(-87.0)), x.splat(0.0), p.scale(shifter))
    }
}

/// `(2 atanh(s) - 2 s) / s^3` in `s^2`, for `s = r / (2 + r)`, `1 + r` in [√½, √2).
const ATANH: [f64; 7] = [
    0.147_953_643_053_686_97,
    0.153_141_108_266_164_45,
    0.181_835_618_904_331_6,
    0.222_221_986_218_821_94,
    0.285_714_287_418_906_3,
    0.399_999_999_994_170_5,
    0.666_666_666_666_673_4,
];

/// `e ln 2 + ln(1 + r)`, the parts combined so that the leading one, `r`, is exact.
#[inline(always)]
fn finish_ln<V: Lanes<Elem = f64>>(e: V, r: V, s: V, z: V, p: V) -> V {
    let zero = r.splat(0.0);
    let q = zero.sub(z).fma(p, r);
    let low = e.mul(r.splat(-2.319_046_813_846_299_6e-17));
    let u = s.fma(q, low);
    e.fma(r.splat(std::f64::consts::LN_2), r.sub(u))
}

impl Real for f64 {
    const LOG_UNIT: f64 = 1.0;
    const SPLIT: f64 = 0.292_893_2;

    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn at_most(x: f64) -> Self {
        x
    }

    /// Within 1 ulp: `ln(1 + r) = 2 atanh(s)`, `s = r / (2 + r)`.
    #[inline(always)]
    fn log_of_parts<V: Lanes<Elem = Self>>(e: V, r: V) -> V {
        let s = r.div(r.add(r.splat(2.0)));
        let z = s.mul(s);
        finish_ln(e, r, s, z, polynomial(z, ATANH))
    }

    #[inline(always)]
    fn log_both<V: Lanes<Elem = Self>>(a: V, b: V) -> (V, V) {
        let ((ea, ra), (eb, rb)) = (a.split(), b.split());
        let two = a.splat(2.0);
        let (sa, sb) = (ra.div(ra.add(two)), rb.div(rb.add(two)));
        let (za, zb) = (sa.mul(sa), sb.mul(sb));
        let (pa, pb) = polynomials(za, zb, ATANH);
        (finish_ln(ea, ra, sa, za, pa), finish_ln(eb, rb, sb, zb, pb))
    }

    /// Within 1 ulp.
    #[inline(always)]
    fn exp<V: Lanes<Elem = Self>>(x: V) -> V {
        let log2_e = x.splat(std::f64::consts::LOG2_E);
        let magic = x.splat(6_755_399_441_055_744.0);
        let shifter = x.fma(log2_e, magic);
        let n = magic.sub(shifter);
        let r = n.fma(x.splat(std::f64::consts::LN_2), x);
        let r = n.fma(x.splat(2.319_046_813_846_299_6e-17), r);
        let p = polynomial(
            r,
            [
                2.500_724_284_305_763e-8,
                2.763_019_459_988_238e-7,
                2.755_755_839_505_312_7e-6,
                2.480_149_317_166_739e-5,
                1.984_126_954_633_878_6e-4,
                1.388_888_894_369_967_6e-3,
                8.333_333_333_470_175e-3,
                4.166_666_666_652_88e-2,
                0.166_666_666_666_664_66,
                0.500_000_000_000_001_1,
                1.0,
                1.0,
            ],
        );
        V::select(x.lt(x.splat(-708.0)), x.splat(0.0), p.scale(shifter))
    }
}

/// The natural logarithm of one number, the same on every machine (the standard
/// library's differs between them).
pub(crate) fn ln(x: f64) -> f64 {
    // SAFETY: the portable level needs nothing of the CPU.
    let v = unsafe { <super::portable::Portable as super::Isa>::F64::new(x) };
    let mut lanes = [0.0; 8];
    // SAFETY: room for 8 lanes.
    unsafe { <f64 as Real>::log(v).store(lanes.as_mut_ptr()) };
    lanes[0]
}
