//! Decides. Pure rules of identity, continuity and sync, and the port behind which connectors live.
//!
//! Nothing here reads a clock, makes an id, draws a random number, awaits or does IO: time and ids come in as values, decisions
//! go out as values. The connector port is declared here so that engine and plugin-host need not know each other.

pub mod connector;
pub mod continuity;
pub mod disclosure;
pub mod extract;
pub mod flow;
pub mod handoff;
pub mod identity;
pub mod outbound;
pub mod profile;
pub mod proof;
pub mod sync;
pub mod web_identity;

/// The version of the rules, for the `rules` of every decision: changes when a rule does.
pub const RULES: &str = "2026-11";
