//! The REST interface: requests with Basic authentication, and what its answers mean.

use throughline_plugin_sdk::http::{self, RequestBuilder, ResponseExt};
use throughline_plugin_sdk::{Error, ErrorClass, HttpResponse, Result, Value, secrets};

use crate::config::Config;

/// A request is answered at once or not at all.
const TIMEOUT_MS: u64 = 10_000;

/// A request to ARI; `path` begins with a slash.
pub(crate) fn request(config: &Config, method: &str, path: &str) -> Result<RequestBuilder> {
    let (Some(base), Some(user)) = (&config.ari_url, &config.ari_username) else {
        return Err(
            Error::new(ErrorClass::Config, "this needs ARI: set ari_url, ari_username and the secret ari_password").with_field("ari_url")
        );
    };
    let user = secrets::literal(user).map_err(|error| error.with_field("ari_username"))?;
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let authorisation = format!("Basic {{base64:{user}:{{secret:ari_password}}}}");
    Ok(http::request(method, url).header("Authorization", authorisation).timeout_ms(TIMEOUT_MS))
}

/// The body of a good answer, null where it has none; the classified error otherwise.
pub(crate) fn outcome(response: HttpResponse) -> Result<Value> {
    if let Some(error) = classify(&response) {
        return Err(error);
    }
    if response.body.is_empty() { Ok(Value::Null) } else { response.json() }
}

/// What ARI means by its statuses. A phone that is not registered is a 500 that says "Allocation failed", under `error` where all else is
/// under `message`; while it boots, 404 without a body comes before 503.
fn classify(response: &HttpResponse) -> Option<Error> {
    let body: Value = response.json().unwrap_or_default();
    let says = body["message"].as_str().or(body["error"].as_str()).unwrap_or_default().to_owned();
    let class = match response.status {
        200..=299 => return None,
        401 => ErrorClass::Auth,
        403 => ErrorClass::Permission,
        404 if says.is_empty() => ErrorClass::Transient,
        404 | 410 => ErrorClass::Gone,
        409 | 412 => ErrorClass::Conflict,
        500 if says == "Allocation failed" => ErrorClass::InvalidRecord,
        _ => return http::classify_status(response),
    };
    let text = match response.status {
        500 => "the phone is not registered, or there is no such endpoint".to_owned(),
        409 => format!("the channel is not under the control of an ARI application, or the id is taken: {says}"),
        status => format!("ARI answered {status}: {says}"),
    };
    Some(Error::new(class, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_ari_has_its_class() {
        let table = [
            (200, r#"{"id": "x"}"#, None),
            (204, "", None),
            (401, r#"{"message": "Authentication required"}"#, Some(ErrorClass::Auth)),
            (403, r#"{"message": "Not authorized"}"#, Some(ErrorClass::Permission)),
            (404, r#"{"message": "Channel not found"}"#, Some(ErrorClass::Gone)),
            (404, "<html>not yet</html>", Some(ErrorClass::Transient)),
            (409, r#"{"message": "Channel not in Stasis application"}"#, Some(ErrorClass::Conflict)),
            (400, r#"{"message": "Endpoint must be specified"}"#, Some(ErrorClass::InvalidRecord)),
            (422, r#"{"message": "no"}"#, Some(ErrorClass::InvalidRecord)),
            (500, r#"{"error":"Allocation failed"}"#, Some(ErrorClass::InvalidRecord)),
            (500, r#"{"message": "broken"}"#, Some(ErrorClass::Transient)),
            (503, "", Some(ErrorClass::Transient)),
            (504, "", Some(ErrorClass::Ambiguous)),
        ];
        for (status, body, class) in table {
            let response = HttpResponse { status, headers: Vec::new(), body: body.into() };
            assert_eq!(classify(&response).map(|error| error.class), class, "{status} {body}");
        }
    }
}
