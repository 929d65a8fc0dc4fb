//! `bellwether lab` as it is run: its documents, its pages, and what it says of a bad scenario.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn lab(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command.arg("lab").args(arguments).output().expect("it runs")
}

fn document(arguments: &[&str]) -> Value {
    let ran = lab(arguments);
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("one JSON document")
}

fn file(directory: &TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("scenario.toml");
    std::fs::write(&path, text).expect("a scenario");
    path
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

#[test]
fn a_run_prints_a_superset_of_the_demo_s_document() {
    let document = document(&["run", "as-reported", "--for", "5m", "--json"]);
    let strategies = document["strategies"].as_array().expect("a list");
    let names: Vec<_> = strategies.iter().filter_map(|one| one["name"].as_str()).collect();
    let expected = [
        "per-worker",
        "per-worker-jitter",
        "shared-lock",
        "is-refreshing",
        "one-token",
        "bellwether",
        "token-endpoint",
        "gateway",
    ];
    assert_eq!(names, expected);
    for one in strategies {
        let count = |name: &str| one["polls"][name].as_u64().expect("a count");
        assert_eq!(count("due"), 30_000, "{one}");
        assert_eq!(count("due"), count("done") + count("late") + count("gaps"), "{one}");
        for name in ["token_requests", "tokens_evicted", "status_401", "status_429"] {
            assert!(one[name].is_u64(), "{name}: {one}");
        }
        assert!(one["latency_ms"]["p99"].as_f64() >= one["latency_ms"]["p50"].as_f64(), "{one}");
        assert!(one["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{one}");
        let spans = one["series"]["live_tokens"].as_array().expect("a row").len();
        assert!(spans > 60, "{one}");
        let seconds = one["second_of_minute"]["token_requests"].as_array().expect("a row");
        assert_eq!(seconds.len(), 60);
    }
    let count = |one: usize, name: &str| strategies[one][name].as_u64().expect("a count");
    assert!(count(0, "status_401") > count(1, "status_401") && count(1, "status_401") > 0);
    assert!(count(2, "status_429") > 0);
    assert_eq!((count(5, "status_401"), count(5, "status_429")), (0, 0));
    assert_eq!(document["needs"]["tokens"], 20);
    let change = document["verdict"]["change"].as_str().expect("a sentence");
    assert!(change.contains("20 tokens") && change.contains("list call"), "{change}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_twice() {
    let directory = TempDir::new().expect("a directory");
    let told = |name: &str, seed: &str| {
        let page = directory.path().join(name);
        let arguments = ["run", "failed-login", "--json", "--seed", seed, "--html", shown(&page)];
        let ran = lab(&arguments);
        assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
        (ran.stdout, std::fs::read(&page).expect("a page"))
    };
    let (first, second) = (told("first.html", "3"), told("second.html", "3"));
    assert!(first == second, "the same seed");
    assert!(first.0 != told("third.html", "4").0, "another seed");
    let page = String::from_utf8(first.1).expect("text");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg"));
    for outside in ["http://", "https://", "<script", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
}

#[test]
fn what_is_wrong_with_a_scenario_is_told_with_file_line_and_key() {
    let good = "name = \"x\"\nprofile = \"genesys\"\n";
    #[rustfmt::skip]
    let cases = [
        // after the good lines,                     place, what is said
        ("agentss = 5",                              "3:1", "agentss: unknown key; did you mean agents?"),
        ("agents = 0",                               "3:10", "agents: must be a whole number from 1"),
        ("period = \"5\"",                           "3:10", "period: \"5\" is no duration"),
        ("period = \"1ms\"",                         "3:10", "period: must be 10ms to 366d"),
        ("strategies = [\"gatway\"]",                "3:15", "did you mean \"gateway\"?"),
        ("strategies = [\"gateway\", \"gateway\"]",  "3:26", "is there twice"),
        ("strategies = []",                          "3:14", "leave it out for all strategies"),
        ("seed = -1",                                "3:8", "seed: must be a whole number"),
        ("[knobs]\napi_limit = { requests = 3 }",    "4:13", "knobs.api_limit.per: is missing"),
        ("[knobs]\napi_limt = \"none\"",             "4:1", "did you mean api_limit?"),
        ("[[fault]]\nendpoint = \"token\"",          "3:1", "fault[0].kind: is missing"),
        ("[[fault]]\nendpoint = \"login\"\nkind = \"close\"", "4:12", "fault[0].endpoint: \"login\" is not known"),
        ("[[fault]]\nendpoint = \"api\"\nkind = \"status\"", "3:1", "fault[0].status: is missing"),
        ("[fleet]\nreplicas = 2",                    "3:1", "fleet.credentials: is missing"),
        ("= 3",                                      "3:1", "is no TOML"),
    ];
    let directory = TempDir::new().expect("a directory");
    for (rest, place, said) in cases {
        let path = file(&directory, &format!("{good}{rest}\n"));
        let ran = lab(&["run", shown(&path), "--json"]);
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{rest}: {told}");
        assert!(ran.stdout.is_empty(), "{rest}");
        assert!(told.contains(&format!("{}:{place}:", shown(&path))), "{rest}: {told}");
        assert!(told.contains(said), "{rest}: {told}");
    }
}

#[test]
fn what_cannot_be_read_is_told_too() {
    let directory = TempDir::new().expect("a directory");
    let missing = directory.path().join("none.toml");
    let not_text = directory.path().join("bytes.toml");
    std::fs::write(&not_text, [0xff, 0xfe, 0x00]).expect("a file");
    let own = shown(directory.path()).to_owned();
    #[rustfmt::skip]
    let cases = [
        (shown(&missing),  "does not exist"),
        (shown(&not_text), "is not UTF-8"),
        (own.as_str(),     "is no regular file"),
        ("no-such-name",   "built in are as-reported"),
    ];
    for (scenario, said) in cases {
        let ran = lab(&["run", scenario]);
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{scenario}: {told}");
        assert!(told.contains(said), "{scenario}: {told}");
    }
    let page = directory.path().join("no-such-directory/page.html");
    let ran = lab(&["run", "both-ways", "--for", "1s", "--html", shown(&page)]);
    assert_eq!(ran.status.code(), Some(1), "a page that cannot be written is a failure");
}

#[test]
fn flags_win_over_the_file() {
    #[rustfmt::skip]
    let flags = [
        "run", "as-reported", "--json", "--agents", "40", "--workers", "4", "--period", "2s",
        "--for", "20s", "--seed", "9", "--strategy", "gateway", "--strategy", "per-worker", "--virtual",
    ];
    let document = document(&flags);
    let scenario = &document["scenario"];
    assert_eq!(scenario["agents"], 40);
    assert_eq!(scenario["workers"], 4);
    assert_eq!(scenario["period_s"], 2.0);
    assert_eq!(scenario["duration_s"], 20.0);
    assert_eq!(scenario["seed"], 9);
    assert_eq!(scenario["mode"], "virtual");
    let strategies = document["strategies"].as_array().expect("a list");
    let names: Vec<_> = strategies.iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["per-worker", "gateway"], "in their usual order");
    assert_eq!(lab(&["run", "as-reported", "--virtual", "--sockets"]).status.code(), Some(2));
    assert_eq!(lab(&["run", "as-reported", "--strategy", "other"]).status.code(), Some(2));
}

#[test]
fn a_list_names_what_there_is_and_a_plan_shows_the_arithmetic() {
    let list = document(&["list", "--json"]);
    for kind in ["scenarios", "profiles", "strategies"] {
        for one in list[kind].as_array().expect("a list") {
            let told = |key: &str| one[key].as_str().is_some_and(|text| !text.is_empty());
            assert!(told("name") && told("about"), "{one}");
        }
    }
    let plan = document(&["plan", "--agents", "1000", "--period", "5s", "--json"]);
    assert_eq!(plan["needs"]["tokens"], 40);
    assert_eq!(plan["needs"]["fits"], true);
    let told = lab(&["plan", "--agents", "2000"]);
    let told = String::from_utf8_lossy(&told.stdout);
    for part in ["24,000", "80 tokens", "It cannot work as it is", "1,200 agents", "8.3 s"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(lab(&["plan", "--agents", "0"]).status.code(), Some(2));
    assert_eq!(lab(&["plan"]).status.code(), Some(2));
}

#[test]
fn jmeter_is_looked_for_before_anything_runs() {
    let directory = TempDir::new().expect("a directory");
    let plan = directory.path().join("plan.jmx");
    std::fs::write(&plan, "<jmeterTestPlan/>").expect("a plan");
    let missing = directory.path().join("none.jmx");
    let results = directory.path().join("results");
    let shown_results = shown(&results);
    #[rustfmt::skip]
    let cases = [
        (vec!["jmeter", shown(&missing)],                                      "there is no plan"),
        (vec!["jmeter", shown(&plan), "-J", "loops", "--results", shown_results], "write NAME=VALUE"),
        (vec!["jmeter", shown(&plan), "--results", shown_results],             "set JMETER_HOME"),
    ];
    for (arguments, said) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.arg("lab").args(&arguments).env("PATH", "").env_remove("JMETER_HOME");
        let ran = command.output().expect("it runs");
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(said), "{arguments:?}: {told}");
        assert!(!results.exists(), "nothing was begun");
    }
}

/// Sockets, timers and two cores for everybody add a few milliseconds here and there, and what
/// depends on who comes first differs by that: a storm by a tenth, a limit by one window.
#[test]
fn over_sockets_the_counts_are_those_of_virtual_time() {
    let run = |mode| document(&["run", "both-ways", mode, "--json"]);
    let (sockets, rehearsed) = (run("--sockets"), run("--virtual"));
    assert_eq!(sockets["scenario"]["mode"], "sockets");
    let strategies = |document: &Value| document["strategies"].as_array().expect("a list").clone();
    for (over, within) in strategies(&sockets).iter().zip(&strategies(&rehearsed)) {
        assert_eq!(over["name"], within["name"]);
        assert_eq!(over["polls"]["due"], within["polls"]["due"]);
        for (count, least) in [
            ("/token_requests", 6),
            ("/tokens_evicted", 6),
            ("/status_401", 8),
            // Every worker may meet the end of one window.
            ("/status_429", 12),
            ("/polls/gaps", 40),
        ] {
            let number = |one: &Value| one.pointer(count).and_then(Value::as_u64).expect("a count");
            let (found, expected) = (number(over), number(within));
            // Which callers of the token endpoint share a token is decided within milliseconds.
            let is_chance = within["name"] == "token-endpoint" && least > 8;
            let tolerance = if is_chance { 180 } else { (expected / 5).max(least) };
            assert!(
                found.abs_diff(expected) <= tolerance,
                "{} {count}: {found} over sockets, {expected} in virtual time",
                over["name"]
            );
        }
    }
}
