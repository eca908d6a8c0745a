//! Removal of log segments and snapshot files beyond the configured numbers.

use std::sync::Arc;
use std::time::Duration;

use disk::Disk;

use crate::options::Options;
use crate::shared::Shared;

/// As etcd's purger.
const INTERVAL: Duration = Duration::from_secs(30);

/// Purges until the member stops; a failure is logged and tried again at the next turn.
pub(crate) async fn purge_files(shared: Arc<Shared>, options: Options) {
    let mut stop = shared.watch_stop();
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stop.wait_for(Option::is_some) => return,
        }
        let options = options.clone();
        let purged = tokio::task::spawn_blocking(move || purge_once(&options)).await;
        if let Ok(Err(error)) = purged {
            tracing::warn!(%error, "failed to purge files");
        }
    }
}

fn purge_once(options: &Options) -> Result<(), wal::WalError> {
    let disk: &dyn Disk = options.disk.as_ref();
    let limit = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    if options.max_wals > 0 {
        log_names(&wal::purge(disk, &options.paths.wal, limit(options.max_wals))?);
    }
    if options.max_snapshots > 0 {
        for suffix in [".snap", ".snap.db"] {
            let max = limit(options.max_snapshots);
            log_names(&wal::purge_snaps(disk, &options.paths.snap, suffix, max)?);
        }
    }
    Ok(())
}

fn log_names(names: &[String]) {
    for name in names {
        tracing::info!(name, "purged");
    }
}
