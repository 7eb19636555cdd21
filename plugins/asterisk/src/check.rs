//! Are config and credentials good, which PBX is it, and what should its admin know?

use throughline_plugin_sdk::http::percent_encode;
use throughline_plugin_sdk::{CheckReport, ErrorClass, Result, Value};

use crate::ami::{Message, Received, Session};
use crate::ari;
use crate::config::{Config, Security};
use crate::number;

const PING: &str = "tl-check-ping";
const COMMANDS: &str = "tl-check-commands";
const SETTINGS: &str = "tl-check-settings";
/// Nothing the listener needs; each of these gives away more than a connector should have.
const TOO_MUCH: &[&str] = &["Command", "UpdateConfig", "ModuleLoad", "DBPut", "Originate", "AGI", "MixMonitor", "Reload"];
/// How long a stray event is waited for, to see whether events carry their time.
const EVENT_MS: u32 = 500;

/// Logs in to both interfaces and looks around; changes nothing.
pub(crate) fn check(config: &Config) -> Result<CheckReport> {
    let mut warnings = config_warnings(config);
    let mut missing = Vec::new();
    let mut session = Session::open(config, true)?;
    let banner = session.banner.clone();
    session.action("Ping", PING, &[])?;
    session.response(PING)?;
    look_at_rights(config, &mut session, &mut missing, &mut warnings)?;
    let settings = settings(&mut session)?;
    look_at_events(&mut session, &mut warnings)?;
    let info = ari_info(config, &mut missing)?;
    look_at_application(config, &mut warnings)?;
    let of_settings = |name: &str| settings.as_ref().and_then(|settings| settings.get(name)).map(str::to_owned);
    let system = of_settings("SystemName").or_else(|| info["config"]["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned));
    if system.is_none() && (settings.is_some() || !info.is_null()) {
        warnings.push(
            "systemname is not set in asterisk.conf: unique ids then repeat between PBXs, and only pbx_id tells them apart".to_owned(),
        );
    }
    let version = of_settings("AsteriskVersion").or_else(|| info["system"]["version"].as_str().map(str::to_owned));
    let account = info["system"]["entity_id"].as_str().map(str::to_owned).or(system.clone());
    Ok(CheckReport {
        account_id: account.unwrap_or_else(|| format!("{}:{}", config.ami_host, config.ami_port)),
        account_name: format!(
            "{} (Asterisk {}, {banner})",
            system.as_deref().unwrap_or(&config.ami_host),
            version.as_deref().unwrap_or("of unknown version")
        ),
        missing_scopes: missing,
        warnings,
        entities: Vec::new(),
    })
}

fn config_warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let loopback = matches!(config.ami_host.as_str(), "127.0.0.1" | "::1" | "localhost");
    if config.ami_security == Security::Plain && !loopback {
        warnings.push("AMI is not encrypted: the secret and every caller's number cross the network in the clear".to_owned());
    }
    if config.ari_url.as_ref().is_some_and(|url| url.starts_with("http://")) && !loopback {
        warnings.push("ARI is not encrypted: its password crosses the network in the clear".to_owned());
    }
    if !number::is_known_region(&config.region) {
        warnings
            .push(format!("region {:?} is not known here: only numbers in international form are recognised by the plugin", config.region));
    }
    if config.trunk_endpoints.is_empty() {
        warnings.push("no trunk endpoint is named: no call will have a customer".to_owned());
    }
    warnings
}

/// The list holds what this account may do and nothing else.
fn look_at_rights(config: &Config, session: &mut Session, missing: &mut Vec<String>, warnings: &mut Vec<String>) -> Result<()> {
    session.action("ListCommands", COMMANDS, &[])?;
    let commands = session.response(COMMANDS)?;
    let may = |name: &str| commands.raw(name).is_some();
    if !may("CoreShowChannels") {
        missing.push("AMI write=reporting (CoreShowChannels: to see after a reconnect which calls are still there)".to_owned());
    }
    if config.transfer_context.is_some() && !may("BlindTransfer") {
        missing.push("AMI write=call (BlindTransfer)".to_owned());
    }
    let too_much: Vec<&str> = TOO_MUCH.iter().copied().filter(|name| may(name)).collect();
    if !too_much.is_empty() {
        let advice = "read = call,agent,user,dtmf,dialplan and write = reporting are enough";
        warnings.push(format!("the AMI account may do more than is needed ({}): {advice}", too_much.join(", ")));
    }
    Ok(())
}

fn settings(session: &mut Session) -> Result<Option<Message>> {
    session.action("CoreSettings", SETTINGS, &[])?;
    let answer = session.response(SETTINGS)?;
    Ok((answer.response() == Some("Success")).then_some(answer))
}

/// Without their own time events bear the time of their arrival. Only events that come by chance can tell; silence says nothing.
fn look_at_events(session: &mut Session, warnings: &mut Vec<String>) -> Result<()> {
    let Received::Messages(messages) = session.receive(EVENT_MS)? else { return Ok(()) };
    let timeless = |message: &&Message| message.event().is_some_and(|event| event != "FullyBooted") && message.at_ms().is_none();
    if messages.iter().any(|message| timeless(&message)) {
        warnings.push("events carry no time: set timestampevents = yes in manager.conf".to_owned());
    }
    Ok(())
}

fn ari_info(config: &Config, missing: &mut Vec<String>) -> Result<Value> {
    if config.ari_url.is_none() {
        return Ok(Value::Null);
    }
    match ari::outcome(ari::request(config, "GET", "/asterisk/info")?.send()?) {
        Err(error) if error.class == ErrorClass::Permission => {
            missing.push("ARI: the user may not read /asterisk/info".to_owned());
            Ok(Value::Null)
        }
        Err(error) if error.class == ErrorClass::Auth => Err(error.with_field("ari_username")),
        info => info,
    }
}

/// Calls handed to an application nobody has registered fall through `Stasis()` with STASISSTATUS=FAILED.
fn look_at_application(config: &Config, warnings: &mut Vec<String>) -> Result<()> {
    let (Some(_), Some(app)) = (&config.ari_url, &config.ari_app) else { return Ok(()) };
    let path = format!("/applications/{}", percent_encode(app));
    match ari::outcome(ari::request(config, "GET", &path)?.send()?) {
        Err(error) if error.class == ErrorClass::Gone => {
            warnings.push(format!("no ARI application {app:?} is registered at the moment"));
            Ok(())
        }
        Err(error) if error.class == ErrorClass::Permission => Ok(()),
        found => found.map(|_| ()),
    }
}
