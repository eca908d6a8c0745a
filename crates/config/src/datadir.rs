//! What a data directory already holds, before anything is opened in it.
//!
//! Owns:       nothing; it only lists one directory.
//! Source:     reference/server-config.md 12.

use std::io;
use std::path::{Path, PathBuf};

/// What is in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Whether a member has lived here.
    pub has_member: bool,
    /// Names that neither etcd nor this server put there; worth a warning.
    pub strangers: Vec<String>,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Data of a member and of the old v2 proxy side by side.
    #[error("invalid datadir; both member and proxy directories exist")]
    Both,
    /// Data of the old v2 proxy.
    #[error("data directory {} belongs to a v2 proxy, which is not supported; remove its \"proxy\" folder or use another directory", .0.display())]
    Proxy(PathBuf),
    /// The directory exists and cannot be listed.
    #[error("failed to list data directory {}", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Looks into a data directory; one that does not exist is empty.
///
/// # Errors
/// [`DataDirError`]; all of them end the start with exit code 1.
pub fn inspect(path: &Path) -> Result<Contents, DataDirError> {
    let fail = |source| DataDirError::List { path: path.to_owned(), source };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return judge(path, &[]),
        Err(error) => return Err(fail(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    judge(path, &names)
}

fn judge(path: &Path, names: &[String]) -> Result<Contents, DataDirError> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    match (has("member"), has("proxy")) {
        (true, true) => return Err(DataDirError::Both),
        (false, true) => return Err(DataDirError::Proxy(path.to_owned())),
        (_, false) => {}
    }
    // "fixtures" holds certificates that etcd made itself.
    let is_known = |name: &str| matches!(name, "member" | "fixtures");
    let strangers = names.iter().filter(|name| !is_known(name)).cloned().collect();
    Ok(Contents { has_member: has("member"), strangers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_decide_over_use_of_the_directory() {
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let at = Path::new("d");
        let empty = judge(at, &[]).unwrap();
        assert!(!empty.has_member && empty.strangers.is_empty());
        let used = judge(at, &names(&["fixtures", "lost+found", "member"])).unwrap();
        assert!(used.has_member);
        assert_eq!(used.strangers, ["lost+found"]);
        let both = judge(at, &names(&["member", "proxy"])).unwrap_err();
        assert_eq!(both.to_string(), "invalid datadir; both member and proxy directories exist");
        assert!(matches!(judge(at, &names(&["proxy"])), Err(DataDirError::Proxy(_))));
    }

    #[test]
    fn a_missing_directory_is_empty_and_a_file_is_none() {
        let missing = Path::new(env!("CARGO_MANIFEST_DIR")).join("no-such-directory");
        assert!(!inspect(&missing).unwrap().has_member);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(matches!(inspect(&file), Err(DataDirError::List { .. })));
    }
}
