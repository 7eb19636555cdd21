//! What must outlive an instance: calls that are open, context that was posted, when the PBX booted.
//!
//! Lives in the connection's state, one key for each call, so that a change of one call does not rewrite all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_plugin_sdk::{Result, log, state};

use crate::call::Call;

/// Under which the PBX's boot time is kept.
pub(crate) const BOOTED: &str = "booted";
const OPEN: &str = "open";
const POSTED: &str = "posted";
/// For so many legs posted context is kept; a hook that posts for calls we never hear of cannot fill the state.
const MOST_POSTED: usize = 200;

/// Context that the dial plan posted for a leg, and the version it was told under.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Posted {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) version: i64,
}

/// The calls that were open when something was last kept.
pub(crate) fn open_calls() -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    for id in state::get::<Vec<String>>(OPEN)?.unwrap_or_default() {
        match state::get::<Call>(&key(&id)) {
            Ok(call) => calls.extend(call),
            // Written by a version with another shape: the call cannot be taken up, all else can.
            Err(error) => log::warn(format!("call {id} cannot be taken up: {error}")),
        }
    }
    Ok(calls)
}

/// Which calls are open.
pub(crate) fn index(open: &[String]) -> Result<()> {
    state::set(OPEN, &open)
}

/// Keeps an open call.
pub(crate) fn keep(call: &Call) -> Result<()> {
    state::set(&key(call.id()), call)
}

/// Forgets a call that ended, with what was posted for it.
pub(crate) fn forget(id: &str, call: Option<&Call>) -> Result<()> {
    for leg in call.into_iter().flat_map(Call::external_legs) {
        state::delete(&posted_key(leg))?;
    }
    state::delete(&key(id))
}

/// The open call that has this leg.
pub(crate) fn call_of_leg(leg: &str) -> Result<Option<Call>> {
    if let Ok(Some(call)) = state::get::<Call>(&key(leg)) {
        return Ok(Some(call));
    }
    Ok(open_calls()?.into_iter().find(|call| call.has_leg(leg)))
}

/// What was posted for a leg.
pub(crate) fn posted(leg: &str) -> Result<Option<Posted>> {
    state::get(&posted_key(leg))
}

/// Keeps what was posted for a leg.
pub(crate) fn post(leg: &str, posted: &Posted) -> Result<()> {
    let mut legs: Vec<String> = state::get(POSTED)?.unwrap_or_default();
    if !legs.iter().any(|known| known == leg) {
        legs.push(leg.to_owned());
        if legs.len() > MOST_POSTED {
            state::delete(&posted_key(&legs.remove(0)))?;
        }
        state::set(POSTED, &legs)?;
    }
    state::set(&posted_key(leg), posted)
}

fn key(id: &str) -> String {
    format!("call/{id}")
}

fn posted_key(leg: &str) -> String {
    format!("posted/{leg}")
}
