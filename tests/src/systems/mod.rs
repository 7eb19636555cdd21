//! Real systems on loopback, each started from a folder of its own on free ports.

pub mod ari;
pub mod asterisk;
pub mod email;
pub mod helpdesk;
pub mod local;
pub mod pocketbase;
pub mod stand_in;
