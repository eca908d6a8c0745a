//! Round trip times: `GET /raft/probing` every few seconds.

use std::sync::Arc;

use http::{Request, StatusCode, Uri};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::dial::{full, read_up_to};
use crate::limits;
use crate::peer::PeerCore;

/// Probes the peer for as long as the task lives. A failed probe is no news: streams and pipeline
/// decide whether the peer is active.
pub(crate) async fn run(core: Arc<PeerCore>) {
    let mut ticks = interval(limits::PROBE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        probe(&core).await;
    }
}

async fn probe(core: &PeerCore) -> Option<()> {
    let url = core.picker.pick()?;
    let mut connection = core.dial(&url, limits::IO_TIMEOUT).await.ok()?;
    let mut request = Request::new(full(""));
    *request.uri_mut() = Uri::from_static("/raft/probing");
    let started = Instant::now();
    let response = connection.send_within(request, limits::IO_TIMEOUT).await.ok()?;
    let found = response.status() == StatusCode::OK;
    read_up_to(response.into_body(), limits::ERROR_BODY_BYTES_MAX).await?;
    if found {
        core.counters.round_trips.observe(started.elapsed());
    }
    Some(())
}
