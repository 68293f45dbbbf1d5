//! The option of commands that run the reference engine.

use anec_mil::evaluate::{Accumulator, Numerics};
use clap::{Args, ValueEnum};

/// How the reference engine computes.
#[derive(Debug, Args)]
pub struct NumericsArgument {
    /// How the reference engine computes: in f32, or with every result rounded to fp16.
    #[arg(long, value_enum, default_value_t)]
    numerics: NumericsName,
}

impl NumericsArgument {
    /// What was asked for.
    pub(super) fn numerics(&self) -> Numerics {
        self.numerics.into()
    }
}

/// How the reference engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum NumericsName {
    /// Nothing is rounded: is the graph right?
    #[default]
    F32,
    /// Every result is rounded to fp16: will it survive on a device?
    Fp16,
    /// As fp16, and sums of products saturate at 32768. Slow.
    Fp16Saturating,
}

impl From<NumericsName> for Numerics {
    fn from(name: NumericsName) -> Self {
        match name {
            NumericsName::F32 => Self::F32,
            NumericsName::Fp16 => Self::Fp16(Accumulator::F32),
            NumericsName::Fp16Saturating => Self::Fp16(Accumulator::Saturating),
        }
    }
}
