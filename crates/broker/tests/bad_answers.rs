//! Everything a token endpoint can answer, over a real socket: each answer ends in the right class,
//! keeps what it must, repeats no secret, follows no redirect and costs no memory.

mod support;

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bellwether_broker::lifecycle::{Cause, State, Timestamp, UnixTime};
use bellwether_broker::oauth::corpus::{
    ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, Case, Expected, REFRESH_TOKEN, SENT_REFRESH_TOKEN,
    WALL, cases,
};
use bellwether_broker::oauth::{Client, ClientAuthentication, Remedy, Secret};
use bellwether_broker::store::{BootId, Clock, Keyring, MemoryEscrow, MemoryStore, SystemClock};
use bellwether_broker::{
    AuthorizationServer, Broker, CredentialSettings, Environment, Handle, Http1, News, Obtain,
    RenewalError,
};
use rustls::RootCertStore;
use support::{Came, Step, Wire, millis, secs};
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use url::form_urlencoded::byte_serialize;

/// More than the process may grow by while it reads all of this.
const GROWTH_KIB: u64 = 16 * 1024;
/// Cases that are played at the same time.
const TOGETHER: usize = 32;

/// The machine's time, and so much later, on the corpus' wall.
#[derive(Debug)]
struct CorpusClock(SystemClock, Duration);

impl Clock for CorpusClock {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_secs(WALL) + self.1
    }

    fn boot_id(&self) -> BootId {
        self.0.boot_id()
    }
}

/// A broker of its own for one credential, so that no case waits for another's back-off.
struct Played {
    store: MemoryStore,
    broker: Broker,
    handle: Handle,
    news: Receiver<News>,
}

impl Played {
    async fn start(token_endpoint: &str, obtain: Obtain, transport: Http1) -> Self {
        let clock = CorpusClock(SystemClock::new(), Duration::ZERO);
        let store = MemoryStore::new(Arc::new(clock));
        let server = AuthorizationServer {
            token_endpoint: token_endpoint.parse().expect("a URL"),
            ..support::server(Arc::new(transport))
        };
        let settings = CredentialSettings { obtain, ..support::settings(server) };
        let authentication = ClientAuthentication::Basic(Secret::from(CLIENT_SECRET));
        let client = Client { id: CLIENT_ID.to_owned(), authentication };
        Self::over(store, CredentialSettings { client, ..settings }, Duration::ZERO).await
    }

    async fn over(store: MemoryStore, settings: CredentialSettings, later: Duration) -> Self {
        let broker = Broker::start(Environment {
            store: Arc::new(store.clone()),
            clock: Arc::new(CorpusClock(SystemClock::new(), later)),
            escrow: Arc::new(MemoryEscrow::new()),
            keyring: Keyring::from_bytes(&[7; Keyring::KEY_LEN]),
            seed: 1,
        });
        let news = broker.news();
        let handle = broker.add(settings).await.handle;
        Self { store, broker, handle, news }
    }

    /// Starts anew over the same store, later than any `Retry-After` says.
    async fn restarted(&self) -> Self {
        // It gives its lease back behind what it tells.
        self.broker.stop().await;
        let settings = self.handle.settings().to_settings();
        Self::over(self.store.clone(), settings, secs(2 * 3600)).await
    }

    /// Waits until a renewal has ended.
    async fn ended(&mut self) -> State {
        loop {
            match self.news.recv().await.expect("the broker goes on") {
                News::Status { status, .. } if status.state != State::Renewing => {
                    return status.state;
                }
                News::Status { .. } | News::Forgotten { .. } => {}
            }
        }
    }

    /// Renews until a token request was sent and answered: a renewal may find the lease not given
    /// back yet by the one before it, and then asks a little later.
    async fn renewed(&mut self) -> State {
        let requests = |played: &Self| {
            played.handle.counters().token_requests.load(std::sync::atomic::Ordering::Relaxed)
        };
        let before = requests(self);
        self.handle.renew();
        self.handle.reconfigured();
        loop {
            let state = self.ended().await;
            if requests(self) > before {
                return state;
            }
        }
    }

    /// What it shows of itself and of its errors.
    fn shown(&self) -> String {
        let error = self.handle.last_error();
        let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
        let tokens = self.handle.held_token(&Secret::from(ACCESS_TOKEN));
        format!("{:?} {:?} {tokens:?} {error:?} {error:#?} {text}", self.handle, self.broker)
    }
}

fn transport() -> Http1 {
    Http1::with_roots(RootCertStore::empty())
}

/// Everything that is logged, at every level.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        subscriber.init();
        log
    })
}

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Pieces of secrets, none of which may be seen.
struct Canaries(BTreeSet<String>);

/// So many characters of a secret must not be seen.
const PIECE: usize = 12;

impl Canaries {
    fn new(more: &[&str]) -> Self {
        let secrets = [ACCESS_TOKEN, REFRESH_TOKEN, SENT_REFRESH_TOKEN, CLIENT_SECRET];
        let encoded = secrets.iter().map(|secret| byte_serialize(secret.as_bytes()).collect());
        let spellings: Vec<String> = encoded
            .chain(secrets.iter().chain(more).map(|secret| (*secret).to_owned()))
            .map(|spelling: String| spelling.to_lowercase())
            .collect();
        let pieces = |spelling: &String| -> Vec<String> {
            let bytes = spelling.as_bytes();
            bytes.windows(PIECE).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
        };
        Self(spellings.iter().flat_map(pieces).collect())
    }

    fn assert_absent(&self, name: &str, shown: &str) {
        let lower = shown.to_lowercase();
        for piece in lower.as_bytes().windows(PIECE) {
            let piece = String::from_utf8_lossy(piece);
            assert!(!self.0.contains(piece.as_ref()), "{name}: a piece of a secret is shown");
        }
    }
}

/// Resident memory in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line for it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// The case as bytes on the wire.
fn on_the_wire(case: &Case) -> Vec<u8> {
    let headers = [
        ("Content-Type", case.content_type),
        ("Retry-After", case.retry_after),
        ("Date", case.date),
        ("WWW-Authenticate", case.www_authenticate),
        ("Location", case.location),
    ];
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", case.status);
    for (name, value) in headers.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        head += &format!("{name}: {value}\r\n");
    }
    let announced = case.body.len() + if case.truncated { 100 } else { 0 };
    if !matches!(case.status, 204 | 304) {
        head += &format!("Content-Length: {announced}\r\n");
    }
    let mut bytes = (head + "Connection: close\r\n\r\n").into_bytes();
    bytes.extend_from_slice(&case.body);
    bytes
}

/// A table of its own rather than the code under test. The grant of each case is spent by use.
fn expected_cause(kind: &str, remedy: Remedy) -> Cause {
    match (kind, remedy) {
        ("unavailable" | "unusable" | "unsupported_token_type", _) => Cause::InDoubt,
        ("throttled", _) => Cause::Throttled,
        (_, Remedy::Retry { .. }) => Cause::Passing,
        (_, Remedy::Reauthorize) => Cause::Reauthorize,
        (_, Remedy::FixConfiguration) => Cause::Misconfigured,
    }
}

/// Plays one case to a credential that refreshes, and once more after a restart; `Err` says what
/// is wrong.
async fn play(case: &Case, url: &str) -> Result<Played, String> {
    let obtain = Obtain::RefreshToken { seed: Some(Secret::from(SENT_REFRESH_TOKEN)) };
    let mut played = Played::start(url, obtain, transport()).await;
    let state = played.ended().await;
    let error = played.handle.last_error();
    let outcome = match error.as_deref() {
        None => Expected::Token {
            expires_in: played.handle.held()[0]
                .ok_or("neither a token nor an error")?
                .lifetime
                .map(|lifetime| lifetime.as_secs()),
        },
        Some(RenewalError::Refused(error)) => {
            Expected::Error { kind: error.kind(), remedy: error.remedy() }
        }
        Some(other) => return Err(format!("{other:?}")),
    };
    if outcome != case.expected {
        return Err(format!("{outcome:?} instead of {:?}", case.expected));
    }
    match case.expected {
        Expected::Error { kind, remedy } => {
            let (cause, expected) = (played.handle.status().cause, expected_cause(kind, remedy));
            if cause != Some(expected) {
                return Err(format!("{cause:?} instead of {expected:?}"));
            }
            let mut restarted = played.restarted().await;
            restarted.ended().await;
            if expected == Cause::InDoubt {
                // It has found the doubt, and asks when it is told to.
                restarted.renewed().await;
            }
        }
        Expected::Token { .. } if state != State::Fresh => {
            return Err(format!("a token and {state}"));
        }
        Expected::Token { .. } => {
            played.restarted().await.renewed().await;
        }
    }
    Ok(played)
}

/// The refresh token to send in the second request; `None` if there must be no second request.
fn sent_next(case: &Case) -> Option<&'static str> {
    match case.expected {
        _ if case.keeps_refresh_token => Some(REFRESH_TOKEN),
        Expected::Error { remedy: Remedy::Reauthorize, .. } => None,
        Expected::Error { .. } | Expected::Token { .. } => Some(SENT_REFRESH_TOKEN),
    }
}

/// The refresh token of a request's form.
fn shown_refresh_token(came: &Came) -> Option<String> {
    let mut form = url::form_urlencoded::parse(came.body.as_bytes());
    form.find(|(name, _)| name == "refresh_token").map(|(_, value)| value.into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_of_the_corpus_ends_in_its_class_and_keeps_its_refresh_token() {
    let log = log();
    let cases: Arc<Vec<Case>> = Arc::new(cases());
    let path = |number: usize| format!("/case/{number}");
    let script = |case: &Case| vec![Step::Write(on_the_wire(case))];
    let scripts = cases.iter().enumerate();
    let scripts: HashMap<_, _> = scripts.map(|(n, case)| (path(n), script(case))).collect();
    let wire = Arc::new(Wire::open(scripts).await);

    let mut wrong = Vec::new();
    let (mut idle_kib, mut most_kib) = (0, 0);
    for (round, numbers) in (0..cases.len()).collect::<Vec<_>>().chunks(TOGETHER).enumerate() {
        let mut playing = JoinSet::new();
        for &number in numbers {
            let (cases, wire) = (Arc::clone(&cases), Arc::clone(&wire));
            playing.spawn(async move {
                let case = &cases[number];
                let played = play(case, &wire.url(&path(number))).await;
                let came = wire.came(&path(number));
                let canaries = Canaries::new(&[&came[0].authorization["Basic ".len()..]]);
                match played {
                    Ok(played) => canaries.assert_absent(&case.name, &played.shown()),
                    Err(why) => return Some(format!("{}: {why}", case.name)),
                }
                let shown: Vec<_> = came.iter().take(2).filter_map(shown_refresh_token).collect();
                let expected: Vec<_> =
                    Some(SENT_REFRESH_TOKEN).into_iter().chain(sent_next(case)).collect();
                // Both are the corpus' own and no secrets.
                (shown != expected)
                    .then(|| format!("{}: sent {shown:?}, not {expected:?}", case.name))
            });
        }
        wrong.extend(playing.join_all().await.into_iter().flatten());
        match round {
            0..3 => idle_kib = resident_kib(),
            _ => most_kib = resident_kib().max(most_kib),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.len() >= 800, "{}", cases.len());
    let grown = most_kib.saturating_sub(idle_kib);
    assert!(grown <= GROWTH_KIB, "grew by {grown} KiB");
    let logged = log.text();
    assert!(logged.contains("renewal failed"), "the log is captured");
    let authorization = wire.came(&path(0))[0].authorization.clone();
    Canaries::new(&[&authorization["Basic ".len()..]]).assert_absent("the log", &logged);
    println!("{} answers, {grown} KiB grown, {} bytes logged", cases.len(), logged.len());
}

/// How a token request must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Token,
    Refused(&'static str),
    /// Nothing was sent.
    Unreachable,
    /// It may have been processed.
    Lost,
}

const TOKEN: &str = r#"{"access_token":"at.Qm7Zx2Lk9Vb4-Nt8Rw3Jp6Hs1_Yd5Gf0Ce~uA","token_type":"Bearer","expires_in":60}"#;

fn head(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}\r\n")
}

fn good() -> String {
    head("200 OK", &format!("Content-Length: {}\r\n", TOKEN.len())) + TOKEN
}

fn longer(more: usize) -> String {
    head("200 OK", &format!("Content-Length: {}\r\n", TOKEN.len() + more)) + TOKEN
}

fn chunked(body: &str) -> String {
    head("200 OK", "Transfer-Encoding: chunked\r\n") + body
}

fn answers(bytes: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Read, Step::Write(bytes.into())]
}

fn then_stalls(bytes: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Read, Step::Write(bytes.into()), Step::Stall]
}

fn for_ever(first: impl Into<Vec<u8>>, again: impl Into<Vec<u8>>) -> Vec<Step> {
    vec![Step::Read, Step::Write(first.into()), Step::WriteForEver(again.into())]
}

fn socket_cases() -> Vec<(&'static str, Vec<Step>, Ends)> {
    use Ends::{Lost, Refused, Token};
    let half = &good()[..good().len() - 40];
    let whole_chunk = format!("{:x}\r\n{TOKEN}\r\n", TOKEN.len());
    let many_headers: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
    let long_header = format!("X: {}\r\n", "x".repeat(100 * 1024));
    let other = good().replace("at.Qm7", "at.ZZZ");
    let length = |value: &str| head("200 OK", &format!("Content-Length: {value}\r\n")) + TOKEN;
    #[rustfmt::skip]
    let cases = vec![
        ("a close before the request is read",   vec![],                                    Lost),
        ("a reset after the request",            vec![Step::Read, Step::Reset],             Lost),
        ("a close after the request",            vec![Step::Read],                          Lost),
        ("silence from the start",               vec![Step::Stall],                         Lost),
        ("silence after the request",            vec![Step::Read, Step::Stall],             Lost),
        ("silence in the status line",           then_stalls("HTTP/1.1 2"),                 Lost),
        ("silence in the headers",               then_stalls("HTTP/1.1 200 OK\r\nX: y"),    Lost),
        ("silence before the body",              then_stalls(head("200 OK", "Content-Length: 9\r\n")), Refused("unusable")),
        ("silence in the token",                 then_stalls(half),                         Refused("unusable")),
        ("silence behind a whole token",         then_stalls(longer(9)),                    Token),
        ("a close in the status line",           answers("HTTP/1.1 2"),                     Lost),
        ("a close in the headers",               answers("HTTP/1.1 200 OK\r\nX: y"),        Lost),
        ("a close in the token",                 answers(half),                             Refused("unusable")),
        ("a close behind a whole token",         answers(longer(9)),                        Token),
        ("drop by drop",                         vec![Step::Read, Step::Drip(good().into())], Token),
        ("in chunks",                            answers(chunked(&format!("{whole_chunk}0\r\n\r\n"))), Token),
        ("in chunks with a trailer",             answers(chunked(&format!("{whole_chunk}0\r\nX: y\r\n\r\n"))), Token),
        ("in chunks without an end",             answers(chunked(&whole_chunk)),            Token),
        ("a chunk without a size",               answers(chunked("zz\r\n")), Refused("unusable")),
        ("a chunk of 2^64 bytes",                answers(chunked("10000000000000000\r\n")), Refused("unusable")),
        ("endless headers",                      for_ever("HTTP/1.1 200 OK\r\n", "X-Y: zzzzzzzzzzzzzzzzzzzz\r\n"), Lost),
        ("an endless header",                    for_ever("HTTP/1.1 200 OK\r\nX: ", vec![b'x'; 1024]), Lost),
        ("an endless status line",               for_ever("HTTP/1.1 200 ", vec![b'x'; 1024]), Lost),
        ("a header of 100 KiB",                  answers(head("200 OK", &long_header)),     Lost),
        ("200 headers",                          answers(head("200 OK", &many_headers)),    Lost),
        ("a body of 1 TiB",                      for_ever(length("1099511627776"), vec![b' '; 4096]), Refused("unusable")),
        ("an endless body",                      for_ever(head("200 OK", ""), vec![b'{'; 4096]), Refused("unusable")),
        ("endless chunks",                       for_ever(chunked(""), "1\r\n \r\n"),       Refused("unusable")),
        ("1000 times 100 Continue",              answers("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000) + &good()), Token),
        ("early hints",                          answers("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_owned() + &good()), Token),
        ("endless 100 Continue",                 for_ever("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(50)), Lost),
        ("another protocol",                     answers("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), Refused("unavailable")),
        ("an SSH server",                        answers("SSH-2.0-OpenSSH_9.2\r\n"),        Lost),
        ("an HTTP/2 server",                     answers(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80".to_vec()), Lost),
        ("a TLS alert",                          answers(b"\x15\x03\x01\0\x02\x02\x46".to_vec()), Lost),
        ("a body alone",                         answers(TOKEN),                            Lost),
        ("NUL bytes",                            answers(vec![0; 64]),                      Lost),
        ("line feeds alone",                     answers(good().replace('\r', "")),         Token),
        ("HTTP/1.0 until it closes",             answers(format!("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{TOKEN}")), Token),
        ("a status of 99",                       answers(head("99 Low", "")),               Lost),
        ("a status that is no number",           answers(head("abc", "")),                  Lost),
        ("a status of 999",                      answers(head("999 High", "Content-Length: 0\r\n")), Refused("unavailable")),
        ("a negative length",                    answers(length("-1")),                     Lost),
        ("two lengths",                          answers(length("5\r\nContent-Length: 99")), Lost),
        ("a header with NUL",                    answers(head("200 OK", "X: \0\r\n")),      Lost),
        ("a header without a name",              answers(head("200 OK", ": x\r\n")),        Lost),
        ("two responses",                        answers(good() + &other),                  Token),
        ("compressed, unasked",                  answers(head("200 OK", "Content-Encoding: gzip\r\nContent-Length: 4\r\n") + "\x1f\u{b}\x08\0"), Refused("unusable")),
    ];
    cases
}

/// The longest that a token request takes here.
const TOTAL: Duration = secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_on_the_socket_ends_in_its_class_and_in_time() {
    log();
    let clock = SystemClock::new();
    let mut playing = JoinSet::new();
    for (name, steps, expected) in socket_cases() {
        playing.spawn(async move {
            let wire = Wire::playing(steps).await;
            let transport = transport().with_timeouts(millis(500), TOTAL);
            let (url, start) = (wire.url("/oauth/token"), clock.now());
            let mut played = Played::start(&url, Obtain::ClientCredentials, transport).await;
            played.ended().await;
            let (took, ends) = (clock.now().since(start), ends(&played.handle));
            Canaries::new(&[]).assert_absent(name, &played.shown());
            // Beyond what the kernel takes, nobody reads on.
            let bounded = wire.written() < 16 * 1024 * 1024;
            let in_time = took < TOTAL + secs(4);
            let right = ends == expected && bounded && in_time;
            (!right).then(|| {
                let written = wire.written();
                format!("{name}: {ends:?} instead of {expected:?}, {took:?}, {written} bytes")
            })
        });
    }
    assert!(playing.len() >= 40, "{}", playing.len());
    let wrong: Vec<String> = playing.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn ends(handle: &Handle) -> Ends {
    match handle.last_error().as_deref() {
        None => {
            let token = handle.held_token(&Secret::from(ACCESS_TOKEN));
            assert!(token.is_some(), "another token than the one that was sent");
            Ends::Token
        }
        Some(RenewalError::Refused(error)) => Ends::Refused(error.kind()),
        Some(RenewalError::Unreachable(_)) => Ends::Unreachable,
        Some(RenewalError::AnswerLost(_)) => Ends::Lost,
        Some(other) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_listens_nothing_was_sent() {
    let gone = Wire::playing(Vec::new()).await.url("/oauth/token");
    for url in [gone.as_str(), "http://no-such-host.invalid/oauth/token"] {
        // The listener is gone by now, or will refuse before it reads anything.
        let transport = transport().with_timeouts(millis(500), TOTAL);
        let mut played = Played::start(url, Obtain::ClientCredentials, transport).await;
        played.ended().await;
        let ends = ends(&played.handle);
        assert!(matches!(ends, Ends::Unreachable | Ends::Lost), "{url}: {ends:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_redirect_is_followed() {
    let elsewhere = Wire::playing(answers(good())).await;
    for status in [300, 301, 302, 303, 307, 308] {
        let location =
            format!("Location: {}\r\nContent-Length: 0\r\n", elsewhere.url("/oauth/token"));
        let wire = Wire::playing(answers(head(&format!("{status} Moved"), &location))).await;
        let url = wire.url("/oauth/token");
        let mut played = Played::start(&url, Obtain::ClientCredentials, transport()).await;
        assert_eq!(played.ended().await, State::Misconfigured, "{status}");
        assert_eq!(ends(&played.handle), Ends::Refused("redirected"), "{status}");
        assert_eq!((wire.connections(), elsewhere.connections()), (1, 0), "{status}");
    }
}
