//! The imports of a guest, answered by the test host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::host::{Blob, Inner, LogLine, current};
use super::stream::TestStream;
use super::template::Place;
use super::{http1, template};
use crate::log::Level;
use crate::net::Security;
use crate::{Error, ErrorClass, HttpRequest, HttpResponse, Item, Result, Value, http};

pub(crate) fn log(level: Level, message: &str, fields: &[(&str, String)]) {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    current().logs.borrow_mut().push(LogLine { level, message: message.to_owned(), fields });
}

pub(crate) fn now_ms() -> u64 {
    match &current().virtual_ms {
        Some(clock) => clock.get(),
        None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
    }
}

pub(crate) fn monotonic_ns() -> u64 {
    let host = current();
    match &host.virtual_ms {
        Some(clock) => clock.get().saturating_mul(1_000_000),
        None => u64::try_from(host.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
    }
}

/// SplitMix64: the same in every run, so that a failing test fails again.
pub(crate) fn random_bytes(n: usize) -> Vec<u8> {
    let host = current();
    let mut bytes = Vec::with_capacity(n + 8);
    while bytes.len() < n {
        let state = host.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        host.random.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(n);
    bytes
}

pub(crate) fn sleep_ms(ms: u64) -> Result<()> {
    let host = current();
    not_cancelled(&host)?;
    match &host.virtual_ms {
        Some(_) => host.advance(ms),
        None => std::thread::sleep(Duration::from_millis(ms)),
    }
    not_cancelled(&host)
}

pub(crate) fn cancelled() -> bool {
    current().cancelled.get()
}

pub(crate) fn deadline_ms() -> Option<u64> {
    current().deadline_ms
}

pub(crate) fn state_get(key: &str) -> Result<Option<String>> {
    Ok(current().state.borrow().get(key).map(Value::to_string))
}

pub(crate) fn state_set(key: &str, value: &str) -> Result<()> {
    let value = serde_json::from_str(value).map_err(|error| Error::new(ErrorClass::Bug, format!("the state is not JSON: {error}")))?;
    current().state.borrow_mut().insert(key.to_owned(), value);
    Ok(())
}

pub(crate) fn state_delete(key: &str) -> Result<()> {
    current().state.borrow_mut().remove(key);
    Ok(())
}

pub(crate) fn hmac_sha256(name: &str, data: &[u8]) -> Result<Vec<u8>> {
    let host = current();
    let mut mac = Hmac::<Sha256>::new_from_slice(template::secret(&host.secrets, name)?.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(data);
    Ok(mac.finalize().into_bytes().to_vec())
}

pub(crate) fn secret_equals(name: &str, data: &[u8]) -> Result<bool> {
    Ok(template::secret(&current().secrets, name)?.as_bytes() == data)
}

/// As the hub reads it: an unknown option is refused, so that a typing error is noticed.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpOptions {
    #[serde(rename = "timeout_ms")]
    _timeout_ms: Option<u64>,
    max_body: Option<u64>,
    #[serde(rename = "redirects")]
    _redirects: Option<u32>,
    secrets_in_body: bool,
}

pub(crate) fn http_send(request: &HttpRequest, options: Option<&str>) -> Result<HttpResponse> {
    let host = current();
    not_cancelled(&host)?;
    let options: HttpOptions =
        serde_json::from_str(options.unwrap_or("{}")).map_err(|error| bug(format!("the options do not fit: {error}")))?;
    host.requests.borrow_mut().push(request.clone());
    let rendered = render_request(&host, request, options.secrets_in_body)?;
    let handler = host.http.borrow_mut().take();
    let answer = match handler {
        Some(mut handler) => {
            let answer = handler(&rendered);
            host.http.borrow_mut().get_or_insert(handler);
            answer?
        }
        None if host.real_network => http1::exchange(&rendered)?,
        None => return Err(denied(&format!("http to {}", request.url))),
    };
    match options.max_body {
        Some(max) if answer.body.len() as u64 > max => {
            Err(Error::new(ErrorClass::InvalidRecord, format!("the answer is larger than the {max} bytes allowed")))
        }
        _ => Ok(answer),
    }
}

/// Secrets never go into the host of a URL, and into a body only where no customer's text can stand.
fn render_request(host: &Inner, request: &HttpRequest, secrets_in_body: bool) -> Result<HttpRequest> {
    let mut rendered = request.clone();
    rendered.url = render_url(&request.url, &host.secrets)?;
    for (_, value) in &mut rendered.headers {
        *value = template::render(value, &host.secrets, Place::Header)?;
    }
    let kind = http::ResponseExt::header(&HttpResponse { status: 0, headers: request.headers.clone(), body: Vec::new() }, "content-type")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let form = kind.starts_with("application/x-www-form-urlencoded");
    let text = request.body.as_deref().and_then(|body| std::str::from_utf8(body).ok());
    if let Some(text) = text.filter(|_| form || secrets_in_body) {
        let place = match form {
            true => Place::Percent,
            false if kind.contains("json") => Place::Json,
            false => Place::Line,
        };
        rendered.body = Some(template::render(text, &host.secrets, place)?.into_bytes());
    }
    Ok(rendered)
}

fn render_url(url: &str, secrets: &BTreeMap<String, String>) -> Result<String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bug(format!("the URL {url:?} is not absolute")))?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if scheme.contains('{') || authority.contains(['{', '@']) {
        return Err(bug("the URL's host must be plain: secrets go into headers, path or query, and users into a header".to_owned()));
    }
    Ok(format!("{scheme}://{authority}{}", template::render(rest, secrets, Place::Percent)?))
}

fn bug(message: String) -> Error {
    Error::new(ErrorClass::Bug, message)
}

/// A download reads from memory here.
pub(crate) struct Download {
    head: HttpResponse,
    rest: RefCell<Vec<u8>>,
}

impl Download {
    pub(crate) fn open(request: &HttpRequest, options: Option<&str>) -> Result<Self> {
        let mut head = http_send(request, options)?;
        let rest = RefCell::new(std::mem::take(&mut head.body));
        Ok(Self { head, rest })
    }
    pub(crate) fn head(&self) -> HttpResponse {
        self.head.clone()
    }
    pub(crate) fn read(&self, max: u32) -> Result<Vec<u8>> {
        not_cancelled(&current())?;
        let mut rest = self.rest.borrow_mut();
        let end = rest.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        Ok(rest.drain(..end).collect())
    }
}

pub(crate) struct Connection(RefCell<Box<dyn TestStream>>);

impl Connection {
    pub(crate) fn connect(name: &str, port: u16, security: Security, _options: Option<&str>) -> Result<Self> {
        let host = current();
        not_cancelled(&host)?;
        let handler = host.connect.borrow_mut().take();
        let stream = match handler {
            Some(mut handler) => {
                let answer = handler(name, port, security);
                host.connect.borrow_mut().get_or_insert(handler);
                answer?
            }
            None if host.real_network => super::stream::loopback(name, port, security)?,
            None => return Err(denied(&format!("a connection to {name}:{port}"))),
        };
        Ok(Self(RefCell::new(stream)))
    }
    pub(crate) fn start_tls(&self, _options: Option<&str>) -> Result<()> {
        not_cancelled(&current())?;
        self.0.borrow_mut().start_tls()
    }
    pub(crate) fn read(&self, max: u32, timeout_ms: u32) -> Result<Vec<u8>> {
        read(&self.0, max, timeout_ms)
    }
    pub(crate) fn write(&self, data: &[u8]) -> Result<()> {
        not_cancelled(&current())?;
        self.0.borrow_mut().write(data)
    }
    pub(crate) fn write_secret(&self, text: &str) -> Result<()> {
        let rendered = template::render(text, &current().secrets, Place::Line)?;
        self.write(rendered.as_bytes())
    }
}

pub(crate) struct WebSocket(RefCell<Box<dyn TestStream>>);

impl WebSocket {
    pub(crate) fn open(request: &str) -> Result<Self> {
        let host = current();
        not_cancelled(&host)?;
        let request =
            serde_json::from_str(request).map_err(|error| Error::new(ErrorClass::Bug, format!("the request is not JSON: {error}")))?;
        let handler = host.websocket.borrow_mut().take();
        let Some(mut handler) = handler else { return Err(denied("a WebSocket")) };
        let answer = handler(&request);
        host.websocket.borrow_mut().get_or_insert(handler);
        Ok(Self(RefCell::new(answer?)))
    }
    pub(crate) fn receive(&self, timeout_ms: u32) -> Result<Option<Vec<u8>>> {
        match read(&self.0, u32::MAX, timeout_ms) {
            Ok(message) if message.is_empty() => Err(Error::new(ErrorClass::Gone, "the peer closed the WebSocket")),
            Ok(message) => Ok(Some(message)),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(error),
        }
    }
    pub(crate) fn send(&self, message: &[u8], _text: bool) -> Result<()> {
        not_cancelled(&current())?;
        self.0.borrow_mut().write(message)
    }
}

fn read(stream: &RefCell<Box<dyn TestStream>>, max: u32, timeout_ms: u32) -> Result<Vec<u8>> {
    let host = current();
    count_read(&host);
    not_cancelled(&host)?;
    let answer = stream.borrow_mut().read(usize::try_from(max).unwrap_or(usize::MAX), timeout_ms);
    if answer.as_ref().is_err_and(Error::is_timeout) {
        host.advance(u64::from(timeout_ms));
    }
    answer
}

fn count_read(host: &Inner) {
    match host.reads_left.get() {
        Some(0) => host.cancelled.set(true),
        Some(left) => host.reads_left.set(Some(left - 1)),
        None => {}
    }
}

pub(crate) struct BlobWriter {
    host: Rc<Inner>,
    blob: RefCell<Blob>,
}

impl BlobWriter {
    pub(crate) fn create(media_type: &str, name: Option<&str>) -> Result<Self> {
        let blob = Blob { media_type: media_type.to_owned(), name: name.map(str::to_owned), data: Vec::new() };
        Ok(Self { host: current(), blob: RefCell::new(blob) })
    }
    pub(crate) fn write(&self, data: &[u8]) -> Result<()> {
        not_cancelled(&self.host)?;
        self.blob.borrow_mut().data.extend_from_slice(data);
        Ok(())
    }
    pub(crate) fn finish(self) -> Result<String> {
        let blob = self.blob.into_inner();
        let hex: String = Sha256::digest(&blob.data).iter().map(|byte| format!("{byte:02x}")).collect();
        let reference = format!("sha256:{hex}");
        self.host.blobs.borrow_mut().insert(reference.clone(), blob);
        Ok(reference)
    }
}

pub(crate) fn blob_read(reference: &str, offset: u64, max: u32) -> Result<Vec<u8>> {
    let host = current();
    let blobs = host.blobs.borrow();
    let Some(blob) = blobs.get(reference) else {
        return Err(Error::new(ErrorClass::Gone, format!("there is no file {reference}")));
    };
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(blob.data.len());
    let end = start.saturating_add(usize::try_from(max).unwrap_or(usize::MAX)).min(blob.data.len());
    Ok(blob.data[start..end].to_vec())
}

pub(crate) fn emit(items: Vec<Item>, checkpoint: Option<Value>) -> Result<()> {
    let host = current();
    not_cancelled(&host)?;
    let mut failures = host.emit_failures.borrow_mut();
    if !failures.is_empty() {
        return Err(failures.remove(0));
    }
    host.emitted.borrow_mut().push((items, checkpoint));
    Ok(())
}

fn not_cancelled(host: &Inner) -> Result<()> {
    if host.cancelled.get() {
        return Err(Error::new(ErrorClass::Cancelled, "the test host ended the call"));
    }
    Ok(())
}

fn denied(what: &str) -> Error {
    Error::new(ErrorClass::Permission, format!("{what} is not granted: the test host was given none"))
}

#[cfg(test)]
mod tests;
