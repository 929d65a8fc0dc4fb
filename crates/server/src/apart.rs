//! Futures that are kept apart: what few requests do is not carried about by all.

use std::pin::Pin;

/// A future in a place of its own.
pub(crate) type Apart<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Begins it there. Boxed by who awaits it, a future is a local of that one first, and keeps its
/// room there for good.
pub(crate) fn apart<'a, T, F>(begin: impl FnOnce() -> F) -> Apart<'a, T>
where
    F: Future<Output = T> + Send + 'a,
{
    Box::pin(begin())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn large() -> u8 {
        let room = [1_u8; 4096];
        tokio::task::yield_now().await;
        room[4095]
    }

    #[tokio::test]
    async fn nobody_carries_it_about() {
        let inline = async { large().await };
        let kept_apart = async { apart(large).await };
        assert!(size_of_val(&inline) > 4096 && size_of_val(&kept_apart) < 256);
        assert_eq!((inline.await, kept_apart.await), (1, 1));
    }
}
