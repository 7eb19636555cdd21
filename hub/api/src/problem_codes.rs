//! The stable list of what can go wrong, as the outside knows it: slug, status, title. Additions only.

use axum::http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $slug:literal, $title:literal;)*) => {
        /// What went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All of them, for the documentation.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// The status it is answered with.
            pub(crate) const fn status(self) -> StatusCode { match self { $(Self::$name => StatusCode::$status,)* } }
            /// The last part of the problem's type.
            pub(crate) const fn slug(self) -> &'static str { match self { $(Self::$name => $slug,)* } }
            /// In words.
            pub(crate) const fn title(self) -> &'static str { match self { $(Self::$name => $title,)* } }
        }
    };
}

codes! {
    MalformedJson = BAD_REQUEST, "malformed-json", "The body is not JSON";
    InvalidUtf8 = BAD_REQUEST, "invalid-utf8", "The body is not UTF-8";
    InvalidId = BAD_REQUEST, "invalid-id", "The path holds something that is no id";
    InvalidQuery = BAD_REQUEST, "invalid-query", "A query parameter is wrong";
    InvalidHeader = BAD_REQUEST, "invalid-header", "A header is wrong";
    UnreadableBody = BAD_REQUEST, "unreadable-body", "The body broke off";
    Unauthorized = UNAUTHORIZED, "unauthorized", "An API key is needed";
    Forbidden = FORBIDDEN, "forbidden", "The API key may not do this";
    NotFound = NOT_FOUND, "not-found", "There is no such thing";
    NoSuchRoute = NOT_FOUND, "no-such-route", "There is no such path";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method-not-allowed", "This path does not take this method";
    Conflict = CONFLICT, "conflict", "It cannot be done in the present state";
    /// Whoever was faster holds a newer fencing token.
    Fenced = CONFLICT, "fenced", "Somebody else was faster";
    /// 308 with the survivor's place where that makes sense, else 409.
    Merged = CONFLICT, "merged", "The profile was merged into another";
    IdempotencyRunning = CONFLICT, "idempotency-running", "The same request is still being carried out";
    Stale = PRECONDITION_FAILED, "stale", "It was changed meanwhile";
    TooLarge = PAYLOAD_TOO_LARGE, "too-large", "It is too large";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body's content type is not taken here";
    RangeNotSatisfiable = RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range lies outside the file";
    Invalid = UNPROCESSABLE_ENTITY, "invalid", "The request holds something that cannot be used";
    IdempotencyMismatch = UNPROCESSABLE_ENTITY, "idempotency-mismatch", "The idempotency key was used for another request";
    PluginRefused = UNPROCESSABLE_ENTITY, "plugin-refused", "The component cannot be installed";
    ConnectorRejected = UNPROCESSABLE_ENTITY, "connector-rejected", "The connected system cannot take this";
    ConnectorConflict = CONFLICT, "connector-conflict", "The connected system holds something else";
    PreconditionRequired = PRECONDITION_REQUIRED, "precondition-required", "If-Match is needed";
    RateLimited = TOO_MANY_REQUESTS, "rate-limited", "Too many requests";
    Internal = INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side";
    ConnectorFailed = BAD_GATEWAY, "connector-failed", "The connected system failed";
    ConnectorBusy = SERVICE_UNAVAILABLE, "connector-busy", "The connected system asks for patience";
    Busy = SERVICE_UNAVAILABLE, "busy", "The hub is busy";
    Unavailable = SERVICE_UNAVAILABLE, "unavailable", "The hub is not available";
    Timeout = GATEWAY_TIMEOUT, "timeout", "It took too long";
    Full = INSUFFICIENT_STORAGE, "full", "There is no room";
}
