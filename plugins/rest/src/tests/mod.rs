//! The connector against a scripted system: data in, data out.

mod access;
mod configs;
mod harness;
mod reading;
mod webhooks;
mod writing;
