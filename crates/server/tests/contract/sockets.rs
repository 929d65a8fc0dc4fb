//! Unix sockets: who may connect, and whose file it is.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use bellwether_server::{CallerSettings, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::support::http2::{Http2, request};
use crate::support::{Ask, BOTH_KEY, POLLER_KEY, Stage, callers};

async fn ask(path: &Path, ask: &Ask) -> String {
    let mut stream = UnixStream::connect(path).await.expect("a listener");
    let bytes = ask.clone().header("Connection", "close").bytes();
    stream.write_all(&bytes).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a whole answer");
    answer
}

#[tokio::test]
async fn callers_come_in_over_both_and_the_file_goes_with_the_listener() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.sock");
    let socket = Socket::unix(&path, 0o660).await.expect("a socket");
    assert_eq!(socket.to_string(), format!("unix:{}", path.display()));
    let mut stage = Stage::configured(|setting| setting.sockets = vec![socket]).await;
    stage.until_held("polling").await;
    let mode = std::fs::metadata(&path).expect("its file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    let answer = ask(&path, &Ask::rest("polling/token")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let refused = ask(&path, &Ask::rest("polling/token").host("evil.test")).await;
    assert!(refused.starts_with("HTTP/1.1 421"), "{refused}");
    let over = Http2::over(UnixStream::connect(&path).await.expect("a listener")).await;
    let url = "http://localhost/bellwether/v1/credentials/polling/token";
    assert_eq!(over.ask(request("GET", url, POLLER_KEY, "")).await.0, 200);
    assert_eq!(stage.ask(Ask::rest("polling/token")).await.status, 200);
    drop(over);
    stage.stop().await;
    assert!(!path.exists());
}

/// The kernel says who connects: no key need be shown, and one that must not come from there is none.
#[tokio::test]
async fn a_user_is_known_over_a_socket_and_nowhere_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.sock");
    let socket = Socket::unix(&path, 0o660).await.expect("a socket");
    let us = std::fs::metadata(&path).expect("its file").uid();
    let stage = Stage::configured(|setting| {
        setting.sockets = vec![socket];
        let mut callers = callers();
        callers[0].user = Some(us);
        callers[1].user = Some(us + 1);
        let local = CallerSettings {
            name: "local".to_owned(),
            user: Some(us),
            credentials: vec!["second".to_owned()],
            ..CallerSettings::default()
        };
        setting.callers = callers.into_iter().chain([local]).collect();
    })
    .await;
    let get = |name: &str| Ask::get(&format!("/bellwether/v1/credentials/{name}/token"));
    let login =
        Ask::new("POST", "/oauth/token").form("grant_type=client_credentials&client_id=local");
    #[rustfmt::skip]
    let cases = [
        // request,                                socket, elsewhere
        (get("second"),                            200,    401),
        (get("polling"),                           404,    401),
        (Ask::get("/api/x"),                       200,    401),
        (login,                                    200,    401),
        (Ask::rest("polling/token"),               200,    401),
        (get("second").bearer(BOTH_KEY),           401,    401),
        (get("second").bearer("wrong"),            401,    401),
        (get("second").basic("local", ""),         401,    401),
    ];
    for (ask_it, over_socket, elsewhere) in cases {
        let answer = ask(&path, &ask_it).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {over_socket} ")), "{ask_it:?}: {answer}");
        assert_eq!(stage.ask(ask_it.clone()).await.status, elsewhere, "{ask_it:?}");
    }
}

#[tokio::test]
async fn what_a_dead_process_left_is_replaced_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.sock");
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists(), "it is left behind");
    let living = Socket::unix(&path, 0o600).await.expect("it takes the place");
    let mode = std::fs::metadata(&path).expect("its file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);

    let error = Socket::unix(&path, 0o600).await.expect_err("somebody is there").to_string();
    assert!(error.contains("gateway.sock: another process listens there"), "{error}");
    drop(living);
    assert!(!path.exists());

    std::fs::write(&path, "precious").expect("a file");
    let error = Socket::unix(&path, 0o600).await.expect_err("it is a file").to_string();
    assert!(error.contains("is there and no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "precious");
}

/// A successor that took the path keeps it.
#[tokio::test]
async fn a_file_that_another_made_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gateway.sock");
    let first = Socket::unix(&path, 0o600).await.expect("a socket");
    std::fs::rename(&path, directory.path().join("moved")).expect("it moves");
    let _second = UnixListener::bind(&path).expect("a socket");
    drop(first);
    assert!(path.exists());
}
