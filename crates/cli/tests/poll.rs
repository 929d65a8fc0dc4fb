//! `bellwether poll`: every sample is delivered, every gap is told, whatever happens meanwhile.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};

use bellwether_simulation::Latency;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use support::{CLIENT, Stage, ask, spelled_in};

/// A stage whose configuration has this `[[poll]]`.
fn stage(poll: &str) -> Stage {
    let stage = Stage::with(|profile| {
        profile.api_latency = Latency::millis(1, 5);
        profile.token_latency = Latency::millis(5, 20);
    });
    let configuration = format!("{}\n[[poll]]\n{poll}", stage.configuration());
    stage.file("bellwether.toml", &configuration);
    let agents: Vec<String> = (0..40).map(|number| format!("agent {number}")).collect();
    stage.file("agents.txt", &agents.join("\n"));
    stage
}

const EACH: &str = r#"
name = "presence"
credential = "polling"
path = "/api/v2/users/{agent}"
agents = { file = "agents.txt" }
period = "500ms"
workers = 8
"#;

/// A poll that runs, and the lines it prints.
struct Polling {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Polling {
    fn start(stage: &Stage, arguments: &[&str]) -> Self {
        let mut command = stage.command(arguments);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.expect("the binary");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    fn entry(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("UTF-8");
        Some(serde_json::from_str(&line).expect("a whole line of JSON"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn end(mut self) -> (Vec<Value>, Option<i32>) {
        let left = std::iter::from_fn(|| self.entry()).collect();
        (left, self.child.wait().expect("its end").code())
    }
}

/// The kinds that each slot was told with.
fn by_slot(entries: &[Value]) -> BTreeMap<u64, Vec<String>> {
    let mut slots: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for entry in entries {
        let first = entry["slot"].as_u64().expect("a slot");
        let kind = entry["kind"].as_str().expect("a kind");
        for slot in first..first + entry["slots"].as_u64().unwrap_or(1) {
            slots.entry(slot).or_default().push(kind.to_owned());
        }
    }
    slots
}

#[test]
fn a_kill_costs_no_sample_and_no_gap_goes_untold() {
    let stage = stage(&format!("{EACH}output = {{ cursor = \"presence.cursor\" }}"));
    let mut entries = Vec::new();
    // Killed three times, each time in the middle of something.
    for round in 1..=3 {
        let mut polling = Polling::start(&stage, &["poll"]);
        for _ in 0..150 * round {
            entries.push(polling.entry().expect("it goes on"));
        }
        polling.signal(Signal::KILL);
        let (left, status) = polling.end();
        assert_eq!(status, None, "killed");
        entries.extend(left);
    }
    let (left, status) = Polling::start(&stage, &["poll", "--for", "2s"]).end();
    assert_eq!(status, Some(0));
    entries.extend(left);
    let slots = by_slot(&entries);
    let last = *slots.keys().next_back().expect("slots");
    let missing: Vec<u64> = (0..=last).filter(|slot| !slots.contains_key(slot)).collect();
    assert!(missing.is_empty(), "{missing:?} of {last} were never told of");
    let cursor: Value =
        serde_json::from_slice(&fs::read(stage.path("presence.cursor")).unwrap()).unwrap();
    assert_eq!(cursor["watermark"], last + 1, "all is settled");
    assert_eq!(cursor["series"], 1);
    // What was polled and not only told of is nearly all: kills are short.
    let sampled = slots.values().filter(|kinds| kinds.iter().any(|kind| kind == "sample")).count();
    assert!(sampled as u64 * 2 > last, "{sampled} of {last}");
}

#[test]
fn told_to_stop_it_ends_with_what_is_settled_and_goes_on_from_there() {
    let stage = stage(&format!("{EACH}output = {{ files = \"samples\", rotate = \"8KiB\" }}"));
    let first: Value =
        serde_json::from_str(&stage.told(&["poll", "--for", "1s", "--json"])).unwrap();
    let second: Value =
        serde_json::from_str(&stage.told(&["poll", "presence", "--for", "1s", "--json"])).unwrap();
    for told in [&first, &second] {
        let polls = |name: &str| told["polls"][name].as_u64().expect("a count");
        assert_eq!(polls("due"), polls("done") + polls("late") + polls("gaps") + polls("open"));
        assert!(polls("due") >= 80, "{told}");
        assert_eq!((&told["status_401"], &told["status_429"]), (&0.into(), &0.into()));
    }
    let mut files: Vec<_> = support::files(&stage.path("samples"));
    files.retain(|path| path.extension().is_some_and(|ending| ending == "ndjson"));
    assert!(files.len() > 2, "8 KiB each: {files:?}");
    let lines: Vec<Value> = files
        .iter()
        .flat_map(|path| {
            fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let slots = by_slot(&lines);
    assert_eq!(slots.len() as u64, slots.keys().next_back().unwrap() + 1, "none is missing");
    assert!(slots.values().all(|kinds| kinds.len() == 1), "each once");
    assert_eq!(slots.len() as u64, second["delivered"]["watermark"].as_u64().unwrap());
    let all = fs::read(&files[0]).unwrap();
    assert_eq!(spelled_in(CLIENT.1, &all), None, "no secret among the samples");
}

#[test]
fn an_outage_makes_gaps_that_say_why() {
    let stage = stage(&format!("{EACH}output = \"-\""));
    let lab = stage.lab.address();
    let mut polling = Polling::start(&stage, &["poll", "--for", "4s"]);
    let mut entries: Vec<Value> = (0..60).map(|_| polling.entry().expect("it goes on")).collect();
    let sampled = entries.iter().filter(|entry| entry["kind"] == "sample").count();
    assert!(sampled >= 50, "{entries:?}");
    let fault = r#"{"endpoint": "api", "effect": {"status": 503}, "for_ms": 1500}"#;
    assert_eq!(ask(lab, "POST", "/lab/faults", &[], fault).status, 200);
    let (left, status) = polling.end();
    assert_eq!(status, Some(0), "gaps are no failure of the poll");
    entries.extend(left);
    let gaps: Vec<&Value> = entries.iter().filter(|entry| entry["kind"] == "gap").collect();
    assert!(gaps.len() >= 40, "{} gaps", gaps.len());
    let refused = gaps.iter().filter(|gap| gap["why"] == "the API answered 503").count();
    assert!(refused * 10 >= gaps.len() * 9, "also where nobody was free to try: {gaps:?}");
    assert!(gaps.iter().any(|gap| gap["tries"].as_u64() > Some(0)));
    let after: Vec<&Value> = entries.iter().rev().take(40).collect();
    assert!(after.iter().all(|entry| entry["kind"] == "sample"), "it is well again: {after:?}");
}

/// Answers with canned JSON, by path; what was asked is remembered.
struct Api {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    fn answering(answer: fn(&str, bool) -> (u16, String)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || Self::serve(stream, &heard, answer));
            }
        });
        Self { address, asked }
    }

    fn serve(
        mut stream: TcpStream,
        asked: &Mutex<Vec<String>>,
        answer: fn(&str, bool) -> (u16, String),
    ) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
            }
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let has_tag = head.to_ascii_lowercase().contains("if-none-match: \"v1\"");
            assert!(head.to_ascii_lowercase().contains("\r\nauthorization: bearer "), "{head}");
            asked.lock().unwrap().push(path.clone());
            let (status, body) = answer(&path, has_tag);
            let head = format!(
                "HTTP/1.1 {status} X\r\nETag: \"v1\"\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            if stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body.as_bytes()))
                .is_err()
            {
                return;
            }
        }
    }

    /// The stage's configuration, with this API and this poll.
    fn configure(&self, stage: &Stage, poll: &str) {
        let ours = format!("resource_server = \"http://{}\"", self.address);
        let theirs = format!("resource_server = \"{}\"", stage.lab.url("/"));
        let configuration = stage.configuration().replace(&theirs, &ours);
        stage.file("bellwether.toml", &format!("{configuration}\n[[poll]]\n{poll}"));
    }

    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(path)).count()
    }
}

/// Five agents in pages of two; samples of several at once.
fn directory(path: &str, has_tag: bool) -> (u16, String) {
    let (_, query) = path.split_once('?').unwrap_or_default();
    let value = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .map(str::to_owned)
    };
    let entities = |names: Vec<String>| {
        let items: Vec<Value> = names
            .into_iter()
            .map(|name| serde_json::json!({ "id": name, "state": "on" }))
            .collect();
        serde_json::json!({ "result": { "entities": items } }).to_string()
    };
    if let Some(page) = value("page") {
        let page: usize = page.parse().unwrap();
        let all: Vec<String> = (1..=5).map(|number| format!("a{number}")).collect();
        let names = all.chunks(2).nth(page - 1).map(<[String]>::to_vec).unwrap_or_default();
        return (200, entities(names));
    }
    if let Some(ids) = value("id") {
        // Nobody knows of a3.
        let known = ids.split(',').filter(|name| *name != "a3").map(str::to_owned).collect();
        return (200, entities(known));
    }
    if path.starts_with("/past/") {
        return (200, r#"{"from": "the past"}"#.to_owned());
    }
    if path == "/now/a2" {
        return (500, String::new());
    }
    if has_tag { (304, String::new()) } else { (200, "{\n  \"now\": true\n}".to_owned()) }
}

const LIST: &str = r#"agents = { list = "/agents?page={page}", items = "result.entities" }"#;

fn told(stage: &Stage) -> Vec<Value> {
    let told = stage.told(&["poll", "--for", "1200ms"]);
    told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_api_s_own_list_says_whom_to_poll_and_one_request_asks_for_several() {
    let (stage, api) = (stage(&format!("{EACH}output = \"-\"")), Api::answering(directory));
    let poll = format!(
        "name = \"p\"\ncredential = \"polling\"\npath = \"/several?id={{agents}}\"\ntogether = 3\n\
         items = \"result.entities\"\n{LIST}\nperiod = \"500ms\"\noutput = \"-\""
    );
    api.configure(&stage, &poll);
    let entries = told(&stage);
    assert_eq!(api.asked("/agents"), 4, "three pages, and an empty one that says it was all");
    let of =
        |agent: &str| entries.iter().filter(|entry| entry["agent"] == agent).collect::<Vec<_>>();
    for agent in ["a1", "a2", "a4", "a5"] {
        assert!(of(agent).len() >= 2, "{agent}: {entries:?}");
        assert!(of(agent).iter().all(|entry| entry["data"]["id"] == agent));
    }
    assert!(of("a3").iter().all(|entry| entry["why"] == "the answer had nothing for it"));
    assert!(!of("a3").is_empty());
    assert_eq!(entries[0]["part"], serde_json::json!([1, 3]));
    assert!(api.asked("/several") <= 6, "two requests every 500 ms");
}

#[test]
fn pages_of_a_list_are_polled_as_such() {
    let (stage, api) = (stage(&format!("{EACH}output = \"-\"")), Api::answering(directory));
    let poll = "name = \"p\"\ncredential = \"polling\"\npath = \"/agents?page={page}\"\npages = 3\n\
                items = \"result.entities\"\nperiod = \"500ms\"\noutput = { sqlite = \"samples.db\" }";
    api.configure(&stage, poll);
    let told: Value =
        serde_json::from_str(&stage.told(&["poll", "--for", "1s", "--json"])).unwrap();
    let count = |of: &str, name: &str| told[of][name].as_u64().expect("a count");
    assert!(
        count("polls", "due") >= 6 && count("polls", "done") == count("polls", "due"),
        "{told}"
    );
    assert!(count("delivered", "entries") >= 10, "five agents, twice: {told}");
    assert!(stage.path("samples.db").exists());
}

#[test]
fn what_did_not_change_is_not_sent_again_and_gaps_are_filled_from_the_past() {
    let (stage, api) = (stage(&format!("{EACH}output = \"-\"")), Api::answering(directory));
    stage.file("agents.txt", "a1\na2,9\n");
    let poll = "name = \"p\"\ncredential = \"polling\"\npath = \"/now/{agent}\"\nconditional = true\n\
                agents = { file = \"agents.txt\" }\nperiod = \"400ms\"\noutput = \"-\"\n\
                backfill = \"/past/{agent}?between={from}/{until}\"";
    api.configure(&stage, poll);
    let entries = told(&stage);
    let of =
        |agent: &str| entries.iter().filter(|entry| entry["agent"] == agent).collect::<Vec<_>>();
    let first = of("a1");
    assert_eq!(first[0]["data"], serde_json::json!({ "now": true }));
    assert!(first[1..].iter().all(|entry| entry["unchanged"] == true), "{first:?}");
    let second = of("a2");
    let kinds: Vec<&str> = second.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"gap") && kinds.contains(&"backfill"), "{second:?}");
    let filled = second.iter().find(|entry| entry["kind"] == "backfill").unwrap();
    assert_eq!(filled["data"], serde_json::json!({ "from": "the past" }));
    let asked = api.asked.lock().unwrap();
    let past = asked.iter().find(|path| path.starts_with("/past/")).unwrap();
    let (_, between) = past.split_once("between=").unwrap();
    assert_eq!(between.split('/').count(), 2, "{past}");
    assert!(between.starts_with("20") && between.contains("T") && between.ends_with('Z'), "{past}");
}

#[test]
fn what_cannot_be_polled_says_so() {
    let stage = stage(&format!("{EACH}output = \"-\""));
    stage.file("twice.txt", "a\nb\na\n");
    stage.file("bytes.txt", "a\n");
    fs::write(stage.path("bytes.txt"), b"a\n\xff\n").unwrap();
    stage.file("empty.txt", "# nobody\n");
    let each = ["--path", "/api/{agent}", "--period", "1s", "--agents"];
    #[rustfmt::skip]
    let cases: &[(&[&str], i32, &str)] = &[
        (&["absent"],                                            2, "no poll is called absent; there is: presence"),
        (&["--agents", "twice.txt"],                             2, "twice.txt: line 3: \"a\" is in line 1 already"),
        (&["--agents", "bytes.txt"],                             2, "bytes.txt: is not UTF-8 text"),
        (&["--agents", "none.txt"],                              2, "none.txt: No such file"),
        (&["--agents", "empty.txt"],                             2, "there are no agents to poll"),
        (&["--path", "/api/all", "--period", "1s", "--agents", "agents.txt"], 2, "has no {agent} in it"),
        (&["--path", "api/{agent}", "--period", "1s", "--agents", "agents.txt"], 2, "begin it with /"),
        (&["--path", "/api/{agent}", "--agents", "agents.txt"],  2, "--period DURATION is missing"),
        (&["--path", "/api/{agent}", "--period", "1s"],          2, "--agents PATH is missing"),
        (&[each[0], each[1], each[2], each[3], each[4], "agents.txt", "--credential", "other"], 2, "no credential is called other"),
        (&["--period", "1ms"],                                   2, "must be 100ms to 1d"),
        (&["--json"],                                            2, "name another --output"),
        (&["--output", "bellwether.toml", "--for", "1s"],        1, "bellwether.toml"),
    ];
    for (arguments, status, says) in cases {
        let output = stage.run(&[&["poll"][..], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(*status), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_list_from_a_program_is_used_if_the_program_succeeds() {
    let stage = stage(&format!("{EACH}output = \"-\""));
    let poll = |command: &str| {
        let poll = EACH.replace("{ file = \"agents.txt\" }", &format!("{{ command = {command} }}"));
        let configuration = stage.configuration();
        stage.file("bellwether.toml", &format!("{configuration}\n[[poll]]\n{poll}output = \"-\""));
    };
    poll(r#"["sh", "-c", "echo one; echo two; env | grep -c SECRET >&2; true"]"#);
    let mut command = stage.command(&["poll", "--for", "500ms"]);
    let output = command.env("APP_SECRET", "canary").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut told = String::new();
    output.stdout.as_slice().read_to_string(&mut told).unwrap();
    assert!(told.contains("\"agent\":\"one\"") && told.contains("\"agent\":\"two\""), "{told}");
    assert!(String::from_utf8_lossy(&output.stderr).lines().any(|line| line == "0"), "no secret");
    poll(r#"["sh", "-c", "echo one; exit 3"]"#);
    let output = stage.run(&["poll", "--for", "500ms"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("sh: exit status: 3"), "{error}");
}

#[test]
fn operators_see_how_it_stands() {
    let stage = stage(&format!("{EACH}output = \"-\""));
    let mut command = stage.command(&["poll", "--admin-listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ready = said.find_map(|line| Some(line.strip_prefix("ready admin=http://")?.to_owned()));
    let admin = ready.expect("it says where").parse().expect("an address");
    for _ in 0..80 {
        lines.next().expect("it goes on").expect("UTF-8");
    }
    let metrics = ask(admin, "GET", "/metrics", &[], "");
    assert_eq!(metrics.status, 200);
    let value = |name: &str| {
        let line = metrics.text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name} is missing in {}", metrics.text))
    };
    let slots = |became: &str| {
        value(&format!("bellwether_poll_slots_total{{poll=\"presence\",became=\"{became}\"}}"))
    };
    assert!(slots("done") + slots("late") + slots("gap") >= 80.0, "{}", metrics.text);
    assert!(value("bellwether_poll_delivered_total") > 60.0);
    assert!(value("bellwether_poll_latency_seconds{poll=\"presence\",quantile=\"0.5\"") <= 0.5);
    assert_eq!(ask(admin, "GET", "/healthz", &[], "").status, 200);
    assert_eq!(ask(admin, "GET", "/v1/credentials", &[], "").status, 404);
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    // What is still in the pipe must not keep it from ending.
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn whose_reader_has_gone_it_ends() {
    let stage = stage(&format!("{EACH}output = \"-\""));
    let mut polling = Polling::start(&stage, &["poll"]);
    for _ in 0..5 {
        polling.entry().expect("it goes on");
    }
    let Polling { mut child, lines } = polling;
    drop(lines);
    assert_eq!(child.wait().expect("its end").code(), Some(1), "nobody would be told any more");
}

#[test]
fn told_to_stop_it_ends_though_its_output_takes_nothing() {
    let stage = stage(&format!("{EACH}output = \"-\""));
    let full = fs::File::options().write(true).open("/dev/full").expect("a full disk");
    let mut command = stage.command(&["poll", "--period", "100ms"]);
    let mut child = command.stdout(full).stderr(Stdio::piped()).spawn().expect("the binary");
    let mut said = BufReader::new(child.stderr.take().expect("its errors")).lines();
    let trouble = said.by_ref().map_while(Result::ok).find(|line| line.contains("takes nothing"));
    assert!(trouble.expect("it says so").contains("No space left"));
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let last = said.map_while(Result::ok).last().expect("why it failed");
    assert!(last.contains("were not written, and the next run begins with them"), "{last}");
    assert_eq!(child.wait().expect("its end").code(), Some(1));
}

#[test]
fn another_list_begins_another_series_and_ends_the_one_before() {
    let stage = stage(&format!("{EACH}output = {{ files = \"samples\" }}"));
    stage.told(&["poll", "--for", "600ms", "--json"]);
    stage.file("agents.txt", "somebody else\n");
    stage.told(&["poll", "--for", "600ms", "--json"]);
    let text = fs::read_to_string(stage.path("samples/presence-000001.ndjson")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (first, second): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["series"] == 1);
    let slots = by_slot(&first);
    assert_eq!(slots.len() as u64, slots.keys().next_back().unwrap() + 1, "none is missing");
    assert!(second.iter().all(|line| line["series"] == 2 && line["agent"] == "somebody else"));
    assert!(!second.is_empty());
}

#[test]
fn a_wrong_secret_is_told_and_shown_to_nobody() {
    let stage = stage(&format!("{EACH}output = \"-\""));
    stage.secret_file("client.secret", "canary-wrong-secret-41d8");
    let output = stage.run(&["poll", "--for", "1s"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no new token") && said.contains("invalid_client"), "{said}");
    assert_eq!(spelled_in("canary-wrong-secret-41d8", said.as_bytes()), None);
}
