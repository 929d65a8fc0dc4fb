//! What others lost refresh tokens by, on exactly our path: each public report is a test here.
//!
//! The server is simulated, and its ledger is the judge. What needs a listener is in the server's
//! contract; a process that is killed, in `processes`.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod lost;
mod races;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use bellwether_broker::lifecycle::State;
use bellwether_broker::oauth::Secret;
use bellwether_broker::provider::Rotation as Class;
use bellwether_broker::{AuthorizationServer, CredentialSettings, Handle, Obtain, Transport};
use bellwether_simulation::{Effect, Profile, Reuse, Rotation};
use support::{CLIENT, Line, Scripted, World, secs};
use tokio::time::sleep;

/// Longer than any window and shorter than a token's life.
const WINDOW: Duration = secs(120);

/// A refresh token that is shown twice ends everything; access tokens live ten minutes.
fn strict() -> Profile {
    Profile {
        access_token_lifetime: secs(600),
        rotation: Rotation::Strict,
        reuse: Reuse::RevokesFamily,
        ..Profile::plain()
    }
}

/// Every use of a refresh token within the window gives another pair.
fn lenient() -> Profile {
    Profile { rotation: Rotation::NewPair { window: WINDOW }, ..strict() }
}

/// A credential with a refresh token of this world's server.
fn refreshing(world: &World, rotation: Class, window: Option<Duration>) -> CredentialSettings {
    let seed = world.organisation().issue_refresh_token(world.now(), CLIENT).map(Secret::from);
    let server = AuthorizationServer { rotation, rotation_window: window, ..world.server() };
    CredentialSettings {
        authorization_server: Arc::new(server),
        obtain: Obtain::RefreshToken { seed },
        ..world.settings()
    }
}

/// A credential of a server that plays these answers to the refresh token `RT-0`.
fn scripted(lines: impl IntoIterator<Item = Line>) -> (Arc<Scripted>, CredentialSettings) {
    let script = Arc::new(Scripted::playing(lines));
    let settings = support::settings(support::server(Arc::clone(&script) as Arc<dyn Transport>));
    let obtain = Obtain::RefreshToken { seed: Some(Secret::from("RT-0")) };
    (script, CredentialSettings { obtain, ..settings })
}

/// A good answer with this refresh token.
fn pair(number: u32, refresh_token: &str) -> Line {
    let token = format!(r#""access_token":"AT-{number}","token_type":"Bearer","expires_in":600"#);
    Line::Answer(200, format!(r#"{{{token}{refresh_token}}}"#))
}

/// A fault of the next request: this answer, although it was processed or not.
fn answers(status: u16, body: &str, processed: bool) -> Effect {
    Effect::Answer {
        status,
        retry_after: None,
        content_type: "application/json".to_owned(),
        body: body.as_bytes().to_vec(),
        processed,
    }
}

/// Waits for a state; panics after a virtual quarter of an hour.
async fn settled(handle: &Handle, state: State) {
    for _ in 0..90_000 {
        if handle.status().state == state {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("still {:?}, not {state}: {:?}", handle.status(), handle.last_error());
}

/// Renews, and waits for the next generation.
async fn renewed(handle: &Handle) {
    let before = handle.generation();
    handle.renew();
    for _ in 0..6_000 {
        if handle.generation() > before {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no newer token in a minute: {:?}, {:?}", handle.status(), handle.last_error());
}
