//! Which file is the configuration, and where state goes without one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::section::Environment;

/// The configuration's file name.
const FILE: &str = "bellwether.toml";

/// The configuration: the file of the flag, else of `$BELLWETHER_CONFIG`, else the first that
/// exists of `./bellwether.toml` and `$XDG_CONFIG_HOME/bellwether/bellwether.toml`.
///
/// A file that was named need not exist; reading it says so. The error holds where was looked.
pub fn find(flag: Option<&Path>, environment: Environment<'_>) -> Result<PathBuf, Vec<PathBuf>> {
    if let Some(named) = flag {
        return Ok(named.to_owned());
    }
    if let Some(named) = variable(environment, "BELLWETHER_CONFIG") {
        return Ok(named);
    }
    let mut looked = vec![PathBuf::from(FILE)];
    let home = directory(environment, "XDG_CONFIG_HOME", ".config");
    looked.extend(home.map(|home| home.join("bellwether").join(FILE)));
    match looked.iter().find(|path| path.exists()) {
        Some(found) => Ok(found.clone()),
        None => Err(looked),
    }
}

/// The store when none is named: `$XDG_STATE_HOME/bellwether/bellwether.db`. `None` when the
/// environment knows no home.
pub fn default_store(environment: Environment<'_>) -> Option<PathBuf> {
    let home = directory(environment, "XDG_STATE_HOME", ".local/state")?;
    Some(home.join("bellwether").join("bellwether.db"))
}

/// A base directory; its specification says that relative ones are to be ignored.
fn directory(environment: Environment<'_>, name: &str, in_home: &str) -> Option<PathBuf> {
    let home = || variable(environment, "HOME").map(|home| home.join(in_home));
    variable(environment, name).filter(|path| path.is_absolute()).or_else(home)
}

fn variable(environment: Environment<'_>, name: &str) -> Option<PathBuf> {
    environment(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(flag: Option<&str>, variables: &[(&str, &str)]) -> Result<PathBuf, Vec<PathBuf>> {
        let environment = |name: &str| {
            let (_, value) = variables.iter().find(|(key, _)| *key == name)?;
            Some(OsString::from(value))
        };
        find(flag.map(Path::new), &environment)
    }

    #[test]
    fn the_flag_wins_then_the_environment() {
        let named = [("BELLWETHER_CONFIG", "b.toml")];
        assert_eq!(found(Some("a.toml"), &named), Ok("a.toml".into()));
        assert_eq!(found(None, &named), Ok("b.toml".into()));
    }

    #[test]
    fn then_the_working_directory_and_the_users_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let file = folder.path().join("bellwether/bellwether.toml");
        let variables = [("BELLWETHER_CONFIG", ""), ("XDG_CONFIG_HOME", home)];
        let looked = vec![PathBuf::from("bellwether.toml"), file.clone()];
        assert_eq!(found(None, &variables), Err(looked));
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "").unwrap();
        assert_eq!(found(None, &variables), Ok(file));
    }

    #[test]
    fn relative_base_directories_are_ignored() {
        let store = |variables: &'static [(&str, &str)]| {
            default_store(&move |name: &str| {
                let (_, value) = variables.iter().find(|(key, _)| *key == name)?;
                Some(OsString::from(value))
            })
        };
        let expected = Some(PathBuf::from("/home/u/.local/state/bellwether/bellwether.db"));
        assert_eq!(store(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "state")]), expected);
        assert_eq!(store(&[("HOME", "/home/u")]), expected);
        let absolute = Some(PathBuf::from("/state/bellwether/bellwether.db"));
        assert_eq!(store(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "/state")]), absolute);
        assert_eq!(store(&[]), None);
    }
}
