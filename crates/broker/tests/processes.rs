//! Eight processes that share one store are one client to the authorization server.
//!
//! Each test runs this binary again, as [`child`], with its part in the environment. The server
//! runs here, over a socket, and judges by its ledger.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bellwether_broker::lifecycle::{State, Timestamp};
use bellwether_broker::oauth::Secret;
use bellwether_broker::store::{Clock, FileEscrow, Keyring, SystemClock};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Http1, NoToken, Obtain,
    Refusal, Token,
};
use bellwether_lab::Running;
use bellwether_simulation::{
    Client as Registered, Effect, Endpoint, Fault, Latency, Organisation, Profile, Reuse, Rotation,
};
use bellwether_store_sqlite::SqliteStore;
use rustls::RootCertStore;
use support::{CLIENT, SECRET, client, distinct, millis, secs};

const STORE: &str = "BROKER_TEST_STORE";
const SERVER: &str = "BROKER_TEST_SERVER";
const WRONG: &str = "BROKER_TEST_WRONG_SECRET";
const SEED: &str = "BROKER_TEST_REFRESH_TOKEN";
const PROCESSES: usize = 8;

/// What the other processes do: they obey one word a line. As a test of its own it has no part
/// and ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    let (Some(store), Some(url)) = (std::env::var_os(STORE), std::env::var_os(SERVER)) else {
        return;
    };
    let secret = if std::env::var_os(WRONG).is_some() { "wrong" } else { SECRET };
    let clock = Arc::new(SystemClock::new());
    let place = Path::new(&store);
    let escrow = FileEscrow::open(&place.with_extension("escrow")).unwrap();
    let store = SqliteStore::open(place, Arc::new(*clock)).unwrap();
    let broker = Broker::start(Environment {
        clock,
        store: Arc::new(store),
        escrow: Arc::new(escrow),
        keyring: Keyring::from_bytes(&[7; Keyring::KEY_LEN]),
        seed: u64::from(std::process::id()),
    });
    let transport = Arc::new(Http1::with_roots(RootCertStore::empty()));
    let server = AuthorizationServer {
        token_endpoint: url.to_str().unwrap().parse().unwrap(),
        ..support::server(transport)
    };
    let seed = std::env::var_os(SEED).map(|seed| Secret::from(seed.to_str().unwrap()));
    let obtain = match seed {
        Some(seed) => Obtain::RefreshToken { seed: Some(seed) },
        None => Obtain::ClientCredentials,
    };
    let settings =
        CredentialSettings { client: client(secret), obtain, ..support::settings(server) };
    tell("ready", "");
    let mut handle: Option<(Handle, Arc<Token>)> = None;
    for line in std::io::stdin().lines() {
        match (line.unwrap().as_str(), &handle) {
            ("ask", _) => {
                let added = broker.add(settings.clone()).await.handle;
                let answer = added.token().await;
                told(&broker, answer.as_ref());
                handle = answer.ok().map(|token| (added, token));
            }
            ("refused", Some((added, token))) => {
                match added.refused(token, broker.clock().now()).await {
                    Refusal::Cure(newer) => told(&broker, Ok(&newer)),
                    Refusal::Stands => tell("stands", ""),
                    Refusal::NoToken(none) => told(&broker, Err(&none)),
                }
            }
            ("renew", Some((added, _))) => added.renew(),
            ("doubt", Some((added, _))) => {
                let mut news = broker.news();
                added.renew();
                while added.status().state != State::InDoubt {
                    news.recv().await.unwrap();
                }
                tell("doubts", "");
            }
            (other, _) => panic!("no such word: {other:?}"),
        }
    }
}

/// Tells which token it is without telling the token.
fn told(broker: &Broker, answer: Result<&Arc<Token>, &NoToken>) {
    match answer {
        Ok(token) => tell("token", &broker.access_digest(token.access_token()).to_hex()),
        Err(none) => {
            let error = none.error.as_ref().and_then(|error| error.token_error());
            tell("error", error.map_or("none", |error| error.kind()));
        }
    }
}

/// A line that the parent finds among those of the test harness.
fn tell(word: &str, what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "\n@{word} {what}").and_then(|()| out.flush()).unwrap();
}

/// Another process, killed at the latest when the test ends.
struct Process {
    child: Child,
    orders: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(lab: &Lab, store: &Path, with: Option<(&str, &str)>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]);
        command.env(STORE, store).env(SERVER, lab.running.url("/oauth/token"));
        command.envs(with);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut process = Self { child, orders, lines };
        assert_eq!(process.hears(), "ready ");
        process
    }

    fn order(&mut self, word: &str) {
        writeln!(self.orders, "{word}").unwrap();
    }

    fn hears(&mut self) -> String {
        let told = |line: std::io::Result<String>| Some(line.ok()?.strip_prefix('@')?.to_owned());
        self.lines.by_ref().find_map(told).expect("the process tells something")
    }

    /// Ends it with SIGKILL, and returns when it is gone.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All are told the same word at once; what each answers.
fn all(processes: &mut [Process], word: &str) -> Vec<String> {
    processes.iter_mut().for_each(|process| process.order(word));
    processes.iter_mut().map(Process::hears).collect()
}

struct Lab {
    running: Running,
    /// A message for each request that arrives, and for each look at the clock.
    stirs: Receiver<()>,
    clock: SystemClock,
}

impl Lab {
    async fn open() -> Self {
        let profile = Profile {
            token_latency: Latency::millis(100, 100),
            rotation: Rotation::Strict,
            reuse: Reuse::RevokesFamily,
            ..Profile::plain()
        };
        let organisation = Organisation::new(profile.client(Registered::new(CLIENT, SECRET)), 3);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stir, stirs): (Sender<()>, _) = channel();
        let clock = SystemClock::new();
        let now = move || {
            // Nobody has to listen.
            let _ = stir.send(());
            (clock.now(), clock.wall())
        };
        let running = bellwether_lab::serve(organisation, listener, Arc::new(now)).unwrap();
        Self { running, stirs, clock }
    }

    fn fail(&self, lasts: Duration, times: Option<u32>, effect: Effect) {
        self.running.with(|organisation, from| {
            let (until, endpoint) = (from + lasts, Endpoint::Token);
            organisation.add_fault(Fault { from, until, endpoint, effect, times });
        });
    }

    /// When token requests arrived, since the first.
    fn arrivals(&self) -> Vec<Duration> {
        let ledger = self.running.ledger();
        let all: Vec<Timestamp> = ledger.entries().map(|entry| entry.at).collect();
        all.iter().map(|at| at.since(all[0])).collect()
    }

    /// Blocks until so many token requests have come.
    fn await_requests(&self, count: usize) {
        while self.running.ledger().entries().len() < count {
            self.stirs.recv().unwrap();
        }
    }
}

fn start_all(lab: &Lab, store: &Path, with: Option<(&str, &str)>) -> Vec<Process> {
    (0..PROCESSES).map(|_| Process::start(lab, store, with)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_get_one_token_from_one_request_and_cure_it_by_one_more() {
    let (lab, directory) = (Lab::open().await, tempfile::tempdir().unwrap());
    let store = directory.path().join("store.db");
    let mut processes = start_all(&lab, &store, None);
    let first = all(&mut processes, "ask");
    assert!(first[0].starts_with("token "), "{first:?}");
    assert_eq!((distinct(&first), lab.arrivals().len()), (1, 1), "{first:?}");

    lab.running.with(|organisation, now| organisation.revoke_tokens(now, None));
    let cured = all(&mut processes, "refused");
    assert!(cured[0].starts_with("token ") && cured[0] != first[0], "{cured:?}");
    assert_eq!((distinct(&cured), lab.arrivals().len()), (1, 2), "{cured:?}");

    // A ninth that comes later finds it in the store.
    let mut late = Process::start(&lab, &store, None);
    late.order("ask");
    assert_eq!((late.hears(), lab.arrivals().len()), (cured[0].clone(), 2));
}

/// The server revokes the whole family if any refresh token is shown twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_share_one_rotating_refresh_token() {
    let (lab, directory) = (Lab::open().await, tempfile::tempdir().unwrap());
    let seed = lab.running.with(|organisation, now| organisation.issue_refresh_token(now, CLIENT));
    let with = Some((SEED, seed.as_deref().unwrap()));
    let mut processes = start_all(&lab, &directory.path().join("store.db"), with);
    let first = all(&mut processes, "ask");
    assert!(first[0].starts_with("token ") && distinct(&first) == 1, "{first:?}");
    lab.running.with(|organisation, now| organisation.revoke_tokens(now, None));
    let cured = all(&mut processes, "refused");
    assert!(cured[0].starts_with("token ") && distinct(&cured) == 1, "{cured:?}");
    let totals = lab.running.totals();
    assert_eq!((totals.refresh_requests, totals.refresh_uses, totals.families_revoked), (2, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_with_a_wrong_secret_share_one_refusal() {
    let (lab, directory) = (Lab::open().await, tempfile::tempdir().unwrap());
    let mut processes = start_all(&lab, &directory.path().join("store.db"), Some((WRONG, "1")));
    let answers = all(&mut processes, "ask");
    assert!(answers.iter().all(|answer| answer == "error invalid_client"), "{answers:?}");
    let arrivals = lab.arrivals();
    let at_once = arrivals.iter().filter(|at| **at < secs(1)).count();
    assert_eq!(at_once, 1, "{arrivals:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_meet_an_outage_with_the_requests_of_one() {
    let (lab, directory) = (Lab::open().await, tempfile::tempdir().unwrap());
    let mut processes = start_all(&lab, &directory.path().join("store.db"), None);
    lab.fail(millis(2500), None, Effect::status(500));
    let answers = all(&mut processes, "ask");
    assert!(answers[0].starts_with("token "), "{answers:?}");
    assert_eq!(distinct(&answers), 1, "{answers:?}");
    let arrivals = lab.arrivals();
    assert!(arrivals.len() <= 5, "{arrivals:?}");
    println!("8 processes, 500 for 2.5 s: {arrivals:?}");
}

/// Whether the successor was waiting already, or comes when the holder is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_killed_in_mid_request_is_succeeded_at_once() {
    for waits_already in [false, true] {
        let (lab, directory) = (Lab::open().await, tempfile::tempdir().unwrap());
        let store = directory.path().join("store.db");
        let mut holder = Process::start(&lab, &store, None);
        let mut successor = Process::start(&lab, &store, None);
        lab.fail(secs(3600), Some(1), Effect::Stall { processed: false });
        holder.order("ask");
        lab.await_requests(1);
        if waits_already {
            successor.order("ask");
        }
        let killed_at = lab.clock.now();
        holder.kill();
        if !waits_already {
            successor.order("ask");
        }
        let answer = successor.hears();
        let took = lab.clock.now().since(killed_at);
        assert!(answer.starts_with("token "), "{answer}");
        assert!(took < secs(2), "{took:?}");
        assert_eq!(lab.arrivals().len(), 2, "the killed one's, and the successor's");
    }
}

/// The answer to its refresh dies with it. While the access token is good, its successor does not
/// show the refresh token again: this server would revoke everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_killed_in_mid_refresh_leaves_doubt_behind() {
    let (lab, directory) = (Lab::open().await, tempfile::tempdir().unwrap());
    let store = directory.path().join("store.db");
    let seed = lab.running.with(|organisation, now| organisation.issue_refresh_token(now, CLIENT));
    let with = Some((SEED, seed.as_deref().unwrap()));
    let mut holder = Process::start(&lab, &store, with);
    holder.order("ask");
    let token = holder.hears();
    lab.fail(secs(3600), Some(1), Effect::Stall { processed: true });
    holder.order("renew");
    lab.await_requests(2);
    holder.kill();

    let mut successor = Process::start(&lab, &store, with);
    successor.order("ask");
    assert_eq!(successor.hears(), token, "it serves what is stored");
    successor.order("doubt");
    assert_eq!(successor.hears(), "doubts ");
    let totals = lab.running.totals();
    assert_eq!((totals.refresh_requests, totals.refresh_uses, totals.families_revoked), (2, 1, 0));
}
