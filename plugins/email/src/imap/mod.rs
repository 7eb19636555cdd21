//! Our side of IMAP4rev1 (RFC 3501, with IDLE, CONDSTORE and UIDPLUS where offered).
//!
//! `wire` and `command` are pure: bytes to events and wishes to command lines. `session` is the one place that talks to the
//! server; `mailbox` knows pages of mails on top of it. Nothing here knows what a mail means.

pub(crate) mod command;
pub(crate) mod mailbox;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod wire;
