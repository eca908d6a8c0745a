//! Why a change of the membership is refused, in etcd's words.

use types::EtcdError;

/// A refused change; every member reaches the same verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is its text")]
pub enum MembershipError {
    #[error("membership: ID removed")]
    IdRemoved,
    #[error("membership: ID exists")]
    IdExists,
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
    #[error("membership: ID not found")]
    IdNotFound,
    #[error("membership: can only promote a learner member")]
    NotLearner,
    /// The context does not parse, or names another member than the change does. Go stops the
    /// process here; such an entry cannot come from a sound proposer, and refusing it is as
    /// deterministic.
    #[error("membership: malformed conf change context")]
    BadContext,
}

impl MembershipError {
    /// The error that a client of the v3 API sees.
    #[must_use]
    pub fn to_etcd_error(self) -> EtcdError {
        match self {
            Self::IdRemoved | Self::IdNotFound => EtcdError::MemberNotFound,
            Self::IdExists => EtcdError::MemberExist,
            Self::PeerUrlExists => EtcdError::PeerURLExist,
            Self::TooManyLearners => EtcdError::TooManyLearners,
            Self::NotLearner => EtcdError::MemberNotLearner,
            Self::BadContext => EtcdError::MemberBadURLs,
        }
    }
}
