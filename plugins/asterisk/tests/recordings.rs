//! Every recording of a real Asterisk, through parser and assembler, yields the calls that its folder expects.

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
