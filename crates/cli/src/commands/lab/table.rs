//! A run as a table.

use bellwether_lab::{Document, FleetMeasured, grouped};
use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

/// A run for people: the table, a cause for each, and the verdict.
pub(super) fn told(document: &Document) -> String {
    let mut text = match &document.fleet {
        Some(measured) => fleet(measured),
        None => format!("{}\n", table(document)),
    };
    for one in &document.strategies {
        text += &format!("\n{}: {}", one.name, one.cause);
    }
    format!("{text}\n\n{}\n{}", document.verdict.sentence, document.verdict.change)
}

fn table(document: &Document) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let heads = [
        "strategy",
        "token requests",
        "throttled",
        "evicted",
        "live",
        "401",
        "429",
        "due",
        "done",
        "late",
        "gaps",
        "hung",
        "p50 ms",
        "p99 ms",
    ];
    table.set_header(heads.map(|head| Cell::new(head).add_attribute(Attribute::Bold)));
    for one in &document.strategies {
        let count = |number: u64| Cell::new(grouped(number));
        let bad =
            |number: u64| count(number).fg(if number == 0 { Color::Green } else { Color::Red });
        table.add_row([
            Cell::new(&one.name),
            count(one.token_requests),
            bad(one.throttled_logins),
            count(one.tokens_evicted),
            count(one.most_live_tokens),
            bad(one.status_401),
            bad(one.status_429),
            count(one.polls.due),
            count(one.polls.done),
            count(one.polls.late),
            bad(one.polls.gaps),
            bad(u64::from(one.hung_workers)),
            Cell::new(format!("{:.1}", one.latency_ms.p50)),
            Cell::new(format!("{:.1}", one.latency_ms.p99)),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A fleet as lines.
fn fleet(fleet: &FleetMeasured) -> String {
    let lines = [
        ("replicas", u64::from(fleet.replicas)),
        ("credentials", u64::from(fleet.credentials)),
        ("token requests", fleet.token_requests),
        ("generations", fleet.generations),
        ("found in the store", fleet.adopted),
        ("found under way", fleet.elsewhere),
        ("evicted", fleet.tokens_evicted),
        ("ended in use", fleet.ended_in_use),
    ];
    let lines = lines.map(|(name, count)| format!("{name:<20}{:>14}", grouped(count)));
    let left = fleet.least_left_s.map_or_else(|| "–".to_owned(), |left| format!("{left:.1} s"));
    format!("{}\n{:<20}{left:>14}", lines.join("\n"), "shortest life left")
}
