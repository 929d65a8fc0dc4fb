//! Threads that poll, an authorization server that keeps so many tokens, an API that counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// 2023-11-14 22:13:20.
pub(crate) const START: i64 = 1_700_000_000_000;

/// One request, as an observer between client and server would note it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) sent: i64,
    pub(crate) took: i64,
    pub(crate) thread: usize,
    pub(crate) is_login: bool,
    pub(crate) grant: &'static str,
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The access token it was sent with, or that it brought.
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

impl Event {
    pub(crate) fn done(&self) -> i64 {
        self.sent + self.took
    }
}

/// Who has a token, and when it is renewed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Renewal {
    /// Each thread has its own and renews after a 401.
    EachAfter401,
    /// Each thread has its own and renews this many seconds before its end.
    EachBefore(i64),
    /// Thread 0 renews this many seconds before the end; the others read its token for each poll.
    SharedBefore(i64),
    /// Likewise, but the others read it only after a 401.
    SharedReadLate(i64),
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) threads: usize,
    /// Live tokens the server keeps.
    pub(crate) cap: usize,
    /// Seconds.
    pub(crate) lifetime: i64,
    /// Milliseconds.
    pub(crate) period: i64,
    pub(crate) minutes: i64,
    pub(crate) ramp_up: i64,
    pub(crate) renewal: Renewal,
    /// Requests a minute for each token.
    pub(crate) api_limit: u32,
    /// Token requests in each second.
    pub(crate) login_limit: u32,
    /// Polls again right after a renewal.
    pub(crate) polls_again: bool,
    /// Upper end of a random wait before a renewal.
    pub(crate) jitter: i64,
    /// The refusal of a login beyond the limit.
    pub(crate) throttle: (u16, &'static str),
    /// What the API says to a dead token.
    pub(crate) refusal: &'static str,
    pub(crate) seed: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            threads: 10,
            cap: 50,
            lifetime: 3600,
            period: 5000,
            minutes: 10,
            ramp_up: 5000,
            renewal: Renewal::EachAfter401,
            api_limit: 1_000_000,
            login_limit: 1_000_000,
            polls_again: true,
            jitter: 0,
            throttle: (
                400,
                r#"{"error":"invalid_request","error_description":"rate limit exceeded; try later"}"#,
            ),
            refusal: r#"{"message":"Invalid login credentials.","code":"bad.credentials","status":401}"#,
            seed: 7,
        }
    }
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    issued: i64,
    window: (i64, u32),
}

struct Run<'a> {
    world: &'a World,
    events: Vec<Event>,
    /// Live tokens, oldest first.
    live: Vec<Token>,
    held: Vec<Option<Token>>,
    logins: (i64, u32),
    issued: u64,
    random: u64,
}

impl World {
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut run = Run {
            world: self,
            events: Vec::new(),
            live: Vec::new(),
            held: vec![None; self.threads],
            logins: (0, 0),
            issued: 0,
            random: self.seed,
        };
        let end = START + self.minutes * 60_000;
        let mut due = BinaryHeap::new();
        for thread in 0..self.threads {
            let ramp = self.ramp_up * thread as i64 / self.threads as i64;
            due.push(Reverse((START + ramp, thread)));
        }
        while let Some(Reverse((now, thread))) = due.pop() {
            if now < end {
                due.push(Reverse((run.turn(now, thread), thread)));
            }
        }
        let mut events = run.events;
        events.sort_by_key(Event::done);
        events
    }
}

impl Run<'_> {
    fn chance(&mut self, below: i64) -> i64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if below == 0 { 0 } else { ((self.random >> 33) % below as u64) as i64 }
    }

    fn owner(&self, thread: usize) -> usize {
        match self.world.renewal {
            Renewal::EachAfter401 | Renewal::EachBefore(_) => thread,
            Renewal::SharedBefore(_) | Renewal::SharedReadLate(_) => 0,
        }
    }

    /// One turn of a thread; when its next begins.
    fn turn(&mut self, mut now: i64, thread: usize) -> i64 {
        let owner = self.owner(thread);
        if self.held[owner].is_none() && owner != thread {
            return now + 200;
        }
        let margin = match self.world.renewal {
            Renewal::EachAfter401 => None,
            Renewal::EachBefore(margin)
            | Renewal::SharedBefore(margin)
            | Renewal::SharedReadLate(margin) => Some(margin),
        };
        let is_due = self.held[owner].as_ref().is_none_or(|held| {
            margin.is_some_and(|margin| now >= held.issued + (self.world.lifetime - margin) * 1000)
        });
        if is_due && owner == thread {
            now = self.login(now, thread);
        }
        match self.world.renewal {
            Renewal::SharedBefore(_) => self.held[thread] = self.held[0].clone(),
            Renewal::SharedReadLate(_) if self.held[thread].is_none() => {
                self.held[thread] = self.held[0].clone();
            }
            Renewal::EachAfter401 | Renewal::EachBefore(_) | Renewal::SharedReadLate(_) => {}
        }
        let Some(held) = self.held[thread].clone() else { return now + self.world.period };
        let status = self.poll(now, thread, &held);
        now += 40;
        if status == 401 {
            now += self.chance(self.world.jitter.max(1));
            if owner == thread {
                now = self.login(now, thread);
            } else {
                self.held[thread] = self.held[0].clone();
            }
            if self.world.polls_again
                && let Some(held) = self.held[thread].clone()
            {
                self.poll(now + 5, thread, &held);
                now += 45;
            }
        }
        now + self.world.period + self.chance(20)
    }

    fn login(&mut self, now: i64, thread: usize) -> i64 {
        let took = 60 + self.chance(40);
        let done = now + took;
        if self.logins.0 != done / 1000 {
            self.logins = (done / 1000, 0);
        }
        self.logins.1 += 1;
        let mut event = Event {
            sent: now,
            took,
            thread,
            is_login: true,
            grant: "client_credentials",
            status: 200,
            body: String::new(),
            token: String::new(),
            refresh_token: String::new(),
        };
        if self.logins.1 > self.world.login_limit {
            (event.status, event.body) = (self.world.throttle.0, self.world.throttle.1.to_owned());
        } else {
            self.issued += 1;
            let text = format!("canary-t0ken-{:08}-{}", self.issued, self.world.seed);
            event.body = format!(
                r#"{{"access_token":"{text}","token_type":"bearer","expires_in":{}}}"#,
                self.world.lifetime
            );
            event.token.clone_from(&text);
            let token = Token { text, issued: done, window: (0, 0) };
            self.live.push(token.clone());
            if self.live.len() > self.world.cap {
                self.live.remove(0);
            }
            self.held[thread] = Some(token);
        }
        self.events.push(event);
        done
    }

    fn poll(&mut self, now: i64, thread: usize, held: &Token) -> u16 {
        let lifetime = self.world.lifetime * 1000;
        let limit = self.world.api_limit;
        let live = self.live.iter_mut().find(|live| live.text == held.text);
        let (status, body) = match live {
            Some(live) if now < live.issued + lifetime => {
                if now >= live.window.0 + 60_000 {
                    live.window = (now, 0);
                }
                live.window.1 += 1;
                if live.window.1 > limit {
                    (
                        429,
                        r#"{"message":"Rate limit exceeded the maximum. Retry the request in [42] seconds","code":"too.many.requests.retry.after","status":429}"#,
                    )
                } else {
                    (200, "{}")
                }
            }
            Some(_) | None => (401, self.world.refusal),
        };
        self.events.push(Event {
            sent: now,
            took: 30 + (now % 17),
            thread,
            is_login: false,
            grant: "",
            status,
            body: body.to_owned(),
            token: held.text.clone(),
            refresh_token: String::new(),
        });
        status
    }
}
