//! Handoffs carried out by real connectors: calls that a PBX places, a mail that Exim delivers, a live call sent on.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use throughline_tests::mail::Mail;
use throughline_tests::stage::Stage;
use throughline_tests::story::setting::{asterisk, asterisk_with_ari, mailbox};
use throughline_tests::systems::ari::Ari;
use throughline_tests::systems::asterisk::{ReplayedPbx, recording};
use throughline_tests::systems::email::MailServer;
use throughline_tests::wait::{PATIENCE, eventually};

const US: &str = "agent@mail.test";
const ADA: &str = "customer@mail.test";
/// Whom the recorded click-to-call dials.
const ADAS_NUMBER: &str = "+441632960201";
/// Who calls in the other recordings.
const CALLER: &str = "phone:+441632960123";

struct Desk {
    mail: MailServer,
    pbx: Arc<ReplayedPbx>,
    ari: Ari,
    pbx_connection: String,
}

/// A mailbox and a PBX with ARI.
fn desk(stage: &Stage, pbx: ReplayedPbx) -> Result<Desk> {
    let mail = MailServer::start(&stage.folder().join("mail"))?;
    stage.connect(&mailbox(&mail)?)?;
    let pbx = Arc::new(pbx);
    let ari = Ari::start(&pbx)?;
    let pbx_connection = stage.connect(&asterisk_with_ari(&pbx, &ari))?;
    stage.until_health(&pbx_connection, "healthy")?;
    Ok(Desk { mail, pbx, ari, pbx_connection })
}

fn click_to_call() -> Result<ReplayedPbx> {
    ReplayedPbx::start_as_of_now(&recording("s20-click-to-call-ari-dialplan"))
}

/// Ada's mail; the enquiry that it opened.
fn asked_by_mail(stage: &Stage, mail: &MailServer) -> Result<String> {
    let question = Mail { from: ADA, subject: "Late order", id: "q1@x.test", text: "Where is my order 4711?", ..Mail::default() };
    mail.inject(ADA, US, &question.bytes())?;
    let item = eventually("Ada's mail", || Ok(stage.client.timeline(&format!("email:{ADA}"))?.pop()))?;
    text(&item, "enquiry_id")
}

fn text(value: &Value, field: &str) -> Result<String> {
    Ok(value[field].as_str().with_context(|| format!("it has no {field}: {value}"))?.to_owned())
}

fn cli(stage: &Stage, arguments: &[&str]) -> Result<Value> {
    Ok(serde_json::from_str(&stage.hub.cli(&[&["handoff"], arguments, &["--json"]].concat())?)?)
}

fn until_state(stage: &Stage, handoff: &str, state: &str) -> Result<Value> {
    let mut last = Value::Null;
    eventually(&format!("the handoff to be {state}"), || {
        last = stage.client.get(&format!("/v1/handoffs/{handoff}"))?;
        Ok((last["state"] == state).then(|| last.clone()))
    })
    .with_context(|| format!("it was last {last}"))
}

fn enquiry(stage: &Stage, id: &str) -> Result<Value> {
    stage.client.get(&format!("/v1/enquiries/{id}"))
}

#[test]
fn a_mail_that_nobody_takes_is_given_to_the_fallback_and_becomes_a_call_that_knows_what_was_written() {
    Stage::play(&["email", "asterisk"], |stage| {
        let desk = desk(stage, click_to_call()?)?;
        let policy = serde_json::to_vec(&json!({ "fallback": "late-desk", "unowned_seconds": 1 }))?;
        let json_body = [("content-type", "application/json")];
        let set = stage.client.request("PUT", "/v1/policies/handoff/default", &json_body, Some(&policy))?;
        ensure!(set.status == 200, "{set:?}");
        let id = asked_by_mail(stage, &desk.mail)?;
        eventually("the fallback to have it", || Ok((enquiry(stage, &id)?["owner"] == "late-desk").then_some(())))?;

        let to_call = ["--kind", "escalate", "--by", "late-desk", "--to", "agent:agent1", "--connection", "pbx", "--address", ADAS_NUMBER];
        let offered = cli(stage, &[&["offer", &id], &to_call[..], &["--note", "She has waited since noon"]].concat())?;
        let handoff = text(&offered, "id")?;
        let briefing = &stage.client.get(&format!("/v1/handoffs/{handoff}"))?["briefing"];
        ensure!(briefing["note"] == "She has waited since noon" && briefing["variables"]["order_number"] == "4711", "{briefing}");
        ensure!(briefing["last_exchanges"].to_string().contains("Where is my order"), "{briefing}");

        let done = until_state(stage, &handoff, "completed")?;
        ensure!(done["accepted_by"] == "agent1" && enquiry(stage, &id)?["owner"] == "agent1", "{done}");
        let orders = desk.ari.orders();
        ensure!(orders.len() == 1, "one call was placed: {orders:?}");
        let variables = &orders[0].body["variables"];
        ensure!(
            variables["__TL_TOKEN"].is_string() && variables.to_string().find("4711").is_none(),
            "a pointer and nothing else: {variables}"
        );
        let kinds = stage.client.all(&format!("/v1/enquiries/{id}/interactions"))?;
        let channels: Vec<&Value> = kinds.iter().map(|one| &one["channel"]).collect();
        ensure!(channels.len() == 2 && channels.contains(&&json!("email")) && channels.contains(&&json!("phone")), "{kinds:?}");
        Ok(())
    });
}

#[test]
fn a_callback_is_placed_at_its_time_although_the_hub_was_killed() {
    Stage::play(&["email", "asterisk"], |stage| {
        let desk = desk(stage, click_to_call()?)?;
        let id = asked_by_mail(stage, &desk.mail)?;
        let at = SystemTime::now() + Duration::from_secs(4);
        let at_text = rfc3339(at)?;
        let callback = [
            "--kind",
            "callback",
            "--by",
            "ann",
            "--to",
            "agent:agent1",
            "--connection",
            "pbx",
            "--address",
            ADAS_NUMBER,
            "--at",
            &at_text,
        ];
        let handoff = text(&cli(stage, &[&["offer", &id], &callback[..]].concat())?, "id")?;
        stage.hub.restart()?;
        until_state(stage, &handoff, "completed")?;
        let orders = desk.ari.orders();
        ensure!(orders.len() == 1 && orders[0].at >= at - Duration::from_millis(1), "once, and not before {at_text}: {orders:?}");
        ensure!(enquiry(stage, &id)?["owner"].is_null(), "a callback changes no owner");
        Ok(())
    });
}

/// To the whole millisecond, as the hub has it.
fn rfc3339(at: SystemTime) -> Result<String> {
    let millis = i64::try_from(at.duration_since(UNIX_EPOCH)?.as_millis())?;
    Ok(jiff::Timestamp::from_millisecond(millis).map_err(|error| anyhow::anyhow!("{error}"))?.to_string())
}

#[test]
fn a_caller_is_invited_by_a_mail_with_a_link_that_points_to_the_enquiry() {
    Stage::play(&["email", "asterisk"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        stage.connect(&mailbox(&mail)?)?;
        let pbx = ReplayedPbx::start_as_of_now(&recording("s01-inbound-queue-answered"))?;
        let connection = stage.connect(&asterisk(&pbx))?;
        stage.until_health(&connection, "healthy")?;
        pbx.play();
        let call = eventually("the call", || {
            Ok(stage.client.timeline(CALLER)?.pop().filter(|call| call["content"]["phase"] == "ended" && call["enquiry_id"].is_string()))
        })?;
        let id = text(&call, "enquiry_id")?;
        let invite = ["--kind", "channel_switch", "--by", "agent1", "--connection", "mailbox", "--address", ADA, "--subject", "The photo"];
        let link = ["--invite", "Send us the photo here: {link}", "--link", "https://shop.test/photo?t={token}"];
        let handoff = text(&cli(stage, &[&["offer", &id], &invite[..], &link[..]].concat())?, "id")?;
        let received = eventually("the invitation in Ada's mailbox", || Ok(mail.mails(ADA, None)?.pop()))?;
        // Folded headers and quoted-printable made whole.
        let received = String::from_utf8_lossy(&received).replace("\r\n", "\n").replace("\n\t", " ").replace("\n ", " ");
        let received = received.replace("=\n", "").replace("=3D", "=");
        let token = received.split_once("https://shop.test/photo?t=").context("the mail has the link")?.1;
        let token: String = token.chars().take_while(|one| !one.is_whitespace()).collect();
        ensure!(token.len() >= 16, "the link has a token: {received}");
        ensure!(!received.contains("+441632960123"), "and nothing else of the caller: {received}");
        let listed = cli(stage, &["list", "--enquiry", &id])?;
        ensure!(listed[0]["id"] == handoff.as_str(), "it waits for her: {listed}");
        Ok(())
    });
}

#[test]
fn a_live_call_goes_from_the_bot_to_the_person_who_accepts() {
    Stage::play(&["email", "asterisk"], |stage| {
        let held = ReplayedPbx::start_held_before(&recording("s07-stasis-escalate-to-agent"), "PJSIP/agent1-")?;
        let desk = desk(stage, held)?;
        desk.pbx.play();
        let call =
            eventually("the call with the bot", || Ok(stage.client.timeline(CALLER)?.pop().filter(|call| call["enquiry_id"].is_string())))?;
        let (id, call) = (text(&call, "enquiry_id")?, text(&call, "id")?);
        let to_people = ["--kind", "bot_to_human", "--by", "bot", "--to", "queue:support", "--call", &call, "--note", "wants a refund"];
        let handoff = text(&cli(stage, &[&["offer", &id], &to_people[..]].concat())?, "id")?;
        let waiting = stage.hub.cli(&["handoff", "list", "--receiver", "support"])?;
        ensure!(waiting.contains(&handoff) && waiting.contains("bot_to_human by bot to support"), "{waiting}");
        ensure!(stage.hub.cli(&["handoff", "show", &handoff])?.contains("note: wants a refund"), "the briefing is shown");
        ensure!(desk.ari.orders().is_empty(), "nobody has taken it");
        let pops = stage.client.events("call.ringing")?;
        let taken = cli(stage, &["accept", &handoff, "--by", "agent1"])?;
        ensure!(taken["accepted_by"] == "agent1", "{taken}");
        let (_, pop) = pops.recv_timeout(PATIENCE).context("the agent's screen pops")?;
        let context = &pop["data"]["context"];
        ensure!(pop["data"]["enquiry_id"] == id.as_str() && context["handoff"]["id"] == handoff.as_str(), "{pop}");
        ensure!(context["briefing"]["note"] == "wants a refund", "what the bot said is on the agent's screen: {pop}");
        let done = until_state(stage, &handoff, "completed")?;
        ensure!(done["outcome"] == "agent1 has the call" && enquiry(stage, &id)?["owner"] == "agent1", "{done}");
        let orders = desk.ari.orders();
        ensure!(orders.len() == 1 && orders[0].url.contains("/redirect?endpoint=PJSIP%2Fagent1"), "{orders:?}");

        // What is offered is taken back, and what nobody can carry out any more fails at once.
        let asked = text(&cli(stage, &["offer", &id, "--kind", "consult", "--by", "agent1", "--to", "agent:ben"])?, "id")?;
        let declined = cli(stage, &["decline", &asked, "--by", "ben", "--why", "at lunch"])?;
        ensure!(declined["state"] == "declined" && declined["outcome"] == "at lunch", "{declined}");
        let at = rfc3339(SystemTime::now() + Duration::from_secs(3600))?;
        let callback = ["--kind", "callback", "--by", "agent1", "--to", "agent:agent1", "--connection", "pbx", "--at", &at];
        let later = text(&cli(stage, &[&["offer", &id], &callback[..]].concat())?, "id")?;
        let path = format!("/v1/connections/{}", desk.pbx_connection);
        let etag = stage.client.request("GET", &path, &[], None)?.etag.context("a connection has an ETag")?;
        let gone = stage.client.request("DELETE", &path, &[("if-match", &etag)], None)?;
        ensure!(gone.status == 204, "{gone:?}");
        let failed = stage.client.get(&format!("/v1/handoffs/{later}"))?;
        ensure!(failed["state"] == "failed" && failed["outcome"] == "the connection that was to carry it out was deleted", "{failed}");
        Ok(())
    });
}
