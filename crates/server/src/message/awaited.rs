//! Waiting for the rest of a request.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::copied::copy_head;

/// What comes of a body. What is here needs no timer; while another is waited for, its head holds no
/// buffer.
///
/// # Errors
/// When it took longer than `patience`.
pub(crate) async fn awaited<T>(
    mut body: Pin<&mut impl Future<Output = T>>,
    head: &mut Parts,
    patience: Duration,
) -> Result<T, Elapsed> {
    match poll_fn(|context| Poll::Ready(body.as_mut().poll(context))).await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => {
            copy_head(head);
            timeout(patience, body).await
        }
    }
}
