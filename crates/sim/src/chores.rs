//! What a member does by itself: publishing its name, the leader's duties, purging old files.
//!
//! Source:     `node::duties_task`, `node::housekeeping`.

use consensus::Input;
use duties::{Action, Duties, Input as DutyInput, Proposal, Settings};
use membership::Member as Descriptor;
use prost::Message as _;
use proto::etcdserverpb::RequestHeader;
use proto::v2_request::V2Request;
use rand::Rng;
use types::Term;

use crate::Violation;
use crate::clients::unix_ns;
use crate::schedule::{Event, Life};
use crate::shell::Shell;
use crate::turn::Task;
use crate::world::World;

/// Time between two looks.
const INTERVAL_US: u64 = 200_000;
/// Wall clocks of members are ahead of virtual time by up to this.
pub(crate) const CLOCK_SKEW_MAX_US: u64 = 60_000;

/// The duties of one life.
pub(crate) struct Chores {
    duties: Duties,
    is_leading: bool,
}

impl Default for Chores {
    fn default() -> Self {
        Self { duties: Duties::new(Settings { v2_enabled: true }), is_leading: false }
    }
}

impl Chores {
    /// What this member has to propose now.
    fn turn(&mut self, shell: &Shell, now_us: u64) -> Vec<Proposal> {
        let mut inputs = Vec::new();
        if shell.leads() != self.is_leading {
            self.is_leading = shell.leads();
            let term = Term(shell.driver.status().term.0);
            inputs.push(match self.is_leading {
                true => DutyInput::BecameLeader { term },
                false => DutyInput::LostLeadership,
            });
        }
        let (machine, now_ms) = (shell.machine(), now_us / 1_000);
        inputs.push(DutyInput::ClusterVersion(machine.cluster_version()));
        inputs.push(DutyInput::Tick { now_ms });
        let skew_us = shell.local.0 % (CLOCK_SKEW_MAX_US + 1);
        let has_ttl = machine.v2().has_deadlines();
        inputs.push(DutyInput::V2Clock { now_ms, unix_ns: unix_ns(now_us + skew_us), has_ttl });
        inputs.into_iter().flat_map(|input| self.step(shell, input)).collect()
    }

    fn step(&mut self, shell: &Shell, input: DutyInput) -> Vec<Proposal> {
        let mut proposals = Vec::new();
        for action in self.duties.step(input) {
            match action {
                Action::Propose { proposal, .. } => proposals.push(proposal),
                Action::AskVersions => {
                    let count = shell.machine().membership().members.len();
                    let seen = vec![Some(shell.options.server_version.clone()); count];
                    proposals.extend(self.step(shell, DutyInput::ClusterVersionsSeen(seen)));
                }
            }
        }
        proposals
    }
}

/// The entry by which a member tells its name, unless the others know it.
fn publication(shell: &Shell) -> Option<Proposal> {
    let membership = shell.machine().membership();
    let known = membership.members.get(&shell.local).filter(|known| !known.is_started())?;
    let member = Descriptor {
        name: format!("m{}", shell.local),
        client_urls: vec![format!("http://client.{}", shell.local)],
        ..known.clone()
    };
    Some(duties::publish_attributes(&member, membership.version))
}

impl World {
    pub(crate) fn chores_turn(&mut self, life: Life) -> Result<(), Violation> {
        let now_us = self.schedule.now_us();
        let Some(member) = self.members.get_mut(&life.id).filter(|it| it.life() == life) else {
            return Ok(());
        };
        let Some(shell) = &member.shell else { return Ok(()) };
        self.schedule.after(INTERVAL_US, Event::Chores(life));
        let mut proposals = member.chores.turn(shell, now_us);
        proposals.extend(publication(shell));
        for proposal in proposals {
            self.propose(life, proposal)?;
        }
        self.expire_leases(life)?;
        if self.rng.random_bool(0.1) {
            self.with_shell(life, |_, turn| {
                turn.wake(Task::Purge);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn propose(&mut self, life: Life, proposal: Proposal) -> Result<(), Violation> {
        let id = self.clients.next_request();
        let data = match proposal {
            Proposal::V2(request) => V2Request { id: id.0, ..request }.encode(),
            Proposal::V3(mut request) => {
                request.header = Some(RequestHeader { id: id.0, ..RequestHeader::default() });
                request.encode_to_vec().into()
            }
        };
        self.post(life, Input::Propose(vec![(id, data)]))
    }
}
