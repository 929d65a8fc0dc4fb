//! azure_identity: a client secret. It insists on `https`, so its transport is a stub.

use std::sync::Arc;

use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::http::headers::Headers;
use azure_core::http::{
    AsyncRawResponse, ClientOptions, HttpClient, Request, StatusCode, Transport,
};
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};

use crate::{client, token_response};

/// The scope asked for.
pub const SCOPES: &[&str] = &["https://api.example.test/.default"];

#[derive(Debug)]
struct Stub;

#[async_trait::async_trait]
impl HttpClient for Stub {
    async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::default(), token_response(0)))
    }
}

/// What all credentials share.
pub fn transport() -> Transport {
    Transport::new(Arc::new(Stub))
}

/// The `n`th credential.
pub fn credential(transport: &Transport, n: usize) -> Arc<ClientSecretCredential> {
    let (id, secret) = client(n);
    let mut cloud = CustomConfiguration::default();
    cloud.authority_host = "https://login.example.test".to_owned();
    let options = ClientSecretCredentialOptions {
        client_options: ClientOptions {
            transport: Some(transport.clone()),
            cloud: Some(Arc::new(CloudConfiguration::from(cloud))),
            ..ClientOptions::default()
        },
    };
    let tenant = "5f0c2a6e-1d5b-4c1e-9b57-000000000000";
    ClientSecretCredential::new(tenant, id, secret.into(), Some(options)).expect("a valid client")
}
