//! `bellwether serve`: the broker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::provider::Rotation;
use bellwether_broker::{Broker, Environment as BrokerEnvironment, Handle};
use bellwether_server::{
    Admin, AdminSettings, Configured, ConnectionLimits, Gateway, GatewaySettings, HandOut,
    Listeners, Running, Tls,
};
use bellwether_store::{Clock, SystemClock};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use super::{Failure, load_configuration};
use crate::configuration::{
    Admin as AdminSection, Configuration, Environment, Gateway as GatewaySection, ListenAt,
    StoreUrl, Tls as TlsSection, duration, parse_endpoint,
};
use crate::local_socket::LocalSocket;
use crate::log;
use crate::plan::{self, OpenVendor, PlannedCredential};
use crate::secret_files;
use crate::sockets::{self, Sockets};
use crate::tell::tell;
use crate::tls_files::{self, TlsWatch};

/// Connections are given this long to finish.
const DRAIN: Duration = Duration::from_secs(10);

/// Run the broker: a token endpoint and an API gateway for callers, metrics for operators
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration; else $BELLWETHER_CONFIG, ./bellwether.toml, or the user's own
    #[arg(long, value_name = "PATH", conflicts_with_all = ["provider", "token_endpoint"])]
    config: Option<PathBuf>,
    /// Where callers connect: ADDRESS:PORT (port 0 picks one), unix:PATH or systemd; may come again
    #[arg(long, value_name = "ADDR", value_parser = ListenAt::parse)]
    listen: Vec<ListenAt>,
    /// Where operators connect, likewise
    #[arg(long, value_name = "ADDR", value_parser = ListenAt::parse)]
    admin_listen: Option<ListenAt>,
    /// memory: or sqlite:PATH; a URL with a password belongs into the configuration
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// A vendor known beforehand; callers bring their own client id and secret
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// The vendor's region
    #[arg(long, requires = "provider", value_name = "REGION")]
    region: Option<String>,
    /// The authorization server's token endpoint; callers bring their own client id and secret
    #[arg(long, value_name = "URL", value_parser = parse_endpoint)]
    token_endpoint: Option<Url>,
    /// Where API requests go
    #[arg(long, value_name = "URL", value_parser = parse_endpoint)]
    resource_server: Option<Url>,
    /// What a second use of a refresh token does: none, strict, new-pair, same-pair,
    /// until-acknowledged or last-pair
    #[arg(long, value_name = "CLASS", value_parser = rotation)]
    rotation: Option<Rotation>,
    /// How long a spent refresh token is taken again
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    rotation_window: Option<Duration>,
    /// Access tokens held for each client
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pool: Option<u16>,
    /// Give callers the real tokens, or local ones that are good only here
    #[arg(long, value_name = "local|real", value_parser = hand_out)]
    hand_out: Option<HandOut>,
}

fn rotation(text: &str) -> Result<Rotation, String> {
    Rotation::parse(text).map_err(|error| error.to_string())
}

fn hand_out(text: &str) -> Result<HandOut, String> {
    crate::configuration::HandOut::parse(text).map(plan::hand_out)
}

/// Everything that is to run.
struct Planned {
    listen: Vec<ListenAt>,
    socket_mode: u32,
    admin_listen: ListenAt,
    tls: Option<TlsSection>,
    store: crate::configuration::Store,
    gateway: GatewaySettings,
    admin: AdminSettings,
    credentials: Vec<PlannedCredential>,
}

impl Serve {
    pub(super) fn run(&self, environment: Environment<'_>) -> Result<(), Failure> {
        let _log = log::start(environment);
        let open = self.provider.is_some() || self.token_endpoint.is_some();
        let (planned, configuration) = if open {
            (self.without_file(environment)?, None)
        } else {
            let configuration = load_configuration(self.config.as_deref(), environment)?;
            (self.with_file(&configuration, environment)?, Some(configuration))
        };
        super::runtime()?.block_on(run(planned, configuration, environment))
    }

    fn with_file(
        &self,
        configuration: &Configuration,
        environment: Environment<'_>,
    ) -> Result<Planned, Failure> {
        let GatewaySection {
            listen,
            socket_mode,
            tls,
            connections,
            hosts,
            trusted_proxies,
            hand_out,
            login_path,
            api_path,
            refresh_replay,
            max_body,
            coalesce,
            cache,
            cache_size,
            timeouts,
            workers,
        } = configuration.gateway.clone();
        let AdminSection { listen: admin_listen, hosts: admin_hosts, key } =
            configuration.admin.clone();
        Ok(Planned {
            listen: self.listen_or(listen),
            socket_mode,
            admin_listen: self.admin_listen.clone().unwrap_or(admin_listen),
            tls,
            store: plan::store(self.store.as_deref(), Some(&configuration.store), environment)
                .map_err(Failure::Usage)?,
            gateway: GatewaySettings {
                hand_out: self.hand_out.unwrap_or(plan::hand_out(hand_out)),
                hosts,
                trusted_proxies,
                login_path,
                api_path,
                refresh_replay,
                replay_body: usize::try_from(max_body).unwrap_or(usize::MAX),
                coalesce,
                cache,
                cache_size: usize::try_from(cache_size).unwrap_or(usize::MAX),
                connections: fitting(connections),
                callers: plan::callers(configuration),
                body_timeout: timeouts.body,
                answer_timeout: timeouts.answer,
                silence: timeouts.silence,
                workers: workers.unwrap_or(GatewaySettings::default().workers),
                ..GatewaySettings::default()
            },
            admin: AdminSettings { key: key.map(|key| key.value), hosts: admin_hosts },
            credentials: plan::credentials(configuration).map_err(Failure::Failed)?,
        })
    }

    /// Flags win over the file.
    fn listen_or(&self, listen: Vec<ListenAt>) -> Vec<ListenAt> {
        if self.listen.is_empty() { listen } else { self.listen.clone() }
    }

    fn without_file(&self, environment: Environment<'_>) -> Result<Planned, Failure> {
        let vendor = OpenVendor {
            provider: self.provider.as_deref(),
            region: self.region.as_deref(),
            token_endpoint: self.token_endpoint.as_ref(),
            resource_server: self.resource_server.as_ref(),
            rotation: self.rotation,
            rotation_window: self.rotation_window,
            pool: self.pool.unwrap_or(plan::DEFAULT_POOL),
        };
        let defaults = (GatewaySection::default(), AdminSection::default());
        Ok(Planned {
            listen: self.listen_or(defaults.0.listen),
            socket_mode: defaults.0.socket_mode,
            admin_listen: self.admin_listen.clone().unwrap_or(defaults.1.listen),
            tls: None,
            store: plan::store(self.store.as_deref(), None, environment).map_err(Failure::Usage)?,
            gateway: GatewaySettings {
                hand_out: self.hand_out.unwrap_or_default(),
                open: Some(vendor.vendor().map_err(Failure::Usage)?),
                connections: fitting(defaults.0.connections),
                ..GatewaySettings::default()
            },
            admin: AdminSettings::default(),
            credentials: Vec::new(),
        })
    }
}

/// What the system lets us have of it.
fn fitting(connections: ConnectionLimits) -> ConnectionLimits {
    ConnectionLimits { most: sockets::room_for(connections.most), ..connections }
}

async fn run(
    planned: Planned,
    configuration: Option<Configuration>,
    environment: Environment<'_>,
) -> Result<(), Failure> {
    let failed = |error: String| Failure::Failed(error);
    let signals = Signals::listen().map_err(|error| failed(error.to_string()))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if planned.store.url == StoreUrl::Memory && planned.gateway.open.is_some() {
        tracing::warn!("the store is in memory: callers' refresh tokens do not survive a restart");
    }
    let opened = plan::open_store(&planned.store, &clock).map_err(failed)?;
    let seed = bellwether_store::HolderId::random().map_err(|error| failed(error.to_string()))?;
    let broker = Broker::start(BrokerEnvironment {
        clock,
        store: opened.store,
        escrow: opened.escrow,
        keyring: opened.keyring,
        seed: seed.as_u128() as u64,
    });

    let mut tls = planned.tls.map(start_tls).transpose().map_err(failed)?;
    let sockets =
        Sockets::open(&planned.listen, planned.socket_mode, &planned.admin_listen, environment);
    let sockets = sockets.await.map_err(failed)?;
    let addresses = sockets::addresses(&sockets.gateway);
    let scheme = if tls.is_some() { "https" } else { "http" };
    for open in addresses.iter().filter(|address| tls.is_none() && !address.ip().is_loopback()) {
        tracing::warn!(
            "keys and tokens cross the network unencrypted at {open}: set [gateway.tls], or listen \
             at a loopback address or a unix socket"
        );
    }
    let gateway_hosts: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    let admin_hosts: Vec<_> =
        sockets::addresses(&sockets.admin).iter().map(SocketAddr::ip).collect();
    let ready = format!(
        "ready gateway={} admin={}",
        sockets::shown(&sockets.gateway, scheme),
        sockets::shown(&sockets.admin, "http"),
    );

    let (mut configured, mut watched) = (Vec::new(), Vec::new());
    for PlannedCredential { settings, vendor, secret } in planned.credentials {
        let added = broker.add(settings).await;
        watched.extend(secret.map(|source| (added.handle.clone(), source)));
        let known_tokens = added.known_tokens;
        configured.push(Configured { handle: added.handle, vendor, known_tokens });
    }
    let handles: Vec<Handle> = configured.iter().map(|one| one.handle.clone()).collect();
    let gateway = Gateway::new(broker.clone(), planned.gateway, configured, &gateway_hosts).await;
    let gateway = Arc::new(gateway);
    let admin = Arc::new(Admin::new(Arc::clone(&gateway), planned.admin, &admin_hosts));
    let socket = match opened.socket {
        Some(path) => Some(
            LocalSocket::start(path, broker.clone(), Arc::clone(&gateway), Arc::clone(&admin))
                .await
                .map_err(|error| failed(error.to_string()))?,
        ),
        None => None,
    };
    let listeners =
        Listeners { sockets: sockets.gateway, tls: tls.as_ref().map(|(_, tls)| Arc::clone(tls)) };
    let running = Running::start(Arc::clone(&gateway), listeners, admin, sockets.admin, DRAIN)
        .map_err(|error| failed(error.to_string()))?;
    tell!("{ready}");
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let certificate = tls.take().map(|(section, tls)| TlsWatch::new(section, tls));
    until_stopped(signals, configuration, &gateway, &handles, &watched, certificate, environment)
        .await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    drop(socket);
    running.stop().await;
    broker.stop().await;
    Ok(())
}

fn start_tls(section: TlsSection) -> Result<(TlsSection, Arc<Tls>), String> {
    let made = section.read().and_then(|files| Tls::new(files.material()));
    match made {
        Ok(tls) => Ok((section, Arc::new(tls))),
        Err(error) => Err(section.explain(error).to_string()),
    }
}

/// What the process is told from outside. Listened for before it says that it is ready: until then
/// each of them would end it on the spot.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for SIGTERM or SIGINT; reloads on SIGHUP, and secrets when their files change.
async fn until_stopped(
    mut signals: Signals,
    mut configuration: Option<Configuration>,
    gateway: &Gateway,
    handles: &[Handle],
    watched: &[(Handle, crate::configuration::SecretSource)],
    mut certificate: Option<TlsWatch>,
    environment: Environment<'_>,
) {
    let mut files = secret_files::Watch::new(watched);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hang_up.recv() => {
                if let Some(certificate) = &mut certificate {
                    certificate.reload();
                }
                if let Some(current) = &mut configuration {
                    reload(current, gateway, handles, environment).await;
                }
            }
            () = tls_files::changed(&mut certificate) => {
                if let Some(certificate) = &mut certificate {
                    certificate.reload();
                }
            }
            changed = files.changed() => secret_files::renew_secret(changed.0, changed.1, environment).await,
        }
    }
}

/// Takes over a changed configuration whole, or keeps the last good one whole.
async fn reload(
    current: &mut Configuration,
    gateway: &Gateway,
    handles: &[Handle],
    environment: Environment<'_>,
) {
    let fresh = match Configuration::load(&current.file, environment) {
        Ok(fresh) => fresh,
        Err(error) => {
            tracing::error!("the configuration stays as it was:\n{error}");
            return;
        }
    };
    let planned = match plan::credentials(&fresh) {
        Ok(planned) => planned,
        Err(error) => {
            tracing::error!("the configuration stays as it was: {error}");
            return;
        }
    };
    let names = |configuration: &Configuration| -> Vec<String> {
        configuration.credentials.iter().map(|credential| credential.name.clone()).collect()
    };
    let fixed = |c: &Configuration| (c.gateway.clone(), c.admin.clone(), c.store.clone(), names(c));
    if fixed(&fresh) != fixed(current) {
        tracing::error!(
            "the configuration stays as it was: listeners, store and the list of credentials \
             change with a restart"
        );
        return;
    }
    if fresh.callers != current.callers {
        gateway.replace_callers(&plan::callers(&fresh));
        let names: Vec<&str> = fresh.callers.iter().map(|caller| caller.name.as_str()).collect();
        tracing::info!("callers are now {}", names.join(", "));
    }
    // What did not change is left alone: a token in doubt stays in doubt.
    let same = |name: &str| {
        let (old, new) = (current.credential(name), fresh.credential(name));
        let server = |configuration: &Configuration| {
            let credential = configuration.credential(name)?;
            configuration.authorization_server(&credential.authorization_server).cloned()
        };
        old == new && server(current) == server(&fresh)
    };
    for planned in planned.into_iter().filter(|planned| !same(&planned.settings.name)) {
        let name = &planned.settings.name;
        if let Some(handle) = handles.iter().find(|handle| handle.name() == *name) {
            handle.replace(planned.settings).await;
        }
    }
    *current = fresh;
    tracing::info!("the configuration was read again");
}
