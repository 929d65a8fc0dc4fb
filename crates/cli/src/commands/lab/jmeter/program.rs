//! JMeter as a program: where it is, and one run of it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::commands::Failure;
use crate::commands::lab::serve::CLIENT;
use crate::configuration::Environment;

/// How JMeter is called: a program and what comes first.
#[derive(Clone, Debug)]
pub(super) struct JMeter {
    program: PathBuf,
    first: Vec<OsString>,
}

impl JMeter {
    /// By `JMETER_HOME`, else on the `PATH`.
    pub(super) fn find(environment: Environment<'_>) -> Option<Self> {
        let at_home = environment("JMETER_HOME").map(PathBuf::from).and_then(|home| {
            let script = home.join("bin/jmeter");
            if script.is_file() {
                return Some(Self { program: script, first: Vec::new() });
            }
            let jar = home.join("bin/ApacheJMeter.jar");
            let first = vec!["-Xmx512m".into(), "-jar".into(), jar.clone().into_os_string()];
            jar.is_file().then(|| Self { program: PathBuf::from("java"), first })
        });
        at_home.or_else(|| {
            let path = environment("PATH")?;
            let mut programs = std::env::split_paths(&path).map(|entry| entry.join("jmeter"));
            let program = programs.find(|program| program.is_file())?;
            Some(Self { program, first: Vec::new() })
        })
    }

    /// Starts a run whose results go to `directory/name.jtl`.
    pub(super) fn start(
        &self,
        plan: &Path,
        directory: &Path,
        name: &str,
        address: SocketAddr,
        properties: &[String],
    ) -> Result<Child, Failure> {
        let results = directory.join(format!("{name}.jtl"));
        // JMeter adds to what is there.
        if results.exists() {
            std::fs::remove_file(&results).map_err(|error| {
                Failure::Failed(format!("{} cannot be replaced: {error}", results.display()))
            })?;
        }
        let mut command = Command::new(&self.program);
        command.args(&self.first).arg("-n").arg("-t").arg(plan).arg("-l").arg(&results);
        command.arg("-j").arg(directory.join(format!("{name}.log")));
        command.arg(format!("-Jgateway.host={}", address.ip()));
        command.arg(format!("-Jgateway.port={}", address.port()));
        command.arg(format!("-Jclient_id={}", CLIENT.0)).arg("-Jjmeterengine.nongui.port=0");
        command.args(properties.iter().map(|property| format!("-J{property}")));
        command.env("CLIENT_SECRET", CLIENT.1);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|error| {
            Failure::Failed(format!("{} does not start: {error}", self.program.display()))
        })
    }
}

/// Until it ends.
pub(super) fn wait(mut child: Child) -> Result<(), Failure> {
    let status =
        child.wait().map_err(|error| Failure::Failed(format!("JMeter was lost: {error}")))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Failed(format!("JMeter ended with {status}; its log is beside the results")))
}
