//! Files that came with messages, by their content's hash.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::auth::{Authenticated, Read};
use crate::describe::{DescribeInput, DescribeOutput, Operation};
use crate::etag;
use crate::extract::Path;
use crate::openapi::Routes;
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::state::Api;

/// Read from the disk at once.
const PIECE: usize = 256 << 10;

pub(crate) fn routes(routes: Routes) -> Routes {
    let about = "A file's bytes. Served as a download, whatever it is; `Range` with one range is understood.";
    routes.get("/v1/blobs/{reference}", "blobs.get", about, get)
}

#[derive(Deserialize, JsonSchema)]
struct BlobPath {
    /// `sha256:<hex>`, as attachments name it.
    reference: String,
}

/// What the header `Range` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// Everything: no header, or one that this server need not understand.
    Whole,
    /// From here to there, included, or to the end.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Last(u64),
}

impl Range {
    /// Anything but one plain byte range is answered with the whole, as RFC 9110 allows.
    fn parse(text: &str) -> Self {
        let parsed = text.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')).and_then(|(first, last)| {
            let (first, last) = (first.trim(), last.trim());
            match (first.is_empty(), last.is_empty()) {
                (true, _) => last.parse().ok().map(Self::Last),
                (false, true) => first.parse().ok().map(|first| Self::From(first, None)),
                (false, false) => Some(Self::From(first.parse().ok()?, Some(last.parse().ok()?))),
            }
        });
        match parsed {
            Some(Self::From(first, Some(last))) if last < first => Self::Whole,
            Some(range) => range,
            None => Self::Whole,
        }
    }

    /// First byte and number of bytes; none if it lies outside.
    fn within(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Self::Whole => Some((0, size)),
            Self::From(first, _) if first >= size => None,
            Self::From(first, last) => Some((first, last.map_or(size, |last| last.saturating_add(1).min(size)) - first)),
            Self::Last(0) => None,
            Self::Last(count) => Some((size.saturating_sub(count), count.min(size))).filter(|_| size > 0),
        }
    }
}

impl FromRequestParts<Api> for Range {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let range = parts.headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        // A file under a hash never changes, so If-Range matches or names another file.
        let named = parts.headers.get(header::IF_RANGE).and_then(|value| value.to_str().ok()).map(|tag| tag.trim_matches('"'));
        let same = named.is_none_or(|tag| parts.uri.path().ends_with(tag));
        Ok(range.filter(|_| same).map_or(Self::Whole, Self::parse))
    }
}

impl DescribeInput for Range {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameter(
            "header",
            "Range",
            false,
            "One byte range.",
            serde_json::json!({"type": "string", "examples": ["bytes=0-1023"]}),
        );
        operation.problem(Code::RangeNotSatisfiable);
    }
}

/// A file or a part of it.
struct Download {
    api: Api,
    reference: String,
    size: u64,
    first: u64,
    length: u64,
    partial: bool,
}

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        let (first, length, size) = (self.first, self.length, self.size);
        let tag = etag::tag(&self.reference);
        let partial = self.partial;
        let mut response = Response::new(Body::from_stream(stream::try_unfold((self, first, length), piece)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // Customers send these files: they must never run or show in the hub's origin.
        headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable"));
        headers.insert(header::ETAG, tag);
        if partial {
            let range = format!("bytes {first}-{}/{size}", first + length - 1);
            headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).expect("numbers are plain ASCII"));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    }
}

impl DescribeOutput for Download {
    fn describe(operation: &mut Operation<'_>) {
        let bytes = serde_json::json!({"type": "string", "contentMediaType": "application/octet-stream"});
        operation.response(200, "The file.", Some(("application/octet-stream", bytes.clone())));
        operation.response(206, "The range.", Some(("application/octet-stream", bytes)));
    }
}

type Progress = (Download, u64, u64);

/// The next piece. A file that turns out shorter than it said breaks the connection off rather than ending it as if complete.
async fn piece((download, offset, left): Progress) -> Result<Option<(Bytes, Progress)>, std::io::Error> {
    if left == 0 {
        return Ok(None);
    }
    let (hub, reference) = (download.api.hub.clone(), download.reference.clone());
    let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
    let read = tokio::task::spawn_blocking(move || hub.blob_read(&reference, offset, want)).await.map_err(std::io::Error::other)?;
    let bytes = read.map_err(|error| std::io::Error::other(error.to_string()))?;
    if bytes.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let count = bytes.len() as u64;
    Ok(Some((Bytes::from(bytes), (download, offset + count, left.saturating_sub(count)))))
}

async fn get(State(api): State<Api>, _: Authenticated<Read>, Path(path): Path<BlobPath>, range: Range) -> Result<Download, Problem> {
    let size = api.hub.blob_size(&path.reference)?;
    let Some((first, length)) = range.within(size) else {
        let all = HeaderValue::try_from(format!("bytes */{size}")).expect("numbers are plain ASCII");
        return Err(Problem::new(Code::RangeNotSatisfiable, format!("the file has {size} bytes")).with_header(header::CONTENT_RANGE, all));
    };
    Ok(Download { api, reference: path.reference, size, first, length, partial: range != Range::Whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let table = [
            ("bytes=0-4", Some((0, 5))),
            ("bytes=5-", Some((5, 5))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=-30", Some((0, 10))),
            ("bytes=8-99", Some((8, 2))),
            ("bytes=10-", None),
            ("bytes=-0", None),
            ("bytes=0-18446744073709551615", Some((0, 10))),
            ("bytes=4-2", Some((0, 10))),
            ("bytes=0-1,4-5", Some((0, 10))),
            ("lines=0-1", Some((0, 10))),
            ("bytes=x-y", Some((0, 10))),
        ];
        for (given, wanted) in table {
            assert_eq!(Range::parse(given).within(10), wanted, "{given}");
        }
        assert_eq!((Range::Whole.within(0), Range::Last(3).within(0)), (Some((0, 0)), None));
    }
}
