//! Entries as rows of a PostgreSQL database: a slot written twice is there once.
//!
//! Who writes is told by the cursor's row: whoever resumes a poll puts its own mark there, and an
//! earlier writer is refused from then on. No lock is held between transactions, so that a pooler
//! in between does no harm.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::{Client, Config, Transaction};
use rustls::ClientConfig;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::cursor::Cursor;
use crate::entry::{Entry, Row, seconds};
use crate::output::{Output, OutputError, Resumed};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS bellwether_entries (
    poll text NOT NULL, series bigint NOT NULL, slot bigint NOT NULL, slots bigint NOT NULL,
    part bigint NOT NULL, parts bigint NOT NULL, kind text NOT NULL, agent text,
    due_at double precision NOT NULL, at double precision, latency_ms double precision,
    late boolean, status bigint, data json, why text, tries bigint,
    PRIMARY KEY (poll, series, slot, part, kind)
);
CREATE INDEX IF NOT EXISTS bellwether_entries_by_agent ON bellwether_entries (poll, agent, due_at);
CREATE INDEX IF NOT EXISTS bellwether_long_entries ON bellwether_entries (poll, series, slot)
    WHERE slots > 1;
CREATE TABLE IF NOT EXISTS bellwether_cursors (
    poll text PRIMARY KEY, cursor text NOT NULL, writer text NOT NULL
);
";

const INSERT: &str = "
INSERT INTO bellwether_entries
SELECT poll, series, slot, slots, part, parts, kind, agent, due_at, at, latency_ms, late, status,
       data::json, why, tries
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
            $7::text[], $8::text[], $9::float8[], $10::float8[], $11::float8[], $12::boolean[],
            $13::bigint[], $14::text[], $15::text[], $16::bigint[])
     AS told(poll, series, slot, slots, part, parts, kind, agent, due_at, at, latency_ms, late,
             status, data, why, tries)
ON CONFLICT (poll, series, slot, part, kind) DO UPDATE SET
    slots = excluded.slots, parts = excluded.parts, agent = excluded.agent, at = excluded.at,
    latency_ms = excluded.latency_ms, late = excluded.late, status = excluded.status,
    data = excluded.data, why = excluded.why, tries = excluded.tries
";

/// Limits that a URL may change.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A database on a server.
pub struct Postgres {
    config: Config,
    tls: MakeRustlsConnect,
    client: Option<Client>,
    /// Our mark in the cursor's row.
    writer: String,
    place: String,
}

impl Postgres {
    /// At this URL. To another machine it is reached by verified TLS alone. `writer` is unlike that
    /// of any other process.
    ///
    /// # Errors
    /// When the URL cannot be read; the error holds nothing of it.
    pub fn new(url: &str, tls: ClientConfig, writer: String) -> Result<Self, OutputError> {
        let bad = || OutputError::new("the output", "is no URL of PostgreSQL, postgres://…");
        let mut config: Config = url.parse().map_err(|_| bad())?;
        let is_here = |host: &Host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                let address = name.parse::<std::net::IpAddr>();
                name == "localhost" || address.is_ok_and(|address| address.is_loopback())
            }
        };
        if !config.get_hosts().iter().all(is_here) {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(ANSWER_WITHIN);
        }
        if config.get_options().is_none() {
            config.options(&format!("-c statement_timeout={}", ANSWER_WITHIN.as_millis()));
        }
        if config.get_application_name().is_none() {
            config.application_name("bellwether poll");
        }
        let database = config.get_dbname().unwrap_or("postgres").to_owned();
        let host = config.get_hosts().first().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let place = format!("postgres, {database} at {}", host.unwrap_or_default());
        Ok(Self { config, tls: MakeRustlsConnect::new(tls), client: None, writer, place })
    }

    fn error(&self, error: &postgres::Error) -> OutputError {
        let what = match error.as_db_error() {
            Some(told) => told.message().to_owned(),
            None => match std::error::Error::source(error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            },
        };
        OutputError::new(&self.place, what)
    }

    /// One transaction, for good or not at all. What broke is opened again next time.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Trouble>,
    ) -> Result<T, OutputError> {
        let done = self.attempt(work);
        done.map_err(|trouble| {
            self.client = None;
            match trouble {
                Trouble::Database(error) => self.error(&error),
                Trouble::Other(what) => OutputError::new(&self.place, what),
                Trouble::TakenOver(what) => OutputError::new(&self.place, what).for_good(),
            }
        })
    }

    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            let mut client = self.config.connect(self.tls.clone())?;
            client.batch_execute(SCHEMA)?;
            self.client = Some(client);
        }
        let lost = || Trouble::Other("is not connected".to_owned());
        let mut transaction = self.client.as_mut().ok_or_else(lost)?.transaction()?;
        let done = work(&mut transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

enum Trouble {
    Database(postgres::Error),
    Other(String),
    TakenOver(String),
}

impl From<postgres::Error> for Trouble {
    fn from(error: postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Whether nobody else has taken this poll over.
fn check(transaction: &mut Transaction<'_>, poll: &str, writer: &str) -> Result<(), Trouble> {
    let query = "SELECT writer FROM bellwether_cursors WHERE poll = $1 FOR UPDATE";
    let row = transaction.query_opt(query, &[&poll])?;
    match row.map(|row| row.get::<_, String>(0)) {
        Some(other) if other != writer => Err(Trouble::TakenOver(format!(
            "another process polls {poll} into this database now; stop this one"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// No slot is numbered so high.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn slots(rows: &[postgres::Row]) -> BTreeSet<u64> {
    rows.iter().map(|row| row.get::<_, i64>(0).unsigned_abs()).collect()
}

impl Output for Postgres {
    fn resume(&mut self, poll: &str) -> Result<Option<Resumed>, OutputError> {
        let writer = self.writer.clone();
        self.transact(|transaction| {
            let query = "SELECT cursor FROM bellwether_cursors WHERE poll = $1 FOR UPDATE";
            let Some(row) = transaction.query_opt(query, &[&poll])? else { return Ok(None) };
            let cursor: Cursor = serde_json::from_str(row.get(0)).map_err(|error| {
                Trouble::Other(format!("the cursor of {poll} cannot be read: {error}"))
            })?;
            let take = "UPDATE bellwether_cursors SET writer = $2 WHERE poll = $1";
            transaction.execute(take, &[&poll, &writer])?;
            let (series, from) = (number(cursor.series), number(cursor.watermark));
            let settled = "SELECT slot FROM bellwether_entries
                 WHERE poll = $1 AND series = $2 AND slot >= $3 AND slots = 1
                   AND kind <> 'backfill'
                 GROUP BY slot HAVING count(DISTINCT part) >= max(parts)";
            let mut settled = slots(&transaction.query(settled, &[&poll, &series, &from])?);
            let long = "SELECT slot, slots FROM bellwether_entries
                 WHERE poll = $1 AND series = $2 AND slots > 1 AND slot + slots > $3";
            for row in transaction.query(long, &[&poll, &series, &from])? {
                let (slot, many): (i64, i64) = (row.get(0), row.get(1));
                settled.extend(slot.max(from).unsigned_abs()..(slot + many).unsigned_abs());
            }
            let gaps = "SELECT DISTINCT slot FROM bellwether_entries AS gap
                 WHERE poll = $1 AND series = $2 AND slot >= $3 AND slots = 1 AND kind = 'gap'
                   AND NOT EXISTS (SELECT 1 FROM bellwether_entries AS other
                     WHERE other.poll = $1 AND other.series = $2 AND other.slot = gap.slot
                       AND other.kind = 'backfill')";
            let gaps = slots(&transaction.query(gaps, &[&poll, &series, &from])?);
            Ok(Some(Resumed { cursor, settled, gaps }))
        })
    }

    fn write(&mut self, cursor: &Cursor, entries: &[Entry]) -> Result<(), OutputError> {
        let writer = self.writer.clone();
        let poll = &cursor.plan.poll;
        let rows: Vec<Row<'_>> = entries.iter().map(|entry| Row::of(&entry.what)).collect();
        let polls = vec![poll.as_str(); entries.len()];
        let series = vec![number(cursor.series); entries.len()];
        let of = |field: fn(&Entry) -> u64| -> Vec<i64> {
            entries.iter().map(|entry| number(field(entry))).collect()
        };
        let numbers = (of(|entry| entry.slot), of(|entry| entry.slots));
        let parts = (of(|entry| entry.part.0.into()), of(|entry| entry.part.1.into()));
        let kinds: Vec<&str> = entries.iter().map(|entry| entry.what.kind()).collect();
        let agents: Vec<Option<&str>> =
            entries.iter().map(|entry| entry.agent.as_deref()).collect();
        let due: Vec<f64> = entries.iter().map(|entry| seconds(entry.due_at)).collect();
        let at: Vec<Option<f64>> = rows.iter().map(|row| row.at).collect();
        let latency: Vec<Option<f64>> = rows.iter().map(|row| row.latency).collect();
        let late: Vec<Option<bool>> = rows.iter().map(|row| row.late).collect();
        let status: Vec<Option<i64>> = rows.iter().map(|row| row.status.map(i64::from)).collect();
        let data: Vec<Option<&str>> = rows.iter().map(|row| row.data).collect();
        let why: Vec<Option<&str>> = rows.iter().map(|row| row.why).collect();
        let tries: Vec<Option<i64>> = rows.iter().map(|row| row.tries.map(i64::from)).collect();
        self.transact(|transaction| {
            check(transaction, poll, &writer)?;
            transaction.execute(
                INSERT,
                &[
                    &polls, &series, &numbers.0, &numbers.1, &parts.0, &parts.1, &kinds, &agents,
                    &due, &at, &latency, &late, &status, &data, &why, &tries,
                ],
            )?;
            Ok(())
        })
    }

    fn sync(&mut self, cursor: &Cursor) -> Result<(), OutputError> {
        let writer = self.writer.clone();
        let poll = cursor.plan.poll.clone();
        let text =
            serde_json::to_string(cursor).map_err(|error| OutputError::new(&self.place, error))?;
        self.transact(|transaction| {
            check(transaction, &poll, &writer)?;
            let upsert = "INSERT INTO bellwether_cursors VALUES ($1, $2, $3)
                 ON CONFLICT (poll) DO UPDATE SET cursor = excluded.cursor";
            transaction.execute(upsert, &[&poll, &text, &writer])?;
            Ok(())
        })
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("place", &self.place).finish_non_exhaustive()
    }
}
