//! What every handler shares: the hub's handle, the options, and the little state that HTTP itself needs.

use std::sync::Arc;

use axum::body::Bytes;

use throughline_engine::Hub;

use crate::ApiOptions;
use crate::limit::Limits;
use crate::metrics::HttpMetrics;
use crate::openapi::OperationNames;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) hub: Hub,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: ApiOptions,
    pub(crate) limits: Limits,
    pub(crate) metrics: HttpMetrics,
    /// The OpenAPI document, written out once.
    pub(crate) document: Bytes,
    pub(crate) operations: OperationNames,
}

impl Api {
    pub(crate) fn options(&self) -> &ApiOptions {
        &self.shared.options
    }

    /// How large a body this path takes.
    pub(crate) fn body_limit(&self, matched_path: Option<&str>) -> usize {
        if matched_path == Some(crate::routes::plugins::COLLECTION) {
            return self.options().max_component_bytes;
        }
        self.options().max_body_bytes
    }
}
