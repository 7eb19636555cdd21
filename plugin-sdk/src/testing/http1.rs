//! The smallest HTTP/1.1 client: plain, to loopback, one exchange for each connection.

use std::io::{Read, Write};
use std::time::Duration;

use super::stream::{connect_loopback, io};
use crate::{Error, ErrorClass, HttpRequest, HttpResponse, Result};

pub(super) fn exchange(request: &HttpRequest) -> Result<HttpResponse> {
    let target = Target::parse(&request.url)?;
    let mut stream = connect_loopback(&target.host, target.port)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|error| io("cannot set the time-out", &error))?;
    stream.write_all(&head(request, &target)).map_err(|error| io("the connection broke", &error))?;
    stream.write_all(request.body.as_deref().unwrap_or_default()).map_err(|error| io("the connection broke", &error))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(|error| Error::new(ErrorClass::Ambiguous, format!("no answer: {error}")))?;
    parse(&answer, request.method == "HEAD")
}

struct Target {
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self> {
        let wrong = || Error::new(ErrorClass::Config, format!("the test host fetches http://HOST:PORT/… only, not {url:?}"));
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (authority, 80),
        };
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port, path })
    }
}

fn head(request: &HttpRequest, target: &Target) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n", request.method, target.path, target.host, target.port);
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if request.body.is_some() || matches!(request.method.as_str(), "POST" | "PUT" | "PATCH") {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.as_ref().map_or(0, Vec::len)));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn parse(answer: &[u8], no_body: bool) -> Result<HttpResponse> {
    let end = find(answer, b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let value = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone());
    let raw = &answer[end + 4..];
    let body = if no_body {
        Vec::new()
    } else if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        dechunk(raw)?
    } else {
        match value("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => raw.get(..length).ok_or_else(cut)?.to_vec(),
            None => raw.to_vec(),
        }
    };
    Ok(HttpResponse { status, headers, body })
}

fn dechunk(mut raw: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = find(raw, b"\r\n").ok_or_else(cut)?;
        let line = String::from_utf8_lossy(&raw[..end]);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).map_err(|_| cut())?;
        raw = &raw[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(raw.get(..size).ok_or_else(cut)?);
        raw = raw.get(size.saturating_add(2)..).ok_or_else(cut)?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn cut() -> Error {
    Error::new(ErrorClass::Ambiguous, "the answer was cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_a_length_in_chunks_and_up_to_the_end_are_read() {
        let table = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", 200, "ab"),
            ("HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", 404, "abc"),
            ("HTTP/1.0 500\r\nX: y\r\n\r\nabc", 500, "abc"),
        ];
        for (answer, status, body) in table {
            let response = parse(answer.as_bytes(), false).unwrap();
            assert_eq!((response.status, response.body.as_slice()), (status, body.as_bytes()));
        }
    }

    #[test]
    fn an_answer_that_was_cut_off_is_ambiguous() {
        for answer in [
            "",
            "HTTP/1.1 200 OK\r\nA:",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
        ] {
            assert_eq!(parse(answer.as_bytes(), false).unwrap_err().class, ErrorClass::Ambiguous, "{answer}");
        }
    }

    #[test]
    fn only_plain_http_urls_are_fetched() {
        let target = Target::parse("http://127.0.0.1:8080?a=b#c").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("127.0.0.1", 8080, "/?a=b"));
        assert!(Target::parse("https://127.0.0.1/").is_err());
        assert!(Target::parse("http://127.0.0.1:port/").is_err());
    }
}
