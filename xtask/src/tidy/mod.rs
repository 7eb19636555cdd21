//! Invariants of the workspace, as tests.

mod docs;
mod layers;
mod licences;
mod sources;
