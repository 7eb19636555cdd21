//! The refresh and the dance against a stand-in for a silo and its token endpoint on loopback.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use throughline_domain::connector::{BlobWriter, BoxFuture, ConnectionSpec, Grants, HubServices, Secret, StateChanges};
use throughline_schemas::connector::{ConnectorError, ErrorClass, HttpRequest, HttpResponse, Item};
use throughline_schemas::{ConnectionId, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::dial::{SystemResolver, Trust};
use crate::imports::http::fetch;
use crate::options::Limits;

const NOW_MS: i64 = 1_700_000_000_000;
const CLIENT: &str = "client+secret/value";

/// The hub's side: what was stored, and the time.
struct Hub {
    stored: Mutex<Vec<Secrets>>,
    store_fails: AtomicBool,
    now_ms: AtomicI64,
}

impl Hub {
    fn has_stored(&self, value: &str) -> bool {
        self.stored.lock().unwrap().iter().any(|secrets| secrets.values().any(|secret| secret.expose() == value))
    }
}

impl HubServices for Hub {
    fn emit(&self, _: Vec<Item>, _: Option<Value>, _: StateChanges) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async { Ok(()) })
    }
    fn state(&self, _: &str) -> Result<Option<Value>, ConnectorError> {
        Ok(None)
    }
    fn blob_writer(&self, _: &str, _: Option<&str>, _: u64) -> Result<Box<dyn BlobWriter>, ConnectorError> {
        Err(ConnectorError::new(ErrorClass::Unsupported, "no files"))
    }
    fn blob_read(&self, _: &str, _: u64, _: u32) -> Result<Vec<u8>, ConnectorError> {
        Err(ConnectorError::new(ErrorClass::Unsupported, "no files"))
    }
    fn store_secrets(&self, secrets: BTreeMap<String, Secret>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(async move {
            if self.store_fails.load(Ordering::SeqCst) {
                return Err(ConnectorError::new(ErrorClass::Transient, "the disk is away"));
            }
            self.stored.lock().unwrap().push(secrets);
            Ok(())
        })
    }
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms.load(Ordering::SeqCst))
    }
}

/// How the stand-in behaves, and what it saw.
#[derive(Default)]
struct Silo {
    /// Tokens given out; the last pair is the good one.
    issued: u32,
    rotates: bool,
    refuses_api: bool,
    wants_basic: bool,
    delay: Duration,
    /// Answers the token endpoint in place of tokens.
    error: Option<(u16, Value)>,
    token_requests: Vec<String>,
    api_requests: Vec<String>,
    /// Tokens that were used before the hub had stored them.
    used_too_early: Vec<String>,
}

impl Silo {
    fn refresh_token(&self) -> String {
        format!("refresh-token-{}", if self.rotates { self.issued } else { 0 })
    }

    fn token(&mut self, request: &str) -> (u16, Value) {
        self.token_requests.push(request.to_owned());
        if let Some(error) = &self.error {
            return error.clone();
        }
        let basic = request.contains("authorization: Basic Y2xpZW50LWlkOmNsaWVudCUyQnNlY3JldCUyRnZhbHVl");
        let posted = request.contains("client_id=client-id&client_secret=client%2Bsecret%2Fvalue");
        if if self.wants_basic { !basic } else { !posted } {
            return (401, json!({"error": "invalid_client"}));
        }
        let refreshes = request.contains(&format!("grant_type=refresh_token&refresh_token={}", self.refresh_token()));
        let exchanges = request.contains("grant_type=authorization_code&code=the-code&") && request.contains("&code_verifier=the-verifier");
        if !refreshes && !exchanges {
            return (400, json!({"error": "invalid_grant", "error_description": request}));
        }
        self.issued += 1;
        let mut tokens = json!({"access_token": format!("access-token-{}", self.issued), "token_type": "Bearer", "expires_in": 3600});
        if self.rotates || exchanges {
            tokens["refresh_token"] = json!(self.refresh_token());
        }
        (200, tokens)
    }

    fn api(&mut self, request: &str, hub: &Hub) -> (u16, Value) {
        self.api_requests.push(request.to_owned());
        let token = request.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap_or_default().to_owned();
        if token.starts_with("access-token") && !hub.has_stored(&token) {
            self.used_too_early.push(token.clone());
        }
        let good = token == format!("access-token-{}", self.issued) && !self.refuses_api;
        if good { (200, json!({"echo": token})) } else { (401, json!({"error": "invalid_token"})) }
    }
}

/// A connection towards the stand-in.
struct Rig {
    hub: Arc<Hub>,
    silo: Arc<Mutex<Silo>>,
    connection: Arc<Connection>,
}

impl Rig {
    async fn new(secrets: &[(&str, &str)]) -> Self {
        Self::with(secrets, &["{config.base}"], &["127.0.0.1"]).await
    }

    async fn with(secrets: &[(&str, &str)], hosts: &[&str], private_hosts: &[&str]) -> Self {
        let hub = Arc::new(Hub { stored: Mutex::default(), store_fails: AtomicBool::new(false), now_ms: AtomicI64::new(NOW_MS) });
        let silo = Arc::new(Mutex::new(Silo::default()));
        let port = serve(silo.clone(), hub.clone()).await;
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        let given = [(CLIENT_ID, "client-id"), (CLIENT_SECRET, CLIENT)];
        let spec = ConnectionSpec {
            id: ConnectionId::from_bytes([1; 16]),
            plugin: "x".to_owned(),
            version: "1.0.0".to_owned(),
            config: json!({"base": format!("http://127.0.0.1:{port}/")}),
            secrets: given.iter().chain(secrets).map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
            grants: Grants { hosts: owned(hosts), private_hosts: owned(private_hosts) },
        };
        let resolver = Arc::new(SystemResolver);
        let connection = Connection::new(spec, &manifest(), &Limits::default(), hub.clone(), resolver, Trust::new(None).unwrap()).unwrap();
        Self { hub, silo, connection: Arc::new(connection) }
    }

    fn silo(&self) -> std::sync::MutexGuard<'_, Silo> {
        self.silo.lock().unwrap()
    }

    async fn call(&self) -> Result<HttpResponse, ConnectorError> {
        self.call_with("Bearer {secret:oauth_access_token}").await
    }

    async fn call_with(&self, authorization: &str) -> Result<HttpResponse, ConnectorError> {
        let base: Value = serde_json::from_str(&self.connection.config).unwrap();
        let request = HttpRequest {
            method: "POST".to_owned(),
            url: format!("{}api", base["base"].as_str().unwrap()),
            headers: vec![("authorization".to_owned(), authorization.to_owned())],
            body: Some(b"the body".to_vec()),
        };
        let sent = fetch(self.connection.clone(), request).await;
        sent.map_err(|error| self.connection.redactor.error(error))
    }

    async fn status(&self) -> u16 {
        self.call().await.unwrap().status
    }

    /// Requests to the token endpoint and to the API.
    fn seen(&self) -> (usize, usize) {
        let silo = self.silo();
        (silo.token_requests.len(), silo.api_requests.len())
    }

    fn pass(&self, seconds: i64) {
        self.hub.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

fn manifest() -> Manifest {
    let manifest = json!({
        "name": "x", "version": "1.0.0", "wit": "0.1.0", "licence": "MIT", "summary": "x", "kinds": ["crm"],
        "config": {"type": "object"}, "capabilities": {"hosts": ["{config.base}"], "transports": ["http"]},
        "auth": [{
            "method": "oauth2", "authorize_url": "{config.base}/authorize?prompt=consent", "token_url": "{config.base}/token",
            "scopes": ["contacts.read", "offline"],
        }],
    });
    serde_json::from_value(manifest).unwrap()
}

async fn serve(silo: Arc<Mutex<Silo>>, hub: Arc<Hub>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, silo.clone(), hub.clone()));
        }
    });
    port
}

async fn answer(mut stream: TcpStream, silo: Arc<Mutex<Silo>>, hub: Arc<Hub>) {
    while let Some(request) = read(&mut stream).await {
        let is_token = request.starts_with("POST /token ");
        let delay = silo.lock().unwrap().delay;
        if is_token && !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (status, body) = match is_token {
            true => silo.lock().unwrap().token(&request),
            false => silo.lock().unwrap().api(&request, &hub),
        };
        let body = body.to_string();
        let text = format!("HTTP/1.1 {status} X\r\nretry-after: 3\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[test]
fn it_is_known_when_a_token_must_be_replaced() {
    let at = |offset: i64| (NOW_MS + offset).to_string();
    let (soon, past, later) = (at(SKEW_MS), at(0), at(SKEW_MS + 1));
    let cases: &[(&[(&str, &str)], Standing)] = &[
        (&[], Standing::Missing),
        (&[(REFRESH_TOKEN, "r")], Standing::Expired),
        (&[(ACCESS_TOKEN, ""), (REFRESH_TOKEN, "")], Standing::Missing),
        (&[(ACCESS_TOKEN, "a")], Standing::Good),
        (&[(ACCESS_TOKEN, "a"), (REFRESH_TOKEN, "r")], Standing::Good),
        (&[(ACCESS_TOKEN, "a"), (REFRESH_TOKEN, "r"), (EXPIRES_AT, "unknown")], Standing::Good),
        (&[(ACCESS_TOKEN, "a"), (REFRESH_TOKEN, "r"), (EXPIRES_AT, &later)], Standing::Good),
        (&[(ACCESS_TOKEN, "a"), (REFRESH_TOKEN, "r"), (EXPIRES_AT, &soon)], Standing::Expiring),
        (&[(ACCESS_TOKEN, "a"), (REFRESH_TOKEN, "r"), (EXPIRES_AT, &past)], Standing::Expired),
        (&[(ACCESS_TOKEN, "a"), (EXPIRES_AT, &past)], Standing::Good),
    ];
    for (secrets, expected) in cases {
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        assert_eq!(standing(&secrets, NOW_MS), *expected, "{:?}", Secrets::keys(&secrets));
    }
}

#[tokio::test]
async fn a_token_is_fetched_when_there_is_none_and_again_shortly_before_it_expires() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
    assert_eq!(rig.status().await, 200);
    rig.pass(3600 - 61);
    assert_eq!((rig.status().await, rig.seen()), (200, (1, 2)), "it is good still");
    rig.pass(1);
    assert_eq!((rig.status().await, rig.seen()), (200, (2, 3)), "it would expire within the minute");
    let answer = rig.call().await.unwrap();
    assert_eq!(String::from_utf8(answer.body).unwrap(), r#"{"echo":"[redacted]"}"#, "a new token is a secret like any other");
}

#[tokio::test]
async fn twenty_requests_at_once_wait_for_one_refresh() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
    rig.silo().delay = Duration::from_millis(50);
    let statuses = futures_util::future::join_all((0..20).map(|_| rig.status())).await;
    assert_eq!((statuses, rig.seen()), (vec![200; 20], (1, 20)));
    rig.silo().issued += 1;
    let statuses = futures_util::future::join_all((0..20).map(|_| rig.status())).await;
    assert_eq!(statuses, vec![200; 20], "all were refused with the same token, which is replaced once");
    assert_eq!(rig.seen(), (2, 60));
}

#[tokio::test]
async fn a_rotated_refresh_token_is_stored_before_anything_is_sent_with_it() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
    rig.silo().rotates = true;
    for expected in 1..=3 {
        assert_eq!(rig.status().await, 200);
        let stored = rig.hub.stored.lock().unwrap().last().unwrap().clone();
        assert_eq!(stored[REFRESH_TOKEN].expose(), format!("refresh-token-{expected}"));
        assert_eq!(stored[EXPIRES_AT].expose(), (rig.hub.now().as_millis() + 3_600_000).to_string());
        rig.pass(3600);
    }
    assert_eq!(rig.silo().used_too_early, Vec::<String>::new());
}

#[tokio::test]
async fn tokens_that_cannot_be_stored_are_not_used_and_not_lost() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
    rig.silo().rotates = true;
    rig.hub.store_fails.store(true, Ordering::SeqCst);
    assert_eq!(rig.call().await.unwrap_err().class, ErrorClass::Transient);
    assert_eq!(rig.seen(), (1, 0));
    rig.hub.store_fails.store(false, Ordering::SeqCst);
    assert_eq!((rig.status().await, rig.seen()), (200, (1, 1)), "the silo is not asked again: it would refuse the old one");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_the_request_sent_again_whole() {
    let rig = Rig::new(&[(ACCESS_TOKEN, "stale-token"), (REFRESH_TOKEN, "refresh-token-0")]).await;
    assert_eq!((rig.status().await, rig.seen()), (200, (1, 2)));
    assert!(rig.silo().api_requests[1].ends_with("the body"));
    rig.silo().refuses_api = true;
    assert_eq!((rig.status().await, rig.seen()), (401, (2, 4)), "the second refusal is the plugin's to hear of");
}

#[tokio::test]
async fn other_refusals_are_left_alone() {
    let rig = Rig::new(&[(ACCESS_TOKEN, "stale-token")]).await;
    assert_eq!((rig.status().await, rig.seen()), (401, (0, 1)), "there is nothing to refresh with");
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0"), ("key", "another")]).await;
    assert_eq!((rig.call_with("Bearer {secret:key}").await.unwrap().status, rig.seen()), (401, (0, 1)), "no token went along");
}

#[tokio::test]
async fn a_refresh_token_that_is_refused_asks_for_a_person_and_the_silo_is_asked_once() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "revoked-refresh-token")]).await;
    for _ in 0..3 {
        let error = rig.call().await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Auth);
        assert!(error.message.contains("connect again"), "{error}");
        assert!(!serde_json::to_string(&error).unwrap().contains("revoked-refresh"), "{error:?}");
    }
    assert_eq!(rig.seen(), (1, 0));
    let nothing = Rig::new(&[]).await;
    assert_eq!(nothing.call().await.unwrap_err().class, ErrorClass::Auth);
}

#[tokio::test]
async fn a_clients_secret_goes_into_the_form_or_where_that_is_refused_into_a_header() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
    rig.silo().wants_basic = true;
    assert_eq!((rig.status().await, rig.seen()), (200, (2, 1)));
    rig.pass(3600);
    assert_eq!((rig.status().await, rig.seen()), (200, (3, 2)), "it is remembered");
}

#[tokio::test]
async fn what_goes_wrong_at_the_token_endpoint_is_classed_and_shows_no_secret() {
    let cases = [
        (400, json!({"error": "invalid_scope", "error_description": CLIENT}), ErrorClass::Config),
        (401, json!({"error": "invalid_client", "error_description": CLIENT}), ErrorClass::Auth),
        (200, json!({"error": "bad_refresh_token"}), ErrorClass::Auth),
        (200, json!("<html>refresh-token-0</html>"), ErrorClass::Config),
        (302, json!({}), ErrorClass::Config),
        (429, json!({"error": "slow_down"}), ErrorClass::RateLimited),
        (500, json!({"error": "refresh-token-0"}), ErrorClass::Transient),
    ];
    for (status, body, class) in cases {
        let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
        rig.silo().error = Some((status, body.clone()));
        let error = rig.call().await.unwrap_err();
        assert_eq!(error.class, class, "{status} {body}: {error}");
        let text = format!("{error:?} {}", serde_json::to_string(&error).unwrap());
        assert!(!text.contains("refresh-token-0") && !text.contains(CLIENT), "{text}");
        assert_eq!(error.retry_after_ms, (class == ErrorClass::RateLimited).then_some(3000));
    }
}

#[tokio::test]
async fn tokens_are_had_from_granted_places_only_and_not_in_the_clear() {
    let secrets = [(REFRESH_TOKEN, "refresh-token-0")];
    let ungranted = Rig::with(&secrets, &[], &["127.0.0.1"]).await;
    assert_eq!(ungranted.call().await.unwrap_err().class, ErrorClass::Permission);
    let public = Rig::with(&secrets, &["{config.base}"], &[]).await;
    let error = public.call().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Config);
    assert!(error.message.contains("unencrypted"), "{error}");
    assert_eq!((ungranted.seen(), public.seen()), ((0, 0), (0, 0)));
}

#[tokio::test]
async fn the_plugin_cannot_send_what_is_the_hubs_own() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
    for name in [REFRESH_TOKEN, CLIENT_SECRET, EXPIRES_AT] {
        let error = rig.call_with(&format!("Bearer {{secret:{name}}}")).await.unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some(name)));
    }
    assert_eq!(rig.seen(), (0, 0));
}

#[tokio::test]
async fn a_refresh_goes_on_when_the_call_that_began_it_is_given_up() {
    let rig = Rig::new(&[(REFRESH_TOKEN, "refresh-token-0")]).await;
    {
        let mut silo = rig.silo();
        silo.rotates = true;
        silo.delay = Duration::from_millis(30);
    }
    assert!(tokio::time::timeout(Duration::from_millis(10), rig.call()).await.is_err(), "it is given up");
    settled(&rig.connection, Duration::from_secs(10)).await;
    assert!(rig.hub.has_stored("refresh-token-1"));
    assert_eq!((rig.status().await, rig.seen()), (200, (1, 1)));
}

#[tokio::test]
async fn the_dance_asks_for_consent_and_turns_the_code_into_tokens() {
    let rig = Rig::new(&[]).await;
    let url = authorize_url(&rig.connection, "https://hub.example/oauth/callback", "the state", "the-challenge").unwrap();
    let url = Url::parse(&url).unwrap();
    let query: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    let expected = [
        ("client_id", "client-id"),
        ("code_challenge", "the-challenge"),
        ("code_challenge_method", "S256"),
        ("prompt", "consent"),
        ("redirect_uri", "https://hub.example/oauth/callback"),
        ("response_type", "code"),
        ("scope", "contacts.read offline"),
        ("state", "the state"),
    ];
    assert_eq!(query, expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    let redirect = "https://hub.example/oauth/callback";
    let exchange = |code: &str| connect(rig.connection.clone(), Secret::new(code), Secret::new("the-verifier"), redirect.to_owned());
    let error = exchange("another-code").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Auth);
    assert!(!format!("{error:?}").contains("another-code"));
    exchange("the-code").await.unwrap();
    assert!(rig.silo().token_requests[1].contains("redirect_uri=https%3A%2F%2Fhub.example%2Foauth%2Fcallback"));
    assert_eq!((rig.hub.has_stored("access-token-1"), rig.hub.has_stored("refresh-token-0")), (true, true));
    assert_eq!((rig.status().await, rig.seen()), (200, (2, 1)));
}
