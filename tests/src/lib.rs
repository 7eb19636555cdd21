//! Drives the real hub, over HTTP only, with real plugins and real systems.
//!
//! [`systems`] starts the systems, [`hub`] the hub, [`story`] tells how one customer's enquiry crosses three of them: the demo
//! shows it to people, the end-to-end tests hold the hub to it.

pub mod hub;
pub mod story;
pub mod systems;
pub mod wait;
