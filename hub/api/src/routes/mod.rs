//! The routes, one file for each resource.

pub(crate) mod api_keys;
mod blobs;
mod connection_upkeep;
mod connections;
mod conversations;
mod enquiries;
mod events;
mod flows;
mod handoffs;
mod hooks;
mod lookup;
mod oauth;
mod operations;
mod plans;
pub(crate) mod plugins;
mod policies;
mod profiles;
mod reviews;
mod system;
mod web_keys;
pub(crate) mod webhooks;

use crate::openapi::Routes;

/// Every route there is, in the order of the documentation.
pub(crate) fn all() -> Routes {
    let resources = [
        plugins::routes,
        connections::routes,
        connection_upkeep::routes,
        plans::routes,
        oauth::routes,
        hooks::routes,
        profiles::routes,
        reviews::routes,
        lookup::routes,
        enquiries::routes,
        conversations::routes,
        handoffs::routes,
        operations::routes,
        policies::routes,
        events::routes,
        webhooks::routes,
        flows::routes,
        api_keys::routes,
        web_keys::routes,
        blobs::routes,
        system::routes,
    ];
    resources.iter().fold(Routes::new(), |routes, add| add(routes))
}
