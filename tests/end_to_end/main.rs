//! End to end: the real hub, real plugins, real systems, over HTTP.

mod bad_input;
mod cli;
mod continuity;
mod crm;
mod durability;
mod handoff;
mod helpdesk;
mod mail;
mod pbx;
mod story;
