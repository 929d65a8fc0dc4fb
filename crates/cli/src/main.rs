//! Keeps OAuth 2.0 access tokens fresh for everything that shares a client.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    bellwether_cli::run()
}
