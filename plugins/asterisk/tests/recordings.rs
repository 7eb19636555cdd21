//! Every recording of a real Asterisk, through parser and assembler, yields the calls that its folder expects.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::{assemble, chunked, config, expected, folders, last, lines, messages, recordings, streams};
use throughline_plugin_asterisk::ami::Message;
use throughline_plugin_asterisk::call::Assembler;
use throughline_plugin_sdk::schemas::interaction::{CallPhase, Content};
use throughline_plugin_sdk::schemas::{CallFacts, Timestamp};

fn all_messages(folder: &std::path::Path) -> Vec<Message> {
    streams(folder).iter().flat_map(|stream| messages(stream)).collect()
}

#[test]
fn every_recording_yields_its_calls() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (got, want) = (lines(last(&assemble(&all_messages(&folder))).into_values()), expected(&folder));
        if got.len() != want.len() {
            wrong.push(format!("{name}: {} calls for {}: {got:#?}", got.len(), want.len()));
        }
        for (got, want) in got.iter().zip(&want) {
            for (key, value) in want.as_object().unwrap() {
                if got[key] != *value {
                    wrong.push(format!("{name} {}: {key} is {} and not {value}", want["started_at"], got[key]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pieces_of_any_size_yield_the_same() {
    for folder in folders() {
        for (at, stream) in streams(&folder).iter().enumerate() {
            let whole = messages(stream);
            for sizes in [&[1][..], &[3, 1, 7, 4096, 2], &[1448], &[65_536, 5]] {
                assert_eq!(chunked(stream, sizes), whole, "{} stream {at} in pieces of {sizes:?}", folder.display());
            }
        }
    }
}

#[test]
fn a_stream_cut_at_any_byte_yields_the_same() {
    let stream = std::fs::read(recordings().join("s35-voicemail/ami.s2c.raw")).unwrap();
    let end = stream.windows(4).rposition(|bytes| bytes == b"\r\n\r\n").unwrap() - 2500;
    let from = end + stream[end..].windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let stream = &stream[from..];
    let whole = messages(stream);
    assert!(whole.iter().any(|message| message.raw("Message") == Some("Message move successful")), "the bare line feed is in this one");
    for cut in 1..stream.len() {
        assert_eq!(chunked(stream, &[cut, stream.len()]), whole, "cut at {cut}");
    }
}

#[test]
fn repeated_events_change_nothing() {
    for folder in folders() {
        let once = all_messages(&folder);
        let twice: Vec<Message> = once.iter().flat_map(|message| [message.clone(), message.clone()]).collect();
        assert_eq!(last(&assemble(&twice)), last(&assemble(&once)), "{}", folder.display());
        let late: Vec<Message> = once.windows(8).flat_map(|window| [window[7].clone(), window[0].clone()]).collect();
        let in_order: Vec<Message> = once.iter().take(7).cloned().chain(late).collect();
        let (got, want) = (lines(last(&assemble(&in_order)).into_values()), expected(&folder));
        let shortened = want.iter().zip(&got).all(|(want, got)| got["outcome"] == want["outcome"] && got["agents"] == want["agents"]);
        assert!(got.len() == want.len() && shortened, "{}: {got:#?}", folder.display());
    }
}

/// Events of different channels that happened within a few milliseconds may come in either order; those of one channel do not.
fn shuffled(messages: &[Message], seed: u64) -> Vec<Message> {
    let mut messages = messages.to_vec();
    let mut random = seed;
    let channel = |message: &Message| message.raw("Uniqueid").map(str::to_owned);
    let touches = |one: &Message, two: &Message| channel(two).is_some_and(|id| one.headers().any(|(_, value)| value == id));
    for at in 1..messages.len() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (one, two) = (&messages[at - 1], &messages[at]);
        let (Some(first), Some(second)) = (one.at_ms(), two.at_ms()) else { continue };
        let independent = channel(one) != channel(two) && !touches(one, two) && !touches(two, one);
        if independent && second - first <= 3 && random >> 63 == 1 {
            messages.swap(at - 1, at);
        }
    }
    messages
}

#[test]
fn events_of_one_moment_may_come_in_either_order() {
    let mut moved = 0;
    for folder in folders() {
        let in_order = all_messages(&folder);
        for seed in 0..20 {
            let other = shuffled(&in_order, seed);
            moved += other.iter().zip(&in_order).filter(|(one, two)| one != two).count();
            let (got, want) = (lines(last(&assemble(&other)).into_values()), expected(&folder));
            assert_eq!(got, want, "{} with seed {seed}", folder.display());
        }
    }
    assert!(moved > 1000, "the test moves hardly anything: {moved}");
}

/// Whatever two neighbours are about, also one channel's `answered` before its `ringing`.
#[test]
fn neighbouring_events_may_change_places() {
    let mut tried = 0;
    for (number, folder) in folders().iter().enumerate() {
        let in_order = all_messages(folder);
        let want = lines(last(&assemble(&in_order)).into_values());
        // Each seventh place, another one in each recording.
        for at in (1..in_order.len()).filter(|at| at % 7 == number % 7) {
            let mut other = in_order.clone();
            other.swap(at - 1, at);
            let got = lines(last(&assemble(&other)).into_values());
            assert_eq!(got, want, "{}: {:?} and {:?}", folder.display(), in_order[at - 1], in_order[at]);
            tried += 1;
        }
    }
    assert!(tried > 700, "hardly anything is tried: {tried}");
}

/// The account with the fewest rights and filtered events sees the same calls, but for the variables that only `VarSet` tells.
#[test]
fn the_least_privileged_account_sees_the_same_calls() {
    for name in ["s01-inbound-queue-answered", "s22-click-to-call-ami"] {
        let folder = recordings().join(name);
        let stream = std::fs::read(folder.join("ami-least.s2c.raw")).unwrap();
        let mut got = lines(last(&assemble(&messages(&stream))).into_values());
        let mut want = expected(&folder);
        for line in got.iter_mut().chain(&mut want) {
            line.as_object_mut().unwrap().remove("variables");
        }
        assert_eq!(got, want, "{name}");
    }
}

fn facts(snapshot: &throughline_plugin_asterisk::call::Snapshot) -> CallFacts {
    match &snapshot.fact.content {
        Content::Call(call) => call.clone(),
        other => panic!("{other:?} is no call"),
    }
}

#[test]
fn a_call_is_told_at_every_stage_with_growing_versions() {
    let snapshots = assemble(&all_messages(&recordings().join("s01-inbound-queue-answered")));
    let mut phases: Vec<CallPhase> = snapshots.iter().map(|snapshot| facts(snapshot).phase).collect();
    phases.dedup();
    assert_eq!(phases, [CallPhase::Offered, CallPhase::Queued, CallPhase::Ringing, CallPhase::Talking, CallPhase::Ended]);
    assert!(snapshots.windows(2).all(|pair| pair[0].version < pair[1].version));
    let pop = snapshots.iter().find(|snapshot| facts(snapshot).phase == CallPhase::Ringing).unwrap();
    assert_eq!(facts(pop).ringing, ["agent1"]);
    assert_eq!(pop.fact.variables["customer"], "cust-0042", "the context is there when the phone rings");
    assert_eq!(pop.fact.customer().unwrap().address.as_deref(), Some("+441632960123"));
    let end = facts(snapshots.last().unwrap());
    assert_eq!(end.wait_ms, Some(1207));
}

#[test]
fn only_phones_ring_and_only_those_that_do_not_talk() {
    let ringing = |name: &str| {
        let snapshots = assemble(&all_messages(&recordings().join(name)));
        let mut lists: Vec<Vec<String>> = snapshots.iter().map(|snapshot| facts(snapshot).ringing).collect();
        lists.dedup();
        lists
    };
    assert_eq!(
        ringing("s15-ring-group"),
        [vec![], vec!["agent1".to_owned()], vec!["agent1".into(), "agent2".into()], vec!["agent1".into()], vec![]]
    );
    assert_eq!(ringing("s13-queue-local-members-optimised"), [vec![], vec!["agent1".to_owned()], vec![]]);
    assert_eq!(ringing("s02-inbound-queue-abandoned").len(), 5, "rings, rings not, rings again, rings not");
}

#[test]
fn calls_go_on_after_a_restart_of_the_plugin_at_any_event() {
    let folder = recordings().join("s11-feature-code-transfers");
    let all = all_messages(&folder);
    let want = expected(&folder);
    for cut in (0..all.len()).step_by(3) {
        let mut snapshots = Vec::new();
        let mut first = Assembler::new(config());
        all[..cut].iter().for_each(|message| first.apply(message, Timestamp::from_millis(0)));
        snapshots.extend(first.take());
        let kept: Vec<_> = first.open().map(|call| serde_json::from_str(&serde_json::to_string(call).unwrap()).unwrap()).collect();
        let mut second = Assembler::new(config());
        second.restore(kept);
        all[cut..].iter().for_each(|message| second.apply(message, Timestamp::from_millis(0)));
        snapshots.extend(second.take());
        assert_eq!(lines(last(&snapshots).into_values()), want, "restarted after {cut} events");
        assert!(snapshots.windows(2).all(|pair| pair[0].version < pair[1].version), "restarted after {cut} events");
    }
}
