//! Calls that no recording here shows, as events written by hand from what the protocol says of them.

use proptest::prelude::*;
use throughline_plugin_sdk::schemas::replay::replay_line;
use throughline_plugin_sdk::{Value, json};

use super::*;
use crate::config::Config;

fn config() -> Config {
    serde_json::from_value(json!({
        "pbx_id": "p", "ami_host": "h", "ami_port": 5038, "ami_username": "u", "internal_extensions": ["1001", "1002"],
    }))
    .unwrap()
}

/// One event a line, `Name key=value …`; a second passes with each. Values hold no blanks. `ch=NAME/ID/LINKED` is a channel's three headers,
/// with a prefix as in `Destch=`.
fn event(line: &str, second: usize) -> Message {
    let mut words = line.split_whitespace();
    let mut text = format!("Event: {}\r\nTimestamp: {}.000000\r\n", words.next().unwrap(), 1_800_000_000 + second);
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        match key.strip_suffix("ch") {
            Some(prefix) => {
                let parts: Vec<&str> = value.split(',').collect();
                text.push_str(&format!(
                    "{prefix}Channel: {}\r\n{prefix}Uniqueid: {}\r\n{prefix}Linkedid: {}\r\n",
                    parts[0], parts[1], parts[2]
                ));
            }
            None => text.push_str(&format!("{key}: {value}\r\n")),
        }
    }
    Message::parse(text.as_bytes())
}

fn run(script: &str) -> Vec<Value> {
    let mut assembler = Assembler::new(config());
    for (second, line) in script.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        assembler.apply(&event(line, second), Timestamp::default());
    }
    let last: BTreeMap<String, InteractionFact> = assembler.take().into_iter().map(|snapshot| (snapshot.call, snapshot.fact)).collect();
    last.values().filter_map(replay_line).collect()
}

/// What the calls of a script come to, in the fields that are asked for.
fn check(script: &str, expected: &[Value]) {
    let got = run(script);
    assert_eq!(got.len(), expected.len(), "{got:#?}");
    for (got, expected) in got.iter().zip(expected) {
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&got[key], value, "{key} of {got:#?}");
        }
    }
}

const CALLS_IN: &str = "Newchannel ch=PJSIP/trunk-01,1.1,1.1 ChannelState=4 CallerIDNum=+441632960123 Exten=+441632960100\n";
const AGENT1_TAKES_IT: &str = "
    Newchannel ch=PJSIP/agent1-02,1.2,1.1 ChannelState=0
    DialBegin ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialString=agent1
    DialState ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialStatus=RINGING
    DialEnd ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialStatus=ANSWER
    BridgeEnter ch=PJSIP/agent1-02,1.2,1.1 BridgeUniqueid=b1
    BridgeEnter ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b1
";

#[test]
fn an_attended_transfer_from_the_phone_is_one_call() {
    let script = format!(
        "{CALLS_IN}{AGENT1_TAKES_IT}
        Hold ch=PJSIP/agent1-02,1.2,1.1
        Newchannel ch=PJSIP/agent1-03,1.3,1.3 ChannelState=4 CallerIDNum=1001 Exten=1002
        Newchannel ch=PJSIP/agent2-04,1.4,1.3 ChannelState=0
        DialBegin ch=PJSIP/agent1-03,1.3,1.3 Destch=PJSIP/agent2-04,1.4,1.3 DialString=agent2
        DialEnd ch=PJSIP/agent1-03,1.3,1.3 Destch=PJSIP/agent2-04,1.4,1.3 DialStatus=ANSWER
        BridgeEnter ch=PJSIP/agent1-03,1.3,1.3 BridgeUniqueid=b2
        BridgeEnter ch=PJSIP/agent2-04,1.4,1.3 BridgeUniqueid=b2
        BridgeLeave ch=PJSIP/agent2-04,1.4,1.1 BridgeUniqueid=b2
        BridgeEnter ch=PJSIP/agent2-04,1.4,1.1 BridgeUniqueid=b1
        AttendedTransfer Result=Success OrigTransfererch=PJSIP/agent1-02,1.2,1.1 SecondTransfererch=PJSIP/agent1-03,1.3,1.3 Transfereech=PJSIP/trunk-01,1.1,1.1 TransferTargetch=PJSIP/agent2-04,1.4,1.1 DestType=Bridge
        BridgeLeave ch=PJSIP/agent1-02,1.2,1.1 BridgeUniqueid=b1
        HangupRequest ch=PJSIP/agent1-02,1.2,1.1 Cause=16
        Hangup ch=PJSIP/agent1-02,1.2,1.1 Cause=16
        Hangup ch=PJSIP/agent1-03,1.3,1.3 Cause=16
        HangupRequest ch=PJSIP/agent2-04,1.4,1.1 Cause=16
        BridgeLeave ch=PJSIP/agent2-04,1.4,1.1 BridgeUniqueid=b1
        BridgeLeave ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b1
        Hangup ch=PJSIP/agent2-04,1.4,1.1 Cause=16
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16"
    );
    check(
        &script,
        &[json!({"agents": ["agent1", "agent2"], "transfers": ["attended"], "holds": 1, "ended_by": "agent", "outcome": "answered"})],
    );
}

#[test]
fn a_call_picked_up_from_another_phone_is_the_pickers() {
    let script = format!(
        "{CALLS_IN}
        Newchannel ch=PJSIP/agent1-02,1.2,1.1 ChannelState=0
        DialBegin ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialString=agent1
        Newstate ch=PJSIP/agent1-02,1.2,1.1 ChannelState=5
        Newchannel ch=PJSIP/agent2-03,1.3,1.3 ChannelState=4 CallerIDNum=1002 Exten=*8
        Pickup ch=PJSIP/agent2-03,1.3,1.3 Targetch=PJSIP/agent1-02,1.2,1.1
        DialEnd ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent2-03,1.3,1.3 DialStatus=ANSWER
        Hangup ch=PJSIP/agent1-02,1.2,1.1 Cause=26
        BridgeEnter ch=PJSIP/agent2-03,1.3,1.1 BridgeUniqueid=b1
        BridgeEnter ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b1
        HangupRequest ch=PJSIP/trunk-01,1.1,1.1 Cause=16
        BridgeLeave ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b1
        Hangup ch=PJSIP/agent2-03,1.3,1.1 Cause=16
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16"
    );
    check(&script, &[json!({"agents": ["agent2"], "answered": true, "ended_by": "customer", "transfers": []})]);
}

#[test]
fn a_parked_call_goes_on_with_who_retrieves_it() {
    let script = format!(
        "{CALLS_IN}{AGENT1_TAKES_IT}
        BridgeLeave ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b1
        BridgeEnter ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=park BridgeTechnology=holding_bridge
        ParkedCall Parkeech=PJSIP/trunk-01,1.1,1.1 ParkerDialString=PJSIP/agent1 ParkingSpace=701
        BridgeLeave ch=PJSIP/agent1-02,1.2,1.1 BridgeUniqueid=b1
        Hangup ch=PJSIP/agent1-02,1.2,1.1 Cause=16
        Newchannel ch=PJSIP/trunk-09,1.9,1.9 ChannelState=4 CallerIDNum=+441632960456 Exten=+441632960100
        BridgeEnter ch=PJSIP/trunk-09,1.9,1.9 BridgeUniqueid=park BridgeTechnology=holding_bridge
        Newchannel ch=PJSIP/agent2-03,1.3,1.3 ChannelState=4 CallerIDNum=1002 Exten=701
        UnParkedCall Parkeech=PJSIP/trunk-01,1.1,1.1 Retrieverch=PJSIP/agent2-03,1.3,1.3 ParkingSpace=701
        BridgeLeave ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=park
        BridgeEnter ch=PJSIP/agent2-03,1.3,1.1 BridgeUniqueid=b2
        BridgeEnter ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b2
        HangupRequest ch=PJSIP/agent2-03,1.3,1.1 Cause=16
        Hangup ch=PJSIP/agent2-03,1.3,1.1 Cause=16
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16
        HangupRequest ch=PJSIP/trunk-09,1.9,1.9 Cause=16
        Hangup ch=PJSIP/trunk-09,1.9,1.9 Cause=16"
    );
    check(
        &script,
        &[
            json!({"customer": "+441632960123", "agents": ["agent1", "agent2"], "ended_by": "agent"}),
            json!({"customer": "+441632960456", "agents": [], "outcome": "abandoned"}),
        ],
    );
}

#[test]
fn a_conference_joins_agents_but_never_two_customers() {
    let script = format!(
        "{CALLS_IN}
        Newchannel ch=PJSIP/trunk-05,1.5,1.5 ChannelState=4 CallerIDNum=+441632960456 Exten=+441632960100
        Newchannel ch=PJSIP/agent1-02,1.2,1.2 ChannelState=4 CallerIDNum=1001 Exten=800
        BridgeEnter ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=conf BridgeTechnology=softmix
        BridgeEnter ch=PJSIP/agent1-02,1.2,1.2 BridgeUniqueid=conf BridgeTechnology=softmix
        BridgeEnter ch=PJSIP/trunk-05,1.5,1.5 BridgeUniqueid=conf BridgeTechnology=softmix
        HangupRequest ch=PJSIP/trunk-05,1.5,1.5 Cause=16
        Hangup ch=PJSIP/trunk-05,1.5,1.5 Cause=16
        HangupRequest ch=PJSIP/agent1-02,1.2,1.2 Cause=16
        Hangup ch=PJSIP/agent1-02,1.2,1.2 Cause=16
        HangupRequest ch=PJSIP/trunk-01,1.1,1.1 Cause=16
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16"
    );
    check(
        &script,
        &[
            json!({"customer": "+441632960123", "agents": ["agent1"], "answered": true, "ended_by": "customer"}),
            json!({"customer": "+441632960456", "agents": ["agent1"], "answered": true, "ended_by": "customer"}),
        ],
    );
}

#[test]
fn a_call_dialled_at_the_phone_is_outbound() {
    let script = "
        Newchannel ch=PJSIP/agent1-01,1.1,1.1 ChannelState=4 CallerIDNum=1001 Exten=901632960201
        Newchannel ch=PJSIP/trunk-02,1.2,1.1 ChannelState=0
        DialBegin ch=PJSIP/agent1-01,1.1,1.1 Destch=PJSIP/trunk-02,1.2,1.1 DialString=01632960201@trunk DestConnectedLineNum=+441632960100
        Newstate ch=PJSIP/trunk-02,1.2,1.1 ChannelState=6
        DialEnd ch=PJSIP/agent1-01,1.1,1.1 Destch=PJSIP/trunk-02,1.2,1.1 DialStatus=ANSWER
        BridgeEnter ch=PJSIP/agent1-01,1.1,1.1 BridgeUniqueid=b1
        BridgeEnter ch=PJSIP/trunk-02,1.2,1.1 BridgeUniqueid=b1
        DTMFEnd ch=PJSIP/trunk-02,1.2,1.1 Digit=4 Direction=Received
        HangupRequest ch=PJSIP/agent1-01,1.1,1.1 Cause=16
        Hangup ch=PJSIP/agent1-01,1.1,1.1 Cause=16
        Hangup ch=PJSIP/trunk-02,1.2,1.1 Cause=16";
    let expected = json!({"direction": "outbound", "customer": "+441632960201", "endpoint": "+441632960100", "agents": ["agent1"],
        "answered": true, "digits": ["4"], "ended_by": "agent"});
    check(script, &[expected]);
}

#[test]
fn an_agent_who_gives_up_dialling_ended_a_call_nobody_answered() {
    let script = "
        Newchannel ch=PJSIP/agent1-01,1.1,1.1 ChannelState=4 CallerIDNum=1001 Exten=901632960201
        Newchannel ch=PJSIP/trunk-02,1.2,1.1 ChannelState=0
        DialBegin ch=PJSIP/agent1-01,1.1,1.1 Destch=PJSIP/trunk-02,1.2,1.1 DialString=01632960201@trunk
        Newstate ch=PJSIP/trunk-02,1.2,1.1 ChannelState=5
        HangupRequest ch=PJSIP/agent1-01,1.1,1.1 Cause=127
        DialEnd ch=PJSIP/agent1-01,1.1,1.1 Destch=PJSIP/trunk-02,1.2,1.1 DialStatus=CANCEL
        Hangup ch=PJSIP/trunk-02,1.2,1.1 Cause=127 TechCause=500
        Hangup ch=PJSIP/agent1-01,1.1,1.1 Cause=127 TechCause=487";
    check(script, &[json!({"direction": "outbound", "outcome": "no_answer", "answered": false, "ended_by": "agent", "agents": []})]);
}

#[test]
fn two_legs_that_an_application_joins_are_one_outbound_call() {
    let originated = "
        Newchannel ch=PJSIP/agent1-01,a.1,a.1 ChannelState=0
        VarSet ch=PJSIP/agent1-01,a.1,a.1 Variable=TL_ORDER Value=7
        DialBegin Destch=PJSIP/agent1-01,a.1,a.1 DialString=agent1
        Newstate ch=PJSIP/agent1-01,a.1,a.1 ChannelState=6
        Newchannel ch=PJSIP/trunk-02,b.1,b.1 ChannelState=0\n";
    let joined = "
        DialBegin Destch=PJSIP/trunk-02,b.1,b.1 DialString=+441632960201@trunk DestCallerIDNum=+441632960100
        Newstate ch=PJSIP/trunk-02,b.1,b.1 ChannelState=6
        BridgeEnter ch=PJSIP/agent1-01,a.1,a.1 BridgeUniqueid=b1
        BridgeEnter ch=PJSIP/trunk-02,b.1,b.1 BridgeUniqueid=b1
        HangupRequest ch=PJSIP/trunk-02,b.1,b.1 Cause=16
        Hangup ch=PJSIP/trunk-02,b.1,b.1 Cause=16
        Hangup ch=PJSIP/agent1-01,a.1,a.1 Cause=16";
    let expected = json!({"direction": "outbound", "customer": "+441632960201", "endpoint": "+441632960100", "agents": ["agent1"],
        "answered": true, "ended_by": "customer", "started_at": "2027-01-15T08:00:00.000Z"});
    check(&format!("{originated}{joined}"), std::slice::from_ref(&expected));
    let context = "
        VarSet ch=PJSIP/agent1-01,a.1,a.1 Variable=TL_INTERACTION Value=int-1
        VarSet ch=PJSIP/trunk-02,b.1,b.1 Variable=TL_INTERACTION Value=int-1";
    check(&format!("{originated}{context}{joined}"), &[expected]);
}

#[test]
fn a_local_member_that_is_not_optimised_away_talks_through_it() {
    let script = format!(
        "{CALLS_IN}
        QueueCallerJoin ch=PJSIP/trunk-01,1.1,1.1 Queue=support
        Newchannel ch=Local/1001@x-01;1,1.2,1.1 ChannelState=0
        Newchannel ch=Local/1001@x-01;2,1.3,1.1 ChannelState=4
        LocalBridge LocalOnech=Local/1001@x-01;1,1.2,1.1 LocalTwoch=Local/1001@x-01;2,1.3,1.1
        DialBegin ch=PJSIP/trunk-01,1.1,1.1 Destch=Local/1001@x-01;1,1.2,1.1 DialString=Local/1001@x
        Newchannel ch=PJSIP/agent1-02,1.4,1.1 ChannelState=0
        DialBegin ch=Local/1001@x-01;2,1.3,1.1 Destch=PJSIP/agent1-02,1.4,1.1 DialString=agent1
        AgentConnect ch=PJSIP/trunk-01,1.1,1.1 Destch=Local/1001@x-01;1,1.2,1.1 Queue=support
        BridgeEnter ch=PJSIP/agent1-02,1.4,1.1 BridgeUniqueid=b2
        BridgeEnter ch=Local/1001@x-01;2,1.3,1.1 BridgeUniqueid=b2
        BridgeEnter ch=Local/1001@x-01;1,1.2,1.1 BridgeUniqueid=b1
        BridgeEnter ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b1
        Hold ch=PJSIP/agent1-02,1.4,1.1
        Unhold ch=PJSIP/agent1-02,1.4,1.1
        HangupRequest ch=PJSIP/agent1-02,1.4,1.1 Cause=16
        AgentComplete ch=PJSIP/trunk-01,1.1,1.1 Destch=Local/1001@x-01;1,1.2,1.1 Reason=agent
        Hangup ch=PJSIP/agent1-02,1.4,1.1 Cause=16
        HangupRequest ch=Local/1001@x-01;1,1.2,1.1 Cause=16
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16
        Hangup ch=Local/1001@x-01;1,1.2,1.1 Cause=16
        Hangup ch=Local/1001@x-01;2,1.3,1.1 Cause=16"
    );
    check(&script, &[json!({"agents": ["agent1"], "queue": "support", "holds": 1, "ended_by": "agent", "outcome": "answered"})]);
}

#[test]
fn a_queue_nobody_answers_ends_in_voicemail_or_without_an_answer() {
    let rings = format!(
        "{CALLS_IN}
        QueueCallerJoin ch=PJSIP/trunk-01,1.1,1.1 Queue=support
        Newchannel ch=PJSIP/agent1-02,1.2,1.1 ChannelState=0
        DialBegin ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialString=PJSIP/agent1
        DialEnd ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialStatus=NOANSWER
        DialEnd ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialStatus=CANCEL
        Hangup ch=PJSIP/agent1-02,1.2,1.1 Cause=0
        QueueCallerLeave ch=PJSIP/trunk-01,1.1,1.1 Queue=support\n"
    );
    let message = "HangupRequest ch=PJSIP/trunk-01,1.1,1.1 Cause=16
        MessageWaiting ch=PJSIP/trunk-01,1.1,1.1 Mailbox=1001@default New=1\n";
    let end = "Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16";
    check(&format!("{rings}{message}{end}"), &[json!({"outcome": "voicemail", "ended_by": "customer", "queue": "support", "agents": []})]);
    check(&format!("{rings}{end}"), &[json!({"outcome": "no_answer", "ended_by": "system", "answered": false})]);
}

#[test]
fn a_call_back_is_known_by_the_number_dialled() {
    let script = "
        Newchannel ch=PJSIP/trunk-01,1.1,1.1 ChannelState=0
        NewCallerid ch=PJSIP/trunk-01,1.1,1.1 CallerIDNum=+441632960100
        DialBegin Destch=PJSIP/trunk-01,1.1,1.1 DialString=+441632960201@trunk DestCallerIDNum=+441632960100
        Newstate ch=PJSIP/trunk-01,1.1,1.1 ChannelState=6
        QueueCallerJoin ch=PJSIP/trunk-01,1.1,1.1 Queue=support
        Newchannel ch=PJSIP/agent1-02,1.2,1.1 ChannelState=0
        DialBegin ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialString=PJSIP/agent1
        AgentConnect ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 Queue=support
        BridgeEnter ch=PJSIP/agent1-02,1.2,1.1 BridgeUniqueid=b1
        BridgeEnter ch=PJSIP/trunk-01,1.1,1.1 BridgeUniqueid=b1
        HangupRequest ch=PJSIP/trunk-01,1.1,1.1 Cause=16
        Hangup ch=PJSIP/agent1-02,1.2,1.1 Cause=16
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16";
    let expected = json!({"direction": "outbound", "customer": "+441632960201", "endpoint": "+441632960100", "agents": ["agent1"],
        "queue": "support", "outcome": "answered", "ended_by": "customer"});
    check(script, &[expected]);
}

#[test]
fn a_call_to_an_agent_comes_out_as_his_leg_did() {
    let table = [
        ("DialStatus=BUSY", "17 TechCause=486", "busy", "system"),
        ("DialStatus=NOANSWER", "21 TechCause=603", "declined", "agent"),
        ("DialStatus=NOANSWER", "0", "no_answer", "system"),
        ("DialStatus=NOANSWER", "1 TechCause=404", "failed", "system"),
        ("DialStatus=CONGESTION", "34 TechCause=503", "failed", "system"),
        ("DialStatus=NOANSWER", "19 TechCause=480", "no_answer", "system"),
    ];
    for (status, cause, outcome, ended_by) in table {
        let script = format!(
            "{CALLS_IN}
            Newchannel ch=PJSIP/agent1-02,1.2,1.1 ChannelState=0
            DialBegin ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialString=agent1
            HangupRequest ch=PJSIP/agent1-02,1.2,1.1
            DialEnd ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 {status}
            Hangup ch=PJSIP/agent1-02,1.2,1.1 Cause={cause}
            Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16"
        );
        check(&script, &[json!({"outcome": outcome, "ended_by": ended_by, "answered": false, "agents": []})]);
    }
}

#[test]
fn a_caller_who_gives_up_while_it_rings_is_told_from_a_phone_that_is_not_there() {
    let cancelled = format!(
        "{CALLS_IN}
        Newchannel ch=PJSIP/agent1-02,1.2,1.1 ChannelState=0
        DialBegin ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialString=agent1
        DialEnd ch=PJSIP/trunk-01,1.1,1.1 Destch=PJSIP/agent1-02,1.2,1.1 DialStatus=CANCEL
        Hangup ch=PJSIP/agent1-02,1.2,1.1 Cause=127 TechCause=500
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=127 TechCause=487"
    );
    check(&cancelled, &[json!({"outcome": "abandoned", "ended_by": "customer"})]);
    let not_there = format!("{CALLS_IN}\nHangup ch=PJSIP/trunk-01,1.1,1.1 Cause=3 TechCause=404");
    check(&not_there, &[json!({"outcome": "failed", "ended_by": "system"})]);
}

#[test]
fn agents_among_themselves_are_told_of_at_the_end_and_customers_are_not_confused() {
    let script = "
        Newchannel ch=PJSIP/agent1-01,1.1,1.1 ChannelState=4 CallerIDNum=1001 Exten=1002
        Newchannel ch=PJSIP/agent2-02,1.2,1.1 ChannelState=0
        DialBegin ch=PJSIP/agent1-01,1.1,1.1 Destch=PJSIP/agent2-02,1.2,1.1 DialString=agent2
        DialEnd ch=PJSIP/agent1-01,1.1,1.1 Destch=PJSIP/agent2-02,1.2,1.1 DialStatus=ANSWER
        BridgeEnter ch=PJSIP/agent1-01,1.1,1.1 BridgeUniqueid=b1
        BridgeEnter ch=PJSIP/agent2-02,1.2,1.1 BridgeUniqueid=b1
        HangupRequest ch=PJSIP/agent2-02,1.2,1.1 Cause=16
        Hangup ch=PJSIP/agent2-02,1.2,1.1 Cause=16
        Hangup ch=PJSIP/agent1-01,1.1,1.1 Cause=16
        Newchannel ch=PJSIP/agent1-03,1.3,1.3 ChannelState=4 CallerIDNum=1001 Exten=*97
        Hangup ch=PJSIP/agent1-03,1.3,1.3 Cause=16";
    check(
        script,
        &[json!({"direction": "internal", "customer": null, "agents": ["agent1", "agent2"], "answered": true, "ended_by": "agent"})],
    );
}

#[test]
fn channel_names_that_begin_again_tell_of_a_crash() {
    let script = format!(
        "{CALLS_IN}{AGENT1_TAKES_IT}
        Newchannel ch=PJSIP/trunk-01,2.1,2.1 ChannelState=4 CallerIDNum=+441632960456 Exten=+441632960100
        HangupRequest ch=PJSIP/trunk-01,2.1,2.1 Cause=16
        Hangup ch=PJSIP/trunk-01,2.1,2.1 Cause=16"
    );
    check(
        &script,
        &[
            json!({"customer": "+441632960123", "outcome": "unknown", "answered": true, "ended_by": "system", "ended_at": "2027-01-15T08:00:06.000Z"}),
            json!({"customer": "+441632960456", "outcome": "abandoned"}),
        ],
    );
}

#[test]
fn a_call_was_there_until_the_last_that_was_heard_over_a_connection_that_broke() {
    let mut assembler = Assembler::new(config());
    assembler.apply(&event(CALLS_IN, 0), Timestamp::default());
    assembler.apply(&event("DeviceStateChange Device=PJSIP/agent7 State=NOT_INUSE", 42), Timestamp::default());
    assembler.lose_sight(&[]);
    assembler.close_lost(&assembler.open_ids(), &HashSet::new());
    let line = replay_line(&assembler.take().pop().unwrap().fact).unwrap();
    assert_eq!(line["ended_at"], "2027-01-15T08:00:42.000Z");
    assert!(line["outcome"] == "unknown" && line["ended_by"] == "system", "{line}");
}

#[test]
fn keys_are_grouped_by_what_the_dial_plan_reads() {
    let script = format!(
        "{CALLS_IN}
        Newexten ch=PJSIP/trunk-01,1.1,1.1 Application=Read AppData=PIN
        DTMFEnd ch=PJSIP/trunk-01,1.1,1.1 Digit=1 Direction=Received
        DTMFEnd ch=PJSIP/trunk-01,1.1,1.1 Digit=2 Direction=Received
        DTMFEnd ch=PJSIP/trunk-01,1.1,1.1 Digit=# Direction=Received
        VarSet ch=PJSIP/trunk-01,1.1,1.1 Variable=READSTATUS Value=OK
        Newexten ch=PJSIP/trunk-01,1.1,1.1 Application=Playback AppData=x
        DTMFEnd ch=PJSIP/trunk-01,1.1,1.1 Digit=7 Direction=Received
        DTMFEnd ch=PJSIP/trunk-01,1.1,1.1 Digit=8 Direction=Received
        DTMFEnd ch=PJSIP/trunk-01,1.1,1.1 Digit=9 Direction=Sent
        HangupRequest ch=PJSIP/trunk-01,1.1,1.1 Cause=16
        Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16"
    );
    // Seconds apart: one input while the dial plan reads it, separate ones elsewhere.
    check(&script, &[json!({"digits": ["12", "7", "8"], "outcome": "self_service"})]);
}

#[test]
fn a_token_stands_apart_from_the_variables() {
    let mut assembler = Assembler::new(config());
    for (second, line) in [
        CALLS_IN,
        "VarSet ch=PJSIP/trunk-01,1.1,1.1 Variable=__TL_TOKEN Value=t0k3n",
        "VarSet ch=PJSIP/trunk-01,1.1,1.1 Variable=TL_ENQUIRY Value=e1",
    ]
    .iter()
    .enumerate()
    {
        assembler.apply(&event(line, second), Timestamp::default());
    }
    let fact = assembler.take().pop().unwrap().fact;
    assert_eq!(fact.thread.tokens, ["t0k3n"]);
    assert_eq!(fact.variables, BTreeMap::from([("enquiry".to_owned(), json!("e1"))]));
}

#[test]
fn what_is_told_late_of_an_ended_call_is_told_again_and_stragglers_bring_nothing_back() {
    let mut assembler = Assembler::new(config());
    let lines = ["HangupRequest ch=PJSIP/trunk-01,1.1,1.1 Cause=16", "Hangup ch=PJSIP/trunk-01,1.1,1.1 Cause=16"];
    assembler.apply(&event(CALLS_IN, 0), Timestamp::default());
    lines.iter().enumerate().for_each(|(at, line)| assembler.apply(&event(line, at + 1), Timestamp::default()));
    let ended = assembler.take().pop().unwrap();
    assembler.apply(&event("MessageWaiting ch=PJSIP/trunk-01,1.1,1.1 Mailbox=1001@default New=1", 5), Timestamp::default());
    let later = assembler.take().pop().unwrap();
    assert!(later.version > ended.version && later.fact.ended_at == ended.fact.ended_at);
    assert_eq!(replay_line(&later.fact).unwrap()["outcome"], "voicemail");
    for at in 0..ENDED_KEPT + 10 {
        assembler.apply(
            &event(&format!("Newchannel ch=PJSIP/trunk-{at},9.{at},9.{at} ChannelState=4 CallerIDNum=1 Exten=1"), at),
            Timestamp::default(),
        );
        assembler.apply(&event(&format!("Hangup ch=PJSIP/trunk-{at},9.{at},9.{at} Cause=16"), at), Timestamp::default());
    }
    assembler.take();
    assembler.apply(&event("Newstate ch=PJSIP/trunk-01,1.1,1.1 ChannelState=6", 500), Timestamp::default());
    assert!(assembler.take().is_empty() && assembler.open().next().is_none());
    assert!(assembler.calls.len() <= ENDED_KEPT && assembler.by_leg.len() <= ENDED_KEPT && assembler.by_linked.is_empty());
}

proptest! {
    #[test]
    fn no_events_panic(picks in proptest::collection::vec((0_usize..26, 0_usize..4, 0_usize..4, 0_usize..7), 0..120)) {
        const EVENTS: [&str; 26] = ["Newchannel", "Newstate", "NewCallerid", "DialBegin", "DialState", "DialEnd", "HangupRequest",
            "SoftHangupRequest", "Hangup", "Shutdown", "LocalBridge", "BridgeEnter", "BridgeLeave", "BlindTransfer", "AttendedTransfer",
            "Pickup", "ParkedCall", "QueueCallerJoin", "QueueCallerLeave", "AgentConnect", "AgentComplete", "DTMFEnd", "Hold", "VarSet",
            "UserEvent", "MessageWaiting"];
        const NAMES: [&str; 4] = ["PJSIP/trunk-01", "PJSIP/agent1-02", "Local/x@y-03;1", "PJSIP/agent2-04"];
        let mut assembler = Assembler::new(config());
        for (at, (kind, one, two, extra)) in picks.into_iter().enumerate() {
            let ch = |prefix: &str, leg: usize| format!("{prefix}ch={},1.{leg},1.{}", NAMES[leg], (leg + extra) % 4);
            let line = format!("{} {} {} {} {} {} {} {} {} ChannelState={extra} Digit={extra} Direction=Received DialStatus=ANSWER \
                BridgeUniqueid=b{} UserEvent=x Variable=TL_A Value=1 Queue=q", EVENTS[kind], ch("", one), ch("Dest", two),
                ch("Transferee", one), ch("Transferer", two), ch("OrigTransferer", two), ch("SecondTransferer", one), ch("LocalOne", one),
                ch("LocalTwo", two), extra % 2);
            assembler.apply(&event(&line, at), Timestamp::default());
            let snapshots = assembler.take();
            prop_assert!(snapshots.windows(2).all(|pair| pair[0].call != pair[1].call || pair[0].version < pair[1].version));
        }
        for id in assembler.by_leg.values() {
            prop_assert!(assembler.calls.contains_key(id), "a leg points to a call that is not there");
        }
    }
}

#[test]
fn global_variables_are_of_no_call() {
    let mut assembler = Assembler::new(config());
    assembler
        .apply(&Message::parse(b"Event: VarSet\r\nChannel: none\r\nUniqueid: none\r\nVariable: TL_X\r\nValue: 1"), Timestamp::default());
    assert!(assembler.open().next().is_none());
}
