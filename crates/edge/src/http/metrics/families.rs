//! Builds metric families from plain numbers at the time of a scrape.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

/// Families under construction.
#[derive(Default)]
pub(super) struct Families(Vec<MetricFamily>);

/// Name and value of each label.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

impl Families {
    /// Adds a gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.labelled_gauge(name, help, &[], value);
    }

    /// Adds a gauge; one call per set of labels.
    pub(super) fn labelled_gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_>,
        value: f64,
    ) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = labelled(labels);
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, metric);
    }

    /// Adds a counter; one call per set of labels.
    pub(super) fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        self.push(name, help, MetricType::COUNTER, counter_metric(labels, value));
    }

    /// Adds a family that is not there yet.
    pub(super) fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        metrics: Vec<Metric>,
    ) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// Adds a histogram of upper bounds with their cumulative counts.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_>,
        observed: &Observed,
    ) {
        let buckets = observed.buckets.iter().map(|&(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(observed.count);
        histogram.set_sample_sum(observed.sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }

    /// The families in the order of their first metric.
    pub(super) fn finish(self) -> Vec<MetricFamily> {
        self.0
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, metric: Metric) {
        if let Some(family) = self.0.iter_mut().find(|family| family.name() == name) {
            family.mut_metric().push(metric);
            return;
        }
        self.family(name, help, kind, vec![metric]);
    }
}

/// A histogram as it stands.
pub(super) struct Observed {
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum: f64,
}

/// A counter with its labels.
pub(super) fn counter_metric(labels: Labels<'_>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

fn labelled(labels: Labels<'_>) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}
