//! Lease holders: some keep alive, some stop, and a log of leaders to judge by.
//!
//! Owns:       leases whose keys are `lease/kept/...` and `lease/left/...`.
//! Uses:       `client`, what `watchers` saw of these keys.
//! Invariants: times are taken on the side that makes the check weaker: a renewal happened after it
//!             was sent and before its answer came; a deletion happened before anybody saw it.
//! Source:     api-v3.md 4.3, 4.5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tonic::Code;

use super::ELECTION_TIMEOUT;
use super::client::{Client, KeepAlive};
use super::watchers::Seen;

/// Leases that are kept alive, and for how long they live without: more than a cluster without a
/// leader takes to get one.
const KEPT: usize = 4;
const KEPT_TTL: i64 = 10;
/// Holders that leave lease after lease, and the shortest lives that etcd grants.
const LEAVERS: usize = 6;
const LEFT_TTL: [i64; 3] = [2, 3, 4];
/// Pause between two renewals of a lease that is left later, between those of one that is kept, and
/// of a holder between two leases.
const LEAVER_PAUSE: Duration = Duration::from_millis(500);
const KEEPER_PAUSE: Duration = Duration::from_millis(800);
/// How long a holder waits for a renewal before it asks another member.
const RENEWAL_PATIENCE: Duration = Duration::from_millis(1500);
/// A request without an answer may take effect so much later: 5 s and two election time-outs.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);
/// How often leaders are looked for.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Expiry is looked for twice a second, and half a second more is the revoke's way through the log.
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// What the issue allows on top of etcd's promise.
const LATE_MAX: Duration = Duration::from_secs(2);
/// Prefix of all keys with leases.
pub(super) const PREFIX: &str = "lease";

/// Running holders.
pub(super) struct Holders {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Life>>,
    looks: JoinSet<Vec<Look>>,
}

/// A lease as its holder knows it.
#[derive(Clone, Debug)]
struct Life {
    key: String,
    ttl: Duration,
    is_kept: bool,
    /// When the last renewal (or the grant) that was answered had been sent.
    renewed_after: Instant,
    /// By when the last renewal must have taken effect, answered or not.
    renewed_before: Instant,
}

/// A member knew of a leader that could commit.
#[derive(Clone, Copy, Debug)]
struct Look {
    term: u64,
    at: Instant,
}

/// A time without a leader: when the old one was last known, and by when the next could commit.
#[derive(Clone, Copy, Debug)]
struct Change {
    from: Instant,
    to: Instant,
}

/// What holders know at the end.
pub(super) struct Held {
    lives: Vec<Life>,
    changes: Vec<Change>,
}

impl Holders {
    /// Starts them on the runtime that the caller has entered.
    pub(super) fn start(clients: &[Client]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut tasks, mut looks) = (JoinSet::new(), JoinSet::new());
        for number in 0..KEPT {
            let holder = Holder::new(clients, number, Arc::clone(&stop));
            tasks.spawn(holder.keep());
        }
        for number in 0..LEAVERS {
            let holder = Holder::new(clients, number, Arc::clone(&stop));
            tasks.spawn(holder.leave_many());
        }
        for client in clients {
            looks.spawn(look(client.clone(), Arc::clone(&stop)));
        }
        Self { stop, tasks, looks }
    }

    /// Ends them when the last lease that was left has had its time.
    pub(super) async fn stop(mut self) -> Held {
        self.stop.store(true, Ordering::Relaxed);
        let mut lives = Vec::new();
        while let Some(one) = self.tasks.join_next().await {
            lives.extend(one.expect("a holder does not fail"));
        }
        let mut looks = Vec::new();
        while let Some(one) = self.looks.join_next().await {
            looks.extend(one.expect("nothing to fail"));
        }
        looks.sort_by_key(|look| look.at);
        Held { lives, changes: changes(&looks) }
    }
}

/// Looks for the leader through one member.
async fn look(client: Client, stop: Arc<AtomicBool>) -> Vec<Look> {
    let mut looks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let term = tokio::time::timeout(RENEWAL_PATIENCE, client.leader_term()).await;
        if let Ok(Ok(term)) = term {
            looks.push(Look { term, at: Instant::now() });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    looks
}

fn changes(looks: &[Look]) -> Vec<Change> {
    let mut changes = Vec::new();
    let Some(mut newest) = looks.first().copied() else { return changes };
    for look in looks {
        if look.term > newest.term {
            changes.push(Change { from: newest.at, to: look.at });
        }
        if look.term >= newest.term {
            newest = *look;
        }
    }
    changes
}

/// A client with leases.
struct Holder {
    clients: Vec<Client>,
    number: usize,
    /// The member asked next.
    member: usize,
    stream: Option<KeepAlive>,
    stop: Arc<AtomicBool>,
}

impl Holder {
    fn new(clients: &[Client], number: usize, stop: Arc<AtomicBool>) -> Self {
        Self { clients: clients.to_vec(), number, member: number, stream: None, stop }
    }

    /// The next member.
    fn client(&mut self) -> &Client {
        self.member += 1;
        &self.clients[self.member % self.clients.len()]
    }

    /// Keeps one lease for good.
    async fn keep(mut self) -> Vec<Life> {
        let key = format!("{PREFIX}/kept/{}", self.number);
        let (id, mut life) = loop {
            if let Some(begun) = self.begin(&key, KEPT_TTL, true).await {
                break begun;
            }
        };
        while !self.stop.load(Ordering::Relaxed) {
            self.renew(id, &mut life).await;
            tokio::time::sleep(KEEPER_PAUSE).await;
        }
        vec![life]
    }

    /// Takes a lease, renews it a few times, leaves it, and so on.
    async fn leave_many(mut self) -> Vec<Life> {
        let mut lives = Vec::new();
        for sequence in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("{PREFIX}/left/{}/{sequence}", self.number);
            let ttl = LEFT_TTL[sequence % LEFT_TTL.len()];
            if let Some((id, mut life)) = self.begin(&key, ttl, false).await {
                for _ in 0..sequence % 4 {
                    tokio::time::sleep(LEAVER_PAUSE).await;
                    self.renew(id, &mut life).await;
                }
                lives.push(life);
            }
            tokio::time::sleep(LEAVER_PAUSE).await;
        }
        lives
    }

    /// A new lease with its key; `None` when it is not known what came of it.
    async fn begin(&mut self, key: &str, ttl: i64, is_kept: bool) -> Option<(i64, Life)> {
        let client = self.client().clone();
        let sent = Instant::now();
        let id = client.grant(ttl).await.ok()?;
        let answered = Instant::now();
        let ttl = Duration::from_secs(ttl.unsigned_abs());
        if let Err(status) = client.put_leased(key, id).await {
            let is_gone = status.code() == Code::NotFound;
            assert!(!is_gone || sent.elapsed() >= ttl, "{key} lost its lease early: {status}");
            return None;
        }
        let (key, renewed_after, renewed_before) = (key.to_owned(), sent, answered);
        Some((id, Life { key, ttl, is_kept, renewed_after, renewed_before }))
    }

    /// One renewal, through the stream that is open or through the next member.
    async fn renew(&mut self, id: i64, life: &mut Life) {
        let sent = Instant::now();
        let renewal = tokio::time::timeout(RENEWAL_PATIENCE, async {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.client().keep_alive().await?,
            };
            let left = stream.renew(id).await?;
            Ok::<_, tonic::Status>((stream, left))
        });
        match renewal.await {
            Ok(Ok((stream, left))) => {
                self.stream = Some(stream);
                if left == 0 {
                    let lived = life.renewed_after.elapsed();
                    assert!(lived >= life.ttl, "{life:?} was refused after {lived:?}");
                    assert!(!life.is_kept, "{life:?} was kept alive and lost after {lived:?}");
                    return;
                }
                assert_eq!(left.unsigned_abs(), life.ttl.as_secs(), "{life:?}");
                life.renewed_after = sent;
                life.renewed_before = life.renewed_before.max(Instant::now());
            }
            // It may still take effect.
            Ok(Err(_)) | Err(_) => life.renewed_before = Instant::now() + REQUEST_TIMEOUT,
        }
    }
}

impl Held {
    /// The moment by which everything that was left must be gone.
    pub(super) fn all_gone_by(&self) -> Instant {
        let left = self.lives.iter().filter(|life| !life.is_kept);
        left.map(|life| self.deadline(life)).max().unwrap_or_else(Instant::now)
    }

    /// The latest moment that etcd promises, and what is allowed on top: the time to live counts
    /// from the last renewal; each new leader gives it anew, and an election time-out more.
    fn deadline(&self, life: &Life) -> Instant {
        let slack = CHECK_PAUSE + LATE_MAX;
        let mut deadline = life.renewed_before + life.ttl + slack;
        for change in &self.changes {
            if change.from < deadline && change.to > life.renewed_after {
                deadline = deadline.max(change.to + life.ttl + ELECTION_TIMEOUT + slack);
            }
        }
        deadline
    }

    /// No key went before its time, or long after it.
    ///
    /// # Panics
    /// When that is not so.
    pub(super) fn check(&self, watched: &[Seen]) {
        let deleted = first_deletions(watched);
        let mut latest = Duration::ZERO;
        for life in &self.lives {
            let Some(at) = deleted.get(life.key.as_str()) else {
                assert!(life.is_kept, "never expired: {life:?}");
                continue;
            };
            // Those that were kept may go too, when their time after the end of their holder is up.
            let lived = at.duration_since(life.renewed_after);
            assert!(lived >= life.ttl, "{life:?} expired after {lived:?}");
            let deadline = self.deadline(life);
            let late = at.saturating_duration_since(deadline);
            assert_eq!(late, Duration::ZERO, "{life:?} expired too late; {:?}", self.changes);
            let promised = deadline - LATE_MAX - CHECK_PAUSE;
            latest = latest.max(at.saturating_duration_since(promised));
        }
        let (count, changes) = (self.lives.len(), self.changes.len());
        println!("{count} leases, {changes} changes of leader, latest {latest:?} after its time");
        assert!(count > KEPT + LEAVERS && changes > 0, "nothing was shown");
    }
}

/// When each deletion was first seen by anybody.
fn first_deletions(watched: &[Seen]) -> BTreeMap<&str, Instant> {
    let mut deleted: BTreeMap<&str, Instant> = BTreeMap::new();
    for event in watched.iter().flat_map(|seen| &seen.events).filter(|event| !event.is_put) {
        let at = deleted.entry(&event.key).or_insert(event.at);
        *at = event.at.min(*at);
    }
    deleted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_leaders_give_the_time_to_live_anew_one_after_the_other() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let life = Life {
            key: "k".to_owned(),
            ttl: Duration::from_secs(4),
            is_kept: false,
            renewed_after: at(10),
            renewed_before: at(11),
        };
        let deadline = |changes: &[(u64, u64)]| {
            let change = |(from, to): &(u64, u64)| Change { from: at(*from), to: at(*to) };
            let changes = changes.iter().map(change).collect();
            let slack = CHECK_PAUSE + LATE_MAX;
            (Held { lives: Vec::new(), changes }.deadline(&life) - slack - begun).as_secs()
        };
        assert_eq!(deadline(&[]), 15);
        assert_eq!(deadline(&[(5, 9), (40, 42)]), 15, "changes before and after its life");
        assert_eq!(deadline(&[(12, 14)]), 19, "four seconds and an election time-out more");
        assert_eq!(deadline(&[(12, 14), (19, 21), (50, 51)]), 26);
        assert_eq!(deadline(&[(9, 12)]), 17, "a renewal while nobody led");
    }
}
