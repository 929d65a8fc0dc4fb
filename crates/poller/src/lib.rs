//! Polls an API for many agents on a fixed period, and keeps the ledger of gaps.
//!
//! A [`Schedule`] spreads the agents evenly over the period, so that a thousand agents every five
//! seconds are one poll every five milliseconds and never a crowd. Each agent's turn is a [`Slot`].
//! The [`Ledger`] says what became of each: done, late, or a gap; nothing is lost between them.
//!
//! A [`Poller`] lets a bounded number of workers take the due slots in order. What a worker does in
//! a slot is a [`Sampler`]: over HTTP an [`ApiSampler`], with a [`TokenStrategy`] that says where
//! its access token comes from. One strategy is Bellwether's own, [`ThroughBroker`]; the others are
//! what integrations do without it: [`PerWorker`], with and without jitter, [`SharedLock`],
//! [`OneToken`] and [`IsRefreshing`]. [`WithKey`] is a caller of the gateway.
//! [`Observed`] counts the refusals that workers saw, whichever strategy they follow.
//!
//! `schedule` and `ledger` are pure: they are told the time.

mod agents;
mod api;
mod caller;
mod connector;
mod data;
mod discovery;
mod json;
mod ledger;
mod login;
mod observed;
mod poller;
mod question;
mod queue;
mod resource;
mod sampler;
mod schedule;
mod strategy;

pub use agents::{Agents, BadAgent};
pub use api::ApiSampler;
pub use caller::{Miss, Why};
pub use connector::Connector;
pub use data::{Asker, Brought, Data, DataSampler, Tags};
pub use discovery::{NoList, discover};
pub use json::Split;
pub use ledger::{Filled, Ledger, Percentiles, Tally};
pub use login::{Login, NoLogin, OwnToken};
pub use observed::{Observed, Refusals, Watched};
pub use poller::{Poller, Snapshot};
pub use question::{Question, Questions, Shape};
pub use queue::{Next, Queue};
pub use resource::{BadTarget, Resource, address, with_agent};
pub use sampler::{Nobody, Outlet, Sampler, Settled};
pub use schedule::{Schedule, Slot};
pub use strategy::{
    IsRefreshing, NoBearer, OneToken, PerWorker, SharedLock, ThroughBroker, TokenStrategy, WithKey,
};
