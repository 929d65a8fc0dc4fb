//! Who gets a browser, or a neighbour that fetches what it is told, to speak for it: which listener,
//! path, header and method are answered, and which never are.

use crate::support::{Ask, OPERATOR_KEY, POLLER_KEY, Stage};

/// Who is asked for what. All show the right key, so that only the row's header can be in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Token,
    Revoke,
    Rest,
    Authorization,
    Rejected,
    Api,
    Health,
    Metrics,
    List,
    Dashboard,
    Renew,
}

use At::{
    Api, Authorization, Dashboard, Health, List, Metrics, Rejected, Renew, Rest, Revoke, Token,
};

impl At {
    fn is_admin(self) -> bool {
        matches!(self, Health | Metrics | List | Dashboard | Renew)
    }

    fn ask(self, method: &str, query: &str) -> Ask {
        let rest = |what: &str| format!("/bellwether/v1/credentials/polling/{what}{query}");
        let ask = |path: String| Ask::new(method, &path);
        let form = "grant_type=client_credentials";
        match self {
            Token => ask(format!("/oauth/token{query}")).basic("poller", POLLER_KEY).form(form),
            Revoke => {
                ask(format!("/oauth/revoke{query}")).basic("poller", POLLER_KEY).form("token=x")
            }
            Rest => ask(rest("token")).bearer(POLLER_KEY),
            Authorization => ask(rest("authorization")).bearer(POLLER_KEY),
            Rejected => ask(rest("rejected")).bearer(POLLER_KEY).json(r#"{"access_token":"x"}"#),
            Api => ask(format!("/api/x{query}")).bearer(POLLER_KEY),
            Health => ask(format!("/healthz{query}")),
            Metrics => ask(format!("/metrics{query}")),
            List => ask(format!("/v1/credentials{query}")),
            Dashboard => ask(format!("/{query}")),
            Renew => {
                let path = format!("/v1/credentials/polling/renew{query}");
                ask(path).bearer(OPERATOR_KEY).json("{}")
            }
        }
    }
}

const PAGE: (&str, &str) = ("Origin", "http://evil.test");
const NULL: (&str, &str) = ("Origin", "null");
const NEIGHBOUR: (&str, &str) = ("Origin", "http://127.0.0.1:3000");
const CROSS: (&str, &str) = ("Sec-Fetch-Site", "cross-site");
const SAME_SITE: (&str, &str) = ("Sec-Fetch-Site", "same-site");
const TYPED: (&str, &str) = ("Sec-Fetch-Site", "none");
const OURS: (&str, &str) = ("Origin", "http://127.0.0.1");
const REBOUND: (&str, &str) = ("Host", "evil.test");
const METADATA: (&str, &str) = ("Host", "169.254.169.254");
const INSIDE: (&str, &str) = ("Host", "127.0.0.1.evil.test");
const PROXIED: (&str, &str) = ("X-Forwarded-For", "192.0.2.1");
const NO_HEADER: (&str, &str) = ("Accept", "*/*");

type Row = (At, &'static str, &'static str, (&'static str, &'static str), u16);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // asked for,   method,    query,                 header,    status
    // Another name that leads here.
    (Token, "POST", "", REBOUND, 421),
    (Token, "GET", "", REBOUND, 421),
    (Revoke, "POST", "", REBOUND, 421),
    (Rest, "GET", "", REBOUND, 421),
    (Rest, "HEAD", "", REBOUND, 421),
    (Authorization, "GET", "", REBOUND, 421),
    (Rejected, "POST", "", REBOUND, 421),
    (Api, "GET", "", REBOUND, 421),
    (Api, "POST", "", REBOUND, 421),
    (Api, "OPTIONS", "", REBOUND, 421),
    (Health, "GET", "", REBOUND, 421),
    (Metrics, "GET", "", REBOUND, 421),
    (List, "GET", "", REBOUND, 421),
    (Dashboard, "GET", "", REBOUND, 421),
    (Renew, "POST", "", REBOUND, 421),
    (Token, "POST", "", METADATA, 421),
    (Rest, "GET", "", METADATA, 421),
    (Api, "GET", "", METADATA, 421),
    (Health, "GET", "", METADATA, 421),
    (Metrics, "GET", "", METADATA, 421),
    (Token, "POST", "", INSIDE, 421),
    (Rest, "GET", "", INSIDE, 421),
    (Api, "GET", "", INSIDE, 421),
    (Health, "HEAD", "", INSIDE, 421),
    (List, "GET", "", INSIDE, 421),
    // A page of another site that has the right name and, from somewhere, the right key.
    (Token, "POST", "", PAGE, 403),
    (Token, "POST", "", NULL, 403),
    (Token, "POST", "", NEIGHBOUR, 403),
    (Token, "POST", "", CROSS, 403),
    (Token, "POST", "", SAME_SITE, 403),
    (Token, "GET", "", CROSS, 403),
    (Token, "OPTIONS", "", PAGE, 403),
    (Revoke, "POST", "", PAGE, 403),
    (Revoke, "POST", "", CROSS, 403),
    (Revoke, "POST", "", SAME_SITE, 403),
    (Rest, "GET", "", PAGE, 403),
    (Rest, "GET", "", NULL, 403),
    (Rest, "GET", "", CROSS, 403),
    (Rest, "GET", "", SAME_SITE, 403),
    (Rest, "OPTIONS", "", PAGE, 403),
    (Authorization, "GET", "", PAGE, 403),
    (Authorization, "GET", "", CROSS, 403),
    (Rejected, "POST", "", PAGE, 403),
    (Rejected, "POST", "", SAME_SITE, 403),
    (Renew, "POST", "", PAGE, 403),
    (Renew, "POST", "", NULL, 403),
    (Renew, "POST", "", NEIGHBOUR, 403),
    (Renew, "POST", "", CROSS, 403),
    (Renew, "POST", "", SAME_SITE, 403),
    // What fetches on somebody's behalf says so.
    (Rest, "GET", "", PROXIED, 403),
    (Authorization, "GET", "", PROXIED, 403),
    (Rejected, "POST", "", PROXIED, 403),
    // A secret in an address.
    (Token, "POST", "?client_secret=s", NO_HEADER, 400),
    (Token, "GET", "?client_secret=s", NO_HEADER, 400),
    (Token, "POST", "?code_verifier=s", NO_HEADER, 400),
    (Revoke, "POST", "?refresh_token=s", NO_HEADER, 400),
    (Rest, "GET", "?access_token=s", NO_HEADER, 400),
    (Rest, "GET", "?client%5fsecret=s", NO_HEADER, 400),
    (Authorization, "GET", "?access_token=s", NO_HEADER, 400),
    (Rejected, "POST", "?access_token=s", NO_HEADER, 400),
    (Health, "GET", "?access_token=s", NO_HEADER, 400),
    (List, "GET", "?key=s", NO_HEADER, 400),
    (Renew, "POST", "?key=s", NO_HEADER, 400),
    // What changes something is no GET.
    (Renew, "GET", "", NO_HEADER, 404),
    (Rejected, "GET", "", NO_HEADER, 405),
    (Token, "GET", "", NO_HEADER, 405),
    (Revoke, "GET", "", NO_HEADER, 405),
    // And nobody who may is in the way.
    (Token, "POST", "", TYPED, 200),
    (Token, "POST", "", OURS, 200),
    (Token, "POST", "", PROXIED, 200),
    (Revoke, "POST", "", NO_HEADER, 200),
    (Rest, "GET", "", NO_HEADER, 200),
    (Rest, "GET", "?page=2", TYPED, 200),
    (Authorization, "GET", "", OURS, 204),
    (Rejected, "POST", "", NO_HEADER, 200),
    (Renew, "POST", "", OURS, 202),
    (Health, "GET", "", NO_HEADER, 200),
    (Dashboard, "GET", "", CROSS, 200),
    // On API paths whose page it is, is the API's business, and so is the address.
    (Api, "GET", "", PAGE, 200),
    (Api, "GET", "", CROSS, 200),
    (Api, "GET", "?access_token=s", NO_HEADER, 200),
    (Api, "GET", "", PROXIED, 200),
];

#[tokio::test]
async fn every_listener_path_header_and_method() {
    assert!(ROWS.len() >= 60);
    let stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    for (number, &(at, method, query, (name, value), status)) in ROWS.iter().enumerate() {
        let ask = at.ask(method, query);
        let ask = if name == "Host" { ask.host(value) } else { ask.header(name, value) };
        let reply = if at.is_admin() { stage.ask_admin(ask).await } else { stage.ask(ask).await };
        let title = format!("row {number}: {at:?} {method} {query} {name}: {value}");
        assert_eq!(reply.status, status, "{title}: {reply:?}");
        if status >= 400 {
            assert!(reply.header("bellwether-error").is_some(), "{title}");
            assert!(!reply.text().contains("access_token\""), "{title}");
        }
        assert!(reply.header("access-control-allow-origin").is_none(), "{title}");
    }
}

/// A page's form can send what needs no leave: none of it is enough without a key.
#[tokio::test]
async fn what_a_form_or_a_bare_url_can_send_opens_nothing() {
    let stage = Stage::configured(|_| {}).await;
    let asks = [
        Ask::new("POST", "/oauth/token").form("grant_type=client_credentials&client_id=poller"),
        Ask::new("POST", "/oauth/token").body("text/plain", b"grant_type=client_credentials"),
        Ask::new("POST", "/oauth/token").body("multipart/form-data", b"x"),
        Ask::get("/bellwether/v1/credentials/polling/token"),
        Ask::get("/bellwether/v1/credentials/polling/authorization"),
        Ask::new("POST", "/bellwether/v1/credentials/polling/rejected").form("access_token=x"),
        Ask::get("/api/x"),
        Ask::new("POST", "/api/x").form("a=b"),
        Ask::new("PUT", "/api/x").body("text/plain", b"x"),
        Ask::get("/api/x").header("Cookie", "session=1"),
    ];
    for ask in asks {
        let reply = stage.ask(ask.clone()).await;
        assert!(matches!(reply.status, 400 | 401), "{ask:?}: {reply:?}");
    }
    assert_eq!(stage.lab.totals().api_requests, 0);
}
