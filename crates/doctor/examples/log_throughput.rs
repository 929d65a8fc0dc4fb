//! How fast JMeter results are read, and in how much memory.
//!
//! `cargo run --release -p bellwether-doctor --example log_throughput [MIB]` writes that much (1,024) to
//! a temporary file, reads it twice on one thread, and tells the better time and the most memory
//! this process ever had.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};

use bellwether_doctor::{Examination, Merged, Source};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let size = std::env::args().nth(1).map_or(Ok(1024), |text| text.parse::<u64>())? << 20;
    let path =
        std::env::temp_dir().join(format!("bellwether-throughput-{}.jtl", std::process::id()));
    write_log(&path, size)?;
    let outcome = measure(&path, size);
    std::fs::remove_file(&path)?;
    outcome
}

fn measure(path: &std::path::Path, size: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..2 {
        #[allow(
            clippy::disallowed_methods,
            reason = "an example that measures has to look at a clock"
        )]
        let begun = std::time::Instant::now();
        let file = BufReader::with_capacity(1 << 17, File::open(path)?);
        let source = Source::open(0, file)?;
        let mut examination = Examination::new(vec!["log".to_owned()]);
        let mut merged = Merged::new(vec![source]).map_err(|trouble| trouble.why)?;
        while merged.step(&mut examination).map_err(|trouble| trouble.why)? {}
        let seconds = begun.elapsed().as_secs_f64();
        let diagnosis = examination.diagnosis();
        println!(
            "{} requests, {} findings, {seconds:.2} s, {:.0} MB/s",
            diagnosis.totals.requests,
            diagnosis.findings.len(),
            size as f64 / 1e6 / seconds,
        );
        best = best.min(seconds);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
    println!("best {:.0} MB/s; {most}", size as f64 / 1e6 / best);
    Ok(())
}

/// 200 threads that poll; one line in forty is a login, one in fifty a 401.
fn write_log(path: &std::path::Path, size: u64) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let header = "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,\
                  failureMessage,bytes,sentBytes,grpThreads,allThreads,URL,Latency,IdleTime,Connect\n";
    out.write_all(header.as_bytes())?;
    let (mut written, mut line, mut time) = (0, String::new(), 1_700_000_000_000_u64);
    for number in 0_u64.. {
        if written >= size {
            break;
        }
        line.clear();
        time += 7;
        let (thread, elapsed) = (number % 200, 20 + number * 7 % 90);
        let _ = match number {
            number if number % 50 == 13 => writeln!(
                line,
                "{time},{elapsed},poll,401,Unauthorized,Pollers 1-{thread},text,false,\"Test failed: \
                 code expected to match, {{\"\"code\"\":\"\"bad.credentials\"\"}}\",412,300,200,200,\
                 https://api.mypurecloud.example/api/v2/users/agent-{thread}/routingstatus,{elapsed},0,0"
            ),
            number if number % 40 == 7 => writeln!(
                line,
                "{time},{elapsed},log in,200,OK,Pollers 1-{thread},text,true,,912,400,200,200,\
                 https://login.mypurecloud.example/oauth/token,{elapsed},0,3"
            ),
            _ => writeln!(
                line,
                "{time},{elapsed},poll,200,OK,Pollers 1-{thread},text,true,,1412,300,200,200,\
                 https://api.mypurecloud.example/api/v2/users/agent-{thread}/routingstatus,{elapsed},0,0"
            ),
        };
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    out.flush()
}
