//! A stand-in for ARI beside a replayed PBX: takes the orders that a recorded Asterisk took, answers as it answered, and has the PBX tell
//! what followed.
//!
//! An originate is held against the recorded one: the same endpoint, context, extension and priority, or it is refused as Asterisk refuses
//! what it cannot dial. The channel's id and the continuity token are those of the order, wherever the recording has its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::Value;

use super::asterisk::{ReplayedPbx, recording};
use super::stand_in::StandIn;

/// The recorded click-to-call, and what it was given.
const RECORDING: &str = "s20-click-to-call-ari-dialplan";
const RECORDED_CHANNEL: &str = "tl-c2c-int-c2c-1";
const RECORDED_VARIABLE: (&str, &str) = ("TL_INTERACTION", "int-c2c-1");

/// An order that came in.
#[derive(Debug, Clone)]
pub struct Order {
    /// `POST`.
    pub method: String,
    /// With its query, as it was sent.
    pub url: String,
    /// The body; null if there was none.
    pub body: Value,
    /// When it came.
    pub at: SystemTime,
}

/// ARI of a replayed PBX. Ends with the value.
#[derive(Debug)]
pub struct Ari {
    server: StandIn,
    orders: Arc<Mutex<Vec<Order>>>,
}

struct Pbx {
    pbx: Arc<ReplayedPbx>,
    orders: Arc<Mutex<Vec<Order>>>,
    /// Query parameters of the recorded originate.
    dialled: Vec<(String, String)>,
    /// What the recorded Asterisk answered.
    answered: String,
}

impl Ari {
    /// Beside `pbx`, which replays the recorded click-to-call when it is ordered, or lets go of what it holds back when a call is to be
    /// sent elsewhere.
    pub fn start(pbx: &Arc<ReplayedPbx>) -> Result<Self> {
        let path = recording(RECORDING).join("ari-rest.jsonl");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let first: Value = serde_json::from_str(text.lines().next().context("the recording begins with the originate")?)?;
        let orders = Arc::new(Mutex::new(Vec::new()));
        let wanted = ["endpoint", "context", "extension", "priority"];
        let recorded = query_of(first["request"]["url"].as_str().context("a request has an address")?);
        let serving = Pbx {
            pbx: Arc::clone(pbx),
            orders: Arc::clone(&orders),
            dialled: recorded.into_iter().filter(|(name, _)| wanted.contains(&name.as_str())).collect(),
            answered: first["response"]["body"].as_str().context("it was answered")?.to_owned(),
        };
        Ok(Self { server: StandIn::start(move |stream| serving.serve(stream))?, orders })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/ari", self.server.port())
    }

    /// What was ordered so far: everything but questions.
    pub fn orders(&self) -> Vec<Order> {
        self.orders.lock().expect("nobody panics while holding it").clone()
    }
}

impl Pbx {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (method, url, body) = read_request(&mut BufReader::new(stream.try_clone()?))?;
        let (status, answer) = self.answer(&method, &url, &body);
        if method != "GET" {
            let order = Order { method, url, body, at: SystemTime::now() };
            self.orders.lock().expect("nobody panics while holding it").push(order);
        }
        let length = answer.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
        )
    }

    fn answer(&self, method: &str, url: &str, body: &Value) -> (&'static str, String) {
        let path = url.split('?').next().unwrap_or_default();
        let Some(channel) = path.strip_prefix("/ari/channels/").filter(|_| method == "POST") else {
            return ("404 Not Found", r#"{"message":"Resource not found"}"#.to_owned());
        };
        if channel.ends_with("/redirect") {
            self.pbx.let_go();
            return ("204 No Content", String::new());
        }
        let given = query_of(url);
        if !self.dialled.iter().all(|wanted| given.contains(wanted)) {
            return ("500 Internal Server Error", r#"{"error":"Allocation failed"}"#.to_owned());
        }
        let token = body["variables"]["__TL_TOKEN"].as_str().unwrap_or_default();
        let (variable, value) = RECORDED_VARIABLE;
        self.pbx.play_with(vec![
            (RECORDED_CHANNEL.to_owned(), channel.to_owned()),
            (variable.to_owned(), "TL_TOKEN".to_owned()),
            (value.to_owned(), token.to_owned()),
        ]);
        ("200 OK", self.answered.replace(RECORDED_CHANNEL, channel))
    }
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<(String, String, Value)> {
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((_, value)) = header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, url) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Ok((method, url, serde_json::from_slice(&body).unwrap_or_default()))
}

fn query_of(url: &str) -> Vec<(String, String)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let (byte, left) = match code.filter(|_| *first == b'%') {
            Some(byte) => (byte, &after[2..]),
            None => (*first, after),
        };
        bytes.push(byte);
        rest = left;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
