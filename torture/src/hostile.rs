//! `bellwether serve` among hostile callers and before a hostile resource server, judged from outside.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bellwether_hostile::{
    ANSWER_CASES, Answers, Bed, DEFAULT_CAP, Flood, Manner, Origin, Pressure, Report, Script, Slow,
    Then, answer_cases, answers, corpus, echo, floods, framing, scripted, slow, speaks_http2,
};
use bellwether_lab::Running;
use bellwether_lifecycle::Timestamp;
use bellwether_simulation::{Client, Organisation, Profile};
use clap::{Args, ValueEnum};
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::broker::{Broker, Voice};
use crate::process::Process;
use crate::stage::{CLIENT, NAME, Workshop};

/// As long as the cases count on.
const KEY: &str = "simulated-secret-hostile-caller-0123";
/// More than sockets hold on their own.
const LARGE: u64 = 1 << 40;

/// Smuggled requests, poisoned answers, floods and slow callers against one process
#[derive(Debug, Args)]
pub(crate) struct Hostile {
    /// What to play; all of it if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Streams or frames of each flood; 1,000,000 for the long run
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    streams: u64,
    /// Slow connections at the same time; 10,000 for the long run
    #[arg(long, default_value_t = 1600, value_name = "N")]
    connections: usize,
    /// Slow connections that the gateway is told to take; else its default counts
    #[arg(long, value_name = "N")]
    cap: Option<usize>,
    /// How long slow connections are held, and the longest of each flood, in seconds
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    hold: u64,
    /// A good caller's p99 may be so much, in milliseconds, whatever it was before: the machine of a
    /// check is busy. 5 for a quiet one
    #[arg(long, default_value_t = 250, value_name = "MILLISECONDS")]
    least_latency: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests that could be read two ways
    Framing,
    /// Answers that could be read two ways, or be another's
    Answers,
    /// Frames of HTTP/2 that cost much and ask for little
    Floods,
    /// Callers that take their time
    Slow,
}

/// One process with our servers around it.
struct Scene {
    bed: Bed,
    process: Process,
    /// Reads what it says, so that it never waits for a reader.
    listening: JoinHandle<()>,
    _judge: Running,
    _directory: TempDir,
}

impl Hostile {
    /// Plays the parts; whether nothing went wrong.
    ///
    /// # Errors
    /// When the scene cannot be set.
    pub(crate) fn run(&self, workshop: &Workshop, as_json: bool) -> Result<bool, String> {
        let all = [Part::Framing, Part::Answers, Part::Floods, Part::Slow];
        let parts = if self.parts.is_empty() { &all[..] } else { &self.parts };
        raise_limit()?;
        let sides = Sides::new()?;
        let (mut good, mut documents) = (true, Vec::new());
        for part in parts {
            let started = workshop.time.now();
            let (is_good, document) = match part {
                Part::Framing => self.framing(workshop, &sides)?,
                Part::Answers => answers_part(workshop, &sides)?,
                Part::Floods => self.floods(workshop, &sides)?,
                Part::Slow => self.slow(workshop, &sides)?,
            };
            let took = workshop.time.now().since(started);
            eprintln!("{part:?}: {} in {took:.1?}\n", if is_good { "good" } else { "NOT good" });
            good &= is_good;
            documents.push(json!({ "part": format!("{part:?}"), "good": is_good, "of": document }));
        }
        if as_json {
            println!("{}", Value::Array(documents));
        }
        Ok(good)
    }

    fn framing(&self, workshop: &Workshop, sides: &Sides) -> Result<(bool, Value), String> {
        let cases = corpus::all();
        let (mut good, mut documents) = (true, Vec::new());
        for manner in [Manner::Strict, Manner::Sloppy] {
            let scene = Scene::set(workshop, sides, manner, Arc::new(echo), "")?;
            let report = sides.play(framing(&scene.bed, &cases));
            let (is_good, document) =
                shown(&format!("a resource server that is {manner:?}"), &report);
            good &= is_good;
            documents.push(document);
            scene.end()?;
        }
        Ok((good, Value::Array(documents)))
    }

    fn floods(&self, workshop: &Workshop, sides: &Sides) -> Result<(bool, Value), String> {
        let scene = Scene::set(workshop, sides, Manner::Strict, Arc::new(echo), "")?;
        let speaks = sides.play(speaks_http2(&scene.bed));
        if !speaks {
            eprintln!("skipped: the gateway does not speak HTTP/2 in the clear");
            scene.end()?;
            return Ok((true, json!("skipped")));
        }
        let pressure = scene.pressure(workshop, sides, self.least_latency);
        let longest = Duration::from_secs(self.hold.max(1));
        let told = |flood: &Flood| eprintln!("{}: {} sent", flood.name, flood.sent);
        let playing = floods(&scene.bed, &pressure, (self.streams, longest), told);
        let (played, heads) = sides.play(playing);
        let mut table = table(&["flood", "sent", "ended", "over idle", "p99", "quiet", "wrong!"]);
        for Flood { name, sent, ended, over_idle, p99, quiet_p99, complaints } in &played {
            let numbers = [
                sent.to_string(),
                ended.to_string(),
                kibibytes(*over_idle),
                ms(*p99),
                ms(*quiet_p99),
                complaints.len().to_string(),
            ];
            table.add_row(row(name, &numbers));
        }
        eprintln!("{table}");
        let complaints: Vec<String> = played
            .iter()
            .flat_map(|flood| flood.complaints.iter().map(|why| format!("{}: {why}", flood.name)))
            .collect();
        complain(&complaints);
        let (heads_are_good, document) = shown("heads", &heads);
        scene.end()?;
        let rows: Vec<Value> = played
            .iter()
            .map(|flood| {
                json!({
                    "flood": flood.name, "sent": flood.sent, "ended": flood.ended,
                    "over_idle": flood.over_idle, "p99_us": flood.p99.as_micros() as u64,
                    "quiet_p99_us": flood.quiet_p99.as_micros() as u64,
                })
            })
            .collect();
        Ok((complaints.is_empty() && heads_are_good, json!({ "floods": rows, "heads": document })))
    }

    fn slow(&self, workshop: &Workshop, sides: &Sides) -> Result<(bool, Value), String> {
        let large: Answers = Arc::new(|message, number| {
            if message.target != "/large" {
                return echo(message, number);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            Script { bytes: head.into_bytes(), then: Then::Endless(vec![b'x'; 4096]) }
        });
        let mut table = table(&[
            "slow",
            "opened",
            "held",
            "refused",
            "over idle",
            "each",
            "p99",
            "quiet",
            "wrong!",
        ]);
        // Where there are not enough for the default, another cap is met.
        let few = (self.connections <= DEFAULT_CAP).then(|| (self.connections * 3 / 4).max(1));
        let cap = self.cap.or(few);
        let limit = cap.map(|cap| format!("max_connections = {cap}")).unwrap_or_default();
        let cap = cap.unwrap_or(DEFAULT_CAP);
        let scene = Scene::set(workshop, sides, Manner::Strict, large, &limit)?;
        let pressure = scene.pressure(workshop, sides, self.least_latency);
        let hold = Duration::from_secs(self.hold.max(1));
        let played = sides.play(slow(&scene.bed, &pressure, (self.connections, cap), hold));
        for one in &played {
            let Slow { name, opened, held, refused, over_idle, p99, quiet_p99, complaints } = one;
            let numbers = [
                opened.to_string(),
                held.to_string(),
                refused.to_string(),
                kibibytes(*over_idle),
                format!("{} B", one.each()),
                ms(*p99),
                ms(*quiet_p99),
                complaints.len().to_string(),
            ];
            table.add_row(row(name, &numbers));
        }
        eprintln!("{table}");
        let complaints: Vec<String> = played
            .iter()
            .flat_map(|one| one.complaints.iter().map(|why| format!("{}: {why}", one.name)))
            .collect();
        complain(&complaints);
        scene.end()?;
        let rows: Vec<Value> = played.iter().map(|one| json!({
            "slow": one.name, "opened": one.opened, "held": one.held, "refused": one.refused,
            "over_idle": one.over_idle, "each": one.each(), "p99_us": one.p99.as_micros() as u64,
            "quiet_p99_us": one.quiet_p99.as_micros() as u64,
        })).collect();
        Ok((complaints.is_empty(), json!(rows)))
    }
}

fn answers_part(workshop: &Workshop, sides: &Sides) -> Result<(bool, Value), String> {
    let cases = answer_cases();
    if cases.len() < ANSWER_CASES {
        return Err(format!("only {} answers", cases.len()));
    }
    let scene = Scene::set(workshop, sides, Manner::Strict, scripted(&cases), "")?;
    let report = sides.play(answers(&scene.bed, &cases));
    let shown = shown("answers", &report);
    scene.end()?;
    Ok(shown)
}

impl Scene {
    fn set(
        workshop: &Workshop,
        sides: &Sides,
        manner: Manner,
        script: Answers,
        limit: &str,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the scene cannot be set: {error}");
        let time = workshop.time;
        let profile = Profile::plain().client(Client::new(CLIENT.0, CLIENT.1));
        let organisation = Organisation::new(profile, 1);
        let crowd = sides.crowd.handle().clone();
        let (judge, origin) = sides
            .play(async {
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
                let judge =
                    bellwether_lab::serve(organisation, listener, Arc::new(move || time.both()))?;
                Ok((judge, Origin::start(manner, script, crowd).await?))
            })
            .map_err(failed)?;
        let directory = TempDir::with_prefix_in("hostile-", &workshop.base).map_err(failed)?;
        let at = directory.path();
        for (name, secret) in [("client.secret", CLIENT.1), ("caller.key", KEY)] {
            let file = File::options().write(true).create_new(true).mode(0o600).open(at.join(name));
            file.and_then(|mut file| file.write_all(secret.as_bytes())).map_err(failed)?;
        }
        let configuration = configuration(&judge.url("/oauth/token"), origin.address, limit);
        fs::write(at.join("bellwether.toml"), configuration).map_err(failed)?;
        let mut broker = start(workshop, at)?;
        broker.wait_until_ready()?;
        let gateway = broker.gateway();
        let Broker { process, voice, .. } = broker;
        let listening = std::thread::spawn(move || voice.drain());
        let bed = sides.play(Bed::new(gateway, origin, KEY, NAME))?;
        Ok(Self { bed, process, listening, _judge: judge, _directory: directory })
    }

    fn pressure(&self, workshop: &Workshop, sides: &Sides, least: u64) -> Pressure {
        let (time, pid) = (workshop.time, self.process.pid());
        let now = Arc::new(move || time.now().since(Timestamp::ZERO));
        let resident = Arc::new(move || resident(pid));
        let (least_latency, crowd) = (Duration::from_millis(least), sides.crowd.handle().clone());
        Pressure { now, resident, least_latency, crowd }
    }

    /// Asks it to stop, and sees that it still can.
    fn end(self) -> Result<(), String> {
        self.process.signal(Signal::TERM);
        let ended = self.process.end()?;
        self.listening.join().map_err(|_| "what it said was not read")?;
        ended
            .status
            .success()
            .then_some(())
            .ok_or_else(|| format!("it ended with {}", ended.status))
    }
}

fn start(workshop: &Workshop, directory: &Path) -> Result<Broker, String> {
    let mut command = workshop.command()?;
    command
        .arg("serve")
        .current_dir(directory)
        .env("HOME", directory)
        .env("SSL_CERT_FILE", "/dev/null")
        .env("SSL_CERT_DIR", directory.join("no-certificates"));
    let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
    let log = File::create(directory.join("said.log")).map_err(|error| error.to_string())?;
    let process = Process::start(command, writer, workshop.time)?;
    Ok(Broker::new(process, Voice::new(reader, log)))
}

fn configuration(token_endpoint: &str, origin: SocketAddr, limit: &str) -> String {
    format!(
        r#"[gateway]
listen = "127.0.0.1:0"
{limit}

[admin]
listen = "127.0.0.1:0"

[store]
url = "sqlite:store/bellwether.db"

[[authorization_server]]
name = "judge"
token_endpoint = "{token_endpoint}"
resource_server = "http://{origin}/"

[[credential]]
name = "{NAME}"
authorization_server = "judge"
grant = "client_credentials"
client_id = "{client}"
client_secret = {{ file = "client.secret" }}

[[caller]]
name = "hostile"
key = {{ file = "caller.key" }}
credentials = ["{NAME}"]
"#,
        client = CLIENT.0
    )
}

/// Who has how much of the processors. The good caller and the API have them whenever they want, and
/// hostile callers what the others leave, as if each were on a machine of its own: what is measured is
/// the gateway, and not who stands in the kernel's queue.
struct Sides {
    good: Runtime,
    crowd: Runtime,
}

impl Sides {
    fn new() -> Result<Self, String> {
        let runtime = |name: &str, niceness: i32| {
            let mut runtime = Builder::new_multi_thread();
            runtime.thread_name(name).enable_all().on_thread_start(move || lean(niceness));
            runtime.build().map_err(|error| format!("no runtime: {error}"))
        };
        Ok(Self { good: runtime("good", -20)?, crowd: runtime("crowd", 19)? })
    }

    /// Plays the good side's part.
    fn play<T: Send>(&self, part: impl Future<Output = T> + Send) -> T {
        std::thread::scope(|threads| {
            let playing = threads.spawn(|| {
                lean(-20);
                self.good.block_on(part)
            });
            playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Has this thread give way to others, or others to it. Where that is not allowed, all are equal.
fn lean(niceness: i32) {
    let _ = nice(niceness);
}

/// Bytes that the process has in memory.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// As many sockets as this user may have; the process under test inherits it.
fn raise_limit() -> Result<(), String> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| format!("open files: {error}"))
}

fn shown(what: &str, report: &Report) -> (bool, Value) {
    let mut table = table(&[what, "cases", "refused", "arrived", "went on", "wrong!"]);
    let mut rows = Vec::new();
    let total = report.total();
    for (name, line) in report.families.iter().chain([(&"all", &total)]) {
        let counts = [line.cases, line.refused, line.forwarded, line.kept, line.wrong];
        table.add_row(row(name, &counts.map(|count| count.to_string())));
        rows.push(json!({ "family": name, "cases": line.cases, "refused": line.refused,
            "arrived": line.forwarded, "went_on": line.kept, "wrong": line.wrong }));
    }
    eprintln!("{table}\n{} requests arrived, read alike by both readers", report.arrived);
    complain(&report.complaints);
    (report.complaints.is_empty(), json!(rows))
}

fn complain(complaints: &[String]) {
    for complaint in complaints.iter().take(50) {
        eprintln!("! {}", complaint.chars().take(500).collect::<String>());
    }
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(head.iter().map(ToString::to_string));
    table
}

fn row(name: &str, numbers: &[String]) -> Vec<Cell> {
    let number = |number: &String| Cell::new(number).set_alignment(CellAlignment::Right);
    std::iter::once(Cell::new(name)).chain(numbers.iter().map(number)).collect()
}

fn kibibytes(bytes: u64) -> String {
    format!("{} KiB", bytes >> 10)
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
