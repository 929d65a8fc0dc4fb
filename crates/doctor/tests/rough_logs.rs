//! Logs as they are found: noise, truncation, encodings, compression, missing columns, odd clocks.

mod support;

use std::io::Write;

use bellwether_doctor::{Diagnosis, Examination, Merged, Source};
use flate2::Compression;
use flate2::write::GzEncoder;
use support::world::{Event, Renewal, World};
use support::written::{Jtl, envoy, haproxy, har, jtl_csv, jtl_xml, nginx, thread_json};
use support::{diagnose, ids};

fn sick() -> Vec<Event> {
    World { threads: 50, cap: 10, lifetime: 86_400, minutes: 3, ..World::default() }.events()
}

fn healthy() -> Vec<Event> {
    let renewal = Renewal::SharedBefore(60);
    World { threads: 8, lifetime: 600, minutes: 20, renewal, ..World::default() }.events()
}

fn csv(events: &[Event]) -> Vec<u8> {
    jtl_csv(events, Jtl::default())
}

fn text(log: Vec<u8>) -> String {
    String::from_utf8(log).expect("UTF-8")
}

fn gzip(log: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(log).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(log: &[u8]) -> Vec<u8> {
    zstd::encode_all(log, 3).expect("memory")
}

/// Says that the sick log is sick, the healthy one is not, and how much could not be read.
fn both_ways(
    name: &str,
    spoil: impl Fn(&[Event]) -> Vec<u8>,
    unreadable: std::ops::RangeInclusive<u64>,
) {
    let found = diagnose(&[spoil(&sick())]);
    assert_eq!(ids(&found).first(), Some(&"token-eviction"), "{name}: {:?}", ids(&found));
    let found = diagnose(&[spoil(&healthy())]);
    assert!(found.findings.is_empty(), "{name}: {:#?}", found.findings);
    let skipped = found.totals.unreadable;
    assert!(unreadable.contains(&skipped), "{name}: {skipped} unreadable");
}

#[test]
fn noise_between_the_lines_is_passed_over_and_counted() {
    let noisy = |log: Vec<u8>| {
        let mut noisy = String::new();
        for (number, line) in text(log).lines().enumerate() {
            match number % 50 {
                10 => noisy.push_str(
                    "2023-11-14 22:13:20,000 INFO o.a.j.r.Summariser: summary + 12 in 5s\n",
                ),
                20 => noisy.push('\n'),
                30 => noisy
                    .push_str("\tat java.base/java.lang.Thread.run(Thread.java:840) \"unclosed\n"),
                _ => {}
            }
            noisy.push_str(line);
            noisy.push('\n');
        }
        noisy.into_bytes()
    };
    both_ways("CSV", |events| noisy(csv(events)), 50..=400);
    both_ways("JSON", |events| noisy(thread_json(events)), 50..=400);
    both_ways("nginx", |events| noisy(nginx(events)), 50..=400);
    both_ways("Envoy", |events| noisy(envoy(events)), 50..=400);
    both_ways("HAProxy", |events| noisy(haproxy(events)), 50..=400);
}

#[test]
fn a_quote_that_nothing_closes_costs_its_own_line_only() {
    let log = text(csv(&healthy()));
    let (head, rest) = log.split_at(log[..2000].rfind('\n').expect("a line") + 1);
    let found = diagnose(&[format!("{head}1700000000000,12,\"torn\n{rest}").into_bytes()]);
    let clean = diagnose(&[log.into_bytes()]);
    assert_eq!(found.totals.requests, clean.totals.requests);
    assert_eq!(found.totals.unreadable, 1);
}

#[test]
fn quoted_fields_may_hold_delimiters_quotes_and_lines() {
    let log = "timeStamp,elapsed,label,responseCode,responseMessage,threadName,success,failureMessage\n\
        1700000000000,5,\"log in, \"\"again\"\"\",400,Bad,t 1,false,\"<html>\n\n{\"\"error\"\":\"\"invalid_request\"\",\"\"error_description\"\":\"\"rate limit exceeded\"\"}\n</html>\"\n\
        1700000001000,5,poll,200,OK,t 1,true,\n";
    let found = diagnose(&[log.as_bytes().to_vec()]);
    assert_eq!(ids(&found), ["login-throttled"]);
    assert_eq!((found.totals.requests, found.totals.unreadable), (2, 0));
    assert_eq!(found.totals.lines, 6);
}

#[test]
fn encodings_are_told_by_their_marks() {
    let utf16 = |log: Vec<u8>, mark: bool, order: fn(u16) -> [u8; 2]| {
        let units = text(log).encode_utf16().collect::<Vec<_>>();
        let mark = mark.then_some(0xFEFF);
        mark.into_iter().chain(units).flat_map(order).collect::<Vec<u8>>()
    };
    both_ways("UTF-8 with mark", |events| [&b"\xef\xbb\xbf"[..], &csv(events)].concat(), 0..=0);
    both_ways("UTF-16 LE", |events| utf16(csv(events), true, u16::to_le_bytes), 0..=0);
    both_ways("UTF-16 BE", |events| utf16(csv(events), true, u16::to_be_bytes), 0..=0);
    both_ways("UTF-16 LE, no mark", |events| utf16(csv(events), false, u16::to_le_bytes), 0..=0);
    both_ways("XML in UTF-16", |events| utf16(jtl_xml(events), true, u16::to_le_bytes), 0..=0);
    let latin = |log: Vec<u8>| {
        text(log)
            .replace("poll", "p~ll")
            .bytes()
            .map(|byte| if byte == b'~' { 0xF6 } else { byte })
            .collect::<Vec<u8>>()
    };
    both_ways("Latin-1", |events| latin(csv(events)), 0..=0);
    both_ways(
        "Windows line ends",
        |events| text(csv(events)).replace('\n', "\r\n").into_bytes(),
        0..=0,
    );
}

#[test]
fn compressed_logs_are_read_whole_and_torn_ones_as_far_as_they_go() {
    both_ways("gzip", |events| gzip(&csv(events)), 0..=0);
    both_ways("zstd", |events| zstd(&csv(events)), 0..=0);
    both_ways(
        "two gzip members",
        |events| {
            let log = csv(events);
            let half =
                log[..log.len() / 2].iter().rposition(|byte| *byte == b'\n').expect("a line");
            [gzip(&log[..=half]), gzip(&log[half + 1..])].concat()
        },
        0..=0,
    );
    both_ways(
        "two zstd frames",
        |events| {
            let log = csv(events);
            [zstd(&log[..1000]), zstd(&log[1000..])].concat()
        },
        0..=0,
    );
    both_ways(
        "torn gzip",
        |events| {
            let packed = gzip(&csv(events));
            packed[..packed.len() * 9 / 10].to_vec()
        },
        1..=2,
    );
    both_ways(
        "torn zstd",
        |events| {
            let packed = zstd(&csv(events));
            packed[..packed.len() * 9 / 10].to_vec()
        },
        1..=2,
    );
}

#[test]
fn a_log_that_was_cut_off_is_read_to_its_end() {
    let cut = |log: Vec<u8>| log[..log.len() - 60].to_vec();
    both_ways("CSV", |events| cut(csv(events)), 1..=1);
    both_ways("XML", |events| cut(jtl_xml(events)), 1..=1);
    both_ways("HAR", |events| cut(har(events, 0)), 1..=1);
    both_ways("JSON", |events| cut(thread_json(events)), 1..=1);
    both_ways("nginx", |events| cut(nginx(events)), 1..=1);
}

#[test]
fn columns_may_be_missing_and_in_any_order() {
    let of = |names: &[&str], events: &[Event]| {
        let log = text(csv(events));
        let header: Vec<&str> = log.lines().next().expect("a header").split(',').collect();
        let places: Vec<usize> = names
            .iter()
            .map(|name| header.iter().position(|known| known == name).expect("a column"))
            .collect();
        let pick = |event: &str| {
            // The bodies in `failureMessage` hold commas; they come before nothing that is picked.
            let fields: Vec<&str> = event.split(',').collect();
            places.iter().map(|place| fields[*place]).collect::<Vec<_>>().join(",")
        };
        log.lines().map(pick).collect::<Vec<_>>().join("\n").into_bytes()
    };
    both_ways(
        "least",
        |events| of(&["timeStamp", "label", "responseCode", "threadName"], events),
        0..=0,
    );
    both_ways(
        "turned",
        |events| of(&["threadName", "responseCode", "label", "elapsed", "timeStamp"], events),
        0..=0,
    );
}

#[test]
fn times_may_be_formatted() {
    let formatted = |events: &[Event]| {
        let log = text(csv(events));
        let line = |line: &str| match line.split_once(',') {
            Some((time, rest)) if time.starts_with('1') => {
                let iso = support::written::iso(time.parse().expect("a time"));
                format!(
                    "{},{rest}\n",
                    iso.replace('T', " ").replace('-', "/").trim_end_matches('Z')
                )
            }
            _ => format!("{line}\n"),
        };
        log.lines().map(line).collect::<String>().into_bytes()
    };
    both_ways("formatted", formatted, 0..=0);
}

#[test]
fn logs_of_one_time_are_merged_and_runs_in_one_file_are_kept_apart() {
    let events = sick();
    let part = |wanted: usize| -> Vec<Event> {
        events.iter().filter(|event| event.thread % 2 == wanted).cloned().collect()
    };
    let merged = diagnose(&[csv(&part(0)), csv(&part(1))]);
    assert_eq!(ids(&merged).first(), Some(&"token-eviction"));
    assert_eq!(merged.totals.requests, events.len() as u64);
    assert_eq!((merged.totals.files, merged.totals.unreadable), (2, 0));

    // The same run twice, one after the other: the clock was not set back.
    let twice = [csv(&healthy()), csv(&healthy())].concat();
    let found = diagnose(&[twice]);
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
}

#[test]
fn a_clock_that_jumps_does_not_hide_the_cause() {
    let mut events = sick();
    let third = events.len() / 3;
    for event in &mut events[third..] {
        event.sent += 3_600_000;
    }
    assert_eq!(ids(&diagnose(&[csv(&events)])).first(), Some(&"token-eviction"));
    for event in &mut events[2 * third..] {
        event.sent -= 7_200_000;
    }
    let found = diagnose(&[csv(&events)]);
    assert_eq!(ids(&found).first(), Some(&"token-eviction"), "{:?}", ids(&found));
    assert!(ids(&found).contains(&"clock-skew"));
    // A healthy run that was paused.
    let mut events = healthy();
    for event in &mut events[third..] {
        event.sent += 600_000;
    }
    let found = diagnose(&[csv(&events)]);
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
}

#[test]
fn what_cannot_be_read_says_why() {
    let why = |log: &[u8]| -> String {
        match Source::open(0, log) {
            Err(why) => why.to_string(),
            Ok(source) => match Merged::new(vec![source]) {
                Err(trouble) => trouble.why.to_string(),
                Ok(_) => "it was read".to_owned(),
            },
        }
    };
    #[rustfmt::skip]
    let cases: [(&str, &[u8], &str); 8] = [
        ("nothing",            b"",                                          "it is empty"),
        ("blank lines",        b"\n\n  \n",                                  "it is empty"),
        ("prose",              b"Dear all,\nthe test failed.\n",              "begins with `Dear all,`"),
        ("a binary",           b"\x7fELF\x02\x01\x01\0\0\0\0\0",              "no log that is known"),
        ("a header alone",     b"timeStamp,elapsed,label,responseCode\n",     "none of its 1 lines"),
        ("a header that lacks", b"elapsed,label,success,threadName\n1,a,true,t\n", "lacks timeStamp"),
        ("an empty archive",   br#"{"log":{"creator":{},"entries":[]}}"#,     "looks like HAR"),
        ("a torn gzip",        &[0x1f, 0x8b, 8, 0, 0, 0],                     ""),
    ];
    for (name, log, expected) in cases {
        let told = why(log);
        assert!(told.contains(expected) && told != "it was read", "{name}: {told}");
    }
}

#[test]
fn a_broker_tells_of_itself() {
    let event = |generation: u64, failures: u64, state: &str, why: &str, since: f64| {
        let view = serde_json::json!({
            "name": "polling", "state": state, "why": why, "since": since, "generation": generation,
            "failures": failures, "token_requests": generation + failures,
        });
        format!("event: credential\ndata: {view}\n\n")
    };
    let mut log: String = (1..20)
        .map(|n| event(n, 0, "fresh", "a good token is held", 1_700_000_000.0 + n as f64 * 300.0))
        .collect();
    let found = diagnose(&[log.clone().into_bytes()]);
    assert!(found.findings.is_empty(), "{:#?}", found.findings);
    assert_eq!(found.totals.token_requests, 19);
    for n in 1..6 {
        let why = "invalid_request: rate limit exceeded";
        log.push_str(&event(19, n, "backing_off", why, 1_700_006_000.0 + n as f64));
    }
    assert_eq!(ids(&diagnose(&[log.into_bytes()])), ["login-throttled"]);
}

type Writer = fn(&[Event]) -> Vec<u8>;

/// Whatever the bytes, nothing panics.
#[test]
fn mangled_logs_do_no_harm() {
    let mut random = 12345_u64;
    let mut chance = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    };
    let events: Vec<Event> = sick().into_iter().take(120).collect();
    let writers: [Writer; 7] =
        [csv, jtl_xml, |events| har(events, 0), thread_json, nginx, envoy, haproxy];
    for round in 0..700 {
        let mut log = writers[round % writers.len()](&events);
        for _ in 0..1 + chance(30) {
            let at = chance(log.len());
            match chance(4) {
                0 => log[at] = chance(256) as u8,
                1 => drop(log.drain(at..(at + chance(40)).min(log.len()))),
                2 => log.insert(at, b"\"<>{}[],\n\\&;"[chance(12)]),
                _ => log.truncate(at.max(1)),
            }
            if log.is_empty() {
                log.push(b'x');
            }
        }
        let _ = examine(&log);
    }
}

fn examine(log: &[u8]) -> Option<Diagnosis> {
    let mut merged = Merged::new(vec![Source::open(0, log).ok()?]).ok()?;
    let mut examination = Examination::new(vec!["log".to_owned()]);
    while merged.step(&mut examination).ok()? {}
    Some(examination.diagnosis())
}
