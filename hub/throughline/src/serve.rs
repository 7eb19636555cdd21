//! `throughline serve`: opens everything, serves, and goes down in good order.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use throughline_api::ApiOptions;
use throughline_engine::{Hub, HubOptions, Scope};
use throughline_plugin_host::{Host, HostOptions, Outbound, SystemResolver};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::EnvFilter;

use crate::arguments::Serve;
use crate::config::{Config, LogFormat};
use crate::data::{self, Data};

/// How long requests that are under way may take to end.
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) fn run(serve: Serve) -> anyhow::Result<ExitCode> {
    let config = Config::load(&serve)?;
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("hub").build()?;
    let served = runtime.block_on(until_stopped(&config, &serve));
    // Blocking work that hangs (a resolver, a dying disk) must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(5));
    served?;
    Ok(ExitCode::SUCCESS)
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(&config.log).with_context(|| format!("--log {:?} is no filter; write for instance `info`", config.log))?;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

async fn until_stopped(config: &Config, serve: &Serve) -> anyhow::Result<()> {
    let began = Instant::now();
    let orders = Orders::listen()?;
    let data = Data::create(&config.data)?;
    // Before the store is made: a store without its key is one that lost it.
    let master_key = data.master_key()?;
    let store = data.open_store(config.cache_bytes, config.reserve_bytes)?;
    let blobs = data.open_blobs()?;
    let mut host_options = HostOptions::new(data.plugins(), data.cache());
    host_options.extra_ca_pem.clone_from(&config.extra_ca_pem);
    host_options.trust.clone_from(&config.plugin_trust);
    let host = tokio::task::spawn_blocking(move || Host::new(host_options)).await??;
    let outbound = Outbound::new(config.extra_ca_pem.as_deref(), &config.webhook_private_hosts, Arc::new(SystemResolver))
        .context("[webhooks] private_hosts, or extra_ca_file, is wrong")?;
    let hub_options = HubOptions { poster: Some(outbound), public_url: config.public_url.clone(), ..HubOptions::new(master_key) };
    let hub = Hub::open(hub_options, store, blobs, host)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}; is another hub running, or choose another --listen", config.listen))?;
    admin_key(&hub, serve).await?;
    hub.start().await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, ready_ms = began.elapsed().as_millis() as u64, "the hub is ready");
    say(&format!("throughline is ready at http://{address} (docs at http://{address}/docs)\n"))?;
    let shutdown = CancellationToken::new();
    let tasks = TaskTracker::new();
    let options =
        ApiOptions { public_url: config.public_url.clone(), shutdown: shutdown.clone(), tasks: tasks.clone(), ..ApiOptions::default() };
    let app = throughline_api::router(hub.clone(), options);
    let stop = shutdown.clone();
    let server = axum::serve(listener, app.into_make_service()).with_graceful_shutdown(async move { stop.cancelled().await });
    let serving = tokio::spawn(async move { server.await });
    orders.given().await;
    tracing::info!("stopping");
    shutdown.cancel();
    if tokio::time::timeout(DRAIN, serving).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("some work that went on without its client did not end in time");
    }
    hub.shut_down().await?;
    tracing::info!("stopped; everything accepted is durable");
    Ok(())
}

/// On a hub without keys, or when told to, makes an admin key and tells it, once. Only its hash is kept, so the place for it is made
/// before the key is.
async fn admin_key(hub: &Hub, serve: &Serve) -> anyhow::Result<()> {
    if !serve.new_admin_key && !hub.api_keys()?.is_empty() {
        return Ok(());
    }
    let file = serve.admin_key_file.as_deref().map(data::new_private_file).transpose()?;
    let first = hub.ensure_first_admin_key().await?;
    let (which, key) = match first {
        Some(key) => ("The first admin key", key),
        None => ("A new admin key", hub.create_api_key("made at start", vec![Scope::Admin], None).await?.1),
    };
    match (file, &serve.admin_key_file) {
        (Some(file), Some(path)) if kept(&file, &key) => say(&format!("{which} is in {}.\n", path.display())),
        _ => say(&format!("{which}, shown only now. Keep it safe; with it, make keys of lesser scope:\n  {key}\n")),
    }
}

fn kept(mut file: &File, key: &str) -> bool {
    writeln!(file, "{key}").and_then(|()| file.sync_all()).is_ok()
}

/// Whoever started the hub waits for these lines, maybe at the end of a pipe.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// The orders to end. Listened for from the start on, so that one given right after the hub said it is ready is not missed.
struct Orders {
    terminate: Signal,
    interrupt: Signal,
}

impl Orders {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn given(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
