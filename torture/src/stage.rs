//! The scene of one point: a judge of its own, a directory with a configuration, and the processes
//! that run in it.
//!
//! The judge is a simulated authorization server on a socket of this process, so it survives every
//! kill, and its ledger says what was on the wire.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bellwether_lab::Running;
use bellwether_lifecycle::{Timestamp, UnixTime};
use bellwether_simulation::{
    Client, Effect, Endpoint, Entry, ExpiresIn, Fault, Grant, Latency, Organisation, Outcome,
    Profile, Request, Reuse, Verdict,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::broker::{Broker, Voice};
use crate::class::Class;
use crate::process::{Ended, Process};
use crate::time::Time;

/// The credential's name in every configuration.
pub(crate) const NAME: &str = "held";
/// The client, and its secret that guards nothing.
pub(crate) const CLIENT: (&str, &str) = ("tortured", "simulated-secret-of-the-tortured-client");
pub(crate) const OPERATOR_KEY: &str = "simulated-secret-operator-key-0123456789";
pub(crate) const CALLER_KEY: &str = "simulated-secret-caller-key-0123456789";

/// What all points share.
#[derive(Debug)]
pub(crate) struct Workshop {
    /// The binary under test; this one, under another name, if none is given.
    pub(crate) program: Option<PathBuf>,
    /// Where directories are made.
    pub(crate) base: PathBuf,
    pub(crate) runtime: Runtime,
    pub(crate) time: Time,
    /// Further lines for `[[authorization_server]]`.
    pub(crate) server_settings: String,
}

/// How the judge of one stage behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) class: Class,
    /// `expires_in` of every token response, in seconds. The judge itself takes tokens for an hour.
    pub(crate) expires_in: u64,
    /// How long each token response takes.
    pub(crate) latency: Duration,
    pub(crate) seed: u64,
}

/// The scene of one point.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) rules: Rules,
    pub(crate) workshop: &'a Workshop,
    judge: Running,
    directory: TempDir,
}

impl Workshop {
    /// The command under test, as it is started everywhere.
    pub(crate) fn command(&self) -> Result<Command, String> {
        let mut command = match &self.program {
            Some(program) => Command::new(program),
            None => {
                let own = std::env::current_exe().map_err(|error| error.to_string())?;
                let mut command = Command::new(own);
                command.arg0(crate::ALIAS);
                command
            }
        };
        command.env_clear();
        Ok(command)
    }
}

impl<'a> Stage<'a> {
    /// Sets the scene; nothing has been requested yet.
    ///
    /// # Errors
    /// What the machine refused.
    pub(crate) fn new(workshop: &'a Workshop, rules: Rules) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the stage cannot be set: {error}");
        let profile = Profile {
            rotation: rules.class.rotation(),
            reuse: Reuse::RevokesFamily,
            expires_in: ExpiresIn::Claimed(rules.expires_in),
            token_latency: Latency { least: rules.latency, most: rules.latency },
            ..Profile::plain().client(Client::new(CLIENT.0, CLIENT.1))
        };
        let time = workshop.time;
        let mut organisation = Organisation::new(profile, rules.seed);
        let seed = organisation.issue_refresh_token(time.now(), CLIENT.0);
        let seed = seed.ok_or("the judge does not know its own client")?;
        let judge = {
            let _inside = workshop.runtime.enter();
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            bellwether_lab::serve(organisation, listener, Arc::new(move || time.both()))
                .map_err(failed)?
        };
        let directory = TempDir::with_prefix_in("torture-", &workshop.base).map_err(failed)?;
        let stage = Self { rules, workshop, judge, directory };
        stage.secret("refresh.token", &seed)?;
        stage.secret("client.secret", CLIENT.1)?;
        stage.secret("operator.key", OPERATOR_KEY)?;
        stage.secret("caller.key", CALLER_KEY)?;
        fs::write(stage.path("bellwether.toml"), stage.configuration()).map_err(failed)?;
        Ok(stage)
    }

    fn configuration(&self) -> String {
        format!(
            r#"[gateway]
listen = "127.0.0.1:0"

[admin]
listen = "127.0.0.1:0"
key = {{ file = "operator.key" }}

[store]
url = "sqlite:store/bellwether.db"

[[authorization_server]]
name = "judge"
token_endpoint = "{login}"
{rotation}
{further}

[[credential]]
name = "{NAME}"
authorization_server = "judge"
grant = "refresh_token"
client_id = "{client}"
client_secret = {{ file = "client.secret" }}
refresh_token = {{ file = "refresh.token" }}

[[caller]]
name = "caller"
key = {{ file = "caller.key" }}
credentials = ["{NAME}"]
"#,
            login = self.token_endpoint(),
            rotation = self.rules.class.settings(),
            further = self.workshop.server_settings,
            client = CLIENT.0,
        )
    }

    fn secret(&self, name: &str, secret: &str) -> Result<(), String> {
        let path = self.path(name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(secret.as_bytes()))
            .map_err(|error| format!("{name}: {error}"))
    }

    /// Where token requests go.
    pub(crate) fn token_endpoint(&self) -> String {
        self.judge.url("/oauth/token")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the store lies.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Keeps the directory for whoever looks into a failure.
    pub(crate) fn keep(self) -> PathBuf {
        self.directory.keep()
    }

    /// `bellwether` with these arguments, in the stage's directory.
    ///
    /// # Errors
    /// When this process does not know its own path.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command, String> {
        let mut command = self.workshop.command()?;
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("BELLWETHER_LOG", "info")
            // The judge speaks plain HTTP: reading the machine's certificates would only cost time.
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", self.path("no-certificates"));
        Ok(command)
    }

    /// Where processes leave what they have to say.
    pub(crate) fn errors(&self) -> Result<File, String> {
        let log = File::options().append(true).create(true).open(self.path("said.log"));
        log.map_err(|error| format!("said.log: {error}"))
    }

    /// Leaves a mark between what processes say.
    pub(crate) fn note(&self, what: &str) {
        if let Ok(mut log) = self.errors() {
            // For whoever reads the log.
            let _ = writeln!(log, "── {what}");
        }
    }

    /// What processes said so far, without the secrets that they must not say.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("said.log")).unwrap_or_default()
    }

    /// Starts `bellwether token`.
    pub(crate) fn start_token(&self) -> Result<Process, String> {
        self.note("token");
        let command = self.command(&["token", NAME])?;
        Process::start(command, self.errors()?, self.workshop.time)
    }

    /// Runs `bellwether token` to its end.
    pub(crate) fn token(&self) -> Result<Ended, String> {
        self.start_token()?.end()
    }

    /// Every refresh request since then, in the order of arrival.
    pub(crate) fn requests_since(&self, since: Timestamp) -> Vec<Entry> {
        self.judge.with(|organisation, _| {
            let entries = organisation.ledger().entries();
            let ours = entries.filter(|entry| {
                entry.endpoint == Endpoint::Token
                    && entry.grant == Some(Grant::RefreshToken)
                    && entry.at >= since
            });
            ours.cloned().collect()
        })
    }

    /// How many requests the judge has seen.
    pub(crate) fn request_count(&self) -> u64 {
        self.judge.totals().token_requests
    }

    /// Asks the judge something and waits for the answer: whatever was sent before has been heard by
    /// then. Answers with the time.
    pub(crate) fn heard(&self) -> Result<Timestamp, String> {
        const LOOK_AGAIN: Duration = Duration::from_micros(150);
        const LONGEST: Duration = Duration::from_secs(5);
        // Connections are accepted in order: what was sent before this one is on its way by then …
        crate::http::ask(self.judge.address(), "GET", "/lab/ledger", "", "")?;
        let give_up_at = self.workshop.time.now() + LONGEST;
        // … and handled, or broken off, when nothing is.
        while self.judge.arriving() > 0 && self.workshop.time.now() < give_up_at {
            self.workshop.time.sleep(LOOK_AGAIN);
        }
        Ok(self.workshop.time.now())
    }

    /// Waits for a further request, while `may_come`; answers when it arrived.
    pub(crate) fn wait_for_request(
        &self,
        known: u64,
        may_come: impl Fn() -> bool,
    ) -> Option<Timestamp> {
        const LOOK_AGAIN: Duration = Duration::from_micros(150);
        loop {
            if self.request_count() > known {
                return self.requests_since(Timestamp::ZERO).last().map(|entry| entry.at);
            }
            if !may_come() {
                return None;
            }
            self.workshop.time.sleep(LOOK_AGAIN);
        }
    }

    /// The next token requests meet this.
    pub(crate) fn fault(&self, times: u32, effect: Effect) {
        let fault = Fault::next(times, Endpoint::Token, effect);
        self.judge.with(|organisation, _| organisation.add_fault(fault));
    }

    pub(crate) fn end_faults(&self) {
        self.judge.with(|organisation, _| organisation.clear_faults());
    }

    /// Whether the API takes this access token.
    pub(crate) fn is_taken(&self, access_token: &str) -> bool {
        let request = Request::get("/api/v2/users/me", access_token);
        let answer = self
            .judge
            .with(|organisation, now| organisation.handle(now, UnixTime::from_secs(1), &request));
        matches!(answer.outcome, Outcome::Respond(response) if response.status == 200)
    }

    /// Starts `bellwether serve` and waits until it is ready.
    pub(crate) fn serve(&self) -> Result<Broker, String> {
        let mut starting = self.start_serve()?;
        starting.wait_until_ready()?;
        Ok(starting)
    }

    /// Starts `bellwether serve`, and does not wait.
    pub(crate) fn start_serve(&self) -> Result<Broker, String> {
        self.start_serve_as(self.command(&["serve"])?)
    }

    /// The same, by a command that comes to it.
    pub(crate) fn start_serve_as(&self, command: Command) -> Result<Broker, String> {
        self.note("serve");
        let (reader, writer) = std::io::pipe().map_err(|error| error.to_string())?;
        let process = Process::start(command, writer, self.workshop.time)?;
        Ok(Broker::new(process, Voice::new(reader, self.errors()?)))
    }

    /// A copy of the store under another name.
    pub(crate) fn copy_store(&self, name: &str) -> Result<(), String> {
        copy(&self.store(), &self.path(name))
    }

    /// Takes the store away and puts a copy in its place, if one is named.
    pub(crate) fn replace_store(&self, by: Option<&str>) -> Result<(), String> {
        fs::remove_dir_all(self.store()).map_err(|error| error.to_string())?;
        by.map_or(Ok(()), |name| copy(&self.path(name), &self.store()))
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    // As private as what is copied.
    fs::DirBuilder::new().mode(0o700).create(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target).map_err(failed)?;
        }
    }
    Ok(())
}

/// Whether the judge gave a token in this answer.
pub(crate) fn gave(entry: &Entry) -> bool {
    matches!(entry.verdict, Verdict::Issued | Verdict::Reissued)
}
