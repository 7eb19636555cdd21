//! The built binary, driven as a person drives it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod backup;
mod commands;
mod plugin_new;
mod plugin_run;
mod plugin_sign;
mod serve;
mod support;
