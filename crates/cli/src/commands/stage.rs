//! One simulated organisation, and what its callers see of it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bellwether_broker::{Http1, Transport};
use bellwether_lab::{Running, serve};
use bellwether_oauth::{Client, ClientAuthentication, Secret};
use bellwether_poller::{Login, Observed, Resource, Watched};
use bellwether_simulation::{Client as Known, Organisation, Profile};
use bellwether_store::Clock;
use rustls::RootCertStore;
use tokio::net::TcpListener;
use url::Url;

use super::Failure;

/// The client that all strategies log in as. Its secret guards nothing.
const CLIENT: (&str, &str) = ("poller", "a secret of the stage alone");
/// What is polled; `{agent}` is the agent's number.
const PATH: &str = "/api/v2/users/{agent}/routingstatus";
/// An organisation for one strategy alone.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) organisation: Running,
    pub(super) observed: Arc<Observed>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) resource: Resource,
    pub(super) token_endpoint: Url,
    pub(super) clock: Arc<dyn Clock>,
}

impl Stage {
    /// Opens it on a free port of loopback. Latencies are drawn from `seed`.
    pub(super) async fn open(
        profile: &Profile,
        agents: u32,
        seed: u64,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::Failed(format!("no listener on loopback: {error}"));
        let profile = profile.clone().client(Known::new(CLIENT.0, CLIENT.1));
        let organisation = Organisation::new(profile, seed);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let tells = Arc::clone(&clock);
        let now = Arc::new(move || (tells.now(), tells.wall()));
        let organisation = serve(organisation, listener, now).map_err(failed)?;

        let address = |path| {
            let url = organisation.url(path);
            url.parse::<Url>().map_err(|error| Failure::Failed(format!("{url}: {error}")))
        };
        let resource = resource(&address("")?, agents)?;
        let token_endpoint = address("/oauth/token")?;
        let observed = Arc::<Observed>::default();
        let http = Arc::new(Http1::with_roots(RootCertStore::empty()));
        let transport = Arc::new(Watched::new(http, Arc::clone(&observed)));
        Ok(Self { organisation, observed, transport, resource, token_endpoint, clock })
    }

    /// How a strategy without a broker logs in.
    pub(super) fn login(&self) -> Login {
        Login {
            token_endpoint: self.token_endpoint.clone(),
            client: client(),
            transport: Arc::clone(&self.transport),
            clock: Arc::clone(&self.clock),
        }
    }
}

/// What is polled, of an API at `base`.
pub(super) fn resource(base: &Url, agents: u32) -> Result<Resource, Failure> {
    let numbers = (1..=agents).map(|agent| agent.to_string());
    Resource::new(base, PATH, numbers).map_err(|error| Failure::Failed(error.to_string()))
}

/// The client that the organisation knows.
pub(super) fn client() -> Client {
    let authentication = ClientAuthentication::Basic(Secret::from(CLIENT.1));
    Client { id: CLIENT.0.to_owned(), authentication }
}
