//! The command line's words.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Makes the systems a business talks to its customers through act as one.
#[derive(Debug, Parser)]
#[command(name = "throughline", version, propagate_version = true)]
pub(crate) struct Arguments {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the hub.
    Serve(Serve),
}

/// Where the hub keeps everything.
#[derive(Debug, Clone, Args)]
pub(crate) struct DataFolder {
    /// The data folder.
    #[arg(long, env = "THROUGHLINE_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// The config file; `throughline.toml` in this folder if it is there.
    #[arg(long, env = "THROUGHLINE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// How to run the hub. Flags win over environment variables, these over the config file, that over the defaults.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) folder: DataFolder,
    /// Where to listen; 127.0.0.1:7480 by default.
    #[arg(long, env = "THROUGHLINE_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the hub is reached from outside, for events and webhook registration.
    #[arg(long, env = "THROUGHLINE_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// What to log, as `info` or `info,throughline_engine=debug`.
    #[arg(long, env = "THROUGHLINE_LOG")]
    pub(crate) log: Option<String>,
    /// Log lines as `text` or `json`.
    #[arg(long, env = "THROUGHLINE_LOG_FORMAT")]
    pub(crate) log_format: Option<String>,
    /// A file the first admin key is written to (mode 0600) instead of being printed.
    #[arg(long, env = "THROUGHLINE_ADMIN_KEY_FILE")]
    pub(crate) admin_key_file: Option<PathBuf>,
}
