//! The commands besides `serve`, one file each. They take arguments, ask a hub or look at files, and print.

pub(crate) mod apply;
pub(crate) mod backup;
pub(crate) mod connection;
pub(crate) mod connection_file;
pub(crate) mod connection_upkeep;
pub(crate) mod csv;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod handoff;
pub(crate) mod identity;
pub(crate) mod identity_review;
pub(crate) mod kit;
pub(crate) mod lookup;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod plugin_check;
pub(crate) mod plugin_embed;
pub(crate) mod plugin_new;
pub(crate) mod plugin_run;
pub(crate) mod plugin_sign;
pub(crate) mod replay;
mod resources;
pub(crate) mod restore;
pub(crate) mod secrets;
pub(crate) mod timeline;
pub(crate) mod why;
