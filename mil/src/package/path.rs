//! Which names out of a package or a meta file may become paths.

/// A name that could lead out of the directory it is meant for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a plain relative path")]
pub struct PathError {
    /// The name.
    pub found: String,
}

/// Gives `path` back if it is relative, has forward slashes only, and no `.`, `..` or empty component.
///
/// # Errors
/// It is anything else; a drive letter and control characters are refused too.
pub fn checked_relative_path(path: &str) -> Result<&str, PathError> {
    let plain = |component: &str| !matches!(component, "" | "." | "..");
    let foreign = |character: char| matches!(character, '\\' | ':') || character.is_control();
    if path.split('/').all(plain) && !path.chars().any(foreign) {
        return Ok(path);
    }
    Err(PathError { found: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_within_a_directory_are_accepted() {
        for path in ["weight.bin", "weights/weight.bin", "..x/y..", "com.apple.CoreML/model.mlmodel"] {
            assert_eq!(checked_relative_path(path), Ok(path));
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["", "/", "/etc", "..", "a/../b", "a//b", "./a", "a/", "a\\b", "C:/a", "a\0b"] {
            assert!(checked_relative_path(path).is_err(), "{path:?}");
        }
    }
}
