//! How much memory this process has.

use std::process::Command;

use fs_err as fs;

/// The most that was resident so far on Linux, what is resident now elsewhere; `None` where nobody says.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok();
    let peak = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmHWM:")));
    if let Some(line) = peak {
        return number(line.trim_end_matches("kB")).map(|kibibytes| kibibytes * 1024);
    }
    let own = std::process::id().to_string();
    let output = Command::new("/bin/ps").args(["-o", "rss=", "-p", &own]).output().ok()?;
    number(&String::from_utf8_lossy(&output.stdout)).map(|kibibytes| kibibytes * 1024)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}
