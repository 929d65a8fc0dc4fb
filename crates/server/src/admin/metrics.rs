//! `/metrics`: counters and gauges in the exposition format of Prometheus.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bellwether_broker::lifecycle::{Held, State, Timestamp};
use bellwether_broker::{Broker, Handle};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text::encode};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::scrape::exposition;
use crate::answer::Answer;
use crate::listener::{Places, Refused};

/// One scrape's view of every credential.
#[derive(Debug)]
struct Snapshot {
    handles: Vec<Handle>,
    doubts: u64,
    violations: u64,
    now: Timestamp,
    version: &'static str,
    listeners: Listeners,
}

/// Each listener's name and its connections.
pub(crate) type Listeners = [(&'static str, Arc<Places>); 2];

/// Renders all credentials.
pub(crate) fn answer(
    broker: &Broker,
    handles: &[Handle],
    version: &'static str,
    listeners: Listeners,
) -> Answer {
    let mut registry = Registry::with_prefix("bellwether");
    registry.register_collector(Box::new(Snapshot {
        handles: handles.to_vec(),
        doubts: broker.doubts(),
        violations: broker.invariant_violations(),
        now: broker.clock().now(),
        version,
        listeners,
    }));
    exposition(|body| encode(body, &registry))
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let build = ConstGauge::new(1_i64);
        let metric = encoder.encode_descriptor(
            "build_info",
            "The release that runs",
            None,
            build.metric_type(),
        )?;
        family(metric, &[("version", self.version)], &build)?;
        self.tally(&mut encoder)?;
        self.connections(&mut encoder)?;
        self.counters(&mut encoder)?;
        self.gauges(&mut encoder)
    }
}

impl Snapshot {
    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut metric = encoder.encode_descriptor(
            "connections_open",
            "Connections that are open",
            None,
            kind,
        )?;
        for (listener, places) in &self.listeners {
            let open = i64::try_from(places.open()).unwrap_or(i64::MAX);
            ConstGauge::new(open).encode(metric.encode_family(&[("listener", *listener)])?)?;
        }
        let help = "Connections that were closed without an answer, and why";
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut metric = encoder.encode_descriptor("connections_refused", help, None, kind)?;
        for (listener, places) in &self.listeners {
            for why in Refused::ALL {
                let labels = [("listener", *listener), ("reason", why.as_str())];
                ConstCounter::new(places.refused(why)).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn tally(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let tally = [
            ("doubts", "Renewals whose request may have been processed unheard", self.doubts),
            ("invariant_violations", "What must never be; stays 0", self.violations),
        ];
        for (name, help, value) in tally {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter.metric_type(),
            )?)?;
        }
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut metric =
            encoder.encode_descriptor("credentials", "Credentials in each state", None, kind)?;
        for state in State::ALL {
            let is = |handle: &&Handle| handle.status().state == state;
            let count = self.handles.iter().filter(is).count() as i64;
            ConstGauge::new(count).encode(metric.encode_family(&[("state", state.as_str())])?)?;
        }
        Ok(())
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Read = fn(&Handle) -> &AtomicU32;
        let counters: [(&str, &str, Read); 6] = [
            ("token_requests", "Token requests sent", |h| &h.counters().token_requests),
            ("renewals", "Tokens accepted, from the server or another process", |h| {
                &h.counters().renewals
            }),
            ("renewals_adopted", "Renewals another process had done", |h| &h.counters().adopted),
            ("renewal_failures", "Renewals that failed", |h| &h.counters().failures),
            ("forced_renewals", "Renewals that a refused token forced", |h| &h.counters().forced),
            ("waits", "Callers that waited for a token", |h| &h.counters().waited),
        ];
        for (name, help, read) in counters {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            for handle in &self.handles {
                let value = ConstCounter::new(u64::from(read(handle).load(Ordering::Relaxed)));
                let labels = [("credential", handle.name())];
                value.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = ConstGauge::new(0_i64).metric_type();
        let mut metric = encoder.encode_descriptor(
            "credential_state",
            "1 for the state it is in",
            None,
            kind,
        )?;
        for handle in &self.handles {
            for state in State::ALL {
                let is = i64::from(handle.status().state == state);
                let labels = [("credential", handle.name()), ("state", state.as_str().to_owned())];
                ConstGauge::new(is).encode(metric.encode_family(&labels)?)?;
            }
        }
        let mut metric =
            encoder.encode_descriptor("tokens_held", "Access tokens held", None, kind)?;
        for handle in &self.handles {
            let held = handle.held().iter().flatten().count() as i64;
            ConstGauge::new(held)
                .encode(metric.encode_family(&[("credential", handle.name())])?)?;
        }
        let help = "What is left of the first held token to end";
        let mut metric =
            encoder.encode_descriptor("token_expires_in", help, Some(&Unit::Seconds), kind)?;
        for handle in &self.handles {
            let held = handle.held();
            let ends = held.iter().flatten().filter(|held| held.lifetime.is_some());
            if let Some(end) = ends.map(Held::expires_at).min() {
                let left = self.now.until(end).as_secs_f64();
                ConstGauge::new(left)
                    .encode(metric.encode_family(&[("credential", handle.name())])?)?;
            }
        }
        Ok(())
    }
}

fn family(
    mut metric: prometheus_client::encoding::MetricEncoder<'_>,
    labels: &[(&str, &str)],
    value: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    value.encode(metric.encode_family(&labels)?)
}
