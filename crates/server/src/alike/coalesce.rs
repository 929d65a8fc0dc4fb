//! One request to the API for all who ask the same at the same time, and a short shared cache.
//!
//! The first who asks leads: its request goes to the API, and those who ask the same meanwhile
//! follow. If its answer turns out to be small, whole and nobody's own, all of them get it; else they
//! ask for themselves. A leader that goes away leaves its place to one of those who followed. What
//! may be shared or kept is decided in [`question`](super::question).

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bellwether_broker::store::Clock;
use bytes::Bytes;
use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::timeout;

use super::cache::{Cache, Hit, Whole};
use super::question::{Asked, Key, Question, Written, freshness, may_be_shared};
use crate::answer::{Answer, Body, full, streamed};
use crate::message::{BodyError, copied};
use crate::refusal::Refusal;
use crate::settings::GatewaySettings;

/// A larger answer is not held back to be shared.
const LARGEST: usize = 1 << 20;
/// Nor one that is not whole so long after its head.
const WHOLE_WITHIN: Duration = Duration::from_millis(500);
/// How an answer came about that was not made for its request alone (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What is asked now, and what was answered a moment ago.
#[derive(Debug)]
pub(crate) struct Alike {
    coalesces: bool,
    cache: Option<Mutex<Cache>>,
    flights: Mutex<HashMap<Key, Arc<Flight>>>,
    /// Writes that have ended.
    writes: AtomicU64,
}

/// One request to the API, and who follows it.
#[derive(Debug)]
struct Flight {
    landed: watch::Sender<Option<Landed>>,
}

/// What those who follow are told.
#[derive(Clone, Debug)]
enum Landed {
    /// The answer, for those whom it fits.
    Whole(Arc<Whole>),
    /// The API could not be reached, for nobody.
    Failed(Arc<Refusal>),
    /// Ask for yourself.
    Alone,
    /// The leader went away.
    Gone,
}

/// A flight that somebody leads. Dropped before it lands, it leaves its place to another.
struct Lead<'a> {
    alike: &'a Alike,
    key: &'a Key,
    flight: Arc<Flight>,
    has_landed: bool,
}

enum Role<'a> {
    Leads(Lead<'a>),
    Follows(watch::Receiver<Option<Landed>>),
}

impl Alike {
    /// As configured; `None` if both are off.
    pub(crate) fn new(settings: &GatewaySettings) -> Option<Self> {
        let cache = settings.cache.map(|longest| Cache::new(longest, settings.cache_size));
        (settings.coalesce || cache.is_some()).then(|| Self {
            coalesces: settings.coalesce,
            cache: cache.map(Mutex::new),
            flights: Mutex::default(),
            writes: AtomicU64::new(0),
        })
    }

    /// Answers a request, by `ask` if nobody else asks the same.
    pub(crate) async fn answer(
        &self,
        asked: Asked,
        clock: &dyn Clock,
        ask: impl Future<Output = Result<Answer, Refusal>>,
    ) -> Result<Answer, Refusal> {
        let question = match asked {
            Asked::Question(question) => question,
            Asked::Write(written) => {
                let mut writing = Writing { alike: self, written, is_refused: false };
                let answer = ask.await;
                let refused = |answer: &Answer| answer.status().as_u16() >= 400;
                writing.is_refused = answer.as_ref().is_ok_and(refused);
                return answer;
            }
            Asked::Other => return ask.await,
        };
        if let Some(hit) = self.kept(&question, clock) {
            return Ok(from_cache(&hit));
        }
        if !self.coalesces {
            return self.ask(&question, clock, ask).await.map(|(answer, _)| answer);
        }
        loop {
            let mut landed = match self.join(&question.key) {
                Role::Leads(lead) => return self.lead(lead, &question, clock, ask).await,
                Role::Follows(landed) => landed,
            };
            let landed = landed.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
            return match landed {
                Some(Landed::Whole(whole)) if whole.fits(&question.fields) => {
                    Ok(answered(&whole, "bellwether; fwd=miss; collapsed"))
                }
                Some(Landed::Failed(refusal)) => Err(Refusal::clone(&refusal)),
                Some(Landed::Whole(_) | Landed::Alone) => ask.await,
                Some(Landed::Gone) | None => continue,
            };
        }
    }

    fn kept(&self, question: &Question, clock: &dyn Clock) -> Option<Hit> {
        lock(self.cache.as_ref()?).find(question, clock.now())
    }

    fn join<'a>(&'a self, key: &'a Key) -> Role<'a> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(key) {
            return Role::Follows(flight.landed.subscribe());
        }
        let flight = Arc::new(Flight { landed: watch::Sender::new(None) });
        flights.insert(key.clone(), Arc::clone(&flight));
        Role::Leads(Lead { alike: self, key, flight, has_landed: false })
    }

    async fn lead(
        &self,
        lead: Lead<'_>,
        question: &Question,
        clock: &dyn Clock,
        ask: impl Future<Output = Result<Answer, Refusal>>,
    ) -> Result<Answer, Refusal> {
        match self.ask(question, clock, ask).await {
            Ok((answer, whole)) => {
                lead.land(whole.map_or(Landed::Alone, Landed::Whole));
                Ok(answer)
            }
            Err(refusal) => {
                // That the API is out of reach holds for all. What else is refused here, a full
                // queue say, is each one's own.
                let is_shared =
                    matches!(refusal.status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
                let failed = || Landed::Failed(Arc::new(refusal.clone()));
                lead.land(if is_shared { failed() } else { Landed::Alone });
                Err(refusal)
            }
        }
    }

    /// Asks the API; the answer, and once more if it can be shared. Keeps it if that is allowed.
    async fn ask(
        &self,
        question: &Question,
        clock: &dyn Clock,
        ask: impl Future<Output = Result<Answer, Refusal>>,
    ) -> Result<(Answer, Option<Arc<Whole>>), Refusal> {
        let (sent_at, writes) = (clock.now(), self.writes.load(Ordering::Relaxed));
        let answer = ask.await?;
        let delay = clock.now().since(sent_at);
        let (status, fields) = (answer.status(), answer.headers());
        let fresh = match &self.cache {
            Some(_) if question.may_be_kept() => {
                freshness(status, fields, delay, clock.wall().as_secs())
            }
            _ => None,
        };
        if fresh.is_none() && !(self.coalesces && may_be_shared(status, fields)) {
            return Ok((answer, None));
        }
        let (parts, body) = answer.into_parts();
        let body = match gather(body).await {
            Ok(whole) => whole,
            Err(rest) => return Ok((Response::from_parts(parts, streamed(rest)), None)),
        };
        let asked = question.fields.clone();
        let fields = copied(&parts.headers);
        let whole = Arc::new(Whole { status, fields, body: body.clone(), asked });
        // What was asked before a write ended may not know of it.
        let unwritten = self.writes.load(Ordering::Relaxed) == writes;
        if let (Some(times), Some(cache), true) = (fresh, &self.cache, unwritten) {
            lock(cache).keep(&question.key, Arc::clone(&whole), times, clock.now());
        }
        Ok((Response::from_parts(parts, full(body)), Some(whole)))
    }
}

/// A write that is under way. However it ends, whoever asks from then on does not follow what was
/// asked before.
struct Writing<'a> {
    alike: &'a Alike,
    written: Written,
    is_refused: bool,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.alike.writes.fetch_add(1, Ordering::Relaxed);
        lock(&self.alike.flights).retain(|key, _| !key.is_of(&self.written));
        if let Some(cache) = self.alike.cache.as_ref().filter(|_| !self.is_refused) {
            lock(cache).written(&self.written);
        }
    }
}

impl Lead<'_> {
    fn land(mut self, landed: Landed) {
        self.has_landed = true;
        self.end(landed);
    }

    fn end(&self, landed: Landed) {
        let mut flights = lock(&self.alike.flights);
        // After a write another may fly under this key.
        if flights.get(self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            flights.remove(self.key);
        }
        drop(flights);
        self.flight.landed.send_replace(Some(landed));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            self.end(Landed::Gone);
        }
    }
}

/// Reads a body that is small and soon whole; else what was read, and the rest.
async fn gather(mut body: Body) -> Result<Bytes, Resumed> {
    let mut read: VecDeque<Result<Frame<Bytes>, BodyError>> = VecDeque::new();
    if body.size_hint().lower() > LARGEST as u64 {
        return Err(Resumed { read, rest: body });
    }
    let mut size = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            size += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            let is_data = frame.as_ref().is_ok_and(Frame::is_data);
            // The next piece comes when the one before has left, and what is kept is to hold no more
            // than it says: copies stay.
            let copied = |frame: Frame<Bytes>| frame.map_data(|data| Bytes::copy_from_slice(&data));
            read.push_back(frame.map(copied));
            if !is_data || size > LARGEST {
                return false;
            }
        }
        true
    };
    let is_whole = timeout(WHOLE_WITHIN, reading).await.unwrap_or(false);
    if !is_whole {
        return Err(Resumed { read, rest: body });
    }
    let mut pieces: Vec<Bytes> =
        read.into_iter().filter_map(|frame| frame.ok()?.into_data().ok()).collect();
    Ok(match pieces.len() {
        1 => pieces.remove(0),
        _ => pieces.concat().into(),
    })
}

/// A body of which some was read before.
struct Resumed {
    read: VecDeque<Result<Frame<Bytes>, BodyError>>,
    rest: Body,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.read.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let pieces = self.read.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let read: u64 = pieces.map(|piece| piece.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}

fn from_cache(Hit { whole, age, lives }: &Hit) -> Answer {
    let mut answer = answered(whole, &format!("bellwether; hit; ttl={}", lives.as_secs()));
    answer.headers_mut().insert(AGE, HeaderValue::from(age.as_secs()));
    answer
}

fn answered(whole: &Whole, how: &str) -> Answer {
    let mut answer = Response::new(full(whole.body.clone()));
    *answer.status_mut() = whole.status;
    let fields: HeaderMap = whole.fields.clone();
    *answer.headers_mut() = fields;
    if let Ok(how) = HeaderValue::from_str(how) {
        answer.headers_mut().append(CACHE_STATUS, how);
    }
    answer
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::task::Waker;

    use bellwether_broker::store::SystemClock;
    use http::Request;
    use tokio::sync::Notify;

    use super::*;
    use crate::message::buffer;

    fn alike(cache: Option<Duration>) -> Alike {
        let settings = GatewaySettings { coalesce: true, cache, ..GatewaySettings::default() };
        Alike::new(&settings).expect("it is on")
    }

    fn asked(method: &str, target: &str) -> Asked {
        let request = Request::builder().method(method).uri(target).body(()).expect("a request");
        let (parts, ()) = request.into_parts();
        Asked::of("polling", &parts)
    }

    fn reply(fields: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let mut answer = Response::new(full(body));
        for (name, value) in fields {
            let value = HeaderValue::from_static(value);
            answer.headers_mut().append(HeaderName::from_static(name), value);
        }
        answer
    }

    async fn text(answer: Result<Answer, Refusal>) -> String {
        let answer = answer.expect("an answer");
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    fn is_pending(future: Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// 20 ask the same at once; how often the API is asked, if it answers like this.
    async fn crowd(answer: impl Fn() -> Result<Answer, Refusal>) -> usize {
        let (alike, clock, requests) = (alike(None), SystemClock::new(), Cell::new(0));
        let ask = || async {
            requests.set(requests.get() + 1);
            tokio::task::yield_now().await;
            answer()
        };
        let mut all: Vec<_> =
            (0..20).map(|_| Box::pin(alike.answer(asked("GET", "/a"), &clock, ask()))).collect();
        assert!(all.iter_mut().all(|one| is_pending(one.as_mut())), "all are in flight");
        for one in all {
            // What it is, `ask` says.
            let _ = one.await;
        }
        assert!(lock(&alike.flights).is_empty());
        requests.get()
    }

    #[tokio::test]
    async fn one_request_serves_all_whom_its_answer_may_serve() {
        assert_eq!(crowd(|| Ok(reply(&[], "{}"))).await, 1);
        assert_eq!(crowd(|| Ok(reply(&[("cache-control", "private")], "{}"))).await, 20);
        assert_eq!(crowd(|| Ok(reply(&[("set-cookie", "a=b")], "{}"))).await, 20);
        let unreachable =
            || Refusal::unavailable(StatusCode::BAD_GATEWAY, "the API cannot be reached", None);
        assert_eq!(crowd(|| Err(unreachable())).await, 1);
        let full = || Refusal::unavailable(StatusCode::TOO_MANY_REQUESTS, "too many wait", None);
        assert_eq!(crowd(|| Err(full())).await, 20);
    }

    #[tokio::test]
    async fn a_large_answer_comes_whole_to_each() {
        static LARGE: [u8; LARGEST + 1] = [b'x'; LARGEST + 1];
        let large = || Ok(Response::new(full(Bytes::from_static(&LARGE))));
        assert_eq!(crowd(large).await, 20);
        // Without a length it is only found out on the way.
        let pieces = || streamed(http_body_util::Full::new(Bytes::from_static(&LARGE)));
        let Err(resumed) = gather(pieces()).await else { panic!("it is large") };
        let body = resumed.collect().await.expect("a whole body").to_bytes();
        assert_eq!(body.len(), LARGE.len());
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_its_place() {
        let (alike, clock, gone) = (alike(None), SystemClock::new(), Notify::new());
        let hangs = || async {
            std::future::pending::<()>().await;
            Ok(reply(&[], "never"))
        };
        let answers = || async { Ok(reply(&[], "{}")) };
        let leader = async {
            tokio::select! {
                _ = alike.answer(asked("GET", "/a"), &clock, hangs()) => panic!("it hangs"),
                () = gone.notified() => {}
            }
        };
        let follower = async {
            let mut waiting = std::pin::pin!(alike.answer(asked("GET", "/a"), &clock, answers()));
            assert!(is_pending(waiting.as_mut()), "it follows");
            gone.notify_one();
            text(waiting.await).await
        };
        let ((), answer) = tokio::join!(leader, follower);
        assert_eq!(answer, "{}");
    }

    #[tokio::test]
    async fn who_has_written_does_not_read_what_was_asked_before() {
        let (alike, clock, let_go) = (alike(None), SystemClock::new(), Notify::new());
        let before = || async {
            let_go.notified().await;
            Ok(reply(&[], "before"))
        };
        let after = || async { Ok(reply(&[], "after")) };
        let mut first = std::pin::pin!(alike.answer(asked("GET", "/a"), &clock, before()));
        assert!(is_pending(first.as_mut()));
        text(alike.answer(asked("PUT", "/a"), &clock, async { Ok(reply(&[], "")) }).await).await;
        assert_eq!(text(alike.answer(asked("GET", "/a"), &clock, after()).await).await, "after");
        let_go.notify_one();
        assert_eq!(text(first.await).await, "before");
    }

    #[tokio::test]
    async fn what_was_asked_before_a_write_is_not_kept() {
        let alike = alike(Some(Duration::from_secs(5)));
        let (clock, let_go) = (SystemClock::new(), Notify::new());
        let fields = [("cache-control", "public, max-age=60")];
        let before = || async {
            let_go.notified().await;
            Ok(reply(&fields, "before"))
        };
        let after = || async { Ok(reply(&fields, "after")) };
        let mut first = std::pin::pin!(alike.answer(asked("GET", "/a"), &clock, before()));
        assert!(is_pending(first.as_mut()));
        text(alike.answer(asked("DELETE", "/a"), &clock, async { Ok(reply(&[], "")) }).await).await;
        let_go.notify_one();
        assert_eq!(text(first.await).await, "before");
        for _ in 0..2 {
            assert_eq!(
                text(alike.answer(asked("GET", "/a"), &clock, after()).await).await,
                "after"
            );
        }
        let kept = || async { Ok(reply(&fields, "not asked")) };
        assert_eq!(text(alike.answer(asked("GET", "/a"), &clock, kept()).await).await, "after");
    }

    #[tokio::test]
    async fn what_is_kept_holds_no_buffer_that_it_was_read_into() {
        let alike = alike(Some(Duration::from_secs(5)));
        let clock = SystemClock::new();
        let (bytes, buffer) = buffer("text/plain public, max-age=60 body");
        let value = |from: usize, to: usize| {
            HeaderValue::from_maybe_shared(bytes.slice(from..to)).expect("a value")
        };
        let request = Request::get("/a").header("accept", value(0, 10)).header("x", value(0, 4));
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let mut answer = Response::new(full(bytes.slice(30..)));
        answer.headers_mut().insert("cache-control", value(11, 29));
        drop(bytes);
        let question = Asked::of("polling", &parts);
        assert_eq!(text(alike.answer(question, &clock, async { Ok(answer) }).await).await, "body");
        let again = Asked::of("polling", &parts);
        drop(parts);
        assert_eq!(Arc::strong_count(&buffer), 1, "nothing but the test holds it");
        let kept = alike.answer(again, &clock, async { Ok(reply(&[], "not asked")) });
        assert_eq!(text(kept.await).await, "body");
    }
}
