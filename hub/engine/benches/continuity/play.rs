//! Plays a case: a hub over an in-memory store takes in what happens, and what it decided is read back from it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Map, Value, json};
use throughline_engine::{Clock, Hub, HubOptions, IngestBatch, LookupQuery, NewConnection, Paging};
use throughline_schemas::connector::{Item, ItemKind};
use throughline_schemas::{ChangeKind, ConnectionId, Decision, EnquiryId, Interaction, InteractionId, Timestamp};
use throughline_store::blobs::Blobs;
use throughline_store::{Options, Store};

use crate::case::{Call, Case, Event, Expect, Message, Reply, duration};
use crate::score::Found;
use crate::scripted::{ScriptedHost, Silo};

/// When every case begins: 5 January 2026, 9:00.
const BEGAN: i64 = 1_767_603_600_000;

#[derive(Default)]
struct CaseClock(AtomicI64);

impl Clock for CaseClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// What became of something that has a name.
#[derive(Clone)]
struct Known {
    interaction: InteractionId,
    /// The enquiry it stands in.
    enquiry: Option<EnquiryId>,
}

struct Stage {
    hub: Hub,
    silo: Arc<Silo>,
    clock: Arc<CaseClock>,
    connections: BTreeMap<String, ConnectionId>,
    known: BTreeMap<String, Known>,
    /// What `$name` stands for in ids and tokens.
    values: HashMap<String, String>,
    seen: u64,
    _folder: tempfile::TempDir,
}

/// Plays it and gives what was expected with what was found, event by event.
pub(crate) async fn play(case: &Case) -> Vec<Found> {
    let mut stage = Stage::new(case).await;
    let mut found = Vec::new();
    for (index, event) in case.events.iter().enumerate() {
        match &event.at {
            Some(at) => stage.clock.0.store(BEGAN + duration(at), Ordering::Relaxed),
            None => drop(stage.clock.0.fetch_add(60_000, Ordering::Relaxed)),
        }
        found.extend(stage.happen(index, event).await);
    }
    found
}

impl Stage {
    async fn new(case: &Case) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (silo, clock) = (Arc::<Silo>::default(), Arc::<CaseClock>::default());
        clock.0.store(BEGAN, Ordering::Relaxed);
        let options = HubOptions { clock: clock.clone(), ..HubOptions::new([7; 32]) };
        let store = Store::in_memory(Options::new(|| 0)).unwrap();
        let blobs = Blobs::open(&folder.path().join("files")).unwrap();
        let hub = Hub::open(options, store, blobs, Arc::new(ScriptedHost(silo.clone()))).unwrap();
        let mut wanted: BTreeMap<String, Map<String, Value>> =
            ["mail", "pbx", "chat", "sms"].into_iter().map(|name| (name.to_owned(), Map::new())).collect();
        wanted.insert("crm".to_owned(), json!({"sync": {"contact": {}}}).as_object().unwrap().clone());
        wanted.extend(case.connections.clone());
        let mut stage = Self {
            hub,
            silo,
            clock,
            connections: BTreeMap::new(),
            known: BTreeMap::new(),
            values: HashMap::new(),
            seen: 0,
            _folder: folder,
        };
        for (name, more) in wanted {
            let mut new = json!({"name": name, "plugin": "scripted", "region": "GB", "brand": "shop", "paused": true});
            new.as_object_mut().unwrap().extend(more);
            let new: NewConnection = serde_json::from_value(new).unwrap();
            let id = stage.hub.create_connection(new).await.unwrap().value.id;
            stage.connections.insert(name, id);
        }
        stage
    }

    async fn happen(&mut self, index: usize, event: &Event) -> Option<Found> {
        let mut found = Found { event: index, ..Found::default() };
        if let Some(record) = &event.record {
            let news = self.silo.edit("contact", &record.key, record.fields.clone());
            self.take(&record.on, news).await;
        }
        if let Some(message) = &event.message {
            self.message(message, &mut found).await;
        }
        if let Some(call) = &event.call {
            self.call(call, &mut found).await;
        }
        if let Some(reply) = &event.reply {
            found.sent = Some(self.reply(reply).await);
        }
        if let Some(issue) = &event.issue {
            let token = if issue.token.is_null() { json!({}) } else { issue.token.clone() };
            let view = self.hub.issue_token(self.enquiry(&issue.of), serde_json::from_value(token).unwrap()).await.unwrap();
            let value = view.value.unwrap_or_else(|| view.token.clone());
            self.values.insert(issue.name.clone(), value);
        }
        self.by_hand(event).await;
        if let Some(query) = &event.lookup {
            found.answer = Some(self.lookup(query).await);
        }
        let expect = event.expect.as_ref()?;
        found.statuses = expect.status.keys().map(|name| (name.clone(), self.status(name))).collect();
        found.place = found.place.take().or_else(|| expect.place.is_some().then(|| "nothing was placed".to_owned()));
        Some(found)
    }

    async fn by_hand(&mut self, event: &Event) {
        for (name, status) in event.status.iter().flatten() {
            let id = self.enquiry(name);
            let version = self.hub.enquiry(id).unwrap().version;
            self.hub.update_enquiry(id, version, serde_json::from_value(json!({ "status": status })).unwrap()).await.unwrap();
        }
        for (name, variables) in event.set.iter().flatten() {
            let id = self.enquiry(name);
            self.hub.set_enquiry_variables(id, serde_json::from_value(variables.clone()).unwrap()).await.unwrap();
        }
        if let Some([survivor, other]) = &event.merge {
            let [survivor, other] = [survivor, other].map(|name| self.interaction(name).profile_id.unwrap());
            self.hub.merge_profiles(survivor, other, "the same person", "a person").await.unwrap();
        }
        if let Some((name, to)) = &event.moves {
            let conversation = self.interaction(name).conversation_id;
            let to = to.as_ref().map(|to| self.enquiry(to));
            self.hub.attach_conversation(conversation, to, "a person").await.unwrap();
            for known in self.known.values_mut().filter(|known| known.enquiry.is_none()) {
                known.enquiry = interaction(&self.hub, known.interaction).enquiry_id;
            }
        }
        if let Some(policies) = &event.policies {
            let version = self.hub.continuity_policies().unwrap().version;
            self.hub.set_continuity_policies(version, serde_json::from_value(policies.clone()).unwrap()).await.unwrap();
        }
    }

    async fn message(&mut self, message: &Message, found: &mut Found) {
        let on = message.on.clone().unwrap_or_else(|| "mail".to_owned());
        let (channel, kind, endpoint) = match on.as_str() {
            "chat" => ("chat", "handle", "shop-chat"),
            "sms" => ("sms", "phone", "+442079460000"),
            _ => ("email", "email", "support@shop.example"),
        };
        let outbound = message.direction.as_deref() == Some("outbound");
        let mut participants = Vec::new();
        let party = |role: &str, text: &str, sender: bool| {
            let (name, address) = named(text);
            json!({"role": role, "type": kind, "address": address, "name": name, "sender": sender})
        };
        match &message.from {
            Some(from) => participants.push(party(if outbound { "agent" } else { "customer" }, from, true)),
            None => participants.push(json!({"role": "customer", "sender": true})),
        }
        let mut recipients = message.to.iter().chain(&message.cc);
        if outbound && let Some(first) = recipients.next() {
            participants.push(party("customer", first, false));
        }
        participants.extend(recipients.map(|other| party("third_party", other, false)));
        let name = &message.name;
        let id = message.id.as_ref().map_or_else(|| format!("{name}@client.example"), |id| self.resolve(id));
        self.values.insert(format!("{name}.id"), id.clone());
        let all = |texts: &[String]| -> Vec<String> { texts.iter().map(|text| self.resolve(text)).collect() };
        let mut content = json!({"kind": "message", "subject": message.subject, "headers": message.headers,
            "text": message.text.clone().unwrap_or_else(|| format!("This is what {name} says."))});
        if let Some(authentication) = &message.authentication {
            content["authentication"] = json!(authentication);
        }
        let data = json!({
            "channel": channel, "direction": message.direction.as_deref().unwrap_or("inbound"), "endpoint": endpoint,
            "occurred_at": self.occurred(message.ago.as_deref()), "conversation_key": message.thread, "participants": participants,
            "thread": {"message_id": (channel == "email").then_some(id), "in_reply_to": all(&message.in_reply_to),
                       "references": all(&message.references), "tokens": all(&message.tokens)},
            "automated": message.automated, "content": content,
        });
        self.news(&on, name, message.version.clone(), data, found).await;
    }

    async fn call(&mut self, call: &Call, found: &mut Found) {
        let on = call.on.clone().unwrap_or_else(|| "pbx".to_owned());
        let tokens: Vec<String> = call.tokens.iter().map(|token| self.resolve(token)).collect();
        let mut content = json!({"kind": "call", "phase": call.phase.as_deref().unwrap_or("ended")});
        if let Some(attestation) = &call.attestation {
            content["attestation"] = json!(attestation);
        }
        let data = json!({
            "channel": "phone", "direction": call.direction.as_deref().unwrap_or("inbound"), "endpoint": "+442079460000",
            "occurred_at": self.occurred(call.ago.as_deref()), "variables": call.variables,
            "conversation_key": call.thread.clone().unwrap_or_else(|| call.name.clone()),
            "participants": [{"role": "customer", "type": "phone", "address": call.from, "name": call.from_name, "sender": true}],
            "thread": {"tokens": tokens}, "content": content,
        });
        self.news(&on, &call.name, Some(call.version.clone().unwrap_or_else(|| "1".to_owned())), data, found).await;
    }

    async fn news(&mut self, on: &str, name: &str, version: Option<String>, data: Value, found: &mut Found) {
        let item = Item { kind: ItemKind::Interaction, entity: "message".to_owned(), key: name.to_owned(), version, at_ms: None, data };
        self.take(on, item).await;
        let accepted = self.accepted().or_else(|| self.known.get(name).map(|known| known.interaction));
        let Some(id) = accepted else {
            found.place = Some("refused".to_owned());
            return;
        };
        let decision = self.decision(id);
        let stands = interaction(&self.hub, id);
        self.known.insert(name.to_owned(), Known { interaction: id, enquiry: stands.enquiry_id });
        found.automated = Some(stands.fact.automated.is_some());
        found.place = decision.map(|decision| self.place(name, &stands, &decision));
    }

    /// The decision in the words of the corpus: enquiries are called by the first thing that stood in them.
    fn place(&self, name: &str, stands: &Interaction, decision: &Decision) -> String {
        let called = |id: &EnquiryId| -> String {
            let stands_in = |known: &&(&String, &Known)| known.1.enquiry == Some(*id) && known.0 != name;
            let first = self.known.iter().collect::<Vec<_>>();
            let first = first.iter().filter(stands_in).min_by_key(|(_, known)| known.interaction);
            first.map_or_else(|| "another".to_owned(), |(name, _)| (*name).clone())
        };
        match decision.verdict.as_deref().unwrap_or_default() {
            "attach" => stands.enquiry_id.as_ref().map_or_else(|| "none".to_owned(), |id| format!("attach {}", called(id))),
            "open" => {
                let follows = stands.enquiry_id.and_then(|id| self.hub.enquiry(id).unwrap().value.follows);
                follows.map_or_else(|| "open".to_owned(), |id| format!("open after {}", called(&id)))
            }
            "park" => decision.enquiry_id.as_ref().map_or_else(|| "none".to_owned(), |id| format!("park {}", called(id))),
            "suggest" => {
                let mut candidates: Vec<String> = decision.candidates.iter().map(called).collect();
                candidates.sort();
                format!("suggest {}", candidates.join(" "))
            }
            other => other.to_owned(),
        }
    }

    async fn reply(&mut self, reply: &Reply) -> bool {
        let conversation = self.interaction(&reply.to).conversation_id;
        let to = (!reply.recipients.is_empty()).then(|| reply.recipients.clone());
        let new = json!({"text": "This is our answer.", "automatic": reply.automatic, "to": to});
        let Ok(sent) = self.hub.send_message(conversation, serde_json::from_value(new).unwrap()).await else { return false };
        if !reply.name.is_empty() {
            self.known.insert(reply.name.clone(), Known { interaction: sent.id, enquiry: sent.enquiry_id });
            self.values.insert(format!("{}.id", reply.name), sent.fact.thread.message_id.clone().unwrap_or_default());
        }
        true
    }

    async fn lookup(&mut self, query: &BTreeMap<String, String>) -> Value {
        let get = |name: &str| query.get(name).map(|value| self.resolve(value));
        let assurance = serde_json::from_value(json!(get("assurance").unwrap_or_else(|| "claimed".to_owned()))).unwrap();
        let asked = LookupQuery {
            phone: get("phone"),
            email: get("email"),
            handle: get("handle").map(|handle| format!("{}:{handle}", self.connections["chat"])),
            external: None,
            region: Some("GB".to_owned()),
            assurance,
            token: get("token"),
            brand: Some(get("brand").unwrap_or_else(|| "shop".to_owned())),
            conversation: None,
        };
        let answer = match get("token") {
            Some(token) => self.hub.lookup_with_token(&asked, &token).await.unwrap(),
            None => self.hub.lookup(&asked).unwrap(),
        };
        serde_json::to_value(answer).unwrap()
    }

    async fn take(&mut self, on: &str, item: Item) {
        let id = *self.connections.get(on).unwrap_or_else(|| panic!("there is no connection {on:?}"));
        self.hub.ingest(id, IngestBatch { items: vec![item], ..IngestBatch::default() }).await.unwrap();
    }

    /// The interaction that was accepted since the last question.
    fn accepted(&mut self) -> Option<InteractionId> {
        let mut last = None;
        loop {
            let changes = self.hub.changes(self.seen, 200).unwrap();
            let Some((sequence, _)) = changes.last() else { return last };
            self.seen = *sequence;
            let accepted = changes.iter().filter(|(_, change)| change.kind == ChangeKind::InteractionAccepted);
            last = accepted.filter_map(|(_, change)| change.interaction_id).next_back().or(last);
        }
    }

    fn decision(&self, id: InteractionId) -> Option<Decision> {
        let decisions = self.hub.decisions(&id.to_string(), Paging { cursor: None, limit: 50 }).unwrap().items;
        decisions.into_iter().find(|decision| decision.subject == "continuity")
    }

    fn enquiry(&self, name: &str) -> EnquiryId {
        self.known.get(name).and_then(|known| known.enquiry).unwrap_or_else(|| panic!("{name:?} stands in no enquiry"))
    }

    fn interaction(&self, name: &str) -> Interaction {
        interaction(&self.hub, self.known.get(name).unwrap_or_else(|| panic!("nothing is called {name:?}")).interaction)
    }

    fn status(&self, name: &str) -> String {
        let status = self.hub.enquiry(self.enquiry(name)).unwrap().value.status;
        serde_json::to_value(status).unwrap().as_str().unwrap().to_owned()
    }

    fn occurred(&self, ago: Option<&str>) -> Timestamp {
        self.clock.now().plus_millis(-ago.map_or(0, duration))
    }

    /// `$m1.id` is the Message-ID of m1, `$t1` the token t1 as it was handed out; anything else is itself.
    fn resolve(&self, text: &str) -> String {
        match text.strip_prefix('$') {
            Some(name) => self.values.get(name).cloned().unwrap_or_else(|| panic!("nothing is called {text:?}")),
            None => text.to_owned(),
        }
    }
}

fn interaction(hub: &Hub, id: InteractionId) -> Interaction {
    hub.interaction(id).unwrap()
}

/// `Ada Lovelace <ada@example.com>` as name and address.
fn named(text: &str) -> (Option<String>, String) {
    match text.split_once('<') {
        Some((name, address)) => (Some(name.trim().to_owned()).filter(|name| !name.is_empty()), address.trim_end_matches('>').to_owned()),
        None => (None, text.to_owned()),
    }
}

/// What is asked of an event, for the score.
pub(crate) fn expected(case: &Case, found: &Found) -> Expect {
    let Some(expect) = &case.events[found.event].expect else { return Expect::default() };
    Expect {
        place: expect.place.clone(),
        automated: expect.automated,
        status: expect.status.clone(),
        sent: expect.sent,
        known: expect.known,
        ambiguous: expect.ambiguous,
        token: expect.token,
        tells: expect.tells.clone(),
        keeps: expect.keeps.clone(),
    }
}
