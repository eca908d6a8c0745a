//! Conf-change entries, in the two steps that raft needs.
//!
//! ```text
//! check_conf_change  -> what raft is told        (the shell posts it and waits)
//! apply_conf_change  <- raft's new configuration -> rows, v2 tree, reply
//! ```
//!
//! Owns:       the row `meta/confState`.
//! Uses:       `cluster`.
//! Never:      asks raft; the shell carries values back and forth.
//! Invariants: the verdict depends on the log alone, so raft's configuration is the same on every
//!             member and after every restart.
//! Source:     peer-protocol.md 12.4; raft-library.md 4, trap 8.

use membership::MembershipError;
use membership::json::conf_state_to_json;
use proto::raftpb::{ConfChange, ConfState, Entry, EntryType};
use types::{Bucket, LogIndex, Op, RequestId, Term};

use crate::cluster::Stage;
use crate::contract::{Applied, ConfDecision, Fault, Reply};
use crate::machine::{Machine, bad_entry};
use crate::position::CONF_STATE;

impl Machine {
    /// Decides whether the next entry, a conf change, takes effect. Changes nothing.
    ///
    /// # Errors
    /// The entry is out of turn, malformed or of a kind that etcd never writes.
    pub fn check_conf_change(&self, entry: &Entry) -> Result<ConfDecision, Fault> {
        let stage = self.begin(entry)?;
        match entry.entry_type {
            EntryType::ConfChange => {}
            EntryType::ConfChangeV2 => {
                return Err(Fault::Unsupported { index: entry.index, kind: "ConfChangeV2" });
            }
            EntryType::Normal => {
                return Err(bad_entry(entry, "a normal entry came as a conf change"));
            }
        }
        let change = ConfChange::decode(entry.data.clone())
            .map_err(|error| bad_entry(entry, &error.to_string()))?;
        let outcome = self.cluster.at(stage).validate(&change);
        if outcome == Err(MembershipError::BadContext) {
            // Not a verdict: Go stops here, so no other member may go on either.
            return Err(bad_entry(entry, &MembershipError::BadContext.to_string()));
        }
        let request_id = RequestId(change.id);
        let accepted = outcome.as_ref().is_ok_and(|change| *change != membership::Change::None);
        Ok(ConfDecision { change: accepted.then_some(change), request_id, outcome })
    }

    /// Carries out the conf change after raft took it over; `conf_state` is raft's answer.
    ///
    /// # Errors
    /// The entry is out of turn.
    pub fn apply_conf_change(
        &mut self,
        entry: &Entry,
        decision: ConfDecision,
        conf_state: &ConfState,
    ) -> Result<Applied, Fault> {
        let stage = self.begin(entry)?;
        let mut applied = Applied {
            index: LogIndex(entry.index),
            term: Term(entry.term),
            request_id: decision.request_id,
            ..Applied::default()
        };
        self.conf_state.clone_from(conf_state);
        let reply = match decision.outcome {
            Ok(change) => {
                let effect = self.cluster.change(stage, &change, self.settings.local);
                self.absorb_cluster(effect, &mut applied);
                if stage == Stage::New {
                    let row = conf_state_to_json(conf_state);
                    applied.ops.push(Op::put(Bucket::Meta, CONF_STATE, row));
                }
                Ok(self.cluster.members().members.values().cloned().collect())
            }
            Err(error) => Err(error),
        };
        applied.reply = Some(Reply::Members(reply));
        self.finish(stage, &mut applied);
        Ok(applied)
    }
}
