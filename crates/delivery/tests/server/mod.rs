//! A real PostgreSQL server, for as long as the tests run.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, mpsc};

use postgres::{Client, NoTls};

const MISSING: &str =
    "a PostgreSQL server is needed: `apt-get install postgresql`, or `interop/install postgresql`";

/// Where its socket is.
static SOCKET: LazyLock<PathBuf> = LazyLock::new(start);

/// Debian keeps the server's own programs off the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").map(|found| {
        found.flatten().map(|version| version.path().join("bin")).filter(|bin| bin.is_dir()).max()
    });
    versions.ok().flatten().expect(MISSING)
}

/// The server does not run as root; whoever is root runs it as its own user.
fn as_somebody(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    // It ends with these tests, however they end.
    command.args(["--pdeathsig=KILL", "--"]).arg(program);
    command
}

fn start() -> PathBuf {
    let directory = tempfile::tempdir().expect("a directory").keep();
    if rustix::process::geteuid().is_root() {
        let chown = Command::new("chown").arg("postgres").arg(&directory).status();
        assert!(chown.expect("chown").success());
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let (programs, data) = (programs(), directory.join("data"));
    let made = as_somebody(&programs.join("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
        .arg(&data)
        .current_dir(&directory)
        .output()
        .expect(MISSING);
    assert!(made.status.success(), "{made:?}");
    let (ready, is_ready) = mpsc::channel();
    let socket = directory.clone();
    // The thread that starts it must not end before it.
    std::thread::spawn(move || {
        let mut server = as_somebody(&programs.join("postgres"))
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(&socket)
            .arg("-D")
            .arg(&data)
            .current_dir(&socket)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server");
        let said = BufReader::new(server.stderr.take().expect("its errors")).lines();
        for line in said.map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                let _ = ready.send(());
            }
        }
        let _ = server.wait();
        let _ = fs::remove_dir_all(&socket);
    });
    is_ready.recv().expect("it says that it is ready");
    directory
}

/// The URL of a database that belongs to this place alone.
pub(crate) fn url(place: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    let name = format!("place_{:016x}", hasher.finish());
    let socket = SOCKET.display();
    let mut admin =
        Client::connect(&format!("host={socket} user=postgres"), NoTls).expect("it runs");
    let known = admin.query("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]);
    if known.expect("a query").is_empty() {
        admin.batch_execute(&format!("CREATE DATABASE {name}")).expect("a database");
    }
    format!("host={socket} user=postgres dbname={name}")
}
