//! Versions that this server names: the API level it advertises, and its own.

/// The etcd release whose surface the server advertises.
///
/// design.md §4 "Versions": 3.5.12 until the v3 API is complete, because Kubernetes switches
/// features on by this number; 3.7.1 afterwards.
pub const SERVER: &str = "3.5.12";

/// The version of this program itself.
pub const ETCH: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints: etcd's four lines in their order, then our own.
///
/// The lines about Git and Go are kept because scripts parse them; their values say what is true.
#[must_use]
pub fn text() -> String {
    format!(
        "etcd Version: {SERVER}\nGit SHA: none\nGo Version: none (Rust {})\nGo OS/Arch: {}/{}\n\
         etch Version: {ETCH}\n",
        rust_version(),
        std::env::consts::OS,
        go_arch(),
    )
}

/// The compiler that built this, as the build script recorded it.
fn rust_version() -> &'static str {
    env!("ETCH_RUSTC_VERSION")
}

/// The processor name in Go's spelling, which is what the line has always held.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_text_has_etcds_four_lines_then_ours() {
        let text = text();
        let names: Vec<&str> =
            text.lines().map(|line| line.split(": ").next().unwrap_or("")).collect();
        assert_eq!(names, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch", "etch Version"]);
    }
}
