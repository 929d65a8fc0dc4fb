//! The real binary: what its commands print, how they end, and what they never say.

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bellwether_simulation::Latency;
use bellwether_store::{Clock, SystemClock};
use rustix::process::Signal;

use support::{CLIENT, KEY, OPERATOR_KEY, Stage, ask, files, spelled_in};

#[test]
fn serve_with_a_configuration_says_that_it_is_ready_and_stops_when_told() {
    let stage = Stage::new();
    let serving = stage.serve();
    assert!(serving.gateway.port() != 0 && serving.admin.port() != 0, "port 0 picks one");
    let token = serving.login(("poller", KEY)).token();
    assert_eq!(serving.get("/api/v2/users/me", &token).status, 200);
    assert_eq!(serving.get("/bellwether/v1/credentials/polling/token", KEY).token(), token);
    assert_eq!(serving.get_admin("/readyz").status, 200);
    let (status, _) = serving.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    assert_eq!(stage.totals().token_requests, 1);
    assert!(!stage.path("store/bellwether.db.sock").exists(), "the socket goes with it");
}

#[test]
fn flags_win_over_the_file_and_are_relative_to_the_working_directory() {
    let stage = Stage::new();
    let elsewhere = stage.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    let mut command = stage.command(&["serve", "--config", "../bellwether.toml"]);
    command.args(["--listen", "127.0.0.2:0", "--store", "sqlite:mine.db"]);
    command.current_dir(&elsewhere);
    let serving = support::Serving::start(command);
    assert_eq!(serving.gateway.ip().to_string(), "127.0.0.2");
    assert!(elsewhere.join("mine.db").exists());
    assert!(!stage.path("store").exists());
}

#[test]
fn the_configuration_is_found_where_it_is_looked_for() {
    let stage = Stage::new();
    let text = std::fs::read_to_string(stage.path("bellwether.toml")).expect("the file");
    std::fs::remove_file(stage.path("bellwether.toml")).expect("it is there");
    assert_eq!(stage.run(&["token", "polling"]).status.code(), Some(2), "there is none");
    // In the user's own, with paths relative to it.
    let home = stage.path("config/bellwether");
    std::fs::create_dir_all(&home).expect("a directory");
    for name in ["client.secret", "poller.key", "operator.key"] {
        std::fs::rename(stage.path(name), home.join(name)).expect("it moves");
    }
    std::fs::write(home.join("bellwether.toml"), text).expect("a file");
    let token = stage.told(&["token", "polling"]);
    assert!(home.join("store/bellwether.db").exists());
    let mut by_variable = stage.command(&["token", "polling"]);
    by_variable.env("XDG_CONFIG_HOME", "/nowhere");
    by_variable.env("BELLWETHER_CONFIG", home.join("bellwether.toml"));
    let output = by_variable.output().expect("the binary");
    assert_eq!(String::from_utf8_lossy(&output.stdout), token);
    assert_eq!(stage.totals().token_requests, 1);
}

#[test]
fn serve_without_a_file_keeps_callers_secrets_and_goes_on_after_a_restart() {
    let stage = Stage::new();
    std::fs::remove_file(stage.path("bellwether.toml")).expect("it is there");
    let serving = stage.serve_open(&[]);
    let token = serving.login(CLIENT).token();
    assert_eq!(serving.get("/api/x", &token).status, 200);
    assert!(stage.path("state/bellwether/bellwether.db").exists());
    assert_eq!(serving.end(Signal::TERM).0.code(), Some(0));

    let again = stage.serve_open(&[]);
    // On API paths it is as good as before, although nobody has logged in yet.
    assert_eq!(again.get("/api/x", &token).status, 200);
    assert_eq!(again.login(CLIENT).token(), token);
    assert_eq!(again.login((CLIENT.0, "wrong")).status, 401);
    assert_eq!(stage.totals().token_requests, 2, "one, and the wrong secret's");
}

#[test]
fn local_tokens_survive_a_restart() {
    let stage = Stage::new();
    let serving = stage.serve_open(&["--hand-out", "local"]);
    let token = serving.login(CLIENT).token();
    assert!(token.starts_with("bwt_"), "{token}");
    drop(serving);
    let again = stage.serve_open(&["--hand-out", "local"]);
    assert_eq!(again.get("/api/x", &token).status, 200);
    assert_eq!(stage.totals().token_requests, 1);
}

#[test]
fn a_restart_asks_for_no_token_however_it_ended() {
    let stage = Stage::new();
    let token = stage.serve().login(("poller", KEY)).token();
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        let serving = stage.serve();
        assert_eq!(serving.get_admin("/readyz").status, 200);
        assert_eq!(serving.login(("poller", KEY)).token(), token);
        let (status, _) = serving.end(signal);
        assert_eq!(status.success(), signal != Signal::KILL);
    }
    assert_eq!(stage.totals().token_requests, 1);
}

/// The preset's ways, at addresses of one's own.
#[test]
fn a_preset_and_addresses_go_together() {
    let stage = Stage::new();
    let serving = stage.serve_open(&["--provider", "genesys", "--pool", "2"]);
    let token = serving.login(CLIENT).token();
    assert_eq!(serving.get("/api/v2/users/me", &token).status, 200);
    assert_eq!(serving.get("/elsewhere", &token).status, 404);
    let wrong = serving.login((CLIENT.0, "wrong"));
    assert_eq!((wrong.status, &wrong.value()["error"]), (400, &"invalid_client".into()));
}

#[test]
fn what_the_broker_makes_is_its_owners_alone() {
    let stage = Stage::new();
    let serving = stage.serve();
    serving.login(("poller", KEY)).token();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(stage.path(name)).expect("it is there");
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
    };
    #[rustfmt::skip]
    let made = [
        ("store",                    0o700),
        ("store/bellwether.db.key",  0o600),
        ("store/bellwether.db.sock", 0o600),
    ];
    for (name, expected) in made {
        assert_eq!(mode(name), expected, "{name}: {:o}", mode(name));
    }
}

#[test]
fn systemd_is_told() {
    let stage = Stage::new();
    let path = stage.path("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let mut command = stage.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &path);
    let serving = support::Serving::start(command);
    let told = || {
        let mut buffer = [0; 256];
        let length = systemd.recv(&mut buffer).expect("news");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(told().contains("READY=1"));
    serving.signal(Signal::TERM);
    assert!(told().contains("STOPPING=1"));
}

#[test]
fn a_bad_file_on_reload_leaves_the_last_good_one() {
    let stage = Stage::new();
    let serving = stage.serve();
    let token = serving.login(("poller", KEY)).token();
    let good = stage.configuration();
    for bad in [
        "nonsense",
        &good.replace("client_id", "cliend_id"),
        &good.replace("poller.key", "none.key"),
    ] {
        stage.file("bellwether.toml", bad);
        serving.signal(Signal::HUP);
        serving.wait_for("the configuration stays as it was");
        assert_eq!(serving.login(("poller", KEY)).token(), token);
    }
    stage.file("bellwether.toml", &good.replace("[[caller]]", "scope = [\"read\"]\n\n[[caller]]"));
    serving.signal(Signal::HUP);
    serving.wait_for("the configuration was read again");
    // What was asked for with another scope is another token.
    let changed = serving.login(("poller", KEY));
    assert_eq!(changed.value()["scope"], "read");
    assert_ne!(changed.token(), token);
    assert_eq!(serving.end(Signal::TERM).0.code(), Some(0));
}

#[test]
fn callers_change_with_a_reload() {
    const NEWER: &str = "newer-key-0123456789-0123456789-newer";
    let stage = Stage::new();
    stage.secret_file("newer.key", NEWER);
    // Real tokens would be the same for both keys.
    let good = stage.configuration().replace("[gateway]\n", "[gateway]\nhand_out = \"local\"\n");
    stage.file("bellwether.toml", &good);
    let serving = stage.serve();
    let token = serving.login(("poller", KEY)).token();
    let key = "key = { file = \"poller.key\" }";
    let both = "keys = [{ file = \"newer.key\" }, { file = \"poller.key\" }]";
    let ended =
        "keys = [{ file = \"newer.key\" }, { file = \"poller.key\", expires = \"2020-01-31\" }]";
    let limited = "user = 4294967294\nkey = { file = \"poller.key\" }";
    let nowhere = "key = { file = \"poller.key\" }\npaths = [\"/nowhere\"]";
    #[rustfmt::skip]
    let steps = [
        // instead of the key,  key, newer key, token at the API
        (both,                  200, 200, 200),
        (ended,                 401, 200, 401),
        (limited,               401, 401, 401),
        (nowhere,               200, 401, 404),
        (key,                   200, 401, 200),
    ];
    for (number, (instead, first, newer, at_api)) in steps.into_iter().enumerate() {
        // A line of its own for each reload, so that the next one is waited for.
        let name = format!("caller-{number}");
        let more = format!(
            "\n\n[[caller]]\nname = \"{name}\"\nuser = {number}\ncredentials = [\"polling\"]\n"
        );
        stage.file("bellwether.toml", &(good.replace(key, instead) + &more));
        serving.signal(Signal::HUP);
        serving.wait_for(&format!("callers are now poller, {name}"));
        let told = [
            serving.login(("poller", KEY)).status,
            serving.login(("poller", NEWER)).status,
            serving.get("/api/x", &token).status,
        ];
        assert_eq!(told, [first, newer, at_api], "{instead}");
    }
    assert_eq!(serving.end(Signal::TERM).0.code(), Some(0));
}

#[test]
fn a_dashboard_does_not_hold_up_a_stop() {
    let stage = Stage::new();
    let serving = stage.serve();
    let mut viewer = std::net::TcpStream::connect(serving.admin).expect("a listener");
    std::io::Write::write_all(&mut viewer, b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("it reads");
    let mut first = [0; 16];
    std::io::Read::read_exact(&mut viewer, &mut first).expect("it answers");
    let clock = SystemClock::new();
    let began = clock.now();
    assert_eq!(serving.end(Signal::TERM).0.code(), Some(0));
    assert!(clock.now().since(began) < Duration::from_secs(5));
}

#[test]
fn token_comes_from_the_running_broker() {
    let stage = Stage::new();
    let serving = stage.serve();
    let token = serving.login(("poller", KEY)).token();
    assert_eq!(stage.told(&["token", "polling"]), format!("{token}\n"));
    assert_eq!(stage.told(&["token", "polling", "--format", "raw"]), format!("{token}\n"));
    let header = stage.told(&["token", "polling", "--format", "header"]);
    assert_eq!(header, format!("Authorization: Bearer {token}\n"));
    for flags in [["--format", "json"].as_slice(), &["--json"]] {
        let arguments: Vec<&str> = ["token", "polling"].iter().chain(flags).copied().collect();
        let text = stage.told(&arguments);
        let value: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
        assert_eq!(value["access_token"], token);
        assert_eq!((&value["token_type"], &value["generation"]), (&"Bearer".into(), &1.into()));
        assert!((3500..=3600).contains(&value["expires_in"].as_u64().expect("seconds")));
        let now = SystemClock::new().wall().as_secs();
        assert!(value["expires_at"].as_u64().expect("Unix seconds") > now + 3000);
    }
    assert_eq!(stage.totals().token_requests, 1);
}

#[test]
fn token_comes_straight_from_the_store_where_no_broker_runs() {
    let stage = Stage::new();
    let first = stage.told(&["token", "polling"]);
    assert_eq!(stage.told(&["token", "polling"]), first);
    assert_eq!(stage.totals().token_requests, 1);
    // A broker that starts later goes on with it.
    assert_eq!(format!("{}\n", stage.serve().login(("poller", KEY)).token()), first);
    assert_eq!(stage.totals().token_requests, 1);
}

#[test]
fn eight_processes_on_one_store_are_one_token_request() {
    let stage = Stage::with(|profile| profile.token_latency = Latency::millis(300, 300));
    let started: Vec<_> = (0..8)
        .map(|_| {
            let mut command = stage.command(&["token", "polling"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary")
        })
        .collect();
    let mut tokens = std::collections::BTreeSet::new();
    for child in started {
        let output = child.wait_with_output().expect("its end");
        assert!(output.status.success(), "{output:?}");
        tokens.insert(output.stdout);
    }
    assert_eq!(tokens.len(), 1);
    assert_eq!(stage.totals().token_requests, 1);
}

#[test]
fn status_tells_each_credentials_state() {
    let stage = Stage::new();
    let nobody = stage.run(&["status", "--json"]);
    assert_eq!(nobody.status.code(), Some(1), "no broker runs");
    assert!(nobody.stdout.is_empty());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("bellwether serve"));

    let serving = stage.serve();
    serving.login(("poller", KEY)).token();
    let text = stage.told(&["status", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
    let credentials = value["credentials"].as_array().expect("a list");
    assert_eq!(credentials.len(), 1);
    let polling = &credentials[0];
    assert_eq!((&polling["name"], &polling["state"]), (&"polling".into(), &"fresh".into()));
    for member in ["why", "since", "next_action", "next_at"] {
        assert!(!polling[member].is_null(), "{member}: {polling}");
    }
    let table = stage.told(&["status"]);
    assert!(table.contains("polling") && table.contains("fresh"), "{table}");
}

#[test]
fn a_corrected_secret_file_cures_a_misconfigured_credential() {
    let stage = Stage::new();
    stage.secret_file("client.secret", "canary-of-yesterday-000000000000");
    let serving = stage.serve();
    assert_eq!(serving.login(("poller", KEY)).status, 401);
    let state = || {
        let value: serde_json::Value =
            serde_json::from_str(&stage.told(&["status", "--json"])).expect("JSON");
        value["credentials"][0]["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!(state(), "misconfigured");
    stage.secret_file("client.secret", CLIENT.1);
    serving.wait_for("the secret was read again");
    assert_eq!(serving.login(("poller", KEY)).status, 200);
    assert_eq!(state(), "fresh");
}

#[test]
fn how_commands_end() {
    let stage = Stage::new();
    let bad = stage.file("bad.toml", "[gateway]\nlisten = 1\n");
    let bad = bad.to_str().expect("UTF-8");
    let away = stage
        .configuration()
        .replace(&stage.lab.url("/oauth/token"), "http://127.0.0.1:9/oauth/token");
    stage.file("away.toml", &away.replace("sqlite:store/bellwether.db", "memory:"));
    #[rustfmt::skip]
    let cases: &[(&[&str], i32)] = &[
        (&["--version"],                                           0),
        (&["--help"],                                              0),
        (&["serve", "--help"],                                     0),
        (&["check"],                                               0),
        (&["token", "polling"],                                    0),
        (&["status"],                                              1),
        (&["token", "polling", "--config", "away.toml"],           1),
        (&[],                                                      2),
        (&["unheard"],                                             2),
        (&["token"],                                               2),
        (&["token", "unheard"],                                    2),
        (&["token", "polling", "--format", "yaml"],                2),
        (&["token", "polling", "--config", "none.toml"],           2),
        (&["token", "polling", "--store", "file:x"],               2),
        (&["check", "--config", bad],                              2),
        (&["serve", "--config", bad],                              2),
        (&["serve", "--config", "none.toml"],                      2),
        (&["serve", "--listen", "nowhere"],                        2),
        (&["serve", "--provider", "unheard"],                      2),
        (&["serve", "--region", "ap-southeast-2"],                 2),
        (&["serve", "--provider", "genesys", "--region", "mars"],  2),
        (&["serve", "--token-endpoint", "http://example.com/t"],   2),
        (&["serve", "--client-secret", "x"],                       2),
        (&["serve", "--rotation", "sometimes"],                    2),
        (&["serve", "--pool", "0"],                                2),
        (&["serve", "--hand-out", "both"],                         2),
        (&["serve", "--store", "postgres://u:canary-pass@db/x"],   2),
    ];
    for (arguments, code) in cases {
        let output = stage.run(arguments);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {output:?}");
        if *code != 0 {
            assert!(output.stdout.is_empty() || arguments[0] == "check", "{arguments:?}");
            assert!(!output.stderr.is_empty(), "{arguments:?} says nothing");
        }
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(
            spelled_in("canary-pass", &said).filter(|s| s == "canary-pass"),
            None,
            "{arguments:?}"
        );
    }
}

#[test]
fn two_brokers_do_not_share_a_place() {
    let stage = Stage::new();
    let serving = stage.serve();
    let same_store = stage.run(&["serve"]);
    assert_eq!(same_store.status.code(), Some(1), "{same_store:?}");
    assert!(String::from_utf8_lossy(&same_store.stderr).contains("another broker is running"));
    let taken = serving.gateway.to_string();
    let same_port = stage.run(&["serve", "--listen", &taken, "--store", "memory:"]);
    assert_eq!(same_port.status.code(), Some(1), "{same_port:?}");
    assert!(String::from_utf8_lossy(&same_port.stderr).contains(&taken));
    // The first one is none the worse for it.
    assert_eq!(stage.told(&["status"]).lines().count(), 2);
    assert_eq!(serving.login(("poller", KEY)).status, 200);
}

/// Good days and bad ones with everything logged; then all that was said and kept is searched.
#[test]
fn no_secret_is_said_or_kept_in_the_open() {
    let stage = Stage::new();
    let (mut said, mut tokens) = (Vec::<(String, Vec<u8>)>::new(), Vec::new());
    let loud = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env("BELLWETHER_LOG", "trace");
        command
    };
    let serving = support::Serving::start(loud(&["serve"]));
    said.push(("the command line".to_owned(), serving.command_line()));
    tokens.push(serving.login(("poller", KEY)).token());
    assert_eq!(serving.get("/api/x", &tokens[0]).status, 200);
    serving.login(("poller", "wrong"));
    stage.lab.with(|organisation, now| organisation.revoke_tokens(now, None));
    assert_eq!(serving.get("/api/x", &tokens[0]).status, 200, "cured");
    tokens.push(serving.login(("poller", KEY)).token());
    let operator = [
        ("Authorization", format!("Bearer {OPERATOR_KEY}")),
        ("Content-Type", "application/json".to_owned()),
    ];
    let renew = ask(serving.admin, "POST", "/v1/credentials/polling/renew", &operator, "{}");
    assert_eq!(renew.status, 202);
    said.push(("renew".to_owned(), renew.text.into_bytes()));
    for path in ["/", "/metrics", "/v1/credentials", "/readyz"] {
        said.push((path.to_owned(), serving.get_admin(path).text.into_bytes()));
    }
    // A server that repeats what it was sent.
    let echo = format!(
        r#"{{"error":"invalid_client","error_description":"no {} for you"}}"#,
        CLIENT.1.replace('"', "")
    );
    stage.lab.with(|organisation, _| {
        organisation.add_fault(bellwether_simulation::Fault::lasting(
            bellwether_simulation::Endpoint::Token,
            bellwether_simulation::Effect::Answer {
                status: 401,
                retry_after: None,
                content_type: "application/json".to_owned(),
                body: echo.into_bytes(),
                processed: false,
            },
        ));
    });
    let renew = ask(serving.admin, "POST", "/v1/credentials/polling/renew", &operator, "{}");
    assert_eq!(renew.status, 202);
    serving.wait_for("invalid_client");
    for arguments in
        [["status"].as_slice(), &["status", "--json"], &["check"], &["token", "unheard"]]
    {
        let output = loud(arguments).output().expect("the binary");
        said.push((format!("{arguments:?}"), [output.stdout, output.stderr].concat()));
    }
    let token = loud(&["token", "polling"]).output().expect("the binary");
    said.push(("token, standard error".to_owned(), token.stderr));
    let (status, log) = serving.end(Signal::TERM);
    assert_eq!(status.code(), Some(0));
    for said in ["connected to the API", "renewal failed", "state="] {
        assert!(log.contains(said), "it was loud: {said}");
    }
    said.push(("the log".to_owned(), log.into_bytes()));

    // The same without a file, where callers' own secrets are kept.
    stage.lab.with(|organisation, _| organisation.clear_faults());
    let serving = stage.serve_open(&[]);
    tokens.push(serving.login(CLIENT).token());
    said.push(("the command line".to_owned(), serving.command_line()));
    let kept = files(&stage.path("store")).into_iter().chain(files(&stage.path("state")));
    let kept: Vec<PathBuf> = kept.collect();
    assert!(kept.len() >= 4, "two stores with their keys: {kept:?}");
    for path in kept {
        said.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
    }
    said.push(("the log".to_owned(), serving.end(Signal::TERM).1.into_bytes()));

    let secrets =
        [CLIENT.1, KEY, OPERATOR_KEY].into_iter().chain(tokens.iter().map(String::as_str));
    for secret in secrets {
        // The lab marks all of its tokens alike.
        let unlike = secret.trim_start_matches("simulated-secret-C49H1_ON-");
        for (place, bytes) in &said {
            let found = spelled_in(unlike, bytes);
            assert_eq!(found, None, "{secret} in {place}");
        }
    }
}

#[test]
fn the_search_for_secrets_finds_them() {
    let secret = CLIENT.1;
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = |text: String| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    for hidden in [
        format!("before {secret} after"),
        hex,
        base64(format!("app:{secret}")),
        base64(format!("a:{secret}")),
        base64(format!("id:{secret}:x")),
        form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        secret[5..20].to_owned(),
    ] {
        assert!(spelled_in(secret, hidden.as_bytes()).is_some(), "{hidden}");
    }
    assert_eq!(spelled_in(secret, b"nothing of the kind, only words about a client"), None);
}

#[test]
fn top_shows_each_look_until_it_is_stopped() {
    use std::io::{BufRead, BufReader};
    let stage = Stage::new();
    let none = stage.run(&["top"]);
    assert_eq!(none.status.code(), Some(1), "no broker runs");
    let serving = stage.serve();
    serving.login(("poller", KEY)).token();
    for json in [true, false] {
        let mut command = stage.command(&["top", "--every", "100ms"]);
        command.args(json.then_some("--json")).stdout(Stdio::piped());
        let mut top = command.spawn().expect("the binary");
        let lines = BufReader::new(top.stdout.take().expect("its output")).lines();
        let looks: Vec<String> =
            lines.map_while(Result::ok).filter(|line| line.contains("polling")).take(3).collect();
        assert_eq!(looks.len(), 3, "it goes on");
        for look in &looks {
            assert!(look.contains("fresh") && !look.contains('\u{1b}'), "{look}");
            if json {
                let view: serde_json::Value = serde_json::from_str(look).expect("a document");
                assert_eq!(view["credentials"][0]["name"], "polling");
            }
        }
        // Its reader is gone, and it is told to stop: either ends it well.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&top), Signal::TERM);
        assert!(top.wait().expect("its end").success());
    }
    serving.end(Signal::TERM);
}

/// A log is for whoever wants it: when nobody can be told any more, tokens are renewed all the same.
#[test]
fn a_log_that_nobody_reads_costs_no_renewal() {
    use std::io::{BufRead, BufReader};
    let stage = Stage::new();
    let mut command = stage.command(&["serve"]);
    command.env("BELLWETHER_LOG", "debug").stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary");
    let mut said = BufReader::new(child.stderr.take().expect("its errors")).lines();
    let ready = said.find_map(|line| line.ok().filter(|line| line.starts_with("ready ")));
    drop(said);
    let ready = ready.expect("it is ready");
    let gateway = ready.split("gateway=http://").nth(1).and_then(|rest| rest.split(' ').next());
    let gateway = gateway.expect("its address").parse().expect("an address");
    let bearer = [("Authorization", format!("Bearer {KEY}"))];
    for _ in 0..3 {
        let answer = ask(gateway, "GET", "/api/v2/users/me", &bearer, "");
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(ask(stage.lab.address(), "POST", "/lab/revoke", &[], "{}").status, 200);
    }
    let end = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(end, Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}

/// The same for commands: what cannot be said does not change how they end.
#[test]
fn an_error_that_nobody_can_read_ends_with_its_own_status() {
    let stage = Stage::new();
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("a full disk");
    for (arguments, status) in [
        (&["check", "--config", "none.toml"][..], 2),
        (&["token", "nobody"], 2),
        (&["status"], 1),
        (&["lab", "run", "nothing"], 2),
    ] {
        let ended = stage.command(arguments).stderr(full()).status().expect("the binary");
        assert_eq!(ended.code(), Some(status), "{arguments:?}");
    }
}
