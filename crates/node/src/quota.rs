//! The quota of the database, asked before a write is proposed (api-v3.md 9.3). Apply asks again: what
//! is on its way at the moment when the quota is reached still gets in.

use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType, InternalRaftRequest};
use types::EtcdError;

use crate::handle::Handle;

impl Handle {
    /// Refuses a write of this cost when it would pass the quota of this member, and raises the alarm
    /// that makes all members refuse. A request that costs nothing is always let through.
    ///
    /// # Errors
    /// `NoSpace`.
    pub async fn check_space(&self, cost: i64) -> Result<(), EtcdError> {
        let quota = self.options().quota_bytes;
        let size = i64::try_from(self.inner().shared.sizes().total_bytes).unwrap_or(i64::MAX);
        if quota <= 0 || cost <= 0 || size.saturating_add(cost) < quota {
            return Ok(());
        }
        let alarm = AlarmMember { member_id: self.local().0, alarm: AlarmType::Nospace.into() };
        let is_raised = self.with_machine(|machine| machine.alarms().contains(&alarm));
        if !is_raised {
            tracing::warn!(size, quota, "alarm raised: database space exceeded");
            let request = AlarmRequest {
                action: AlarmAction::Activate.into(),
                member_id: alarm.member_id,
                alarm: alarm.alarm,
            };
            let entry =
                InternalRaftRequest { alarm: Some(request), ..InternalRaftRequest::default() };
            // Refused either way; who fails to raise it leaves it to the next one.
            drop(self.propose(entry).await);
        }
        Err(EtcdError::NoSpace)
    }
}
