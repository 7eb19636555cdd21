//! What the instances of one connection share: its config, secrets, grants, limits, and the hub's services for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use throughline_domain::connector::{ConnectionSpec, HubServices, PluginError};
use throughline_schemas::connector::ConnectorError;
use throughline_schemas::manifest::Manifest;

use crate::budgets::Budgets;
use crate::dial::{Dialer, Resolver, Trust};
use crate::grants::Reachable;
use crate::imports::http::Clients;
use crate::oauth::{self, Oauth};
use crate::options::Limits;
use crate::redact::Redactor;
use crate::secret_book::{SecretBook, Secrets};
use crate::usage::Usage;

/// One connection, as its guests' imports see it.
pub(crate) struct Connection {
    pub(crate) id: String,
    pub(crate) plugin: String,
    /// The config as JSON text, as every call hands it over.
    pub(crate) config: String,
    pub(crate) secrets: SecretBook,
    pub(crate) oauth: Option<Oauth>,
    pub(crate) budgets: Budgets,
    pub(crate) redactor: Redactor,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) clients: Clients,
    pub(crate) services: Arc<dyn HubServices>,
    pub(crate) limits: Limits,
    pub(crate) usage: Arc<Usage>,
    /// Sizes of the state's entries as far as they have been seen, for its limit.
    state_sizes: Mutex<BTreeMap<String, usize>>,
}

impl Connection {
    pub(crate) fn new(
        spec: ConnectionSpec,
        manifest: &Manifest,
        limits: &Limits,
        services: Arc<dyn HubServices>,
        resolver: Arc<dyn Resolver>,
        trust: Trust,
    ) -> Result<Self, PluginError> {
        let id = spec.id.to_string();
        let dialer = Arc::new(Dialer {
            reachable: Reachable::resolve(manifest, &spec.grants, &spec.config)?,
            resolver,
            trust,
            connection: id.clone(),
            plugin: spec.plugin.clone(),
        });
        let oauth = Oauth::resolve(manifest, &spec.config)?;
        Ok(Self {
            id,
            plugin: spec.plugin,
            config: spec.config.to_string(),
            redactor: Redactor::new(&oauth::without_expiry(&spec.secrets))?,
            secrets: SecretBook::new(spec.secrets, oauth.is_some()),
            oauth,
            budgets: Budgets::resolve(manifest, &spec.config)?,
            clients: Clients::new(dialer.clone()),
            dialer,
            services,
            limits: limits.for_plugin(manifest)?,
            usage: Arc::default(),
            state_sizes: Mutex::new(BTreeMap::new()),
        })
    }

    /// The secrets for these templates, with an access token that is good if one of them asks for it.
    pub(crate) async fn secrets_for<'t>(
        self: &Arc<Self>,
        templates: impl IntoIterator<Item = &'t str>,
    ) -> Result<Arc<Secrets>, ConnectorError> {
        if self.oauth.is_some() && templates.into_iter().any(oauth::asks_for_token) {
            oauth::ensure_fresh(self).await?;
        }
        Ok(self.secrets.for_plugin())
    }

    /// Notes how large the entry under a key is; none when there is no such entry.
    pub(crate) fn note_state_size(&self, key: &str, size: Option<usize>) {
        let mut sizes = self.state_sizes.lock().unwrap_or_else(PoisonError::into_inner);
        match size {
            Some(size) => sizes.insert(key.to_owned(), key.len() + size),
            None => sizes.remove(key),
        };
    }

    /// How large the state will be once these pending changes are in it.
    pub(crate) fn state_size_with(&self, pending: &BTreeMap<String, Option<usize>>) -> usize {
        let sizes = self.state_sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = sizes.iter().filter(|(key, _)| !pending.contains_key(*key)).map(|(_, size)| size).sum();
        kept + pending.iter().filter_map(|(key, size)| size.map(|size| key.len() + size)).sum::<usize>()
    }
}
