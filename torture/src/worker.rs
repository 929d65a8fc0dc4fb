//! One of a crowd: a process that uses the library and lives through many rounds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::Allowance;
use bellwether_broker::oauth::{Client, ClientAuthentication, Scope, Secret};
use bellwether_broker::provider::Rotation;
use bellwether_broker::store::{Clock, FileEscrow, Key, Keyring, SystemClock};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Http1, Obtain, Refusal,
    WHILE_USED,
};
use bellwether_store_sqlite::SqliteStore;
use rustls::RootCertStore;
use url::Url;

/// The first word of a process that is a worker; its stage follows, and the token endpoint.
pub(crate) const WORK: &str = "work";

/// Works until standard input ends. Each line there is a round: the token at hand was refused, and
/// a newer one is wanted. Answers with microseconds and a number that stands for the token.
pub(crate) fn work(directory: &Path, token_endpoint: &str) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let handle = runtime.block_on(join(directory, token_endpoint, &clock))?;
    let first = runtime.block_on(handle.token()).map_err(|none| none.to_string())?;
    let mut token = first;
    tell(&format!("ready {}", number(token.access_token())))?;
    for line in stdin().lock().lines() {
        line.map_err(|error| error.to_string())?;
        let asked_at = clock.now();
        let refusal = runtime.block_on(handle.refused(&token, asked_at));
        let waited = clock.now().since(asked_at).as_micros();
        match refusal {
            Refusal::Cure(newer) => {
                // The next refusal is news again.
                handle.accepted(&newer, clock.now());
                tell(&format!("{waited} {}", number(newer.access_token())))?;
                token = newer;
            }
            Refusal::Stands => tell("failed: the refusal stands")?,
            Refusal::NoToken(none) => tell(&format!("failed: {none}"))?,
        }
    }
    Ok(())
}

async fn join(directory: &Path, url: &str, clock: &Arc<dyn Clock>) -> Result<Handle, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let path = directory.join("store/bellwether.db");
    let beside = |ending: &str| directory.join(format!("store/bellwether.db.{ending}"));
    let secret = |name: &str| {
        let text = std::fs::read_to_string(directory.join(name)).map_err(|error| said(&error))?;
        Ok::<_, String>(Secret::new(text.trim()))
    };
    let store = SqliteStore::open(&path, Arc::clone(clock)).map_err(|error| said(&error))?;
    let escrow = FileEscrow::open(&beside("escrow")).map_err(|error| said(&error))?;
    let broker = Broker::start(Environment {
        clock: Arc::clone(clock),
        store: Arc::new(store),
        escrow: Arc::new(escrow),
        keyring: Keyring::open_or_create(&beside("key")).map_err(|error| said(&error))?,
        seed: u64::from(std::process::id()),
    });
    let limit = Duration::from_secs(10);
    let authorization_server = Arc::new(AuthorizationServer {
        name: "judge".to_owned(),
        token_endpoint: Url::parse(url).map_err(|error| said(&error))?,
        rotation: Rotation::Strict,
        rotation_window: None,
        default_lifetime: Duration::from_secs(3600),
        request_limit: limit,
        allowance: Allowance::DEFAULT,
        verify: None,
        transport: Arc::new(Http1::with_roots(RootCertStore::empty())),
    });
    let added = broker.add(CredentialSettings {
        name: crate::stage::NAME.to_owned(),
        key: Key::credential(crate::stage::NAME, 0).map_err(|error| said(&error))?,
        authorization_server,
        client: Client {
            id: crate::stage::CLIENT.0.to_owned(),
            authentication: ClientAuthentication::Basic(secret("client.secret")?),
        },
        obtain: Obtain::RefreshToken { seed: Some(secret("refresh.token")?) },
        scope: Scope::default(),
        parameters: Vec::new(),
        pool: 1,
        quota: None,
        demand: WHILE_USED,
        unverified: false,
    });
    Ok(added.await.handle)
}

/// Stands for a token where the token itself must not be.
fn number(token: &Secret) -> u64 {
    let mut hasher = DefaultHasher::new();
    token.expose().hash(&mut hasher);
    hasher.finish()
}

fn tell(line: &str) -> Result<(), String> {
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| error.to_string())
}
