//! The harness itself: a small run passes, and what is planted is found.

use std::process::Command;

use serde_json::Value;

/// Runs the harness; answers with whether all was well, and its report.
fn torture(arguments: &[&str]) -> (bool, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_bellwether-torture"))
        .args(arguments)
        .arg("--json")
        .output()
        .expect("the harness starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr))
    });
    (output.status.success(), report)
}

/// A count over all classes.
fn sum(report: &Value, count: &str) -> u64 {
    let classes = report["classes"].as_object().expect("counts by class");
    classes.values().map(|tally| tally[count].as_u64().expect("a count")).sum()
}

#[test]
fn every_class_survives_some_kills() {
    let (_, report) = torture(&["crashes", "--count", "24", "--seed", "11", "--lanes", "4"]);
    for count in ["lost_wrongly", "dishonest"] {
        assert_eq!(sum(&report, count), 0, "{report:#}");
    }
    assert_eq!(sum(&report, "points"), 24);
    assert!(sum(&report, "renewals") >= 48, "each point renews, and proves it: {report:#}");
    let struck = ["before", "during", "after"].map(|phase| sum(&report, phase));
    assert!(struck.iter().sum::<u64>() > 0, "some process was killed: {report:#}");
}

#[test]
fn a_kill_before_a_chosen_system_call_is_survived() {
    for (fault, boundary) in [("kill", "120"), ("eio", "60"), ("enospc", "10")] {
        let arguments = ["boundaries", "--fault", fault, "--class", "R3", "--only", boundary];
        let (well, report) = torture(&arguments);
        assert!(well, "{fault}: {report:#}");
        assert_eq!((sum(&report, "points"), sum(&report, "missed")), (1, 0), "{fault}");
    }
}

#[test]
fn what_is_planted_is_found() {
    let cases = [
        // plant, class, what must be counted
        ("rollback", "R1", "spent_twice"),
        ("rollback", "R3", "spent_twice"),
        ("forget", "R1", "lost_wrongly"),
        ("deaf", "R1", "dishonest"),
    ];
    for (plant, class, count) in cases {
        let arguments = ["crashes", "--count", "2", "--class", class, "--plant", plant];
        let (well, report) = torture(&[&arguments[..], &["--seed", "5"]].concat());
        assert!(!well, "{plant} in {class} passed: {report:#}");
        assert!(sum(&report, count) > 0, "{plant} in {class} is no {count}: {report:#}");
    }
}
