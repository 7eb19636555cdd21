//! The engine over a scripted silo: what comes in, whose it is, what goes out, what happens when things go wrong.
#![allow(clippy::unwrap_used, reason = "tests")]

mod commands;
mod contract;
mod deletions;
mod desk;
mod flow_handoffs;
mod flow_schedules;
mod flows;
mod handoff_calls;
mod handoff_race;
mod handoffs;
mod identity;
mod ingest;
mod outgoing;
mod plans;
mod proofs;
mod scripted;
mod sending;
mod supervisor;
mod support;
mod tokens;
mod weaving;
mod webhooks;
