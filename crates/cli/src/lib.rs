//! The command line: one binary, a file for each command, and the configuration they share.
//!
//! [`main`](run) reads the command line, a command does its work and returns; what it returns
//! becomes the exit status: 0 done, 1 failed, 2 wrong usage or configuration. Results go to
//! standard output, everything else to standard error. The environment is read here and nowhere
//! below.

pub mod commands;
pub mod configuration;
mod local_socket;
mod log;
mod plan;
mod secret_files;
mod sockets;
mod tell;
mod tls_files;

pub use commands::run;
