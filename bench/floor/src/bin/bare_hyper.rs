//! The least that an answer costs on the engine that Bellwether uses: hyper on tokio, with the same
//! options for a connection, reading each body and answering a constant.
//!
//! `bare_hyper BODY` says where it listens on standard error.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

fn main() {
    let body = Bytes::from(std::env::args().nth(1).expect("what to answer"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        eprintln!("ready http://{}", listener.local_addr().expect("its address"));
        let mut server = http1::Builder::new();
        server.max_headers(100).max_buf_size(64 * 1024).pipeline_flush(true);
        while let Ok((stream, _)) = listener.accept().await {
            // As Bellwether does.
            let _ = stream.set_nodelay(true);
            let body = body.clone();
            let connection = server.serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| answer(request, body.clone())),
            );
            // A caller that goes away is its own loss.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
}

async fn answer(
    request: Request<Incoming>,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // Whatever it says, and however it ends.
    drop(request.into_body().collect().await);
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}
