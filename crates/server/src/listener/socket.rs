//! Where a listener listens: TCP, or a unix socket whose file is ours.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use socket2::SockRef;
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

use super::stream::Detached;
use crate::callers::Peer;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;
/// Bytes that the kernel keeps of an answer beyond those under way, which it would have grow to
/// megabytes for a caller that reads none of them.
const MOST_UNSENT: u32 = 128 * 1024;

/// A socket that listens.
#[derive(Debug)]
pub struct Socket(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, Place),
}

/// Where a unix socket is.
#[derive(Debug)]
enum Place {
    /// A file that was made here and goes with it.
    Ours(SocketFile),
    /// Whoever started us made it and keeps it.
    Given(PathBuf),
}

/// Removes the file, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Another start finds out by itself whether anybody answers there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Socket {
    /// Listens at a TCP address; port 0 picks one.
    ///
    /// # Errors
    /// When it cannot be listened on; names the address.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        bind(address).await.map(Self::from)
    }

    /// Listens at a path that only those may connect to whom `mode` lets write. The file of a
    /// process that is gone is replaced.
    ///
    /// # Errors
    /// When somebody answers there, or the file cannot be made; names the path.
    pub async fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("unix:{}: {error}", path.display()))
        };
        make_room(path).await.map_err(named)?;
        let socket = UnixSocket::new_stream().map_err(named)?;
        socket.bind(path).map_err(named)?;
        // Nobody can connect before it listens.
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(named)?;
        let inode = fs::symlink_metadata(path).map_err(named)?.ino();
        let listener = socket.listen(BACKLOG).map_err(named)?;
        let file = SocketFile { path: path.to_owned(), inode };
        Ok(Self(Kind::Unix(listener, Place::Ours(file))))
    }

    /// Takes over a TCP socket that listens already.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::from)
    }

    /// Takes over a unix socket that listens already.
    ///
    /// # Errors
    /// When the runtime cannot watch it.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        Ok(Self(Kind::Unix(UnixListener::from_std(listener)?, Place::Given(path))))
    }

    /// Its IP address and port; `None` for a unix socket.
    ///
    /// # Errors
    /// When the kernel does not know.
    pub fn address(&self) -> io::Result<Option<SocketAddr>> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().map(Some),
            Kind::Unix(..) => Ok(None),
        }
    }

    /// The next connection, and who is at its other end.
    pub(crate) async fn accept(&self) -> io::Result<(Detached, Peer)> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // Small answers that somebody waits for gain nothing from waiting for more bytes.
                let _ = stream.set_nodelay(true);
                let address = Some(from.ip().to_canonical());
                Ok((Detached::Tcp(stream.into_std()?), Peer { address, ..Peer::default() }))
            }
            Kind::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // As it was when the caller connected (SO_PEERCRED).
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok((Detached::Unix(stream.into_std()?), Peer { user, ..Peer::default() }))
            }
        }
    }

    /// Whether TLS is spoken here, where it is on; a unix socket needs none.
    pub(crate) fn takes_tls(&self) -> bool {
        matches!(self.0, Kind::Tcp(_))
    }
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Self {
        // Its connections have it from here. Where it is refused, more memory of the kernel is used.
        let _ = SockRef::from(&listener).set_tcp_notsent_lowat(MOST_UNSENT);
        Self(Kind::Tcp(listener))
    }
}

/// As callers name it, without a scheme: `127.0.0.1:8484`, or `unix:PATH`.
impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("unknown"),
            },
            Kind::Unix(_, Place::Ours(SocketFile { path, .. }) | Place::Given(path)) => {
                write!(f, "unix:{}", path.display())
            }
        }
    }
}

/// Removes what a process left behind that is gone.
async fn make_room(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let taken = |why| Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    if !found.file_type().is_socket() {
        return taken("is there and no socket; name another path, or remove it");
    }
    match UnixStream::connect(path).await {
        Ok(_) => taken("another process listens there; stop it, or name another path"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// Binds a listener; the error names the address.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}
