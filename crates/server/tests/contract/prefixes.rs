//! SDKs that want something before the paths get it.

use crate::support::{Ask, CLIENT, Origin, POLLER_KEY, Stage};

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn login_and_api_have_prefixes_of_their_own() {
    let api = Origin::content().await;
    let stage = Stage::open(|setting| {
        setting.resource_server = Some(api.url("/"));
        setting.genesys = true;
        setting.gateway.login_path = "/login".to_owned();
        setting.gateway.api_path = "/platform".to_owned();
    })
    .await;
    let post = |path: &str| Ask::new("POST", path).basic(CLIENT.0, CLIENT.1).form(GRANT);
    let token = stage.ask(post("/login/oauth/token")).await.token();
    assert_eq!(stage.ask(post("/oauth/token")).await.token(), token, "and without");
    assert_eq!(stage.ask(Ask::get("/platform/api/v2/x?y=z").bearer(&token)).await.status, 200);
    assert_eq!(api.last().target(), "/api/v2/x?y=z");
    let form = format!("token={token}");
    let revoke = Ask::new("POST", "/login/oauth/revoke").basic(CLIENT.0, CLIENT.1).form(&form);
    assert_eq!(stage.ask(revoke).await.status, 200);
    assert_eq!(stage.ask(Ask::get("/platform/other").bearer(&token)).await.status, 404);
    let elsewhere = stage.ask(Ask::get("/platformapi/v2/x").bearer(&token)).await;
    assert!(matches!(elsewhere.status, 400 | 404), "{elsewhere:?}");
}

#[tokio::test]
async fn a_caller_revokes_what_it_may_use() {
    let stage = Stage::configured(|_| {}).await;
    let token = stage.ask(Ask::rest("polling/token")).await.token();
    stage.until_held("second").await;
    let form = format!("token={token}");
    let revoke = |id: &str, key: &str| Ask::new("POST", "/oauth/revoke").basic(id, key).form(&form);
    let requests = stage.token_requests();
    assert_eq!(stage.ask(revoke("poller", "wrong")).await.status, 401);
    assert_eq!(stage.token_requests(), requests);
    assert_eq!(stage.ask(revoke("poller", POLLER_KEY)).await.status, 200);
    assert_ne!(stage.ask(Ask::rest("polling/token")).await.token(), token);
    assert_eq!(stage.token_requests(), requests + 1);
}
