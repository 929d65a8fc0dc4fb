//! The unix socket beside the store: how the same user's commands reach a running broker.
//!
//! One line of JSON asks, one answers. The kernel says who is at the other end; nobody but the same
//! user is answered.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bellwether_broker::oauth::Secret;
use bellwether_broker::{Broker, Handle};
use bellwether_lifecycle::{Cause, UnixTime};
use bellwether_server::{Admin, CredentialView, Gateway};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LONGEST_LINE: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);
/// For a renewal; less than the patience of whoever asks.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(15);

/// What a command asks of a running broker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// A fresh token of a credential.
    Token { name: String },
    /// Every credential's state.
    Status,
    /// Another grant was put into the store.
    GrantReplaced { name: String },
    /// The grant was given back.
    GrantEnded { name: String },
}

/// What a running broker answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Token(TokenAnswer),
    Status(Vec<CredentialView>),
    Failed { message: String },
}

/// A token as it is printed.
#[derive(Serialize, Deserialize)]
pub(crate) struct TokenAnswer {
    pub(crate) access_token: String,
    pub(crate) token_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<String>,
    pub(crate) generation: u64,
}

/// A socket that is served; its file goes with it.
#[derive(Debug)]
pub(crate) struct LocalSocket {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl LocalSocket {
    /// Serves commands of the same user at `path`.
    ///
    /// # Errors
    /// When another broker answers there, or the file cannot be made.
    pub(crate) async fn start(
        path: PathBuf,
        broker: Broker,
        gateway: Arc<Gateway>,
        admin: Arc<Admin>,
    ) -> io::Result<Self> {
        if path.exists() {
            if UnixStream::connect(&path).await.is_ok() {
                let why = format!("{}: another broker is running on this store", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
            // Left behind by a broker that was killed.
            std::fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let same_user = stream
                    .peer_cred()
                    .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw());
                if same_user {
                    let (gateway, admin) = (Arc::clone(&gateway), Arc::clone(&admin));
                    let broker = broker.clone();
                    tokio::spawn(async move {
                        let answering = answer(stream, &broker, &gateway, &admin);
                        let answered = timeout(PATIENCE, answering).await;
                        if !matches!(answered, Ok(Ok(()))) {
                            tracing::debug!("a command went away");
                        }
                    });
                }
            }
        });
        Ok(Self { path, task })
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        self.task.abort();
        // Another start finds out by itself whether anybody answers there.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(
    stream: UnixStream,
    broker: &Broker,
    gateway: &Gateway,
    admin: &Admin,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(LONGEST_LINE).read_line(&mut line).await?;
    let handle = |name: &str| gateway.handles().into_iter().find(|handle| handle.name() == name);
    let unknown = |name: &str| Answer::Failed { message: format!("no credential is named {name}") };
    let answer = match serde_json::from_str(&line) {
        Ok(Ask::Status) => Answer::Status(admin.views()),
        Ok(Ask::Token { name }) => match handle(&name) {
            Some(handle) => token(&handle, gateway.now()).await,
            None => unknown(&name),
        },
        Ok(Ask::GrantReplaced { name }) => match handle(&name) {
            Some(handle) => {
                take_over(broker, &handle).await;
                Answer::Status(own_view(admin, &name))
            }
            None => unknown(&name),
        },
        Ok(Ask::GrantEnded { name }) => match handle(&name) {
            Some(handle) => {
                handle.grant_ended().await;
                Answer::Status(own_view(admin, &name))
            }
            None => unknown(&name),
        },
        Err(error) => Answer::Failed { message: error.to_string() },
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

fn own_view(admin: &Admin, name: &str) -> Vec<CredentialView> {
    admin.views().into_iter().filter(|view| view.name == name).collect()
}

/// Has the broker use a grant that was put into the store, and waits until it has tried.
async fn take_over(broker: &Broker, handle: &Handle) {
    let mut news = broker.news();
    let counters = handle.counters();
    let tried =
        || counters.renewals.load(Ordering::Relaxed) + counters.failures.load(Ordering::Relaxed);
    let before = tried();
    handle.grant_replaced();
    let trying = async {
        while tried() == before {
            if let Err(RecvError::Closed) = news.recv().await {
                break;
            }
        }
    };
    // What takes longer is told as it stands.
    let _ = timeout(TAKEN_OVER_WITHIN, trying).await;
}

/// A fresh token of a credential, as it is printed.
pub(crate) async fn token(handle: &Handle, now: bellwether_lifecycle::Timestamp) -> Answer {
    match handle.hand_out().await {
        Ok(token) => Answer::Token(TokenAnswer {
            access_token: Secret::expose(token.access_token()).to_owned(),
            token_type: "Bearer".to_owned(),
            expires_in: token.expires_in(now).map(|left| left.as_secs()),
            expires_at: token.expires_at().map(UnixTime::as_secs),
            scope: token.scope().map(ToString::to_string),
            generation: token.generation(),
        }),
        Err(none) => {
            let advice = match none.cause {
                Cause::Reauthorize => format!("; run `bellwether login {}`", handle.name()),
                Cause::Passing | Cause::Throttled | Cause::InDoubt | Cause::Misconfigured => {
                    String::new()
                }
            };
            Answer::Failed { message: format!("{}: {none}{advice}", handle.name()) }
        }
    }
}

/// Asks a running broker; `None` if there is none.
pub(crate) async fn ask(path: &Path, ask: &Ask) -> Option<io::Result<Answer>> {
    let stream = UnixStream::connect(path).await.ok()?;
    Some(
        timeout(PATIENCE, exchange(stream, ask))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the running broker does not answer"))),
    )
}

async fn exchange(stream: UnixStream, ask: &Ask) -> io::Result<Answer> {
    let mut stream = BufReader::new(stream);
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}
