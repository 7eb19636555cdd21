//! The command line against a running hub with a real mailbox.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use throughline_tests::mail::Mail;
use throughline_tests::stage::Stage;
use throughline_tests::story::setting::mailbox;
use throughline_tests::systems::email::{MailServer, PASSWORD};
use throughline_tests::wait::eventually;

const ADA: &str = "customer@mail.test";

fn json_of(stage: &Stage, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&stage.hub.cli(&[arguments, &["--json"]].concat())?)?)
}

/// The mailbox as a file for `apply`: the secret by reference.
fn file(stage: &Stage, mail: &MailServer) -> Result<String> {
    std::fs::write(stage.folder().join("password.txt"), format!("{PASSWORD}\n"))?;
    let mut connection = mailbox(mail)?;
    connection["secrets"] = json!({ "password": { "file": "password.txt" } });
    let path = stage.folder().join("hub.yaml");
    std::fs::write(&path, serde_yaml_ng::to_string(&json!({ "connections": [connection] }))?)?;
    Ok(path.to_string_lossy().into_owned())
}

#[test]
fn a_mailbox_is_run_from_the_command_line() {
    Stage::play(&["email"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        let file = file(stage, &mail)?;
        ensure!(stage.hub.cli(&["apply", "--file", &file])?.contains("created connection mailbox"), "it is made");
        ensure!(stage.hub.cli(&["apply", "--file", &file])?.contains("connection mailbox: unchanged"), "once");
        ensure!(stage.hub.cli(&["connection", "check", "mailbox"])?.contains("agent@mail.test"), "check names the account");
        let late = Mail { from: ADA, subject: "Late parcel", id: "late@x.test", text: "Where is my order 4711?", ..Mail::default() };
        mail.inject(ADA, "agent@mail.test", &late.bytes())?;
        let timeline = eventually("the mail", || Ok(stage.hub.cli(&["timeline", "email:customer@mail.test"]).ok()))?;
        ensure!(timeline.contains("Late parcel"), "the timeline shows it: {timeline}");
        let known = json_of(stage, &["lookup", "email:customer@mail.test", "--assurance", "proven"])?;
        ensure!(known["known"] == true && known["enquiries"][0]["variables"]["order_number"] == "4711", "she is known: {known}");
        let unknown = json_of(stage, &["lookup", "phone:+441632960999"])?;
        ensure!(unknown["known"] == false, "somebody else is not: {unknown}");
        pause_and_resume(stage, &mail)
    });
}

fn pause_and_resume(stage: &Stage, mail: &MailServer) -> Result<()> {
    let state = || -> Result<String> {
        let list = json_of(stage, &["connection", "list"])?;
        Ok(list[0]["health"]["state"].as_str().context("a listed connection has a health")?.to_owned())
    };
    stage.hub.cli(&["connection", "pause", "mailbox"])?;
    ensure!(state()? == "paused", "a paused connection is listed so");
    let later = Mail { from: ADA, subject: "Meanwhile", id: "later@x.test", text: "Hello?", ..Mail::default() };
    mail.put("agent@mail.test", [later.bytes()])?;
    stage.hub.cli(&["connection", "resume", "mailbox"])?;
    eventually("a healthy connection", || Ok((state()? == "healthy").then_some(())))?;
    eventually("the mail of the meantime", || {
        Ok(stage.hub.cli(&["timeline", "email:customer@mail.test"])?.contains("Meanwhile").then_some(()))
    })?;
    let refused = stage.hub.cli(&["connection", "pause", "nobody"]).err().context("there is no such connection")?.to_string();
    ensure!(refused.contains("nobody") && refused.contains("mailbox"), "it says what there is: {refused}");
    Ok(())
}
