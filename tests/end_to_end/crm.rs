//! A CRM through the hub: the same contact on both sides, and what goes wrong in between.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use throughline_tests::hook::Signed;
use throughline_tests::stage::Stage;
use throughline_tests::story::setting::crm_config;
use throughline_tests::systems::pocketbase::{PocketBase, WEBHOOK_SECRET};
use throughline_tests::systems::stand_in::StandIn;
use throughline_tests::wait::eventually;

const ADA: &str = "email:ada@x.test";

/// The CRM's connection, looked through each second.
fn connection(crm: &PocketBase) -> Result<Value> {
    let mut connection = crm_config(crm)?;
    for entity in ["contacts", "enquiries"] {
        connection["sync"][entity]["poll_seconds"] = 1.into();
    }
    Ok(connection)
}

fn start(stage: &Stage) -> Result<PocketBase> {
    PocketBase::start(&stage.folder().join("crm"))
}

fn ada(crm: &PocketBase) -> Result<String> {
    id(&crm.create("contacts", &json!({ "name": "Ada", "email": "ada@x.test", "phone": "+441632960123", "company": "Engines" }))?)
}

fn id(record: &Value) -> Result<String> {
    Ok(record["id"].as_str().context("it has an id")?.to_owned())
}

/// Waits until a field of Ada's profile is this; the profile.
fn until_field(stage: &Stage, field: &str, value: &Value) -> Result<Value> {
    eventually(&format!("{field} to be {value} in the hub"), || {
        Ok(stage.client.person(ADA)?.filter(|person| person["fields"][field]["value"] == *value))
    })
}

/// Waits until a field of a contact is this; the record.
fn until_contact(crm: &PocketBase, id: &str, field: &str, value: &Value) -> Result<Value> {
    eventually(&format!("{field} to be {value} in the CRM"), || Ok(crm.record("contacts", id)?.filter(|record| record[field] == *value)))
}

fn set(stage: &Stage, fields: Value) -> Result<()> {
    let person = stage.client.person(ADA)?.context("Ada is known")?;
    stage.client.patch(&format!("/v1/profiles/{}", id(&person)?), &json!({ "fields": fields })).map(drop)
}

/// Opens an enquiry of Ada's over the API; its id.
fn enquiry(stage: &Stage, reason: &str) -> Result<String> {
    let person = stage.client.person(ADA)?.context("Ada is known")?;
    id(&stage.client.post("/v1/enquiries", &json!({ "profile_id": person["id"], "reason": reason }))?)
}

#[test]
fn a_contact_is_the_same_on_both_sides_and_nothing_echoes() {
    Stage::play(&["rest"], |stage| {
        let mut crm = start(stage)?;
        let hub = stage.connect(&connection(&crm)?)?;
        crm.post_changes_to(&format!("{}/hooks/{hub}/records", stage.hub.url()))?;
        let contact = ada(&crm)?;
        until_field(stage, "display_name", &json!("Ada"))?;
        set(stage, json!({ "company": "Analytical Engines" }))?;
        until_contact(&crm, &contact, "company", &json!("Analytical Engines"))?;
        crm.update("contacts", &contact, &json!({ "name": "Ada Lovelace" }))?;
        let person = until_field(stage, "display_name", &json!("Ada Lovelace"))?;

        stage.until_settled(&hub)?;
        let record = crm.record("contacts", &contact)?.context("the contact is there")?;
        let quiet = stage.client.person(ADA)?;
        for _ in 0..3 {
            stage.until_settled(&hub)?;
        }
        ensure!(crm.record("contacts", &contact)?.as_ref() == Some(&record), "the hub writes nothing that nobody changed: {record}");
        ensure!(stage.client.person(ADA)? == quiet, "nothing comes back to the hub: {quiet:?}");
        ensure!(crm.records("contacts")?.len() == 1, "there is one contact");

        crm.delete("contacts", &contact)?;
        eventually("the link to be marked deleted", || {
            let links = stage.client.all(&format!("/v1/connections/{hub}/links"))?;
            Ok(links.iter().any(|link| link["key"] == contact.as_str() && link["deleted_at"].is_string()).then_some(()))
        })?;
        ensure!(stage.client.person(ADA)?.context("what the CRM forgets the hub keeps")?["id"] == person["id"], "the same person");
        stage.until_settled(&hub)?;
        ensure!(crm.records("contacts")?.is_empty(), "what was deleted is not made again");
        Ok(())
    });
}

#[test]
fn a_webhook_counts_only_signed_and_once() {
    Stage::play(&["rest"], |stage| {
        let crm = start(stage)?;
        // Nothing but webhooks brings anything, and what they bring is taken as it is.
        let mut description = connection(&crm)?;
        description["sync"] = json!({});
        description["config"]["webhook"]["refetch"] = false.into();
        let hub = stage.connect(&description)?;
        let event = |name: &str, version: u8| {
            json!({ "type": "update", "record": { "id": "r00000000000001", "collectionName": "contacts", "name": name,
                    "email": "ada@x.test", "updated": format!("2026-11-21 10:00:0{version}.000Z") } })
        };
        let genuine = Signed::now(&event("Ada", 1), WEBHOOK_SECRET);
        let forgeries = [
            ("another body", 401, genuine.with_body(&event("Eve", 1))),
            ("another secret", 401, Signed::now(&event("Eve", 1), "ffffffffffffffffffffffffffffffff")),
            ("long ago", 409, Signed::at(&event("Eve", 1), WEBHOOK_SECRET, 1_700_000_000)),
        ];
        for (what, status, forged) in &forgeries {
            let answer = forged.post(&stage.client, &hub)?;
            ensure!(answer.status == *status, "{what}: {answer:?}");
        }
        ensure!(stage.client.person(ADA)?.is_none(), "nothing came of forgeries");
        ensure!(genuine.post(&stage.client, &hub)?.status == 200, "a good one is taken");
        until_field(stage, "display_name", &json!("Ada"))?;
        let newer = Signed::now(&event("Ada Lovelace", 2), WEBHOOK_SECRET);
        ensure!(newer.post(&stage.client, &hub)?.status == 200, "and the next");
        let person = until_field(stage, "display_name", &json!("Ada Lovelace"))?;
        for _ in 0..2 {
            let again = genuine.post(&stage.client, &hub)?;
            ensure!((200..300).contains(&again.status) || again.status == 409, "a replay is no failure of ours: {again:?}");
        }
        ensure!(stage.client.person(ADA)? == Some(person), "a replayed webhook changes nothing");
        ensure!(stage.client.all(&format!("/v1/connections/{hub}/links"))?.len() == 1, "there is one link");
        Ok(())
    });
}

#[test]
fn what_both_sides_changed_is_settled_by_time_or_by_a_person() {
    Stage::play(&["rest"], |stage| {
        let crm = start(stage)?;
        let mut description = connection(&crm)?;
        description["sync"]["contacts"]["fields"] = json!({ "company": "manual" });
        let hub = stage.connect(&description)?;
        let contact = ada(&crm)?;
        until_field(stage, "company", &json!("Engines"))?;
        stage.until_settled(&hub)?;

        // Paused, the connection takes nothing and writes nothing, so that both sides change without the other's knowing.
        stage.client.post(&format!("/v1/connections/{hub}/pause"), &json!({}))?;
        set(stage, json!({ "company": "Ours", "language": "fr" }))?;
        stage.hub.stop()?;
        crm.update("contacts", &contact, &json!({ "company": "Theirs", "language": "de" }))?;
        stage.hub.restart()?;
        stage.client.post(&format!("/v1/connections/{hub}/resume"), &json!({}))?;
        let conflict = eventually("a conflict", || Ok(stage.client.all("/v1/conflicts")?.pop()))?;
        ensure!(conflict["field"] == "company", "it names the field: {conflict}");
        let values = [&conflict["base"], &conflict["theirs"], &conflict["ours"]];
        ensure!(values == [&json!("Engines"), &json!("Theirs"), &json!("Ours")], "it shows all three: {conflict}");
        until_field(stage, "language", &json!("de")).context("the CRM changed it later")?;
        stage.until_settled(&hub)?;
        let held = crm.record("contacts", &contact)?.context("it is there")?;
        ensure!(held["company"] == "Theirs", "nothing is written until a person decides: {held}");

        let resolve = format!("/v1/conflicts/{}/resolve", id(&conflict)?);
        stage.client.post(&resolve, &json!({ "choice": { "value": "Agreed Ltd" } }))?;
        until_contact(&crm, &contact, "company", &json!("Agreed Ltd"))?;
        until_field(stage, "company", &json!("Agreed Ltd"))?;
        ensure!(stage.client.all("/v1/conflicts")?.is_empty(), "it is settled");
        Ok(())
    });
}

/// How many records of this enquiry the CRM has.
fn delivered(crm: &PocketBase, enquiry: &str) -> Result<usize> {
    Ok(crm.records("enquiries")?.iter().filter(|record| record["hub_id"] == enquiry).count())
}

#[test]
fn a_crm_that_is_down_gets_everything_once() {
    Stage::play(&["rest"], |stage| {
        let mut crm = start(stage)?;
        let hub = stage.connect(&connection(&crm)?)?;
        ada(&crm)?;
        until_field(stage, "display_name", &json!("Ada"))?;
        stage.until_settled(&hub)?;
        crm.stop();
        let lost = enquiry(stage, "While it is down")?;
        eventually("the write to fail", || Ok(stage.hub.log().contains("write failed").then_some(())))?;
        crm.restart()?;
        eventually("the enquiry in the CRM", || Ok((delivered(&crm, &lost)? > 0).then_some(())))?;
        stage.client.post(&format!("/v1/connections/{hub}/resume"), &json!({}))?;
        stage.until_settled(&hub)?;
        ensure!(delivered(&crm, &lost)? == 1, "it is there once");
        ensure!(stage.client.all("/v1/dead-letters")?.is_empty(), "nothing was given up");
        Ok(())
    });
}

#[test]
fn a_crm_that_asks_for_patience_gets_everything_once() {
    Stage::play(&["rest"], |stage| {
        let crm = start(stage)?;
        // PocketBase limits guests only, so the hub comes as one.
        let anybody = json!({ "listRule": "", "viewRule": "", "createRule": "", "updateRule": "" });
        for collection in ["contacts", "enquiries"] {
            crm.api("PATCH", &format!("/api/collections/{collection}"), Some(&anybody))?;
        }
        let mut description = crm_config(&crm)?;
        description["config"]["auth"] = json!({ "kind": "none" });
        ada(&crm)?;
        let hub = stage.connect(&description)?;
        until_field(stage, "display_name", &json!("Ada"))?;
        stage.until_settled(&hub)?;
        crm.limit_rate(5, 2)?;
        let many: Vec<String> = (0..6).map(|number| enquiry(stage, &format!("Number {number}"))).collect::<Result<_>>()?;
        eventually("all of them in the CRM", || {
            let missing = many.iter().map(|enquiry| delivered(&crm, enquiry)).filter(|count| matches!(count, Ok(0)));
            Ok((missing.count() == 0).then_some(()))
        })?;
        let log = stage.hub.log();
        ensure!(log.contains("RateLimited") && log.contains("PauseBudget"), "the CRM asked for patience and got it");
        crm.limit_rate(10_000, 1)?;
        for enquiry in &many {
            ensure!(delivered(&crm, enquiry)? == 1, "each is there once: {:?}", crm.records("enquiries")?);
        }
        ensure!(stage.client.all("/v1/dead-letters")?.is_empty(), "nothing was given up");
        Ok(())
    });
}

#[test]
fn a_login_page_is_no_empty_list() {
    Stage::play(&["rest"], |stage| {
        let crm = start(stage)?;
        let page = "<!doctype html><html><body><form action=\"/login\"><input type=\"password\" name=\"password\"></form></body></html>";
        let everywhere = StandIn::http(move |_| ("text/html", page.to_owned()))?;
        let but_at_login = StandIn::http(move |line| match line.contains("auth-with-password") {
            true => ("application/json", json!({ "token": "t", "record": { "id": "u", "email": "hub@example.com" } }).to_string()),
            false => ("text/html", page.to_owned()),
        })?;
        for (name, server) in [("everywhere", &everywhere), ("but at login", &but_at_login)] {
            let mut description = connection(&crm)?;
            description["name"] = name.into();
            description["config"]["base_url"] = format!("http://127.0.0.1:{}", server.port()).into();
            let hub = stage.connect(&description)?;
            let health = eventually("an error", || Ok(Some(stage.health(&hub)?).filter(|health| health["last_error"].is_object())));
            let health = health.with_context(|| name.to_owned())?;
            ensure!(health["last_error"]["class"] == "auth" && health["state"] == "needs_attention", "{name}: {health}");
            ensure!(stage.client.get(&format!("/v1/connections/{hub}/cursors"))?["items"] == json!([]), "{name}: no cursor moved");
        }
        let fine = stage.connect(&connection(&crm)?)?;
        ada(&crm)?;
        until_field(stage, "display_name", &json!("Ada"))?;
        stage.until_health(&fine, "healthy")?;
        ensure!(stage.is_ready()?, "the hub is ready");
        Ok(())
    });
}
