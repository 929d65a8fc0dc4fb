//! The library: carries out what the lifecycle decides, over HTTP, store and timers.

pub mod provider;
