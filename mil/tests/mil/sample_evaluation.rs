//! Programs that others made, evaluated on made-up weights of the declared types: every op runs, and gives what is declared.
//!
//! Runs over every `model.mil` below the directory that `ANEC_SAMPLES` names; without it there is nothing to do.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use anec_mil::blob::BlobError;
use anec_mil::evaluate::{EvaluableFunction, Numerics, Statistics, Tensor, WeightSource};
use anec_mil::{BlobReference, DataType, NamedValueType, TensorType, text};

/// Small numbers of both signs, and indices that every palette has.
struct MadeUp;

impl WeightSource for MadeUp {
    fn blob(&self, _reference: &BlobReference, ty: &TensorType) -> Result<Arc<Vec<u8>>, BlobError> {
        let count = usize::try_from(ty.element_count().expect("a fixed shape")).expect("a size");
        let bits = ty.dtype.bits() as usize;
        let mut bytes = vec![0; (count * bits).div_ceil(8)];
        match ty.dtype {
            DataType::Float16 => {
                for (index, element) in bytes.chunks_exact_mut(2).enumerate() {
                    element.copy_from_slice(&half::f16::from_f32(small(index)).to_le_bytes());
                }
            }
            DataType::Float32 => {
                for (index, element) in bytes.chunks_exact_mut(4).enumerate() {
                    element.copy_from_slice(&small(index).to_le_bytes());
                }
            }
            _ if bits < 8 => {
                let patterns = (0..=u8::MAX).step_by(89);
                bytes.iter_mut().zip(patterns.cycle()).for_each(|(byte, pattern)| *byte = pattern);
            }
            _ => {}
        }
        Ok(Arc::new(bytes))
    }
}

fn small(index: usize) -> f32 {
    f32::from(i16::try_from(index * 7919 % 2001).expect("small") - 1000) / 20_000.0
}

#[test]
fn programs_of_others_run_on_made_up_weights() {
    for path in crate::directory::samples(|path| path.file_name().is_some_and(|name| name == "model.mil")) {
        let program = text::parse(&fs::read_to_string(&path).expect("UTF-8")).expect("a program").program;
        for name in program.functions.keys() {
            let function = EvaluableFunction::new(&program, name, &MadeUp, Numerics::F32)
                .unwrap_or_else(|error| panic!("{} {name}: {error:?}", path.display()));
            run_twice(&function, &format!("{} {name}", path.display()));
        }
    }
}

/// Runs a function with one state for both runs, which must change it if it has one.
fn run_twice(function: &EvaluableFunction, place: &str) {
    let inputs: BTreeMap<String, Tensor> =
        function.inputs().map(|input| (input.name.clone(), made_up_input(input))).collect();
    let mut state = function.new_state().expect("a state");
    let before = state.clone();
    for _ in 0..2 {
        let mut statistics = Statistics::default();
        let outputs = function
            .run(&inputs, &mut state, Some(&mut statistics))
            .unwrap_or_else(|error| panic!("{place}: {error:?}"));
        assert_eq!(statistics.nans(), 0, "{place}");
        for declared in function.outputs() {
            let tensor = &outputs[&declared.name];
            let ty = declared.ty.as_tensor().expect("a tensor");
            assert_eq!(tensor.dtype(), ty.dtype, "{place}: {}", declared.name);
            assert_eq!(tensor.rank(), ty.rank(), "{place}: {}", declared.name);
        }
    }
    for (name, tensor) in &before.tensors {
        assert_ne!(tensor.as_floats().expect("floats"), state.tensors[name].as_floats().expect("floats"), "{place}");
    }
}

/// Zeros and small numbers; axes without a fixed size get one element.
fn made_up_input(input: &NamedValueType) -> Tensor {
    let ty = input.ty.as_tensor().expect("a tensor");
    let shape: Vec<usize> =
        ty.shape.iter().map(|size| size.fixed().map_or(1, |size| usize::try_from(size).expect("a size"))).collect();
    if !ty.dtype.is_float() {
        return Tensor::zeros(ty.dtype, &shape).expect("a tensor");
    }
    let count = shape.iter().product();
    Tensor::floats(ty.dtype, &shape, (0..count).map(small).collect()).expect("a tensor")
}
