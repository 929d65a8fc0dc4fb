//! The real binary beside a lab, in a directory of its own.

#![allow(dead_code, reason = "each test binary tells with its own part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bellwether_simulation::{Client, Organisation, Profile, Totals};
use bellwether_store::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each secret is unlike anything else, so that it is found wherever it went.
pub(crate) const CLIENT: (&str, &str) = ("app", "canary+client/s3cret~%41=0b7f9c2d");
pub(crate) const KEY: &str = "canary-caller-key-5d1f0a9e-77aa41c0-2be6";
pub(crate) const OPERATOR_KEY: &str = "canary-operator-key-90ce1d77-a1b2c3d4-e5";

/// A lab in this process, and a directory with a configuration for it.
pub(crate) struct Stage {
    pub(crate) lab: bellwether_lab::Running,
    pub(crate) directory: TempDir,
    _runtime: Runtime,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Profile)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut profile = Profile::plain().client(Client::new(CLIENT.0, CLIENT.1));
        change(&mut profile);
        let clock = SystemClock::new();
        let lab = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let now = Arc::new(move || (clock.now(), clock.wall()));
            bellwether_lab::serve(Organisation::new(profile, 11), listener, now).expect("a lab")
        });
        let stage =
            Self { lab, directory: tempfile::tempdir().expect("a directory"), _runtime: runtime };
        stage.secret_file("client.secret", CLIENT.1);
        stage.secret_file("poller.key", KEY);
        stage.secret_file("operator.key", OPERATOR_KEY);
        stage.file("bellwether.toml", &stage.configuration());
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn configuration(&self) -> String {
        let (login, api) = (self.lab.url("/oauth/token"), self.lab.url("/"));
        format!(
            r#"[gateway]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"
key = {{ file = "operator.key" }}

[store]
url = "sqlite:store/bellwether.db"

[[authorization_server]]
name = "lab"
token_endpoint = "{login}"
resource_server = "{api}"

[[credential]]
name = "polling"
authorization_server = "lab"
grant = "client_credentials"
client_id = "app"
client_secret = {{ file = "client.secret" }}

[[caller]]
name = "poller"
key = {{ file = "poller.key" }}
credentials = ["polling"]
"#
        )
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }

    pub(crate) fn secret_file(&self, name: &str, secret: &str) {
        let path = self.file(name, &format!("{secret}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lab.totals()
    }

    /// The binary in the stage's directory, with nothing of our own environment that matters.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary")
    }

    /// What a command that succeeds prints.
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    pub(crate) fn serve(&self) -> Serving {
        Serving::start(self.command(&["serve"]))
    }

    /// Without a configuration file: callers bring their own client.
    pub(crate) fn serve_open(&self, further: &[&str]) -> Serving {
        let (login, api) = (self.lab.url("/oauth/token"), self.lab.url("/"));
        let mut arguments =
            vec!["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        arguments.extend(["--token-endpoint", &login, "--resource-server", &api]);
        arguments.extend(further);
        Serving::start(self.command(&arguments))
    }
}

/// `bellwether serve`, running. It is killed when dropped.
pub(crate) struct Serving {
    child: Child,
    pub(crate) gateway: SocketAddr,
    pub(crate) admin: SocketAddr,
    said: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
}

/// Everything on standard output and standard error, and news of each line.
#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Said {
    /// Waits for a line; panics with all there is if none comes.
    fn wait_for(&self, is_it: impl Fn(&str) -> bool) -> String {
        let find = |lines: &Vec<String>| lines.iter().find(|line| is_it(line)).cloned();
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, _) = self
            .more
            .wait_timeout_while(lines, PATIENCE, |lines| find(lines).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        find(&lines).unwrap_or_else(|| panic!("it did not say so: {lines:#?}"))
    }

    fn read(self: &Arc<Self>, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let said = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                said.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                said.more.notify_all();
            }
        })
    }
}

impl Serving {
    pub(crate) fn start(mut command: Command) -> Self {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the binary");
        let said = Arc::<Said>::default();
        let readers = vec![
            said.read(child.stdout.take().expect("its output")),
            said.read(child.stderr.take().expect("its errors")),
        ];
        let ready = said.wait_for(|line| line.starts_with("ready "));
        let (gateway, admin) = addresses(&ready);
        Self { child, gateway, admin, said, readers }
    }

    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.said.wait_for(|line| line.contains(text))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    pub(crate) fn command_line(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/cmdline", self.child.id())).expect("it runs")
    }

    /// Ends it by a signal; answers with its status and all it said.
    pub(crate) fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        self.signal(signal);
        let status = self.child.wait().expect("its end");
        for reader in self.readers.drain(..) {
            reader.join().expect("no panic");
        }
        let lines = self.said.lines.lock().unwrap_or_else(PoisonError::into_inner);
        (status, lines.join("\n"))
    }

    /// `client_credentials` with this pair.
    pub(crate) fn login(&self, (id, secret): (&str, &str)) -> Answer {
        let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
        let headers = [
            ("Authorization", format!("Basic {pair}")),
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
        ];
        ask(self.gateway, "POST", "/oauth/token", &headers, "grant_type=client_credentials")
    }

    pub(crate) fn get(&self, path: &str, bearer: &str) -> Answer {
        ask(self.gateway, "GET", path, &[("Authorization", format!("Bearer {bearer}"))], "")
    }

    pub(crate) fn get_admin(&self, path: &str) -> Answer {
        ask(self.admin, "GET", path, &[], "")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `ready gateway=http://ADDR admin=http://ADDR`, and nothing else; the first of several places.
fn addresses(ready: &str) -> (SocketAddr, SocketAddr) {
    let words: Vec<&str> = ready.split(' ').collect();
    let ["ready", gateway, admin] = words[..] else { panic!("{ready}") };
    let address = |word: &str, name: &str| {
        let places = word.strip_prefix(name).expect("its name");
        let first = places.split(',').next().expect("a place");
        let address = first.strip_prefix("https://").or(first.strip_prefix("http://"));
        address.expect("a URL").parse::<SocketAddr>().expect("an address")
    };
    (address(gateway, "gateway="), address(admin, "admin="))
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    pub(crate) fn token(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.text);
        self.value()["access_token"].as_str().expect("an access token").to_owned()
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("a whole answer");
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.expect("a status"), text: text.to_owned() }
}

/// Where a secret, in any of the usual spellings, is found in `bytes`.
pub(crate) fn spelled_in(secret: &str, bytes: &[u8]) -> Option<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let reversed: String = secret.chars().rev().collect();
    let mut spellings = vec![
        secret.to_owned(),
        encoded(secret),
        secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        hex.to_uppercase(),
        hex,
        reversed,
    ];
    // Base64 at each of the three offsets, without what its neighbours would change.
    for offset in 0..3 {
        let shifted = format!("{}{secret}", "x".repeat(offset));
        let text = STANDARD.encode(shifted);
        spellings.push(text[4 * offset.div_ceil(2).min(1)..text.len() - 4].to_owned());
    }
    let url_safe: Vec<String> =
        spellings[6..].iter().map(|text| text.replace('+', "-").replace('/', "_")).collect();
    spellings.extend(url_safe);
    // A part gives it away too.
    let parts: Vec<String> = secret
        .as_bytes()
        .windows(12)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    spellings.extend(parts);
    spellings
        .into_iter()
        .find(|spelling| bytes.windows(spelling.len()).any(|window| window == spelling.as_bytes()))
}

/// Every file below a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let kind = fs::symlink_metadata(&path).expect("its kind").file_type();
        if kind.is_dir() {
            found.extend(files(&path));
        } else if kind.is_file() {
            found.push(path);
        }
    }
    found
}
