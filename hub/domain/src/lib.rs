//! Decides. Pure rules of identity, continuity and sync, and the port behind which connectors live.
//!
//! Nothing here reads a clock, makes an id, draws a random number, awaits or does IO: time and ids come in as values, decisions
//! go out as values. The connector port is declared here so that engine and plugin-host need not know each other.

pub mod connector;
