//! The stage: a mail server, a CRM, a PBX and a hub that connects them.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::hub::{Client, HubProcess};
use crate::systems::ari::Ari;
use crate::systems::asterisk::{ReplayedPbx, recording};
use crate::systems::email::{self, MailServer};
use crate::systems::pocketbase::{self, PocketBase};

/// The call of the story: Ada, through the queue, to agent1, who puts her on hold once.
const CALL: &str = "s01-inbound-queue-answered";
/// How the mailbox's texts are searched.
const ORDER_PATTERN: &str = r"order\s+(?:no\.?\s*|number\s*|#\s*)?(\d{4,})";

/// Everything that runs.
pub struct Setting {
    /// The mail server.
    pub mail: MailServer,
    /// The CRM.
    pub crm: PocketBase,
    /// The PBX.
    pub pbx: ReplayedPbx,
    /// The hub.
    pub hub: HubProcess,
    /// The IVR's client: its key may look up and nothing else.
    pub ivr: Client,
    /// The hub's key of the CRM connection.
    pub crm_connection: String,
}

impl Setting {
    /// Starts the systems below `folder` and a hub on `port` (or a free one), and connects them.
    pub fn start(folder: &Path, port: Option<u16>, say: &mut dyn FnMut(&str)) -> Result<Self> {
        let mail = MailServer::start(&folder.join("mail")).context("starting Dovecot and Exim")?;
        say(&format!("Dovecot answers on 127.0.0.1:{}, Exim on 127.0.0.1:{}.", mail.ports.imap, mail.ports.smtp));
        let mut crm = PocketBase::start(&folder.join("crm")).context("starting PocketBase")?;
        say(&format!("PocketBase, the CRM, answers on {}.", crm.base_url()));
        let pbx = ReplayedPbx::start_as_of_now(&recording(CALL)).context("starting the replayed Asterisk")?;
        say(&format!("A recorded Asterisk replays its AMI on 127.0.0.1:{}.", pbx.port()));
        let hub_folder = folder.join("hub");
        let hub = match port {
            Some(port) => HubProcess::start_on(&hub_folder, port)?,
            None => HubProcess::start(&hub_folder)?,
        };
        say(&format!("The hub answers on {} (ready in {:.0} ms).", hub.url(), hub.started_in.as_secs_f64() * 1000.0));
        let client = hub.client();
        for plugin in ["email", "asterisk", "rest"] {
            hub.install(plugin).with_context(|| format!("installing {plugin}"))?;
        }
        client.post("/v1/connections", &mailbox(&mail)?).context("connecting the mailbox")?;
        client.post("/v1/connections", &asterisk(&pbx)).context("connecting Asterisk")?;
        let connection = client.post("/v1/connections", &crm_config(&crm)?).context("connecting the CRM")?;
        let crm_connection = connection["id"].as_str().context("a connection has an id")?.to_owned();
        crm.post_changes_to(&format!("{}/hooks/{crm_connection}/records", hub.url()))?;
        let key = client.post("/v1/api-keys", &json!({ "name": "IVR", "scopes": ["lookup"] }))?;
        let ivr = Client::new(&hub.url(), key["key"].as_str().context("a new key is shown once")?);
        say("The hub has the email, asterisk and rest plugins and a connection to each system.");
        Ok(Self { mail, crm, pbx, hub, ivr, crm_connection })
    }
}

/// The mailbox's connection.
pub fn mailbox(mail: &MailServer) -> Result<Value> {
    Ok(json!({
        "name": "mailbox",
        "plugin": "email",
        "config": {
            "address": "agent@mail.test", "from_name": "Support", "username": "agent@mail.test",
            "imap_host": "localhost", "imap_port": mail.ports.imaps, "imap_security": "tls",
            "smtp_host": "localhost", "smtp_port": mail.ports.submission, "smtp_security": "starttls",
            "ca_pem": mail.ca_pem()?,
        },
        "secrets": { "password": email::PASSWORD },
        "grants": {
            "hosts": ["tls://{config.imap_host}:{config.imap_port}", "tcp://{config.smtp_host}:{config.smtp_port}"],
            "private_hosts": ["localhost"],
        },
        "extract": [{ "variable": "order_number", "pattern": ORDER_PATTERN }],
    }))
}

/// The PBX's connection.
pub fn asterisk(pbx: &ReplayedPbx) -> Value {
    json!({
        "name": "pbx",
        "plugin": "asterisk",
        "region": "GB",
        "config": {
            "pbx_id": "pbx-1", "region": "GB", "ami_host": "127.0.0.1", "ami_port": pbx.port(), "ami_security": "plain", "ami_username": "throughline",
        },
        "secrets": { "ami_secret": "tl-ami-secret" },
        "grants": { "hosts": ["tcp://{config.ami_host}:{config.ami_port}"], "private_hosts": ["127.0.0.1"] },
    })
}

/// The same with ARI beside it, so that it can place calls and send them elsewhere.
pub fn asterisk_with_ari(pbx: &ReplayedPbx, ari: &Ari) -> Value {
    let mut connection = asterisk(pbx);
    connection["config"]["ari_url"] = ari.url().into();
    connection["config"]["ari_username"] = "throughline".into();
    connection["secrets"]["ari_password"] = "tl-ari-secret".into();
    connection["grants"]["hosts"] = json!(["tcp://{config.ami_host}:{config.ami_port}", "{config.ari_url}"]);
    connection
}

/// The CRM's connection: the example that users start from, with this CRM's address.
pub fn crm_config(crm: &PocketBase) -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/connections/pocketbase.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut connection: Value = serde_yaml_ng::from_str(&text).context("the example is no YAML")?;
    connection["config"]["base_url"] = crm.base_url().into();
    connection["config"]["auth"]["body"]["identity"] = pocketbase::USER.into();
    connection["secrets"] = json!({ "password": pocketbase::PASSWORD, "webhook_secret": pocketbase::WEBHOOK_SECRET });
    Ok(connection)
}
