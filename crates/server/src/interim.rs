//! Interim answers (RFC 9110 §15.2): read and dropped, as long as they are few.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Request;
use tokio::sync::Notify;

/// A server has one or two to send; who sends more never comes to the answer.
const MOST: u32 = 32;

/// Counts what comes before an answer.
#[derive(Debug, Default)]
pub(crate) struct Interim {
    count: AtomicU32,
    too_many: Notify,
}

impl Interim {
    /// Counts what comes before the answer to this request.
    pub(crate) fn before_answer<B>(request: &mut Request<B>) -> Arc<Self> {
        let interim = Arc::new(Self::default());
        let counted = Arc::clone(&interim);
        hyper::ext::on_informational(request, move |_| {
            if counted.count.fetch_add(1, Ordering::Relaxed) == MOST {
                counted.too_many.notify_one();
            }
        });
        interim
    }

    /// Waits until there were too many.
    pub(crate) async fn too_many(&self) {
        self.too_many.notified().await;
    }
}
