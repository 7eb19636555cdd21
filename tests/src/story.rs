//! One customer's enquiry across three systems that know nothing of each other.
//!
//! Ada mails about a late order; the CRM knows her and gets the enquiry; she calls, the IVR's look-up knows her and the order, and
//! the agent's screen shows the mail before the phone is answered; her name is corrected in the CRM, and the next mail carries it.
//! Every step is verified against the systems themselves, and timed.

pub mod setting;

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};

pub use setting::Setting;

use crate::hub::Client;
use crate::wait::{PATIENCE, until};

/// The number she calls from, as in the recording.
const PHONE: &str = "+441632960123";
const ORDER: &str = "4711";
const CUSTOMER: &str = "customer@mail.test";

/// How long something took.
#[derive(Debug, Clone)]
pub struct Measured {
    /// From what to what.
    pub what: &'static str,
    /// How long.
    pub took: Duration,
}

/// Tells the story. `say` gets one line at a time.
pub struct Story<'a> {
    setting: &'a Setting,
    hub: Client,
    say: &'a mut dyn FnMut(&str),
    measured: Vec<Measured>,
    contact: String,
}

impl<'a> Story<'a> {
    /// Prepares to tell it in this setting.
    pub fn new(setting: &'a Setting, say: &'a mut dyn FnMut(&str)) -> Self {
        Self { hub: setting.hub.client(), setting, say, measured: Vec::new(), contact: String::new() }
    }

    /// Tells all of it; an error names the step that did not come true.
    pub fn tell(mut self) -> Result<Vec<Measured>> {
        self.the_crm_knows_ada().context("the CRM knows Ada")?;
        let enquiry = self.ada_mails().context("Ada mails")?;
        self.the_crm_gets_the_enquiry(&enquiry).context("the CRM gets the enquiry")?;
        self.the_ivr_looks_her_up().context("the IVR looks her up")?;
        self.she_calls(&enquiry).context("she calls")?;
        self.her_name_is_corrected().context("her name is corrected in the CRM")?;
        self.the_next_mail_carries_it(&enquiry).context("the next mail carries the corrected name")?;
        self.show_timeline_and_decisions(&enquiry).context("timeline and decisions")?;
        Ok(self.measured)
    }

    fn say(&mut self, line: &str) {
        (self.say)(line);
    }

    fn took(&mut self, what: &'static str, took: Duration) {
        self.say(&format!("   {:>8.1} ms  {what}", took.as_secs_f64() * 1000.0));
        self.measured.push(Measured { what, took });
    }

    fn the_crm_knows_ada(&mut self) -> Result<()> {
        self.say("1. The CRM has known Ada for years, with her name misspelt.");
        let began = Instant::now();
        let contact = json!({ "name": "Ada Lovelase", "email": CUSTOMER, "phone": PHONE, "company": "Analytical Engines" });
        let record = self.setting.crm.create("contacts", &contact)?;
        self.contact = record["id"].as_str().context("a record has an id")?.to_owned();
        let profile = until("the hub to know her by phone and mail", || self.profile())?;
        self.took("CRM record created -> profile readable in the hub", began.elapsed());
        ensure!(profile["fields"]["display_name"]["value"] == "Ada Lovelase", "the profile shows {}", profile["fields"]);
        Ok(())
    }

    fn profile(&self) -> Result<Option<Value>> {
        let by_phone = self.hub.get(&format!("/v1/profiles?identity=phone:{}", PHONE.replace('+', "%2B")))?;
        let by_mail = self.hub.get(&format!("/v1/profiles?identity=email:{CUSTOMER}"))?;
        let (phone, mail) = (by_phone["items"][0].clone(), by_mail["items"][0].clone());
        Ok((!phone.is_null() && phone["id"] == mail["id"]).then_some(phone))
    }

    fn ada_mails(&mut self) -> Result<Value> {
        self.say("2. Ada mails: \"Late order 4711\".");
        let mail = format!(
            "From: Ada <{CUSTOMER}>\r\nTo: agent@mail.test\r\nSubject: Late order {ORDER}\r\nMessage-ID: <ada-1@mail.test>\r\n\
             Date: {}\r\n\r\nHello,\r\n\r\nmy order {ORDER} should have come on Monday. Where is it?\r\n\r\nAda\r\n",
            now_rfc2822()?
        );
        let began = Instant::now();
        self.setting.mail.inject(CUSTOMER, "agent@mail.test", mail.as_bytes())?;
        let enquiry = until("an enquiry about the late order", || {
            let profile = self.profile()?.context("she is known")?;
            let context = self.hub.get(&format!("/v1/profiles/{}/context", text(&profile["id"])))?;
            let found = list(&context["enquiries"]).iter().find(|enquiry| text(&enquiry["reason"]).contains("Late order")).cloned();
            Ok(found)
        })?;
        self.took("mail accepted by Exim -> enquiry readable in the hub (Dovecot batches IDLE by up to 0.5 s)", began.elapsed());
        ensure!(enquiry["variables"]["order_number"]["value"] == ORDER, "variables: {}", enquiry["variables"]);
        self.say(&format!("   Enquiry {}: \"{}\", order_number {ORDER}.", text(&enquiry["id"]), text(&enquiry["reason"])));
        Ok(enquiry)
    }

    fn the_crm_gets_the_enquiry(&mut self, enquiry: &Value) -> Result<()> {
        self.say("3. The CRM gets the enquiry, tied to the contact it has.");
        let id = text(&enquiry["id"]);
        let accepted: Value = self.hub.get(&format!("/v1/enquiries/{id}/interactions"))?["items"][0]["accepted_at"].clone();
        let record = until("the enquiry in the CRM", || {
            Ok(self.setting.crm.records("enquiries")?.into_iter().find(|record| record["hub_id"] == enquiry["id"]))
        })?;
        ensure!(record["customer"] == self.contact.as_str(), "it is tied to {} instead of {}", record["customer"], self.contact);
        ensure!(record["order_number"] == ORDER, "it says order {}", record["order_number"]);
        let written = text(&record["created"]).replace(' ', "T");
        if let (Some(from), Some(to)) = (millis(text(&accepted)), millis(&written)) {
            self.took(
                "mail accepted by the hub -> enquiry written to the CRM",
                Duration::from_millis(u64::try_from(to - from).unwrap_or(0)),
            );
        }
        Ok(())
    }

    fn the_ivr_looks_her_up(&mut self) -> Result<()> {
        self.say("4. She calls. The IVR asks the hub who that is.");
        let began = Instant::now();
        let answer = self.setting.ivr.get(&format!("/v1/lookup?phone={}&assurance=asserted", PHONE.replace('+', "%2B")))?;
        self.took("IVR look-up over HTTP", began.elapsed());
        ensure!(answer["known"] == true, "the look-up answered {answer}");
        let variables = &answer["enquiries"][0]["variables"];
        ensure!(variables["order_number"] == ORDER, "the look-up's first enquiry is {}", answer["enquiries"][0]);
        ensure!(answer["profile"].get("display_name").is_none(), "an asserted caller id must not be told a name: {answer}");
        self.say("   Known, calling about order 4711. Her name is kept back: a caller id proves nothing.");
        Ok(())
    }

    fn she_calls(&mut self, enquiry: &Value) -> Result<()> {
        self.say("5. The call rings at an agent; the agent's screen shows the story so far.");
        let events = self.hub.events("call.ringing")?;
        let began = Instant::now();
        self.setting.pbx.play();
        let (arrived, event) = next(&events).context("no screen pop came")?;
        self.took(
            "call begins at the PBX -> screen pop at the agent (the recording takes its time until the phone rings)",
            arrived - began,
        );
        let data = &event["data"];
        let pop = data.get("context").unwrap_or(data);
        let shown = pop.to_string();
        ensure!(shown.contains(&format!("Late order {ORDER}")), "the screen pop lacks the mail and the reason: {shown}");
        ensure!(shown.contains("should have come on Monday"), "the screen pop lacks the mail's text: {shown}");
        ensure!(shown.contains("order_number"), "the screen pop lacks the order number: {shown}");
        let id = text(&enquiry["id"]);
        let call = until("the answered call in the same enquiry", || {
            let items = self.hub.get(&format!("/v1/enquiries/{id}/interactions"))?;
            let found = list(&items["items"]).iter().find(|item| item["content"]["kind"] == "call" && item["content"]["phase"] == "ended");
            Ok(found.cloned())
        })?;
        ensure!(call["content"]["outcome"] == "answered", "the call came out as {}", call["content"]);
        self.say(&format!(
            "   Answered by {}, {} hold, in the same enquiry as the mail.",
            call["content"]["agents"][0], call["content"]["holds"]
        ));
        Ok(())
    }

    fn her_name_is_corrected(&mut self) -> Result<()> {
        self.say("6. The agent corrects her name, in the CRM where agents have always done it.");
        let began = Instant::now();
        self.setting.crm.update("contacts", &self.contact, &json!({ "name": "Ada Lovelace" }))?;
        until("the corrected name in the hub", || {
            Ok(self.profile()?.filter(|profile| profile["fields"]["display_name"]["value"] == "Ada Lovelace"))
        })?;
        self.took("name corrected in the CRM -> readable in the hub", began.elapsed());
        Ok(())
    }

    fn the_next_mail_carries_it(&mut self, enquiry: &Value) -> Result<()> {
        self.say("7. The agent answers the mail from the hub; it is addressed to Ada Lovelace.");
        let id = text(&enquiry["id"]);
        let items = self.hub.get(&format!("/v1/enquiries/{id}/interactions"))?;
        let mail = list(&items["items"]).iter().find(|item| item["channel"] == "email").context("the mail is in the enquiry")?.clone();
        let began = Instant::now();
        let answer = json!({ "text": "Your order 4711 left our house this morning. Sorry for the wait." });
        self.hub.post(&format!("/v1/conversations/{}/messages", text(&mail["conversation_id"])), &answer)?;
        let received = until("the answer in Ada's mailbox", || {
            let mails = self.setting.mail.mails(CUSTOMER, None)?;
            Ok(mails.into_iter().map(|mail| String::from_utf8_lossy(&mail).into_owned()).find(|mail| mail.contains("left our house")))
        })?;
        self.took("answer accepted by the hub -> in Ada's mailbox", began.elapsed());
        let header = |name: &str| received.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).unwrap_or_default().to_owned();
        ensure!(header("to:").contains("Ada Lovelace"), "it is addressed {:?}", header("to:"));
        ensure!(header("in-reply-to:").contains("ada-1@mail.test"), "it does not answer her mail: {received}");
        self.say(&format!("   {}", header("to:")));
        Ok(())
    }

    fn show_timeline_and_decisions(&mut self, enquiry: &Value) -> Result<()> {
        let profile = self.profile()?.context("she is known")?;
        let timeline = self.hub.get(&format!("/v1/profiles/{}/timeline", text(&profile["id"])))?;
        let items = list(&timeline["items"]);
        ensure!(items.len() == 3, "the timeline should hold a mail, a call and an answer: {timeline}");
        self.say("");
        self.say("Timeline, newest first:");
        for item in items {
            self.say(&format!(
                "   {}  {:<8} {:<6} {}",
                text(&item["occurred_at"]),
                text(&item["direction"]),
                text(&item["channel"]),
                summary(item)
            ));
        }
        self.say("Decisions:");
        for about in [text(&enquiry["id"]), text(&profile["id"])] {
            for decision in list(&self.hub.get(&format!("/v1/decisions?about={about}"))?["items"]) {
                let evidence: Vec<&str> = list(&decision["evidence"]).iter().map(|evidence| text(&evidence["rule"])).collect();
                self.say(&format!("   {:<10} {} [{}]", text(&decision["subject"]), text(&decision["outcome"]), evidence.join("; ")));
            }
        }
        Ok(())
    }
}

fn next(events: &Receiver<(Instant, Value)>) -> Result<(Instant, Value)> {
    events.recv_timeout(PATIENCE).map_err(|error| anyhow!("{error}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn summary(item: &Value) -> String {
    let content = &item["content"];
    match text(&content["kind"]) {
        "message" => format!("{:?}", text(&content["subject"])),
        "call" => format!("call, {}, agents {}, queue {}", text(&content["outcome"]), content["agents"], content["queue"]),
        other => other.to_owned(),
    }
}

/// Milliseconds of a UTC time of day: enough to subtract two moments of one day.
fn millis(moment: &str) -> Option<i64> {
    let (_, time) = moment.trim_end_matches('Z').split_once('T')?;
    let mut parts = time.split(':');
    let (hours, minutes): (i64, i64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    Some((hours * 60 + minutes) * 60_000 + (seconds * 1000.0) as i64)
}

fn now_rfc2822() -> Result<String> {
    let output = std::process::Command::new("date").args(["-u", "-R"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
