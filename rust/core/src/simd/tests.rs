//! The risk: a level that computes other bits than the rest, or a function that
//! is less accurate than the bounds of the screening pass assume.
//!
//! The portable level is the oracle of every other one; plain Rust and `std` are
//! the oracles of the portable one.

use std::fmt::Debug;
use std::marker::PhantomData;

use proptest::prelude::*;

use super::*;

mod functions;

/// The bits of all lanes: of the number itself, so that `f32` and `f64` share tests.
#[inline(always)]
fn bits_of<V: Lanes>(v: V) -> Vec<u64> {
    lanes_of(v).iter().map(|x| x.to_f64().to_bits()).collect()
}

#[inline(always)]
fn lanes_of<V: Lanes>(v: V) -> Vec<V::Elem> {
    let mut lanes = vec![V::Elem::ZERO; V::N];
    // SAFETY: room for N lanes.
    unsafe { v.store(lanes.as_mut_ptr()) };
    lanes
}

/// Whatever NaN arithmetic makes is one NaN; the sign and payload of a NaN are no
/// part of the contract.
fn one_nan(mut bits: Vec<u64>) -> Vec<u64> {
    for x in &mut bits {
        if f64::from_bits(*x).is_nan() {
            *x = f64::NAN.to_bits();
        }
    }
    bits
}

/// Numbers that operations may treat in a special way.
const SPECIAL: [f64; 16] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    -f64::NAN,
    1e-40, // denormal in f32
    -1e-40,
    3e38,
    -3e38,
    0.5,
    1.5,
    0.666_666_7,
    1.333_333_3,
];

type Named = Vec<(&'static str, Vec<u64>)>;

/// All operations on three vectors.
struct Operations<P: Precision>([Vec<P::Elem>; 3]);

impl<P: Precision> Op for Operations<P> {
    type Out = Named;

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> Named {
        let [a, b, c] = &self.0;
        assert!([a, b, c].iter().all(|v| v.len() == <P::Lanes<I>>::N));
        // SAFETY: dispatch vouches for the CPU, the assertion for the lengths.
        let [a, b, c] =
            unsafe { [a, b, c].map(|v| -> P::Lanes<I> { <P::Lanes<I>>::load(v.as_ptr()) }) };
        let arithmetic = [
            ("add", a.add(b)),
            ("sub", a.sub(b)),
            ("mul", a.mul(b)),
            ("div", a.div(b)),
            ("fma", a.fma(b, c)),
        ];
        let mask = a.lt(b);
        let moves = [
            ("load", a),
            ("splat", a.splat(self.0[1][0])),
            ("max", a.max(b)),
            ("min", a.min(b)),
            ("or", a.or(b)),
            ("abs", a.abs()),
            ("select", <P::Lanes<I>>::select(mask, b, c)),
            ("swap 1", a.swap::<1>()),
            ("swap 2", a.swap::<2>()),
            ("swap 4", a.swap::<4>()),
        ];
        let mut out: Named = Vec::new();
        out.extend(arithmetic.map(|(name, v)| (name, one_nan(bits_of(v)))));
        out.extend(moves.map(|(name, v)| (name, bits_of(v))));
        let mut push_two = |names: [&'static str; 2], (x, y): (P::Lanes<I>, P::Lanes<I>)| {
            out.push((names[0], bits_of(x)));
            out.push((names[1], bits_of(y)));
        };
        push_two(["abreast a", "abreast b"], <P::Lanes<I>>::abreast(a, b));
        push_two(["near 1", "far 1"], a.deal::<1>(b));
        push_two(["near 2", "far 2"], a.deal::<2>(b));
        push_two(["near 4", "far 4"], a.deal::<4>(b));
        if <P::Lanes<I>>::N == 16 {
            push_two(["near 8", "far 8"], a.deal::<8>(b));
            out.push(("swap 8", bits_of(a.swap::<8>())));
        }
        let bits = <P::Lanes<I>>::bits(mask);
        out.push(("lt", vec![bits.into()]));
        out.push(("sign_bits", vec![a.sign_bits().into()]));
        out
    }
}

fn assert_operations_agree<P: Precision>(inputs: [&[P::Elem]; 3]) {
    let run = |simd| dispatch(simd, Operations::<P>(inputs.map(<[_]>::to_vec)));
    let expected = run(Simd(Level::Portable));
    for simd in Simd::available() {
        for (got, want) in run(simd).iter().zip(&expected) {
            assert_eq!(got, want, "{} at {}", want.0, simd.name());
        }
    }
}

/// Every special number meets every other in every lane.
fn special_numbers_agree<P: Precision>(n: usize)
where
    P::Elem: Debug,
{
    let take = |shift: usize| -> Vec<P::Elem> {
        (0..n)
            .map(|i| P::Elem::of(SPECIAL[(i + shift) % 16]))
            .collect()
    };
    for shift in 0..256 {
        let (a, b) = (take(shift % 16), take(shift / 16));
        assert_operations_agree::<P>([&a, &b, &take(5)]);
    }
}

#[test]
fn levels_agree_on_special_numbers() {
    special_numbers_agree::<Single>(16);
    special_numbers_agree::<Double>(8);
}

proptest! {
    #[test]
    fn levels_agree_on_any_bits(bits in prop::array::uniform32(any::<u64>())) {
        let f32s: Vec<f32> = bits.iter().flat_map(|x| [*x as u32, (x >> 32) as u32]).map(f32::from_bits).collect();
        assert_operations_agree::<Single>([&f32s[..16], &f32s[16..32], &f32s[32..48]]);
        let f64s = bits.map(f64::from_bits);
        assert_operations_agree::<Double>([&f64s[..8], &f64s[8..16], &f64s[16..24]]);
    }
}

#[test]
fn portable_operations_are_what_they_say() {
    let nan = f64::NAN;
    let a = vec![1.0, nan, 2.0, 0.0, -0.0, -3.0, f64::INFINITY, 4.0];
    let b = vec![2.0, 1.0, nan, -0.0, 0.0, -3.0, f64::NEG_INFINITY, -4.0];
    let c = vec![10., 11., 12., 13., 14., 15., 16., 17.];
    let got = dispatch(
        Simd(Level::Portable),
        Operations::<Double>([a.clone(), b.clone(), c.clone()]),
    );
    let is = |name: &str, want: &[f64]| {
        let (_, bits) = got.iter().find(|(n, _)| *n == name).expect("an operation");
        let want: Vec<u64> = want.iter().map(|x| x.to_bits()).collect();
        assert_eq!(*bits, want, "{name}");
    };
    // Where either is NaN, or both are zeros, the second operand.
    is("max", &[2.0, 1.0, nan, -0.0, 0.0, -3.0, f64::INFINITY, 4.0]);
    is(
        "min",
        &[1.0, 1.0, nan, -0.0, 0.0, -3.0, f64::NEG_INFINITY, -4.0],
    );
    is("select", &[2.0, 11., 12., 13., 14., 15., 16., 17.]);
    is("abs", &[1.0, nan, 2.0, 0.0, 0.0, 3.0, f64::INFINITY, 4.0]);
    is("splat", &[2.0; 8]);
    for (name, distance) in [("swap 1", 1), ("swap 2", 2), ("swap 4", 4)] {
        let swapped: Vec<f64> = (0..8).map(|i| a[i ^ distance]).collect();
        is(name, &swapped);
    }
    is("abreast a", &a);
    is("abreast b", &b);
    is("near 2", &[a[0], a[1], b[0], b[1], a[4], a[5], b[4], b[5]]);
    is("far 2", &[a[2], a[3], b[2], b[3], a[6], a[7], b[6], b[7]]);
    is("near 1", &[a[0], b[0], a[2], b[2], a[4], b[4], a[6], b[6]]);
    is("far 4", &[a[4], a[5], a[6], a[7], b[4], b[5], b[6], b[7]]);
    let fused: Vec<f64> = (0..8).map(|i| a[i].mul_add(b[i], c[i])).collect();
    is(
        "fma",
        &fused
            .iter()
            .map(|x| if x.is_nan() { nan } else { *x })
            .collect::<Vec<_>>(),
    );
    assert!(got.contains(&("lt", vec![0b0000_0001])));
    assert!(got.contains(&("sign_bits", vec![0b0011_0000])));
}

/// `split`, and `scale` by -30, on a long list.
struct SplitScale<P: Precision>(Vec<P::Elem>, P::Elem);

impl<P: Precision> Op for SplitScale<P> {
    type Out = [Vec<P::Elem>; 3];

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> Self::Out {
        let mut out = [const { Vec::new() }; 3];
        for x in self.0.chunks_exact(<P::Lanes<I>>::N) {
            // SAFETY: dispatch vouches for the CPU, the chunk holds N.
            let x: P::Lanes<I> = unsafe { <P::Lanes<I>>::load(x.as_ptr()) };
            let (e, r) = x.split();
            for (out, v) in out.iter_mut().zip([e, r, x.scale(x.splat(self.1))]) {
                out.extend(lanes_of(v));
            }
        }
        out
    }
}

fn split_is_exact<P: Precision>(numbers: &[P::Elem], magic: f64, range: (f64, f64)) {
    let run = |simd| {
        dispatch(
            simd,
            SplitScale::<P>(numbers.to_vec(), P::Elem::of(magic - 30.0)),
        )
    };
    let portable = run(Simd(Level::Portable));
    for simd in Simd::available() {
        for (got, want) in run(simd).iter().flatten().zip(portable.iter().flatten()) {
            assert_eq!(
                got.to_f64().to_bits(),
                want.to_f64().to_bits(),
                "{}",
                simd.name()
            );
        }
    }
    for (i, x) in numbers.iter().map(|x| x.to_f64()).enumerate() {
        let [e, r, scaled] = portable.each_ref().map(|v| v[i].to_f64());
        assert!(e.is_finite() && r.is_finite(), "{x}: {e} {r}");
        // Normal in the type (its smallest normal number is far below 1e-37).
        if x > 1e-37 {
            assert_eq!((1.0 + r) * 2.0_f64.powi(e as i32), x);
            assert!(range.0 <= 1.0 + r && 1.0 + r < range.1, "{x}: {r}");
            if x > 1e-20 {
                assert_eq!(scaled, x * 2.0_f64.powi(-30));
            }
        }
    }
}

#[test]
fn split_is_exact_for_positive_numbers_and_finite_for_zeros() {
    let mut f32s: Vec<f32> = (0..0x7f80_0000).step_by(9973).map(f32::from_bits).collect();
    f32s.extend([0.0, -0.0, f32::MIN_POSITIVE, f32::MAX, 1.0]);
    f32s.extend([0x3faa_aaaa, 0x3faa_aaab, 0x3f2a_aaab, 0x3f2a_aaaa].map(f32::from_bits));
    f32s.resize(f32s.len().next_multiple_of(16), 1.0);
    let third = 1.0 / 3.0 + 1e-7;
    split_is_exact::<Single>(&f32s, 12_582_912.0, (1.0 - third, 1.0 + third));

    let mut f64s: Vec<f64> = f32s
        .iter()
        .map(|x| f64::from(*x) * 1.000_000_000_123)
        .collect();
    f64s.extend([
        0.0,
        -0.0,
        1.0,
        5e-324,
        1e-310,
        2.0_f64.sqrt(),
        0.5_f64.sqrt(),
        1e300,
    ]);
    f64s.resize(f64s.len().next_multiple_of(8), 1.0);
    let root = 2.0_f64.sqrt() + 1e-15;
    split_is_exact::<Double>(&f64s, 6_755_399_441_055_744.0, (1.0 / root, root));
}

/// `width` columns of `N` rows, pairs, and the same numbers as `f64`.
struct Columns<P>(usize, PhantomData<P>);

impl<P: Precision> Op for Columns<P> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let (n, width) = (<P::Lanes<I>>::N, self.0);
        let number = |row: usize, col: usize| P::Elem::of((row * 100 + col + 1) as f64);
        // The last row ends where the allocation does.
        let step = width + 3;
        let rows: Box<[P::Elem]> = (0..(n - 1) * step + width)
            .map(|at| number(at / step, at % step))
            .collect();
        let stride = (step * size_of::<P::Elem>()).cast_signed();
        // SAFETY: dispatch vouches for the CPU; rows are long enough.
        let columns = unsafe { <P::Lanes<I>>::four_columns(rows.as_ptr(), stride, width) };
        for (col, column) in columns.into_iter().take(width).enumerate() {
            for (row, x) in lanes_of(column).into_iter().enumerate() {
                assert!(x == number(row, col), "row {row} col {col} of {width}");
            }
        }
        let pairs: Vec<P::Elem> = (0..2 * n).map(|i| number(0, i)).collect();
        // SAFETY: as above, for 2 N numbers.
        let (first, second) = unsafe { <P::Lanes<I>>::load_pairs(pairs.as_ptr()) };
        let unzipped = lanes_of(first).into_iter().zip(lanes_of(second));
        assert!(unzipped.eq(pairs.chunks(2).map(|pair| (pair[0], pair[1]))));
        let [low, high] = first.widen();
        let wide = lanes_of(low).into_iter().chain(lanes_of(high));
        assert!(
            wide.take(n)
                .eq(lanes_of(first).into_iter().map(Element::to_f64))
        );
    }
}

#[test]
fn columns_and_pairs_become_lanes() {
    for simd in Simd::available() {
        for width in 1..=4 {
            dispatch(simd, Columns::<Single>(width, PhantomData));
            dispatch(simd, Columns::<Double>(width, PhantomData));
        }
    }
}

/// Loads whole vectors from an odd address, then heads of every length.
struct Loads<'a, P, E>(&'a [E], PhantomData<P>);

impl<P: Precision, E: LoadAs<P>> Op for Loads<'_, P, E> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let n = <P::Lanes<I>>::N;
        let size = size_of_val(self.0);
        let mut bytes = vec![0_u8; size + 1];
        // SAFETY: room for all elements behind the first byte.
        unsafe {
            std::ptr::copy_nonoverlapping(self.0.as_ptr().cast(), bytes[1..].as_mut_ptr(), size);
        };
        let same = |v: P::Lanes<I>, want: &mut dyn Iterator<Item = E>| {
            for (got, want) in lanes_of(v).into_iter().zip(want) {
                let (got, want) = (got.to_f64(), want.to_f64());
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{got} {want}"
                );
            }
        };
        for at in (0..self.0.len()).step_by(n) {
            // SAFETY: dispatch vouches for the CPU, the length is a multiple of N.
            let v = unsafe { E::load::<I>(bytes.as_ptr().add(1).cast::<E>().wrapping_add(at)) };
            same(v, &mut self.0[at..at + n].iter().copied());
        }
        for len in 0..n {
            let head: Box<[E]> = self.0[..len].into();
            for pad in [E::ZERO, E::LOWEST] {
                // SAFETY: as above, for len elements.
                let v = unsafe { E::load_head::<I>(head.as_ptr(), len, pad) };
                same(v, &mut head.iter().copied().chain(std::iter::repeat(pad)));
            }
        }
    }
}

fn assert_loads<P: Precision, E: LoadAs<P>>(elements: &[E]) {
    for simd in Simd::available() {
        dispatch(simd, Loads::<P, E>(elements, PhantomData));
    }
}

#[test]
fn elements_are_loaded_exactly() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    assert_loads::<Single, f16>(
        &halves
            .iter()
            .map(|x| f16::from_bits(*x))
            .collect::<Vec<_>>(),
    );
    assert_loads::<Single, bf16>(
        &halves
            .iter()
            .map(|x| bf16::from_bits(*x))
            .collect::<Vec<_>>(),
    );
    let f32s: Vec<f32> = (0..1 << 16).map(|x| f32::from_bits(x * 65_521)).collect();
    assert_loads::<Single, f32>(&f32s);
    assert_loads::<Double, f32>(&f32s);
    assert_loads::<Double, f64>(&f32s.iter().map(|x| f64::from(*x) / 3.0).collect::<Vec<_>>());
}

#[test]
fn levels_are_found_by_name() {
    let levels = Simd::available();
    assert_eq!(levels[0].name(), "portable");
    assert_eq!(levels.last(), Some(&Simd::detect()));
    for simd in levels {
        assert!(Simd::NAMES.contains(&simd.name()));
        assert_eq!(Simd::named(simd.name()), Some(simd));
    }
    assert_eq!(Simd::named("sse9"), None);
}
