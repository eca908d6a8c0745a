//! Which of a peer's URLs is used: the same one until it fails.

use std::sync::Mutex;

use crate::activity::lock;
use crate::dial::PeerUrl;
use crate::limits;

#[derive(Debug)]
pub(crate) struct UrlPicker {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    urls: Vec<PeerUrl>,
    picked: usize,
}

/// The URLs that can be used, in order.
pub(crate) fn parse_urls<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Vec<PeerUrl> {
    texts
        .into_iter()
        .filter_map(|text| PeerUrl::parse(text.as_ref()))
        .take(limits::PEER_URLS_MAX)
        .collect()
}

impl UrlPicker {
    pub(crate) fn new(urls: Vec<PeerUrl>) -> Self {
        Self { state: Mutex::new(State { urls, picked: 0 }) }
    }

    pub(crate) fn pick(&self) -> Option<PeerUrl> {
        let state = lock(&self.state);
        state.urls.get(state.picked).cloned()
    }

    /// Moves on, unless another task has done so already.
    pub(crate) fn unreachable(&self, url: &PeerUrl) {
        let mut state = lock(&self.state);
        if state.urls.get(state.picked) == Some(url) {
            state.picked = (state.picked + 1) % state.urls.len();
        }
    }

    pub(crate) fn update(&self, urls: Vec<PeerUrl>) {
        *lock(&self.state) = State { urls, picked: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_on_once_per_failure() {
        let picker = UrlPicker::new(parse_urls(["http://a:1", "nonsense", "http://b:1"]));
        let first = picker.pick().unwrap();
        picker.unreachable(&first);
        picker.unreachable(&first);
        let second = picker.pick().unwrap();
        assert_eq!(second.address(), "b:1");
        picker.unreachable(&second);
        assert_eq!(picker.pick(), Some(first));
        picker.update(Vec::new());
        assert_eq!(picker.pick(), None);
    }
}
