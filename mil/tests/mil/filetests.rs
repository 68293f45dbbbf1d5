//! Runs every file under `tests/filetests`: programs in MIL text with what is expected of them.
//!
//! The first line says what is tested; lines like it are taken out before the text is parsed.
//!
//! - `// test: verify`: each finding of the verifier stands at the end of the line that it is about, as `// error: …` or
//!   `// warning: …`. Findings about a function stand on its first line, those about a result on the line that returns it.
//! - `// test: infer`: the declared types are those that inference gives; where it gives none, `// error: …` says why.
//! - `// test: rules`, then `// rule: <name>`: what the rule finds, as `// warning: …` and so on. Of two files, the one
//!   whose name ends in `_clean` trips nothing. `// chip: …`, `// os: …`, `// target: …` say for what it is linted,
//!   `// weight bytes: …`, `// operations: …`, `// undescribed: …` what the package is like.
//! - `// test: passes`, then `// pass: <name>`: the program before the pass, a line `// ---`, the program after it.
//!
//! With `ANEC_BLESS=1` the expectations are written anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anec_mil::ops::decl::{OpContext, Operand, Scope};
use anec_mil::package::{FunctionDescription, ModelDescription};
use anec_mil::rules::{self, Check, Conditions, Rule, Subject};
use anec_mil::text::TextVersion;
use anec_mil::verify::{Location, Place, Topic};
use anec_mil::{Function, Program, Value, ValueType, ops, passes, text, verify};

const SEPARATOR: &str = "// ---";

fn main_of(directory: &str, run: impl Fn(&str) -> String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests").join(directory);
    let bless = std::env::var_os("ANEC_BLESS").is_some_and(|value| value == "1");
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the directory of the tests is there")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mil"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no test in {}", directory.display());
    let mut failures = String::new();
    for file in &files {
        let expected = fs::read_to_string(file).expect("the test can be read");
        let actual = run(&expected);
        if actual == expected {
            continue;
        }
        if bless {
            fs::write(file, actual).expect("the test can be written");
        } else {
            write!(failures, "{}\n{}\n", file.display(), difference(&expected, &actual)).expect("writes to memory");
        }
    }
    assert!(failures.is_empty(), "\n{failures}ANEC_BLESS=1 writes the expectations anew");
}

/// The lines that two texts do not share at the same place.
fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) = (expected.lines().collect(), actual.lines().collect());
    let mut shown = String::new();
    for index in 0..expected.len().max(actual.len()) {
        let (expected, actual) = (expected.get(index), actual.get(index));
        if expected != actual {
            let line = index + 1;
            writeln!(shown, "{line}: - {}", expected.unwrap_or(&"")).expect("writes to memory");
            writeln!(shown, "{line}: + {}", actual.unwrap_or(&"")).expect("writes to memory");
        }
    }
    shown
}

/// A test file in its parts.
struct Parts {
    header: Vec<String>,
    body: Vec<String>,
    after: Vec<String>,
}

/// Takes `file` apart and removes what is expected of its lines.
fn parts(file: &str) -> Parts {
    let mut parts = Parts { header: Vec::new(), body: Vec::new(), after: Vec::new() };
    let mut separated = false;
    for line in file.lines() {
        if line == SEPARATOR {
            separated = true;
        } else if separated {
            parts.after.push(line.to_owned());
        } else if line.starts_with("// ") {
            parts.header.push(line.to_owned());
        } else {
            let end = [" // error: ", " // warning: ", " // note: "].iter().filter_map(|mark| line.find(mark)).min();
            parts.body.push(line.get(..end.unwrap_or(line.len())).expect("a found index").to_owned());
        }
    }
    parts
}

impl Parts {
    fn setting(&self, key: &str) -> Option<&str> {
        self.header.iter().find_map(|line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(": "))
    }

    fn program(&self) -> Program {
        let source = self.body.join("\n");
        text::parse(&source).unwrap_or_else(|error| panic!("{error}\n{source}")).program
    }

    fn rule(&self) -> &'static Rule {
        self.setting("rule").and_then(rules::find).expect("the rule exists")
    }

    /// The program, with its last operation repeated up to the number that is asked for.
    fn program_to_lint(&self) -> Program {
        let mut program = self.program();
        if let Some(count) = self.setting("operations").map(|count| count.parse().expect("a number")) {
            let function = program.functions.values_mut().next().expect("there is a function");
            let last = function.block.operations.last().expect("there is an operation").clone();
            function.block.operations.resize(count, last);
        }
        program
    }

    /// The file with `body` for its program.
    fn joined(&self, body: &[String]) -> String {
        let mut lines = self.header.clone();
        lines.extend_from_slice(body);
        lines.join("\n") + "\n"
    }
}

/// Where the parts of each function stand in the lines of a program.
struct Lines {
    functions: BTreeMap<String, FunctionLines>,
}

#[derive(Default)]
struct FunctionLines {
    first: usize,
    operations: Vec<usize>,
    last: usize,
}

fn lines_of(body: &[String]) -> Lines {
    let mut functions = BTreeMap::new();
    let mut current: Option<(String, FunctionLines)> = None;
    for (index, line) in body.iter().enumerate() {
        let line = line.trim();
        if let Some(signature) = line.strip_prefix("func ") {
            let name = signature.split('<').next().unwrap_or_default().to_owned();
            current = Some((name, FunctionLines { first: index, ..FunctionLines::default() }));
        } else if line.starts_with("} -> (") {
            if let Some((name, mut lines)) = current.take() {
                lines.last = index;
                functions.insert(name, lines);
            }
        } else if let Some((_, lines)) = &mut current
            && !line.is_empty()
        {
            lines.operations.push(index);
        }
    }
    Lines { functions }
}

impl Lines {
    fn find(&self, location: &Location) -> usize {
        let Some(function) = &location.function else { return 0 };
        let lines = &self.functions[function];
        match location.place {
            Place::Whole | Place::Input(_) => lines.first,
            // Operations that the test added stand at the last line.
            Place::Operation(index) => *lines.operations.get(index).unwrap_or(&lines.last),
            Place::Output(_) => lines.last,
        }
    }
}

#[test]
fn the_verifier_finds_what_the_files_say() {
    main_of("verify", |file| {
        let parts = parts(file);
        assert_eq!(parts.setting("test"), Some("verify"));
        let report = verify::report(&parts.program());
        let lines = lines_of(&parts.body);
        let mut body = parts.body.clone();
        for finding in report.errors.iter().chain(&report.warnings) {
            let line = &mut body[lines.find(&finding.location)];
            write!(line, " // {}: {}", finding.severity, finding.message).expect("writes to memory");
        }
        parts.joined(&body)
    });
}

#[test]
fn rules_find_what_the_files_say() {
    main_of("rules", |file| {
        let parts = parts(file);
        assert_eq!(parts.setting("test"), Some("rules"));
        let rule = parts.rule();
        let program = parts.program_to_lint();
        let description = parts.setting("undescribed").map(|name| description_without(&program, name));
        let conditions = Conditions {
            chip: parts.setting("chip").map_or(rules::Chip::Generic, |chip| chip.parse().expect("a chip")),
            target: parts.setting("target").map(|target| target.parse().expect("a system")),
            os: parts.setting("os").map(|os| os.parse().expect("a version")),
        };
        let subject = Subject {
            program: &program,
            description: description.as_ref(),
            weight_file_bytes: parts.setting("weight bytes").map(|bytes| bytes.parse().expect("a number")),
            constants: None,
        };
        let lines = lines_of(&parts.body);
        let mut body = parts.body.clone();
        for finding in rules::lint(subject, &conditions).iter().filter(|finding| finding.rule.id == rule.id) {
            let line = &mut body[lines.find(&finding.location)];
            write!(line, " // {}: {}", finding.severity, finding.message).expect("writes to memory");
        }
        parts.joined(&body)
    });
}

#[test]
fn every_rule_has_a_program_that_breaks_it_and_one_that_does_not() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/rules");
    for rule in rules::RULES {
        let name = rule.id.replace('-', "_");
        for (file, breaks) in [(format!("{name}.mil"), true), (format!("{name}_clean.mil"), false)] {
            let text = fs::read_to_string(directory.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            let parts = parts(&text);
            assert_eq!(parts.rule().id, rule.id, "{file}");
            let found = text.contains(" // error: ") || text.contains(" // warning: ") || text.contains(" // note: ");
            assert_eq!(found, breaks, "{file}");
            let about_validity = matches!(rule.check, Check::Verifier(_)) || parts.setting("invalid").is_some();
            if !breaks || !about_validity {
                let errors = verify::report(&parts.program()).errors;
                let other = errors.iter().find(|error| error.topic != Topic::UnknownOp);
                assert!(about_validity || other.is_none(), "{file}: {}", other.expect("just found"));
            }
        }
    }
}

/// A description of the program's functions that lacks one input.
fn description_without(program: &Program, name: &str) -> ModelDescription {
    let describe = |(function_name, function): (&String, &Function)| {
        let mut description = FunctionDescription::of(function_name, function, &BTreeMap::new()).expect("describable");
        description.inputs.retain(|input| input.name != name);
        description
    };
    ModelDescription { functions: program.functions.iter().map(describe).collect(), ..ModelDescription::default() }
}

#[test]
fn passes_do_what_the_files_say() {
    main_of("passes", |file| {
        let parts = parts(file);
        assert_eq!(parts.setting("test"), Some("passes"));
        let name = parts.setting("pass").expect("a pass is named");
        let pass = passes::PASSES.iter().find(|pass| pass.name == name).expect("the pass exists");
        let mut program = parts.program();
        for function in program.functions.values_mut() {
            (pass.run)(function);
        }
        let after = print(&program);
        parts.joined(&parts.body) + SEPARATOR + "\n" + after.trim_end_matches('\n') + "\n"
    });
}

#[test]
fn inference_gives_the_types_in_the_files() {
    main_of("infer", |file| {
        let parts = parts(file);
        assert_eq!(parts.setting("test"), Some("infer"));
        let mut program = parts.program();
        let mut errors = Vec::new();
        for (name, function) in &mut program.functions {
            for (index, error) in infer(function) {
                errors.push((name.clone(), index, error));
            }
        }
        let mut body: Vec<String> = print(&program).lines().map(str::to_owned).collect();
        let lines = lines_of(&body);
        for (function, index, error) in errors {
            let line = &mut body[lines.functions[&function].operations[index]];
            write!(line, " // error: {error}").expect("writes to memory");
        }
        parts.joined(&body)
    });
}

fn print(program: &Program) -> String {
    text::print(program, TextVersion::V1_3).expect("the program has a text form")
}

/// Types and constants of the values of one function.
#[derive(Default)]
struct Known {
    values: BTreeMap<String, (ValueType, Option<Value>, bool)>,
}

impl Scope for Known {
    fn lookup(&self, name: &str) -> Option<Operand<'_>> {
        let (ty, value, constant) = self.values.get(name)?;
        Some(Operand { ty, value: value.as_ref(), constant: *constant })
    }
}

/// Declares every result as what inference gives; returns the operations for which it gives nothing, and why.
fn infer(function: &mut Function) -> Vec<(usize, String)> {
    let mut known = Known::default();
    let mut errors = Vec::new();
    for input in &function.inputs {
        known.values.insert(input.name.clone(), (input.ty.clone(), None, false));
    }
    for (index, operation) in function.block.operations.iter_mut().enumerate() {
        let decl = ops::find(&operation.op).expect("the op is known");
        let inferred = {
            let ctx = OpContext::new(operation, function.opset, &known).expect("every name is defined");
            (decl.infer)(&ctx)
        };
        match inferred {
            Ok(types) => {
                assert_eq!(types.len(), operation.outputs.len(), "results of {}", operation.op);
                for (output, ty) in operation.outputs.iter_mut().zip(types) {
                    output.ty = ty;
                }
            }
            Err(error) => errors.push((index, error.to_string())),
        }
        let value = operation.attributes.get("val").cloned();
        let constant = ops::special::yields_constant(&operation.op);
        for output in &operation.outputs {
            known.values.insert(output.name.clone(), (output.ty.clone(), value.clone(), constant));
        }
    }
    errors
}
