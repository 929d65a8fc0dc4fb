//! How a poll stands, for scrapers.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::Standing;

/// Writes all metrics of one poll.
pub(super) fn write(to: &mut String, poll: &str, standing: &Standing) -> fmt::Result {
    let mut registry = Registry::with_prefix_and_labels(
        "bellwether_poll",
        [("poll".into(), poll.to_owned().into())].into_iter(),
    );
    registry.register_collector(Box::new(Scraped(standing.clone())));
    encode(to, &registry)
}

#[derive(Debug)]
struct Scraped(Standing);

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Self(standing) = self;
        let Standing { polled, delivered, absent, token_requests, status_401, status_429 } =
            standing;
        let tally = polled.tally;
        let slots =
            [("done", tally.done), ("late", tally.late), ("gap", tally.gaps), ("absent", *absent)];
        let help = "Slots by what became of them";
        let mut metric = encoder.encode_descriptor("slots", help, None, MetricType::Counter)?;
        for (became, count) in slots {
            let labels = [("became", became)];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        let counters = [
            ("delivered", "Slots that were written", delivered.slots),
            ("backfilled", "Gaps that were filled later", delivered.backfilled),
            ("token_requests", "Token requests sent", u64::from(*token_requests)),
            ("status_401", "401 that workers saw", *status_401),
            ("status_429", "429 that workers saw", *status_429),
        ];
        for (name, help, count) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(count).encode(metric)?;
        }
        let trouble = i64::from(delivered.trouble.is_some());
        let gauges = [
            ("open_slots", "Slots that are due and not decided", tally.open as i64),
            ("output_in_trouble", "1 while the output takes nothing", trouble),
        ];
        for (name, help, value) in gauges {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        let help = "From when a slot was due to its sample; a gap counts as a period";
        let unit = Some(&Unit::Seconds);
        let mut metric = encoder.encode_descriptor("latency", help, unit, MetricType::Gauge)?;
        for (quantile, latency) in [("0.5", polled.latency.p50), ("0.99", polled.latency.p99)] {
            let labels = [("quantile", quantile)];
            ConstGauge::new(latency.as_secs_f64()).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
