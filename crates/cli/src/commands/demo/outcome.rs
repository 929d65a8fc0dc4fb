//! What came of each strategy: a table, a JSON document, and whether Bellwether kept its promise.

use std::time::Duration;

use bellwether_poller::{Refusals, Snapshot, Tally};
use bellwether_simulation::Totals;
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};
use serde_json::{Value, json};

/// One strategy, as its workers and its organisation tell it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) polled: Snapshot,
    pub(super) refusals: Refusals,
    pub(super) totals: Totals,
}

impl Outcome {
    /// A few words while it runs.
    pub(super) fn in_brief(&self) -> String {
        let Refusals { token_requests, status_401, status_429, .. } = self.refusals;
        let gaps = self.polled.tally.gaps;
        format!("401 {status_401} · 429 {status_429} · gaps {gaps} · logins {token_requests}")
    }

    /// What workers and organisation counted differently.
    fn disagreements(&self) -> impl Iterator<Item = String> {
        let (seen, sent) = (self.refusals, self.totals);
        let name = self.name;
        [
            ("token requests", seen.token_requests, sent.token_requests),
            ("401", seen.status_401, sent.status_401),
            ("429", seen.status_429, sent.status_429),
            ("throttled logins", seen.throttled_logins, sent.throttled_logins),
        ]
        .into_iter()
        .filter(|(_, seen, sent)| seen != sent)
        .map(move |(what, seen, sent)| {
            format!("{name}: workers counted {seen} {what}, the organisation {sent}")
        })
    }
}

/// Why the exit status is not 0: Bellwether's workers were refused or left a gap, or the two ways
/// of counting disagree.
pub(super) fn complaints(outcomes: &[Outcome]) -> Vec<String> {
    let mut complaints: Vec<String> = outcomes.iter().flat_map(Outcome::disagreements).collect();
    for outcome in outcomes.iter().filter(|outcome| outcome.name == "bellwether") {
        let promised_none = [
            ("401", outcome.refusals.status_401),
            ("429", outcome.refusals.status_429),
            ("gaps", outcome.polled.tally.gaps),
        ];
        let broken = promised_none.into_iter().filter(|(_, count)| *count > 0);
        complaints.extend(
            broken.map(|(what, count)| {
                format!("bellwether: {what}: {count}, and there should be none")
            }),
        );
    }
    complaints
}

/// For people.
pub(super) fn table(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let heads = [
        "strategy",
        "token requests",
        "throttled",
        "evicted",
        "401",
        "429",
        "due",
        "done",
        "late",
        "gaps",
        "p50 ms",
        "p99 ms",
    ];
    table.set_header(heads.map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    for outcome in outcomes {
        let Outcome { name, polled, refusals, totals } = outcome;
        let bad = |count: u64| {
            let colour = if count == 0 { Color::Green } else { Color::Red };
            Cell::new(count).fg(colour)
        };
        table.add_row([
            Cell::new(name),
            Cell::new(totals.token_requests),
            bad(refusals.throttled_logins),
            Cell::new(totals.tokens_evicted),
            bad(refusals.status_401),
            bad(refusals.status_429),
            Cell::new(polled.tally.due),
            Cell::new(polled.tally.done),
            Cell::new(polled.tally.late),
            bad(polled.tally.gaps),
            Cell::new(format!("{:.1}", milliseconds(polled.latency.p50))),
            Cell::new(format!("{:.1}", milliseconds(polled.latency.p99))),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The public contract's document.
pub(super) fn json(outcomes: &[Outcome]) -> Value {
    let strategies: Vec<Value> = outcomes.iter().map(strategy).collect();
    json!({ "strategies": strategies })
}

fn strategy(outcome: &Outcome) -> Value {
    let Outcome { name, polled, refusals, totals } = outcome;
    let Tally { due, done, late, gaps, open: _ } = polled.tally;
    json!({
        "name": name,
        "token_requests": totals.token_requests,
        "throttled_logins": refusals.throttled_logins,
        "tokens_evicted": totals.tokens_evicted,
        "status_401": refusals.status_401,
        "status_429": refusals.status_429,
        "polls": { "due": due, "done": done, "late": late, "gaps": gaps },
        "latency_ms": {
            "p50": milliseconds(polled.latency.p50),
            "p99": milliseconds(polled.latency.p99),
        },
    })
}

/// With a tenth as the finest.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use bellwether_poller::Percentiles;

    use super::*;

    fn outcome(name: &'static str, status_401: u64, gaps: u64) -> Outcome {
        let tally = Tally { due: 100, done: 100 - gaps, gaps, ..Tally::default() };
        let latency =
            Percentiles { p50: Duration::from_micros(4_321), p99: Duration::from_micros(98_765) };
        Outcome {
            name,
            polled: Snapshot { tally, latency },
            refusals: Refusals { token_requests: 42, status_401, ..Refusals::default() },
            totals: Totals { token_requests: 42, status_401, ..Totals::default() },
        }
    }

    #[test]
    fn bellwether_alone_must_be_without_refusal_and_gap() {
        #[rustfmt::skip]
        let cases = [
            // the other's, bellwether's (401, gaps), complaints
            ((9, 9), (0, 0), 0),
            ((0, 0), (1, 0), 1),
            ((0, 0), (0, 1), 1),
            ((0, 0), (1, 1), 2),
        ];
        for (other, own, expected) in cases {
            let outcomes =
                [outcome("per-worker", other.0, other.1), outcome("bellwether", own.0, own.1)];
            assert_eq!(complaints(&outcomes).len(), expected, "{own:?}");
        }
    }

    #[test]
    fn both_sides_must_have_counted_the_same() {
        let mut outcome = outcome("shared-lock", 0, 0);
        outcome.totals.status_429 = 3;
        let said = complaints(&[outcome]);
        assert_eq!(said, ["shared-lock: workers counted 0 429, the organisation 3"]);
    }

    #[test]
    fn the_document_has_the_contract_s_shape() {
        let expected = json!({ "strategies": [{
            "name": "bellwether",
            "token_requests": 42, "throttled_logins": 0, "tokens_evicted": 0,
            "status_401": 0, "status_429": 0,
            "polls": { "due": 100, "done": 98, "late": 0, "gaps": 2 },
            "latency_ms": { "p50": 4.3, "p99": 98.8 },
        }] });
        assert_eq!(json(&[outcome("bellwether", 0, 2)]), expected);
    }
}
