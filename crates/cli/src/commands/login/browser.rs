//! The user's browser, if there is one to be opened.

use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::configuration::{Configuration, Environment, SecretSource};

/// Whether a browser would have somebody to look at it.
pub(super) fn can_open(environment: Environment<'_>) -> bool {
    let is_set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
    let has_display = cfg!(target_os = "macos") || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY");
    has_display && io::stderr().is_terminal()
}

/// Opens an address, by whatever the desktop has for that. The variables that hold secrets stay
/// here.
///
/// # Errors
/// When nothing of the kind is installed.
pub(super) fn open(url: &str, secret_variables: &[&str]) -> io::Result<()> {
    let mut outcome = Err(io::Error::from(io::ErrorKind::NotFound));
    for mut command in open::commands(url) {
        detach(&mut command, secret_variables);
        // What becomes of it is between the user and the browser.
        outcome = command.spawn().map(drop);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// It says nothing here, is not interrupted with us, and inherits no secret.
fn detach(command: &mut Command, secret_variables: &[&str]) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    for name in secret_variables {
        command.env_remove(name);
    }
}

/// The environment variables that hold a secret of the configuration.
pub(super) fn secret_variables(configuration: &Configuration) -> Vec<&str> {
    let credentials = configuration.credentials.iter();
    let of_credentials = credentials.flat_map(|one| [&one.client_secret, &one.refresh_token]);
    let secrets = of_credentials
        .chain([&configuration.admin.key, &configuration.store.key])
        .flatten()
        .chain(configuration.callers.iter().flat_map(|caller| &caller.keys).map(|key| &key.secret));
    secrets
        .filter_map(|secret| match &secret.source {
            SecretSource::Env(name) => Some(name.as_str()),
            SecretSource::File { .. } => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_inherits_no_secret() {
        let mut command = Command::new("browser");
        detach(&mut command, &["CLIENT_SECRET", "STORE_KEY"]);
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).collect();
        assert_eq!(removed.len(), 2, "{removed:?}");
    }
}
