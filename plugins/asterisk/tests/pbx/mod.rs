//! A PBX on paper: acts of people and of the dial plan in, the manager events of an Asterisk 20 out.
//!
//! It keeps what Asterisk keeps of its channels and writes every event with all its headers, in the order in which the recordings and
//! Asterisk's own sources have them. Scenarios (`scenarios.rs`) say what happened; a [`Site`] says on whose PBX, an [`Account`] how
//! much of it the manager account is told.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod outgoing;
pub mod scenarios;
mod site;

use std::fmt::Write as _;

pub use site::{Account, FULL, LEAST, Site, berlin, scratch};

/// One channel, by its place in the list.
pub type Leg = usize;
/// One bridge, by its place in the list.
pub type Bridge = usize;

struct Channel {
    name: String,
    id: String,
    linked: String,
    state: u8,
    number: String,
    person: String,
    connected: (String, String),
    exten: String,
    dialled_by: Option<Leg>,
    queue: Option<&'static str>,
    bridge: Option<Bridge>,
    variables: Vec<(String, String)>,
    gone: bool,
}

/// One event as sent, and when.
pub struct Sent {
    pub at_ms: i64,
    pub bytes: Vec<u8>,
}

/// The PBX.
pub struct Pbx {
    pub site: Site,
    account: Account,
    now_ms: i64,
    next: u64,
    epoch_s: i64,
    channels: Vec<Channel>,
    /// How many are in each bridge, and what technology it has.
    bridges: Vec<(usize, &'static str)>,
    pub sent: Vec<Sent>,
}

const STATES: [&str; 7] = ["Down", "Rsrvd", "OffHook", "Dialing", "Ring", "Ringing", "Up"];

impl Pbx {
    /// `first` numbers the first channel: two PBXs with numbers apart are two calls of one.
    pub fn new(site: Site, account: Account, starts_ms: i64, first: u64) -> Self {
        let epoch_s = starts_ms / 1000;
        Self { site, account, now_ms: starts_ms, next: first, epoch_s, channels: vec![], bridges: vec![], sent: vec![] }
    }

    pub fn wait(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    pub fn id(&self, leg: Leg) -> &str {
        &self.channels[leg].id
    }

    /// The stream of a connection that is there from the beginning.
    pub fn stream(&self) -> Vec<u8> {
        let hello = b"Asterisk Call Manager/9.0.0\r\nResponse: Success\r\nActionID: 1\r\nMessage: Authentication accepted\r\n\r\n\
            Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 440\r\nLastReload: 440\r\nStatus: Fully Booted\r\n\r\n";
        hello.iter().copied().chain(self.sent.iter().flat_map(|sent| sent.bytes.iter().copied())).collect()
    }

    /// Any event: `legs` are channels with the prefix of their headers, `more` comes after them.
    pub fn event(&mut self, class: &str, name: &str, legs: &[(&str, Leg)], more: &[(&str, &str)]) {
        self.now_ms += 1;
        if !self.account.all_classes && !["call", "agent", "user"].contains(&class) {
            return;
        }
        let mut text = format!("Event: {name}\r\nPrivilege: {class},all\r\n");
        if self.account.times {
            write!(text, "Timestamp: {}.{:03}{:03}\r\n", self.now_ms / 1000, self.now_ms % 1000, self.sent.len() % 1000).unwrap();
        }
        if let Some(system) = self.site.system_name {
            write!(text, "SystemName: {system}\r\n").unwrap();
        }
        for (prefix, leg) in legs {
            self.channel_headers(&mut text, prefix, *leg);
        }
        for (key, value) in more {
            write!(text, "{key}: {value}\r\n").unwrap();
        }
        text.push_str("\r\n");
        self.sent.push(Sent { at_ms: self.now_ms, bytes: text.into_bytes() });
    }

    fn channel_headers(&self, text: &mut String, prefix: &str, leg: Leg) {
        let channel = &self.channels[leg];
        let or_unknown = |value: &str| if value.is_empty() { "<unknown>".to_owned() } else { value.to_owned() };
        let headers = [
            ("Channel", channel.name.clone()),
            ("ChannelState", channel.state.to_string()),
            ("ChannelStateDesc", STATES[usize::from(channel.state)].to_owned()),
            ("CallerIDNum", or_unknown(&channel.number)),
            ("CallerIDName", or_unknown(&channel.person)),
            ("ConnectedLineNum", or_unknown(&channel.connected.0)),
            ("ConnectedLineName", or_unknown(&channel.connected.1)),
            ("Language", "en".to_owned()),
            ("AccountCode", String::new()),
            ("Context", "default".to_owned()),
            ("Exten", channel.exten.clone()),
            ("Priority", "1".to_owned()),
            ("Uniqueid", channel.id.clone()),
            ("Linkedid", channel.linked.clone()),
        ];
        for (key, value) in headers {
            write!(text, "{prefix}{key}: {value}\r\n").unwrap();
        }
        if self.account.repeats_variables {
            for name in ["TL_INTERACTION", "TL_CUSTOMER", "TL_DID"] {
                let value = channel.variables.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value);
                write!(text, "{prefix}ChanVariable: {name}={value}\r\n").unwrap();
            }
        }
    }

    /// The call detail log's view of the same, which only a full account gets: it comes before the channel and after its end.
    fn log(&mut self, what: &str, leg: Leg) {
        let (id, linked, name) = (self.channels[leg].id.clone(), self.channels[leg].linked.clone(), self.channels[leg].name.clone());
        let more = [("EventName", what), ("CallerIDnum", ""), ("Channel", &name), ("UniqueID", &id), ("LinkedID", &linked), ("Extra", "")];
        self.event("cel", "CEL", &[], &more);
    }

    /// A channel that comes into being.
    pub fn channel(&mut self, endpoint: &str, linked_to: Option<Leg>, state: u8, number: &str, exten: &str) -> Leg {
        let name = format!("{endpoint}-{:08x}", self.next);
        self.named_channel(name, linked_to, None, state, number, exten)
    }

    fn named_channel(&mut self, name: String, linked_to: Option<Leg>, id: Option<&str>, state: u8, number: &str, exten: &str) -> Leg {
        let system = self.site.system_name.map(|name| format!("{name}-")).unwrap_or_default();
        let id = id.map_or_else(|| format!("{system}{}.{}", self.epoch_s, self.next), str::to_owned);
        self.next += 1;
        let linked = linked_to.map_or_else(|| id.clone(), |leg| self.channels[leg].linked.clone());
        let person = self.site.agents.iter().find(|agent| agent.1 == number).map(|agent| agent.2.to_owned()).unwrap_or_default();
        let variables = linked_to.map(|leg| self.channels[leg].variables.clone()).unwrap_or_default();
        let (number, exten, connected) = (number.to_owned(), exten.to_owned(), (String::new(), String::new()));
        self.channels.push(Channel {
            name,
            id,
            linked,
            state,
            number,
            person,
            connected,
            exten,
            dialled_by: None,
            queue: None,
            bridge: None,
            variables,
            gone: false,
        });
        let leg = self.channels.len() - 1;
        self.log("CHAN_START", leg);
        self.event("call", "Newchannel", &[("", leg)], &[]);
        leg
    }

    /// A customer calls our number.
    pub fn comes_in(&mut self, number: &str, dialled: &str) -> Leg {
        let leg = self.channel(self.site.trunk, None, 4, number, dialled);
        self.step(leg, "NoOp", "inbound");
        self.set(leg, "TL_DID", dialled);
        leg
    }

    /// An agent takes his phone and dials.
    pub fn agent_dials(&mut self, agent: usize, dialled: &str) -> Leg {
        let (endpoint, number, _) = self.site.agents[agent];
        self.channel(endpoint, None, 4, number, dialled)
    }

    pub fn set(&mut self, leg: Leg, name: &str, value: &str) {
        self.channels[leg].variables.retain(|(known, _)| known != name);
        self.channels[leg].variables.push((name.to_owned(), value.to_owned()));
        self.event("dialplan", "VarSet", &[("", leg)], &[("Variable", name), ("Value", value)]);
    }

    pub fn step(&mut self, leg: Leg, application: &str, data: &str) {
        let exten = self.channels[leg].exten.clone();
        self.event("dialplan", "Newexten", &[("", leg)], &[("Extension", &exten), ("Application", application), ("AppData", data)]);
    }

    fn state(&mut self, leg: Leg, state: u8) {
        if self.channels[leg].state != state {
            self.channels[leg].state = state;
            self.event("call", "Newstate", &[("", leg)], &[]);
        }
    }

    /// The dial plan answers: no human did.
    pub fn up(&mut self, leg: Leg) {
        self.state(leg, 6);
    }

    pub fn joins_queue(&mut self, leg: Leg, queue: &'static str) {
        self.step(leg, "Queue", queue);
        self.channels[leg].queue = Some(queue);
        self.event("agent", "QueueCallerJoin", &[("", leg)], &[("Queue", queue), ("Position", "1"), ("Count", "1")]);
        self.event("call", "MusicOnHoldStart", &[("", leg)], &[("Class", "default")]);
    }

    /// Leaves the queue unanswered: gives up, or its time is over. Asterisk says the same for both.
    pub fn leaves_queue(&mut self, leg: Leg) {
        let queue = self.channels[leg].queue.take().unwrap();
        self.event("agent", "QueueCallerAbandon", &[("", leg)], &[("Queue", queue), ("HoldTime", "9"), ("OriginalPosition", "1")]);
        self.event("agent", "QueueCallerLeave", &[("", leg)], &[("Queue", queue), ("Position", "1"), ("Count", "0")]);
    }

    /// `by` (a queue, a Dial) calls a phone.
    pub fn calls_agent(&mut self, by: Leg, agent: usize) -> Leg {
        let (endpoint, number, _) = self.site.agents[agent];
        let leg = self.channel(endpoint, Some(by), 0, number, "s");
        let dialled = endpoint.split_once('/').map_or(endpoint, |(_, name)| name).to_owned();
        self.begins_dial(Some(by), leg, &dialled);
        leg
    }

    /// A number outside is dialled over the trunk.
    pub fn calls_out(&mut self, by: Option<Leg>, number: &str) -> Leg {
        let leg = self.channel(self.site.trunk, by, 0, number, "s");
        let trunk = self.site.trunk.split_once('/').map_or("", |(_, name)| name);
        self.begins_dial(by, leg, &format!("{number}@{trunk}"));
        leg
    }

    /// `Dial` and `Queue` begin to call a leg; without `by` it is an application that does.
    pub fn begins_dial(&mut self, by: Option<Leg>, leg: Leg, dialled: &str) {
        self.channels[leg].dialled_by = by;
        let Some(by) = by else {
            self.event("call", "DialBegin", &[("Dest", leg)], &[("DialString", dialled)]);
            return;
        };
        self.channels[leg].connected = (self.channels[by].number.clone(), self.channels[by].person.clone());
        self.event("call", "NewConnectedLine", &[("", leg)], &[]);
        if let Some(queue) = self.channels[by].queue {
            self.event("agent", "AgentCalled", &[("", by), ("Dest", leg)], &[("Queue", queue), ("MemberName", "A Member")]);
        }
        self.event("call", "DialBegin", &[("", by), ("Dest", leg)], &[("DialString", dialled)]);
        self.channels[by].connected = (self.channels[leg].number.clone(), self.channels[leg].person.clone());
        self.event("call", "NewConnectedLine", &[("", by)], &[]);
    }

    fn dial_event(&mut self, name: &str, leg: Leg, status: &str) {
        let legs: Vec<(&str, Leg)> = self.channels[leg].dialled_by.map(|by| ("", by)).into_iter().chain([("Dest", leg)]).collect();
        self.event("call", name, &legs, &[("DialStatus", status)]);
    }

    pub fn rings(&mut self, leg: Leg) {
        self.wait(200);
        self.state(leg, 5);
        self.dial_event("DialState", leg, "RINGING");
    }

    /// A called phone or customer picks up.
    pub fn picks_up(&mut self, leg: Leg) {
        self.wait(1000);
        self.state(leg, 6);
        self.dial_event("DialEnd", leg, "ANSWER");
        let Some(by) = self.channels[leg].dialled_by else { return };
        if let Some(queue) = self.channels[by].queue.take() {
            self.event("agent", "QueueCallerLeave", &[("", by)], &[("Queue", queue), ("Position", "1"), ("Count", "0")]);
            let more = [("Queue", queue), ("MemberName", "A Member"), ("HoldTime", "2"), ("RingTime", "1")];
            self.event("agent", "AgentConnect", &[("", by), ("Dest", leg)], &more);
        }
        self.state(by, 6);
    }

    /// A called leg does not come to be answered.
    pub fn dial_fails(&mut self, leg: Leg, status: &str) {
        self.dial_event("DialEnd", leg, status);
    }

    /// A queue stops ringing a phone that nobody takes.
    pub fn rings_in_vain(&mut self, leg: Leg) {
        self.wait(4000);
        let by = self.channels[leg].dialled_by.unwrap();
        self.dial_event("DialEnd", leg, "NOANSWER");
        let queue = self.channels[by].queue.unwrap();
        self.event("agent", "AgentRingNoAnswer", &[("", by), ("Dest", leg)], &[("Queue", queue), ("RingTime", "4000")]);
        self.dial_event("DialEnd", leg, "CANCEL");
        self.gone(leg, 0, None);
    }

    /// A bridge nobody is in yet.
    pub fn bridge(&mut self, technology: &'static str) -> Bridge {
        self.bridges.push((0, technology));
        let bridge = self.bridges.len() - 1;
        self.bridge_event("BridgeCreate", bridge, None, None);
        bridge
    }

    fn bridge_event(&mut self, name: &str, bridge: Bridge, leg: Option<Leg>, swap: Option<Leg>) {
        let (members, technology) = self.bridges[bridge];
        let id = format!("b{}-{}-{bridge}", self.epoch_s, self.channels.first().map_or("", |first| &first.name));
        let members = members.to_string();
        let swapped = swap.map(|leg| self.channels[leg].id.clone());
        let mut more = vec![("BridgeUniqueid", id.as_str()), ("BridgeType", "basic"), ("BridgeTechnology", technology)];
        more.push(("BridgeNumChannels", &members));
        more.extend(swapped.as_ref().map(|id| ("SwapUniqueid", id.as_str())));
        let legs: Vec<(&str, Leg)> = leg.map(|leg| ("", leg)).into_iter().collect();
        self.event("call", name, &legs, &more);
    }

    pub fn enters(&mut self, leg: Leg, bridge: Bridge) {
        self.enters_for(leg, bridge, None);
    }

    /// Enters in the place of another, who is asked to leave.
    pub fn enters_for(&mut self, leg: Leg, bridge: Bridge, swap: Option<Leg>) {
        self.channels[leg].bridge = Some(bridge);
        self.bridges[bridge].0 += 1;
        self.bridge_event("BridgeEnter", bridge, Some(leg), swap);
    }

    pub fn leaves_bridge(&mut self, leg: Leg) {
        if let Some(bridge) = self.channels[leg].bridge.take() {
            self.bridges[bridge].0 -= 1;
            self.bridge_event("BridgeLeave", bridge, Some(leg), None);
        }
    }

    /// Two legs talk; in Asterisk the one that was called enters first. Linked ids become one.
    pub fn talk(&mut self, called: Leg, caller: Leg) -> Bridge {
        let bridge = self.bridge("simple_bridge");
        self.channels[called].linked = self.channels[caller].linked.clone();
        self.enters(called, bridge);
        self.enters(caller, bridge);
        self.wait(1000);
        bridge
    }

    /// From now on the leg carries another's linked id; no event says so.
    pub fn takes_linked_id(&mut self, leg: Leg, of: Leg) {
        self.channels[leg].linked = self.channels[of].linked.clone();
    }

    pub fn presses(&mut self, leg: Leg, keys: &str) {
        for key in keys.chars().map(String::from) {
            self.wait(100);
            self.event("dtmf", "DTMFBegin", &[("", leg)], &[("Digit", &key), ("Direction", "Received")]);
            self.wait(100);
            self.event("dtmf", "DTMFEnd", &[("", leg)], &[("Digit", &key), ("DurationMs", "120"), ("Direction", "Received")]);
        }
    }

    pub fn holds(&mut self, leg: Leg) {
        self.event("call", "Hold", &[("", leg)], &[("MusicClass", "default")]);
        self.wait(500);
    }

    pub fn unholds(&mut self, leg: Leg) {
        self.event("call", "Unhold", &[("", leg)], &[]);
    }

    /// Somebody puts the receiver down.
    pub fn hangs_up(&mut self, leg: Leg) {
        self.wait(1000);
        self.event("call", "HangupRequest", &[("", leg)], &[("Cause", "16")]);
    }

    /// A leg comes to its end.
    pub fn gone(&mut self, leg: Leg, cause: u32, sip: Option<&str>) {
        self.leaves_bridge(leg);
        self.log("HANGUP", leg);
        let cause = cause.to_string();
        let more: Vec<(&str, &str)> =
            [("Cause", cause.as_str()), ("Cause-txt", "")].into_iter().chain(sip.map(|code| ("TechCause", code))).collect();
        self.event("call", "Hangup", &[("", leg)], &more);
        self.channels[leg].gone = true;
        self.log("CHAN_END", leg);
        self.cdr(leg);
    }

    fn cdr(&mut self, leg: Leg) {
        let (id, linked, name) = (self.channels[leg].id.clone(), self.channels[leg].linked.clone(), self.channels[leg].name.clone());
        self.event("cdr", "Cdr", &[], &[("Channel", &name), ("Disposition", "ANSWERED"), ("UniqueID", &id), ("LinkedID", &linked)]);
    }

    /// `who` hangs up and with him go those whom the PBX hangs up for that.
    pub fn ends(&mut self, who: Leg, others: &[Leg]) {
        self.hangs_up(who);
        self.leaves_bridge(who);
        for other in others {
            self.event("call", "SoftHangupRequest", &[("", *other)], &[("Cause", "16")]);
        }
        self.gone(who, 16, None);
        for other in others {
            self.gone(*other, 16, None);
        }
    }

    pub fn transfer(&mut self, kind: &str, legs: &[(&str, Leg)], more: &[(&str, &str)]) {
        let more: Vec<(&str, &str)> = [("Result", "Success")].into_iter().chain(more.iter().copied()).collect();
        self.event("call", kind, legs, &more);
    }

    /// The two halves of a Local channel, `;1` first.
    pub fn local(&mut self, by: Option<Leg>, exten: &str, context: &str) -> (Leg, Leg) {
        let name = format!("Local/{exten}@{context}-{:08x}", self.next);
        let one = self.named_channel(format!("{name};1"), by, None, 0, "", exten);
        let two = self.named_channel(format!("{name};2"), Some(one), None, 4, "", exten);
        self.event("call", "LocalBridge", &[("LocalOne", one), ("LocalTwo", two)], &[("Context", context), ("LocalOptimization", "Yes")]);
        (one, two)
    }

    /// A leg whose id an application chose.
    pub fn originated(&mut self, endpoint: &str, id: &str, number: &str, dialled: &str, variables: &[(&str, &str)]) -> Leg {
        let name = format!("{endpoint}-{:08x}", self.next);
        let leg = self.named_channel(name, None, Some(id), 0, number, "s");
        for (name, value) in variables {
            self.set(leg, name, value);
        }
        self.begins_dial(None, leg, dialled);
        leg
    }

    pub fn shows(&mut self, leg: Leg, number: &str, connected: &str) {
        self.channels[leg].number = number.to_owned();
        self.event("call", "NewCallerid", &[("", leg)], &[("CID-CallingPres", "0")]);
        self.channels[leg].connected.0 = connected.to_owned();
        self.event("call", "NewConnectedLine", &[("", leg)], &[]);
    }

    pub fn exten(&mut self, leg: Leg, exten: &str) {
        self.channels[leg].exten = exten.to_owned();
    }
}
