//! Where the browser comes back to: a listener on loopback for one answer (RFC 8252 §7.3).
//!
//! Anybody on this machine, and any page in its browsers, can come here. So only the right path at
//! the right host is looked at, only an answer with our `state` counts, and only the first of those.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellwether_broker::oauth::{Callback, CallbackError, Expected, Secret, read_callback};
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The path of the redirect URI.
const PATH: &str = "/callback";
/// A browser sends a request's head at once.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 32 * 1024;
/// The listener's rest after a failed accept, when descriptors run out.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A redirect URI that is listened at.
#[derive(Debug)]
pub(super) struct Callbacks {
    listener: TcpListener,
    port: u16,
}

/// By what the answer is known.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) state: Secret,
    pub(super) issuer: Option<String>,
    pub(super) issuer_is_promised: bool,
}

type Outcome = Result<Secret, CallbackError>;

impl Callbacks {
    /// Listens on 127.0.0.1, at a port that is free if none is given.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) async fn listen(port: Option<u16>) -> Result<Self, String> {
        let address = (Ipv4Addr::LOCALHOST, port.unwrap_or(0));
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let port = listener.local_addr()?.port();
            Ok::<_, std::io::Error>(Self { listener, port })
        };
        bound.await.map_err(|error| {
            let port = port.map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
            format!("127.0.0.1 cannot be listened at, {port}: {error}")
        })
    }

    /// Where the authorization server is to send the browser.
    pub(super) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// The code, once the browser has come back with it and has been answered.
    ///
    /// # Errors
    /// What the authorization server said, or that nobody came in time.
    pub(super) async fn wait(self, awaited: Awaited, patience: Duration) -> Result<Secret, String> {
        match timeout(patience, self.first(Arc::new(awaited))).await {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("nobody logged in in time; log in again".to_owned()),
        }
    }

    async fn first(self, awaited: Arc<Awaited>) -> Outcome {
        let taken = Arc::new(Mutex::new(None));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (awaited, taken) = (Arc::clone(&awaited), Arc::clone(&taken));
                        connections.spawn(converse(stream, self.port, awaited, taken));
                    }
                    Err(_) => sleep(ACCEPT_REST).await,
                },
                // The page was sent, so whoever waits for it has it.
                Some(_) = connections.join_next() => {
                    let outcome = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(outcome) = outcome {
                        return outcome;
                    }
                }
            }
        }
    }
}

async fn converse(
    stream: TcpStream,
    port: u16,
    awaited: Arc<Awaited>,
    taken: Arc<Mutex<Option<Outcome>>>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, _) = request.into_parts();
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = judge(&head.method, &head.uri, &head.headers, port, &awaited);
        let is_late = taken.is_some() && matches!(judged, Judged::Answer(_));
        let judged = if is_late { Judged::Refused(StatusCode::GONE) } else { judged };
        let response = judged.page();
        if let Judged::Answer(outcome) = judged {
            *taken = Some(outcome);
        }
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.max_buf_size(MAX_HEAD).keep_alive(false);
    // Whether the browser left or was answered, this connection is over.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// What a request is.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// What is waited for.
    Answer(Outcome),
    /// Something else, and how it is answered.
    Refused(StatusCode),
}

fn judge(method: &Method, uri: &Uri, headers: &HeaderMap, port: u16, awaited: &Awaited) -> Judged {
    let hosts: Vec<&HeaderValue> = headers.get_all(HOST).iter().collect();
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let is_ours = matches!(hosts[..], [host] if ours.iter().any(|own| own.as_bytes() == host));
    if !is_ours || uri.host().is_some() {
        return Judged::Refused(StatusCode::MISDIRECTED_REQUEST);
    }
    if uri.path() != PATH {
        return Judged::Refused(StatusCode::NOT_FOUND);
    }
    if method != Method::GET {
        return Judged::Refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    let expected = Expected {
        state: &awaited.state,
        issuer: awaited.issuer.as_deref(),
        issuer_is_promised: awaited.issuer_is_promised,
    };
    match read_callback(uri.query().unwrap_or_default(), &expected) {
        Callback::Code(code) => Judged::Answer(Ok(code)),
        Callback::Failed(error) => Judged::Answer(Err(error)),
        Callback::NotOurs => Judged::Refused(StatusCode::BAD_REQUEST),
    }
}

impl Judged {
    /// A page without scripts, that no other page may frame and that leads nowhere.
    fn page(&self) -> Response<Full<Bytes>> {
        let (status, text) = match self {
            Self::Answer(Ok(_)) => (
                StatusCode::OK,
                "Authorized. You can close this page; the terminal says how it went.".to_owned(),
            ),
            Self::Answer(Err(error)) => {
                (StatusCode::OK, format!("Not authorized: {error}. You can close this page."))
            }
            Self::Refused(StatusCode::GONE) => {
                (StatusCode::GONE, "This login is over. You can close this page.".to_owned())
            }
            Self::Refused(StatusCode::BAD_REQUEST) => (
                StatusCode::BAD_REQUEST,
                "This is not the answer to the login that is waiting. Start it again from the \
                 address in the terminal."
                    .to_owned(),
            ),
            Self::Refused(status) => (*status, "There is nothing here.".to_owned()),
        };
        let body = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Bellwether</title>\
             <p>{}</p></html>\n",
            escaped(&text)
        );
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let fixed = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn awaited() -> Awaited {
        let issuer = Some("https://login.test".to_owned());
        Awaited { state: "st4te".into(), issuer, issuer_is_promised: false }
    }

    #[test]
    fn only_the_right_answer_at_the_right_place_counts() {
        const HOSTS: &[&str] = &["127.0.0.1:7"];
        const GOOD: &str = "/callback?code=c&state=st4te";
        let answer = |error| Judged::Answer(Err(error));
        let refused = |status| Judged::Refused(StatusCode::from_u16(status).unwrap());
        #[rustfmt::skip]
        let cases: &[(&str, &str, &[&str], Judged)] = &[
            ("GET",  GOOD,                                 HOSTS,               Judged::Answer(Ok("c".into()))),
            ("GET",  GOOD,                                 &["localhost:7"],    Judged::Answer(Ok("c".into()))),
            ("GET",  GOOD,                                 &["127.0.0.1"],      refused(421)),
            ("GET",  GOOD,                                 &["127.0.0.1:8"],    refused(421)),
            ("GET",  GOOD,                                 &["evil.test:7"],    refused(421)),
            ("GET",  GOOD,                                 &["127.0.0.1:7.evil.test"], refused(421)),
            ("GET",  GOOD,                                 &["[::1]:7"],        refused(421)),
            ("GET",  GOOD,                                 &[],                 refused(421)),
            ("GET",  GOOD,                                 &["127.0.0.1:7", "127.0.0.1:7"], refused(421)),
            ("GET",  "http://evil.test/callback?code=c&state=st4te", HOSTS,     refused(421)),
            ("GET",  "/?code=c&state=st4te",               HOSTS,               refused(404)),
            ("GET",  "/callback/?code=c&state=st4te",      HOSTS,               refused(404)),
            ("GET",  "/Callback?code=c&state=st4te",       HOSTS,               refused(404)),
            ("GET",  "//callback?code=c&state=st4te",      HOSTS,               refused(404)),
            ("GET",  "/favicon.ico",                       HOSTS,               refused(404)),
            ("POST", GOOD,                                 HOSTS,               refused(405)),
            ("HEAD", GOOD,                                 HOSTS,               refused(405)),
            ("GET",  "/callback",                          HOSTS,               refused(400)),
            ("GET",  "/callback?code=c",                   HOSTS,               refused(400)),
            ("GET",  "/callback?code=c&state=other",       HOSTS,               refused(400)),
            ("GET",  "/callback?error=access_denied",      HOSTS,               refused(400)),
            ("GET",  "/callback?code=c&code=d&state=st4te", HOSTS,              answer(CallbackError::Repeated)),
            ("GET",  "/callback?state=st4te&code=c&state=st4te", HOSTS,         answer(CallbackError::Repeated)),
            ("GET",  "/callback?code=c&state=st4te&iss=https://evil.test", HOSTS, answer(CallbackError::OtherIssuer)),
        ];
        for (method, uri, hosts, expected) in cases {
            let mut headers = HeaderMap::new();
            for host in *hosts {
                headers.append(HOST, HeaderValue::from_static(host));
            }
            let (method, uri) = (method.parse().unwrap(), uri.parse().unwrap());
            let judged = judge(&method, &uri, &headers, 7, &awaited());
            assert_eq!(judged, *expected, "{method} {uri} {hosts:?}");
        }
    }

    #[test]
    fn nothing_the_server_says_becomes_markup() {
        assert_eq!(escaped("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }

    async fn get(uri: &str, query: &str) -> String {
        let address = uri.trim_start_matches("http://").trim_end_matches(PATH);
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        let request = format!("GET {PATH}?{query} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("a whole answer");
        answer
    }

    #[tokio::test]
    async fn strangers_are_passed_over_and_the_first_answer_ends_it() {
        let callbacks = Callbacks::listen(None).await.expect("a free port");
        let uri = callbacks.redirect_uri();
        let waiting = tokio::spawn(callbacks.wait(awaited(), Duration::from_secs(20)));
        let stranger = get(&uri, "code=evil&state=guess").await;
        assert!(stranger.starts_with("HTTP/1.1 400"), "{stranger}");
        let answer = get(&uri, "code=c&state=st4te").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("referrer-policy: no-referrer"), "{answer}");
        assert!(!answer.contains("script") && !answer.contains("st4te"), "{answer}");
        assert_eq!(waiting.await.expect("no panic"), Ok("c".into()));
        let address = uri.trim_start_matches("http://").trim_end_matches(PATH);
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_second_answer_changes_nothing() {
        let callbacks = Callbacks::listen(None).await.expect("a free port");
        let (uri, port) = (callbacks.redirect_uri(), callbacks.port);
        let taken = Arc::new(Mutex::new(Some(Ok("first".into()))));
        let serving = tokio::spawn({
            let taken = Arc::clone(&taken);
            async move {
                let (stream, _) = callbacks.listener.accept().await.expect("a connection");
                converse(stream, port, Arc::new(awaited()), taken).await;
            }
        });
        let answer = get(&uri, "code=second&state=st4te").await;
        assert!(answer.starts_with("HTTP/1.1 410"), "{answer}");
        serving.await.expect("no panic");
        let kept = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert_eq!(kept, Some(Ok("first".into())));
    }
}
