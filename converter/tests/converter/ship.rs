//! What stands between a conversion and its users: the last check, and the card.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::Path;

use crate::cli::{anec, checkpoint, stderr, stdout};

#[test]
fn check_names_what_was_edited_after_the_conversion() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    let converted = anec(&["convert", checkpoint().to_str().unwrap(), "-o", out, "--calibration", "none"]);
    assert!(converted.status.success(), "{}", stderr(&converted));
    let sound = anec(&["check", out]);
    assert!(sound.status.success(), "{}{}", stdout(&sound), stderr(&sound));
    assert!(stdout(&sound).contains("no report.json"), "{}", stdout(&sound));

    let meta = Path::new(out).join("meta.json");
    fs::write(&meta, "{}").unwrap();
    fs::remove_file(Path::new(out).join("config.json")).unwrap();
    let broken = anec(&["check", out, "--json"]);
    assert!(!broken.status.success());
    let checks: serde_json::Value = serde_json::from_slice(&broken.stdout).unwrap();
    let checksums = &checks[0]["checks"][0];
    assert_eq!(checksums["outcome"], "failed", "{checks}");
    let detail = checksums["detail"].as_str().unwrap();
    assert!(detail.contains("`meta.json`") && detail.contains("`config.json`"), "{detail}");
}

#[test]
fn a_card_says_what_was_converted_and_that_nobody_verified_it() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    let converted =
        anec(&["convert", checkpoint().to_str().unwrap(), "-o", out, "--calibration", "none", "--lut", "4"]);
    assert!(converted.status.success(), "{}", stderr(&converted));
    let card = stdout(&anec(&["card", out, "--base-model", "org/tiny\n- evil", "--license", "mit"]));
    assert!(card.starts_with("---\nlibrary_name: coreml\n"), "{card}");
    assert!(card.contains("base_model: \"org/tiny\\n- evil\"\n"), "{card}");
    assert!(card.contains("| `lm_head_lut4` | lm_head |") && card.contains("was not verified"), "{card}");

    let against = checkpoint();
    let verified =
        anec(&["verify", out, "--against", against.to_str().unwrap(), "--report", out, "--limit", "80", "-q"]);
    assert!(verified.status.success(), "{}", stdout(&verified));
    let card = stdout(&anec(&["card", out]));
    assert!(card.contains("| mean KL divergence, nats | 0.0"), "{card}");
    fs::write(Path::new(out).join("SHA256SUMS"), "").unwrap();
    assert!(stdout(&anec(&["card", out])).contains("changed after this verification"));
}
