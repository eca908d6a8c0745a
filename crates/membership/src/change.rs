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
    /// A member moves, and the entry says anew whether it is a learner. Go before 3.6 takes both
    /// from the entry, and its own proposers leave the learner flag out, so that a learner which
    /// moves counts as a voter from then on although raft gives it no vote. Every member must
    /// agree on that, because later promotions are judged by it.
    OverwriteRaftAttributes {
        /// The member.
        id: NodeId,
        /// Its new URLs.
        peer_urls: Vec<String>,
        /// What the entry says.
        is_learner: bool,
    },
    /// Nothing: the entry names no member.
    None,
}
