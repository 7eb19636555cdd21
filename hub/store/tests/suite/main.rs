//! What the store promises, tested from outside through its port. One binary, so that it links once.
//!
//! `conformance` and `model` run on every engine through [`support::Bench`]; a new engine is one more line in `on_every_engine!`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod backup;
mod conformance;
mod damage;
mod durable;
mod faults;
mod kill;
mod model;
mod opening;
mod support;
