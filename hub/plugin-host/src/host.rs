//! The plugin host: installs components, keeps them ready, opens connections with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use throughline_domain::connector::{BoxFuture, ConnectionSpec, Connector, Grants, HubServices, InstalledPlugin, PluginError, PluginHost};
use throughline_schemas::manifest::Manifest;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::compiled::CompiledCache;
use crate::connection::Connection;
use crate::connector::Running;
use crate::dial::Trust;
use crate::engine;
use crate::guest::Guest;
use crate::instance::Program;
use crate::keys::PublicKey;
use crate::manifest::{Examined, examine};
use crate::options::HostOptions;
use crate::plugin_files::{PluginFiles, Stored};
use crate::wit::v0_1_0;

/// Name and version; the version as text, ordered by what it means.
type Key = (String, semver::Version, String);

/// Keeps installed plugins and runs connections with them.
pub struct Host {
    options: HostOptions,
    pub(crate) engine: Engine,
    linker: Linker<Guest>,
    files: PluginFiles,
    cache: Arc<CompiledCache>,
    trust: Trust,
    pub(crate) slots: Arc<Semaphore>,
    programs: Mutex<BTreeMap<Key, Arc<Program>>>,
    /// One install at a time: two of the same name and version must not both find the place free.
    installing: tokio::sync::Mutex<()>,
    /// The guests' own runtime; only `drop` takes it.
    runtime: Option<Runtime>,
}

impl Host {
    /// Opens the folders and makes all installed plugins ready. Compiles those whose compiled code is missing or was made by another
    /// version or on another processor, so this can take seconds; call it before serving.
    pub fn new(options: HostOptions) -> Result<Arc<Self>, PluginError> {
        let engine = engine::new(&options)?;
        let mut linker = Linker::new(&engine);
        v0_1_0::add_to_linker(&mut linker).map_err(|error| PluginError::Internal(format!("the imports do not link: {error:#}")))?;
        let host = Self {
            files: PluginFiles::open(&options.plugins_dir)?,
            cache: Arc::new(CompiledCache::open(&options.cache_dir)?),
            trust: Trust::new(options.extra_ca_pem.as_deref())?,
            slots: Arc::new(Semaphore::new(usize::try_from(options.max_instances).unwrap_or(1))),
            programs: Mutex::new(BTreeMap::new()),
            installing: tokio::sync::Mutex::new(()),
            runtime: Some(guest_runtime(options.guest_threads)?),
            options,
            engine,
            linker,
        };
        host.load_installed()?;
        Ok(Arc::new(host))
    }

    fn load_installed(&self) -> Result<(), PluginError> {
        for Stored { path, bytes, digest } in self.files.load_all()? {
            match self.prepare(&bytes) {
                Ok(program) => drop(self.programs().insert(key_of(&program.plugin)?, Arc::new(program))),
                // One plugin that an upgrade has outlived must not keep the hub from starting.
                Err(error) => tracing::error!(path = %path.display(), digest, %error, "an installed plugin is not usable"),
            }
        }
        Ok(())
    }

    /// Checks a component and makes it ready to run.
    pub(crate) fn prepare(&self, bytes: &[u8]) -> Result<Program, PluginError> {
        let examined = examine(bytes, &self.options.trust)?;
        self.options.limits.for_plugin(&examined.plugin.manifest)?;
        let component = self.cache.load(&self.engine, &examined.plugin.digest, bytes)?;
        Program::new(&self.engine, &self.linker, &component, examined)
    }

    fn programs(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Arc<Program>>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn program(&self, name: &str, version: &str) -> Result<Arc<Program>, PluginError> {
        let missing = || PluginError::NotInstalled { name: name.to_owned(), version: Some(version.to_owned()) };
        let key = key(name, version).map_err(|_| missing())?;
        self.programs().get(&key).cloned().ok_or_else(missing)
    }

    /// The newest signed version of a plugin, and who signed it: whom the next one is expected from.
    fn newest_signed(&self, name: &str) -> Option<(String, PublicKey)> {
        let programs = self.programs();
        let mut versions = programs.iter().rev().filter(|(key, _)| key.0 == name);
        versions.find_map(|((_, _, version), program)| Some((version.clone(), program.signer?)))
    }

    /// Instances that exist now.
    #[must_use]
    pub fn alive(&self) -> usize {
        usize::try_from(self.options.max_instances).unwrap_or(1).saturating_sub(self.slots.available_permits())
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("only drop takes it")
    }

    async fn install_component(&self, component: Vec<u8>) -> Result<InstalledPlugin, PluginError> {
        let _one_at_a_time = self.installing.lock().await;
        let Examined { plugin, signer } = examine(&component, &self.options.trust)?;
        let (name, version) = (plugin.manifest.name.as_str(), plugin.manifest.version.as_str());
        if let Ok(installed) = self.program(name, version) {
            if installed.plugin.digest == plugin.digest {
                return Ok(plugin);
            }
            let detail = format!("{name} {version} is installed already with other bytes ({}): raise the version", installed.plugin.digest);
            return Err(PluginError::Manifest { pointer: "/version".to_owned(), detail });
        }
        if let Some((before, publisher)) = self.newest_signed(name) {
            self.options.trust.admit_after(&before, &publisher, signer.as_ref())?;
        }
        self.options.limits.for_plugin(&plugin.manifest)?;
        let component: Arc<[u8]> = component.into();
        let compiled = self.compile_aside(plugin.digest.clone(), component.clone()).await?;
        let program = Program::new(&self.engine, &self.linker, &compiled, Examined { plugin: plugin.clone(), signer })?;
        self.files.save(name, version, &component)?;
        self.programs().insert(key_of(&program.plugin)?, Arc::new(program));
        tracing::info!(
            plugin = name,
            version,
            digest = plugin.digest,
            signed_by = plugin.signed_by.as_deref().unwrap_or("nobody"),
            "plugin installed"
        );
        Ok(plugin)
    }

    /// Compiles on a thread of its own: it takes up to seconds and must not hold one that serves.
    async fn compile_aside(&self, digest: String, bytes: Arc<[u8]>) -> Result<Component, PluginError> {
        let (cache, engine) = (self.cache.clone(), self.engine.clone());
        let compiled = self.runtime().spawn_blocking(move || cache.load(&engine, &digest, &bytes)).await;
        compiled.unwrap_or_else(|error| Err(PluginError::Internal(format!("compiling was broken off: {error}"))))
    }

    /// Connects a program with what one connection may use. Starts nothing.
    pub(crate) fn connect(
        &self,
        program: &Arc<Program>,
        spec: ConnectionSpec,
        services: Arc<dyn HubServices>,
    ) -> Result<Arc<Connection>, PluginError> {
        self.connect_as(&program.plugin.manifest, spec, services)
    }

    fn connect_as(
        &self,
        manifest: &Manifest,
        spec: ConnectionSpec,
        services: Arc<dyn HubServices>,
    ) -> Result<Arc<Connection>, PluginError> {
        let resolver = self.options.resolver.clone();
        Connection::new(spec, manifest, &self.options.limits, services, resolver, self.trust.clone()).map(Arc::new)
    }

    fn running(&self, program: Arc<Program>, connection: Arc<Connection>) -> Arc<dyn Connector> {
        Arc::new(Running::new(program, connection, self.slots.clone(), self.runtime().handle().clone()))
    }
}

fn guest_runtime(threads: usize) -> Result<Runtime, PluginError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("guest")
        .enable_all()
        .build()
        .map_err(|error| PluginError::Internal(format!("the guests' runtime does not start: {error}")))
}

fn key(name: &str, version: &str) -> Result<Key, semver::Error> {
    Ok((name.to_owned(), semver::Version::parse(version)?, version.to_owned()))
}

fn key_of(plugin: &InstalledPlugin) -> Result<Key, PluginError> {
    key(&plugin.manifest.name, &plugin.manifest.version)
        .map_err(|error| PluginError::Manifest { pointer: "/version".to_owned(), detail: error.to_string() })
}

impl PluginHost for Host {
    fn install(&self, component: Vec<u8>) -> BoxFuture<'_, Result<InstalledPlugin, PluginError>> {
        Box::pin(self.install_component(component))
    }

    fn installed(&self) -> Vec<InstalledPlugin> {
        self.programs().values().map(|program| program.plugin.clone()).collect()
    }

    fn remove(&self, name: &str, version: &str) -> Result<(), PluginError> {
        let program = self.program(name, version)?;
        self.files.remove(name, version)?;
        self.programs().remove(&key_of(&program.plugin)?);
        self.cache.forget(&self.engine, &program.plugin.digest);
        Ok(())
    }

    fn open(&self, spec: ConnectionSpec, services: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError> {
        let program = self.program(&spec.plugin, &spec.version)?;
        let connection = self.connect(&program, spec, services)?;
        Ok(self.running(program, connection))
    }

    fn open_to_migrate(&self, spec: ConnectionSpec, services: Arc<dyn HubServices>) -> Result<Arc<dyn Connector>, PluginError> {
        let program = self.program(&spec.plugin, &spec.version)?;
        // What of the manifest is resolved against the config is left out: the config is one that another version was written for.
        let mut manifest = program.plugin.manifest.clone();
        manifest.auth.clear();
        manifest.capabilities.hosts.clear();
        manifest.rate_budgets.clear();
        let spec = ConnectionSpec { secrets: BTreeMap::new(), grants: Grants::default(), ..spec };
        let connection = self.connect_as(&manifest, spec, services)?;
        Ok(self.running(program, connection))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime waits for its threads, which must not happen on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}
