//! What the gateway listener knows and holds: its surfaces are `front`'s to find.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bellwether_broker::{Broker, Exchange, Handle};

use crate::alike::Alike;
use crate::callers::{Callers, Clients, Known, Offered, Passes};
use crate::listener::Places;
use crate::message::Hosts;
use crate::settings::{CallerSettings, GatewaySettings, HandOut, Vendor};

/// What callers talk to.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) broker: Broker,
    pub(crate) settings: GatewaySettings,
    pub(crate) callers: Callers,
    pub(crate) clients: Option<Clients>,
    pub(crate) passes: Passes,
    pub(crate) exchange: Exchange,
    /// None if nothing is shared between requests.
    pub(crate) alike: Option<Alike>,
    pub(crate) hosts: Hosts,
    pub(crate) connections: Arc<Places>,
    /// Some vendor's SDK cannot bear a 401 from the token endpoint.
    pub(crate) refusals_are_400: bool,
    /// Where each vendor's API paths begin; none where one of them takes every path.
    pub(crate) api_prefixes: Option<Vec<String>>,
    pub(crate) token_paths: Vec<String>,
    pub(crate) revoke_path: String,
    configured: Vec<Offered>,
}

/// A configured credential and the vendor it belongs to.
#[derive(Debug)]
pub struct Configured {
    /// The credential.
    pub handle: Handle,
    /// Its vendor.
    pub vendor: Arc<Vendor>,
    /// Digests of tokens handed out before a restart.
    pub known_tokens: Vec<String>,
}

impl Gateway {
    /// Over a running broker. `listen` is where it will listen; nothing over a unix socket.
    pub async fn new(
        broker: Broker,
        mut settings: GatewaySettings,
        configured: Vec<Configured>,
        listen: &[IpAddr],
    ) -> Self {
        let passes = Passes::new(broker.clone());
        let mut offered = HashMap::new();
        for Configured { handle, vendor, known_tokens } in configured {
            let name = handle.name();
            let credential = Offered { handle, vendor };
            // Where tokens are local, nobody was given a real one.
            let known_tokens = match settings.hand_out {
                HandOut::Real => known_tokens,
                HandOut::Local => Vec::new(),
            };
            passes.know_of_callers(&credential, known_tokens);
            offered.insert(name, credential);
        }
        let callers = std::mem::take(&mut settings.callers);
        let callers = Callers::new(broker.clone(), &callers, &offered);
        let open = settings.open.take();
        let vendors = || offered.values().map(|offered| &*offered.vendor).chain(&open);
        let refusals_are_400 = vendors().any(|vendor| vendor.refusals_are_400);
        let mut token_paths: Vec<String> = vendors()
            .filter_map(|vendor| vendor.token_path.as_deref())
            .chain(["/oauth/token"])
            .flat_map(|path| [path.to_owned(), format!("{}{path}", settings.login_path)])
            .collect();
        let api_prefixes = vendors().map(|vendor| vendor.api_prefix.clone()).collect();
        token_paths.sort_unstable();
        token_paths.dedup();
        let clients = open.map(|vendor| Clients::new(broker.clone(), vendor));
        if let Some(clients) = &clients {
            clients.restore(&passes).await;
        }
        Self {
            exchange: Exchange::new(&broker),
            alike: Alike::new(&settings),
            hosts: Hosts::new(listen, &settings.hosts),
            connections: Places::new(settings.connections),
            revoke_path: format!("{}/oauth/revoke", settings.login_path),
            refusals_are_400,
            api_prefixes,
            configured: offered.into_values().collect(),
            broker,
            settings,
            callers,
            clients,
            passes,
            token_paths,
        }
    }

    /// Every credential, configured or brought by a caller.
    pub fn handles(&self) -> Vec<Handle> {
        let configured = self.configured.iter().map(|offered| offered.handle.clone());
        let brought = self.clients.iter().flat_map(Clients::handles);
        let mut handles: Vec<Handle> = configured.chain(brought).collect();
        handles.sort_by_key(Handle::name);
        handles
    }

    /// From now on these callers, and no others. Connections and tokens of those that are gone are
    /// worth nothing with their next request.
    pub fn replace_callers(&self, callers: &[CallerSettings]) {
        let offered = self.configured.iter();
        let offered = offered.map(|offered| (offered.handle.name(), offered.clone())).collect();
        self.callers.replace(callers, &offered);
    }

    /// The time by the broker's clock.
    pub fn now(&self) -> bellwether_broker::lifecycle::Timestamp {
        self.broker.clock().now()
    }

    /// A credential was forgotten by the broker.
    pub fn forget(&self, name: &str) {
        self.passes.forget(name);
        if let Some(clients) = &self.clients {
            clients.forget(name);
        }
    }

    /// Who may use something here.
    pub(crate) fn known(&self) -> Known<'_> {
        let (callers, passes) = (&self.callers, &self.passes);
        Known { callers, passes, has_clients: self.clients.is_some() }
    }
}
