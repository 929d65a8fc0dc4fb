//! A token endpoint that answers what it is told, one answer after the other, and keeps what it was
//! sent.

use std::collections::VecDeque;
use std::fmt;
use std::future::{pending, ready};
use std::sync::{Mutex, PoisonError};

use bellwether_broker::oauth::Secret;
use bellwether_broker::{Answering, Outgoing, Received, Transport, TransportError};

/// What becomes of one request.
pub enum Line {
    /// A JSON body with this status.
    Answer(u16, String),
    /// Nothing, ever.
    Silence,
}

/// Plays its lines in order; then nothing can connect.
#[derive(Default)]
pub struct Scripted {
    lines: Mutex<VecDeque<Line>>,
    came: Mutex<Vec<String>>,
}

impl Scripted {
    pub fn playing(lines: impl IntoIterator<Item = Line>) -> Self {
        Self { lines: Mutex::new(lines.into_iter().collect()), came: Mutex::default() }
    }

    /// The forms that came so far.
    pub fn came(&self) -> Vec<String> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The refresh tokens that came so far.
    pub fn refresh_tokens(&self) -> Vec<String> {
        let shown = |form: &String| {
            let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == "refresh_token").map(|(_, token)| token.to_owned())
        };
        self.came().iter().filter_map(shown).collect()
    }
}

impl Transport for Scripted {
    fn send(&self, outgoing: Outgoing) -> Answering<'_> {
        let form = outgoing.form.as_ref().map_or("", Secret::expose).to_owned();
        self.came.lock().unwrap_or_else(PoisonError::into_inner).push(form);
        let line = self.lines.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match line {
            Some(Line::Answer(status, body)) => Box::pin(ready(Ok(Received {
                status,
                content_type: Some("application/json".to_owned()),
                retry_after: None,
                date: None,
                www_authenticate: None,
                location: false,
                body: body.into_bytes().into(),
                truncated: false,
            }))),
            Some(Line::Silence) => Box::pin(pending()),
            None => Box::pin(ready(Err(TransportError::NotSent("the play is over".to_owned())))),
        }
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}
