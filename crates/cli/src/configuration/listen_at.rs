//! Where a listener listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::address;
use super::section::{Context, Field};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAt {
    /// An IP address and a port; port 0 picks one.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
    /// A socket that systemd opened.
    Systemd,
}

/// A unix socket's path must fit into the kernel's address.
const LONGEST_PATH: usize = 107;

impl ListenAt {
    /// Reads `ADDRESS:PORT`, `unix:PATH` or `systemd`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "systemd" {
            return Ok(Self::Systemd);
        }
        let Some(path) = text.strip_prefix("unix:") else {
            return address::parse_listen(text).map(Self::Tcp);
        };
        if path.is_empty() || path.starts_with("//") {
            return Err(format!(
                "{text:?} names no file; write it as in \"unix:/run/bellwether/gateway.sock\""
            ));
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }

    /// The same, with a relative path resolved.
    fn within(self, directory: &Path) -> Result<Self, String> {
        let Self::Unix(path) = self else { return Ok(self) };
        let path = directory.join(path);
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(format!(
                "{} is longer than {LONGEST_PATH} bytes, the most of a unix socket; choose a \
                 shorter path",
                path.display()
            ));
        }
        Ok(Self::Unix(path))
    }

    /// Whether both cannot be listened at.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match self {
            Self::Tcp(address) => self == other && address.port() != 0,
            Self::Unix(_) => self == other,
            Self::Systemd => false,
        }
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

/// One place.
pub(super) fn read(context: &mut Context<'_>, field: &Field<'_>) -> Option<ListenAt> {
    let directory = context.directory;
    field.parse(context, |text| ListenAt::parse(text)?.within(directory))
}

/// One place, or a list of them that differ.
pub(super) fn read_some(context: &mut Context<'_>, field: &Field<'_>) -> Option<Vec<ListenAt>> {
    if !field.is_array() {
        return read(context, field).map(|one| vec![one]);
    }
    let mut places: Vec<ListenAt> = Vec::new();
    let items = field.items(context)?;
    if items.is_empty() {
        return field.refuse(context, "is empty; name where to listen, or leave it out");
    }
    for item in items {
        let place = read(context, &item)?;
        if places
            .iter()
            .any(|known| known == &ListenAt::Systemd && *known == place || known.collides(&place))
        {
            return item.refuse(context, "is there twice; remove one");
        }
        places.push(place);
    }
    Some(places)
}

/// The permissions of a unix socket: those who may write it may connect.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| {
        let digits = text.len() == 4 && text.starts_with('0');
        digits && mode & 0o111 == 0 && mode & 0o600 == 0o600
    });
    mode.ok_or_else(|| {
        format!(
            "{text:?} is no mode of a socket; write \"0600\" for this user alone, or \"0660\" for \
             its group too"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_a_path_or_systemd() {
        let unix = |path: &str| Ok(ListenAt::Unix(path.into()));
        assert_eq!(ListenAt::parse("unix:/run/a.sock"), unix("/run/a.sock"));
        assert_eq!(ListenAt::parse("unix:a.sock"), unix("a.sock"));
        assert_eq!(ListenAt::parse("systemd"), Ok(ListenAt::Systemd));
        assert_eq!(
            ListenAt::parse("[::1]:0"),
            Ok(ListenAt::Tcp(([0, 0, 0, 0, 0, 0, 0, 1], 0).into()))
        );
        for text in ["unix:", "unix:///run/a.sock", "unix", "/run/a.sock", "Systemd", ""] {
            assert!(ListenAt::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn modes_of_a_socket() {
        for (text, mode) in [("0600", 0o600), ("0660", 0o660), ("0666", 0o666)] {
            assert_eq!(parse_mode(text), Ok(mode));
        }
        for text in ["600", "0o600", "rw", "0700", "0060", "1600", "0888", ""] {
            assert!(parse_mode(text).is_err(), "{text:?}");
        }
    }
}
