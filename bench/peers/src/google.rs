//! google-cloud-auth: user-account credentials, since their token endpoint can be named.

use google_cloud_auth::credentials::AccessTokenCredentials;
use google_cloud_auth::credentials::user_account::Builder;
use serde_json::json;

use crate::client;
use crate::endpoint::Endpoint;

/// The `n`th credential; starts its background task.
pub fn credentials(endpoint: &Endpoint, n: usize) -> AccessTokenCredentials {
    let (id, secret) = client(n);
    let user = json!({
        "type": "authorized_user",
        "client_id": id,
        "client_secret": secret,
        "refresh_token": format!("{n:0>64}"),
    });
    Builder::new(user)
        .with_token_uri(endpoint.url())
        .build_access_token_credentials()
        .expect("a complete user account")
}
