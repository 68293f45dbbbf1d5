//! An engine whose calls take as long, and give what, a test says.

use std::cell::Cell;
use std::rc::Rc;

use anec_mil::{NamedValueType, TensorType, ValueType};
use anec_runtime::backend::{Backend, BackendError, Function, Model, Signature};
use anec_runtime::{ModelPart, PartLabel};
use anec_schemas::contract::Role;

use super::*;

/// What the calls of an engine do.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Compute,
    /// The call of this number, from 0, fails.
    FailAt(u32),
    Ignore,
    Overflow,
    Forget,
}

#[derive(Clone)]
struct Scripted {
    behaviour: Behaviour,
    /// What a call takes.
    took: Duration,
    time: Rc<Cell<Duration>>,
    calls: Rc<Cell<u32>>,
    signature: Signature,
}

impl Scripted {
    fn new(behaviour: Behaviour, took: Duration) -> Self {
        let tensor = |name: &str| {
            let ty = TensorType::fixed(DataType::Float16, &[1, 4, 1, 32]);
            NamedValueType::new(name, ValueType::Tensor(ty))
        };
        let signature = Signature { inputs: vec![tensor("x")], outputs: vec![tensor("y")], states: Vec::new() };
        Self { behaviour, took, time: Rc::default(), calls: Rc::default(), signature }
    }
}

impl Clock for Scripted {
    fn now(&self) -> Duration {
        self.time.get()
    }
}

impl Backend for Scripted {
    type Model = Self;

    fn open(&self, _part: &ModelPart) -> Result<Self, BackendError> {
        Ok(self.clone())
    }
}

impl Model for Scripted {
    type Function = Self;

    fn function_names(&self) -> Vec<String> {
        vec!["main".to_owned()]
    }

    fn load(&self, _name: &str) -> Result<Self, BackendError> {
        Ok(self.clone())
    }
}

impl Function for Scripted {
    type State = ();

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn new_state(&self) -> Result<(), BackendError> {
        Ok(())
    }

    fn read_state(&self, (): &()) -> Result<Tensors, BackendError> {
        Ok(Tensors::new())
    }

    fn predict(&self, inputs: &Tensors, (): &mut ()) -> Result<Tensors, BackendError> {
        let call = self.calls.replace(self.calls.get() + 1);
        self.time.set(self.time.get() + self.took);
        let x = inputs.get("x").expect("given").as_floats().expect("floats").into_owned();
        let y = match self.behaviour {
            Behaviour::FailAt(number) if number == call => {
                return Err(BackendError::State { model: "layer_00_q_proj".to_owned() });
            }
            Behaviour::Compute | Behaviour::FailAt(_) => x.iter().map(|x| x * 2.0).collect(),
            Behaviour::Ignore => vec![0.5; x.len()],
            Behaviour::Overflow => vec![f32::INFINITY; x.len()],
            Behaviour::Forget => return Ok(Tensors::new()),
        };
        let y = Tensor::floats(DataType::Float16, &[1, 4, 1, 32], y).expect("as many as there were");
        Ok(Tensors::from([("y".to_owned(), y)]))
    }
}

fn kind(operations: u64) -> Kind {
    let part = |number: u64| ModelPart {
        label: PartLabel::numbered(Role("q_proj"), number),
        stem: format!("layer_{number:02}_q_proj"),
        package: None,
        compiled: None,
        text: None,
    };
    Kind { name: "q_proj".to_owned(), programs: vec![part(0), part(1)], operations, bytes: 4000, calls: 2 }
}

fn measured(behaviour: Behaviour, operations: u64, took: Duration, chip: Chip) -> Measured {
    let engine = Scripted::new(behaviour, took);
    measure(&engine, &engine, 3, Peak::of(chip), kind(operations))
}

#[test]
fn the_time_of_a_call_and_its_throughput_are_those_of_the_clock() {
    let measured = measured(Behaviour::Compute, 2 * 1_000_000, Duration::from_millis(2), Chip::M4);
    assert_eq!(measured.outcome, Outcome::Timed(Times(vec![0.002; 3])));
    let data = data(std::slice::from_ref(&measured));
    assert_eq!(data[0]["operations_per_second"], 5e8);
    assert_eq!((data[0]["operations"].as_u64(), data[0]["bytes"].as_u64()), (Some(1_000_000), Some(2000)));
    let text = text(std::slice::from_ref(&measured));
    assert!(text.contains("2.000") && text.contains("500 Mop/s"), "{text}");
    assert_eq!(failure(&[measured]), None);
}

#[test]
fn a_throughput_above_the_peak_of_the_chip_is_not_printed() {
    // 20 TFLOPS: more than an M4 has, and less than an A19 Pro.
    let (operations, took) = (2 * 20_000_000_000, Duration::from_millis(1));
    let impossible = measured(Behaviour::Compute, operations, took, Chip::M4);
    let all = [impossible];
    let (text, data) = (text(&all), data(&all));
    assert!(!text.contains("1.000") && text.contains("20.0 Top/s are more than 18.5 Top/s, the peak of m4"), "{text}");
    assert!(data[0]["seconds"].is_null() && data[0]["operations_per_second"].is_null(), "{data}");
    assert_eq!(failure(&all).as_deref(), Some("1 of 1 kinds have no time: q_proj"));
    let possible = measured(Behaviour::Compute, operations, took, Chip::A19Pro);
    assert_eq!(possible.outcome, Outcome::Timed(Times(vec![0.001; 3])));
    // A clock that stands still.
    let still = measured(Behaviour::Compute, operations, Duration::ZERO, Chip::Generic);
    assert!(matches!(still.outcome, Outcome::Impossible { .. }), "{:?}", still.outcome);
}

#[test]
fn calls_that_fail_or_do_not_compute_have_no_time() {
    // Two calls of each of two programs are not timed: the sixth is in the second repetition.
    for (behaviour, why) in [
        (Behaviour::FailAt(0), "is not of this engine"),
        (Behaviour::FailAt(6), "is not of this engine"),
        (Behaviour::Ignore, "`layer_00_q_proj` gives the same whatever it is given"),
        (Behaviour::Overflow, "a call gave inf in `y`"),
        (Behaviour::Forget, "a call gave no output `y`"),
    ] {
        let all = [measured(behaviour, 2_000_000, Duration::from_millis(1), Chip::Generic)];
        let problem = all[0].outcome.problem().expect("a problem");
        assert!(problem.contains(why), "{problem}");
        let (text, data) = (text(&all), data(&all));
        assert!(text.contains("failed") && !text.contains("op/s"), "{text}");
        assert!(data[0]["operations_per_second"].is_null() && data[0]["error"] == problem, "{data}");
        assert!(failure(&all).is_some());
    }
}

#[test]
fn chips_without_a_figure_are_held_against_the_fastest() {
    assert_eq!(Peak::of(Chip::M5), Peak { chip: "a19-pro", operations: 44.4e12 });
    assert_eq!(Peak::of(Chip::M1), Peak { chip: "m1", operations: 10.8e12 });
}
