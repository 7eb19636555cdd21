//! Strict extractors: what a request holds is typed, bounded and complete, or the problem names the place that is not.

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::describe::{DescribeInput, Operation};
use crate::problem::Problem;
use crate::problem_codes::Code;
use crate::state::Api;

/// The parameters in the path.
pub(crate) struct Path<T>(pub(crate) T);

/// The one id in the path.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct ById<T> {
    pub(crate) id: T,
}

/// The parameters of the query; unknown ones are refused.
pub(crate) struct Query<T>(pub(crate) T);

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// The body's bytes as they came.
pub(crate) struct RawBody(pub(crate) Bytes);

/// The body of an action that takes no input: absent or `{}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Where in a list to go on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// The `next` of the page before.
    pub(crate) cursor: Option<String>,
    /// How many at most, 1 to 200.
    #[schemars(range(min = 1, max = 200))]
    pub(crate) limit: Option<usize>,
}

const DEFAULT_LIMIT: usize = 50;
const MOST_ITEMS: usize = 200;

impl PageQuery {
    /// As the engine wants it.
    pub(crate) fn paging(self) -> Result<throughline_engine::Paging, Problem> {
        paging(self.cursor, self.limit)
    }
}

/// Checks a limit and a cursor.
pub(crate) fn paging(cursor: Option<String>, limit: Option<usize>) -> Result<throughline_engine::Paging, Problem> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MOST_ITEMS).contains(&limit) {
        return Err(Problem::parameter(Code::InvalidQuery, "limit", format!("limit must be between 1 and {MOST_ITEMS}")));
    }
    Ok(throughline_engine::Paging { cursor, limit })
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(request: Request, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::TooLarge, format!("the body is larger than the {limit} bytes that this path takes"));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Problem::new(Code::UnreadableBody, "the body broke off before its end")),
    }
}

fn body_limit(api: &Api, request: &Request) -> usize {
    api.body_limit(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str))
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json")) {
        return Ok(());
    }
    let detail =
        if given.is_empty() { "send Content-Type: application/json".to_owned() } else { format!("send application/json, not {given}") };
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// Parses JSON; an error names the place as a JSON pointer.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Problem::new(Code::InvalidUtf8, format!("the byte at offset {} is not UTF-8", error.valid_up_to())))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(json_problem)?;
    deserializer.end().map_err(|error| Problem::new(Code::MalformedJson, error.to_string()))?;
    Ok(value)
}

fn json_problem(error: serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let segments: Vec<String> = error.path().iter().filter_map(segment_text).collect();
    let inner = error.into_inner();
    let message = inner.to_string();
    if !inner.is_data() {
        return Problem::new(Code::MalformedJson, message);
    }
    // The position is of no use to who gets a pointer.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    Problem::pointer(Code::Invalid, pointer(segments, field_named_in(message)), message)
}

fn segment_text(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// serde names unknown and missing fields in the message only; the path ends at their parent.
fn field_named_in(message: &str) -> Option<&str> {
    let rest = ["unknown field `", "missing field `", "duplicate field `"].iter().find_map(|start| message.strip_prefix(start))?;
    rest.split_once('`').map(|(field, _)| field)
}

fn pointer(mut segments: Vec<String>, field: Option<&str>) -> String {
    if let Some(field) = field
        && segments.last().map(String::as_str) != Some(field)
    {
        segments.push(field.to_owned());
    }
    segments.iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}

/// Parses a query string; an error names the parameter.
pub(crate) fn parse_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        let name = field_named_in(&message).map_or(path, str::to_owned);
        Problem::parameter(Code::InvalidQuery, name.clone(), format!("{name}: {message}"))
    })
}

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, api).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(rejection)) => Err(path_problem(rejection.into_kind())),
            Err(other) => Err(Problem::internal(other.to_string())),
        }
    }
}

fn path_problem(kind: ErrorKind) -> Problem {
    match kind {
        ErrorKind::DeserializeError { key, message, .. } => Problem::parameter(Code::InvalidId, key, message),
        ErrorKind::InvalidUtf8InPathParam { key } => Problem::parameter(Code::InvalidId, key, "not UTF-8 after percent-decoding"),
        other => Problem::new(Code::InvalidId, other.to_string()),
    }
}

impl<T: DeserializeOwned> FromRequestParts<Api> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let limit = body_limit(api, &request);
        parse_json(&read_body(request, limit).await?).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Api> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (limit, headers) = (body_limit(api, &request), request.headers().clone());
        let bytes = read_body(request, limit).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        require_json(&headers)?;
        parse_json(&bytes).map(Self)
    }
}

impl FromRequest<Api> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let limit = body_limit(api, &request);
        read_body(request, limit).await.map(Self)
    }
}

impl<T: JsonSchema> DescribeInput for Path<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters_of::<T>("path");
        operation.problem(Code::InvalidId);
        operation.problem(Code::NotFound);
    }
}

impl<T: JsonSchema> DescribeInput for Query<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameters_of::<T>("query");
        operation.problem(Code::InvalidQuery);
    }
}

fn describe_json<T: JsonSchema>(operation: &mut Operation<'_>, required: bool) {
    let schema = operation.schema::<T>();
    operation.request_body("application/json", required, schema);
    for code in [Code::MalformedJson, Code::InvalidUtf8, Code::TooLarge, Code::UnsupportedMediaType, Code::Invalid] {
        operation.problem(code);
    }
}

impl<T: JsonSchema> DescribeInput for Body<T> {
    fn describe(operation: &mut Operation<'_>) {
        describe_json::<T>(operation, true);
    }
}

impl<T: JsonSchema> DescribeInput for OptionalBody<T> {
    fn describe(operation: &mut Operation<'_>) {
        describe_json::<T>(operation, false);
    }
}

impl DescribeInput for RawBody {
    fn describe(operation: &mut Operation<'_>) {
        operation.request_body("application/octet-stream", false, serde_json::json!({}));
        operation.problem(Code::TooLarge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Outer {
        name: String,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only parsed")]
    struct Inner {
        #[serde(rename = "a/b")]
        slashed: u8,
    }

    fn check(body: &[u8], status: u16, code: &str, pointer: Option<&str>) {
        let problem = parse_json::<Outer>(body).unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.code().slug()), (status, code), "{}", String::from_utf8_lossy(body));
        assert_eq!(problem.fields().first().and_then(|field| field.pointer.as_deref()), pointer, "{}", String::from_utf8_lossy(body));
    }

    #[test]
    fn json_errors_name_their_place() {
        check(b"{", 400, "malformed-json", None);
        check(b"", 400, "malformed-json", None);
        check(b"{\"name\":\"x\"} trailing", 400, "malformed-json", None);
        check(b"{\"name\":\"\xff\"}", 400, "invalid-utf8", None);
        check(b"[]", 422, "invalid", Some(""));
        check(b"{}", 422, "invalid", Some("/name"));
        check(b"{\"name\":7}", 422, "invalid", Some("/name"));
        check(b"{\"name\":\"x\",\"nmae\":1}", 422, "invalid", Some("/nmae"));
        check(b"{\"name\":\"x\",\"name\":\"y\"}", 422, "invalid", Some("/name"));
        check(b"{\"name\":\"x\",\"list\":[{\"a/b\":1},{\"a/b\":999}]}", 422, "invalid", Some("/list/1/a~1b"));
        check(b"{\"name\":\"x\",\"list\":[{\"a/b\":1,\"c~d\":1}]}", 422, "invalid", Some("/list/0/c~0d"));
        check(format!("{{\"name\":{}", "[".repeat(100_000)).as_bytes(), 422, "invalid", Some("/name"));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let problem = parse_json::<serde_json::Value>(deep.as_bytes()).unwrap_err();
        assert_eq!(problem.code(), Code::MalformedJson);
    }

    #[test]
    fn query_errors_name_the_parameter() {
        for (query, parameter) in [("limit=x", "limit"), ("limit=-1", "limit"), ("colour=red", "colour"), ("limit=1&limit=2", "limit")] {
            let problem = parse_query::<PageQuery>(query).unwrap_err();
            assert_eq!(problem.fields()[0].parameter.as_deref(), Some(parameter), "{query}");
        }
        for limit in [0, 201] {
            assert!(paging(None, Some(limit)).is_err(), "{limit}");
        }
        assert_eq!(paging(None, None).unwrap().limit, DEFAULT_LIMIT);
    }
}
