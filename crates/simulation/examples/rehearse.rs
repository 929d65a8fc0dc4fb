//! A rehearsal to be timed: `rehearse STRATEGY AGENTS WORKERS PERIOD_S HOURS POOL`.

use std::time::Duration;

use bellwether_lifecycle::Allowance;
use bellwether_simulation::Profile;
use bellwether_simulation::rehearsal::{Setup, Strategy, rehearse};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    let strategy = Strategy::named(&arguments[0]).expect("a strategy");
    let setup = Setup {
        profile: match arguments.get(6).map(String::as_str) {
            Some("plain") => Profile::plain(),
            Some("reported") => Profile::as_reported(),
            _ => Profile::genesys(),
        },
        faults: Vec::new(),
        agents: number(1) as u32,
        workers: number(2) as u32,
        period: Duration::from_secs(number(3)),
        length: Duration::from_secs(number(4) * 60),
        processes: 1,
        pool: number(5) as u16,
        allowance: Allowance::DEFAULT,
        seed: 7,
    };
    let outcome = rehearse(&setup, strategy, &mut |_| {});
    println!("{:?} {:?}", outcome.polls, outcome.seen);
    println!(
        "{:?} p99 {:?} service p99 {:?} hung {}",
        outcome.totals,
        outcome.latency.quantile(0.99),
        outcome.service.quantile(0.99),
        outcome.hung_workers
    );
}
