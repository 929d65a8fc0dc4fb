//! Stopping: what is under way finishes, and nothing new begins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::{Ask, Connection, Stage, Stopwatch};

#[tokio::test]
async fn a_request_under_way_finishes() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let api = {
        let (arrived, go_on) = (Arc::clone(&arrived), Arc::clone(&go_on));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("the gateway");
            let mut stream = tokio::io::BufReader::new(stream);
            crate::support::origin::read(&mut stream).await.expect("a request");
            arrived.notify_one();
            go_on.notified().await;
            let answer = crate::support::origin::answer("200 OK", "", "late");
            tokio::io::AsyncWriteExt::write_all(&mut stream, &answer).await.expect("it reads");
        })
    };
    let mut stage = Stage::open(|setting| setting.resource_server = url.parse().ok()).await;
    let token = stage.token().await;
    let gateway = stage.gateway;
    let mut connection = Connection::to(gateway).await;
    connection.write(&Ask::get("/api/slow").bearer(&token).bytes()).await;
    arrived.notified().await;

    let stopped = Arc::new(Mutex::new(false));
    let told = Arc::clone(&stopped);
    let stopping = tokio::spawn(async move {
        stage.stop().await;
        *told.lock().expect("no panic") = true;
        stage
    });
    // It accepts nothing more.
    let refused = async {
        while TcpStream::connect(gateway).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("the listener closes");
    assert!(!*stopped.lock().expect("no panic"), "it waits for the request");
    go_on.notify_one();
    let reply = connection.reply(false).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "late"));
    stopping.await.expect("no panic");
    api.await.expect("no panic");
}

/// Idle connections and dashboards do not keep it from stopping.
#[tokio::test]
async fn who_only_listens_does_not_hold_it_up() {
    let mut stage = Stage::configured(|_| {}).await;
    stage.until_held("polling").await;
    let mut idle = Connection::to(stage.gateway).await;
    assert_eq!(idle.ask(&Ask::rest("polling/token")).await.status, 200);
    let mut dashboard = Connection::to(stage.admin).await;
    dashboard.write(&Ask::get("/v1/events").bytes()).await;
    dashboard.head().await;
    dashboard.chunk().await.expect("an event");
    let began = Stopwatch::start();
    stage.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
