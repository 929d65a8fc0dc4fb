//! A run as a page with pictures.

use std::path::Path;

use bellwether_lab::{Document, FleetMeasured, Measured, Mode, Percentiles, grouped};
use bellwether_report::{
    Align, Bars, Card, Chart, Clock, Colour, Layer, Mark, Page, Section, Shape, Table, Tone,
};
use bellwether_simulation::rehearsal::Strategy;

use crate::commands::Failure;
use crate::tell::tell;

/// Writes the page of a run.
pub(super) fn write(path: &Path, document: &Document) -> Result<(), Failure> {
    std::fs::write(path, page(document)).map_err(|error| {
        Failure::Failed(format!("{} cannot be written: {error}", path.display()))
    })?;
    tell!("the page is in {}", path.display());
    Ok(())
}

fn page(document: &Document) -> String {
    let about = &document.scenario;
    let verdict = &document.verdict;
    let mut page = Page::new(format!("bellwether lab · {}", about.name))
        .verdict(tone(document), verdict.sentence.clone())
        .lead(format!("What it takes: {}", verdict.change))
        .fact("profile", about.profile.clone())
        .fact(
            "run",
            match about.mode {
                Mode::Virtual => "virtual time",
                Mode::Sockets => "over sockets",
            },
        )
        .fact("for", length(about.duration_s));
    if let Some(fleet) = &document.fleet {
        page = page.section(of_fleet(fleet));
    } else {
        let needs = &document.needs;
        page = page
            .fact("agents", grouped(u64::from(about.agents)))
            .fact("workers", grouped(u64::from(about.workers)))
            .fact("processes", grouped(u64::from(about.processes)))
            .fact("period", length(about.period_s))
            .fact("calls a minute", grouped(needs.calls_per_minute as u64))
            .fact("tokens needed", grouped(needs.tokens))
            .fact("Bellwether's pool", grouped(u64::from(about.pool)))
            .section(side_by_side(document));
        for measured in &document.strategies {
            page = page.section(alone(document, measured));
        }
        page = page.section(latencies(document));
    }
    page.foot(format!(
        "{} Seed {}. Latency counts from when a poll was due, so that a strategy that falls behind \
         cannot look fast; a gap counts as one period.",
        about.about, about.seed
    ))
    .render()
}

fn tone(document: &Document) -> Tone {
    match &document.fleet {
        Some(fleet) if fleet.ended_in_use == 0 => Tone::Good,
        Some(_) => Tone::Bad,
        None if document.strategies.iter().all(Measured::is_clean) => Tone::Good,
        None if document.strategies.iter().any(Measured::is_clean) => Tone::Warning,
        None => Tone::Bad,
    }
}

/// `90 s`, `30 min`, `24 h`.
fn length(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 7_200.0 => format!("{:.0} h", seconds / 3600.0),
        seconds if seconds >= 120.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{} s", (seconds * 10.0).round() / 10.0),
    }
}

fn side_by_side(document: &Document) -> Section {
    let names = || document.strategies.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let row = |name: &str, colour, of: fn(&Measured) -> u64| {
        let values = document.strategies.iter().map(|one| of(one) as f64).collect();
        Layer::new(name, colour, Shape::Stack, values)
    };
    let told = |of: fn(&Measured) -> u64| {
        let told = document.strategies.iter();
        told.map(|one| format!("{}: {}", one.name, grouped(of(one)))).collect::<Vec<_>>().join("; ")
    };
    let columns = [
        ("strategy", Align::Left),
        ("token requests", Align::Right),
        ("evicted", Align::Right),
        ("most live", Align::Right),
        ("401", Align::Right),
        ("429", Align::Right),
        ("polls", Align::Right),
        ("late", Align::Right),
        ("gaps", Align::Right),
        ("p50 ms", Align::Right),
        ("p99 ms", Align::Right),
    ];
    let table = document.strategies.iter().fold(Table::new(columns), |table, one| {
        table.row([
            one.name.clone(),
            grouped(one.token_requests),
            grouped(one.tokens_evicted),
            grouped(one.most_live_tokens),
            grouped(one.status_401),
            grouped(one.status_429),
            grouped(one.polls.due),
            grouped(one.polls.late),
            grouped(one.polls.gaps),
            format!("{:.1}", one.latency_ms.p50),
            format!("{:.1}", one.latency_ms.p99),
        ])
    });
    Section::new("Side by side, on the same seed")
        .bars(
            Bars::new("Refusals that workers saw", names())
                .about(told(|one| one.status_401 + one.status_429))
                .layer(row("401", Colour::Red, |one| one.status_401))
                .layer(row("429", Colour::Amber, |one| one.status_429)),
        )
        .bars(
            Bars::new("Gaps: polls without a sample", names())
                .about(told(|one| one.polls.gaps))
                .layer(row("gaps", Colour::Violet, |one| one.polls.gaps)),
        )
        .bars(
            Bars::new("Token requests", names()).about(told(|one| one.token_requests)).layer(row(
                "token requests",
                Colour::Blue,
                |one| one.token_requests,
            )),
        )
        .table(table)
}

/// One strategy's own section.
fn alone(document: &Document, measured: &Measured) -> Section {
    let tone = if measured.is_clean() { Tone::Good } else { Tone::Bad };
    let about = match (Strategy::named(&measured.name), measured.name.as_str()) {
        (Some(strategy), _) => strategy.about(),
        (None, "jmeter-gateway") => "JMeter, through Bellwether's gateway",
        (None, _) => "JMeter, against the organisation itself",
    };
    let card = Card::new(tone, about)
        .badge(if measured.is_clean() { "holds" } else { "fails" })
        .text(sentence(&measured.cause));
    let series = &measured.series;
    let width = (series.every_s * 1000.0) as i64;
    let each = length(series.every_s);
    let values = |row: &[u64]| row.iter().map(|count| *count as f64).collect();
    let over_time =
        |title: String| Chart::over_time(title, Clock::SinceStart, 0, width).height(180.0);
    let sum = |row: &[u64]| grouped(row.iter().sum());
    let mut tokens = over_time("Live access tokens".to_owned())
        .about(format!("At most {}.", grouped(measured.most_live_tokens)))
        .layer(Layer::new("live tokens", Colour::Teal, Shape::Area, values(&series.live_tokens)));
    if let Some(cap) = document.needs.live_token_cap {
        tokens = tokens.limit(Mark::new(cap as f64, "the vendor's cap"));
    }
    let logins = over_time(format!("Token requests, in each {each}"))
        .about(format!("{} in all.", sum(&series.token_requests)))
        .layer(Layer::new(
            "token requests",
            Colour::Blue,
            Shape::Stack,
            values(&series.token_requests),
        ));
    let trouble = over_time(format!("Refusals and gaps, in each {each}"))
        .about(format!(
            "{} 401, {} 429 and {} gaps in all.",
            sum(&series.status_401),
            sum(&series.status_429),
            sum(&series.gaps)
        ))
        .layer(Layer::new("401", Colour::Red, Shape::Stack, values(&series.status_401)))
        .layer(Layer::new("429", Colour::Amber, Shape::Stack, values(&series.status_429)))
        .layer(Layer::new("gaps", Colour::Violet, Shape::Stack, values(&series.gaps)));
    let seconds = (0..60).map(|second| format!(":{second:02}")).collect();
    let minute = &measured.second_of_minute;
    let minute = Bars::new("By the second of the minute", seconds)
        .about("Token requests and refusals by the second of the wall clock's minute.")
        .layer(Layer::new(
            "token requests",
            Colour::Blue,
            Shape::Stack,
            values(&minute.token_requests),
        ))
        .layer(Layer::new("refusals", Colour::Red, Shape::Stack, values(&minute.refusals)));
    Section::new(measured.name.clone())
        .card(card)
        .chart(logins)
        .chart(tokens)
        .chart(trouble)
        .bars(minute)
}

fn latencies(document: &Document) -> Section {
    let columns = [
        ("strategy", Align::Left),
        ("counted from", Align::Left),
        ("p50 ms", Align::Right),
        ("p90 ms", Align::Right),
        ("p99 ms", Align::Right),
        ("p99.9 ms", Align::Right),
        ("most ms", Align::Right),
    ];
    let row = |name: &str, from: &str, percentiles: &Percentiles| {
        let told =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1}"));
        [
            name.to_owned(),
            from.to_owned(),
            told(Some(percentiles.p50)),
            told(percentiles.p90),
            told(Some(percentiles.p99)),
            told(percentiles.p999),
            told(percentiles.max),
        ]
    };
    let mut table = Table::new(columns);
    for one in &document.strategies {
        table = table.row(row(&one.name, "due", &one.latency_ms));
        if let Some(service) = &one.service_latency_ms {
            table = table.row(row("", "sending", service));
        }
    }
    Section::new("Latency")
        .text(
            "From due is what the data are late by, and counts polls that were never sent. From \
             sending is what a test measures that forgets those (coordinated omission).",
        )
        .table(table)
}

fn of_fleet(fleet: &FleetMeasured) -> Section {
    let columns = [("what", Align::Left), ("count", Align::Right)];
    let rows = [
        ("replicas", u64::from(fleet.replicas)),
        ("credentials", u64::from(fleet.credentials)),
        ("token requests", fleet.token_requests),
        ("tokens accepted", fleet.generations),
        ("renewals that found a newer token in the store", fleet.adopted),
        ("renewals that found another replica at it", fleet.elsewhere),
        ("tokens ended by the cap", fleet.tokens_evicted),
        ("tokens that ended before the next was there", fleet.ended_in_use),
    ];
    let table = rows.into_iter().fold(Table::new(columns), |table, (what, count)| {
        table.row([what.to_owned(), grouped(count)])
    });
    Section::new("Renewals")
        .text(match fleet.least_left_s {
            Some(left) => format!(
                "The shortest life that a token had left when its replica took the next: {left:.1} s."
            ),
            None => "No token was old enough to be replaced.".to_owned(),
        })
        .table(table)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
