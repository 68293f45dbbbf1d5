//! Chat templates of strangers: what they may take, and what they may write.

use std::path::Path;
use std::process::{Command, Output};

/// Shows the prompt that a directory with this template makes of `hello`.
fn show_prompt(template: &str) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), "tokenizer_config.json", "{}");
    write(directory.path(), "chat_template.jinja", template);
    let mut command = Command::new(env!("CARGO_BIN_EXE_anec"));
    command.arg("run").arg(directory.path()).args(["-p", "hello", "--show-prompt"]);
    command.output().expect("the command starts")
}

fn write(directory: &Path, name: &str, text: &str) {
    fs_err::write(directory.join(name), text).expect("writable");
}

fn refusal(template: &str) -> String {
    let output = show_prompt(template);
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn expressions_of_any_depth_end_in_an_error() {
    for template in [
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "+1".repeat(50_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(50_000)),
        format!("{}x{}", "{% if true %}".repeat(20_000), "{% endif %}".repeat(20_000)),
    ] {
        assert!(refusal(&template).starts_with("error: "), "{template:.20}");
    }
}

#[test]
fn memory_of_templates_is_bounded() {
    for template in [
        r#"{{ "x
y"|indent(2000000000) }}"#,
        r#"{{ range(100000)|join("x"*100000)|length }}"#,
        r#"{% set ns = namespace(s="x"*1000) %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}"#,
        r#"{{ ("x"*100000)|replace("x", "y"*100000)|length }}"#,
    ] {
        let message = refusal(template);
        assert!(message.contains("memory") || message.contains("too large"), "{message}");
    }
}

#[test]
fn templates_without_end_are_ended() {
    let nested = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    assert!(refusal(nested).contains("failed"));
}

#[test]
fn prompts_and_refusals_cannot_drive_the_terminal() {
    let output = show_prompt("\u{1b}[2J\u{1b}]0;title\u{7}{{ messages[0].content }}");
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).expect("text"), r"\u{1b}[2J\u{1b}]0;title\u{7}hello");
    let message = refusal(r"{{ raise_exception('No\u001b[31m\u0007!') }}");
    assert_eq!(message, "error: the chat template refuses the conversation: No\\u{1b}[31m\\u{7}!\n");
}

#[test]
fn none_is_not_iterable_as_in_jinja() {
    let output = show_prompt("{% if tools is iterable and tools | length > 0 %}T{% endif %}{{ messages[0].content }}");
    assert_eq!(String::from_utf8(output.stdout).expect("text"), "hello");
}
