//! End to end: the real hub, real plugins, real systems, over HTTP.

mod bad_input;
mod cli;
mod continuity;
mod crm;
mod durability;
mod helpdesk;
mod mail;
mod pbx;
mod story;
