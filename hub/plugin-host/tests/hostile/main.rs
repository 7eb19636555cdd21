//! A plugin that misbehaves in every way we could think of, in the real host: each deed is contained, named, and ends nothing else.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bench;
mod budgets;
mod build;
mod install;
mod limits;
mod network;
mod oauth;
mod publishers;
mod secrets;
mod services;
mod stopping;
mod support;
mod wasi;
