//! The held connection: manager events in, calls out, as they happen.
//!
//! Asterisk replays nothing. What was open when a connection ended is kept in the connection's state; after the next login it is compared
//! with what the PBX still has, and closed as "lost sight of" where its channels are gone.

use std::collections::{BTreeMap, HashSet};

use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{Error, ErrorClass, Item, ItemKind, Result, clock, control, emit, log, state};

use crate::ami::{Message, Received, Session};
use crate::call::{Assembler, Call, Snapshot};
use crate::config::Config;
use crate::store;

/// A quiet PBX is asked whether it is there after this time, and given up after twice.
const IDLE_MS: u32 = 30_000;
/// While the hub has not taken everything, the next try comes after this time.
const RETRY_MS: u32 = 500;
/// What may wait for a hub that does not take it.
const MOST_WAITING: usize = 10_000;
/// Clocks, whole seconds and transport make the boot time we reckon vary; a restart makes it jump.
const BOOT_SLACK_MS: i64 = 5_000;
const PING: &str = "tl-ping";
const RESYNC: &str = "tl-resync";

/// Listens until the connection ends or the hub says stop.
pub(crate) fn listen(config: Config) -> Result<()> {
    let mut session = Session::open(&config, true)?;
    log::info(format!("connected to {}", session.banner));
    let mut desk = Desk::load(config)?;
    if !desk.unsure.is_empty() {
        session.action("CoreShowChannels", RESYNC, &[])?;
    }
    match desk.run(&mut session) {
        Err(error) if error.class == ErrorClass::Cancelled => Ok(()),
        ended => ended,
    }
}

/// The assembler with what keeps it: state before, items behind.
struct Desk {
    config: Config,
    assembler: Assembler<Config>,
    /// Calls that were open when we were last connected, until it is known whether they still are.
    unsure: Vec<String>,
    /// Channels listed so far by the PBX in answer to our question.
    alive: HashSet<String>,
    waiting: Vec<Item>,
}

impl Desk {
    fn load(config: Config) -> Result<Self> {
        let mut assembler = Assembler::new(config.clone());
        let calls = store::open_calls()?;
        let unsure = calls.iter().map(|call| call.id().to_owned()).collect();
        assembler.restore(calls);
        Ok(Self { config, assembler, unsure, alive: HashSet::new(), waiting: Vec::new() })
    }

    fn run(&mut self, session: &mut Session) -> Result<()> {
        let mut asked = false;
        loop {
            let wait = if self.waiting.is_empty() { IDLE_MS } else { RETRY_MS };
            let received = match session.receive(wait) {
                Err(error) if error.class != ErrorClass::Cancelled => return Err(self.lost(&error.message)),
                received => received?,
            };
            match received {
                Received::Messages(messages) => {
                    asked = false;
                    self.take(&messages, clock::now())?;
                    note_dropped(session);
                }
                Received::Idle if self.waiting.is_empty() && asked => {
                    return Err(self.lost("the PBX does not answer any more"));
                }
                Received::Idle if self.waiting.is_empty() => {
                    asked = true;
                    session.action("Ping", PING, &[])?;
                }
                Received::Idle => {}
                Received::Closed { within_message } => {
                    let where_ = if within_message { " in the middle of an event" } else { "" };
                    return Err(self.lost(&format!("the PBX closed the connection{where_}")));
                }
            }
            self.hand_over()?;
            if control::cancelled() {
                return Ok(());
            }
        }
    }

    /// Keeps what is open for the next connection, then says why this one ended.
    fn lost(&mut self, why: &str) -> Error {
        self.assembler.lose_sight(&self.unsure);
        let kept = self.assembler.open().try_for_each(store::keep).and_then(|()| store::index(&self.assembler.open_ids()));
        let handed_over = kept.and_then(|()| emit::emit(std::mem::take(&mut self.waiting), None));
        if let Err(error) = handed_over {
            log::error(format!("what was open could not be kept: {error}"));
        }
        Error::new(ErrorClass::Transient, why)
    }

    fn take(&mut self, messages: &[Message], arrived: Timestamp) -> Result<()> {
        for message in messages {
            match message.event() {
                Some("FullyBooted") => self.on_fully_booted(message, arrived)?,
                Some("CoreShowChannel") if message.raw("ActionID") == Some(RESYNC) => {
                    self.alive.extend(message.get("Uniqueid").map(str::to_owned));
                }
                Some("CoreShowChannelsComplete") if message.raw("ActionID") == Some(RESYNC) => self.resync(),
                Some(_) => self.assembler.apply(message, arrived),
                None => {}
            }
        }
        self.gather()
    }

    /// Says how long the PBX has been up: less than it should, and it was restarted since we were last connected.
    fn on_fully_booted(&mut self, message: &Message, arrived: Timestamp) -> Result<()> {
        let Some(uptime) = message.get("Uptime").and_then(|seconds| seconds.parse::<i64>().ok()) else { return Ok(()) };
        let booted = arrived.plus_millis(uptime.saturating_mul(-1000));
        let before: Option<Timestamp> = state::get(store::BOOTED)?;
        if before.is_some_and(|before| booted.since(before) > BOOT_SLACK_MS) {
            self.alive.clear();
            self.resync();
        }
        state::set(store::BOOTED, &booted)
    }

    /// Whatever was open before and is not there now has ended unseen.
    fn resync(&mut self) {
        self.assembler.close_lost(&std::mem::take(&mut self.unsure), &self.alive);
    }

    /// Turns what changed into items and keeps the calls they are about.
    fn gather(&mut self) -> Result<()> {
        self.add_posted()?;
        let snapshots = self.assembler.take();
        let last: BTreeMap<&str, &Snapshot> = snapshots.iter().map(|snapshot| (snapshot.call.as_str(), snapshot)).collect();
        for id in last.keys() {
            match self.assembler.call(id) {
                Some(call) if last[id].fact.ended_at.is_none() => store::keep(call)?,
                ended => store::forget(id, ended)?,
            }
        }
        if !last.is_empty() {
            store::index(&self.assembler.open_ids())?;
        }
        self.waiting.extend(snapshots.iter().map(|snapshot| item(&self.config, snapshot)));
        Ok(())
    }

    /// What the dial plan posted to our hook belongs to the call too, from its next news on.
    fn add_posted(&mut self) -> Result<()> {
        let touched: Vec<Call> = self.assembler.touched().cloned().collect();
        for call in touched {
            for leg in call.external_legs() {
                if let Some(posted) = store::posted(leg)? {
                    self.assembler.add_variables(call.id(), &posted.variables, posted.version);
                }
            }
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        match emit::emit(self.waiting.clone(), None) {
            Ok(()) => {
                self.waiting.clear();
                Ok(())
            }
            // The PBX does not wait: go on reading, and try again with the next news.
            Err(error) if error.class == ErrorClass::Transient && self.waiting.len() < MOST_WAITING => {
                log::warn(format!("the hub did not take {} items: {error}", self.waiting.len()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

fn note_dropped(session: &mut Session) {
    let dropped = session.newly_dropped();
    if dropped > 0 {
        log::warn(format!("{dropped} manager events were too large to be read"));
    }
}

/// A snapshot as an item.
pub(crate) fn item(config: &Config, snapshot: &Snapshot) -> Item {
    let key = config.key(&snapshot.call);
    let mut fact = snapshot.fact.clone();
    fact.conversation_key = Some(key.clone());
    Item {
        kind: ItemKind::Interaction,
        entity: "calls".to_owned(),
        key,
        version: Some(snapshot.version.to_string()),
        at_ms: u64::try_from(snapshot.at.as_millis()).ok(),
        data: serde_json::to_value(fact).expect("a fact is plain data, which always has a JSON form"),
    }
}
