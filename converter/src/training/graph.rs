//! A program under construction: operands cut out of inputs, products, heads, the packed output.

use std::collections::BTreeMap;

use anec_mil::ops::split::Split;
use anec_mil::{BuildError, DataType, Function, FunctionBuilder, SliceMasks, TensorType, Value, Var};
use half::f16;

use super::operands::{Input, Part, WeightForm, inputs};
use super::{Kind, OPSET, TrainingShape};

/// What all programs give.
const OUTPUT: &str = "out";

/// A matrix of an input.
struct Operand {
    /// `[1, rows, columns]` as it lies in the input.
    var: Var,
    transposed: bool,
}

/// A program under construction.
pub(super) struct StepGraph<'a> {
    pub(super) ops: FunctionBuilder,
    pub(super) shape: &'a TrainingShape,
    operands: BTreeMap<&'static str, Operand>,
    /// Inputs that are not cut yet.
    inputs: Vec<(Input, Var)>,
}

/// A length as an int32 constant; sizes were checked.
pub(super) fn int(length: usize) -> i32 {
    i32::try_from(length).expect("longer axes were refused")
}

impl<'a> StepGraph<'a> {
    pub(super) fn new(kind: Kind, shape: &'a TrainingShape, form: WeightForm) -> Self {
        let mut ops = FunctionBuilder::new(OPSET);
        let declare = |input: Input| {
            let lengths = input.shape.map(|length| length as u64);
            let var = ops.input(input.name, TensorType::fixed(DataType::Float16, &lengths));
            (input, var)
        };
        let inputs = inputs(kind, shape, form).into_iter().map(declare).collect();
        Self { ops, shape, operands: BTreeMap::new(), inputs }
    }

    /// Cuts every input into the matrices that it holds.
    fn cut(&mut self) -> Result<(), BuildError> {
        for (input, var) in std::mem::take(&mut self.inputs) {
            for (part, cut) in input.parts.iter().zip(self.cut_input(&input, &var)?) {
                let [rows, columns] = part.stored().map(int);
                let name = format!("{}_matrix", part.name);
                let var = self.ops.reshape(&name, &cut, &[1, rows, columns])?;
                self.operands.insert(part.name, Operand { var, transposed: part.transposed });
            }
        }
        Ok(())
    }

    fn cut_input(&mut self, input: &Input, var: &Var) -> Result<Vec<Var>, BuildError> {
        if input.parts.len() == 1 {
            return Ok(vec![var.clone()]);
        }
        let along = |part: &Part| if input.axis == 1 { part.rows } else { part.stored()[1] };
        let mut start = 0;
        let mut cuts = Vec::with_capacity(input.parts.len());
        for part in &input.parts {
            let (mut begin, mut end) = ([0; 4], input.shape);
            if let (Some(begin), Some(end)) = (begin.get_mut(input.axis), end.get_mut(input.axis)) {
                (*begin, *end) = (start, start + along(part));
            }
            start += along(part);
            let name = format!("{}_part", part.name);
            let masks = SliceMasks::end(&[false; 4]);
            cuts.push(self.ops.slice_by_index(&name, var, &begin.map(int), &end.map(int), &masks)?);
        }
        Ok(cuts)
    }

    /// The matrix of this name, `[1, rows, columns]`, which must not lie transposed.
    pub(super) fn given(&mut self, name: &str) -> Result<Var, BuildError> {
        if !self.inputs.is_empty() {
            self.cut()?;
        }
        let operand = self.operands.get(name).expect("graphs ask for operands of their kind");
        debug_assert!(!operand.transposed, "only weights lie transposed");
        Ok(operand.var.clone())
    }

    /// A weight times activations.
    ///
    /// # Shapes
    /// `x: [1, columns of the weight, sequence]`; the result is `[1, rows of the weight, sequence]`.
    pub(super) fn product(&mut self, name: &str, weight: &str, x: &Var) -> Result<Var, BuildError> {
        if !self.inputs.is_empty() {
            self.cut()?;
        }
        let Operand { var, transposed } = self.operands.get(weight).expect("graphs ask for operands of their kind");
        self.ops.matmul(name, &var.clone(), x, *transposed, false)
    }

    /// RMSNorm over channels times the weight `rw`, as a layer norm over `[x, -x]`, which cannot overflow on squares.
    ///
    /// # Shapes
    /// `x: [1, dim, sequence]`, and so is the result.
    pub(super) fn normalized(&mut self, x: &Var) -> Result<Var, BuildError> {
        let weight = self.given("rw")?;
        let (dim, sequence) = (int(self.shape.dim), int(self.shape.sequence));
        let minus_one = self.ops.constant("norm_minus_one", Value::fp16(f16::NEG_ONE));
        let negated = self.ops.mul("norm_negated", x, &minus_one)?;
        let doubled = self.ops.concat("norm_doubled", &[x, &negated], 1)?;
        let epsilon = f16::from_f64(self.shape.norm_eps).max(f16::MIN_POSITIVE_SUBNORMAL);
        let normed = self.ops.layer_norm("norm_normed", &doubled, &[1], epsilon, None, None)?;
        let masks = SliceMasks::end(&[true, false, true]);
        let half = self.ops.slice_by_index("norm_half", &normed, &[0, 0, 0], &[1, dim, sequence], &masks)?;
        self.ops.mul("xnorm", &half, &weight)
    }

    /// Heads apart.
    ///
    /// # Shapes
    /// `x: [1, dim, sequence]`; the result is `[1, heads, head_dim, sequence]`.
    pub(super) fn heads(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        let TrainingShape { heads, sequence, .. } = *self.shape;
        self.ops.reshape(name, x, &[1, int(heads), int(self.shape.head_dim()), int(sequence)])
    }

    /// Scores of every head side by side again.
    pub(super) fn merged(&mut self, name: &str, x: &Var, channels: usize) -> Result<Var, BuildError> {
        self.ops.reshape(name, x, &[1, int(channels), int(self.shape.sequence)])
    }

    /// `softmax(q k / sqrt(head_dim) + cm)`.
    ///
    /// # Shapes
    /// `q` and `k`: `[1, heads, head_dim, sequence]`; the result is `[1, heads, sequence, sequence]`, queries first.
    pub(super) fn probabilities(&mut self, query: &Var, key: &Var) -> Result<Var, BuildError> {
        let scale = self.scale();
        let scaled = self.ops.mul("query_scaled", query, &scale)?;
        let scores = self.ops.matmul("scores", &scaled, key, true, false)?;
        let mask = self.given("cm")?;
        let masked = self.ops.add("scores_masked", &scores, &mask)?;
        self.ops.softmax("probs", &masked, -1)
    }

    /// `1 / sqrt(head_dim)`.
    #[expect(clippy::cast_precision_loss, reason = "heads are short")]
    pub(super) fn scale(&mut self) -> Var {
        let scale = 1.0 / (self.shape.head_dim() as f64).sqrt();
        self.ops.constant("scale", Value::fp16(f16::from_f64(scale)))
    }

    /// Rotates neighbouring channels of every head by the angles of `cos` and `sin`, or back.
    ///
    /// # Shapes
    /// `x: [1, dim, sequence]`, and so is the result.
    pub(super) fn rotated(&mut self, name: &str, x: &Var, back: bool) -> Result<Var, BuildError> {
        if self.shape.rope_theta.is_none() {
            return Ok(x.clone());
        }
        let TrainingShape { dim, heads, sequence, .. } = *self.shape;
        let half = int(self.shape.head_dim() / 2);
        let (cos, sin) = (self.given("cos")?, self.given("sin")?);
        let pairs = self.ops.reshape(&format!("{name}_pairs"), x, &[int(heads), half, 2, int(sequence)])?;
        let parts = self.ops.split(&format!("{name}_pair"), &pairs, Split::Equal(2), 2)?;
        let [first, second] = [0, 1].map(|index| parts.get(index).cloned().expect("a split in two"));
        let flat = [int(heads), half, int(sequence)];
        let first = self.ops.reshape(&format!("{name}_first"), &first, &flat)?;
        let second = self.ops.reshape(&format!("{name}_second"), &second, &flat)?;
        let mut times = |suffix: &str, x: &Var, y: &Var| self.ops.mul(&format!("{name}_{suffix}"), x, y);
        let (first_cos, second_sin) = (times("first_cos", &first, &cos)?, times("second_sin", &second, &sin)?);
        let (first_sin, second_cos) = (times("first_sin", &first, &sin)?, times("second_cos", &second, &cos)?);
        let (first, second) = if back {
            let first = self.ops.add(&format!("{name}_turned_first"), &first_cos, &second_sin)?;
            (first, self.ops.sub(&format!("{name}_turned_second"), &second_cos, &first_sin)?)
        } else {
            let first = self.ops.sub(&format!("{name}_turned_first"), &first_cos, &second_sin)?;
            (first, self.ops.add(&format!("{name}_turned_second"), &first_sin, &second_cos)?)
        };
        let apart = [int(heads), half, 1, int(sequence)];
        let first = self.ops.reshape(&format!("{name}_first_apart"), &first, &apart)?;
        let second = self.ops.reshape(&format!("{name}_second_apart"), &second, &apart)?;
        let together = self.ops.concat(&format!("{name}_together"), &[&first, &second], 2)?;
        self.ops.reshape(name, &together, &[1, int(dim), int(sequence)])
    }

    /// One output of all results, one after the other along the channels.
    ///
    /// # Shapes
    /// Each is `[1, channels, sequence]`; the result is `[1, all channels, 1, sequence]`.
    pub(super) fn packed(&mut self, results: &[&Var], channels: usize) -> Result<Var, BuildError> {
        let together = match results {
            [only] => (*only).clone(),
            several => self.ops.concat("out_channels", several, 1)?,
        };
        self.ops.reshape(OUTPUT, &together, &[1, int(channels), 1, int(self.shape.sequence)])
    }

    pub(super) fn finish(self, output: &Var) -> Function {
        self.ops.finish(&[output])
    }
}
