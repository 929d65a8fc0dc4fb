//! The thread that owns the connection, and how asks become transactions.
//!
//! Asks that have come in by the time a transaction begins share it, writes with writes and reads
//! with reads. Each is done wholly or not at all; all are answered after the commit.

use bellwether_store::StoreError;
use tokio::sync::{mpsc, oneshot};

use crate::session::Session;

/// How many asks may wait; whoever comes then waits to get in.
pub(crate) const QUEUE: usize = 1024;
/// Asks that share a transaction at most, so that no other process waits long for its turn.
const SHARED: usize = 128;

/// An ask, waiting for its transaction.
pub(crate) type Job = Box<dyn Work>;

/// What the thread does for a caller: [`run`](Self::run) inside the transaction,
/// [`answer`](Self::answer) after it.
pub(crate) trait Work: Send {
    fn writes(&self) -> bool;
    fn run(&mut self, session: &Session) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, committed: &Result<(), StoreError>);
}

/// Makes a job of `work`; the receiver gets its result once that is committed.
pub(crate) fn job<T, F>(writes: bool, work: F) -> (Job, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    (Box::new(Ask { writes, work: Some(work), result: None, answer }), answered)
}

struct Ask<T, F> {
    writes: bool,
    work: Option<F>,
    result: Option<T>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Ask<T, F>
where
    T: Send,
    F: FnOnce(&Session) -> Result<T, StoreError> + Send,
{
    fn writes(&self) -> bool {
        self.writes
    }

    fn run(&mut self, session: &Session) -> Result<(), StoreError> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(session)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: &Result<(), StoreError>) {
        let Self { result, answer, .. } = *self;
        let never_run = || StoreError::Unavailable { why: "not asked; try again".to_owned() };
        let result = committed.clone().and_then(|()| result.ok_or_else(never_run));
        // A caller that went away needs no answer.
        let _ = answer.send(result);
    }
}

/// Serves until every sender is gone, then gives back what the session holds.
pub(crate) fn serve(session: &Session, mut jobs: mpsc::Receiver<Job>) {
    let mut first = None;
    while let Some(job) = first.take().or_else(|| jobs.blocking_recv()) {
        let writes = job.writes();
        let mut shared = vec![job];
        while shared.len() < SHARED
            && let Ok(job) = jobs.try_recv()
        {
            if job.writes() != writes {
                first = Some(job);
                break;
            }
            shared.push(job);
        }
        transact(session, writes, shared);
    }
    // Nobody is left to be told; what stays is freed when the presence ends.
    let _ = session.give_back();
}

fn transact(session: &Session, writes: bool, jobs: Vec<Job>) {
    if let Err(error) = session.begin(writes) {
        jobs.into_iter().for_each(|job| job.answer(&Err(error.clone())));
        return;
    }
    let mut done = Vec::with_capacity(jobs.len());
    let mut jobs = jobs.into_iter();
    let mut committed = Ok(());
    for mut job in jobs.by_ref() {
        match session.whole(|session| job.run(session)) {
            Ok(()) => done.push(job),
            Err(error) => {
                job.answer(&Err(error.clone()));
                if !session.is_in_transaction() {
                    committed = Err(error);
                    break;
                }
            }
        }
    }
    if committed.is_ok() {
        committed = session.commit();
    }
    done.into_iter().chain(jobs).for_each(|job| job.answer(&committed));
}
