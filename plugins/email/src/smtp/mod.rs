//! Our side of SMTP submission (RFC 5321, 6409, 4954).
//!
//! `reply` and `compose` are pure: what the server said and what it means, and a message as the bytes of a mail. `session` is
//! the one place that talks to the server.

pub(crate) mod compose;
pub(crate) mod reply;
pub(crate) mod session;
