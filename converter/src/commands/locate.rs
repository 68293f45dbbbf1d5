//! Where a checkpoint is: on this machine, or on the Hugging Face hub, from where it is brought here.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use crate::console::{Console, Failure};
use crate::source::hub::{self, Place, Progress, Wanted};

/// The path of a checkpoint that was given as a path or as the name of a model of the hub.
pub(super) fn locate(path: &Path, wanted: Wanted, console: Console) -> Result<PathBuf, Failure> {
    let name = match hub::place(path)? {
        Place::Local { path, shadows } => {
            if shadows {
                console.status(&format!(
                    "Reading the local `{}`; the hub's model of that name is hf://{}",
                    path.display(),
                    path.display()
                ));
            }
            return Ok(path);
        }
        Place::Hub(name) => name,
    };
    console.status(&format!("Getting {name} from the hub"));
    let (bar, mut progress) = transfer_progress(console);
    let fetched = hub::fetch(&name, wanted, &mut progress)?;
    let bytes = bar.position();
    bar.finish_and_clear();
    match &fetched.note {
        Some(note) => console.status(&format!("{note}, {}", fetched.path.display())),
        None if bytes == 0 => console.status(&format!("nothing to download: it is in {}", fetched.path.display())),
        None => console.status(&format!("in {}", fetched.path.display())),
    }
    Ok(fetched.path)
}

/// A bar for files that are brought here or sent, and what moves it.
pub(super) fn transfer_progress(console: Console) -> (ProgressBar, impl FnMut(Progress<'_>)) {
    let bar = console.byte_progress(0);
    let moved = bar.clone();
    let mut total = 0;
    let progress = move |progress: Progress<'_>| match progress {
        Progress::File { name, size, have } => {
            moved.set_message(name.to_owned());
            // A file that goes on is announced again.
            total = total.max(moved.position() + size - have);
            moved.set_length(total);
        }
        Progress::Bytes(bytes) => moved.inc(bytes),
        Progress::Again(bytes) => moved.set_position(moved.position().saturating_sub(bytes)),
    };
    (bar, progress)
}
