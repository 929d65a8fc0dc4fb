//! The least that putting a header in costs on the engine that Bellwether uses: hyper on tokio, both
//! ways. No retry, no replay, no header taken out, nothing counted.
//!
//! `bare_proxy ORIGIN AUTHORIZATION` says where it listens on standard error.

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

struct Proxy {
    client: Client<HttpConnector, Incoming>,
    origin: Authority,
    authorization: HeaderValue,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let origin: Uri = arguments.next().expect("the origin").parse().expect("a URL");
    let authorization = arguments.next().expect("a header").parse().expect("a header's value");
    let origin = origin.authority().cloned().expect("an authority in the URL");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(tcp);
        let proxy: &'static Proxy = Box::leak(Box::new(Proxy { client, origin, authorization }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        eprintln!("ready http://{}", listener.local_addr().expect("its address"));
        let mut server = http1::Builder::new();
        server.max_headers(100).max_buf_size(64 * 1024).pipeline_flush(true);
        while let Ok((stream, _)) = listener.accept().await {
            // As Bellwether does.
            let _ = stream.set_nodelay(true);
            let connection = server.serve_connection(
                TokioIo::new(stream),
                service_fn(move |request| pass_on(proxy, request)),
            );
            // A caller that goes away is its own loss.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
}

async fn pass_on(
    proxy: &'static Proxy,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, Error> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(proxy.origin.clone());
    *request.uri_mut() = Uri::from_parts(uri).expect("a path after an authority");
    let headers = request.headers_mut();
    headers.remove(HOST);
    headers.insert(AUTHORIZATION, proxy.authorization.clone());
    proxy.client.request(request).await
}
