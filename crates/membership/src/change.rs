//! One validated change of the membership.

use types::NodeId;

use crate::Member;

/// A change that passed [`crate::Membership::validate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new voting member.
    AddVoter(Member),
    /// A new non-voting member.
    AddLearner(Member),
    /// A learner becomes a voter.
    Promote(NodeId),
    /// A member leaves for good.
    Remove(NodeId),
    /// A member moves.
    UpdatePeerUrls(NodeId, Vec<String>),
    /// Nothing: the entry names no member.
    None,
}
