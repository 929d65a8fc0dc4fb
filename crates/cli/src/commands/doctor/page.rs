//! A diagnosis as a page with pictures.

use bellwether_doctor::{Bucket, Diagnosis, Finding, Severity, Timeline};
use bellwether_report::{
    Align, Bars, Card, Chart, Clock, Colour, Layer, Mark, Page, Section, Shape, Table, Tone,
};

type Count = fn(&Bucket) -> u64;

/// The whole page about these files.
pub(super) fn page(diagnosis: &Diagnosis, files: &[String]) -> String {
    let totals = &diagnosis.totals;
    let mut page = Page::new(format!("bellwether doctor · {}", files.join(", ")));
    page = match diagnosis.findings.first() {
        Some(first) => page
            .verdict(tone(first.severity), format!("{}.", first.id.headline()))
            .lead(format!("{}.", first.summary)),
        None => page.verdict(Tone::Good, "Nothing is wrong with the tokens.").lead(
            "Looked for tokens that die early, renewals that pile up or repeat, stale and expired \
             tokens, refresh tokens used twice, throttling at login and API, retry loops, and clocks \
             that disagree.",
        ),
    };
    let facts = [
        ("requests", totals.requests),
        ("token requests", totals.token_requests),
        ("of them failed", totals.token_failures),
        ("401", totals.status_401),
        ("429", totals.status_429),
        ("callers", totals.callers),
        ("unreadable lines", totals.unreadable),
    ];
    for (name, value) in facts {
        page = page.fact(name, grouped(value));
    }
    page = page.section(pictures(&diagnosis.timeline));
    if !diagnosis.findings.is_empty() {
        let section = Section::new("Findings, the likeliest cause first");
        let section = diagnosis.findings.iter().fold(section, |all, it| all.card(card(it)));
        page = page.section(section);
    }
    if let (Some(first), Some(last)) = (totals.first, totals.last) {
        page = page.foot(format!(
            "{} lines of {} file(s), from {first} to {last} by the clock of the log. Tokens and \
             secrets are not shown.",
            grouped(totals.lines),
            totals.files,
        ));
    }
    page.render()
}

/// Adds what there was any of.
fn stacked(chart: Chart, timeline: &Timeline, layers: &[(&str, Colour, Count)]) -> Chart {
    let values = |of: Count| timeline.buckets().map(|it| of(it) as f64).collect::<Vec<_>>();
    layers
        .iter()
        .map(|(name, colour, of)| (name, *colour, values(*of)))
        .filter(|(_, _, values)| values.iter().any(|value| *value > 0.0))
        .fold(chart, |chart, (name, colour, values)| {
            chart.layer(Layer::new(*name, colour, Shape::Stack, values))
        })
}

fn pictures(timeline: &Timeline) -> Section {
    let (start, width) = (timeline.start().0, timeline.width());
    let each = match width {
        width if width < 60_000 => format!("{} s", width / 1000),
        width => format!("{:.1} min", width as f64 / 60_000.0),
    };
    let sum = |of: fn(&Bucket) -> u64| timeline.buckets().map(of).sum::<u64>();
    let logins =
        Chart::over_time(format!("Token requests, in each {each}"), Clock::Utc, start, width)
            .about(format!(
                "{} token requests gave a token, {} did not.",
                sum(|it| it.token_requests),
                sum(|it| it.token_failures)
            ));
    let logins = stacked(
        logins,
        timeline,
        &[
            ("a token", Colour::Blue, |it| it.token_requests),
            ("refused or failed", Colour::Red, |it| it.token_failures),
        ],
    );
    let api = Chart::over_time(format!("API requests, in each {each}"), Clock::Utc, start, width)
        .about(format!(
            "{} API requests were answered, {} got 401, {} got 429.",
            sum(|it| it.good),
            sum(|it| it.refused),
            sum(|it| it.throttled)
        ));
    let api = stacked(
        api,
        timeline,
        &[
            ("401", Colour::Red, |it| it.refused),
            ("429", Colour::Amber, |it| it.throttled),
            ("other answers", Colour::Grey, |it| it.good),
        ],
    );
    let seconds = (0..60).map(|second| format!(":{second:02}")).collect();
    let of_minute = |counts: &[u64; 60]| counts.iter().map(|count| *count as f64).collect();
    let all: u64 = timeline.token_seconds().iter().sum();
    let mut minute = Bars::new("Token requests by the second of the minute", seconds)
        .about("Where an even spread would be level, a peak shows what begins at the minute.")
        .layer(Layer::new(
            "token requests",
            Colour::Blue,
            Shape::Stack,
            of_minute(timeline.token_seconds()),
        ));
    if all > 0 {
        minute = minute.limit(Mark::new(all as f64 / 60.0, "even spread"));
    }
    let failures = (0..60).map(|second| format!(":{second:02}")).collect();
    let failures =
        Bars::new("401s and failed token requests by the second of the minute", failures)
            .about("Failures by the second of the minute at which the request was sent.")
            .layer(Layer::new(
                "failures",
                Colour::Red,
                Shape::Stack,
                of_minute(timeline.failure_seconds()),
            ));
    let section = Section::new("Over time").chart(logins).chart(api).bars(minute);
    if timeline.failure_seconds().iter().all(|count| *count == 0) {
        section
    } else {
        section.bars(failures)
    }
}

fn card(finding: &Finding) -> Card {
    let columns = [("line", Align::Left), ("time (UTC)", Align::Left), ("what", Align::Left)];
    let evidence = finding.evidence.iter().fold(Table::new(columns), |table, it| {
        let time = it.time.replace('T', " ");
        table.row([format!("{}:{}", it.file, it.line), time, it.what.clone()])
    });
    let severity = match finding.severity {
        Severity::High => "high",
        Severity::Medium => "medium",
        Severity::Low => "low",
    };
    let of = if finding.count > finding.evidence.len() as u64 {
        format!("Evidence: the first {} of {}", finding.evidence.len(), grouped(finding.count))
    } else {
        "Evidence".to_owned()
    };
    Card::new(tone(finding.severity), finding.id.as_str())
        .badge(severity)
        .badge(format!("confidence {:.0} %", finding.confidence * 100.0))
        .text(format!("{}.", finding.summary))
        .advice(finding.advice.replace('`', ""))
        .details(of, evidence)
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::High => Tone::Bad,
        Severity::Medium => Tone::Warning,
        Severity::Low => Tone::Neutral,
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
