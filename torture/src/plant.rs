//! Planted defects: what a harness that cannot fail would overlook.

use bellwether_simulation::Effect;
use clap::ValueEnum;

use crate::stage::Stage;

/// A defect that stands for one of the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// The store forgets what was renewed: as if it had never been written.
    Rollback,
    /// The store is gone after a renewal.
    Forget,
    /// Two holders renew from copies of one store: a broker that knows a copy sends nothing.
    Clone,
    /// An answer is lost, and nobody says so.
    Deaf,
}

impl Plant {
    /// Does the damage; answers with what went wrong on the way.
    pub(crate) fn sow(self, stage: &Stage<'_>) -> Result<Vec<String>, String> {
        match self {
            Self::Rollback => {
                stage.copy_store("before")?;
                stage.token()?;
                stage.replace_store(Some("before"))?;
            }
            Self::Forget => {
                stage.token()?;
                stage.replace_store(None)?;
            }
            Self::Clone => {
                stage.copy_store("copy")?;
                let copy = format!("sqlite:{}", stage.path("copy/bellwether.db").display());
                stage.token()?;
                let arguments = ["token", crate::stage::NAME, "--store", &copy];
                let command = stage.command(&arguments)?;
                let time = stage.workshop.time;
                crate::process::Process::start(command, stage.errors()?, time)?.end()?;
            }
            Self::Deaf => {
                stage.fault(1, Effect::LostAnswer);
                let victim = stage.start_token()?;
                let known = stage.request_count();
                stage.wait_for_request(known, || !victim.wait_until(stage.workshop.time.now()));
                victim.kill()?;
                stage.end_faults();
            }
        }
        Ok(Vec::new())
    }
}
