//! Programs of a training step: shapes as published, lint, text, and both forms of weights.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;

use anec_converter::training::{self, Input, Kind, Part, TrainingShape, WeightForm};
use anec_mil::blob::BlobError;
use anec_mil::compiled::loose_text;
use anec_mil::evaluate::{EvaluableFunction, Numerics, State, Tensor, WeightSource};
use anec_mil::rules::{self, Conditions, Severity, Subject};
use anec_mil::text::{self, TextVersion};
use anec_mil::{BlobReference, DataType, TensorType};

/// What maderix/ANE's pull request 18 declares of Stories110M: name, inputs with their axes, channels of the output.
const PUBLISHED: [(&str, &str, u64); 6] = [
    (
        "fwdAttn",
        "x [1, 768, 1, 256]; rw [1, 768, 1, 1]; Wq [768, 768, 1, 1]; Wk [768, 768, 1, 1]; Wv [768, 768, 1, 1]; \
         Wo [768, 768, 1, 1]; cm [1, 1, 256, 256]",
        4608,
    ),
    (
        "fwdFFN",
        "x [1, 768, 1, 256]; rw [1, 768, 1, 1]; W1 [2048, 768, 1, 1]; W2 [768, 2048, 1, 1]; W3 [2048, 768, 1, 1]",
        7680,
    ),
    ("ffnBwd", "x [1, 4864, 1, 256]; W1t [768, 2048, 1, 1]; W2t [2048, 768, 1, 1]; W3t [768, 2048, 1, 1]", 4864),
    ("sdpaBwd1", "x [1, 3072, 1, 256]; Wot [768, 768, 1, 1]; cm [1, 1, 256, 256]", 6912),
    ("sdpaBwd2", "x [1, 7680, 1, 256]", 1536),
    ("qkvBwd", "x [1, 2304, 1, 256]; Wqt [768, 768, 1, 1]; Wkt [768, 768, 1, 1]; Wvt [768, 768, 1, 1]", 768),
];

#[test]
fn stories110m_has_the_published_shapes() {
    let shape = TrainingShape::STORIES_110M;
    for (kind, (name, inputs, channels)) in Kind::ALL.into_iter().zip(PUBLISHED) {
        assert_eq!(kind.name(), name);
        let found = training::inputs(kind, &shape, WeightForm::Inputs);
        let found: Vec<String> = found.iter().map(|input| format!("{} {:?}", input.name, input.shape)).collect();
        assert_eq!(found.join("; "), inputs, "{kind}");
        let program = training::program(kind, &shape, WeightForm::Inputs).unwrap();
        let function = &program.functions["main"];
        let output = function.block.operations.iter().flat_map(|operation| &operation.outputs).last().unwrap();
        let output = output.ty.as_tensor().unwrap();
        assert_eq!(output.fixed_shape().unwrap(), [1, channels, 1, 256], "{kind}");
        let declared: Vec<&str> = function.inputs.iter().map(|input| input.name.as_str()).collect();
        let expected: Vec<&str> = inputs.split("; ").map(|input| input.split_once(' ').unwrap().0).collect();
        assert_eq!(declared, expected, "{kind}: in the order of declaration");
    }
}

#[test]
fn programs_of_the_full_size_lint_without_an_error_and_come_back_from_their_text() {
    let with_rope = TrainingShape { rope_theta: Some(10_000.0), ..TrainingShape::STORIES_110M };
    for shape in [TrainingShape::STORIES_110M, with_rope] {
        for form in [WeightForm::Inputs, WeightForm::Packed] {
            for kind in Kind::ALL {
                let model = training::model(kind, &shape, form).unwrap();
                let subject = Subject {
                    program: &model.program,
                    description: Some(&model.description),
                    weight_file_bytes: None,
                    constants: None,
                };
                let findings = rules::lint(subject, &Conditions::GENERIC);
                let errors: Vec<String> = findings
                    .iter()
                    .filter(|finding| finding.severity == Severity::Error)
                    .map(|finding| format!("{finding:?}"))
                    .collect();
                assert!(errors.is_empty(), "{kind} {form:?}: {errors:#?}");
                let text = loose_text(&model.program, TextVersion::V1_3).unwrap();
                let again = text::parse(&text).unwrap().program;
                assert_eq!(loose_text(&again, TextVersion::V1_3).unwrap(), text, "{kind} {form:?}");
            }
        }
    }
}

#[test]
fn no_weight_is_consumed_by_a_convolution() {
    for form in [WeightForm::Inputs, WeightForm::Packed] {
        for kind in Kind::ALL {
            let program = training::program(kind, &TrainingShape::STORIES_110M, form).unwrap();
            let operations = &program.functions["main"].block.operations;
            assert!(operations.iter().all(|operation| operation.op != "conv" && operation.op != "linear"), "{kind}");
        }
    }
}

/// Programs without weights need none.
struct NoWeights;

impl WeightSource for NoWeights {
    fn blob(&self, _: &BlobReference, _: &TensorType) -> Result<std::sync::Arc<Vec<u8>>, BlobError> {
        panic!("weights are inputs")
    }
}

const SMALL: TrainingShape = TrainingShape {
    dim: 32,
    hidden: 48,
    heads: 4,
    layers: 1,
    sequence: 16,
    vocabulary: 64,
    norm_eps: 1e-5,
    rope_theta: Some(10_000.0),
};

/// The elements of a matrix, the same in every form: from its name and place alone.
fn element(name: &str, row: usize, column: usize) -> f32 {
    if name == "cm" {
        return if column > row { training::MASKED } else { 0.0 };
    }
    let mut state = name.bytes().fold(17_u32, |state, byte| state.wrapping_mul(31).wrapping_add(u32::from(byte)));
    state = state.wrapping_add(u32::try_from(row * 4096 + column).unwrap()).wrapping_mul(2_654_435_761);
    state ^= state >> 15;
    state = state.wrapping_mul(2_246_822_519);
    state ^= state >> 13;
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
    let unit = (state >> 8) as f32 / 16_777_216.0;
    (unit - 0.5) * if name.starts_with('W') { 0.3 } else { 1.0 }
}

fn fill(input: &Input) -> Tensor {
    let mut elements = vec![0.0; input.count()];
    let width = input.shape[3] * input.shape[2];
    let mut start = 0;
    for part in &input.parts {
        let Part { name, rows, columns, transposed } = *part;
        for row in 0..rows {
            for column in 0..columns {
                let (at_row, at_column) = if transposed { (column, row) } else { (row, column) };
                let place = match (input.parts.len(), input.axis) {
                    (1, _) => row * columns + column,
                    (_, 1) => (start + at_row) * width + at_column,
                    _ => at_row * input.shape[3] + start + at_column,
                };
                elements[place] = element(name, row, column);
            }
        }
        start += if input.axis == 1 { rows } else { part.stored()[1] };
    }
    Tensor::floats(DataType::Float16, &input.shape, elements).unwrap()
}

#[test]
fn packed_weights_give_what_weights_in_inputs_of_their_own_give() {
    for kind in Kind::ALL {
        let results: Vec<Vec<f32>> = [WeightForm::Inputs, WeightForm::Packed]
            .into_iter()
            .map(|form| {
                let program = training::program(kind, &SMALL, form).unwrap();
                let function = EvaluableFunction::new(&program, "main", &NoWeights, Numerics::F32).unwrap();
                let given = training::inputs(kind, &SMALL, form);
                let given: BTreeMap<String, Tensor> =
                    given.iter().map(|input| (input.name.to_owned(), fill(input))).collect();
                let outputs = function.run(&given, &mut State::default(), None).unwrap();
                outputs["out"].as_floats().unwrap().into_owned()
            })
            .collect();
        let largest = results[0].iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        assert!(largest > 1e-3, "{kind} computes something");
        for (one, other) in results[0].iter().zip(&results[1]) {
            assert!((one - other).abs() <= 1e-6 * largest, "{kind}: {one} and {other}");
        }
    }
}
