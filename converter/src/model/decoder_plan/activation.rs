//! The activation of the gated MLP.

/// What is applied to the gate before it multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    #[default]
    Silu,
    /// GELU with its distribution function approximated by a hyperbolic tangent.
    GeluTanh,
}

impl Activation {
    /// Its name in config.json.
    pub fn config_name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_pytorch_tanh",
        }
    }
}
