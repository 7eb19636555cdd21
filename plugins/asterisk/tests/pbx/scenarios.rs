//! What people did on the phone and what must be told of it, reasoned from what they did, not from what the code says.

use serde_json::{Value, json};

use super::{Leg, Pbx};

/// Acts it out and says which calls must come of it.
pub type Scenario = fn(&mut Pbx) -> Vec<Value>;

/// Those that begin with a customer's call.
pub const INCOMING: &[(&str, Scenario)] = &[
    ("nobody in the queue answers, so the caller leaves a message", queue_then_voicemail),
    ("a key in the IVR leads to the queue", ivr_then_queue),
    ("an agent transfers after asking, phone to phone", attended_by_phone),
    ("the transferred leg comes in by a Local member that was optimised away", attended_after_local_member),
    ("an agent hands over while the other phone still rings", attended_while_ringing),
    ("an application transfers the agent's channel: the caller moves", blind_by_application),
    ("an application names the caller's channel: the caller is dropped", blind_of_the_wrong_channel),
    ("an application types the attended transfer's code", attended_by_application),
    ("a feature code transfers without asking", blind_by_feature_code),
    ("a redirect moves the caller", redirected),
    ("a transfer to a number outside", transferred_outside),
    ("a blind transfer to a phone nobody takes", blind_into_the_void),
    ("a Local member that is not optimised away", local_member_kept),
    ("a call moved into a conference that another agent joins", conference),
    ("two customers and an agent in one conference", conference_of_customers),
    ("a transfer to another queue, left by a key", to_another_queue),
    ("nobody answers, so the dial plan takes a message", dial_then_voicemail),
    ("a number outside is rung beside the phone and answers", answered_outside),
    ("an agent who is logged in takes one call after another", logged_in_agent),
];

pub(super) fn inbound(pbx: &Pbx, more: Value) -> Value {
    let mut line = json!({"kind": "call", "direction": "inbound", "customer": pbx.site.customer.1, "endpoint": pbx.site.our_number.1,
        "agents": [], "queue": null, "answered": true, "outcome": "answered", "digits": [], "transfers": [], "holds": 0,
        "ended_by": "customer"});
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line
}

pub(super) fn outbound(pbx: &Pbx, more: Value) -> Value {
    let mut line = inbound(pbx, json!({"direction": "outbound", "customer": pbx.site.other_customer.1}));
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line
}

pub(super) fn calls_in(pbx: &mut Pbx) -> Leg {
    let (number, dialled) = (pbx.site.customer.0, pbx.site.our_number.0);
    pbx.comes_in(number, dialled)
}

/// A customer calls and agent 0 takes it, by the queue if one is named.
pub(super) fn taken(pbx: &mut Pbx, queue: Option<&'static str>) -> (Leg, Leg, super::Bridge) {
    let caller = calls_in(pbx);
    if let Some(queue) = queue {
        pbx.up(caller);
        pbx.joins_queue(caller, queue);
    }
    let agent = pbx.calls_agent(caller, 0);
    pbx.rings(agent);
    pbx.picks_up(agent);
    let bridge = pbx.talk(agent, caller);
    (caller, agent, bridge)
}

/// `agent` is called by `by` and talks with it.
pub(super) fn reaches(pbx: &mut Pbx, by: Leg, agent: usize) -> (Leg, super::Bridge) {
    let leg = pbx.calls_agent(by, agent);
    pbx.rings(leg);
    pbx.picks_up(leg);
    let bridge = pbx.talk(leg, by);
    (leg, bridge)
}

fn queue_then_voicemail(pbx: &mut Pbx) -> Vec<Value> {
    let caller = calls_in(pbx);
    pbx.up(caller);
    pbx.joins_queue(caller, "support");
    for agent in [0, 1, 0] {
        let leg = pbx.calls_agent(caller, agent);
        pbx.rings(leg);
        pbx.rings_in_vain(leg);
    }
    pbx.leaves_queue(caller);
    pbx.step(caller, "VoiceMail", "1001@default,u");
    pbx.set(caller, "VM_MESSAGEFILE", "/var/spool/asterisk/voicemail/default/1001/tmp/x");
    pbx.hangs_up(caller);
    pbx.set(caller, "VMSTATUS", "SUCCESS");
    pbx.event("call", "MessageWaiting", &[("", caller)], &[("Mailbox", "1001@default"), ("Waiting", "1"), ("New", "1"), ("Old", "0")]);
    pbx.gone(caller, 16, None);
    vec![inbound(pbx, json!({"queue": "support", "answered": false, "outcome": "voicemail"}))]
}

fn ivr_then_queue(pbx: &mut Pbx) -> Vec<Value> {
    let caller = calls_in(pbx);
    pbx.up(caller);
    pbx.step(caller, "Read", "DIGIT,menu,1");
    pbx.presses(caller, "2");
    pbx.set(caller, "READSTATUS", "OK");
    pbx.event("user", "UserEvent", &[("", caller)], &[("UserEvent", "Ivr"), ("Choice", "agent")]);
    pbx.joins_queue(caller, "support");
    let (agent, _) = reaches(pbx, caller, 1);
    pbx.ends(agent, &[caller]);
    let agents = [pbx.site.agent(1)];
    vec![inbound(pbx, json!({"queue": "support", "agents": agents, "digits": ["2"], "ended_by": "agent"}))]
}

/// Agent 0, who has a caller, holds him and calls agent 1 on the phone's second line.
fn asks(pbx: &mut Pbx, agent: Leg) -> (Leg, Leg, super::Bridge) {
    pbx.holds(agent);
    let exten = pbx.site.agents[1].1;
    let second = pbx.agent_dials(0, exten);
    let (other, bridge) = reaches(pbx, second, 1);
    (second, other, bridge)
}

/// The phone joins its two calls: agent 1 takes its place in the first one's bridge.
fn joins(pbx: &mut Pbx, caller: Leg, agent: Leg, second: Leg, other: Leg, bridge: super::Bridge) {
    pbx.unholds(agent);
    pbx.unholds(second);
    pbx.leaves_bridge(other);
    pbx.takes_linked_id(other, caller);
    pbx.enters_for(other, bridge, Some(agent));
    pbx.leaves_bridge(agent);
    let legs = [("OrigTransferer", agent), ("SecondTransferer", second), ("Transferee", caller), ("TransferTarget", other)];
    pbx.transfer("AttendedTransfer", &legs, &[("IsExternal", "Yes"), ("DestType", "Bridge")]);
    pbx.event("call", "SoftHangupRequest", &[("", second)], &[("Cause", "16")]);
    pbx.gone(agent, 16, None);
    pbx.gone(second, 16, None);
}

fn attended_by_phone(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, bridge) = taken(pbx, Some("support"));
    let (second, other, _) = asks(pbx, agent);
    joins(pbx, caller, agent, second, other, bridge);
    pbx.event("agent", "AgentComplete", &[("", caller), ("Dest", agent)], &[("Queue", "support"), ("Reason", "transfer")]);
    pbx.ends(other, &[caller]);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"queue": "support", "agents": agents, "transfers": ["attended"], "holds": 1, "ended_by": "agent"}))]
}

/// A queue's Local member: agent 0 talks in the second half's bridge, the caller in the first's.
fn taken_over_local(pbx: &mut Pbx) -> (Leg, Leg, (Leg, Leg), super::Bridge) {
    let caller = calls_in(pbx);
    pbx.up(caller);
    pbx.joins_queue(caller, "support-local");
    let exten = pbx.site.agents[0].1;
    let (one, two) = pbx.local(Some(caller), exten, "agents-local");
    let our_number = pbx.site.our_number.0;
    pbx.shows(one, our_number, "");
    pbx.begins_dial(Some(caller), one, "Local/x@agents-local");
    let agent = pbx.calls_agent(two, 0);
    pbx.rings(agent);
    pbx.rings(one);
    pbx.picks_up(agent);
    pbx.picks_up(one);
    let inner = pbx.bridge("simple_bridge");
    pbx.enters(agent, inner);
    pbx.enters(two, inner);
    let outer = pbx.bridge("simple_bridge");
    pbx.enters(one, outer);
    pbx.enters(caller, outer);
    (caller, agent, (one, two), outer)
}

fn attended_after_local_member(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, (one, two), bridge) = taken_over_local(pbx);
    pbx.event("call", "LocalOptimizationBegin", &[("LocalOne", one), ("LocalTwo", two), ("Source", agent)], &[("Id", "1")]);
    pbx.leaves_bridge(agent);
    pbx.leaves_bridge(one);
    pbx.enters_for(agent, bridge, Some(one));
    pbx.event("call", "LocalOptimizationEnd", &[("LocalOne", one), ("LocalTwo", two)], &[("Id", "1"), ("Success", "Yes")]);
    pbx.event("call", "HangupRequest", &[("", two)], &[("Cause", "16")]);
    pbx.gone(one, 16, None);
    pbx.gone(two, 16, None);
    let (second, other, _) = asks(pbx, agent);
    joins(pbx, caller, agent, second, other, bridge);
    pbx.ends(caller, &[other]);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"queue": "support-local", "agents": agents, "transfers": ["attended"], "holds": 1}))]
}

fn attended_while_ringing(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    pbx.holds(agent);
    let exten = pbx.site.agents[1].1;
    let second = pbx.agent_dials(0, exten);
    let other = pbx.calls_agent(second, 1);
    pbx.rings(other);
    pbx.unholds(agent);
    pbx.leaves_bridge(caller);
    let legs = [("OrigTransferer", agent), ("SecondTransferer", second), ("Transferee", caller)];
    pbx.transfer("AttendedTransfer", &legs, &[("IsExternal", "Yes"), ("DestType", "App"), ("DestApp", "Dial")]);
    pbx.gone(agent, 16, None);
    pbx.gone(second, 16, None);
    // The caller stands where the second line stood: in its Dial.
    pbx.begins_dial(Some(caller), other, "x");
    pbx.picks_up(other);
    pbx.talk(other, caller);
    pbx.ends(caller, &[other]);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"agents": agents, "transfers": ["attended"], "holds": 1}))]
}

pub(super) fn blind(pbx: &mut Pbx, by: Leg, whom: Leg, exten: &str, external: &str) {
    pbx.unholds(by);
    pbx.exten(whom, exten);
    pbx.leaves_bridge(whom);
    pbx.transfer("BlindTransfer", &[("Transferer", by), ("Transferee", whom)], &[("IsExternal", external), ("Extension", exten)]);
    pbx.leaves_bridge(by);
    pbx.gone(by, 16, None);
}

fn blind_by_application(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    let exten = pbx.site.agents[1].1;
    blind(pbx, agent, caller, exten, "Yes");
    let (other, _) = reaches(pbx, caller, 1);
    pbx.ends(caller, &[other]);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"agents": agents, "transfers": ["blind"]}))]
}

fn blind_of_the_wrong_channel(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    let exten = pbx.site.agents[1].1;
    blind(pbx, caller, agent, exten, "Yes");
    let (other, _) = reaches(pbx, agent, 1);
    pbx.ends(other, &[agent]);
    let agents = [pbx.site.agent(0)];
    vec![inbound(pbx, json!({"agents": agents, "ended_by": "system"}))]
}

fn attended_by_application(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, bridge) = taken(pbx, None);
    for key in ["*", "2"] {
        pbx.event("dtmf", "DTMFEnd", &[("", agent)], &[("Digit", key), ("DurationMs", "0"), ("Direction", "Received")]);
    }
    pbx.holds(agent);
    let exten = pbx.site.agents[1].1;
    for key in exten.chars().map(String::from) {
        pbx.event("dtmf", "DTMFEnd", &[("", agent)], &[("Digit", &key), ("DurationMs", "0"), ("Direction", "Received")]);
    }
    let (one, two) = pbx.local(Some(agent), exten, "agents");
    let asking = pbx.bridge("simple_bridge");
    pbx.enters(one, asking);
    pbx.leaves_bridge(agent);
    pbx.enters(agent, asking);
    let other = pbx.calls_agent(two, 1);
    pbx.rings(other);
    pbx.picks_up(other);
    let inner = pbx.talk(other, two);
    pbx.hangs_up(agent);
    pbx.leaves_bridge(agent);
    pbx.leaves_bridge(one);
    pbx.enters(one, bridge);
    let legs = [("OrigTransferer", agent), ("SecondTransferer", agent), ("Transferee", caller), ("TransferTarget", one)];
    pbx.transfer("AttendedTransfer", &legs, &[("IsExternal", "No"), ("DestType", "Bridge")]);
    pbx.gone(agent, 16, None);
    pbx.leaves_bridge(caller);
    pbx.leaves_bridge(two);
    pbx.enters_for(caller, inner, Some(two));
    pbx.leaves_bridge(one);
    pbx.gone(one, 16, None);
    pbx.gone(two, 16, None);
    pbx.ends(other, &[caller]);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"agents": agents, "transfers": ["attended"], "ended_by": "agent"}))]
}

fn blind_by_feature_code(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    pbx.presses(agent, "#1");
    pbx.holds(agent);
    let exten = pbx.site.agents[1].1;
    pbx.presses(agent, exten);
    blind(pbx, agent, caller, exten, "No");
    let (other, _) = reaches(pbx, caller, 1);
    pbx.holds(other);
    pbx.unholds(other);
    pbx.ends(caller, &[other]);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"agents": agents, "transfers": ["blind"], "holds": 1}))]
}

fn redirected(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    let exten = pbx.site.agents[1].1;
    pbx.exten(caller, exten);
    pbx.leaves_bridge(caller);
    pbx.leaves_bridge(agent);
    pbx.gone(agent, 16, None);
    let (other, _) = reaches(pbx, caller, 1);
    pbx.ends(other, &[caller]);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"agents": agents, "ended_by": "agent"}))]
}

fn transferred_outside(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, Some("support"));
    let number = pbx.site.other_customer.0;
    blind(pbx, agent, caller, number, "Yes");
    let third = pbx.calls_out(Some(caller), number);
    pbx.rings(third);
    pbx.picks_up(third);
    pbx.talk(third, caller);
    pbx.ends(caller, &[third]);
    let agents = [pbx.site.agent(0)];
    vec![inbound(pbx, json!({"queue": "support", "agents": agents, "transfers": ["blind"]}))]
}

fn blind_into_the_void(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    let exten = pbx.site.agents[2].1;
    blind(pbx, agent, caller, exten, "Yes");
    let other = pbx.calls_agent(caller, 2);
    pbx.rings(other);
    pbx.wait(12_000);
    pbx.dial_fails(other, "NOANSWER");
    pbx.gone(other, 0, None);
    pbx.gone(caller, 16, None);
    let agents = [pbx.site.agent(0)];
    vec![inbound(pbx, json!({"agents": agents, "transfers": ["blind"], "ended_by": "system"}))]
}

fn local_member_kept(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, (one, two), _) = taken_over_local(pbx);
    pbx.presses(caller, "5");
    pbx.holds(agent);
    pbx.unholds(agent);
    pbx.hangs_up(agent);
    pbx.leaves_bridge(agent);
    pbx.leaves_bridge(two);
    pbx.gone(agent, 16, None);
    pbx.event("call", "HangupRequest", &[("", one)], &[("Cause", "16")]);
    pbx.event("agent", "AgentComplete", &[("", caller), ("Dest", one)], &[("Queue", "support-local"), ("Reason", "agent")]);
    pbx.leaves_bridge(one);
    pbx.leaves_bridge(caller);
    for leg in [one, two, caller] {
        pbx.gone(leg, 16, None);
    }
    let agents = [pbx.site.agent(0)];
    vec![inbound(pbx, json!({"queue": "support-local", "agents": agents, "digits": ["5"], "holds": 1, "ended_by": "agent"}))]
}

fn into_conference(pbx: &mut Pbx, leg: Leg, room: super::Bridge) {
    pbx.enters(leg, room);
    pbx.event("call", "ConfbridgeJoin", &[("", leg)], &[("Conference", "8000"), ("Admin", "No"), ("Muted", "No")]);
}

fn conference(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    pbx.leaves_bridge(caller);
    pbx.leaves_bridge(agent);
    let room = pbx.bridge("softmix");
    into_conference(pbx, caller, room);
    into_conference(pbx, agent, room);
    let announcer = pbx.channel("CBAnn/8000", None, 0, "", "s");
    pbx.enters(announcer, room);
    // He keeps a linked id of his own to the end.
    let third = pbx.agent_dials(1, "8000");
    pbx.up(third);
    into_conference(pbx, third, room);
    pbx.hangs_up(third);
    pbx.gone(third, 16, None);
    pbx.hangs_up(caller);
    pbx.gone(caller, 16, None);
    pbx.hangs_up(agent);
    pbx.gone(agent, 16, None);
    pbx.gone(announcer, 16, None);
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"agents": agents}))]
}

fn conference_of_customers(pbx: &mut Pbx) -> Vec<Value> {
    let caller = calls_in(pbx);
    pbx.up(caller);
    let room = pbx.bridge("softmix");
    into_conference(pbx, caller, room);
    let (number, dialled) = (pbx.site.other_customer.0, pbx.site.our_number.0);
    let other = pbx.comes_in(number, dialled);
    pbx.up(other);
    into_conference(pbx, other, room);
    let agent = pbx.agent_dials(0, "8000");
    pbx.up(agent);
    into_conference(pbx, agent, room);
    pbx.hangs_up(other);
    pbx.gone(other, 16, None);
    pbx.hangs_up(agent);
    pbx.gone(agent, 16, None);
    pbx.gone(caller, 16, None);
    let agents = [pbx.site.agent(0)];
    let second = json!({"agents": agents, "customer": pbx.site.other_customer.1});
    vec![inbound(pbx, json!({"agents": agents, "ended_by": "agent"})), inbound(pbx, second)]
}

fn to_another_queue(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, Some("support"));
    blind(pbx, agent, caller, "2001", "Yes");
    pbx.joins_queue(caller, "sales");
    let rung = pbx.calls_agent(caller, 1);
    pbx.rings(rung);
    pbx.presses(caller, "0");
    pbx.dial_fails(rung, "CANCEL");
    pbx.gone(rung, 0, None);
    pbx.leaves_queue(caller);
    let (other, _) = reaches(pbx, caller, 2);
    pbx.ends(caller, &[other]);
    let agents = [pbx.site.agent(0), pbx.site.agent(2)];
    vec![inbound(pbx, json!({"queue": "sales", "agents": agents, "transfers": ["blind"], "digits": ["0"]}))]
}

fn dial_then_voicemail(pbx: &mut Pbx) -> Vec<Value> {
    let caller = calls_in(pbx);
    let agent = pbx.calls_agent(caller, 0);
    pbx.rings(agent);
    pbx.wait(15_000);
    pbx.dial_fails(agent, "NOANSWER");
    pbx.gone(agent, 0, None);
    pbx.set(caller, "DIALSTATUS", "NOANSWER");
    pbx.up(caller);
    pbx.step(caller, "VoiceMail", "1001@default,u");
    pbx.wait(4000);
    pbx.presses(caller, "#");
    pbx.set(caller, "VMSTATUS", "SUCCESS");
    pbx.event("call", "MessageWaiting", &[("", caller)], &[("Mailbox", "1001@default"), ("Waiting", "1"), ("New", "1"), ("Old", "0")]);
    pbx.gone(caller, 16, None);
    // Somebody listens to it much later.
    pbx.event("call", "MessageWaiting", &[], &[("Mailbox", "1001@default"), ("Waiting", "0"), ("New", "0"), ("Old", "1")]);
    let line = json!({"answered": false, "outcome": "voicemail", "digits": ["#"], "ended_by": "system"});
    vec![inbound(pbx, line)]
}

fn answered_outside(pbx: &mut Pbx) -> Vec<Value> {
    let caller = calls_in(pbx);
    let phone = pbx.calls_agent(caller, 0);
    let number = pbx.site.other_customer.0;
    let mobile = pbx.calls_out(Some(caller), number);
    pbx.rings(phone);
    pbx.rings(mobile);
    pbx.picks_up(mobile);
    pbx.dial_fails(phone, "CANCEL");
    pbx.gone(phone, 26, None);
    pbx.talk(mobile, caller);
    pbx.ends(caller, &[mobile]);
    vec![inbound(pbx, json!({}))]
}

fn logged_in_agent(pbx: &mut Pbx) -> Vec<Value> {
    let agent = pbx.agent_dials(0, "*11");
    pbx.up(agent);
    pbx.event("agent", "AgentLogin", &[("", agent)], &[("Agent", "1001")]);
    let mut lines = Vec::new();
    for _ in 0..2 {
        let caller = calls_in(pbx);
        pbx.up(caller);
        pbx.joins_queue(caller, "support");
        pbx.leaves_queue(caller);
        let bridge = pbx.bridge("simple_bridge");
        pbx.enters(caller, bridge);
        pbx.enters(agent, bridge);
        pbx.hangs_up(caller);
        pbx.leaves_bridge(caller);
        pbx.leaves_bridge(agent);
        pbx.gone(caller, 16, None);
        lines.push(inbound(pbx, json!({"queue": "support", "agents": [pbx.site.agent(0)]})));
        pbx.wait(5000);
    }
    pbx.hangs_up(agent);
    pbx.gone(agent, 16, None);
    lines
}
