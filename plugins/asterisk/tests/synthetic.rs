//! Calls that no recording shows, on PBXs unlike the recorded one, told to accounts that may see less.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod pbx;
mod support;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use pbx::scenarios::Scenario;
use pbx::{Account, FULL, LEAST, Pbx, Sent, Site, berlin, scratch};
use serde_json::Value;
use support::{chunked, expected, folders, last, lines, messages, streams};
use throughline_plugin_asterisk::ami::Message;
use throughline_plugin_asterisk::call::{Assembler, Snapshot};
use throughline_plugin_asterisk::config::Config;
use throughline_plugin_sdk::schemas::{InteractionFact, Timestamp};

const BEGINNING_MS: i64 = 1_800_000_000_000;

fn all() -> impl Iterator<Item = (&'static str, Scenario)> {
    pbx::scenarios::INCOMING.iter().chain(pbx::outgoing::OUTGOING).copied()
}

fn acted(scenario: Scenario, site: Site, account: Account, starts_ms: i64, first: u64) -> (Pbx, Vec<Value>) {
    let mut pbx = Pbx::new(site, account, starts_ms, first);
    let expected = scenario(&mut pbx);
    (pbx, expected)
}

fn snapshots(site: &Site, sent: &[Sent]) -> Vec<Snapshot> {
    let mut assembler = Assembler::new(site.config());
    let mut snapshots = Vec::new();
    for event in sent {
        assembler.apply(&Message::parse(&event.bytes), Timestamp::from_millis(event.at_ms));
        snapshots.extend(assembler.take());
    }
    assert_eq!(assembler.open_ids(), Vec::<String>::new(), "calls are left open");
    snapshots
}

fn told(site: &Site, sent: &[Sent]) -> Vec<Value> {
    lines(last(&snapshots(site, sent)).into_values())
}

/// What is expected, without the keys an account cannot know.
fn differences(got: &[Value], expected: &[Value], unknown: &[&str]) -> String {
    if got.len() != expected.len() {
        return format!("{} calls for {}: {got:#?}\n", got.len(), expected.len());
    }
    let pairs = got.iter().zip(expected);
    let wrong = pairs.flat_map(|(got, expected)| {
        let keys = expected.as_object().unwrap().iter().filter(|(key, _)| !unknown.contains(&key.as_str()));
        keys.filter(|(key, value)| got[*key] != **value).map(move |(key, value)| format!("  {key} is {} and not {value}\n", got[key]))
    });
    wrong.collect()
}

#[test]
fn every_scenario_yields_its_calls_on_every_pbx_to_every_account() {
    let accounts = [
        ("full", FULL),
        ("least", LEAST),
        ("full without times", Account { times: false, ..FULL }),
        ("least without times and variables", Account { times: false, repeats_variables: false, ..LEAST }),
    ];
    let mut wrong = String::new();
    for (name, scenario) in all() {
        for (place, site) in [("scratch", scratch()), ("berlin", berlin())] {
            for (account_name, account) in accounts {
                let (pbx, expected) = acted(scenario, site.clone(), account, BEGINNING_MS, 40);
                let unknown: &[&str] = if account.all_classes { &[] } else { &["digits"] };
                let found = differences(&told(&site, &pbx.sent), &expected, unknown);
                if !found.is_empty() {
                    wrong.push_str(&format!("{name} ({place}, {account_name}):\n{found}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What is said last of each call, and which are open.
fn applied(assembler: &mut Assembler<Config>, events: &[Message]) -> BTreeMap<String, InteractionFact> {
    let mut snapshots = Vec::new();
    for event in events {
        assembler.apply(event, Timestamp::from_millis(BEGINNING_MS));
        snapshots.extend(assembler.take());
    }
    last(&snapshots)
}

#[test]
fn a_stream_cut_anywhere_closes_what_was_open_as_lost_and_leaves_the_rest_alone() {
    for (name, scenario) in all() {
        let site = scratch();
        let (pbx, _) = acted(scenario, site.clone(), FULL, BEGINNING_MS, 0);
        let events: Vec<Message> = pbx.sent.iter().map(|sent| Message::parse(&sent.bytes)).collect();
        for cut in 0..events.len() {
            let mut assembler = Assembler::new(site.config());
            let before = applied(&mut assembler, &events[..cut]);
            let open = assembler.open_ids();
            assembler.close_lost(&open, &HashSet::new());
            let lost = last(&assembler.take());
            assert!(assembler.open_ids().is_empty());
            assert!(before.keys().filter(|id| open.contains(id)).all(|id| lost.contains_key(id)), "{name} cut at {cut}");
            let last_seen = Timestamp::from_millis(pbx.sent[cut.max(1) - 1].at_ms);
            for (id, fact) in lost {
                let line = lines([fact.clone()]).remove(0);
                assert!(open.contains(&id) && fact.occurred_at <= fact.ended_at.unwrap() && fact.ended_at.unwrap() <= last_seen, "{line}");
                assert!(line["outcome"] == "unknown" && line["ended_by"] == "system", "{name} cut at {cut}: {line}");
            }
        }
    }
}

#[test]
fn who_connects_in_the_middle_is_left_with_no_call_that_never_ends() {
    for (name, scenario) in all() {
        for account in [FULL, LEAST] {
            let (pbx, _) = acted(scenario, berlin(), account, BEGINNING_MS, 0);
            let events: Vec<Message> = pbx.sent.iter().map(|sent| Message::parse(&sent.bytes)).collect();
            for from in 0..events.len() {
                let mut assembler = Assembler::new(berlin().config());
                let calls = applied(&mut assembler, &events[from..]);
                assert!(assembler.open_ids().is_empty(), "{name} heard from {from} on leaves {:?}", assembler.open_ids());
                assert!(calls.values().all(|fact| fact.ended_at.is_some()), "{name} heard from {from} on");
            }
        }
    }
}

#[test]
fn pieces_and_repetitions_change_nothing() {
    for (name, scenario) in all() {
        let (pbx, _) = acted(scenario, berlin(), FULL, BEGINNING_MS, 7);
        let stream = pbx.stream();
        let whole = messages(&stream);
        for sizes in [&[1][..], &[2, 1, 5, 333], &[1448], &[9, 40_000]] {
            assert_eq!(chunked(&stream, sizes), whole, "{name} in pieces of {sizes:?}");
        }
        let again: Vec<Message> = whole.iter().flat_map(|message| [message.clone(), message.clone()]).collect();
        let told = |events: &[Message]| applied(&mut Assembler::new(berlin().config()), events);
        assert_eq!(told(&again), told(&whole), "{name} with every event told twice");
        assert_eq!(told(&whole), told(&whole), "{name} played again");
    }
}

#[test]
fn a_restart_of_the_plugin_at_any_event_changes_nothing() {
    for (name, scenario) in all() {
        let site = scratch();
        let (pbx, expected) = acted(scenario, site.clone(), LEAST, BEGINNING_MS, 0);
        for cut in 0..pbx.sent.len() {
            let mut first = Assembler::new(site.config());
            let mut snapshots = Vec::new();
            let apply = |assembler: &mut Assembler<_>, sent: &Sent| {
                assembler.apply(&Message::parse(&sent.bytes), Timestamp::from_millis(sent.at_ms));
            };
            pbx.sent[..cut].iter().for_each(|sent| apply(&mut first, sent));
            snapshots.extend(first.take());
            let kept = first.open().map(|call| serde_json::from_str(&serde_json::to_string(call).unwrap()).unwrap()).collect();
            let mut second = Assembler::new(site.config());
            second.restore(kept);
            pbx.sent[cut..].iter().for_each(|sent| apply(&mut second, sent));
            snapshots.extend(second.take());
            let found = differences(&lines(last(&snapshots).into_values()), &expected, &["digits"]);
            // What ended before it is not taken up again; a message count that comes later is then of no known call.
            assert!(found.is_empty() || found.contains("calls for"), "{name}, restarted before event {cut}:\n{found}");
        }
    }
}

/// An event with the time at which it arrives.
type Arriving = (i64, Message);

fn arriving(scenario: Scenario, starts_ms: i64, first: u64) -> Vec<Arriving> {
    let (pbx, _) = acted(scenario, scratch(), FULL, BEGINNING_MS + starts_ms, first);
    pbx.sent.iter().map(|sent| (sent.at_ms, Message::parse(&sent.bytes))).collect()
}

fn told_of(site: &Site, events: &[Arriving]) -> Vec<Value> {
    let mut assembler = Assembler::new(site.config());
    let mut snapshots = Vec::new();
    for (at, event) in events {
        assembler.apply(event, Timestamp::from_millis(*at));
        snapshots.extend(assembler.take());
    }
    let mut lines = lines(last(&snapshots).into_values());
    lines.sort_by_key(ToString::to_string);
    lines
}

/// What two streams tell together is what each tells alone.
fn assert_apart(site: &Site, one: &[Arriving], two: &[Arriving], what: &str) {
    let mut both = [one, two].concat();
    both.sort_by_key(|(at, _)| *at);
    let mut alone = [told_of(site, one), told_of(site, two)].concat();
    alone.sort_by_key(ToString::to_string);
    assert_eq!(told_of(site, &both), alone, "{what}");
}

#[test]
fn calls_that_have_nothing_to_do_with_each_other_stay_apart_however_their_events_mix() {
    for (at, (name, one)) in all().enumerate() {
        for (other_at, (other_name, two)) in all().enumerate().skip(at + 1).step_by(2) {
            let later = [0, 37, 1_203, 2_600][(at + other_at / 2) % 4];
            let what = format!("{name} with {other_name} {later} ms later");
            assert_apart(&scratch(), &arriving(one, 0, 0), &arriving(two, later, 5000), &what);
        }
    }
}

/// A recorded stream as if it had begun at another time, with channel names of its own.
fn moved(folder: &Path, starts_ms: i64, names: &str) -> Vec<Arriving> {
    let streams = streams(folder);
    let text: String = streams.iter().map(|stream| String::from_utf8_lossy(stream).replace("-000000", names)).collect();
    let events: Vec<Message> = messages(text.as_bytes()).into_iter().filter(|event| event.at_ms().is_some()).collect();
    let first = events.first().map_or(0, |event| event.at_ms().unwrap());
    let moved = events.iter().map(|event| {
        let at = event.at_ms().unwrap() - first + starts_ms;
        let headers = event.headers().filter(|(name, _)| *name != "Timestamp");
        let block: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        (at, Message::parse(format!("{block}Timestamp: {}.{:03}000", at / 1000, at % 1000).as_bytes()))
    });
    moved.collect()
}

#[test]
fn recorded_calls_stay_apart_however_their_events_mix() {
    // One of them stops the PBX, which is the end of every call.
    let folders: Vec<_> = folders().into_iter().filter(|folder| !folder.ends_with("s41-asterisk-restart-mid-call")).collect();
    for (at, one) in folders.iter().enumerate() {
        for (other_at, two) in folders.iter().enumerate().skip(at + 1).step_by(3) {
            let later = [0, 401, 1_777, 3_200][(at + other_at) % 4];
            let (first, second) = (moved(one, BEGINNING_MS, "-100000"), moved(two, BEGINNING_MS + later, "-200000"));
            let what = format!("{} with {} {later} ms later", one.display(), two.display());
            assert_apart(&scratch(), &first, &second, &what);
        }
    }
}

#[test]
fn a_pbx_that_writes_no_times_is_told_of_by_when_its_events_arrive() {
    for folder in folders() {
        let with_times: Vec<Message> =
            streams(&folder).iter().flat_map(|stream| messages(stream)).filter(|event| event.at_ms().is_some()).collect();
        let without = |event: &Message| {
            let headers = event.headers().filter(|(name, _)| *name != "Timestamp");
            Message::parse(headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>().as_bytes())
        };
        let events: Vec<Arriving> = with_times.iter().map(|event| (event.at_ms().unwrap(), without(event))).collect();
        let mut want = expected(&folder);
        want.sort_by_key(ToString::to_string);
        assert_eq!(told_of(&scratch(), &events), want, "{}", folder.display());
    }
}
