//! Counters of operations (api-v2.md 5.3). They belong to one member and are not replicated.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

/// The counters, named as in `/v2/stats/store`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are etcd's")]
pub struct Stats {
    pub gets_success: u64,
    pub gets_fail: u64,
    pub sets_success: u64,
    pub sets_fail: u64,
    pub delete_success: u64,
    pub delete_fail: u64,
    pub update_success: u64,
    pub update_fail: u64,
    pub create_success: u64,
    pub create_fail: u64,
    pub compare_and_swap_success: u64,
    pub compare_and_swap_fail: u64,
    pub compare_and_delete_success: u64,
    pub compare_and_delete_fail: u64,
    pub expire_count: u64,
    pub watchers: u64,
}

impl Stats {
    /// Names and values in the order of the JSON.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, u64); 16] {
        [
            ("getsSuccess", self.gets_success),
            ("getsFail", self.gets_fail),
            ("setsSuccess", self.sets_success),
            ("setsFail", self.sets_fail),
            ("deleteSuccess", self.delete_success),
            ("deleteFail", self.delete_fail),
            ("updateSuccess", self.update_success),
            ("updateFail", self.update_fail),
            ("createSuccess", self.create_success),
            ("createFail", self.create_fail),
            ("compareAndSwapSuccess", self.compare_and_swap_success),
            ("compareAndSwapFail", self.compare_and_swap_fail),
            ("compareAndDeleteSuccess", self.compare_and_delete_success),
            ("compareAndDeleteFail", self.compare_and_delete_fail),
            ("expireCount", self.expire_count),
            ("watchers", self.watchers),
        ]
    }
}

/// Reads happen under a shared reference, so their counters are atomic; nothing is ordered by them.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    success: AtomicU64,
    fail: AtomicU64,
}

impl ReadCounters {
    pub(crate) fn new(success: u64, fail: u64) -> Self {
        Self { success: success.into(), fail: fail.into() }
    }

    pub(crate) fn count(&self, success: bool) {
        let counter = if success { &self.success } else { &self.fail };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn values(&self) -> (u64, u64) {
        (self.success.load(Ordering::Relaxed), self.fail.load(Ordering::Relaxed))
    }
}

impl Clone for ReadCounters {
    fn clone(&self) -> Self {
        let (success, fail) = self.values();
        Self::new(success, fail)
    }
}
