//! Logarithms and exponentials against `std`, and every level against the portable one.

use crate::simd::*;

#[derive(Clone, Copy)]
enum Function {
    /// In nats.
    Log,
    Exp,
    Ln1p,
}

struct Apply<'a, P: Precision>(Function, &'a [P::Elem]);

impl<P: Precision> Op for Apply<'_, P> {
    type Out = Vec<P::Elem>;

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> Self::Out {
        let n = <P::Lanes<I>>::N;
        let mut out = vec![P::Elem::ZERO; self.1.len()];
        assert!(out.len() % n == 0, "whole vectors");
        for (x, out) in self.1.chunks(n).zip(out.chunks_mut(n)) {
            // SAFETY: dispatch vouches for the CPU; N numbers each.
            unsafe {
                let x = <P::Lanes<I>>::load(x.as_ptr());
                let y = match self.0 {
                    Function::Log => P::Elem::log(x),
                    Function::Exp => P::Elem::exp(x),
                    Function::Ln1p => P::Elem::ln_1p(x),
                };
                y.store(out.as_mut_ptr());
            }
        }
        out
    }
}

/// The largest error, relative to the true value, of a function in `f32`.
fn worst_f32(function: Function, xs: &[f32], truth: impl Fn(f64) -> f64) -> f64 {
    let ys = dispatch(Simd::detect(), Apply::<Single>(function, xs));
    let errors = xs.iter().zip(ys).map(|(x, y)| {
        let (want, y) = (truth(f64::from(*x)), f64::from(y));
        (y - want).abs() / if want == 0.0 { 1.0 } else { want.abs() }
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn f32_functions_are_as_accurate_as_the_bounds_assume() {
    // Every number around one, and a sample of all others.
    let near: Vec<f32> = (0x3f00_0000..0x4000_0000).map(f32::from_bits).collect();
    let all: Vec<f32> = (0x0080_0000..0x7f80_0000)
        .step_by(1021)
        .map(f32::from_bits)
        .collect();
    let all = &all[..all.len() / 16 * 16];
    assert!(worst_f32(Function::Log, &near, f64::log2) < 1.7e-6);
    assert!(worst_f32(Function::Log, all, f64::log2) < 1.7e-6);
    let below: Vec<f32> = (0x3300_0000_u32..0x42ae_0000)
        .step_by(64)
        .map(|x| -f32::from_bits(x))
        .collect();
    assert!(worst_f32(Function::Exp, &below, f64::exp) < 2.0 * f64::from(f32::EPSILON));
    let above: Vec<f32> = (0..0x4700_0000).step_by(1024).map(f32::from_bits).collect();
    let above: Vec<f32> = above
        .into_iter()
        .filter(|x| *x == 0.0 || *x > 1e-37)
        .collect();
    let above = &above[..above.len() / 16 * 16];
    assert!(worst_f32(Function::Ln1p, above, f64::ln_1p) < 1.7e-6);
}

fn ulps(a: f64, b: f64) -> u64 {
    a.to_bits().abs_diff(b.to_bits())
}

fn worst_f64(function: Function, xs: &[f64], truth: impl Fn(f64) -> f64) -> u64 {
    let ys = dispatch(Simd::detect(), Apply::<Double>(function, xs));
    let errors = xs.iter().zip(ys).map(|(x, y)| ulps(y, truth(*x)));
    errors.fold(0, u64::max)
}

#[test]
fn f64_functions_are_within_two_ulp() {
    let n = 1 << 20;
    let spread = |low: f64, high: f64| -> Vec<f64> {
        (0..n)
            .map(|i| low + (high - low) * (f64::from(i) + 0.37) / f64::from(n))
            .collect()
    };
    let logs = [spread(0.3, 3.0), spread(0.999, 1.001), spread(1e-300, 1e-3)].concat();
    let logs = [
        logs,
        spread(-700.0, 700.0).into_iter().map(f64::exp2).collect(),
    ]
    .concat();
    assert!(worst_f64(Function::Log, &logs, f64::ln) <= 2);
    let exps = [spread(-708.0, 0.0), spread(-1.0, 0.0), spread(-1e-3, 0.0)].concat();
    assert!(worst_f64(Function::Exp, &exps, f64::exp) <= 2);
    let sums = [spread(0.0, 1.0), spread(0.0, 1e-6), spread(1.0, 2000.0)].concat();
    assert!(worst_f64(Function::Ln1p, &sums, f64::ln_1p) <= 3);
    for base in [2.0, 10.0, std::f64::consts::E, 3.0, 1000.0, 1.000_001] {
        assert!(ulps(math::ln(base), base.ln()) <= 1, "ln {base}");
    }
    assert_eq!(math::ln(1.0).to_bits(), 0);
}

#[test]
fn functions_are_exact_where_scores_rely_on_it() {
    let inf = f32::INFINITY;
    let wide = |head: &[f32], pad: f32| -> Vec<f32> {
        (0..16)
            .map(|i| head.get(i).copied().unwrap_or(pad))
            .collect()
    };
    for simd in Simd::available() {
        let narrow = |function, xs: &[f32]| dispatch(simd, Apply::<Single>(function, xs));
        let double = |function, xs: &[f32]| {
            let xs: Vec<f64> = xs.iter().map(|x| f64::from(*x)).collect();
            dispatch(simd, Apply::<Double>(function, &xs))
        };
        // Logarithms of powers of two; zeros give a finite number.
        let xs = wide(&[1.0, 2.0, 0.5, 0.25, 8.0, 0.0, -0.0], 1.0);
        let ys = narrow(Function::Log, &xs);
        assert_eq!(ys[..5], [0.0, 1.0, -1.0, -2.0, 3.0]);
        assert_eq!(ys[0].to_bits(), 0);
        assert!(ys[5].is_finite() && ys[6].is_finite());
        let ys = double(Function::Log, &xs);
        assert_eq!(ys[0].to_bits(), 0);
        assert!(ys[5].is_finite() && ys[6].is_finite());
        // e^x is 1 at zeros and 0, not a denormal, far below.
        let xs = wide(&[0.0, -0.0, -87.1, -708.5, -1000.0, -1e30, -inf], 0.0);
        let ys = narrow(Function::Exp, &xs);
        assert_eq!(ys[..7], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let ys = double(Function::Exp, &xs);
        assert_eq!(ys[..2], [1.0, 1.0]);
        assert_eq!(ys[3..7], [0.0; 4]);
        assert_eq!(narrow(Function::Ln1p, &[0.0; 16])[0].to_bits(), 0);
        assert_eq!(double(Function::Ln1p, &[0.0; 16])[0].to_bits(), 0);
    }
}

#[test]
fn levels_agree_on_functions() {
    let xs: Vec<f32> = (0..0x7f80_0000)
        .step_by(65_521)
        .map(f32::from_bits)
        .collect();
    let xs = &xs[..xs.len() / 16 * 16];
    for (function, sign) in [
        (Function::Log, 1.0),
        (Function::Exp, -1.0),
        (Function::Ln1p, 1.0),
    ] {
        let narrow: Vec<f32> = xs.iter().map(|x| x * sign).collect();
        let wide: Vec<f64> = narrow
            .iter()
            .map(|x| f64::from(*x) * 1.000_000_001_7)
            .collect();
        let bits = |simd| {
            let narrow = dispatch(simd, Apply::<Single>(function, &narrow))
                .into_iter()
                .map(f32::to_bits);
            let wide = dispatch(simd, Apply::<Double>(function, &wide))
                .into_iter()
                .map(f64::to_bits);
            (narrow.collect::<Vec<_>>(), wide.collect::<Vec<_>>())
        };
        let expected = bits(Simd(Level::Portable));
        for simd in Simd::available() {
            assert!(bits(simd) == expected, "{}", simd.name());
        }
    }
}
