//! What a credential goes through, told in virtual time.

mod driver;

#[path = "stories/doubt.rs"]
mod doubt;
#[path = "stories/idle.rs"]
mod idle;
#[path = "stories/lifetimes.rs"]
mod lifetimes;
#[path = "stories/outages.rs"]
mod outages;
#[path = "stories/pools.rs"]
mod pools;
#[path = "stories/refusals.rs"]
mod refusals;
#[path = "stories/stops.rs"]
mod stops;
