//! The imports of a guest, answered by the hub. The native twin is `testing::imports`.

use super::convert::{error_from_wit, items_to_wit, level_to_wit, request_to_wit, response_from_wit, security_to_wit};
use super::host::throughline::connector::{
    blobs, clock, control, emit as wit_emit, http, log as wit_log, net as wit_net, random, secrets, state,
};
use crate::log::Level;
use crate::net::Security;
use crate::{HttpRequest, HttpResponse, Item, Result, Value};

pub(crate) fn log(level: Level, message: &str, fields: &[(&str, String)]) {
    let fields: Vec<(String, String)> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    wit_log::log(level_to_wit(level), message, &fields);
}

pub(crate) fn now_ms() -> u64 {
    clock::now_ms()
}

pub(crate) fn monotonic_ns() -> u64 {
    clock::monotonic_ns()
}

pub(crate) fn random_bytes(n: usize) -> Vec<u8> {
    random::bytes(u32::try_from(n).expect("a wasm32 length fits in 32 bits"))
}

pub(crate) fn sleep_ms(ms: u64) -> Result<()> {
    control::sleep(ms).map_err(error_from_wit)
}

pub(crate) fn cancelled() -> bool {
    control::cancelled()
}

pub(crate) fn deadline_ms() -> Option<u64> {
    control::deadline_ms()
}

pub(crate) fn state_get(key: &str) -> Result<Option<String>> {
    state::get(key).map_err(error_from_wit)
}

pub(crate) fn state_set(key: &str, value: &str) -> Result<()> {
    state::set(key, value).map_err(error_from_wit)
}

pub(crate) fn state_delete(key: &str) -> Result<()> {
    state::delete(key).map_err(error_from_wit)
}

pub(crate) fn hmac_sha256(name: &str, data: &[u8]) -> Result<Vec<u8>> {
    secrets::hmac_sha256(name, data).map_err(error_from_wit)
}

pub(crate) fn secret_equals(name: &str, data: &[u8]) -> Result<bool> {
    secrets::equals(name, data).map_err(error_from_wit)
}

pub(crate) fn http_send(request: &HttpRequest, options: Option<&str>) -> Result<HttpResponse> {
    http::send(&request_to_wit(request), options).map(response_from_wit).map_err(error_from_wit)
}

pub(crate) struct Download(http::Download);

impl Download {
    pub(crate) fn open(request: &HttpRequest, options: Option<&str>) -> Result<Self> {
        http::Download::open(&request_to_wit(request), options).map(Self).map_err(error_from_wit)
    }
    pub(crate) fn head(&self) -> HttpResponse {
        response_from_wit(self.0.head())
    }
    pub(crate) fn read(&self, max: u32) -> Result<Vec<u8>> {
        self.0.read(max).map_err(error_from_wit)
    }
}

pub(crate) struct Connection(wit_net::Connection);

impl Connection {
    pub(crate) fn connect(host: &str, port: u16, security: Security, options: Option<&str>) -> Result<Self> {
        wit_net::Connection::connect(host, port, security_to_wit(security), options).map(Self).map_err(error_from_wit)
    }
    pub(crate) fn start_tls(&self, options: Option<&str>) -> Result<()> {
        self.0.start_tls(options).map_err(error_from_wit)
    }
    pub(crate) fn read(&self, max: u32, timeout_ms: u32) -> Result<Vec<u8>> {
        self.0.read(max, timeout_ms).map_err(error_from_wit)
    }
    pub(crate) fn write(&self, data: &[u8]) -> Result<()> {
        self.0.write(data).map_err(error_from_wit)
    }
    pub(crate) fn write_secret(&self, template: &str) -> Result<()> {
        self.0.write_secret(template).map_err(error_from_wit)
    }
}

pub(crate) struct WebSocket(wit_net::Websocket);

impl WebSocket {
    pub(crate) fn open(request: &str) -> Result<Self> {
        wit_net::Websocket::open(request).map(Self).map_err(error_from_wit)
    }
    pub(crate) fn receive(&self, timeout_ms: u32) -> Result<Option<Vec<u8>>> {
        self.0.receive(timeout_ms).map_err(error_from_wit)
    }
    pub(crate) fn send(&self, message: &[u8], text: bool) -> Result<()> {
        self.0.send(message, text).map_err(error_from_wit)
    }
}

pub(crate) struct BlobWriter(blobs::Writer);

impl BlobWriter {
    pub(crate) fn create(media_type: &str, name: Option<&str>) -> Result<Self> {
        blobs::Writer::create(media_type, name).map(Self).map_err(error_from_wit)
    }
    pub(crate) fn write(&self, data: &[u8]) -> Result<()> {
        self.0.write(data).map_err(error_from_wit)
    }
    pub(crate) fn finish(self) -> Result<String> {
        self.0.finish().map_err(error_from_wit)
    }
}

pub(crate) fn blob_read(reference: &str, offset: u64, max: u32) -> Result<Vec<u8>> {
    blobs::read(reference, offset, max).map_err(error_from_wit)
}

pub(crate) fn emit(items: Vec<Item>, checkpoint: Option<Value>) -> Result<()> {
    let checkpoint = checkpoint.map(|checkpoint| checkpoint.to_string());
    wit_emit::emit(&items_to_wit(items), checkpoint.as_deref()).map_err(error_from_wit)
}
