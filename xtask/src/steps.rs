//! The steps, in the order in which they are cheapest to fail.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{leaks, tidy};

/// Everything.
pub(crate) fn all(root: &Path, checks: &Path) -> Result<(), String> {
    start(checks)?;
    tidy::check(root)?;
    rust_steps(root, checks)?;
    cargo(root, checks, "build", &["build", "--package", "bellwether"])?;
    demo(root, checks)?;
    torture_steps(root, checks)?;
    interop_steps(root, checks)?;
    evidence_steps(root, checks)?;
    leaks::check(checks)?;
    println!("\nAll checks passed. What they printed is in target/checks/.");
    Ok(())
}

/// The Rust code alone.
pub(crate) fn rust(root: &Path, checks: &Path) -> Result<(), String> {
    start(checks)?;
    rust_steps(root, checks)?;
    leaks::check(checks)
}

/// The real clients alone.
pub(crate) fn interop(root: &Path, checks: &Path) -> Result<(), String> {
    start(checks)?;
    cargo(root, checks, "build", &["build", "--package", "bellwether"])?;
    interop_steps(root, checks)?;
    leaks::check(checks)
}

/// The harness of crashes alone.
pub(crate) fn torture(root: &Path, checks: &Path) -> Result<(), String> {
    start(checks)?;
    cargo(root, checks, "build", &["build", "--package", "bellwether"])?;
    torture_steps(root, checks)?;
    leaks::check(checks)
}

fn start(checks: &Path) -> Result<(), String> {
    match fs::remove_dir_all(checks) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(format!("{}: {error}", checks.display()));
        }
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(checks).map_err(|error| format!("{}: {error}", checks.display()))
}

fn rust_steps(root: &Path, checks: &Path) -> Result<(), String> {
    cargo(root, checks, "format", &["fmt", "--all", "--check"])?;
    let lints =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    cargo(root, checks, "lints", &lints)?;
    let mut install = Command::new(root.join("interop/install"));
    run("test-servers", checks, install.arg("postgresql").current_dir(root))?;
    cargo(root, checks, "tests", &["test", "--workspace", "--all-features", "--no-fail-fast"])
}

/// The main job, as a new user runs it: it exits 0 only if nothing failed for Bellwether.
fn demo(root: &Path, checks: &Path) -> Result<(), String> {
    let mut command = Command::new(root.join("target/debug/bellwether"));
    command.args(["demo", "--for", "30s"]);
    run("demo", checks, command.current_dir(root))
}

/// Real processes, killed and paused in the middle of renewals; with the seed that it prints, each
/// run can be had again. Then requests and answers that could be read two ways, floods and slow
/// callers, each against a process of its own; `hostile --streams 1000000 --connections 10000 --hold
/// 60` is the long run. About five minutes.
fn torture_steps(root: &Path, checks: &Path) -> Result<(), String> {
    cargo(root, checks, "torture-build", &["build", "--package", "bellwether-torture"])?;
    let runs: [(&str, &[&str]); 7] = [
        ("crashes", &["crashes", "--count", "600"]),
        // One class of each way to go on after a doubt; the others differ at the server alone.
        ("boundaries", &["boundaries", "--fault", "kill", "--class", "R1,R3,R4"]),
        ("pauses", &["--request-timeout", "500", "pauses", "--count", "120"]),
        ("cancels", &["cancels", "--count", "60"]),
        ("crowd", &["crowd", "--processes", "64", "--rounds", "10"]),
        ("hostile", &["hostile"]),
        ("hostile-cap", &["hostile", "--connections", "2000", "--cap", "2000", "slow"]),
    ];
    for (name, arguments) in runs {
        let mut command = Command::new(root.join("target/debug/bellwether-torture"));
        command.arg("--bellwether").arg(root.join("target/debug/bellwether")).args(arguments);
        run(&format!("torture-{name}"), checks, command.current_dir(root))?;
    }
    Ok(())
}

/// JMeter's failure, its cause read from its log and its cure; a poll of 1,000 agents through
/// outages and a kill, with its books opened; the same agents by the vendor's SDK; and what callers
/// of the gateway see of refusals and outages. Three and a half minutes.
fn evidence_steps(root: &Path, checks: &Path) -> Result<(), String> {
    let bellwether = root.join("target/debug/bellwether");
    let programs: [(&str, &[&str]); 4] = [
        ("jmeter_report", &[]),
        ("poll_outages", &["--minutes", "1"]),
        ("thousand_agents", &["--minutes", "1"]),
        // A build without optimisation on a machine that does other things: a delay, not a measurement.
        ("gateway_outages", &["--added-ms", "50"]),
    ];
    for (program, arguments) in programs {
        let mut command = Command::new(root.join("interop").join(program));
        command.arg("--bellwether").arg(&bellwether).args(arguments);
        run(program, checks, command.current_dir(root))?;
    }
    Ok(())
}

fn interop_steps(root: &Path, checks: &Path) -> Result<(), String> {
    run("interop-install", checks, Command::new(root.join("interop/install")).current_dir(root))?;
    let mut command = Command::new(root.join("interop/run"));
    command.arg("--bellwether").arg(root.join("target/debug/bellwether"));
    command.arg("--keep").arg(checks.join("interop"));
    run("interop", checks, command.current_dir(root))
}

fn cargo(root: &Path, checks: &Path, name: &str, arguments: &[&str]) -> Result<(), String> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    run(name, checks, Command::new(cargo).args(arguments).current_dir(root))
}

/// Runs one step; its output goes to the terminal and to a file.
fn run(name: &str, checks: &Path, command: &mut Command) -> Result<(), String> {
    println!("\n── {name}");
    let failed = |error: io::Error| format!("{name}: {error}");
    let log = File::create(checks.join(format!("{name}.log"))).map_err(failed)?;
    let (reader, writer) = io::pipe().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let mut child = command.spawn().map_err(failed)?;
    // The child alone keeps the other end open, so that reading ends with it.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    copy(reader, log).map_err(failed)?;
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}")) }
}

fn copy(from: impl io::Read, mut log: File) -> io::Result<()> {
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        io::stdout().write_all(&line)?;
        log.write_all(&line)?;
        line.clear();
    }
    Ok(())
}
