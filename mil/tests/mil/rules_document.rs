//! The page about the rules says what the rules say.

use std::path::Path;
use std::{env, fs};

use anec_mil::rules::document;

#[test]
fn the_page_about_the_rules_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ane-rules.md");
    let page = document::markdown();
    if env::var_os("ANEC_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&path).expect("the page is there").replace("\r\n", "\n");
    assert!(written == page, "docs/ane-rules.md is out of date; ANEC_BLESS=1 writes it anew");
}
