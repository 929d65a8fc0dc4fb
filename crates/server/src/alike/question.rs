//! Which requests ask the same question, and which answers may be shared between them.
//!
//! Only callers of one credential share: the API knows all of them as one client, by the one token
//! that the gateway sends for each. Pure.
//!
//! - *Of requests in flight together* (RFC 9111 §4, "collapsed") an answer is shared unless it says
//!   otherwise: `no-store` and `private` forbid it, and so does `Set-Cookie`, which starts a
//!   conversation with one party. §3.5 keeps a shared cache from answering one user with what
//!   another was authorized for; here every one of these requests carries the same authorization,
//!   and nothing is kept.
//! - *To be kept* an answer must allow it in so many words, as §3.5 wants it of a shared cache:
//!   `public`, `s-maxage` or `must-revalidate`, beside an explicit time to live. Most answers to
//!   authorized requests do not, and are not kept.

use std::time::Duration;

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, EXPIRES, PRAGMA,
    PROXY_AUTHORIZATION, RANGE, SET_COOKIE, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::message::{copied, copied_value};

/// Meant for the gateway alone, and not sent on.
const OF_CALLERS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// What makes two GETs the same question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    credential: String,
    target: String,
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// What a request is to those beside it.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A question that others may ask as well.
    Question(Box<Question>),
    /// It may change what questions are answered with (RFC 9110 §9.2.1).
    Write(Written),
    /// Neither.
    Other,
}

/// A GET without a body.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) key: Key,
    /// Its fields without secrets, for `Vary`.
    pub(crate) fields: HeaderMap,
    /// Neither a part nor a comparison is asked for.
    pub(crate) is_plain: bool,
}

/// What a write was sent to.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    credential: String,
    path: String,
}

impl Asked {
    /// A request for the API with a credential's token.
    pub(crate) fn of(credential: &str, request: &Parts) -> Self {
        let credential = credential.to_owned();
        if !request.method.is_safe() {
            return Self::Write(Written { credential, path: request.uri.path().to_owned() });
        }
        let fields = &request.headers;
        let has_body = fields.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
            || fields.contains_key(TRANSFER_ENCODING);
        if request.method != Method::GET || has_body || fields.contains_key(UPGRADE) {
            return Self::Other;
        }
        let is_part = |name: &HeaderName| name == RANGE || name.as_str().starts_with("if-");
        let selects = |name: &HeaderName| is_part(name) || name.as_str().starts_with("accept");
        let mut selecting: Vec<(HeaderName, HeaderValue)> = fields
            .iter()
            .filter(|(name, _)| selects(name))
            .map(|(name, value)| (name.clone(), copied_value(value)))
            .collect();
        // The order of values of one name stays, that of names means nothing.
        selecting.sort_by(|one, other| one.0.as_str().cmp(other.0.as_str()));
        let key = Key { credential, target: request.uri.to_string(), fields: selecting };
        let is_plain = !fields.keys().any(is_part);
        // An answer is kept with them.
        let mut fields = copied(fields);
        for secret in OF_CALLERS {
            fields.remove(secret);
        }
        Self::Question(Box::new(Question { key, fields, is_plain }))
    }
}

impl Key {
    pub(crate) fn is_of(&self, written: &Written) -> bool {
        self.credential == written.credential
    }

    /// Whether a write to there makes an answer to this invalid (RFC 9111 §4.4), whatever its query.
    pub(crate) fn is_changed_by(&self, written: &Written) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        self.is_of(written) && path == written.path
    }
}

impl Question {
    /// Whether it is content with a kept answer of this age, fresh for so long.
    pub(crate) fn takes(&self, age: Duration, fresh_for: Duration) -> bool {
        let directives = Directives::of(&self.fields);
        let pragma = self.fields.get(PRAGMA).is_some_and(|value| value == "no-cache");
        let within = |most: Option<u64>| most.is_none_or(|most| age.as_secs() <= most);
        !directives.no_cache
            && !directives.no_store
            && (!pragma || self.fields.contains_key(CACHE_CONTROL))
            && within(directives.max_age)
            && directives.min_fresh.is_none_or(|least| fresh_for.as_secs() >= least)
    }

    /// Whether its answer may be kept, as far as it is its to say.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.is_plain && !Directives::of(&self.fields).no_store
    }
}

/// Whether an answer to one of several requests in flight may go to all of them.
pub(crate) fn may_be_shared(status: StatusCode, fields: &HeaderMap) -> bool {
    let directives = Directives::of(fields);
    // These speak of one token, one connection or one sender.
    let is_personal = matches!(status.as_u16(), 100..200 | 401 | 407 | 408 | 425 | 429);
    let is_stream = fields
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    !is_personal
        && !is_stream
        && !directives.no_store
        && !directives.private
        && !fields.contains_key(SET_COOKIE)
}

/// How old an answer was when it came, and for how long it is fresh from then on; `None` if it may
/// not be kept (RFC 9111 §3). `delay` is how long it took, `wall` the time in Unix seconds.
pub(crate) fn freshness(
    status: StatusCode,
    fields: &HeaderMap,
    delay: Duration,
    wall: u64,
) -> Option<(Duration, Duration)> {
    // Those that RFC 9110 §15.1 calls cacheable, without parts; the time must be explicit.
    let is_cacheable =
        matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
    let directives = Directives::of(fields);
    let allowed = directives.public || directives.must_revalidate || directives.s_maxage.is_some();
    let varies = fields.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*'));
    if !is_cacheable || !allowed || varies || directives.no_cache {
        return None;
    }
    if !may_be_shared(status, fields) {
        return None;
    }
    let date = fields.get(DATE).and_then(unix_seconds);
    let by_expires = || {
        let expires = unix_seconds(fields.get(EXPIRES)?)?;
        Some(expires.saturating_sub(date.unwrap_or(wall)))
    };
    let lifetime = directives.s_maxage.or(directives.max_age).or_else(by_expires)?;
    let told = fields.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let apparent = Duration::from_secs(date.map_or(0, |date| wall.saturating_sub(date)));
    let age = apparent.max(Duration::from_secs(told.unwrap_or(0)).saturating_add(delay));
    let fresh_for = Duration::from_secs(lifetime).saturating_sub(age);
    (!fresh_for.is_zero()).then_some((age, fresh_for))
}

/// Whether an answer to a request with `asked` fits one with `other` (RFC 9111 §4.1).
pub(crate) fn varies_alike(answer: &HeaderMap, asked: &HeaderMap, other: &HeaderMap) -> bool {
    let values = answer.get_all(VARY).iter();
    values.map(HeaderValue::to_str).all(|value| {
        value.is_ok_and(|value| {
            value.split(',').map(str::trim).filter(|name| !name.is_empty()).all(|name| {
                // An asterisk would be a name, and means that nobody knows.
                let name = HeaderName::try_from(name).ok().filter(|name| name != "*");
                let Some(name) = name else { return false };
                // The API sees the gateway's own, or none.
                OF_CALLERS.contains(&name)
                    || asked.get_all(&name).iter().eq(other.get_all(&name).iter())
            })
        })
    })
}

fn unix_seconds(date: &HeaderValue) -> Option<u64> {
    let time = httpdate::parse_http_date(date.to_str().ok()?).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
}

/// `Cache-Control` (RFC 9111 §5.2), as far as it matters here. What limits reuse counts even where it
/// names single fields.
#[derive(Debug, Default)]
struct Directives {
    no_store: bool,
    no_cache: bool,
    private: bool,
    public: bool,
    must_revalidate: bool,
    max_age: Option<u64>,
    s_maxage: Option<u64>,
    min_fresh: Option<u64>,
}

impl Directives {
    fn of(fields: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in fields.get_all(CACHE_CONTROL) {
            // What cannot be read may forbid it.
            let Ok(value) = value.to_str() else {
                found.no_store = true;
                continue;
            };
            unquoted_commas(value).for_each(|directive| found.read(directive.trim()));
        }
        found
    }

    fn read(&mut self, directive: &str) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        // One that cannot be read is stale, and of several the shortest counts.
        let seconds = || value.trim().trim_matches('"').parse().unwrap_or(0);
        let shortest = |known: Option<u64>| Some(known.map_or_else(seconds, |k| k.min(seconds())));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "max-age" => self.max_age = shortest(self.max_age),
            "s-maxage" => self.s_maxage = shortest(self.s_maxage),
            "min-fresh" => self.min_fresh = Some(seconds()),
            _ => {}
        }
    }
}

fn unquoted_commas(value: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    value.split(move |character: char| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [&'static str];
    /// Of an answer, its age and how long it is fresh, in seconds.
    type Times = Option<(u64, u64)>;

    fn fields(lines: &[&str]) -> HeaderMap {
        let field = |line: &&str| {
            let (name, value) = line.split_once(": ").expect("a field");
            let name = HeaderName::try_from(name).expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        };
        lines.iter().map(field).collect()
    }

    fn question(target: &str, lines: &[&str]) -> Option<Box<Question>> {
        let mut request = http::Request::get(target).body(()).expect("a request");
        *request.headers_mut() = fields(lines);
        let (parts, ()) = request.into_parts();
        match Asked::of("polling", &parts) {
            Asked::Question(question) => Some(question),
            Asked::Write(_) | Asked::Other => None,
        }
    }

    #[test]
    fn the_same_question_has_the_same_key() {
        #[rustfmt::skip]
        let cases: &[(&[&str], &[&str], bool)] = &[
            (&[], &[], true),
            (&["accept: a"], &["accept: a"], true),
            (&["accept: a"], &["accept: b"], false),
            (&["accept: a"], &[], false),
            (&["accept-language: de", "accept: a"], &["accept: a", "accept-language: de"], true),
            (&["accept: a", "accept: b"], &["accept: b", "accept: a"], false),
            (&["range: bytes=0-1"], &[], false),
            (&["if-none-match: \"1\""], &[], false),
            (&["user-agent: a"], &["user-agent: b"], true),
            (&["authorization: Bearer a"], &["authorization: Bearer b"], true),
        ];
        for (one, other, same) in cases {
            let [one_key, other_key] =
                [one, other].map(|lines| question("/a", lines).expect("a question").key);
            assert_eq!(one_key == other_key, *same, "{one:?}, {other:?}");
        }
        assert!(question("/a", &["content-length: 3"]).is_none());
        assert!(question("/a", &["transfer-encoding: chunked"]).is_none());
        assert!(question("/a", &["content-length: 0"]).is_some());
        let [one, other] = ["/a?x=1", "/a?x=2"].map(|target| question(target, &[]).map(|q| q.key));
        assert_ne!(one, other);
    }

    #[test]
    fn a_kept_answer_must_be_allowed_and_fresh() {
        const WALL: u64 = 784_123_200;
        #[rustfmt::skip]
        let cases: &[(u16, Lines, Times)] = &[
            // status, fields, age and how long it is fresh
            (200, &[],                                                       None),
            (200, &["cache-control: max-age=60"],                            None),
            (200, &["cache-control: public"],                                None),
            (200, &["cache-control: public, max-age=60"],                    Some((0, 60))),
            (200, &["cache-control: s-maxage=30, max-age=60"],               Some((0, 30))),
            (200, &["cache-control: max-age=60, must-revalidate"],           Some((0, 60))),
            (200, &["cache-control: PUBLIC, Max-Age=\"60\""],                Some((0, 60))),
            (200, &["cache-control: public", "cache-control: max-age=60, max-age=9"], Some((0, 9))),
            (200, &["cache-control: public, max-age=soon"],                  None),
            (200, &["cache-control: public, max-age=-1"],                    None),
            (200, &["cache-control: public, max-age=60, no-store"],          None),
            (200, &["cache-control: public, max-age=60, no-cache"],          None),
            (200, &["cache-control: public, max-age=60, no-cache=\"x, y\""], None),
            (200, &["cache-control: public, max-age=60, private=\"x\""],     None),
            (200, &["cache-control: public, max-age=60", "set-cookie: a=b"], None),
            (200, &["cache-control: public, max-age=60", "vary: *"],         None),
            (200, &["cache-control: public, max-age=60", "vary: x-a"],       Some((0, 60))),
            (200, &["cache-control: public, max-age=60", "age: 50"],         Some((50, 10))),
            (200, &["cache-control: public, max-age=60", "age: 60"],         None),
            (200, &["cache-control: public, max-age=60", "date: Sun, 06 Nov 1994 11:59:20 GMT"], Some((40, 20))),
            (200, &["cache-control: public", "date: Sun, 06 Nov 1994 12:00:00 GMT", "expires: Sun, 06 Nov 1994 12:00:09 GMT"], Some((0, 9))),
            (200, &["cache-control: public", "expires: 0"],                  None),
            (404, &["cache-control: public, max-age=60"],                    Some((0, 60))),
            (206, &["cache-control: public, max-age=60"],                    None),
            (304, &["cache-control: public, max-age=60"],                    None),
            (401, &["cache-control: public, max-age=60"],                    None),
            (429, &["cache-control: public, max-age=60"],                    None),
            (500, &["cache-control: public, max-age=60"],                    None),
        ];
        for (status, lines, expected) in cases {
            let status = StatusCode::from_u16(*status).expect("a status");
            let found = freshness(status, &fields(lines), Duration::ZERO, WALL);
            let found = found.map(|(age, fresh_for)| (age.as_secs(), fresh_for.as_secs()));
            assert_eq!(found, *expected, "{status} {lines:?}");
        }
        let slow = freshness(
            StatusCode::OK,
            &fields(&["cache-control: public, max-age=60"]),
            Duration::from_secs(7),
            WALL,
        );
        assert_eq!(slow, Some((Duration::from_secs(7), Duration::from_secs(53))));
    }

    #[test]
    fn an_answer_in_flight_is_shared_unless_it_says_otherwise() {
        #[rustfmt::skip]
        let cases: &[(u16, &[&str], bool)] = &[
            (200, &[],                                    true),
            (200, &["cache-control: max-age=0"],          true),
            (200, &["cache-control: no-cache"],           true),
            (200, &["cache-control: no-store"],           false),
            (200, &["cache-control: private, max-age=9"], false),
            (200, &["set-cookie: a=b"],                   false),
            (200, &["content-type: text/event-stream"],   false),
            (304, &[],                                    true),
            (404, &[],                                    true),
            (503, &[],                                    true),
            (401, &[],                                    false),
            (429, &[],                                    false),
        ];
        for (status, lines, shared) in cases {
            let status = StatusCode::from_u16(*status).expect("a status");
            assert_eq!(may_be_shared(status, &fields(lines)), *shared, "{status} {lines:?}");
        }
    }

    #[test]
    fn what_an_answer_varies_by_must_be_alike() {
        #[rustfmt::skip]
        let cases: &[(Lines, Lines, Lines, bool)] = &[
            (&[],                        &["x-a: 1"],          &["x-a: 2"],          true),
            (&["vary: X-A"],             &["x-a: 1"],          &["x-a: 1"],          true),
            (&["vary: X-A"],             &["x-a: 1"],          &["x-a: 2"],          false),
            (&["vary: X-A"],             &["x-a: 1"],          &[],                  false),
            (&["vary: x-b", "vary: x-a"], &["x-a: 1"],         &["x-a: 2"],          false),
            (&["vary: x-b, x-a"],        &["x-a: 1"],          &["x-a: 2"],          false),
            (&["vary: *"],               &[],                  &[],                  false),
            (&["vary: authorization"],   &["authorization: 1"], &["authorization: 2"], true),
        ];
        for (answer, one, other, alike) in cases {
            let [answer, one, other] = [answer, one, other].map(|lines| fields(lines));
            assert_eq!(varies_alike(&answer, &one, &other), *alike, "{answer:?}");
        }
    }

    #[test]
    fn a_request_can_ask_for_a_younger_answer() {
        #[rustfmt::skip]
        let cases: &[(&[&str], bool)] = &[
            (&[],                              true),
            (&["cache-control: no-cache"],     false),
            (&["cache-control: no-store"],     false),
            (&["pragma: no-cache"],            false),
            (&["cache-control: max-age=0"],    false),
            (&["cache-control: max-age=3"],    true),
            (&["cache-control: min-fresh=2"],  true),
            (&["cache-control: min-fresh=60"], false),
        ];
        for (lines, takes) in cases {
            let question = question("/a", lines).expect("a question");
            let (age, fresh_for) = (Duration::from_secs(3), Duration::from_secs(2));
            assert_eq!(question.takes(age, fresh_for), *takes, "{lines:?}");
        }
    }
}
