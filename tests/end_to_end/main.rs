//! End to end: the real hub, real plugins, real systems, over HTTP.

mod story;
