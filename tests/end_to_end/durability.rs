//! The hub is killed in mid-work, again and again: what was accepted is there afterwards, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ScopedJoinHandle;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use throughline_tests::hook::Signed;
use throughline_tests::hub::Client;
use throughline_tests::mail::Mail;
use throughline_tests::stage::Stage;
use throughline_tests::story::setting::{crm_config, mailbox};
use throughline_tests::systems::email::MailServer;
use throughline_tests::systems::pocketbase::{PocketBase, WEBHOOK_SECRET};
use throughline_tests::systems::stand_in::StandIn;
use throughline_tests::wait::{PATIENCE, eventually};

const KILLS: usize = 9;
/// What each of the three sources sends between two kills.
const EACH_ROUND: usize = 4;
/// So many people write; each has one enquiry.
const WRITERS: usize = 3;

/// Everything that runs.
struct Systems {
    mail: MailServer,
    crm: PocketBase,
    /// The hub's ids of the connections to the CRM and to the chat that posts.
    crm_connection: String,
    chat_connection: String,
    _chat: StandIn,
}

impl Systems {
    fn start(stage: &Stage) -> Result<Self> {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        let mut crm = PocketBase::start(&stage.folder().join("crm"))?;
        let chat = StandIn::http(|_| ("application/json", "{}".to_owned()))?;
        stage.connect(&mailbox(&mail)?)?;
        let mut description = crm_config(&crm)?;
        for entity in ["contacts", "enquiries"] {
            description["sync"][entity]["poll_seconds"] = 1.into();
        }
        let crm_connection = stage.connect(&description)?;
        crm.post_changes_to(&format!("{}/hooks/{crm_connection}/records", stage.hub.url()))?;
        let chat_connection = stage.connect(&chat_config(&chat))?;
        Ok(Self { mail, crm, crm_connection, chat_connection, _chat: chat })
    }
}

/// A chat that only posts.
fn chat_config(chat: &StandIn) -> Value {
    json!({
        "name": "chat",
        "plugin": "rest",
        "secrets": { "webhook_secret": WEBHOOK_SECRET },
        "grants": { "hosts": ["{config.base_url}"], "private_hosts": ["127.0.0.1"] },
        "config": {
            "base_url": format!("http://127.0.0.1:{}", chat.port()),
            "auth": { "kind": "none" },
            "entities": { "messages": { "canonical": "interaction", "interaction": {
                "channel": "chat", "text": "/text", "customer": "/from", "customer_type": "email", "conversation_key": "/room" } } },
            "webhook": {
                "signature": { "kind": "hmac_sha256", "header": "X-Signature", "prefix": "sha256=", "timestamp_header": "X-Timestamp" },
                "events": [{ "entity": "messages", "record": "/message", "id": "/message/id" }],
            },
        },
    })
}

fn writer(number: usize) -> String {
    format!("writer-{}@x.test", number % WRITERS)
}

/// A source of work: does the next thing for each ticket, and says when it is done.
struct Source<'scope> {
    tickets: Sender<()>,
    /// What it has done; joined when no more tickets can come.
    work: ScopedJoinHandle<'scope, Result<BTreeSet<String>>>,
}

/// Does `one` for each ticket; what `one` names was accepted.
fn source<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    done: &Sender<()>,
    one: impl Fn(usize) -> Result<Option<String>> + Send + 'scope,
) -> Source<'scope> {
    let (tickets, waiting): (_, Receiver<()>) = channel();
    let done = done.clone();
    let work = scope.spawn(move || {
        let mut accepted = BTreeSet::new();
        for (number, ()) in waiting.iter().enumerate() {
            accepted.extend(one(number)?);
            // Nobody listens any more at the end.
            let _ = done.send(());
        }
        Ok(accepted)
    });
    Source { tickets, work }
}

/// What the sources were told had been taken.
struct Accepted {
    mails: BTreeSet<String>,
    contacts: BTreeSet<String>,
    chats: BTreeSet<String>,
}

#[test]
fn what_was_accepted_survives_kills_and_is_there_once() {
    Stage::play(&["email", "rest"], |stage| {
        let systems = Systems::start(stage)?;
        let mut restarts = Vec::new();
        let mut ended = None;
        let accepted = while_working(stage, &systems, |stage, round| {
            if round < KILLS {
                stage.hub.kill();
            } else {
                ended = Some(stage.hub.stop()?);
            }
            stage.hub.restart()?;
            restarts.push(stage.hub.started_in.as_millis());
            Ok(())
        })?;
        println!("ready again after {restarts:?} ms");
        ensure!(ended == Some(Some(0)), "told to end in mid-work, it ends well: {ended:?}");
        let senders = every_mail_and_chat_once(stage, &accepted)?;
        every_contact_once(stage, &systems, &accepted, senders)?;
        every_enquiry_once(stage, &systems)
    });
}

/// Keeps the three sources at work and interrupts the hub once a round, each time at another point of the work.
fn while_working(stage: &mut Stage, systems: &Systems, mut interrupt: impl FnMut(&mut Stage, usize) -> Result<()>) -> Result<Accepted> {
    let client = stage.client.clone();
    let (done, progress) = channel();
    std::thread::scope(|scope| {
        let sources = [
            source(scope, &done, |number| mail_once(&systems.mail, number).map(Some)),
            source(scope, &done, |number| contact_once(&systems.crm, number).map(Some)),
            source(scope, &done, |number| Ok(chat_once(&client, &systems.chat_connection, number))),
        ];
        let rounds = (0..=KILLS).try_for_each(|round| {
            for source in &sources {
                (0..EACH_ROUND).for_each(|_| source.tickets.send(()).unwrap_or_default());
            }
            for _ in 0..(1 + round % (2 * EACH_ROUND)) {
                progress.recv_timeout(PATIENCE).map_err(|error| anyhow!("the sources stand still: {error}"))?;
            }
            if round % 2 == 1 {
                // In the middle of taking things in, rather than while they are on the way.
                next_change(&client)?;
            }
            interrupt(stage, round)
        });
        let [mails, contacts, chats] = sources.map(|source| {
            drop(source.tickets);
            source.work.join().map_err(|_| anyhow!("a source panicked"))?
        });
        rounds?;
        Ok(Accepted { mails: mails?, contacts: contacts?, chats: chats? })
    })
}

/// Waits until the hub commits something.
fn next_change(client: &Client) -> Result<()> {
    let events = client.events("interaction.accepted,profile.created,profile.updated")?;
    // With all tickets of the round worked off there may be nothing more to come; then the moment is as good as any.
    let _ = events.recv_timeout(std::time::Duration::from_millis(400));
    Ok(())
}

fn mail_once(server: &MailServer, number: usize) -> Result<String> {
    let id = format!("mail-{number}@x.test");
    let from = writer(number);
    let mail = Mail { from: &from, subject: "My order", id: &id, text: "Where is it?", ..Mail::default() };
    server.inject(&from, "agent@mail.test", &mail.bytes())?;
    Ok(id)
}

/// A new contact for two tickets, a change of it for the third.
fn contact_once(crm: &PocketBase, number: usize) -> Result<String> {
    let email = |number: usize| format!("contact-{number}@x.test");
    if number % 3 == 2 {
        let earlier = email(number - 1);
        let record = crm.records("contacts")?.into_iter().find(|record| record["email"] == earlier.as_str());
        let id = record.context("it was made with the ticket before")?["id"].as_str().unwrap_or_default().to_owned();
        crm.update("contacts", &id, &json!({ "name": "Changed" }))?;
        return Ok(earlier);
    }
    crm.create("contacts", &json!({ "name": "New", "email": email(number) }))?;
    Ok(email(number))
}

/// Posts a message, again while the hub is away; none if even so it was never accepted.
fn chat_once(client: &Client, connection: &str, number: usize) -> Option<String> {
    let id = format!("chat-{number}");
    let body = json!({ "message": { "id": id, "text": "Anybody there?", "from": writer(number), "room": writer(number) } });
    let request = Signed::now(&body, WEBHOOK_SECRET);
    let accepted = eventually("the hub to take a webhook", || {
        let answer = request.post(client, connection)?;
        Ok((answer.status == 200).then_some(()))
    });
    accepted.ok().map(|()| id)
}

/// All that the writers wrote, once each; how many writers the hub knows.
fn every_mail_and_chat_once(stage: &Stage, accepted: &Accepted) -> Result<usize> {
    let wanted: BTreeSet<String> = accepted.mails.union(&accepted.chats).cloned().collect();
    ensure!(accepted.chats.len() == (KILLS + 1) * EACH_ROUND, "every webhook was accepted in the end: {:?}", accepted.chats);
    let mut counted = BTreeMap::new();
    eventually("every mail and chat", || {
        counted = written(stage)?;
        Ok(wanted.iter().all(|id| counted.contains_key(id)).then_some(()))
    })
    .with_context(|| format!("lost: {:?}", wanted.iter().filter(|id| !counted.contains_key(*id)).collect::<Vec<_>>()))?;
    let doubled: Vec<_> = counted.iter().filter(|(_, count)| **count != 1).collect();
    ensure!(doubled.is_empty() && counted.len() == wanted.len(), "each is there once: {doubled:?}");
    Ok(WRITERS)
}

/// How often each mail and chat is on the writers' timelines.
fn written(stage: &Stage) -> Result<BTreeMap<String, usize>> {
    let mut counted = BTreeMap::new();
    for number in 0..WRITERS {
        for item in stage.client.timeline(&format!("email:{}", writer(number)))? {
            let id = item["thread"]["message_id"].as_str().or(item["external_id"].as_str()).unwrap_or_default();
            *counted.entry(id.to_owned()).or_default() += 1;
        }
    }
    Ok(counted)
}

fn every_contact_once(stage: &Stage, systems: &Systems, accepted: &Accepted, senders: usize) -> Result<()> {
    for email in &accepted.contacts {
        let record = systems.crm.records("contacts")?.into_iter().find(|record| record["email"] == email.as_str());
        let name = record.with_context(|| format!("{email} is in the CRM"))?["name"].clone();
        eventually(&format!("{email} as the CRM has it"), || {
            let person = stage.client.person(&format!("email:{email}"))?;
            Ok(person.filter(|person| person["fields"]["display_name"]["value"] == name))
        })?;
    }
    stage.until_settled(&systems.crm_connection)?;
    let (profiles, contacts) = (stage.client.all("/v1/profiles")?, systems.crm.records("contacts")?);
    let people = accepted.contacts.len() + senders;
    ensure!(profiles.len() == people, "{} profiles instead of {people}", profiles.len());
    let mut emails: Vec<&str> = contacts.iter().filter_map(|record| record["email"].as_str()).collect();
    emails.sort_unstable();
    ensure!(contacts.len() == people, "{} contacts in the CRM instead of {people}: {emails:?}", contacts.len());
    Ok(())
}

fn every_enquiry_once(stage: &Stage, systems: &Systems) -> Result<()> {
    let enquiries = stage.client.all("/v1/enquiries")?;
    ensure!(enquiries.len() == WRITERS, "each writer has one enquiry: {enquiries:?}");
    stage.until_settled(&systems.crm_connection)?;
    let records = systems.crm.records("enquiries")?;
    let ours: BTreeSet<&str> = enquiries.iter().filter_map(|enquiry| enquiry["id"].as_str()).collect();
    let theirs: Vec<&str> = records.iter().filter_map(|record| record["hub_id"].as_str()).collect();
    ensure!(theirs.len() == ours.len() && theirs.iter().all(|id| ours.contains(id)), "the CRM has {theirs:?}, the hub {ours:?}");
    ensure!(records.iter().all(|record| record["customer"] != ""), "each is tied to its contact: {records:?}");
    let waiting = stage.client.all("/v1/dead-letters")?;
    ensure!(waiting.is_empty(), "nothing was given up: {waiting:?}");
    Ok(())
}
