//! The documents of the layouts are those of the contracts.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::Path;

use anec_converter::commands::layouts;

#[test]
fn every_layout_has_its_document() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/layouts");
    for (name, text) in layouts::documents() {
        let path = directory.join(format!("{name}.md"));
        if std::env::var_os("ANEC_BLESS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            found,
            text,
            "`ANEC_BLESS=1 cargo test -p anec-converter layout_documents` writes {}",
            path.display()
        );
    }
}
