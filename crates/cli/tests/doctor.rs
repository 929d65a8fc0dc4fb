//! `bellwether doctor`: what it prints, how it ends, and what it never says.

mod support;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const START: u64 = 1_700_000_000_000;
const HEADER: &str =
    "timeStamp,elapsed,label,responseCode,responseMessage,threadName,success,failureMessage,URL\n";

/// Logs in a directory of their own.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(&self, name: &str, log: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, log).expect("a file");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command.arg("doctor").args(arguments).current_dir(self.0.path()).env_clear();
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary")
    }
}

/// Threads that poll every second, each after a login of its own.
fn healthy() -> String {
    let mut log = HEADER.to_owned();
    for second in 0..60 {
        for thread in 0..5 {
            let at = START + second * 1000 + thread * 100;
            let (label, path) =
                if second == 0 { ("log in", "oauth/token") } else { ("poll", "api/v2/x") };
            let _ =
                writeln!(log, "{at},20,{label},200,OK,t {thread},true,,https://api.example/{path}");
        }
    }
    log
}

/// Twelve threads and a server that keeps four tokens: each poll finds its token dead.
fn sick() -> String {
    let mut log = HEADER.to_owned();
    for turn in 0..40_u64 {
        for thread in 0..12_u64 {
            let at = START + turn * 5000 + thread * 350;
            let url = "https://api.example/";
            if turn > 0 {
                let _ = writeln!(
                    log,
                    "{at},20,poll,401,Unauthorized,t {thread},false,\"Bearer canary-s3cret-1234567890abc\",{url}x"
                );
            }
            let (login, again) = (at + 30, at + 100);
            let _ = writeln!(log, "{login},50,log in,200,OK,t {thread},true,,{url}oauth/token");
            let _ = writeln!(log, "{again},20,poll,200,OK,t {thread},true,,{url}x");
        }
    }
    log
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn the_exit_status_says_whether_something_is_wrong() {
    let desk = Desk::new();
    desk.file("healthy.jtl", healthy());
    desk.file("sick.jtl", sick());
    let well = desk.run(&["healthy.jtl"]);
    assert_eq!(well.status.code(), Some(0), "{}", out(&well));
    assert!(out(&well).contains("Nothing is wrong with the tokens"), "{}", out(&well));
    assert!(out(&well).contains("300 requests"), "{}", out(&well));
    let ill = desk.run(&["sick.jtl"]);
    assert_eq!(ill.status.code(), Some(1));
    assert!(out(&ill).contains("1. token-eviction  high"), "{}", out(&ill));
    assert!(!out(&ill).contains('\u{1b}'), "colour is for terminals");
    assert!(!out(&ill).contains("canary"), "{}", out(&ill));
}

#[test]
fn json_is_one_document_of_the_promised_shape() {
    let desk = Desk::new();
    desk.file("sick.jtl", sick());
    let output = desk.run(&["--json", "sick.jtl"]);
    assert_eq!(output.status.code(), Some(1));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let first = &document["findings"][0];
    assert_eq!(first["id"], "token-eviction");
    assert_eq!(first["severity"], "high");
    assert!(first["confidence"].as_f64().is_some_and(|it| (0.5..=1.0).contains(&it)));
    assert!(first["summary"].is_string() && first["advice"].is_string());
    let place = &first["evidence"][0];
    assert_eq!(place["file"], "sick.jtl");
    assert!(place["line"].as_u64().is_some_and(|line| line > 1));
    assert!(place["time"].as_str().is_some_and(|time| time.starts_with("2023-11-14T22:13:")));
    assert!(place["what"].is_string());
    let totals = &document["totals"];
    for (name, expected) in [
        ("files", 1),
        ("lines", 1429),
        ("requests", 1428),
        ("token_requests", 480),
        ("status_401", 468),
        ("status_429", 0),
        ("unreadable", 0),
    ] {
        assert_eq!(totals[name], expected, "{name}");
    }
    assert_eq!(totals["first"], "2023-11-14T22:13:20.080Z");
}

#[test]
fn standard_input_gzip_zstd_and_several_files_are_read_alike() {
    let desk = Desk::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(sick().as_bytes()).expect("memory");
    desk.file("sick.jtl.gz", gzip.finish().expect("memory"));
    desk.file("sick.zst", zstd::encode_all(sick().as_bytes(), 3).expect("memory"));
    desk.file("sick.jtl", sick());
    desk.file("healthy.jtl", healthy());
    for name in ["sick.jtl.gz", "sick.zst"] {
        assert_eq!(desk.run(&[name]).status.code(), Some(1), "{name}");
    }
    let mut command = desk.command(&["-", "healthy.jtl"]);
    command.stdin(fs::File::open(desk.0.path().join("sick.jtl")).expect("it is there"));
    let both = command.output().expect("the binary");
    assert!(out(&both).contains("token-eviction") && out(&both).contains("standard input:"));
    let twice = desk.run(&["-", "-"]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(errors(&twice).contains("only once"));
}

#[test]
fn what_cannot_be_read_is_named_with_the_reason() {
    let desk = Desk::new();
    desk.file("prose.txt", "Dear all,\nthe test failed.\n");
    desk.file("empty.jtl", "");
    desk.file("header.jtl", HEADER);
    desk.file("healthy.jtl", healthy());
    fs::create_dir(desk.0.path().join("folder")).expect("a directory");
    for (name, why) in [
        ("nowhere.jtl", "No such file"),
        ("folder", "directory"),
        ("prose.txt", "no log that is known here; it begins with `Dear all,`"),
        ("empty.jtl", "it is empty"),
        ("header.jtl", "it looks like JMeter results (CSV), but none of its 1 lines"),
    ] {
        for arguments in [vec![name], vec!["healthy.jtl", name], vec!["--json", name]] {
            let output = desk.run(&arguments);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            let told = errors(&output);
            assert!(told.contains(&format!("error: {name} cannot be read: ")), "{told}");
            assert!(told.contains(why), "{told}");
            assert_eq!(out(&output), "", "{arguments:?}");
        }
    }
    assert_eq!(desk.run(&[]).status.code(), Some(2));
}

#[test]
fn the_page_needs_nothing_else() {
    let desk = Desk::new();
    desk.file("sick <b>.jtl", sick());
    let output = desk.run(&["--html", "page.html", "sick <b>.jtl"]);
    assert_eq!(output.status.code(), Some(1));
    let page = fs::read_to_string(desk.0.path().join("page.html")).expect("a page");
    for part in [
        "<svg",
        "Token requests",
        "token-eviction",
        "prefers-color-scheme:dark",
        "sick &lt;b&gt;.jtl",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    for foreign in ["<script", "http://", "src=", "@import", "url(", "canary"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let nowhere = desk.run(&["--html", "nowhere/page.html", "sick <b>.jtl"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(errors(&nowhere).contains("nowhere/page.html cannot be written"));
}

/// Stops what a test that failed left behind.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Following {
    fn interrupt(&mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::INT).expect("it runs");
        self.0.wait().expect("it ends").code()
    }
}

#[test]
fn a_growing_log_is_followed_until_ctrl_c() {
    let desk = Desk::new();
    let sick = sick();
    let (head, tail) = sick.split_at(HEADER.len());
    let path = desk.file("growing.jtl", head);
    let mut command = desk.command(&["--live", "growing.jtl"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary");
    let mut following = Following(child);
    let lines = BufReader::new(following.0.stdout.take().expect("a pipe")).lines();
    let mut lines = lines.map(|line| line.expect("UTF-8"));
    let mut file = OpenOptions::new().append(true).open(&path).expect("it is there");
    file.write_all(tail.as_bytes()).expect("there is room");
    // Told while it runs.
    assert!(lines.any(|line| line.contains("token-eviction")));
    assert_eq!(following.interrupt(), Some(1));
    // It ends at once, wherever it was among the 1,428.
    let read = lines.find_map(|line| {
        let (before, _) = line.split_once(" requests")?;
        before.rsplit(' ').next()?.parse::<u32>().ok()
    });
    assert!(read.is_some_and(|read| (1..=1428).contains(&read)), "a summary at the end: {read:?}");
}

#[test]
fn a_running_broker_is_followed_by_its_admin_address() {
    let stage = support::Stage::new();
    let serving = stage.serve();
    serving.login(("poller", support::KEY)).token();
    let desk = Desk::new();
    let address = format!("http://{}", serving.admin);
    let mut command = desk.command(&["--live", &address]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary");
    let mut following = Following(child);
    let mut lines = BufReader::new(following.0.stderr.take().expect("a pipe")).lines();
    let first = lines.next().expect("a line").expect("UTF-8");
    assert!(first.contains("the events of a broker"), "{first}");
    assert_eq!(following.interrupt(), Some(0));

    let none = desk.run(&["--live", "http://127.0.0.1:9"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(errors(&none).contains("http://127.0.0.1:9 cannot be read"), "{}", errors(&none));
    let odd = desk.run(&["--live", "ftp://x"]);
    assert!(errors(&odd).contains("no address of a broker's admin listener"), "{}", errors(&odd));
}
