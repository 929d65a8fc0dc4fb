//! What callers may have.

use std::sync::Arc;

use bellwether_broker::Handle;

use crate::settings::Vendor;

/// A credential that callers may name.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) handle: Handle,
    pub(crate) vendor: Arc<Vendor>,
}
