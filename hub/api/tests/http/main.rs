//! The HTTP side against a real hub with an in-memory store and a scripted plugin host.

mod auth;
mod document;
mod etag;
mod events;
mod hooks;
mod idempotency;
mod paging;
mod problems;
mod resources;
mod robustness;
mod script;
mod support;
