//! Invariants of the workspace, as tests.

mod layers;
mod sources;
