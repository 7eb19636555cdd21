//! Connector plugin for Asterisk: calls as they happen over the manager interface (AMI), control over the REST interface (ARI).

pub mod ami;
pub mod call;
pub mod config;
mod number;
