//! A connection's secrets as they are now: those it was opened with, and the tokens it was given since.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use throughline_domain::connector::Secret;

/// Secrets by name.
pub(crate) type Secrets = BTreeMap<String, Secret>;

/// What a plugin that uses OAuth has no business with: the hub alone sends these, and to the token endpoint alone.
const HUBS_OWN: &[&str] = &[super::oauth::CLIENT_SECRET, super::oauth::REFRESH_TOKEN, super::oauth::EXPIRES_AT];

/// The secrets of one connection.
pub(crate) struct SecretBook {
    withholds: bool,
    pages: RwLock<Pages>,
}

#[derive(Clone)]
struct Pages {
    all: Arc<Secrets>,
    for_plugin: Arc<Secrets>,
}

impl SecretBook {
    /// The book of a connection; one that uses OAuth withholds the hub's own from the plugin.
    pub(crate) fn new(secrets: Secrets, uses_oauth: bool) -> Self {
        Self { withholds: uses_oauth, pages: RwLock::new(pages(secrets, uses_oauth)) }
    }

    /// All of them, for the hub itself.
    pub(crate) fn all(&self) -> Arc<Secrets> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// Those that the plugin may name.
    pub(crate) fn for_plugin(&self) -> Arc<Secrets> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner).for_plugin.clone()
    }

    /// Puts new values in.
    pub(crate) fn update(&self, new: Secrets) {
        let mut current = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = (*current.all).clone();
        secrets.extend(new);
        *current = pages(secrets, self.withholds);
    }
}

fn pages(secrets: Secrets, withholds: bool) -> Pages {
    let all = Arc::new(secrets);
    if !withholds {
        return Pages { for_plugin: all.clone(), all };
    }
    let shown = all.iter().filter(|(name, _)| !HUBS_OWN.contains(&name.as_str()));
    Pages { for_plugin: Arc::new(shown.map(|(name, value)| (name.clone(), value.clone())).collect()), all }
}
