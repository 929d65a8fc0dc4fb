//! What `bellwether check` says about configurations, through the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use bellwether_cli::configuration::Configuration;
use rustix::fs::{FileType, Mode};
use tempfile::TempDir;

/// Good as it stands. Each row of the tables below changes one piece of it.
const GOOD: &str = r##"[gateway]
listen = "127.0.0.1:8484"
hosts = ["broker.example.com"]
hand_out = "real"
login_path = "/login"
api_path = ""
refresh_replay = "10m"
max_body = "1MiB"

[admin]
listen = "127.0.0.1:8485"
key = { file = "operator.key" }

[store]
url = "sqlite:bellwether.db"
key = { env = "STORE_KEY" }

[[authorization_server]]
name = "genesys-apac"
provider = "genesys"
region = "ap-southeast-2"
default_lifetime = "1h"
request_budget = "10/s burst 20"

[[authorization_server]]
name = "local"
token_endpoint = "http://127.0.0.1:9999/oauth/token"
resource_server = "http://localhost:9999"
rotation = "new-pair"
rotation_window = "30s"
verify = "/me"
ca = "ca.pem"

[[credential]]
name = "polling"
authorization_server = "genesys-apac"
grant = "client_credentials"
client_id = "integration"
client_secret = { env = "CLIENT_SECRET" }
pool = 4
api_budget = "300/60s"

[[credential]]
name = "sync"
authorization_server = "local"
grant = "refresh_token"
client_id = "sync-app"
client_secret = { file = "client.secret" }
client_authentication = "post"
scope = ["read", "write"]
parameters = { audience = "https://api.example.com", tenant = "acme" }
refresh_token = { file = "first.token" }

[[caller]]
name = "poller"
key = { file = "poller.key" }
credentials = ["polling", "sync"]

[[poll]]
name = "presence"
credential = "polling"
path = "/api/v2/users?id={agents}"
together = 50
agents = { list = "/api/v2/users?pageNumber={page}" }
items = "entities"
period = "5s"
workers = 20
conditional = true
output = { files = "samples", rotate = "64MiB" }
"##;

const OPERATOR_KEY: &str = "operator-operator-operator-operator";
const POLLER_KEY: &str = "poller-poller-poller-poller-poller";

/// Title; the piece of `GOOD` and what stands there instead; where that is found, and what is said.
type Row = (&'static str, &'static str, &'static str, usize, &'static str, &'static str);

#[rustfmt::skip]
const BAD: &[Row] = &[
    // [gateway]
    ("no port to listen at",            r#"listen = "127.0.0.1:8484""#, r#"listen = "127.0.0.1""#, 2, "gateway.listen", "an IP address and a port"),
    ("a name to listen at",             r#"listen = "127.0.0.1:8484""#, r#"listen = "example.com:80""#, 2, "gateway.listen", "127.0.0.1:8484"),
    ("a number to listen at",           r#"listen = "127.0.0.1:8484""#, "listen = 8484", 2, "gateway.listen", "must be a string, not a number"),
    ("both listeners at one address",   r#"listen = "127.0.0.1:8485""#, r#"listen = "127.0.0.1:8484""#, 11, "admin.listen", "is the gateway's too"),
    ("a path that names no socket",     r#"listen = "127.0.0.1:8484""#, r#"listen = "unix:""#, 2, "gateway.listen", "names no file"),
    ("nowhere to listen at",            r#"listen = "127.0.0.1:8484""#, "listen = []", 2, "gateway.listen", "is empty"),
    ("the same place twice",            r#"listen = "127.0.0.1:8484""#, r#"listen = ["unix:a", "unix:a"]"#, 2, "gateway.listen[1]", "is there twice"),
    ("both listeners at one socket",    "listen = \"127.0.0.1:8484\"\nhosts = [\"broker.example.com\"]\nhand_out = \"real\"\nlogin_path = \"/login\"\napi_path = \"\"\nrefresh_replay = \"10m\"\nmax_body = \"1MiB\"\n\n[admin]\nlisten = \"127.0.0.1:8485\"", "listen = \"unix:a\"\n[admin]\nlisten = \"unix:a\"", 4, "admin.listen", "is the gateway's too"),
    ("a socket's mode in letters",      r#"api_path = """#, r#"socket_mode = "rw""#, 6, "gateway.socket_mode", r#"write "0600""#),
    ("no connections",                  r#"api_path = """#, "max_connections = 0", 6, "gateway.max_connections", "from 1 to 1000000"),
    ("connections in words",            r#"api_path = """#, r#"max_connections_per_peer = "few""#, 6, "gateway.max_connections_per_peer", "from 1 to 1000000"),
    ("a connection kept for a day",     r#"api_path = """#, r#"keep_alive = "1d""#, 6, "gateway.keep_alive", "at most 1h"),
    ("no workers",                      r#"api_path = """#, "workers = 0", 6, "gateway.workers", "from 1 to 1024"),
    ("a timeout without a unit",        r#"api_path = """#, "answer_timeout = 60", 6, "gateway.answer_timeout", "needs a unit"),
    ("silence for ever",                r#"api_path = """#, r#"silence = "30d""#, 6, "gateway.silence", "at most 1d"),
    ("a certificate without its key",   r#"api_path = """#, r#"tls = { certificate = "ca.pem" }"#, 6, "gateway.tls.key", r#"is missing; write key = "key.pem""#),
    ("a certificate that is missing",   r#"api_path = """#, r#"tls = { certificate = "missing.pem", key = "client.secret" }"#, 6, "gateway.tls.certificate", "missing.pem does not exist"),
    ("a certificate that is none",      r#"api_path = """#, r#"tls = { certificate = "short.key", key = "client.secret" }"#, 6, "gateway.tls.certificate", "short.key: holds no certificate"),
    ("a certificate's key is none",     r#"api_path = """#, r#"tls = { certificate = "ca.pem", key = "client.secret" }"#, 6, "gateway.tls.key", "client.secret: holds no private key"),
    ("a certificate's key for all",     r#"api_path = """#, r#"tls = { certificate = "ca.pem", key = "readable.secret" }"#, 6, "gateway.tls.key", "can be read by everybody"),
    ("callers' certificates of nobody", r#"api_path = """#, r#"tls = { certificate = "ca.pem", key = "client.secret", client_auth = "optional" }"#, 6, "gateway.tls.client_auth", "needs client_ca"),
    ("a URL as host",                   r#"["broker.example.com"]"#, r#"["https://broker"]"#, 3, "gateway.hosts[0]", "as callers write it"),
    ("one host instead of a list",      r#"["broker.example.com"]"#, r#""broker.example.com""#, 3, "gateway.hosts", "must be a list"),
    ("a proxy by name",                 r#"api_path = """#, r#"trusted_proxies = ["nginx"]"#, 6, "gateway.trusted_proxies[0]", "10.0.0.0/8"),
    ("a proxy with an address too long", r#"api_path = """#, r#"trusted_proxies = ["unix", "10.0.0.1/8"]"#, 6, "gateway.trusted_proxies[1]", r#"write "10.0.0.0/8""#),
    ("every peer a proxy",              r#"api_path = """#, r#"trusted_proxies = ["::/0"]"#, 6, "gateway.trusted_proxies[0]", "trusts everybody"),
    ("an unknown kind of hand-out",     r#""real""#, r#""locale""#, 4, "gateway.hand_out", r#"did you mean "local"?"#),
    ("a prefix without a slash",        r#""/login""#, r#""login""#, 5, "gateway.login_path", "with a slash at the beginning"),
    ("a prefix that is taken",          r#""/login""#, r#""/bellwether""#, 5, "gateway.login_path", "are taken"),
    ("a duration without a unit",       r#""10m""#, "600", 7, "gateway.refresh_replay", r#"needs a unit; write it as in "30s""#),
    ("a duration in an unknown unit",   r#""10m""#, r#""10min""#, 7, "gateway.refresh_replay", "is no duration"),
    ("a duration of nothing",           r#""10m""#, r#""0s""#, 7, "gateway.refresh_replay", "more than 0s and at most 1d"),
    ("a size without a unit",           r#""1MiB""#, r#""1000""#, 8, "gateway.max_body", "is no size"),
    ("more memory than is kept",        r#""1MiB""#, r#""65MiB""#, 8, "gateway.max_body", "64MiB"),
    ("a cache without a unit",          r#"max_body = "1MiB""#, "cache = 5", 8, "gateway.cache", "needs a unit"),
    ("a cache that is kept for ever",   r#"max_body = "1MiB""#, r#"cache = "2h""#, 8, "gateway.cache", "at most 1h"),
    ("a cache without a bound",         r#"max_body = "1MiB""#, r#"cache_size = "2048MiB""#, 8, "gateway.cache_size", "1024MiB"),
    ("coalescing in words",             r#"max_body = "1MiB""#, r#"coalesce = "yes""#, 8, "gateway.coalesce", "true or false"),
    ("an unknown key, nearly right",    "hand_out =", "handout =", 4, "gateway.handout", "did you mean hand_out?"),
    ("an unknown key, nothing near",    "max_body =", "threads =", 8, "gateway.threads", "known here are listen, hosts, trusted_proxies, hand_out"),
    ("double brackets for one section", "[gateway]", "[[gateway]]", 1, "gateway", "write [gateway] with single brackets"),
    // [admin]
    ("a key that is too short",         "operator.key", "short.key", 12, "admin.key", "32 to 256 visible ASCII characters, this one has 5"),
    ("a key with other characters",     "operator.key", "spaced.key", 12, "admin.key", "openssl rand -hex 32"),
    ("a key written into the file",     r#"{ file = "operator.key" }"#, r#""s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t""#, 12, "admin.key", r#"they come from { env = "NAME" } or { file = "PATH" }"#),
    ("the operator's key is a caller's", "operator.key", "poller.key", 12, "admin.key", r#"the key of caller "poller" too"#),
    // [store]
    ("a backend that is not built in",  r#""sqlite:bellwether.db""#, r#""redis://localhost/0""#, 15, "store.url", "not in this build yet"),
    ("another such backend",            r#""sqlite:bellwether.db""#, r#""postgres://db/bellwether""#, 15, "store.url", "not in this build yet"),
    ("a password in the store's URL",   r#""sqlite:bellwether.db""#, r#""postgres://bw:s3cr3t@db/bw""#, 15, "store.url", r#"it comes from { env = "NAME" }"#),
    ("a path instead of a URL",         r#""sqlite:bellwether.db""#, r#""bellwether.db""#, 15, "store.url", r#"write "sqlite:PATH" or "memory:""#),
    ("no file for the store",           r#""sqlite:bellwether.db""#, r#""sqlite:""#, 15, "store.url", "names no file"),
    ("a section without its key",       "url = \"sqlite:bellwether.db\"\n", "\n", 14, "store.url", "is missing; write url ="),
    ("a store that forgets",            r#""sqlite:bellwether.db""#, r#""memory:""#, 15, "store.url", r#"would lose the refresh token of credential "sync""#),
    ("a variable that is not set",      "STORE_KEY", "STORE_KEI", 16, "store.key.env", "the environment variable STORE_KEI is not set"),
    ("no name of a variable",           "STORE_KEY", "s3cr3t-s3cr3t", 16, "store.key.env", "is no name of an environment variable"),
    // [[authorization_server]]
    ("an unknown provider",             r#""genesys""#, r#""genesis""#, 20, "authorization_server[0].provider", "choose genesys, "),
    ("an unknown region",               r#""ap-southeast-2""#, r#""ap-southeast-3""#, 21, "authorization_server[0].region", "choose ap-southeast-1, "),
    ("no region",                       r#"region = "ap-southeast-2""#, "", 18, "authorization_server[0].region", "genesys needs a region; choose us-east-1, "),
    ("a region without a provider",     r#"verify = "/me""#, r#"region = "us-east-1""#, 31, "authorization_server[1].region", "belongs to a provider"),
    ("no token endpoint",               r#"token_endpoint = "http://127.0.0.1:9999/oauth/token""#, "", 25, "authorization_server[1].token_endpoint", "or a provider: genesys, salesforce"),
    ("a provider whose hosts differ",   r#"token_endpoint = "http://127.0.0.1:9999/oauth/token""#, r#"provider = "okta""#, 25, "authorization_server[1].token_endpoint", "differs between customers of okta"),
    ("http to another machine",         r#""http://127.0.0.1:9999/oauth/token""#, r#""http://login.example.com/oauth/token""#, 27, "authorization_server[1].token_endpoint", "write https"),
    ("a name that resembles localhost", r#""http://localhost:9999""#, r#""http://localhost.example.com""#, 28, "authorization_server[1].resource_server", "write https"),
    ("a user in a URL",                 r#""http://localhost:9999""#, r#""https://me:s3cr3t@example.com""#, 28, "authorization_server[1].resource_server", "must not hold a user or password"),
    ("a query in a URL",                r#""http://localhost:9999""#, r#""https://example.com/?key=s3cr3t""#, 28, "authorization_server[1].resource_server", "must not have a query"),
    ("a fragment in a URL",             r#""http://localhost:9999""#, r#""https://example.com/#a""#, 28, "authorization_server[1].resource_server", "must not have a fragment"),
    ("no scheme",                       r#""http://localhost:9999""#, r#""localhost:9999""#, 28, "authorization_server[1].resource_server", "begins with https://"),
    ("an unknown rotation",             r#""new-pair""#, r#""newpair""#, 29, "authorization_server[1].rotation", "choose new-pair, "),
    ("a window where there is none",    r#""new-pair""#, r#""strict""#, 30, "authorization_server[1].rotation_window", "rotation strict has no window"),
    ("no window where one is needed",   r#"rotation_window = "30s""#, "", 29, "authorization_server[1].rotation", "add rotation_window"),
    ("no path to verify at",            r#""/me""#, r#""me""#, 31, "authorization_server[1].verify", "is no path at the resource server"),
    ("nowhere to verify",               r#"resource_server = "http://localhost:9999""#, "", 31, "authorization_server[1].verify", "add resource_server"),
    ("a lifetime of nothing",           r#""1h""#, r#""0h""#, 22, "authorization_server[0].default_lifetime", "more than 0s"),
    ("a budget without a time",         r#""10/s burst 20""#, r#""10""#, 23, "authorization_server[0].request_budget", "write requests and a time"),
    ("certificates that do not exist",  "ca.pem", "missing.pem", 32, "authorization_server[1].ca", "missing.pem does not exist"),
    ("certificates that are none",      "ca.pem", "short.key", 32, "authorization_server[1].ca", "in PEM format"),
    ("certificates anybody can change", "ca.pem", "open.pem", 32, "authorization_server[1].ca", "can be written by everybody"),
    ("a name outside the grammar",      r#"name = "local""#, r#"name = "lo/cal""#, 26, "authorization_server[1].name", "letters, digits, dots"),
    ("a name in other letters",         r#"name = "local""#, r#"name = "löcal""#, 26, "authorization_server[1].name", "letters, digits, dots"),
    ("a name that climbs",              r#"name = "local""#, r#"name = "..""#, 26, "authorization_server[1].name", "URL's path"),
    ("a name that is taken",            r#"name = "local""#, r#"name = "genesys-apac""#, 26, "authorization_server[1].name", "is taken in line 19"),
    ("single brackets",                 "[[caller]]", "[caller]", 54, "caller", "write [[caller]], double brackets"),
    ("a login in the clear",            r#"verify = "/me""#, r#"authorization_endpoint = "http://login.example.com/authorize""#, 31, "authorization_server[1].authorization_endpoint", "sends secrets in the clear"),
    ("a device endpoint with a query",  r#"verify = "/me""#, r#"device_authorization_endpoint = "https://login.example.com/device?a=s3cr3t""#, 31, "authorization_server[1].device_authorization_endpoint", "must not have a query"),
    ("a revocation in the clear",       r#"verify = "/me""#, r#"revocation_endpoint = "http://10.0.0.1/revoke""#, 31, "authorization_server[1].revocation_endpoint", "sends secrets in the clear"),
    ("an issuer that is no URL",        r#"verify = "/me""#, r#"issuer = "login.example.com""#, 31, "authorization_server[1].issuer", "must be a whole URL"),
    ("an issuer with a fragment",       r#"verify = "/me""#, r#"issuer = "https://login.example.com/#s3cr3t""#, 31, "authorization_server[1].issuer", "must not have a fragment"),
    // [[credential]]
    ("a reference to nowhere",          r#"authorization_server = "local""#, r#"authorization_server = "loca""#, 45, "credential[1].authorization_server", r#"did you mean "local"?"#),
    ("an unknown grant",                r#""client_credentials""#, r#""client_credential""#, 37, "credential[0].grant", r#"did you mean "client_credentials"?"#),
    ("a grant that needs a person",     r#""client_credentials""#, r#""authorization_code""#, 37, "credential[0].grant", r#"write "client_credentials" or "refresh_token""#),
    ("no client",                       r#"client_id = "integration""#, "", 34, "credential[0].client_id", "is missing"),
    ("an empty client identifier",      r#""integration""#, r#""""#, 38, "credential[0].client_id", "must not be empty"),
    ("no secret",                       r#"client_secret = { env = "CLIENT_SECRET" }"#, "", 34, "credential[0].client_secret", "client_credentials is for confidential clients"),
    ("a secret written into the file",  r#"{ env = "CLIENT_SECRET" }"#, r#""s3cr3t""#, 39, "credential[0].client_secret", "secrets are not written here"),
    ("a secret under a wrong key",      r#"client_secret = { env = "CLIENT_SECRET" }"#, r#"client_secrets = "s3cr3t""#, 39, "credential[0].client_secrets", "did you mean client_secret?"),
    ("a secret in the source itself",   r#"{ env = "CLIENT_SECRET" }"#, r#"{ env = "CLIENT_SECRET", value = "s3cr3t" }"#, 39, "credential[0].client_secret.value", "unknown key"),
    ("two sources",                     r#"{ env = "CLIENT_SECRET" }"#, r#"{ env = "CLIENT_SECRET", file = "client.secret" }"#, 39, "credential[0].client_secret", "has two sources"),
    ("no source",                       r#"{ env = "CLIENT_SECRET" }"#, "{ }", 39, "credential[0].client_secret", "has no source"),
    ("leave to read a variable",        r#"{ env = "CLIENT_SECRET" }"#, r#"{ env = "CLIENT_SECRET", allow_readable = true }"#, 39, "credential[0].client_secret.allow_readable", "belongs beside file"),
    ("no file",                         "client.secret", "missing.secret", 48, "credential[1].client_secret.file", "missing.secret does not exist; create it"),
    ("a file its group can change",     "client.secret", "group-writable.secret", 48, "credential[1].client_secret.file", "run: chmod go-w"),
    ("a file everybody can read",       "client.secret", "readable.secret", 48, "credential[1].client_secret.file", "or write allow_readable = true"),
    ("a file that is too large",        "client.secret", "large.secret", 48, "credential[1].client_secret.file", "larger than 64 KiB"),
    ("an empty file",                   "client.secret", "empty.secret", 48, "credential[1].client_secret.file", "is empty"),
    ("a file of two lines",             "client.secret", "two-lines.secret", 48, "credential[1].client_secret.file", "more than one line"),
    ("a file that is no text",          "client.secret", "binary.secret", 48, "credential[1].client_secret.file", "is not UTF-8"),
    ("a directory",                     "client.secret", "directory", 48, "credential[1].client_secret.file", "is no regular file"),
    ("a pipe",                          "client.secret", "pipe", 48, "credential[1].client_secret.file", "is no regular file"),
    ("a method without a secret",       r#"client_secret = { file = "client.secret" }"#, "", 43, "credential[1].client_secret", r#"is missing for client_authentication "post""#),
    ("a secret without a method",       r#""post""#, r#""none""#, 49, "credential[1].client_authentication", "leaves the client_secret unused"),
    ("an unknown method",               r#""post""#, r#""private_key_jwt""#, 49, "credential[1].client_authentication", r#"write "basic" or "post" or "none""#),
    ("a scope with a quote",            r#"["read", "write"]"#, r#""read 'a\"b'""#, 50, "credential[1].scope", "visible ASCII"),
    ("two scopes in one item",          r#"["read", "write"]"#, r#"["read write"]"#, 50, "credential[1].scope", "each item is one token"),
    ("a parameter with its own key",    "tenant =", "client_secret =", 51, "credential[1].parameters.client_secret", "use the credential's own keys"),
    ("a parameter twice",               r#"tenant = "acme""#, r#"tenant = ["s3cr3t", "b"]"#, 51, "credential[1].parameters.tenant", "comes once"),
    ("a parameter that is a number",    r#"tenant = "acme""#, "tenant = 5", 51, "credential[1].parameters.tenant", "must be a string"),
    ("no pool",                         "pool = 4", "pool = 0", 40, "credential[0].pool", "from 1 to 1000"),
    ("too large a pool",                "pool = 4", "pool = 1001", 40, "credential[0].pool", "from 1 to 1000"),
    ("a pool in words",                 "pool = 4", r#"pool = "4""#, 40, "credential[0].pool", "from 1 to 1000"),
    ("a pool of refresh tokens",        r#"scope = ["read", "write"]"#, "pool = 2", 50, "credential[1].pool", "must be 1"),
    ("a budget without requests",       r#""300/60s""#, r#""0/60s""#, 41, "credential[0].api_budget", "is no budget"),
    ("a refresh token to no use",       "pool = 4", r#"refresh_token = { file = "first.token" }"#, 40, "credential[0].refresh_token", r#"belongs to grant = "refresh_token""#),
    ("a redirect port to no use",       "pool = 4", "redirect_port = 8400", 40, "credential[0].redirect_port", "is for logins"),
    ("a login's parameters to no use",  "pool = 4", r#"authorization_parameters = { prompt = "consent" }"#, 40, "credential[0].authorization_parameters", "is for logins"),
    ("a redirect port that is none",    r#"refresh_token = { file = "first.token" }"#, "redirect_port = 0", 52, "credential[1].redirect_port", "must be a port"),
    ("a login that speaks for itself",  r#"refresh_token = { file = "first.token" }"#, r#"authorization_parameters = { state = "s3cr3t" }"#, 52, "credential[1].authorization_parameters", "may not set state"),
    ("a refresh token in the file",     r#"{ file = "first.token" }"#, r#""s3cr3t""#, 52, "credential[1].refresh_token", "secrets are not written here"),
    ("a credential's name is taken",    r#"name = "sync""#, r#"name = "polling""#, 44, "credential[1].name", "is taken in line 35"),
    ("one grant in two credentials",    "[[caller]]", "[[credential]]\nname = \"twin\"\nauthorization_server = \"local\"\ngrant = \"refresh_token\"\nclient_id = \"sync-app\"\nclient_secret = { file = \"client.secret\" }\nrefresh_token = { file = \"first.token\" }\n\n[[caller]]", 60, "credential[2].refresh_token", r#"is what credential "sync" spends too, and "twin" would end what it holds"#),
    // [[caller]]
    ("no key",                          "key = { file = \"poller.key\" }\n", "\n", 54, "caller[0].key", "is missing"),
    ("a credential that is not there",  r#"["polling", "sync"]"#, r#"["poling", "sync"]"#, 57, "caller[0].credentials[0]", r#"did you mean "polling"?"#),
    ("a credential twice",              r#"["polling", "sync"]"#, r#"["sync", "sync"]"#, 57, "caller[0].credentials[1]", "is named twice"),
    ("no credentials",                  r#"["polling", "sync"]"#, "[]", 57, "caller[0].credentials", "is empty"),
    ("two callers with one key",        "credentials = [\"polling\", \"sync\"]\n", "credentials = [\"sync\"]\n[[caller]]\nname = \"b\"\nkey = { file = \"poller.key\" }\ncredentials = [\"sync\"]\n", 60, "caller[1].key", r#"is the key of caller "poller" too"#),
    ("keys said in two ways",           r#"key = { file = "poller.key" }"#, "key = { file = \"poller.key\" }\nkeys = [{ file = \"first.token\" }]", 57, "caller[0].keys", "stands beside key"),
    ("a list without keys",             r#"key = { file = "poller.key" }"#, "keys = []", 56, "caller[0].keys", "has 1 to 16 keys, this one 0"),
    ("keys that are no list",           r#"key = { file = "poller.key" }"#, r#"keys = "s3cr3t""#, 56, "caller[0].keys", "must be a list"),
    ("a key in the list itself",        r#"key = { file = "poller.key" }"#, r#"keys = ["s3cr3t"]"#, 56, "caller[0].keys[0]", "secrets are not written here"),
    ("a short key in a list",           r#"key = { file = "poller.key" }"#, r#"keys = [{ file = "poller.key" }, { file = "short.key" }]"#, 56, "caller[0].keys[1]", "32 to 256 visible ASCII characters"),
    ("a key twice in a list",           r#"key = { file = "poller.key" }"#, r#"keys = [{ file = "poller.key" }, { file = "poller.key" }]"#, 56, "caller[0].keys[1]", "is there twice"),
    ("a key that ends some day",        r#"key = { file = "poller.key" }"#, r#"key = { file = "poller.key", expires = "soon" }"#, 56, "caller[0].key.expires", r#"write it like "2027-01-31""#),
    ("a time of nowhere",               r#"key = { file = "poller.key" }"#, r#"key = { file = "poller.key", expires = "2027-01-31T12:00:00" }"#, 56, "caller[0].key.expires", "is no day or time"),
    ("a day of no month",               r#"key = { file = "poller.key" }"#, r#"keys = [{ file = "poller.key", expires = "2027-02-30" }]"#, 56, "caller[0].keys[0].expires", "is no day or time"),
    ("a user that is not there",        r#"key = { file = "poller.key" }"#, r#"user = "nobody-of-this-name""#, 56, "caller[0].user", "no user of this machine is called"),
    ("a user below none",               r#"key = { file = "poller.key" }"#, "user = -1", 56, "caller[0].user", "is no number of a user"),
    ("a user that is a list",           r#"key = { file = "poller.key" }"#, "user = [1000]", 56, "caller[0].user", "must be a user's name or number"),
    ("any certificate of a domain",     r#"key = { file = "poller.key" }"#, r#"certificate = "*.example.com""#, 56, "caller[0].certificate", "is no name of a certificate"),
    ("a certificate twice",             r#"key = { file = "poller.key" }"#, r#"certificate = ["a.test", "A.test"]"#, 56, "caller[0].certificate[1]", "is there twice"),
    ("two callers of one user",         r#"key = { file = "poller.key" }"#, "user = 0\ncredentials = [\"sync\"]\n[[caller]]\nname = \"b\"\nuser = \"root\"", 60, "caller[1].user", r#"is where caller "poller" comes from too"#),
    ("a star among the segments",       r#"["polling", "sync"]"#, "[\"polling\"]\npaths = [\"/api/*/users\"]", 58, "caller[0].paths[0]", "a * only as the last one"),
    ("a path with a query",             r#"["polling", "sync"]"#, "[\"polling\"]\npaths = [\"/api/x?y\"]", 58, "caller[0].paths[0]", "is no path alone"),
    ("no paths",                        r#"["polling", "sync"]"#, "[\"polling\"]\npaths = []", 58, "caller[0].paths", "is empty"),
    ("a method in small letters",       r#"["polling", "sync"]"#, "[\"polling\"]\nmethods = [\"get\"]", 58, "caller[0].methods[0]", r#"write "GET""#),
    ("a method that is not passed on",  r#"["polling", "sync"]"#, "[\"polling\"]\nmethods = [\"TRACE\"]", 58, "caller[0].methods[0]", "is never passed on"),
    // The file
    ("a secret in a dotted key",        "pool = 4", r#"extra.deep = "s3cr3t""#, 40, "credential[0].extra", "unknown key"),
    ("a secret in a number's place",    r#"{ env = "CLIENT_SECRET" }"#, r#"["s3cr3t", { a = "s3cr3t" }]"#, 39, "credential[0].client_secret", "secrets are not written here"),
    ("an unknown section",              "[admin]", "[administration]", 10, "administration", "unknown key; known here are gateway, admin"),
    ("a section nearly right",          "[[caller]]", "[[callers]]", 54, "callers", "did you mean caller?"),
    // [[poll]]
    ("a poll of nobody's credential", "credential = \"polling\"\npath", "credential = \"poling\"\npath", 61, "poll[0].credential", "did you mean \"polling\"?"),
    ("a poll without a path", "path = \"/api/v2/users?id={agents}\"\n", "", 59, "poll[0].path", "is missing"),
    ("a path that is an address", "\"/api/v2/users?id={agents}\"", "\"https://a.test/{agents}\"", 62, "poll[0].path", "begin it with /"),
    ("none at once", "together = 50", "together = 0", 63, "poll[0].together", "from 1 to 10000"),
    ("two ways to ask", "together = 50", "together = 50\npages = 3", 64, "poll[0].pages", "keep one of them"),
    ("two ways to the agents", "{ list = \"/api/v2/users?pageNumber={page}\" }", "{ file = \"a\", command = [\"b\"] }", 64, "poll[0].agents", "says one way"),
    ("no agents", "agents = { list = \"/api/v2/users?pageNumber={page}\" }\n", "", 59, "poll[0].agents", "is missing"),
    ("a program without a name", "{ list = \"/api/v2/users?pageNumber={page}\" }", "{ command = [] }", 64, "poll[0].agents.command", "name a program"),
    ("a period too short", "period = \"5s\"", "period = \"5ms\"", 66, "poll[0].period", "must be 100ms to 1d"),
    ("too many workers", "workers = 20", "workers = 2000", 67, "poll[0].workers", "from 1 to 1000"),
    ("a condition in words", "conditional = true", "conditional = \"yes\"", 68, "poll[0].conditional", "must be true or false"),
    ("two outputs", "{ files = \"samples\", rotate = \"64MiB\" }", "{ files = \"a\", sqlite = \"b\" }", 69, "poll[0].output", "names one place"),
    ("a URL with a password in the file", "{ files = \"samples\", rotate = \"64MiB\" }", "{ postgres = \"postgres://u:s3cr3t@h/d\" }", 69, "poll[0].output.postgres", "secrets are not written here"),
    ("an output that is none", "{ files = \"samples\", rotate = \"64MiB\" }", "\"samples\"", 69, "poll[0].output", "is no output"),
    ("a size without a unit", "rotate = \"64MiB\"", "rotate = \"64\"", 69, "poll[0].output.rotate", ""),
    ("a poll's key misspelt", "items = ", "item = ", 65, "poll[0].item", "did you mean items?"),
    ("a key twice",                     "api_path = \"\"", "login_path = \"/b\"", 6, "", "is no TOML: duplicate key"),
    ("a string without an end",         r#"client_secret = { env = "CLIENT_SECRET" }"#, r#"client_secret = "s3cr3t"#, 39, "", "is no TOML: "),
];

#[test]
fn each_mistake_is_told_with_its_place() {
    let folder = folder();
    let mut failures = Vec::new();
    for (title, good, bad, line, key, words) in BAD {
        assert_eq!(GOOD.matches(good).count(), 1, "{title}: {good:?} must stand in GOOD once");
        write(folder.path(), "bellwether.toml", &GOOD.replace(good, bad), 0o644);
        let output = check(folder.path(), &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        let place = format!("bellwether.toml:{line}:");
        let blamed = if key.is_empty() { words.to_string() } else { format!(" {key}: ") };
        let found = told
            .lines()
            .any(|told| told.contains(&place) && told.contains(&blamed) && told.contains(words));
        let secret = told.contains("s3cr3t");
        if !found || secret || output.status.code() != Some(2) || !output.stdout.is_empty() {
            let status = output.status;
            failures.push(format!("{title}: want {place} {key}: {words}\n{status}\n{told}\n"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn one_mistake_is_told_once() {
    let folder = folder();
    for (title, good, bad, _, key, _) in BAD {
        // Whatever had another name is no longer found by those who refer to it.
        if key.ends_with("name") || good.starts_with('[') {
            continue;
        }
        write(folder.path(), "bellwether.toml", &GOOD.replace(good, bad), 0o644);
        let told = String::from_utf8(check(folder.path(), &[]).stderr).unwrap();
        let count = told.lines().filter(|line| line.starts_with("bellwether.toml:")).count();
        assert_eq!(count, 1, "{title}:\n{told}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_with_a_caret_under_each() {
    let folder = folder();
    let text = GOOD
        .replace("pool = 4", "pool = 5000")
        .replace(r#"{ env = "CLIENT_SECRET" }"#, r#""s3cr3t""#)
        .replace(r#"hand_out = "real""#, r#"hand_out = "reel""#);
    write(folder.path(), "bellwether.toml", &text, 0o644);
    let told = String::from_utf8(check(folder.path(), &[]).stderr).unwrap();
    let expected = r#"bellwether.toml:4:12: gateway.hand_out: "reel" is not known; did you mean "real"? Write "real" or "local"
  |
4 | hand_out = "reel"
  |            ^^^^^^

bellwether.toml:39:17: credential[0].client_secret: secrets are not written here; they come from { env = "NAME" } or { file = "PATH" }
   |
39 | client_secret = …
   |                 ^

bellwether.toml:40:8: credential[0].pool: must be a whole number from 1 to 1000
   |
40 | pool = 5000
   |        ^^^^
"#;
    assert_eq!(told, expected);
}

#[test]
fn a_file_that_was_cut_off_anywhere_is_told_and_shows_no_secret() {
    let folder = folder();
    let path = folder.path().join("bellwether.toml");
    let text = GOOD.replace(r#"{ env = "CLIENT_SECRET" }"#, r#""s3cr3t-é-s3cr3t""#);
    let cuts = (0..text.len()).filter(|&cut| text.is_char_boundary(cut));
    for cut in cuts {
        fs::write(&path, &text[..cut]).unwrap();
        let told = match Configuration::load(&path, &|_| None) {
            Ok(configuration) => panic!("cut at {cut}: {configuration:?}"),
            Err(error) => error.to_string(),
        };
        let place = format!("{}:", path.display());
        assert!(told.starts_with(&place), "cut at {cut}: {told}");
        assert!(!told.contains("s3c"), "cut at {cut}: {told}");
    }
}

#[test]
fn a_file_that_cannot_be_used_as_a_whole() {
    let folder = folder();
    #[rustfmt::skip]
    let cases = [
        // name,          mode,  text,          said
        ("missing.toml",  None,                 "missing.toml: does not exist; create it or correct the path"),
        ("directory",     None,                 "is no regular file"),
        ("open.toml",     Some((0o646, GOOD)),  "can be written by everybody"),
        ("empty.toml",    Some((0o644, "")),    "credential: is missing; add one under [[credential]]"),
    ];
    for (name, file, words) in cases {
        if let Some((mode, text)) = file {
            write(folder.path(), name, text, mode);
        }
        let output = check(folder.path(), &["--config", name]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {told}");
        assert!(told.contains(words), "{name}: {told}");
    }
}

/// A piece of `GOOD` and what may stand there as well.
#[rustfmt::skip]
const ALSO_GOOD: &[(&str, &str, &str)] = &[
    ("as it stands",                   "[gateway]", "[gateway]"),
    ("any free port, twice",           r#"listen = "127.0.0.1:8484""#, r#"listen = "[::1]:0""#),
    ("a region by its domain",         r#""ap-southeast-2""#, r#""mypurecloud.com.au""#),
    ("a preset on this machine",       r#"region = "ap-southeast-2""#, r#"token_endpoint = "http://127.0.0.1:9998/oauth/token""#),
    ("no check of tokens",             r#""/me""#, "false"),
    ("a scope in a string",            r#"["read", "write"]"#, r#""read write""#),
    ("an audience twice",              r#""https://api.example.com""#, r#"["https://a.example.com", "https://b.example.com"]"#),
    ("a readable secret, if allowed",  r#"{ file = "client.secret" }"#, r#"{ file = "readable.secret", allow_readable = true }"#),
    ("a secret behind a link",         "client.secret", "link.secret"),
    ("a store beside the state",       "[store]\nurl = \"sqlite:bellwether.db\"\nkey = { env = \"STORE_KEY\" }\n", ""),
    ("a store URL from a variable",    r#""sqlite:bellwether.db""#, r#"{ env = "STORE_URL" }"#),
    ("a public client",                "client_secret = { file = \"client.secret\" }\nclient_authentication = \"post\"", ""),
    ("a rotation without a window",    "rotation = \"new-pair\"\nrotation_window = \"30s\"", "rotation = \"none\""),
    ("a preset with a window",         "token_endpoint = \"http://127.0.0.1:9999/oauth/token\"\nresource_server = \"http://localhost:9999\"\nrotation = \"new-pair\"\nrotation_window = \"30s\"", "provider = \"xero\"\nrotation_window = \"20m\""),
    ("hands out local tokens",         r#""real""#, r#""local""#),
];

#[test]
fn good_configurations_pass() {
    let folder = folder();
    for (title, piece, other) in ALSO_GOOD {
        assert_eq!(GOOD.matches(piece).count(), 1, "{title}: {piece:?} must stand in GOOD once");
        write(folder.path(), "bellwether.toml", &GOOD.replace(piece, other), 0o644);
        let output = check(folder.path(), &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{title}:\n{told}");
        let said = String::from_utf8(output.stdout).unwrap();
        let expected = "bellwether.toml: good; 2 authorization servers, 2 credentials, 1 caller";
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some(expected), "{title}");
        // Nothing is to be said of the server without a refresh token.
        let promise = lines.next().expect("what is promised");
        assert!(promise.starts_with("local: rotation "), "{title}: {promise}");
        assert_eq!(lines.next(), None, "{title}");
    }
}

#[test]
fn each_rotation_class_says_what_it_promises() {
    let window = |class: &str| format!("rotation = \"{class}\"\nrotation_window = \"30s\"");
    let plain = |class: &str| format!("rotation = \"{class}\"");
    #[rustfmt::skip]
    let cases = [
        // rotation, what is said of it, a warning
        (plain("none"),                                             "is not spent by use",          false),
        (plain("strict"),                                           "is good once",                 false),
        (window("new-pair"),                                        "within 30 s",                  false),
        (window("same-pair"),                                       "comes as it was",              false),
        (plain("until-acknowledged"),                               "stays good until a token",     false),
        (window("last-pair"),                                       "as long as Bellwether alone",  false),
        (format!("{}\nrequest_timeout = \"25s\"", window("same-pair")), "comes as it was",          true),
    ];
    let folder = folder();
    for (rotation, said, warns) in cases {
        let text = GOOD.replace(&window("new-pair"), &rotation);
        write(folder.path(), "bellwether.toml", &text, 0o644);
        let output = check(folder.path(), &[]);
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(line.contains(said), "{rotation}: {line}");
        assert_eq!(line.contains("warning: "), warns, "{rotation}: {line}");
        let output = check(folder.path(), &["--json"]);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let promises = told["rotation"].as_array().expect("a list");
        assert_eq!(promises.len(), 1, "{told}");
        assert_eq!(promises[0]["authorization_server"], "local");
        assert!(rotation.contains(promises[0]["rotation"].as_str().expect("its class")), "{told}");
        assert!(promises[0]["promise"].as_str().expect("a sentence").contains(said), "{told}");
        assert_eq!(promises[0]["warning"].is_string(), warns, "{told}");
    }
}

#[test]
fn json_on_standard_output_and_nothing_else() {
    let folder = folder();
    write(folder.path(), "bellwether.toml", GOOD, 0o644);
    let output = check(folder.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["ok"], true);
    assert_eq!(told["credentials"], 2);
    assert_eq!(told["errors"], serde_json::json!([]));

    write(folder.path(), "bellwether.toml", &GOOD.replace("pool = 4", "pool = 0"), 0o644);
    let output = check(folder.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "ok": false,
        "file": "bellwether.toml",
        "errors": [{
            "file": "bellwether.toml",
            "line": 40,
            "column": 8,
            "key": "credential[0].pool",
            "message": "must be a whole number from 1 to 1000",
        }],
    });
    assert_eq!(told, expected);
}

#[test]
fn paths_are_relative_to_the_file_and_the_file_is_searched_for() {
    let folder = folder();
    write(folder.path(), "bellwether.toml", GOOD, 0o644);
    let elsewhere = tempfile::tempdir().unwrap();
    let named = folder.path().join("bellwether.toml");
    let named = named.to_str().unwrap();

    let by_flag = check(elsewhere.path(), &["--config", named]);
    assert_eq!(by_flag.status.code(), Some(0), "{by_flag:?}");
    let by_variable =
        command(elsewhere.path(), &[]).env("BELLWETHER_CONFIG", named).output().unwrap();
    assert_eq!(by_variable.status.code(), Some(0), "{by_variable:?}");
    let nowhere = check(elsewhere.path(), &["--json"]);
    let told: serde_json::Value = serde_json::from_slice(&nowhere.stdout).unwrap();
    assert_eq!(told["ok"], false);
    let nowhere = check(elsewhere.path(), &[]);
    let told = String::from_utf8(nowhere.stderr).unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{told}");
    assert!(told.contains("there is no configuration; write one to bellwether.toml"), "{told}");
}

#[test]
fn wrong_usage_is_status_2() {
    let folder = folder();
    for arguments in [&["--secret", "s3cr3t"][..], &["--config"], &["bellwether.toml"]] {
        let output = check(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// A directory with every file that the configurations name.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat(65 * 1024);
    let certificate = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
    let operator = format!("\n  {OPERATOR_KEY}\n");
    #[rustfmt::skip]
    let files: [(&str, &[u8], u32); 14] = [
        ("operator.key",          operator.as_bytes(),         0o600),
        ("poller.key",            POLLER_KEY.as_bytes(),       0o640),
        ("short.key",             b"short\n",                  0o600),
        ("spaced.key",            b"a key of more than thirty-two characters", 0o600),
        ("client.secret",         b"secret\n",                 0o400),
        ("first.token",           b"token",                    0o600),
        ("group-writable.secret", b"s3cr3t",                   0o620),
        ("readable.secret",       b"s3cr3t",                   0o644),
        ("large.secret",          large.as_bytes(),            0o600),
        ("empty.secret",          b" \n",                      0o600),
        ("two-lines.secret",      b"s3cr3t\ns3cr3t",           0o600),
        ("binary.secret",         b"s3cr3t\xff",               0o600),
        ("ca.pem",                certificate.as_bytes(),      0o644),
        ("open.pem",              certificate.as_bytes(),      0o666),
    ];
    for (name, content, mode) in files {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(folder.path().join("directory")).unwrap();
    let (pipe, owner_reads) = (folder.path().join("pipe"), Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, pipe, FileType::Fifo, owner_reads, 0).unwrap();
    std::os::unix::fs::symlink("client.secret", folder.path().join("link.secret")).unwrap();
    folder
}

fn write(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn check(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    command
        .arg("check")
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("CLIENT_SECRET", "client-s3cr3t")
        .env("STORE_KEY", "store-s3cr3t-store-s3cr3t-store-s3cr3t")
        .env("STORE_URL", "sqlite:bellwether.db");
    command
}
