//! `/metrics`: etcd's names and types, true figures only.
//!
//! Owns:       what the HTTP endpoints count.
//! Uses:       `node::Counters`, `grpc::Tally`, the figures of a member at the time of a scrape.
//! Never:      a family of a thing that is not there: those of etcd that are missing are in
//!             `tests/it/testdata/missing.txt`, each with its reason. Of Go's runtime (`go_*`) there is
//!             nothing; `process_*` and the scrapes themselves are shown, because dashboards use them.
//! Source:     server-config.md 10.

mod calls;
mod counted;
mod families;
mod figures;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder,
};

use node::Counters;

use crate::grpc::Tally;

use self::families::Families;
pub(crate) use self::figures::Figures;

/// The type of the text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters of the edges, and the registry that other parts may add theirs to.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    health_success: IntCounter,
    health_failures: IntCounter,
    check_state: GaugeVec,
    checks_total: IntCounterVec,
    v2_received: IntCounterVec,
    v2_failed: IntCounterVec,
    v2_successful: HistogramVec,
    scrapes: IntCounterVec,
    scrapes_under_way: IntGauge,
}

/// Scrapes that may come to these statuses, shown from the start as in etcd.
const SCRAPE_CODES: [u16; 3] = [200, 500, 503];
/// Bounds of `etcd_http_successful_duration_seconds`: 0.5 ms to 2 s.
const V2_BOUNDS: (f64, f64, usize) = (0.0005, 2.0, 13);

/// A scrape under way.
pub(crate) struct Scrape<'a>(&'a Metrics);

impl Drop for Scrape<'_> {
    fn drop(&mut self) {
        self.0.scrapes_under_way.dec();
    }
}

impl Scrape<'_> {
    pub(crate) fn done(self, code: u16) {
        self.0.scrapes.with_label_values(&[code.to_string().as_str()]).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at zero.
    ///
    /// # Panics
    /// Never: the names are fixed, valid and different.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let all = &registry;
        let scrapes = counters(
            all,
            "promhttp_metric_handler_requests_total",
            "Scrapes by HTTP status code.",
            &["code"],
        );
        for code in SCRAPE_CODES {
            let _shown_at_zero = scrapes.with_label_values(&[code.to_string().as_str()]);
        }
        Self {
            health_success: counter(
                all,
                "etcd_server_health_success",
                "Successful calls of /health.",
            ),
            health_failures: counter(
                all,
                "etcd_server_health_failures",
                "Failed calls of /health.",
            ),
            check_state: gauges(
                all,
                "etcd_server_healthcheck",
                "Result of the last run of a health check.",
                &["type", "name"],
            ),
            checks_total: counters(
                all,
                "etcd_server_healthchecks_total",
                "Runs of health checks by result.",
                &["type", "name", "status"],
            ),
            v2_received: counters(
                all,
                "etcd_http_received_total",
                "Requests for v2 keys, watches apart.",
                &["method"],
            ),
            v2_failed: counters(
                all,
                "etcd_http_failed_total",
                "Requests for v2 keys that failed, watches apart.",
                &["method", "code"],
            ),
            v2_successful: histograms(
                all,
                "etcd_http_successful_duration_seconds",
                "Time that successful requests for v2 keys took, watches apart.",
                &["method"],
                V2_BOUNDS,
            ),
            scrapes,
            scrapes_under_way: gauge(
                all,
                "promhttp_metric_handler_requests_in_flight",
                "Scrapes being served.",
            ),
            registry,
        }
    }

    /// Where other parts register what they count.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn count_health(&self, is_healthy: bool) {
        if is_healthy { &self.health_success } else { &self.health_failures }.inc();
    }

    pub(crate) fn count_check(&self, kind: &str, name: &str, is_ok: bool) {
        let state: Gauge = self.check_state.with_label_values(&[kind, name]);
        state.set(f64::from(u8::from(is_ok)));
        let status = if is_ok { "success" } else { "error" };
        self.checks_total.with_label_values(&[kind, name, status]).inc();
    }

    /// A request for a v2 key that is understood and no watch.
    pub(crate) fn v2_received(&self, method: &str) {
        self.v2_received.with_label_values(&[method]).inc();
    }

    pub(crate) fn v2_failed(&self, method: &str, code: u16) {
        self.v2_failed.with_label_values(&[method, code.to_string().as_str()]).inc();
    }

    pub(crate) fn v2_succeeded(&self, method: &str, took: Duration) {
        self.v2_successful.with_label_values(&[method]).observe(took.as_secs_f64());
    }

    pub(crate) fn begin_scrape(&self) -> Scrape<'_> {
        self.scrapes_under_way.inc();
        Scrape(self)
    }

    /// Everything in the text format, by name.
    pub(crate) fn text(
        &self,
        figures: &Figures,
        counters: &Counters,
        tally: Option<&Tally>,
    ) -> prometheus::Result<Vec<u8>> {
        let mut families = Families::default();
        figures.add_to(&mut families);
        counted::add_counted(&mut families, counters);
        if let Some(tally) = tally {
            calls::add_calls(&mut families, tally);
        }
        let mut all = families.finish();
        all.extend(self.registry.gather());
        all.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&all, &mut text)?;
        Ok(text)
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    registered(registry, IntCounter::new(name, help))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    registered(registry, IntGauge::new(name, help))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    registered(registry, GaugeVec::new(Opts::new(name, help), labels))
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    (first, factor, count): (f64, f64, usize),
) -> HistogramVec {
    let bounds = prometheus::exponential_buckets(first, factor, count);
    let bounds = bounds.expect("the bounds ascend");
    registered(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds), labels))
}

fn registered<C>(registry: &Registry, made: prometheus::Result<C>) -> C
where
    C: Collector + Clone + 'static,
{
    let collector = made.expect("the name is valid");
    registry.register(Box::new(collector.clone())).expect("the name is new");
    collector
}

#[cfg(test)]
mod tests;
