//! `login` and `logout` through the real binary, against the simulated organisation.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use bellwether_simulation::{Client, Effect, Endpoint, Fault, TOKEN_MARK};
use rustix::process::Signal;
use serde_json::{Value, json};

use support::{CLIENT, Stage, files};

/// A stage whose credential `mine` has no refresh token; its client is public.
fn stage() -> Stage {
    let stage = Stage::with(|profile| profile.clients.push(Client::public("native")));
    let issuer = stage.lab.url("");
    configure(&stage, &format!("issuer = {issuer:?}\n"), "client_id = \"native\"\n");
    stage
}

/// Has `[[authorization_server]]` and `[[credential]]` say this as well.
fn configure(stage: &Stage, server: &str, credential: &str) {
    let (token_endpoint, api) = (stage.lab.url("/oauth/token"), stage.lab.url("/"));
    stage.file(
        "bellwether.toml",
        &format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [store]\nurl = \"sqlite:store/bellwether.db\"\n\
             [[authorization_server]]\nname = \"lab\"\ntoken_endpoint = {token_endpoint:?}\n\
             resource_server = {api:?}\n{server}\
             [[credential]]\nname = \"mine\"\nauthorization_server = \"lab\"\n\
             grant = \"refresh_token\"\n{credential}"
        ),
    );
}

/// A login that waits for its user.
struct Waiting {
    child: Child,
    /// Where the user is sent.
    url: String,
    /// On `--device`.
    user_code: String,
    errors: JoinHandle<String>,
}

impl Waiting {
    fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the binary");
        let mut lines = BufReader::new(child.stderr.take().expect("its errors")).lines();
        let mut said = String::new();
        let mut shown = Vec::new();
        for line in lines.by_ref().map_while(Result::ok) {
            shown.extend(line.strip_prefix("  ").map(str::to_owned));
            let waits = line.starts_with("Waiting");
            said.push_str(&line);
            said.push('\n');
            if waits {
                break;
            }
        }
        let errors = std::thread::spawn(move || {
            lines.map_while(Result::ok).fold(said, |said, line| said + &line + "\n")
        });
        assert!(!shown.is_empty(), "it waits for nobody: {}", errors.join().expect("no panic"));
        let mut shown = shown.into_iter();
        let (url, user_code) = (shown.next().unwrap_or_default(), shown.next().unwrap_or_default());
        Self { child, url, user_code, errors }
    }

    /// What the browser gets when it follows the address: where the server sends it.
    fn callback(&self) -> String {
        let (_, location) = get(&self.url);
        location.expect("a way back")
    }

    fn end(mut self) -> (Option<i32>, String, String) {
        let mut output = String::new();
        self.child.stdout.take().expect("its output").read_to_string(&mut output).expect("UTF-8");
        let status = self.child.wait().expect("its end");
        (status.code(), output, self.errors.join().expect("no panic"))
    }
}

/// The status, and where it leads.
fn get(url: &str) -> (u16, Option<String>) {
    let (address, path) =
        url.strip_prefix("http://").expect("http").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(address).expect("a listener");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a whole answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let header = |line: &str| line.strip_prefix("location: ").map(str::to_owned);
    (status.expect("a status"), answer.lines().find_map(header))
}

fn log_in(stage: &Stage, flags: &[&str]) -> Waiting {
    Waiting::start(stage.command(&[&["login", "mine", "--json"], flags].concat()))
}

/// A whole login by code.
fn logged_in(stage: &Stage) -> Value {
    let waiting = log_in(stage, &["--no-browser"]);
    assert_eq!(get(&waiting.callback()).0, 200);
    let (status, output, errors) = waiting.end();
    assert_eq!(status, Some(0), "{output}{errors}");
    serde_json::from_str(&output).expect("JSON")
}

fn import(stage: &Stage, given: &str, flags: &[&str]) -> Output {
    let mut command = stage.command(&[&["login", "mine", "--import"], flags].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(given.as_bytes()).expect("it reads");
    drop(input);
    child.wait_with_output().expect("its end")
}

fn issued(stage: &Stage, client: &str) -> String {
    let token = stage.lab.with(|lab, now| lab.issue_refresh_token(now, client));
    token.expect("a known client")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A state of the running broker, once it is there.
fn wait_for_state(serving: &support::Serving, state: &str) -> Value {
    for _ in 0..2000 {
        let view = serving.get_admin("/v1/credentials").value()["credentials"][0].clone();
        if view["state"] == state {
            return view;
        }
    }
    panic!("{}", serving.get_admin("/v1/credentials").text);
}

#[test]
fn a_login_by_code_brings_a_token_that_needs_no_other_request() {
    let stage = stage();
    let before = stage.run(&["token", "mine"]);
    assert_eq!(before.status.code(), Some(1));
    assert!(said(&before).contains("run `bellwether login mine`"), "{}", said(&before));

    let told = logged_in(&stage);
    assert_eq!((&told["name"], &told["state"]), (&json!("mine"), &json!("fresh")));
    assert!(told["expires_at"].as_u64().is_some() && told["scope"].is_null(), "{told}");
    let token = stage.told(&["token", "mine"]);
    assert!(token.starts_with(TOKEN_MARK), "{token}");
    assert_eq!((stage.totals().token_requests, stage.totals().refresh_requests), (1, 0));
}

#[test]
fn strangers_at_the_callback_change_nothing_and_nobody_comes_twice() {
    let stage = stage();
    let waiting = log_in(&stage, &["--no-browser"]);
    let callback = waiting.callback();
    let (place, _) = callback.split_once('?').expect("a query");
    for (stranger, status) in [
        (format!("{place}?code=evil&state=guess"), 400),
        (format!("{place}?error=access_denied"), 400),
        (place.replace("/callback", "/favicon.ico"), 404),
        (callback.replace("127.0.0.1", "localhost").replace("/callback", "/elsewhere"), 404),
    ] {
        assert_eq!(get(&stranger).0, status, "{stranger}");
    }
    assert_eq!(get(&callback).0, 200);
    let (status, output, errors) = waiting.end();
    assert_eq!(status, Some(0), "{output}{errors}");
    let address = place.trim_start_matches("http://").trim_end_matches("/callback");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    assert_eq!(stage.totals().token_requests, 1);
}

#[test]
fn a_refusal_is_told_and_nothing_is_kept() {
    let stage = stage();
    let issuer = stage.lab.url("");
    let credential = "client_id = \"native\"\nscope = \"denied\"\n";
    configure(&stage, &format!("issuer = {issuer:?}\n"), credential);
    let waiting = log_in(&stage, &["--no-browser"]);
    assert_eq!(get(&waiting.callback()).0, 200);
    let (status, output, errors) = waiting.end();
    assert_eq!((status, output.as_str()), (Some(1), ""));
    assert!(errors.contains("access_denied: access was denied"), "{errors}");
    assert_eq!(stage.totals().token_requests, 0);
    assert_eq!(stage.run(&["token", "mine"]).status.code(), Some(1));
}

#[test]
fn a_confidential_client_with_configured_endpoints_and_port() {
    let stage = stage();
    // Free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
    let port = port.expect("a free port").port();
    let (issuer, authorize) = (stage.lab.url(""), stage.lab.url("/oauth/authorize"));
    let credential = format!(
        "client_id = {:?}\nclient_secret = {{ file = \"client.secret\" }}\n\
         redirect_port = {port}\nauthorization_parameters = {{ prompt = \"consent\" }}\n\
         parameters = {{ audience = \"https://api.test/\" }}\n",
        CLIENT.0
    );
    configure(&stage, &format!("authorization_endpoint = {authorize:?}\n"), &credential);
    let waiting = log_in(&stage, &["--no-browser"]);
    for part in
        ["prompt=consent", "audience=https%3A%2F%2Fapi.test%2F", &format!("%3A{port}%2Fcallback")]
    {
        assert!(waiting.url.contains(part), "{} has no {part}", waiting.url);
    }
    // It says who it is, and nobody has configured who that should be.
    assert_eq!(get(&waiting.callback()).0, 200);
    let (status, _, errors) = waiting.end();
    assert_eq!(status, Some(1));
    assert!(errors.contains("configure `issuer`"), "{errors}");
    configure(&stage, &format!("issuer = {issuer:?}\n"), &credential);
    logged_in(&stage);
}

#[test]
fn metadata_that_cannot_be_relied_on_ends_a_login_before_it_begins() {
    let stage = stage();
    let lab = stage.lab.url("");
    let localhost = lab.replace("127.0.0.1", "localhost");
    #[rustfmt::skip]
    let cases = [
        (format!("issuer = \"{lab}/\"\n"),       "belongs to another issuer"),
        (format!("issuer = \"{lab}/tenant\"\n"), "has no metadata"),
        (format!("issuer = {localhost:?}\n"),    "names the token endpoint"),
        ("issuer = \"http://127.0.0.1:1\"\n".to_owned(), "cannot be read"),
    ];
    for (server, expected) in cases {
        configure(&stage, &server, "client_id = \"native\"\n");
        let output = stage.run(&["login", "mine", "--no-browser"]);
        assert_eq!(output.status.code(), Some(1), "{server}");
        assert!(said(&output).contains(expected), "{server}: {}", said(&output));
    }
    configure(&stage, "", "client_id = \"native\"\n");
    for flags in [&["login", "mine"][..], &["login", "mine", "--device"]] {
        let output = stage.run(flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(said(&output).contains("is known for authorization_server"), "{}", said(&output));
    }
    assert_eq!(stage.totals().token_requests, 0);
}

#[test]
fn a_device_code_is_asked_about_until_the_user_has_decided() {
    let stage = stage();
    // Without a terminal no browser opens, and the server knows device codes.
    for (flags, decision) in [(&[][..], "allow"), (&["--device"][..], "deny")] {
        let waiting = log_in(&stage, flags);
        assert!(waiting.url.ends_with("/oauth/device"), "{}", waiting.url);
        let page = format!("{}?user_code={}&decision={decision}", waiting.url, waiting.user_code);
        assert_eq!(get(&page).0, 200);
        let (status, output, errors) = waiting.end();
        if decision == "allow" {
            assert_eq!(status, Some(0), "{errors}");
            assert!(output.contains("\"fresh\""), "{output}");
        } else {
            assert_eq!((status, output.as_str()), (Some(1), ""));
            assert!(errors.contains("access was denied"), "{errors}");
        }
    }
    stage.told(&["token", "mine"]);
    assert_eq!(stage.totals().refresh_requests, 0);
}

#[test]
fn a_running_broker_takes_a_login_over_and_stops_at_a_logout() {
    let stage = stage();
    let serving = stage.serve();
    let view = wait_for_state(&serving, "needs_reauth");
    let why = view["why"].as_str().unwrap_or_default();
    assert!(why.contains("run `bellwether login mine`"), "{view}");
    assert_eq!(logged_in(&stage)["state"], "fresh");
    assert_eq!(wait_for_state(&serving, "fresh")["held"], 1);
    let token = stage.told(&["token", "mine"]);
    assert_eq!(stage.totals().token_requests, 1, "it was adopted");

    let output = stage.told(&["logout", "mine", "--json"]);
    let told: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(told, json!({ "name": "mine", "revoked": true, "forgotten": true }));
    assert_eq!(wait_for_state(&serving, "needs_reauth")["held"], 0);
    assert_eq!(stage.run(&["token", "mine"]).status.code(), Some(1));
    assert_eq!(stage.totals().live_tokens, 0, "both were revoked");
    assert_eq!(stage.totals().token_requests, 1, "and nothing was tried again");

    assert_eq!(logged_in(&stage)["state"], "fresh");
    let again = stage.told(&["token", "mine"]);
    assert_ne!(again, token);
    let (_, log) = serving.end(Signal::TERM);
    assert!(!log.contains(TOKEN_MARK), "{log}");
}

#[test]
fn an_imported_refresh_token_is_stored_as_it_is() {
    let stage = stage();
    let token = issued(&stage, "native");
    let output = import(&stage, &format!("\n  {token} \r\n"), &["--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let expected =
        json!({ "name": "mine", "state": "renewing", "scope": null, "expires_at": null });
    assert_eq!(told, expected);
    assert_eq!(stage.totals().token_requests, 0, "an import asks nobody");
    stage.told(&["token", "mine"]);
    assert_eq!((stage.totals().refresh_requests, stage.totals().refresh_uses), (1, 1));
    for bad in ["", " \n", "two words", "{\"refresh_token\":\"x\"}"] {
        let output = import(&stage, bad, &[]);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn a_running_broker_tries_what_was_imported_and_says_what_came_of_it() {
    let stage = stage();
    let serving = stage.serve();
    let output = import(&stage, "never-issued", &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["state"], "needs_reauth");
    assert!(
        told["why"].as_str().is_some_and(|why| why.contains("bellwether login mine")),
        "{told}"
    );
    let output = import(&stage, &issued(&stage, "native"), &["--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["state"], "fresh");
    assert_eq!(wait_for_state(&serving, "fresh")["held"], 1);
    assert_eq!(stage.totals().refresh_uses, 1);
}

#[test]
fn what_cannot_be_revoked_is_kept_unless_it_is_to_be_forgotten() {
    let stage = stage();
    logged_in(&stage);
    let broken = Effect::Answer {
        status: 503,
        retry_after: None,
        content_type: "text/plain".to_owned(),
        body: b"down".to_vec(),
        processed: false,
    };
    stage.lab.with(|lab, _| lab.add_fault(Fault::next(2, Endpoint::Revocation, broken)));
    let output = stage.run(&["logout", "mine"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("--forget"), "{}", said(&output));
    stage.told(&["token", "mine"]);
    let output = stage.run(&["logout", "mine", "--forget"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("nothing was revoked"), "{}", said(&output));
    assert_eq!(stage.run(&["token", "mine"]).status.code(), Some(1));
    // Nothing is left to give back.
    let again = stage.told(&["logout", "mine", "--json"]);
    let again: Value = serde_json::from_str(&again).expect("JSON");
    let why = "no refresh token is held";
    let expected = json!({ "name": "mine", "revoked": false, "forgotten": true, "why": why });
    assert_eq!(again, expected);
}

#[test]
fn what_is_no_login_is_refused() {
    let stage = Stage::new();
    for command in ["login", "logout"] {
        let output = stage.run(&[command, "polling"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("needs no login"), "{}", said(&output));
        let output = stage.run(&[command, "nobody"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("there is polling"), "{}", said(&output));
    }
}

#[test]
fn no_file_and_no_result_holds_a_token() {
    let stage = stage();
    let told = logged_in(&stage).to_string();
    assert!(!told.contains(TOKEN_MARK), "{told}");
    let output = stage.run(&["logout", "mine"]);
    for stream in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(stream).contains(TOKEN_MARK));
    }
    for file in files(stage.directory.path()) {
        let content = std::fs::read(&file).expect("it can be read");
        let mark = TOKEN_MARK.as_bytes();
        assert!(!content.windows(mark.len()).any(|part| part == mark), "{}", file.display());
    }
}
