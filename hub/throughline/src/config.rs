//! Configuration: defaults, then a file, then the environment, then flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use throughline_plugin_host::{PluginTrust, TrustedKey, Unsigned};

use crate::arguments::{DataFolder, Serve};

const DEFAULT_FILE: &str = "throughline.toml";
const DEFAULT_DATA: &str = "throughline-data";
/// The store's own default.
const DEFAULT_RESERVE_MIB: u64 = 64;
const DEFAULT_LISTEN: &str = "127.0.0.1:7480";

/// The config file, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    listen: Option<SocketAddr>,
    public_url: Option<String>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    /// MiB of the store's page cache.
    cache_mib: Option<u64>,
    /// MiB that must stay free on the disk.
    reserve_mib: Option<u64>,
    /// Certificate authorities to trust besides the public ones, a PEM file.
    extra_ca_file: Option<PathBuf>,
    #[serde(default)]
    plugins: Plugins,
    #[serde(default)]
    webhooks: Webhooks,
}

/// What outbound webhooks may reach, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhooks {
    /// Hosts that may be private, loopback or link-local, and may be spoken to without TLS.
    #[serde(default)]
    private_hosts: Vec<String>,
}

/// Whose plugins the hub takes, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plugins {
    /// Take only plugins that one of the trusted keys signed.
    #[serde(default)]
    require_signed: bool,
    /// What to call a key's owner, to the key as `throughline plugin keygen` prints it.
    #[serde(default)]
    trusted_keys: BTreeMap<String, String>,
}

impl Plugins {
    fn trust(self) -> anyhow::Result<PluginTrust> {
        if self.require_signed && self.trusted_keys.is_empty() {
            bail!("[plugins] require_signed = true without any of trusted_keys would let no plugin in; add your publishers' keys");
        }
        let unsigned = if self.require_signed { Unsigned::Refuse } else { Unsigned::Allow };
        let keys = self.trusted_keys.into_iter().map(|(name, key)| trusted(name, &key)).collect::<anyhow::Result<_>>()?;
        Ok(PluginTrust { keys, unsigned })
    }
}

fn trusted(name: String, key: &str) -> anyhow::Result<TrustedKey> {
    // Without blanks, no name can look like what is said of unknown keys.
    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-_.@".contains(c)) {
        bail!("[plugins] trusted_keys: {name:?} is no name for a key: letters, digits and - _ . @");
    }
    let key = key.parse().with_context(|| format!("[plugins] trusted_keys.{name} is wrong"))?;
    Ok(TrustedKey { name, key })
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The whole configuration, every value decided.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<String>,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) cache_bytes: Option<u64>,
    pub(crate) reserve_bytes: Option<u64>,
    pub(crate) extra_ca_pem: Option<String>,
    pub(crate) plugin_trust: PluginTrust,
    pub(crate) webhook_private_hosts: Vec<String>,
}

impl Config {
    /// For `serve`.
    pub(crate) fn load(serve: &Serve) -> anyhow::Result<Self> {
        let file = read(serve.folder.config.as_deref())?;
        let log_format = match serve.log_format.as_deref() {
            None => file.log_format.unwrap_or_default(),
            Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(other) => bail!("--log-format must be `text` or `json`, not {other:?}"),
        };
        let extra_ca_pem = file
            .extra_ca_file
            .map(|path| std::fs::read_to_string(&path).with_context(|| format!("cannot read extra_ca_file {}", path.display())))
            .transpose()?;
        Ok(Self {
            data: serve.folder.data.clone().or(file.data).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA)),
            listen: serve.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.parse().expect("a constant address")),
            public_url: serve.public_url.clone().or(file.public_url),
            log: serve.log.clone().or(file.log).unwrap_or_else(|| "info".to_owned()),
            log_format,
            cache_bytes: file.cache_mib.map(|mib| mib.saturating_mul(1 << 20)),
            reserve_bytes: file.reserve_mib.map(|mib| mib.saturating_mul(1 << 20)),
            extra_ca_pem,
            plugin_trust: file.plugins.trust()?,
            webhook_private_hosts: file.webhooks.private_hosts,
        })
    }

    /// The data folder, for commands that need nothing else.
    pub(crate) fn data_folder(folder: &DataFolder) -> anyhow::Result<PathBuf> {
        let file = read(folder.config.as_deref())?;
        Ok(folder.data.clone().or(file.data).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA)))
    }
}

/// MiB that the hub keeps free on the disk, for commands that look at it.
pub(crate) fn reserve_mib(folder: &DataFolder) -> anyhow::Result<u64> {
    Ok(read(folder.config.as_deref())?.reserve_mib.unwrap_or(DEFAULT_RESERVE_MIB))
}

/// Whose plugins the hub takes, for commands that look at components.
pub(crate) fn plugin_trust(config: Option<&Path>) -> anyhow::Result<PluginTrust> {
    read(config)?.plugins.trust()
}

fn read(named: Option<&Path>) -> anyhow::Result<File> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // Only a file that was asked for must be there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Ok(File::default()),
        Err(error) => return Err(error).with_context(|| format!("cannot read the config file {}", path.display())),
    };
    toml::from_str(&text).with_context(|| format!("the config file {} is wrong", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_config_file_is_refused_with_the_field_named() {
        let error = toml::from_str::<File>("listn = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert!(error.contains("listn") && error.contains("listen"), "{error}");
        let error = toml::from_str::<File>("listen = \"nowhere\"").unwrap_err().to_string();
        assert!(error.contains("listen"), "{error}");
    }

    #[test]
    fn whose_plugins_are_taken_is_read_and_a_wrong_key_is_named() {
        let key = throughline_plugin_host::SigningKey::from_seed(&[1; 32]).public();
        let parse = |text: &str| toml::from_str::<File>(text).map_err(anyhow::Error::from).and_then(|file| file.plugins.trust());
        assert_eq!(parse("log = \"warn\"").unwrap(), PluginTrust::default());
        let full = parse(&format!("[plugins]\nrequire_signed = true\ntrusted_keys = {{ acme = \"{key}\" }}")).unwrap();
        assert_eq!((full.unsigned, full.name_of(&key)), (Unsigned::Refuse, Some("acme")));
        for (text, word) in [
            ("[plugins]\nrequire_signed = true".to_owned(), "trusted_keys"),
            ("[plugins]\ntrusted_keys = { acme = \"ed25519:AAAA\" }".to_owned(), "trusted_keys.acme"),
            (format!("[plugins]\ntrusted_keys = {{ \"unknown key\" = \"{key}\" }}"), "unknown key"),
            ("[plugins]\nrequire_signd = true".to_owned(), "require_signed"),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
