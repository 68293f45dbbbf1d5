//! Compiles the `.proto` files twice: to message types, and to tables of their fields.
//!
//! The tables let a reader notice what the message types would drop silently: unknown fields.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let descriptors = protox::compile(["Model.proto"], ["proto"])?;
    let pool = DescriptorPool::from_file_descriptor_set(descriptors.clone())?;
    prost_build::Config::new().btree_map(["."]).include_file("messages.rs").compile_fds(descriptors)?;
    write_tables(&out.join("tables.rs"), &pool)
}

fn write_tables(path: &Path, pool: &DescriptorPool) -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    for message in pool.all_messages() {
        writeln!(text, "/// `{}`.", message.full_name())?;
        writeln!(text, "pub static {}: MessageTable = MessageTable {{", table_name(&message))?;
        writeln!(text, "    name: {:?},", message.name())?;
        writeln!(text, "    is_map_entry: {},", message.is_map_entry())?;
        writeln!(text, "    fields: &[")?;
        for field in message.fields() {
            writeln!(text, "        {},", field_row(&field)?)?;
        }
        writeln!(text, "    ],\n}};")?;
    }
    Ok(fs::write(path, text)?)
}

fn field_row(field: &FieldDescriptor) -> Result<String, Box<dyn Error>> {
    let kind = match field.kind() {
        Kind::Message(message) => format!("FieldKind::Message(&{})", table_name(&message)),
        Kind::String => "FieldKind::Text".to_owned(),
        Kind::Bytes => "FieldKind::Bytes".to_owned(),
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => "FieldKind::Fixed32".to_owned(),
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => "FieldKind::Fixed64".to_owned(),
        _ => "FieldKind::Varint".to_owned(),
    };
    // A oneof is named by its first field, which no other oneof of the message has.
    let oneof = match field.containing_oneof() {
        Some(oneof) => {
            let first = oneof.fields().map(|field| field.number()).min().ok_or("a oneof has no fields")?;
            format!("Some({first})")
        }
        None => "None".to_owned(),
    };
    Ok(format!(
        "FieldTable {{ number: {}, name: {:?}, kind: {kind}, repeated: {}, oneof: {oneof} }}",
        field.number(),
        field.name(),
        field.is_list() || field.is_map(),
    ))
}

/// `CoreML.Specification.MILSpec.Value.ImmediateValue` becomes `MILSPEC_VALUE_IMMEDIATEVALUE`.
fn table_name(message: &MessageDescriptor) -> String {
    message.full_name().trim_start_matches("CoreML.Specification.").replace('.', "_").to_uppercase()
}
