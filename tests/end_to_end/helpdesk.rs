//! A helpdesk of another temper than the CRM: no times of change, no keys of ours but in a field, no persons, webhooks without a
//! signature, and a create that answers 500 and yet succeeded.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use throughline_tests::stage::Stage;
use throughline_tests::systems::helpdesk::{Helpdesk, TOKEN, WEBHOOK_SECRET};
use throughline_tests::wait::{PATIENCE, eventually, eventually_within};

const ADA: &str = "email:ada@x.test";
/// How often hub or helpdesk are killed in mid-work.
const KILLS: usize = 6;
/// What the hub and the helpdesk each open between two kills.
const EACH_ROUND: usize = 4;
/// A create without an answer may still take effect for a minute; only then is it looked for.
const DOUBT: Duration = PATIENCE.saturating_add(Duration::from_secs(60));

/// The connection: the example that users start from, looked through each second.
fn connection(helpdesk: &Helpdesk) -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/connections/django-helpdesk.yaml");
    let mut connection: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(path)?)?;
    connection["config"]["base_url"] = helpdesk.base_url().into();
    connection["sync"]["tickets"]["poll_seconds"] = 1.into();
    connection["secrets"] = json!({ "token": TOKEN, "webhook_secret": WEBHOOK_SECRET });
    Ok(connection)
}

fn ticket(title: &str) -> Value {
    json!({ "queue": 1, "title": title, "description": "As the agent was told", "submitter_email": "ada@x.test", "priority": 3 })
}

/// Opens an enquiry of Ada's over the API; its id.
fn enquiry(stage: &Stage, reason: &str) -> Result<String> {
    let person = stage.client.person(ADA)?.context("Ada is known")?;
    let made = stage.client.post("/v1/enquiries", &json!({ "profile_id": person["id"], "reason": reason }))?;
    Ok(made["id"].as_str().context("an enquiry has an id")?.to_owned())
}

/// The tickets that hold this enquiry's id.
fn tickets_of(helpdesk: &Helpdesk, enquiry: &str) -> Result<Vec<Value>> {
    Ok(helpdesk.tickets()?.into_iter().filter(|ticket| ticket["custom_hub_id"] == enquiry).collect())
}

fn until_enquiry(stage: &Stage, reason: &str) -> Result<Value> {
    eventually(&format!("the enquiry {reason:?}"), || {
        Ok(stage.client.all("/v1/enquiries")?.into_iter().find(|enquiry| enquiry["reason"] == reason))
    })
}

#[test]
fn tickets_and_enquiries_are_one_and_nothing_echoes() {
    Stage::play(&["rest"], |stage| {
        let mut helpdesk = Helpdesk::start(&stage.folder().join("helpdesk"))?;
        let theirs = helpdesk.create(&ticket("Where is my order?"))?["id"].as_i64().context("a ticket has an id")?;
        let hub = stage.connect(&connection(&helpdesk)?)?;
        helpdesk.post_to(&format!("{}/hooks/{hub}/tickets", stage.hub.url()))?;
        let opened = until_enquiry(stage, "Where is my order?")?;
        ensure!(stage.client.person(ADA)?.context("the ticket says whose it is")?["id"] == opened["profile_id"], "it is Ada's: {opened}");

        let ours = enquiry(stage, "A second matter")?;
        let made = eventually("the enquiry as a ticket", || Ok(tickets_of(&helpdesk, &ours)?.pop()))?;
        ensure!(made["submitter_email"] == "ada@x.test" && made["title"] == "A second matter", "it says whose it is: {made}");
        helpdesk.update(theirs, &json!({ "status": 3, "title": "Order 4711 is late" }))?;
        let resolved = until_enquiry(stage, "Order 4711 is late")?;
        ensure!(resolved["status"] == "resolved" && resolved["id"] == opened["id"], "it is the same enquiry: {resolved}");
        stage.client.patch(&format!("/v1/enquiries/{ours}"), &json!({ "reason": "A second order", "status": "waiting" }))?;
        eventually("the new reason as the title", || {
            Ok(tickets_of(&helpdesk, &ours)?.pop().filter(|ticket| ticket["title"] == "A second order"))
        })?;

        stage.until_settled(&hub)?;
        let writes = helpdesk.writes();
        for _ in 0..3 {
            stage.until_settled(&hub)?;
        }
        ensure!(helpdesk.writes() == writes, "the hub writes nothing that nobody changed");
        ensure!(helpdesk.tickets()?.len() == 2 && stage.client.all("/v1/enquiries")?.len() == 2, "there are two");
        let waiting = stage.client.get(&format!("/v1/enquiries/{ours}"))?;
        ensure!(waiting["status"] == "waiting", "what the helpdesk has no word for stays: {waiting}");
        Ok(())
    });
}

#[test]
fn a_ticket_that_was_refused_and_yet_stored_is_not_made_again() {
    Stage::play(&["rest"], |stage| {
        let mut helpdesk = Helpdesk::start(&stage.folder().join("helpdesk"))?;
        helpdesk.create(&ticket("The first"))?;
        let hub = stage.connect(&connection(&helpdesk)?)?;
        until_enquiry(stage, "The first")?;
        // Nobody listens there, so that every new ticket is stored and answered with 500.
        helpdesk.post_to("http://127.0.0.1:9/")?;
        let (status, _) = helpdesk.api("POST", "/api/tickets/", Some(&ticket("As an agent sees it")))?;
        ensure!(status == 500 && helpdesk.tickets()?.len() == 2, "it answers 500 and keeps the ticket: {status}");

        let ours = enquiry(stage, "Stored all the same")?;
        eventually_within(DOUBT, "the doubt to be settled", || {
            let links = stage.client.all(&format!("/v1/connections/{hub}/links"))?;
            Ok(links.iter().any(|link| link["canonical_id"] == ours.as_str()).then_some(()))
        })?;
        stage.until_settled(&hub)?;
        let made = tickets_of(&helpdesk, &ours)?;
        ensure!(made.len() == 1, "there is one ticket of it: {made:?}");
        ensure!(stage.client.all("/v1/dead-letters")?.is_empty(), "nothing was given up");
        Ok(())
    });
}

#[test]
fn hub_and_helpdesk_killed_in_mid_sync_lose_nothing_and_double_nothing() {
    Stage::play(&["rest"], |stage| {
        let mut helpdesk = Helpdesk::start(&stage.folder().join("helpdesk"))?;
        helpdesk.create(&ticket("The first"))?;
        let hub = stage.connect(&connection(&helpdesk)?)?;
        helpdesk.post_to(&format!("{}/hooks/{hub}/tickets", stage.hub.url()))?;
        until_enquiry(stage, "The first")?;
        let mut titles = vec!["The first".to_owned()];
        for round in 0..KILLS {
            for number in 0..EACH_ROUND {
                titles.push(format!("Ours {round}.{number}"));
                enquiry(stage, &titles[titles.len() - 1])?;
            }
            // Each round a little further into the work.
            let done = titles.len() - EACH_ROUND + round % EACH_ROUND;
            eventually_within(DOUBT, "some of it to be done", || {
                Ok((helpdesk.tickets()?.len() >= done.min(titles.len() - 1)).then_some(()))
            })?;
            if round % 3 == 2 {
                helpdesk.kill();
                helpdesk.restart()?;
            } else {
                stage.hub.kill();
                for number in 0..EACH_ROUND {
                    titles.push(format!("Theirs {round}.{number}"));
                    // Stored even where it answers 500, because the hub is away.
                    helpdesk.api("POST", "/api/tickets/", Some(&ticket(&titles[titles.len() - 1])))?;
                }
                stage.hub.restart()?;
            }
        }
        let wanted = counted(titles.iter().map(String::as_str));
        eventually_within(DOUBT, "both to have everything", || {
            let (here, there) = (stage.client.all("/v1/enquiries")?, helpdesk.tickets()?);
            Ok((here.len() >= titles.len() && there.len() >= titles.len()).then_some(()))
        })?;
        stage.until_settled(&hub)?;
        let (here, there) = (stage.client.all("/v1/enquiries")?, helpdesk.tickets()?);
        ensure!(counted(here.iter().filter_map(|enquiry| enquiry["reason"].as_str())) == wanted, "each enquiry is here once: {here:?}");
        ensure!(counted(there.iter().filter_map(|ticket| ticket["title"].as_str())) == wanted, "each ticket is there once: {there:?}");
        let waiting = stage.client.all("/v1/dead-letters")?;
        ensure!(waiting.is_empty(), "nothing was given up: {waiting:?}");
        Ok(())
    });
}

fn counted<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counted = BTreeMap::new();
    texts.for_each(|text| *counted.entry(text).or_default() += 1);
    counted
}
