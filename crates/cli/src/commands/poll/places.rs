//! Where a poll's agents come from, and where its samples go.

use std::fs::File;
use std::io::{Read, stdout};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bellwether_delivery::{Files, Lines, Output, OutputError, Postgres, Resumed, Sqlite};
use bellwether_poller::{Agents, discover};
use bellwether_store::HolderId;
use rustls::RootCertStore;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Api, Failure};
use crate::configuration::poll::DEFAULT_ROTATE;
use crate::configuration::{self as file, AgentList, OutputPlace};

/// A program that lists agents takes no longer.
const LISTED_WITHIN: Duration = Duration::from_secs(60);
/// A longer list of agents is none.
const LONGEST_LIST: u64 = 64 << 20;

/// The output that a flag names.
pub(super) fn named(text: &str) -> OutputPlace {
    match text {
        "-" => OutputPlace::Lines { cursor: None },
        directory => {
            OutputPlace::Files { directory: PathBuf::from(directory), rotate: DEFAULT_ROTATE }
        }
    }
}

/// An output that is open, with what it has from before. Blocks.
pub(super) fn open(
    place: &OutputPlace,
    poll: &str,
) -> Result<(Box<dyn Output>, Option<Resumed>), OutputError> {
    let mut output: Box<dyn Output> = match place {
        OutputPlace::Lines { cursor } => Box::new(Lines::new(stdout(), cursor.clone())),
        OutputPlace::Files { directory, rotate } => {
            Box::new(Files::new(directory.clone(), *rotate))
        }
        OutputPlace::Sqlite(path) => Box::new(Sqlite::new(path.clone())),
        OutputPlace::Postgres(url) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            let writer =
                HolderId::random().map_err(|error| OutputError::new("the kernel", error))?;
            let writer = format!("{:032x}", writer.as_u128());
            let tls = bellwether_broker::tls_config(roots);
            Box::new(Postgres::new(url.value.expose(), tls, writer)?)
        }
    };
    let resumed = output.resume(poll)?;
    Ok((output, resumed))
}

/// Whom to poll.
pub(super) async fn agents(poll: &file::Poll, api: &Api) -> Result<Agents, Failure> {
    let Some(list) = &poll.agents else { return Ok(Agents::default()) };
    match list {
        AgentList::File(path) => {
            let failed = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
            let file = File::open(path).map_err(|error| failed(error.to_string()))?;
            let mut text = Vec::new();
            let read = file.take(LONGEST_LIST + 1).read_to_end(&mut text);
            read.map_err(|error| failed(error.to_string()))?;
            if text.len() as u64 > LONGEST_LIST {
                return Err(failed("is no list of agents: it is larger than 64 MiB".to_owned()));
            }
            let text = String::from_utf8(text);
            let text = text.map_err(|_| failed("is not UTF-8 text".to_owned()))?;
            Agents::read(&text).map_err(|error| failed(error.to_string()))
        }
        AgentList::Command(words) => printed(words).await,
        AgentList::List { path, split } => discover(&mut api.asker(), &api.base, path, split)
            .await
            .map_err(|error| Failure::Failed(format!("poll {}: {error}", poll.name))),
    }
}

/// What a program prints. It inherits no secret: the environment stays here.
async fn printed(words: &[String]) -> Result<Agents, Failure> {
    let Some((program, arguments)) = words.split_first() else { return Ok(Agents::default()) };
    let failed = |what: String| Failure::Failed(format!("{program}: {what}"));
    let started = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|error| failed(error.to_string()))?;
    let mut text = Vec::new();
    let printing = async {
        if let Some(printed) = child.stdout.take() {
            printed.take(LONGEST_LIST + 1).read_to_end(&mut text).await?;
        }
        if text.len() as u64 > LONGEST_LIST {
            child.kill().await?;
        }
        child.wait().await
    };
    let ended = timeout(LISTED_WITHIN, printing).await;
    let ended = ended.map_err(|_| {
        failed(format!("has not listed its agents within {} s", LISTED_WITHIN.as_secs()))
    })?;
    let status = ended.map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > LONGEST_LIST {
        return Err(failed("prints no list of agents: it is larger than 64 MiB".to_owned()));
    }
    if !status.success() {
        return Err(failed(format!("{status}; its list of agents is not used")));
    }
    let text = String::from_utf8(text);
    let text = text.map_err(|_| failed("what it prints is not UTF-8 text".to_owned()))?;
    Agents::read(&text).map_err(|error| failed(format!("what it prints: {error}")))
}
