//! The command line's words.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Where a hub listens unless it is told otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:7480";

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
    /// Write, check, test, install and list plugins.
    #[command(subcommand)]
    Plugin(Plugin),
    /// Add, check, list, pause and resume connections.
    #[command(subcommand)]
    Connection(Connection),
    /// Look at, approve and cancel large runs that wait: backfills, and deletions that are too many to be believed unseen.
    #[command(subcommand)]
    Plan(crate::commands::plan::Plans),
    /// Who is this, and what is it about?
    Lookup(Lookup),
    /// What happened with a customer, newest first.
    Timeline(Timeline),
    /// Why a customer's profile is as it is: who said what, and what merged it.
    Why(Why),
    /// List, show, offer, accept and decline handoffs.
    #[command(subcommand)]
    Handoff(crate::commands::handoff::Handoff),
    /// Who is who: find which records are of one person.
    #[command(subcommand)]
    Identity(Identity),
    /// Make connections, webhooks, flows and policies as a YAML file describes them; what is so already stays.
    Apply(Apply),
    /// Say what `apply` would change. Ends with 0 if nothing, with 1 if something, with 2 if it cannot tell.
    Diff(Diff),
    /// Write what the hub is configured to do as a YAML file for `apply`; secrets as references.
    Export(Export),
    /// Write a backup of a data folder that no hub is using.
    Backup(Backup),
    /// Bring a backup back into a new data folder.
    Restore(Restore),
    /// Look for what is wrong with this machine, the data folder or the running hub.
    Doctor(Doctor),
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
    /// Make another admin key, when all are lost. Whoever can start the hub on its folder may do this.
    #[arg(long)]
    pub(crate) new_admin_key: bool,
    /// A new file that the admin key is written to (mode 0600) instead of being printed.
    #[arg(long, env = "THROUGHLINE_ADMIN_KEY_FILE")]
    pub(crate) admin_key_file: Option<PathBuf>,
}

/// Which hub to speak to, and as whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    /// The hub's address.
    #[arg(long, env = "THROUGHLINE_URL", default_value = DEFAULT_URL)]
    pub(crate) url: String,
    /// An API key.
    #[arg(long, env = "THROUGHLINE_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Identity {
    /// Say which records of a CSV file are one person's, going by the file alone: prints `rec_id,profile_id`.
    ///
    /// Columns: rec_id, source, name_raw or given_name and surname, email, phone, address, city, postcode, country, dob, company,
    /// handle, loyalty_id. Others are ignored.
    Resolve {
        /// The file.
        file: PathBuf,
        /// How national phone numbers and dates are meant where a row has no country: two letters as in ISO 3166.
        #[arg(long)]
        region: Option<String>,
    },
    /// Profiles of a hub that may be one person's.
    #[command(subcommand)]
    Review(Review),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Review {
    /// List them with the evidence; those that wait for a person by default.
    List {
        /// `open`, `accepted` or `rejected`.
        #[arg(long, default_value = "open")]
        status: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// They are one person: merge them. It can be undone.
    Accept {
        /// The suggestion's id.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// They are two persons: never suggest or merge them again.
    Reject {
        /// The suggestion's id.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What is to be explained.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// A profile's id, or an identity as in `lookup`.
    pub(crate) who: String,
    /// One field, as `display_name` or `phone`.
    #[arg(long)]
    pub(crate) field: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugin {
    /// Write a new plugin that compiles, with a test that passes.
    New {
        /// Its name: lower-case letters, digits and hyphens.
        name: String,
        /// The folder to make; the name by default.
        #[arg(long)]
        into: Option<PathBuf>,
        /// Where the SDK is: the folder `plugin-sdk` of a checkout. Found by itself when this is run inside one.
        #[arg(long)]
        sdk: Option<PathBuf>,
    },
    /// Say what a component is, whether this hub loads it, and what it would have to be granted. Nothing of it is run.
    Check {
        /// The component.
        component: PathBuf,
        /// The config file that says whose plugins the hub takes; `throughline.toml` in this folder if it is there.
        #[arg(long, env = "THROUGHLINE_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Put a manifest into a component that another language's tools made. A plugin in Rust has its manifest from the SDK.
    Embed {
        /// The component.
        component: PathBuf,
        /// The manifest, a JSON file.
        manifest: PathBuf,
        /// Where to write the plugin.
        #[arg(long)]
        out: PathBuf,
    },
    /// Make a key to sign plugins with, in a new file that only you can read; the public half is printed.
    Keygen {
        /// The file to make.
        file: PathBuf,
    },
    /// Sign a component: manifest and code are covered together. A signature it bears already is replaced.
    Sign {
        /// The component.
        component: PathBuf,
        /// The file that `keygen` made.
        #[arg(long)]
        key: PathBuf,
        /// Where to write the signed component; by default it takes the place of the one given.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Make one call to a component in the real host, and print the answer: `plugin run FILE.wasm read contacts --file config.yaml`.
    Run(crate::commands::plugin_run::Run),
    /// Run a recording through a plugin and print the interactions that come of it, one JSON object a line.
    Replay(crate::commands::replay::Replay),
    /// Try a component out against the silos that its kit scripts: offline, in the real host, under the real limits.
    Test(crate::commands::kit::Test),
    /// Install a component in a running hub.
    Install {
        /// The component.
        component: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// Move every connection of a plugin to another installed version; its config and cursors are carried over.
    Update {
        /// The plugin's name.
        name: String,
        /// The version; the newest installed by default.
        #[arg(long)]
        to: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List what is installed in a running hub.
    List {
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connection {
    /// Add a connection.
    Add(Box<AddConnection>),
    /// Ask the silo whether config and credentials are good.
    Check(OneConnection),
    /// List connections and how they are.
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Change config values or secrets of a connection; what is not named stays.
    Set(Box<SetConnection>),
    /// Stop a connection.
    Pause(OneConnection),
    /// Start a stopped connection.
    Resume(OneConnection),
    /// Let a version of the plugin that asks for more hosts have them, and move to it.
    Approve(ApproveUpdate),
    /// Read an entity anew from the beginning. What is known already does not come twice.
    ResetCursor(ResetCursor),
    /// Read everything that the system holds of an entity into a plan, which waits for approval. Nothing is taken in before.
    Backfill(ResetCursor),
    /// Register the hub's address at the system now, list what is registered there, or have it removed.
    Webhook(Webhook),
}

/// A connection to be added.
#[derive(Debug, Args)]
pub(crate) struct AddConnection {
    /// The plugin's name; may be left out with `--file`.
    pub(crate) plugin: Option<String>,
    /// What to call the connection; the plugin's name by default.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A config value: `imap_host=mail.example.com`. JSON is understood: `imap_port=993`.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// A file with the whole connection (YAML or JSON, as `POST /v1/connections` takes it, but `secrets` by reference as in `apply`);
    /// flags win over it.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// A secret: `password=env:NAME`, `password=file:PATH` or `password=-` for a line of standard input.
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    pub(crate) secrets: Vec<String>,
    /// Give the plugin every host its manifest asks for.
    #[arg(long)]
    pub(crate) grant_all_hosts: bool,
    /// A private, loopback or link-local host it may reach.
    #[arg(long = "private-host", value_name = "HOST")]
    pub(crate) private_hosts: Vec<String>,
    /// The brand its enquiries belong to.
    #[arg(long)]
    pub(crate) brand: Option<String>,
    /// ISO 3166 region for national phone numbers.
    #[arg(long)]
    pub(crate) region: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What of a connection is to change.
#[derive(Debug, Args)]
pub(crate) struct SetConnection {
    /// Its name or id.
    pub(crate) connection: String,
    /// A config value, as in `add`.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub(crate) set: Vec<String>,
    /// A secret, as in `add`.
    #[arg(long = "secret", value_name = "NAME=SOURCE")]
    pub(crate) secrets: Vec<String>,
    /// Another installed version of the plugin; config and cursors are carried over.
    #[arg(long)]
    pub(crate) plugin_version: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Which update to let through.
#[derive(Debug, Args)]
pub(crate) struct ApproveUpdate {
    /// The connection's name or id.
    pub(crate) connection: String,
    /// Grant this one of the hosts that it newly asks for; all of them by default.
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What to read anew.
#[derive(Debug, Args)]
pub(crate) struct ResetCursor {
    /// The connection's name or id.
    pub(crate) connection: String,
    /// The entity, or `listen`.
    pub(crate) entity: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// A connection's webhook.
#[derive(Debug, Args)]
pub(crate) struct Webhook {
    /// The connection's name or id.
    pub(crate) connection: String,
    /// Print what the system says is registered there.
    #[arg(long, conflicts_with = "remove")]
    pub(crate) list: bool,
    /// Have the system forget the hub's address until the connection starts anew.
    #[arg(long)]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// One connection, by name or id.
#[derive(Debug, Args)]
pub(crate) struct OneConnection {
    /// Its name or id.
    pub(crate) connection: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Whom to look up.
#[derive(Debug, Args)]
pub(crate) struct Lookup {
    /// `phone:+441632960123`, `email:ada@example.com`, `external:…`, `handle:…`.
    pub(crate) identity: String,
    /// Region for a national phone number.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// How sure you are of who it is: claimed, asserted, proven, confirmed.
    #[arg(long, default_value = "asserted")]
    pub(crate) assurance: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Whose timeline.
#[derive(Debug, Args)]
pub(crate) struct Timeline {
    /// A profile's id, or an identity as in `lookup`.
    pub(crate) who: String,
    /// How many entries.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What to apply.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// A YAML file.
    #[arg(short, long)]
    pub(crate) file: PathBuf,
    /// Say what would be done and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write the secrets of connections that exist already, too. The hub never shows a secret, so without this those it has are left alone.
    #[arg(long)]
    pub(crate) secrets: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What to compare with.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A YAML file.
    #[arg(short, long)]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What to write.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file to write; standard output by default.
    #[arg(short, long)]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// What to back up, and where to.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write; must not be there yet.
    pub(crate) file: PathBuf,
    /// Put the hub's key into it as well. Who has such a backup can read every secret.
    #[arg(long)]
    pub(crate) include_key: bool,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
}

/// What to bring back, and where to.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
}

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Read and check every byte of the store, the stored files and the plugins; needs the hub stopped.
    #[arg(long)]
    pub(crate) deep: bool,
    #[command(flatten)]
    pub(crate) folder: DataFolder,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
