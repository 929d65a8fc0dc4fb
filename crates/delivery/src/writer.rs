//! The one that writes: a thread between whoever delivers and the output.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bellwether_lifecycle::Timestamp;
use bellwether_store::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cursor::Cursor;
use crate::entry::{Entry, What};
use crate::gaps::Gaps;
use crate::output::{Output, OutputError};
use crate::watermark::Watermark;

/// Slots that may wait to be written; whoever brings one more waits.
const ROOM: usize = 1024;
/// Slots that come within this time are written together.
const GATHERING: Duration = Duration::from_millis(50);
const MOST_GATHERED: usize = 512;
/// What was written is synced, and the cursor moved, this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Between attempts at an output that fails: from, to.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// At the end an output that fails is tried for so long.
const LAST_TRIES: Duration = Duration::from_secs(5);

/// Takes slots' entries and writes them, in a thread of its own.
#[derive(Debug)]
pub struct Writer {
    room: Arc<Semaphore>,
    inbox: mpsc::Sender<Parcel>,
    thread: JoinHandle<Result<(), Undelivered>>,
    progress: Arc<Mutex<Progress>>,
}

/// How delivery stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Slots that were written since this process began.
    pub slots: u64,
    /// Entries that were written since this process began.
    pub entries: u64,
    /// Of them, samples that filled a gap later.
    pub backfilled: u64,
    /// Every slot below is written and synced.
    pub watermark: u64,
    /// Why the output takes nothing at the moment.
    pub trouble: Option<String>,
}

/// Something could not be written to the last.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}; {slots} slots were not written, and the next run begins with them")]
pub struct Undelivered {
    error: OutputError,
    slots: u64,
}

/// Slots and what is told of them.
struct Parcel {
    slot: u64,
    slots: u64,
    entries: Vec<Entry>,
    room: OwnedSemaphorePermit,
}

impl Writer {
    /// Over an output that has been resumed: `cursor` is where it goes on, `settled` what it has
    /// beyond. The gaps that are to be filled are kept with the cursor.
    ///
    /// # Errors
    /// When the first cursor cannot be written.
    pub fn start(
        mut output: Box<dyn Output>,
        cursor: Cursor,
        settled: &BTreeSet<u64>,
        gaps: Gaps,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutputError> {
        output.sync(&cursor)?;
        let watermark = Watermark::new(cursor.watermark, settled.iter().copied());
        let progress = Progress { watermark: watermark.below(), ..Progress::default() };
        let progress = Arc::new(Mutex::new(progress));
        let (inbox, parcels) = mpsc::channel();
        let desk = Desk {
            output,
            cursor,
            watermark,
            gaps,
            clock,
            parcels,
            kept: Vec::new(),
            progress: Arc::clone(&progress),
            is_dirty: true,
        };
        let thread = std::thread::Builder::new().name("delivery".to_owned());
        let thread = thread
            .spawn(move || desk.work())
            .map_err(|error| OutputError::new("the writer's thread", error))?;
        Ok(Self { room: Arc::new(Semaphore::new(ROOM)), inbox, thread, progress })
    }

    /// Hands a slot's entries over; waits while too much is not written yet.
    pub async fn deliver(&self, slot: u64, entries: Vec<Entry>) {
        self.hand_over(slot, 1, entries).await;
    }

    /// The same for many slots of which one entry tells.
    pub async fn deliver_absence(&self, entry: Entry) {
        self.hand_over(entry.slot, entry.slots, vec![entry]).await;
    }

    async fn hand_over(&self, slot: u64, slots: u64, entries: Vec<Entry>) {
        // Where nothing more is taken, the slot is not settled.
        let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
        let _ = self.inbox.send(Parcel { slot, slots, entries, room });
    }

    /// Takes nothing more: whoever waits to deliver goes away, and what it has stays to be asked for
    /// again.
    pub fn refuse_more(&self) {
        self.room.close();
    }

    /// Whether it has ended by itself, because the output takes nothing for good.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// How delivery stands.
    pub fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }

    /// Writes what is left, and ends. Blocks for as long as that takes, some seconds at most.
    ///
    /// # Errors
    /// When the output does not take it.
    pub fn finish(self) -> Result<Progress, Undelivered> {
        let Self { inbox, thread, progress, .. } = self;
        drop(inbox);
        match thread.join() {
            Ok(ended) => ended?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(lock(&progress).clone())
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread works with.
struct Desk {
    output: Box<dyn Output>,
    cursor: Cursor,
    watermark: Watermark,
    gaps: Gaps,
    clock: Arc<dyn Clock>,
    parcels: Receiver<Parcel>,
    /// What came while the output was in trouble.
    kept: Vec<Parcel>,
    progress: Arc<Mutex<Progress>>,
    /// Something was written that is not synced.
    is_dirty: bool,
}

impl Desk {
    fn work(mut self) -> Result<(), Undelivered> {
        let mut sync_at = self.clock.now() + SYNC_EVERY;
        let mut is_over = false;
        while !is_over || !self.kept.is_empty() {
            let (gathered, over) = self.gather(self.clock.now().until(sync_at));
            is_over = over;
            self.write(gathered)?;
            if self.is_dirty && (is_over || self.clock.now() >= sync_at) {
                self.sync()?;
            }
            if self.clock.now() >= sync_at {
                sync_at = self.clock.now() + SYNC_EVERY;
            }
        }
        Ok(())
    }

    /// What comes within a short while of the first, and whether nothing more will come.
    fn gather(&mut self, patience: Duration) -> (Vec<Parcel>, bool) {
        let mut gathered = std::mem::take(&mut self.kept);
        let mut patience = if self.is_dirty { patience } else { SYNC_EVERY };
        let mut until = None;
        while gathered.len() < MOST_GATHERED {
            match self.parcels.recv_timeout(patience) {
                Ok(parcel) => gathered.push(parcel),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return (gathered, true),
            }
            let now = self.clock.now();
            patience = now.until(*until.get_or_insert(now + GATHERING));
        }
        (gathered, false)
    }

    fn write(&mut self, gathered: Vec<Parcel>) -> Result<(), Undelivered> {
        let mut entries = Vec::new();
        // Their room is given back when they are written.
        let (mut slots, mut rooms) = (Vec::new(), Vec::new());
        for parcel in gathered {
            slots.push((parcel.slot, parcel.slots));
            entries.extend(parcel.entries);
            rooms.push(parcel.room);
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.persist(slots.len(), |output, cursor| output.write(cursor, &entries))?;
        self.is_dirty = true;
        let filled = |entry: &&Entry| matches!(entry.what, What::Backfill { .. });
        let filled: Vec<u64> = entries.iter().filter(filled).map(|entry| entry.slot).collect();
        filled.iter().for_each(|slot| self.gaps.remove(*slot));
        for (slot, many) in &slots {
            self.watermark.settle_all(*slot, *many);
        }
        let mut progress = lock(&self.progress);
        progress.slots += slots.iter().map(|(_, many)| many).sum::<u64>();
        progress.entries += entries.len() as u64;
        progress.backfilled += filled.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Undelivered> {
        self.cursor.watermark = self.watermark.below();
        self.cursor.ahead = self.watermark.ahead();
        self.cursor.backfill = self.gaps.list();
        self.persist(0, |output, cursor| output.sync(cursor))?;
        self.is_dirty = false;
        lock(&self.progress).watermark = self.cursor.watermark;
        Ok(())
    }

    /// Tries until it works, or until nobody waits for it any more.
    fn persist(
        &mut self,
        slots: usize,
        mut attempt: impl FnMut(&mut dyn Output, &Cursor) -> Result<(), OutputError>,
    ) -> Result<(), Undelivered> {
        let (mut pause, longest) = TRY_AGAIN;
        let mut give_up_at = None;
        while let Err(error) = attempt(&mut *self.output, &self.cursor) {
            lock(&self.progress).trouble = Some(error.to_string());
            let now = self.clock.now();
            if error.is_final() {
                give_up_at = Some(now);
            }
            match give_up_at {
                Some(at) if now >= at => {
                    let slots = (slots + self.kept.len()) as u64;
                    return Err(Undelivered { error, slots });
                }
                Some(_) => std::thread::park_timeout(pause),
                None if self.is_over_by(now + pause) => {
                    give_up_at = Some(self.clock.now() + LAST_TRIES);
                }
                None => {}
            }
            pause = (pause * 2).min(longest);
        }
        lock(&self.progress).trouble = None;
        Ok(())
    }

    /// Waits until then, and keeps what comes; whether nothing more will come.
    fn is_over_by(&mut self, until: Timestamp) -> bool {
        loop {
            match self.parcels.recv_timeout(self.clock.now().until(until)) {
                Ok(parcel) => self.kept.push(parcel),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }
}
