//! Why a server does not start, in etcd's words where it has them.

use std::io;

/// A failure before the server was ready. All of them end the process with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listen address cannot be bound.
    #[error("listen {network} {address}: {}", bind_text(error))]
    Listen {
        /// `tcp` or `unix`.
        network: &'static str,
        /// The address as given.
        address: String,
        /// What the system said; part of the text, so not a source that would repeat it.
        error: io::Error,
    },
    /// The initial cluster does not fit this member.
    #[error(transparent)]
    Cluster(#[from] config::bootstrap::BootstrapError),
    /// Two members of the initial cluster have the same identity.
    #[error(transparent)]
    Members(#[from] membership::bootstrap::BootstrapError),
    /// Another member already knows this one as running: its data directory was lost.
    #[error(
        "member {0} has already been bootstrapped; if its data directory was lost, remove the \
         member from the cluster, add it again and start it with --initial-cluster-state=existing"
    )]
    AlreadyBootstrapped(types::NodeId),
    /// No member of the running cluster answered.
    #[error(
        "cannot fetch cluster info from peer urls: could not retrieve cluster information from \
         the given URLs"
    )]
    NoClusterInfo,
    /// The running cluster has other members than the flags say.
    #[error("error validating peerURLs {found}: {reason}")]
    PeerUrls {
        /// Members found.
        found: String,
        /// How they differ.
        reason: String,
    },
    /// The cluster runs a version that this server cannot join.
    #[error("incompatible with current running cluster")]
    Incompatible,
    /// The member's files.
    #[error(transparent)]
    Boot(#[from] node::boot::BootError),
    /// A thread or runtime could not be started.
    #[error("{operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The wording of Go's listener for the case that everybody meets.
fn bind_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "bind: cannot assign requested address".to_owned(),
        io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
        _ => format!("bind: {error}"),
    }
}
