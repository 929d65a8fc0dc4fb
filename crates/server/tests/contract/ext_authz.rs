//! Envoy's question over gRPC. The messages are written here once more, from Envoy's own numbers.

use std::collections::BTreeMap;

use bellwether_server::HandOut;
use bellwether_simulation::Effect;
use prost::Message;

use crate::beside::bound;
use crate::support::{Ask, BOTH_KEY, POLLER_KEY, Reply, Setting, Stage};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const WRONG_KEY: &str = "key-of-nobody-0123456789-0123456789";

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    /// A field that is of no use here.
    #[prost(bytes = "vec", tag = "1")]
    source: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    request: Option<AskedAbout>,
    #[prost(btree_map = "string, string", tag = "10")]
    context_extensions: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct AskedAbout {
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct HttpRequest {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(btree_map = "string, string", tag = "3")]
    headers: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    allowed: Option<Allowed>,
}

#[derive(Clone, PartialEq, Message)]
struct Code {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Changed>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, Message)]
struct Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Changed>,
    #[prost(string, repeated, tag = "5")]
    removed: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Changed {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(int32, tag = "3")]
    append_action: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// A question: what the proxy says of itself, what its route says, and what the end caller sent.
#[derive(Clone, Default)]
struct Question {
    metadata: Vec<(&'static str, String)>,
    route: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    line: (&'static str, &'static str),
}

impl Question {
    fn about(mut self, method: &'static str, path: &'static str) -> Self {
        self.line = (method, path);
        self
    }

    fn proxy(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.push((name, value.to_owned()));
        self
    }

    fn proxy_key(self, key: &str) -> Self {
        self.proxy("Authorization", &format!("Bearer {key}"))
    }

    fn route(mut self, credential: &str) -> Self {
        self.route.insert("bellwether-credential".to_owned(), credential.to_owned());
        self
    }

    fn caller(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn key(self, key: &str) -> Self {
        self.caller("authorization", &format!("Bearer {key}"))
    }

    fn ask(&self) -> Ask {
        let (method, path) = self.line;
        let (method, path) = (method.to_owned(), path.to_owned());
        let http = HttpRequest { method, headers: self.headers.clone(), path };
        let attributes = Attributes {
            source: b"\x0a\x03any".to_vec(),
            request: Some(AskedAbout { http: Some(http) }),
            context_extensions: self.route.clone(),
        };
        let mut ask = call(&framed(&CheckRequest { attributes: Some(attributes) }.encode_to_vec()));
        for (name, value) in &self.metadata {
            ask = ask.header(name, value);
        }
        ask
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

fn call(body: &[u8]) -> Ask {
    Ask::new("POST", CHECK).body("application/grpc", body).header("TE", "trailers")
}

fn answer(reply: &Reply) -> CheckResponse {
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/grpc")));
    let (prefix, message) = reply.body.split_at(5);
    let length = u32::try_from(message.len()).expect("a short message");
    assert_eq!(prefix, [&[0], &length.to_be_bytes()[..]].concat());
    CheckResponse::decode(message).expect("a message")
}

/// The token that goes on, after all else that must be so.
fn allowed(reply: &Reply) -> String {
    let CheckResponse { status, denied, allowed } = answer(reply);
    assert_eq!((status, denied), (Some(Code { code: 0 }), None));
    let allowed = allowed.expect("a yes");
    assert_eq!(allowed.removed, ["bellwether-credential"]);
    let [Changed { header: Some(header), append_action: 2 }] = allowed.headers.as_slice() else {
        panic!("one header, which overwrites: {:?}", allowed.headers);
    };
    assert_eq!(header.key, "authorization");
    header.value.strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

/// Status, and a header.
fn denied(reply: &Reply) -> (i32, impl Fn(&str) -> Option<String> + use<>) {
    let CheckResponse { status, denied, allowed } = answer(reply);
    assert_eq!(allowed, None);
    assert!(status.expect("a status").code > 0);
    let denied = denied.expect("a no");
    let header = move |name: &str| {
        let headers = denied.headers.iter().filter_map(|changed| changed.header.as_ref());
        headers.clone().find(|header| header.key == name).map(|header| header.value.clone())
    };
    (denied.status.expect("a status").code, header)
}

fn trusting(setting: &mut Setting) {
    setting.gateway.trusted_proxies = vec!["127.0.0.1".parse().expect("an address")];
}

#[tokio::test]
async fn whoever_shows_the_key_names_the_credential() {
    let stage = Stage::configured(trusting).await;
    let of = async |name| {
        let path = format!("/bellwether/v1/credentials/{name}/token");
        stage.ask(Ask::get(&path).bearer(BOTH_KEY)).await.token()
    };
    let (polling, second) = (of("polling").await, of("second").await);
    let q = Question::default;
    let named = |question: Question, name| question.caller("bellwether-credential", name);
    #[rustfmt::skip]
    let cases: [(Question, Result<&str, i32>); 20] = [
        // The end caller's key.
        (q().key(POLLER_KEY),                                         Ok(&polling)),
        (q().key(POLLER_KEY).route("polling"),                        Ok(&polling)),
        (q().key(BOTH_KEY),                                           Err(400)),
        (named(q().key(BOTH_KEY), "second"),                          Ok(&second)),
        (named(q().key(BOTH_KEY), "polling").route("second"),         Ok(&second)),
        (named(q().key(POLLER_KEY), "second"),                        Err(404)),
        (named(q().key(POLLER_KEY), "unheard"),                       Err(404)),
        (named(q().key(BOTH_KEY), "polling,second"),                  Err(404)),
        (q().key(WRONG_KEY),                                          Err(401)),
        (q(),                                                         Err(401)),
        (q().caller("authorization", POLLER_KEY),                     Err(401)),
        // Twice the same header, as Envoy joins them.
        (q().caller("authorization", &format!("Bearer {POLLER_KEY},Bearer {POLLER_KEY}")), Err(401)),
        // The proxy's key: the end caller's headers decide nothing.
        (q().proxy_key(POLLER_KEY),                                   Ok(&polling)),
        (q().proxy_key(POLLER_KEY).key(WRONG_KEY),                    Ok(&polling)),
        (named(q().proxy_key(BOTH_KEY), "second"),                    Err(400)),
        (named(q().proxy_key(BOTH_KEY), "second").route("polling"),   Ok(&polling)),
        (q().proxy_key(BOTH_KEY).proxy("bellwether-credential", "second"), Ok(&second)),
        (q().proxy_key(POLLER_KEY).key(BOTH_KEY).route("second"),     Err(404)),
        (q().proxy_key(WRONG_KEY).key(POLLER_KEY),                    Err(401)),
        (q().proxy("Authorization", "Basic x").key(POLLER_KEY),       Err(401)),
    ];
    for (number, (question, expected)) in cases.into_iter().enumerate() {
        let reply = stage.ask(question.ask()).await;
        match expected {
            Ok(token) => assert_eq!(allowed(&reply), token, "row {number}"),
            Err(status) => {
                let (denied, header) = denied(&reply);
                assert_eq!(denied, status, "row {number}");
                assert!(header("bellwether-error").is_some(), "row {number}");
                assert_eq!(header("www-authenticate").is_some(), status == 401, "row {number}");
            }
        }
    }
    assert_eq!(stage.token_requests(), 2);
}

#[tokio::test]
async fn a_bound_caller_is_bound_here_too() {
    let stage = Stage::configured(|setting| {
        trusting(setting);
        setting.callers = vec![bound()];
    })
    .await;
    let cases = [
        ("GET", "/api/v2/users/7?q=/x", true),
        ("HEAD", "/api/v2/users/7", true),
        ("PUT", "/api/v2/users/7", false),
        ("GET", "/api/v2/routing/7", false),
        ("GET", "/api/v2/users/%2e%2e/routing/7", false),
        ("", "", false),
    ];
    for (method, path, may) in cases {
        let question = Question::default().key(POLLER_KEY).about(method, path);
        let reply = stage.ask(question.ask()).await;
        if may {
            allowed(&reply);
        } else {
            assert_eq!(denied(&reply).0, 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_is_no_trusted_proxy_is_denied() {
    let stage = Stage::configured(|_| {}).await;
    for question in [Question::default().key(POLLER_KEY), Question::default().proxy_key(POLLER_KEY)]
    {
        let (status, header) = denied(&stage.ask(question.ask()).await);
        assert_eq!(
            (status, header("bellwether-error").as_deref()),
            (403, Some("forwarded_request"))
        );
    }
}

#[tokio::test]
async fn without_a_token_the_answer_says_when_to_ask_again() {
    let stage = Stage::configured(|setting| {
        trusting(setting);
        setting.faults.push(bellwether_simulation::Fault::lasting(
            bellwether_simulation::Endpoint::Token,
            Effect::Answer {
                status: 503,
                retry_after: Some("60".to_owned()),
                content_type: "text/plain".to_owned(),
                body: Vec::new(),
                processed: false,
            },
        ));
    })
    .await;
    let (status, header) = denied(&stage.ask(Question::default().key(POLLER_KEY).ask()).await);
    assert_eq!(
        (status, header("bellwether-error").as_deref()),
        (503, Some("temporarily_unavailable"))
    );
    let wait: u64 = header("retry-after").expect("a time to wait").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_local_token_goes_on_where_tokens_are_local() {
    let stage = Stage::configured(|setting| {
        trusting(setting);
        setting.hand_out = HandOut::Local;
    })
    .await;
    let token = allowed(&stage.ask(Question::default().key(POLLER_KEY).ask()).await);
    assert!(token.starts_with("bwt_"));
}

/// Only what is no question at all is an error of the call.
#[tokio::test]
async fn what_cannot_be_read_is_a_status_of_the_call() {
    let stage = Stage::configured(trusting).await;
    let long = framed(&vec![0x0a; 256 * 1024 + 1]);
    #[rustfmt::skip]
    let cases: [(&[u8], &str); 6] = [
        (b"",                        "3"),
        (b"\0\0\0\0\x05\x0a\x02ab",  "3"),
        (b"\0\0\0\0\x02\x0a\x7f",    "3"),
        (b"\0\xff\xff\xff\xff",      "3"),
        (b"\x01\0\0\0\0",            "12"),
        (&long,                      "8"),
    ];
    for (body, status) in cases {
        let reply = stage.ask(call(body)).await;
        assert_eq!((reply.status, reply.header("grpc-status")), (200, Some(status)));
        assert!(reply.body.is_empty());
    }
    // An empty question is one: nobody showed a key.
    assert_eq!(denied(&stage.ask(call(b"\0\0\0\0\0")).await).0, 401);
    let other = Ask::new("POST", CHECK).json("{}");
    assert_eq!(stage.ask(other).await.refusal(), (415, "invalid_request".to_owned(), true));
    assert_eq!(stage.ask(Ask::get(CHECK)).await.status, 400);
    let elsewhere = Question::default().key(POLLER_KEY).ask().host("bellwether.internal");
    assert_eq!(stage.ask(elsewhere).await.status, 421);
    assert_eq!(stage.lab.totals().api_requests, 0, "nothing of it went to the API");
}
