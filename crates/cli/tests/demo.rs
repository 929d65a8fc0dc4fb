//! `bellwether demo` as it is run: one document on standard output, and the promise kept.

use std::process::Command;

use serde_json::Value;

#[test]
fn a_short_demo_tells_the_four_apart() {
    let demo = ["demo", "--json", "--agents", "200", "--period", "1s", "--for", "2s"];
    let ran = Command::new(env!("CARGO_BIN_EXE_bellwether")).args(demo).output().expect("it runs");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{told}");
    assert!(told.contains("dashboard") && told.contains("http://127.0.0.1:"), "{told}");

    let document: Value = serde_json::from_slice(&ran.stdout).expect("one JSON document");
    let strategies = document["strategies"].as_array().expect("a list");
    let names: Vec<_> = strategies.iter().map(|strategy| &strategy["name"]).collect();
    assert_eq!(names, ["per-worker", "per-worker-jitter", "shared-lock", "bellwether"]);
    for strategy in strategies {
        let count = |name: &str| strategy["polls"][name].as_u64().expect("a count");
        assert_eq!(count("due"), 400, "{strategy}");
        assert_eq!(count("due"), count("done") + count("late") + count("gaps"), "{strategy}");
        assert!(strategy["latency_ms"]["p99"].as_f64() >= strategy["latency_ms"]["p50"].as_f64());
    }
    let count = |strategy: usize, name: &str| strategies[strategy][name].as_u64().expect("a count");
    assert!(count(0, "status_401") > 0 && count(0, "tokens_evicted") > 0, "{document}");
    assert!(count(2, "status_429") > 0, "{document}");
    assert_eq!((count(3, "status_401"), count(3, "status_429")), (0, 0), "{document}");
}
