//! `/metrics`: etcd's names and types, true figures only.

mod calls;
mod counted;
mod families;
mod figures;

use prometheus::{
    Encoder, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
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
        let counter = |name, help| {
            let counter = IntCounter::new(name, help).expect("the name is valid");
            registry.register(Box::new(counter.clone())).expect("the name is new");
            counter
        };
        let check_state = GaugeVec::new(
            Opts::new("etcd_server_healthcheck", "Result of the last run of a health check."),
            &["type", "name"],
        )
        .expect("the name is valid");
        let checks_total = IntCounterVec::new(
            Opts::new("etcd_server_healthchecks_total", "Runs of health checks by result."),
            &["type", "name", "status"],
        )
        .expect("the name is valid");
        registry.register(Box::new(check_state.clone())).expect("the name is new");
        registry.register(Box::new(checks_total.clone())).expect("the name is new");
        Self {
            health_success: counter("etcd_server_health_success", "Successful calls of /health."),
            health_failures: counter("etcd_server_health_failures", "Failed calls of /health."),
            check_state,
            checks_total,
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

#[cfg(test)]
mod tests;
