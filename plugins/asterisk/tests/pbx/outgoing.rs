//! More of what people did: calls that are parked, picked up or forwarded, calls that fail, and calls that go out.

use serde_json::{Value, json};

use super::scenarios::{Scenario, blind, calls_in, inbound, outbound, reaches, taken};
use super::{Leg, Pbx};

/// All of them.
pub const OUTGOING: &[(&str, Scenario)] = &[
    ("another phone picks the call up", picked_up),
    ("a call parked by a feature and retrieved elsewhere", parked),
    ("a call parked by a transfer to the lot and retrieved elsewhere", parked_by_transfer),
    ("a parked call nobody retrieves comes back to who parked it", parked_and_returned),
    ("click-to-call by an application that joins two legs", click_to_call_joined),
    ("click-to-call whose customer is busy", click_to_call_busy),
    ("calls to an agent that fail", inbound_failures),
    ("an agent dials out", dialled_by_hand),
    ("an agent dials out in vain", dialled_in_vain),
    ("a call-back: the customer first, then the queue", call_back),
    ("a call-back that goes over a Local channel", call_back_over_local),
    ("an agent's phone forwards the call", forwarded),
    ("agents among themselves, and one gives up", among_agents),
    ("the same customer calls twice at once", same_customer_twice),
];

fn picked_up(pbx: &mut Pbx) -> Vec<Value> {
    let caller = calls_in(pbx);
    let rung = pbx.calls_agent(caller, 0);
    pbx.rings(rung);
    let picker = pbx.agent_dials(1, "*8");
    pbx.up(picker);
    pbx.event("call", "Pickup", &[("", picker), ("Target", rung)], &[]);
    pbx.gone(rung, 26, None);
    // The picker's leg, which was never called, is the one the Dial got; its linked id is still its own.
    pbx.event("call", "DialEnd", &[("", caller), ("Dest", picker)], &[("DialStatus", "ANSWER")]);
    pbx.up(caller);
    pbx.talk(picker, caller);
    pbx.ends(picker, &[caller]);
    vec![inbound(pbx, json!({"agents": [pbx.site.agent(1)], "ended_by": "agent"}))]
}

const LOT: [(&str, &str); 4] =
    [("ParkingSpace", "701"), ("Parkinglot", "default"), ("ParkingTimeout", "45"), ("ParkerDialString", "PJSIP/agent1")];

fn retrieved(pbx: &mut Pbx, caller: Leg) -> Leg {
    pbx.wait(3000);
    let retriever = pbx.agent_dials(1, "701");
    pbx.up(retriever);
    pbx.event("call", "UnParkedCall", &[("Parkee", caller), ("Retriever", retriever)], &LOT);
    pbx.leaves_bridge(caller);
    pbx.talk(retriever, caller);
    retriever
}

fn parked(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    pbx.presses(agent, "#72");
    pbx.leaves_bridge(caller);
    let lot = pbx.bridge("holding_bridge");
    pbx.enters(caller, lot);
    pbx.event("call", "ParkedCall", &[("Parkee", caller)], &LOT);
    pbx.leaves_bridge(agent);
    pbx.ends(agent, &[]);
    // What somebody asked the PBX for is no news of the call, and comes without a time.
    pbx.event("call", "ParkedCall", &[("Parkee", caller)], &[("ActionID", "list-1"), ("ParkingSpace", "701")]);
    let retriever = retrieved(pbx, caller);
    pbx.ends(caller, &[retriever]);
    vec![inbound(pbx, json!({"agents": [pbx.site.agent(0), pbx.site.agent(1)]}))]
}

fn parked_by_transfer(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, Some("support"));
    blind(pbx, agent, caller, "700", "Yes");
    let lot = pbx.bridge("holding_bridge");
    pbx.enters(caller, lot);
    pbx.event("call", "ParkedCall", &[("Parkee", caller)], &LOT);
    let retriever = retrieved(pbx, caller);
    pbx.ends(retriever, &[caller]);
    // He put the call where anybody can take it; nobody was handed it.
    let agents = [pbx.site.agent(0), pbx.site.agent(1)];
    vec![inbound(pbx, json!({"queue": "support", "agents": agents, "ended_by": "agent"}))]
}

fn parked_and_returned(pbx: &mut Pbx) -> Vec<Value> {
    let (caller, agent, _) = taken(pbx, None);
    pbx.leaves_bridge(caller);
    let lot = pbx.bridge("holding_bridge");
    pbx.enters(caller, lot);
    pbx.event("call", "ParkedCall", &[("Parkee", caller)], &LOT);
    pbx.leaves_bridge(agent);
    pbx.ends(agent, &[]);
    pbx.wait(45_000);
    pbx.event("call", "ParkedCallTimeOut", &[("Parkee", caller)], &LOT);
    pbx.leaves_bridge(caller);
    let (again, _) = reaches(pbx, caller, 0);
    pbx.ends(caller, &[again]);
    vec![inbound(pbx, json!({"agents": [pbx.site.agent(0)]}))]
}

fn agents_leg(pbx: &mut Pbx, id: &str, dialled: &str, variables: &[(&str, &str)]) -> Leg {
    let (endpoint, number, _) = pbx.site.agents[0];
    let leg = pbx.originated(endpoint, id, number, dialled, variables);
    let customer = pbx.site.other_customer.0;
    pbx.shows(leg, customer, customer);
    pbx.rings(leg);
    pbx.picks_up(leg);
    leg
}

fn customers_leg(pbx: &mut Pbx, id: &str, variables: &[(&str, &str)]) -> Leg {
    let (trunk, customer, ours) = (pbx.site.trunk, pbx.site.other_customer.0, pbx.site.our_number.0);
    let leg = pbx.originated(trunk, id, "", &format!("{customer}@carrier"), variables);
    pbx.shows(leg, ours, "");
    leg
}

fn click_to_call_joined(pbx: &mut Pbx) -> Vec<Value> {
    let agent = agents_leg(pbx, "tl-agent-9", "agent1", &[("TL_INTERACTION", "int-9")]);
    let customer = customers_leg(pbx, "tl-customer-9", &[("TL_INTERACTION", "int-9")]);
    pbx.rings(customer);
    pbx.picks_up(customer);
    let bridge = pbx.bridge("simple_bridge");
    pbx.enters(agent, bridge);
    pbx.enters(customer, bridge);
    pbx.takes_linked_id(customer, agent);
    pbx.wait(2000);
    pbx.hangs_up(customer);
    pbx.gone(customer, 16, None);
    pbx.event("call", "SoftHangupRequest", &[("", agent)], &[("Cause", "32")]);
    pbx.gone(agent, 16, None);
    vec![outbound(pbx, json!({"agents": [pbx.site.agent(0)]}))]
}

fn click_to_call_busy(pbx: &mut Pbx) -> Vec<Value> {
    let agent = agents_leg(pbx, "tl-agent-8", "agent1", &[("TL_INTERACTION", "int-8")]);
    let customer = customers_leg(pbx, "tl-customer-8", &[("TL_INTERACTION", "int-8")]);
    pbx.wait(300);
    pbx.gone(customer, 17, Some("486"));
    pbx.event("call", "SoftHangupRequest", &[("", agent)], &[("Cause", "32")]);
    pbx.gone(agent, 16, None);
    vec![outbound(pbx, json!({"answered": false, "outcome": "busy", "ended_by": "system"}))]
}

fn inbound_failures(pbx: &mut Pbx) -> Vec<Value> {
    let table = [
        ("BUSY", 17, Some("486"), "busy", "system"),
        ("NOANSWER", 0, None, "no_answer", "system"),
        ("NOANSWER", 21, Some("603"), "declined", "agent"),
        ("NOANSWER", 1, Some("404"), "failed", "system"),
        ("CONGESTION", 34, Some("503"), "failed", "system"),
        ("NOANSWER", 19, Some("480"), "no_answer", "system"),
    ];
    let mut lines = Vec::new();
    for (status, cause, code, outcome, ended_by) in table {
        let caller = calls_in(pbx);
        let agent = pbx.calls_agent(caller, 0);
        pbx.wait(500);
        pbx.event("call", "HangupRequest", &[("", agent)], &[("Cause", &cause.to_string())]);
        pbx.dial_fails(agent, status);
        pbx.gone(agent, cause, code);
        let at_the_caller = if cause == 0 { 16 } else { cause };
        pbx.gone(caller, at_the_caller, code.map(|code| if code == "603" { "403" } else { code }).or(Some("603")));
        lines.push(inbound(pbx, json!({"answered": false, "outcome": outcome, "ended_by": ended_by})));
        pbx.wait(1000);
    }
    let caller = calls_in(pbx);
    let agent = pbx.calls_agent(caller, 0);
    pbx.rings(agent);
    pbx.wait(2000);
    pbx.event("call", "HangupRequest", &[("", caller)], &[("Cause", "127")]);
    pbx.dial_fails(agent, "CANCEL");
    pbx.gone(agent, 127, Some("500"));
    pbx.gone(caller, 127, Some("487"));
    lines.push(inbound(pbx, json!({"answered": false, "outcome": "abandoned"})));
    // The phone is not registered: no leg comes into being.
    let caller = calls_in(pbx);
    pbx.set(caller, "DIALSTATUS", "CHANUNAVAIL");
    pbx.gone(caller, 3, Some("404"));
    lines.push(inbound(pbx, json!({"answered": false, "outcome": "failed", "ended_by": "system"})));
    lines
}

/// An agent dials a number; the dial plan shows ours.
fn dials(pbx: &mut Pbx) -> (Leg, Leg) {
    let (customer, ours) = (pbx.site.other_customer.0, pbx.site.our_number.0);
    let agent = pbx.agent_dials(0, customer);
    pbx.step(agent, "Set", "CALLERID(num)=ours");
    pbx.shows(agent, ours, "");
    let leg = pbx.calls_out(Some(agent), customer);
    pbx.shows(leg, customer, ours);
    (agent, leg)
}

fn dialled_by_hand(pbx: &mut Pbx) -> Vec<Value> {
    let (agent, customer) = dials(pbx);
    pbx.rings(customer);
    pbx.picks_up(customer);
    pbx.talk(customer, agent);
    pbx.holds(agent);
    pbx.unholds(agent);
    pbx.presses(customer, "4");
    pbx.ends(agent, &[customer]);
    vec![outbound(pbx, json!({"agents": [pbx.site.agent(0)], "digits": ["4"], "holds": 1, "ended_by": "agent"}))]
}

fn dialled_in_vain(pbx: &mut Pbx) -> Vec<Value> {
    let table = [
        ("BUSY", 17, "486", "busy", "system"),
        ("NOANSWER", 21, "603", "declined", "customer"),
        ("CONGESTION", 34, "503", "failed", "system"),
    ];
    let mut lines = Vec::new();
    for (status, cause, code, outcome, ended_by) in table {
        let (agent, customer) = dials(pbx);
        pbx.event("call", "HangupRequest", &[("", customer)], &[("Cause", &cause.to_string())]);
        pbx.dial_fails(customer, status);
        pbx.gone(customer, cause, Some(code));
        pbx.gone(agent, cause, Some(code));
        lines.push(outbound(pbx, json!({"answered": false, "outcome": outcome, "ended_by": ended_by})));
        pbx.wait(1000);
    }
    let (agent, customer) = dials(pbx);
    pbx.rings(customer);
    pbx.wait(3000);
    pbx.event("call", "HangupRequest", &[("", agent)], &[("Cause", "127")]);
    pbx.dial_fails(customer, "CANCEL");
    pbx.gone(customer, 127, Some("500"));
    pbx.gone(agent, 127, Some("487"));
    lines.push(outbound(pbx, json!({"answered": false, "outcome": "no_answer", "ended_by": "agent"})));
    lines
}

fn call_back(pbx: &mut Pbx) -> Vec<Value> {
    let customer = customers_leg(pbx, "tl-back-1", &[("TL_INTERACTION", "int-7")]);
    pbx.rings(customer);
    pbx.picks_up(customer);
    pbx.event("call", "OriginateResponse", &[("", customer)], &[("ActionID", "a-1"), ("Response", "Success"), ("Reason", "4")]);
    pbx.joins_queue(customer, "support");
    let (agent, _) = reaches(pbx, customer, 0);
    pbx.ends(agent, &[customer]);
    vec![outbound(pbx, json!({"queue": "support", "agents": [pbx.site.agent(0)], "ended_by": "agent"}))]
}

fn call_back_over_local(pbx: &mut Pbx) -> Vec<Value> {
    let number = pbx.site.other_customer.0;
    let (one, two) = pbx.local(None, number, "outbound");
    pbx.begins_dial(None, one, &format!("{number}@outbound"));
    let customer = pbx.calls_out(Some(two), number);
    pbx.rings(customer);
    pbx.picks_up(customer);
    let inner = pbx.bridge("simple_bridge");
    pbx.enters(customer, inner);
    pbx.enters(two, inner);
    pbx.up(one);
    pbx.joins_queue(one, "support");
    let (agent, outer) = reaches(pbx, one, 0);
    pbx.leaves_bridge(customer);
    pbx.leaves_bridge(one);
    pbx.enters_for(customer, outer, Some(one));
    pbx.gone(one, 16, None);
    pbx.gone(two, 16, None);
    pbx.ends(customer, &[agent]);
    let endpoint = Value::Null;
    vec![outbound(pbx, json!({"queue": "support", "agents": [pbx.site.agent(0)], "endpoint": endpoint}))]
}

fn forwarded(pbx: &mut Pbx) -> Vec<Value> {
    let caller = calls_in(pbx);
    let first = pbx.calls_agent(caller, 0);
    let exten = pbx.site.agents[1].1;
    let (one, two) = pbx.local(Some(caller), exten, "agents");
    pbx.event("call", "DialEnd", &[("", caller), ("Dest", first)], &[("DialStatus", "CANCEL"), ("Forward", exten)]);
    pbx.begins_dial(Some(caller), one, &format!("Local/{exten}@agents"));
    pbx.gone(first, 0, Some("302"));
    let second = pbx.calls_agent(two, 1);
    pbx.rings(second);
    pbx.picks_up(second);
    pbx.picks_up(one);
    let inner = pbx.bridge("simple_bridge");
    pbx.enters(second, inner);
    pbx.enters(two, inner);
    let outer = pbx.bridge("simple_bridge");
    pbx.enters(one, outer);
    pbx.enters(caller, outer);
    pbx.hangs_up(caller);
    for leg in [caller, one, two, second] {
        pbx.gone(leg, 16, None);
    }
    vec![inbound(pbx, json!({"agents": [pbx.site.agent(1)]}))]
}

fn among_agents(pbx: &mut Pbx) -> Vec<Value> {
    let exten = pbx.site.agents[1].1;
    let asks = pbx.agent_dials(0, exten);
    let (other, _) = reaches(pbx, asks, 1);
    pbx.ends(asks, &[other]);
    let agents = json!([pbx.site.agent(0), pbx.site.agent(1)]);
    let line = json!({"direction": "internal", "customer": null, "endpoint": null, "agents": agents, "ended_by": "agent"});
    vec![inbound(pbx, line)]
}

fn same_customer_twice(pbx: &mut Pbx) -> Vec<Value> {
    let (first, one, _) = taken(pbx, Some("support"));
    let second = calls_in(pbx);
    let (two, _) = reaches(pbx, second, 1);
    pbx.ends(first, &[one]);
    pbx.ends(two, &[second]);
    let agents = [[pbx.site.agent(0)], [pbx.site.agent(1)]];
    vec![inbound(pbx, json!({"queue": "support", "agents": agents[0]})), inbound(pbx, json!({"agents": agents[1], "ended_by": "agent"}))]
}
