//! The HTTP side against a real hub with an in-memory store and a scripted plugin host.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod document;
mod etag;
mod events;
mod examples;
mod flows;
mod handoffs;
mod hooks;
mod idempotency;
mod oauth;
mod paging;
mod people;
mod plans;
mod problems;
mod resources;
mod robustness;
mod script;
mod support;
mod webhooks;
