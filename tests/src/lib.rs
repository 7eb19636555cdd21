//! Drives the real hub, over HTTP only, with real plugins and real systems.
//!
//! [`systems`] starts the systems, [`hub`] the hub, [`stage`] a hub for one test, [`story`] tells how one customer's enquiry crosses three of them: the demo
//! shows it to people, the end-to-end tests hold the hub to it.

pub mod hook;
pub mod hub;
pub mod mail;
pub mod stage;
pub mod story;
pub mod systems;
pub mod wait;
