//! Identical GETs: asked once while they are in flight, and kept for a short while where the API
//! allows it. Both are off unless configured.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::support::origin::{answer, read};
use crate::support::{Ask, BOTH_KEY, Connection, Origin, POLLER_KEY, Reply, Setting, Stage};

/// Answers requests for `/api/held…` once it is let go, and all others at once.
struct Held {
    address: SocketAddr,
    targets: Arc<Mutex<Vec<String>>>,
    arrived: watch::Receiver<usize>,
    let_go: watch::Sender<bool>,
}

impl Held {
    async fn start(fields: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let (arrives, arrived) = watch::channel(0);
        let (let_go, gate) = watch::channel(false);
        let (record, arrives) = (Arc::clone(&targets), Arc::new(arrives));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (record, arrives, mut gate) =
                    (Arc::clone(&record), Arc::clone(&arrives), gate.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read(&mut stream).await {
                        let target = request.target().to_owned();
                        let is_held = target.contains("held");
                        record.lock().expect("no panic").push(target);
                        arrives.send_modify(|count| *count += usize::from(is_held));
                        if is_held && gate.wait_for(|open| *open).await.is_err() {
                            return;
                        }
                        let bytes = answer("200 OK", fields, body);
                        if stream.get_mut().write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, targets, arrived, let_go }
    }

    async fn stage(&self, change: impl FnOnce(&mut Setting)) -> Stage {
        let url = format!("http://{}/", self.address).parse().expect("a URL");
        let stage = Stage::configured(|setting| {
            setting.resource_server = Some(url);
            setting.gateway.coalesce = true;
            // One after the other, so that what came first is read first.
            setting.gateway.workers = NonZeroUsize::MIN;
            change(setting);
        })
        .await;
        stage.until_held("polling").await;
        stage
    }

    async fn until_arrived(&self, count: usize) {
        let mut arrived = self.arrived.clone();
        arrived.wait_for(|arrived| *arrived >= count).await.expect("it runs");
    }

    fn held(&self) -> usize {
        *self.arrived.borrow()
    }

    /// Sends one request, has it arrive, and 19 more behind it; their answers.
    async fn crowd(&self, stage: &Stage, ask: impl Fn(usize) -> Ask) -> Vec<Reply> {
        let mut connections = Vec::new();
        for number in 0..20 {
            let mut connection = Connection::to(stage.gateway).await;
            connection.write(&ask(number).bytes()).await;
            if number == 0 {
                self.until_arrived(1).await;
            }
            connections.push(connection);
        }
        // What came before this has been read when it is answered.
        for _ in 0..3 {
            let reply = stage.ask(Ask::get("/api/other").bearer(POLLER_KEY)).await;
            assert_eq!(reply.status, 200);
        }
        self.let_go.send_replace(true);
        let mut replies = Vec::new();
        for connection in &mut connections {
            replies.push(connection.reply(false).await);
        }
        replies
    }
}

fn held() -> Ask {
    Ask::get("/api/held?x=1").bearer(POLLER_KEY)
}

#[tokio::test]
async fn identical_gets_in_flight_are_one_request() {
    let api = Held::start("ETag: \"7\"\r\nX-Twice: a\r\nX-Twice: b\r\n", r#"{"list":[1]}"#).await;
    let stage = api.stage(|_| {}).await;
    let other_key = |number| match number {
        5 => Ask::get("/api/held?x=1").bearer(BOTH_KEY).header("Bellwether-Credential", "polling"),
        _ => held(),
    };
    let replies = api.crowd(&stage, other_key).await;
    assert_eq!(api.held(), 1);
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"list":[1]}"#));
        assert_eq!(reply.header("etag"), Some("\"7\""));
        assert_eq!(reply.header("cache-status").is_some(), number > 0, "{number}: {reply:?}");
    }
    // In flight together, and not a moment later.
    assert_eq!(stage.ask(held()).await.status, 200);
    assert_eq!(api.held(), 2);
}

/// It comes in pieces, and each of them is waited for by the one before.
#[tokio::test]
async fn an_answer_in_many_pieces_is_one_request_too() {
    let body: &'static str = "x".repeat(300_000).leak();
    let api = Held::start("", body).await;
    let stage = api.stage(|_| {}).await;
    let replies = api.crowd(&stage, |_| held()).await;
    assert_eq!(api.held(), 1);
    for reply in &replies {
        assert_eq!((reply.status, reply.text() == body), (200, true));
    }
}

#[tokio::test]
async fn what_differs_is_asked_for_itself() {
    let api = Held::start("Vary: X-Tenant\r\n", "{}").await;
    let stage = api.stage(|_| {}).await;
    let ask = |number: usize| match number {
        // 0 leads, and 16 follow.
        1 => Ask::get("/api/held?x=2").bearer(POLLER_KEY),
        2 => held().header("Accept", "text/csv"),
        3 => held().header("Range", "bytes=0-1"),
        4 => held().header("If-None-Match", "\"7\""),
        5 => Ask::new("POST", "/api/held?x=1").bearer(POLLER_KEY),
        6 => held().header("X-Tenant", "another"),
        7 => Ask::get("/api/held?x=1").bearer(BOTH_KEY).header("Bellwether-Credential", "second"),
        _ => held(),
    };
    let replies = api.crowd(&stage, ask).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(api.held(), 8, "{:?}", api.targets.lock().expect("no panic"));
}

#[tokio::test]
async fn what_is_somebodys_own_is_not_shared() {
    for fields in
        ["Cache-Control: private\r\n", "Cache-Control: no-store\r\n", "Set-Cookie: a=b\r\n"]
    {
        let api = Held::start(fields, "{}").await;
        let stage = api.stage(|_| {}).await;
        let replies = api.crowd(&stage, |_| held()).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        assert_eq!(api.held(), 20, "{fields}");
    }
}

#[tokio::test]
async fn a_leader_that_hangs_up_takes_nobody_with_it() {
    let api = Held::start("", "{}").await;
    let stage = api.stage(|_| {}).await;
    let mut leader = Connection::to(stage.gateway).await;
    leader.write(&held().bytes()).await;
    api.until_arrived(1).await;
    let mut follower = Connection::to(stage.gateway).await;
    follower.write(&held().bytes()).await;
    for _ in 0..3 {
        stage.ask(Ask::get("/api/other").bearer(POLLER_KEY)).await;
    }
    assert_eq!(api.held(), 1);
    drop(leader);
    api.until_arrived(2).await;
    api.let_go.send_replace(true);
    assert_eq!(follower.reply(false).await.status, 200);
}

#[tokio::test]
async fn nothing_is_shared_or_kept_unless_it_is_configured() {
    let api = Held::start("Cache-Control: public, max-age=60\r\n", "{}").await;
    let stage = api.stage(|setting| setting.gateway.coalesce = false).await;
    let replies = api.crowd(&stage, |_| held()).await;
    assert!(replies.iter().all(|reply| reply.header("cache-status").is_none()));
    assert_eq!(api.held(), 20);
    stage.ask(held()).await;
    assert_eq!(api.held(), 21);
}

#[tokio::test]
async fn what_the_api_allows_is_kept_for_a_short_while() {
    #[rustfmt::skip]
    let cases = [
        // fields, skipped between two requests in s, whether the API is asked again
        ("Cache-Control: max-age=60\r\n",                    0, true),
        ("Cache-Control: public\r\n",                        0, true),
        ("Cache-Control: public, max-age=60\r\n",            0, false),
        ("Cache-Control: s-maxage=60\r\n",                   4, false),
        ("Cache-Control: s-maxage=60\r\n",                   5, true),
        ("Cache-Control: public, max-age=3\r\n",             3, true),
        ("Cache-Control: public, max-age=60\r\nAge: 59\r\n", 1, true),
        ("Cache-Control: must-revalidate, max-age=60\r\nVary: X-Request\r\n", 0, false),
        ("Cache-Control: public, max-age=60\r\nSet-Cookie: a=b\r\n", 0, true),
    ];
    for (fields, seconds, again) in cases {
        let api = Origin::start(move |_| answer("200 OK", fields, "{}")).await;
        let stage = Stage::open(|setting| {
            setting.resource_server = Some(api.url("/"));
            setting.gateway.cache = Some(Duration::from_secs(5));
        })
        .await;
        let token = stage.token().await;
        let ask = || Ask::get("/api/x").bearer(&token);
        assert_eq!(stage.ask(ask()).await.header("cache-status"), None);
        stage.clock.skip(Duration::from_secs(seconds));
        let reply = stage.ask(ask()).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"));
        assert_eq!(api.recorded().len(), if again { 2 } else { 1 }, "{fields}, {seconds} s");
        if !again {
            let age: u64 = reply.header("age").expect("how old").parse().expect("seconds");
            assert!((seconds..=seconds + 1).contains(&age), "{fields}: {age}");
            // Whoever wants it fresh gets it fresh, and a write makes it invalid.
            stage.ask(ask().header("Cache-Control", "no-cache")).await;
            assert_eq!(api.recorded().len(), 2);
            stage.ask(ask()).await;
            assert_eq!(api.recorded().len(), 2);
            stage.ask(Ask::new("DELETE", "/api/x").bearer(&token)).await;
            stage.ask(ask()).await;
            assert_eq!(api.recorded().len(), 4);
        }
    }
}
