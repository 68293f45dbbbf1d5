//! The page of what is supported is made of the registries, so that it cannot promise more or less than the code.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use anec_converter::model::arch::ARCHS;
use anec_converter::options::Target;
use clap::ValueEnum as _;
use serde_json::Value;

use crate::cli::{anec, stdout};

const HEAD: &str = "# What is supported\n\n\
    Made of the registries of the code; a test keeps it so. [README.md](../README.md) says what each of these is for.\n";

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(&anec(arguments))).expect("JSON")
}

fn words(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The lines of a table, sorted.
fn table(head: [&str; 3], mut rows: Vec<[String; 3]>) -> String {
    rows.sort();
    let mut text = format!("| {} |\n| --- | --- | --- |\n", head.join(" | "));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("a string takes all");
    }
    text
}

fn page() -> String {
    let archs = ARCHS.iter().map(|arch| {
        let family = arch.family();
        [
            arch.name().to_owned(),
            format!("`--arch {family}`: {}", words(arch.model_types())),
            words(arch.architectures()),
        ]
    });
    let archs = table(["architecture", "`model_type`", "`architectures`"], archs.collect());
    let text = |value: &Value, key: &str| value[key].as_str().expect("a text").to_owned();
    let layouts = json(&["layouts", "--json"]);
    let layouts = layouts.as_array().expect("a list").iter().map(|layout| {
        [format!("[{0}](layouts/{0}.md)", text(layout, "name")), text(layout, "summary"), text(layout, "contract")]
    });
    let layouts = table(["`--layout`", "for", "contract"], layouts.collect());
    let targets = Target::value_variants().iter().map(|target| {
        let system = if target.is_mobile() { "iPhone, iPad" } else { "Mac" };
        let unit = if target.is_neural_engine() { "Neural Engine" } else { "GPU" };
        [format!("`{}`", target.name()), format!("{system}, {unit}"), format!("{} a weight file", target.size_limit())]
    });
    let targets = table(["`--target`", "runs on", "at most"], targets.collect());
    let count = |arguments: &[&str]| json(arguments).as_array().map_or(0, Vec::len);
    format!(
        "{HEAD}\n## Architectures\n\n{archs}\n## Layouts\n\n{layouts}\n## Systems\n\n{targets}\n## Programs\n\n\
         {} [ops](ops.md) of ML Programs, {} [rules](ane-rules.md) of the Neural Engine.\n",
        count(&["ops", "--json"]),
        count(&["rules", "--json"])
    )
}

#[test]
fn the_page_of_what_is_supported_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/supported.md");
    let page = page();
    if env::var_os("ANEC_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).expect("the page is there").replace("\r\n", "\n");
    assert!(written == page, "docs/supported.md is out of date; ANEC_BLESS=1 writes it anew");
}
