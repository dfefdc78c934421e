//! The four element types that a pool may hold, and their tolerances.

pub use half::{bf16, f16};

/// A floating-point type that rows may be made of.
///
/// Sealed: kernels exist for these four types alone.
pub trait Element: Copy + Send + Sync + private::Sealed + 'static {
    /// The tag of this type.
    const KIND: ElementKind;
    /// Zero, the value that completes a short vector of probabilities.
    const ZERO: Self;
    /// Minus infinity, the value that completes a short vector of logits.
    const LOWEST: Self;

    /// The value, exactly.
    fn to_f64(self) -> f64;
}

/// The tag of an [`Element`] type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementKind {
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl ElementKind {
    /// Bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// How far from one the sum of a row of probabilities may be.
    ///
    /// Wide enough for a softmax over thousands of classes that was computed in
    /// this type or rounded to it, and far too narrow for logits or counts. `f64`
    /// allows for values that were once `f32`.
    #[must_use]
    pub const fn sum_tolerance(self) -> f64 {
        match self {
            Self::F16 => 5e-3,
            Self::Bf16 => 2e-2,
            Self::F32 => 1e-3,
            Self::F64 => 1e-5,
        }
    }
}

macro_rules! element {
    ($type:ty, $kind:ident, $zero:expr, $lowest:expr, |$x:ident| $wide:expr) => {
        impl Element for $type {
            const KIND: ElementKind = ElementKind::$kind;
            const ZERO: Self = $zero;
            const LOWEST: Self = $lowest;

            #[inline(always)]
            fn to_f64(self) -> f64 {
                let $x = self;
                $wide
            }
        }
        impl private::Sealed for $type {}
    };
}

element!(f16, F16, f16::ZERO, f16::NEG_INFINITY, |x| x.to_f64());
element!(bf16, Bf16, bf16::ZERO, bf16::NEG_INFINITY, |x| x.to_f64());
element!(f32, F32, 0.0, f32::NEG_INFINITY, |x| f64::from(x));
element!(f64, F64, 0.0, f64::NEG_INFINITY, |x| x);

mod private {
    pub trait Sealed {}
}
