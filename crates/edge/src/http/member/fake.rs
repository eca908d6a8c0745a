//! A member for tests, without a node.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use membership::{ClusterVersion, Member as ClusterMember};
use node::{V2Watch, V2Watchers};
use proto::etcdserverpb::AlarmMember;
use proto::v2_request::V2Request;
use tokio::sync::watch;
use types::{ClusterId, EtcdError, LogIndex, NodeId, Term, V2Error};
use v2store::{Event, Lifetime, Store, Watch};

use super::{Member, Position};

/// A member whose log is a list of requests applied at once.
pub(crate) struct FakeMember {
    pub(crate) leader: NodeId,
    pub(crate) version: Option<ClusterVersion>,
    pub(crate) members: Vec<ClusterMember>,
    pub(crate) cluster_fault: Option<EtcdError>,
    pub(crate) alarms: Vec<AlarmMember>,
    pub(crate) proposals: AtomicU64,
    pub(crate) linearized: AtomicU64,
    pub(crate) store: Mutex<Store>,
    pub(crate) watchers: Mutex<V2Watchers>,
    pub(crate) closing: watch::Sender<bool>,
}

const LOCAL: NodeId = NodeId(0xe11c_97c1_a5f3_35d6);

impl Default for FakeMember {
    fn default() -> Self {
        let mut store = Store::new();
        while store.index() < 3 {
            let _ = store.set("/0/version", false, "3.4.0", Lifetime::default());
        }
        let member = ClusterMember {
            id: LOCAL,
            name: "n1".to_owned(),
            peer_urls: vec!["http://127.77.13.1:2380".to_owned()],
            client_urls: vec!["http://127.77.13.1:2379".to_owned()],
            is_learner: false,
        };
        let closing = watch::Sender::new(false);
        let watchers = V2Watchers::new(std::sync::Arc::new(|_| {}), closing.subscribe());
        Self {
            closing,
            watchers: Mutex::new(watchers),
            leader: LOCAL,
            version: Some(ClusterVersion::new(3, 4)),
            members: vec![member],
            cluster_fault: None,
            alarms: Vec::new(),
            proposals: AtomicU64::new(0),
            linearized: AtomicU64::new(0),
            store: Mutex::new(store),
        }
    }
}

impl Member for FakeMember {
    fn cluster_id(&self) -> ClusterId {
        ClusterId(0xf58c_1e5b_af7f_2e57)
    }

    fn leader(&self) -> NodeId {
        self.leader
    }

    fn position(&self) -> Position {
        Position { commit: LogIndex(4711), term: Term(2) }
    }

    fn members(&self) -> Vec<ClusterMember> {
        self.members.clone()
    }

    fn is_learner(&self) -> bool {
        self.members[0].is_learner
    }

    fn cluster_version(&self) -> Option<ClusterVersion> {
        self.version
    }

    fn alarms(&self) -> Vec<AlarmMember> {
        self.alarms.clone()
    }

    fn v2_get(&self, path: &str, recursive: bool, sorted: bool) -> Result<Event, V2Error> {
        self.store.lock().unwrap().get(path, recursive, sorted)
    }

    async fn propose_v2(&self, request: V2Request) -> Result<Result<Event, V2Error>, EtcdError> {
        self.proposals.fetch_add(1, Ordering::Relaxed);
        match self.cluster_fault {
            Some(error) => Err(error),
            None => {
                let applied = self.store.lock().unwrap().apply(&request);
                let mut watchers = self.watchers.lock().unwrap();
                watchers.notify(applied.events.into_iter().zip(&applied.removed));
                Ok(applied.result)
            }
        }
    }

    async fn v2_watch(&self, watch: Watch) -> Result<Result<V2Watch, V2Error>, EtcdError> {
        match self.cluster_fault {
            Some(error) => Err(error),
            None => {
                let mut watchers = self.watchers.lock().unwrap();
                Ok(watchers.register(&self.store.lock().unwrap(), &watch))
            }
        }
    }

    async fn linearize(&self) -> Result<(), EtcdError> {
        self.linearized.fetch_add(1, Ordering::Relaxed);
        self.cluster_fault.map_or(Ok(()), Err)
    }

    async fn read_one_key(&self) -> Result<(), EtcdError> {
        Ok(())
    }
}
