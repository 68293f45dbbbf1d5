use super::*;
use crate::output::checksums;

fn identity(plan: &str) -> Identity {
    Identity { program: "program".to_owned(), checkpoint: "checkpoint".to_owned(), plan: plan.to_owned() }
}

fn open(output: &Path, force: bool, unfinished: Unfinished) -> Result<Staging, StagingError> {
    Staging::open(Kind::Converted, output, force, unfinished, &identity("plan"))
}

fn part() -> FinishedPart {
    FinishedPart { checksum: 1, stats: anec_quantize::ErrorStats::default() }
}

fn write_model(directory: &Path, content: &str) {
    fs::create_dir_all(directory).expect("writable");
    fs::write(directory.join("meta.yaml"), content).expect("writable");
    fs::write(directory.join("SHA256SUMS"), "0  meta.yaml\n").expect("writable");
}

fn content(output: &Path) -> String {
    fs::read_to_string(output.join("meta.yaml")).expect("readable")
}

fn names(parent: &Path) -> Vec<String> {
    let entries = fs::read_dir(parent).expect("readable");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_output_appears_only_when_published() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    let staging = open(&output, false, Unfinished::Discard).expect("nothing is there");
    write_model(&staging.path(), "a");
    assert!(!output.exists());
    staging.publish().expect("published");
    assert_eq!(content(&output), "a");
    assert_eq!(names(parent.path()), ["out"]);
}

#[test]
fn a_dropped_output_leaves_nothing_behind() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let staging = open(&parent.path().join("out"), false, Unfinished::Discard).expect("nothing is there");
    write_model(&staging.path(), "a");
    drop(staging);
    assert!(names(parent.path()).is_empty());
}

#[test]
fn an_existing_output_is_replaced_only_by_force_and_only_if_it_is_a_model() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    fs::create_dir(&output).expect("writable");
    assert!(matches!(Staging::check(Kind::Converted, &output, false), Err(StagingError::Exists { .. })));
    assert!(matches!(Staging::check(Kind::Converted, &output, true), Err(StagingError::Foreign { .. })));
    write_model(&output, "old");
    let staging = open(&output, true, Unfinished::Discard).expect("a model may be replaced");
    write_model(&staging.path(), "new");
    staging.publish().expect("published");
    assert_eq!(content(&output), "new");
    assert_eq!(names(parent.path()), ["out"]);
}

/// Whether `--force` may replace what these files make.
fn may_replace(kind: Kind, files: &[(&str, &str)]) -> bool {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    fs::create_dir(&output).expect("writable");
    for (path, content) in files {
        let path = output.join(path);
        fs::create_dir_all(path.parent().expect("below the output")).expect("writable");
        fs::write(path, content).expect("writable");
    }
    match Staging::check(kind, &output, true) {
        Ok(_) => true,
        Err(StagingError::Foreign { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn force_replaces_nothing_that_anec_did_not_write() {
    let sums = ("SHA256SUMS", "0  meta.yaml\n1  a.mlpackage/Manifest.json\n");
    let ours = [sums, ("meta.yaml", ""), ("a.mlpackage/Manifest.json", ""), ("report.html", "")];
    assert!(may_replace(Kind::Converted, &ours));
    for foreign in ["model.safetensors", "a.mlpackage/mine", "notes/mine", "SHA256SUMS.txt"] {
        assert!(!may_replace(Kind::Converted, &[&ours[..], &[(foreign, "")]].concat()), "{foreign}");
    }
    assert!(!may_replace(Kind::Converted, &[("meta.yaml", "somebody's")]));
    let contexts = [("context_64/SHA256SUMS", "0  meta.yaml\n"), ("context_64/meta.yaml", "")];
    assert!(may_replace(Kind::Converted, &contexts));
    for foreign in ["photos/a.jpg", "config.json", "context_64/model.safetensors"] {
        assert!(!may_replace(Kind::Converted, &[&contexts[..], &[(foreign, "")]].concat()), "{foreign}");
    }
    let compiled = [("coremldata.bin", ""), ("model.mil", ""), ("weights/weight.bin", "")];
    assert!(may_replace(Kind::Compiled, &compiled));
    for foreign in ["in.mlpackage/Manifest.json", "Manifest.json", "model.safetensors"] {
        assert!(!may_replace(Kind::Compiled, &[&compiled[..], &[(foreign, "")]].concat()), "{foreign}");
    }
    assert!(!may_replace(Kind::Compiled, &compiled[1..]));
}

#[cfg(unix)]
#[test]
fn force_replaces_no_link() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let (model, link) = (parent.path().join("model"), parent.path().join("link"));
    write_model(&model, "a");
    std::os::unix::fs::symlink(&model, &link).expect("writable");
    assert!(matches!(Staging::check(Kind::Converted, &link, true), Err(StagingError::Foreign { .. })));
}

#[test]
fn an_output_can_be_named_through_itself() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    fs::create_dir_all(output.join("inner")).expect("writable");
    write_model(&output, "old");
    let around = output.join("inner/../../out");
    let staging = open(&around, true, Unfinished::Discard).expect("a model may be replaced");
    write_model(&staging.path(), "new");
    staging.publish().expect("published");
    assert_eq!(content(&output), "new");
    assert_eq!(names(parent.path()), ["out"]);
}

#[test]
fn a_kept_output_is_gone_on_with_or_discarded_as_asked() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    for (unfinished, parts, packages) in [(Unfinished::Resume, 1, 1), (Unfinished::Discard, 0, 0)] {
        let staging = open(&output, false, Unfinished::Discard).expect("nothing is there");
        staging.journal().finish(0, &part()).expect("writable");
        fs::create_dir(staging.path().join("a.mlpackage")).expect("writable");
        write_model(&staging.path(), "stale");
        staging.keep();
        assert_eq!(Staging::check(Kind::Converted, &output, false).expect("free"), Left::Unfinished);
        let staging = open(&output, false, unfinished).expect("the same conversion");
        assert_eq!(staging.journal().finished_parts().len(), parts);
        assert_eq!(names(&staging.path()).len(), packages);
    }
    assert!(names(parent.path()).is_empty());
}

#[test]
fn another_conversion_cannot_be_gone_on_with() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    open(&output, false, Unfinished::Discard).expect("nothing is there").keep();
    let error = Staging::open(Kind::Converted, &output, false, Unfinished::Resume, &identity("other"))
        .expect_err("other options");
    assert!(error.to_string().ends_with("it was begun with other options"), "{error}");
    assert_eq!(names(parent.path()), [".out.partial"]);
    let staging =
        Staging::open(Kind::Converted, &output, false, Unfinished::Discard, &identity("other")).expect("starts over");
    assert_eq!(staging.journal().found().identity, Some(identity("other")));
}

#[test]
fn two_conversions_cannot_write_the_same_output() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    let first = open(&output, false, Unfinished::Discard).expect("nothing is there");
    assert!(matches!(Staging::check(Kind::Converted, &output, false), Err(StagingError::Busy { .. })));
    assert!(matches!(open(&output, false, Unfinished::Discard), Err(StagingError::Busy { .. })));
    write_model(&first.path(), "first");
    first.publish().expect("not disturbed");
    assert_eq!(names(parent.path()), ["out"]);
}

/// An output that is being published: the journal says so, and everything is in the work directory.
fn publishing(output: &Path) -> PathBuf {
    let staging = open(output, true, Unfinished::Discard).expect("nothing is there");
    write_model(&staging.path(), "new");
    staging.journal.publishing().expect("writable");
    staging.keep()
}

#[test]
fn what_is_replaced_comes_back_where_publishing_stopped_halfway() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    write_model(&output, "old");
    let work = publishing(&output);
    fs::rename(&output, work.join(REPLACED)).expect("writable");
    assert_eq!(Staging::check(Kind::Converted, &output, true).expect("set right"), Left::Unfinished);
    assert_eq!(content(&output), "old");
    let staging = open(&output, true, Unfinished::Resume).expect("the same conversion");
    write_model(&staging.path(), "new");
    staging.publish().expect("published");
    assert_eq!(content(&output), "new");
    assert_eq!(names(parent.path()), ["out"]);
}

#[test]
fn a_work_directory_that_outlived_its_output_goes_away() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    write_model(&output, "old");
    let work = publishing(&output);
    fs::rename(&output, work.join(REPLACED)).expect("writable");
    fs::rename(work.join(OUTPUT), &output).expect("writable");
    assert_eq!(Staging::check(Kind::Converted, &output, false).expect("done"), Left::Published);
    assert_eq!(content(&output), "new");
    assert_eq!(names(parent.path()), ["out"]);
    fs::create_dir(&work).expect("writable");
    assert!(matches!(Staging::check(Kind::Converted, &output, false), Err(StagingError::Exists { .. })));
    assert_eq!(names(parent.path()), ["out"]);
}

#[test]
fn files_that_were_edited_since_they_were_written_are_named() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let output = parent.path().join("out");
    assert_eq!(Staging::edited(&output).expect("nothing is there"), [""; 0]);
    for context in ["context_512", "context_64"] {
        let directory = output.join(context);
        fs::create_dir_all(&directory).expect("writable");
        fs::write(directory.join("meta.yaml"), context).expect("writable");
        checksums::write(&directory, &std::collections::BTreeMap::new()).expect("written");
    }
    assert_eq!(Staging::edited(&output).expect("readable"), [""; 0]);
    fs::write(output.join("context_64/meta.yaml"), "mine").expect("writable");
    assert_eq!(Staging::edited(&output).expect("readable"), ["context_64/meta.yaml"]);
}
