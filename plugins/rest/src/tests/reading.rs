//! Walks: every kind of pagination and cursor, ties, changes under the walk, deletions, answers that are none.

use std::collections::BTreeSet;

use throughline_plugin_sdk::{ErrorClass, Found, Source, Value, json};

use super::harness::{Shared, System, config, host, parsed, raw, read, response, system, union, walk};
use crate::Rest;

const TIES: &[(&str, &str)] = &[
    ("a", "2026-11-21T10:00:00.000Z"),
    ("b", "2026-11-21T10:00:01.000Z"),
    ("c", "2026-11-21T10:00:01.000Z"),
    ("d", "2026-11-21T10:00:01.000Z"),
    ("e", "2026-11-21T10:00:01.000Z"),
    ("f", "2026-11-21T10:00:01.000Z"),
    ("g", "2026-11-21T10:00:02.000Z"),
    ("h", "2026-11-21T10:00:02.000Z"),
];

fn list(query: Value, pagination: Value) -> Value {
    json!({"path": "/contacts", "items": "/items", "query": query, "pagination": pagination, "page_size": 3})
}

/// Every kind of pagination with every kind of cursor that fits it.
fn kinds() -> Vec<(&'static str, Value)> {
    let keyset = list(json!({"since": "{since}", "after": "{after_id}", "per_page": "{per_page}"}), json!({"kind": "keyset"}));
    let page = list(json!({"since": "{since}", "page": "{page}", "per_page": "{per_page}"}), json!({"kind": "page"}));
    let offset = list(json!({"since": "{since}", "offset": "{offset}", "per_page": "{per_page}"}), json!({"kind": "offset"}));
    let cursor =
        list(json!({"since": "{since}", "cursor": "{cursor}", "per_page": "{per_page}"}), json!({"kind": "cursor", "pointer": "/next"}));
    let url = list(json!({"since": "{since}", "per_page": "{per_page}"}), json!({"kind": "next_url", "pointer": "/next_url"}));
    let link = list(json!({"since": "{since}", "per_page": "{per_page}"}), json!({"kind": "next_link"}));
    let timed = |sorted: bool| json!({"kind": "timestamp", "sorted": sorted, "overlap_seconds": 1, "resolution_ms": 1});
    let mut kinds = vec![("keyset sorted", keyset, timed(true))];
    for (name, list) in [("page", page), ("offset", offset), ("cursor", cursor), ("url", url), ("link", link)] {
        kinds.extend([(name, list.clone(), timed(true)), (name, list.clone(), timed(false)), (name, list, json!({"kind": "none"}))]);
    }
    kinds
        .into_iter()
        .map(|(name, list, cursor)| (name, config(json!({"entities": {"contacts": {"list": list, "cursor": cursor}}}))))
        .collect()
}

fn keys_of(shared: &Shared) -> usize {
    shared.borrow().records.len()
}

#[test]
fn every_pagination_reads_everything_with_any_page_size() {
    for (name, config) in kinds() {
        for want in [1, 2, 3, 5, 1000] {
            let shared = system(TIES);
            let _host = host(&shared);
            let (items, _) = walk(&config, None, want).unwrap();
            assert_eq!(union(&items), shared.borrow().truth(), "{name}, {want} a page: {}", config["entities"]["contacts"]["cursor"]);
        }
    }
}

#[test]
fn a_walk_can_be_resumed_from_every_checkpoint() {
    for (name, config) in kinds() {
        let shared = system(TIES);
        let _host = host(&shared);
        let (_, pages) = walk(&config, None, 2).unwrap();
        for cut in 0..pages.len() {
            let mut items: Vec<_> = pages[..=cut].iter().flat_map(|page| page.items.clone()).collect();
            crate::walk::lose_instance();
            let resumed = walk(&config, Some(pages[cut].checkpoint.clone()), 2).unwrap();
            items.extend(resumed.0);
            assert_eq!(union(&items), shared.borrow().truth(), "{name}, cut after page {cut}");
        }
    }
}

#[test]
fn a_second_walk_brings_only_what_changed() {
    let timed = kinds().into_iter().filter(|(_, config)| config["entities"]["contacts"]["cursor"]["kind"] != "none");
    for ((name, config), want) in timed.flat_map(|kind| [(kind.clone(), 0), (kind, 1)]) {
        let shared = system(TIES);
        let _host = host(&shared);
        let (_, pages) = walk(&config, None, want).unwrap();
        let (items, pages) = walk(&config, Some(pages.last().unwrap().checkpoint.clone()), want).unwrap();
        assert!(items.is_empty(), "{name}, {want} a page: the overlap is dropped, not repeated: {items:?}");
        shared.borrow_mut().touch("c", "2026-11-21T11:00:00.000Z");
        let (items, _) = walk(&config, Some(pages.last().unwrap().checkpoint.clone()), want).unwrap();
        assert_eq!(items.iter().map(|item| item.key.as_str()).collect::<Vec<_>>(), ["c"], "{name}, {want} a page");
        assert_eq!(items[0].at_ms, Some(1_795_258_800_000));
    }
}

/// Records that change while they are paged move to the end of the list; unread ones must not slip through the gap they leave.
#[test]
fn what_changes_under_the_walk_is_not_lost() {
    fn touch_one_each_time(system: &mut System, list: usize) {
        let name = ["a", "b", "d", "c", "g"].get(list - 1).copied();
        if let Some(id) = name {
            system.touch(id, &format!("2026-11-21T11:00:{list:02}.000Z"));
        }
    }
    for (name, config) in kinds() {
        let cursor = &config["entities"]["contacts"]["cursor"];
        let shared = system(TIES);
        shared.borrow_mut().meanwhile = Some(touch_one_each_time);
        let _host = host(&shared);
        let (mut items, pages) = walk(&config, None, 2).unwrap();
        items.extend(walk(&config, Some(pages.last().unwrap().checkpoint.clone()), 2).unwrap().0);
        let (seen, truth): (BTreeSet<_>, BTreeSet<_>) =
            (union(&items).into_iter().collect(), shared.borrow().truth().into_iter().collect());
        // Without an order that we know, only the next walk's overlap can catch what moved; a full listing simply comes again.
        if cursor["sorted"] == true && ["page", "offset", "keyset sorted"].contains(&name) {
            assert_eq!(seen, truth, "{name} {cursor}");
        }
        assert!(keys_of(&shared) == 8);
    }
}

#[test]
fn a_system_that_caps_its_pages_loses_nothing() {
    let shared = system(TIES);
    shared.borrow_mut().cap = 2;
    let _host = host(&shared);
    let (items, _) = walk(&config(json!({})), None, 1000).unwrap();
    assert_eq!(union(&items), shared.borrow().truth());
}

#[test]
fn a_system_that_does_not_page_or_sort_as_declared_is_found_out() {
    let ignored = list(json!({"page_": "{page}", "since_": "{since}"}), json!({"kind": "page"}));
    let newest_first = list(json!({"sort": "newest", "page": "{page}", "since": "{since}"}), json!({"kind": "page"}));
    let table = [
        (json!({"list": ignored, "cursor": {"kind": "none"}}), "entities.contacts.list.pagination"),
        (json!({"list": newest_first}), "entities.contacts.cursor.sorted"),
    ];
    for (entity, field) in table {
        let shared = system(TIES);
        let _host = host(&shared);
        let error = walk(&config(json!({"entities": {"contacts": entity}})), None, 0).unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some(field)), "{}", error.message);
    }
}

#[test]
fn a_link_to_another_system_is_not_followed() {
    let config = config(json!({"entities": {"contacts": {"cursor": {"kind": "none"},
        "list": list(json!({}), json!({"kind": "next_url", "pointer": "/next_url"}))}}}));
    let shared = system(&[]);
    shared.borrow_mut().instead.push_back(response(200, &json!({"items": [{"id": "a"}], "next_url": "https://evil.example/contacts"})));
    let host = host(&shared);
    assert_eq!(read(&config, None, 0).unwrap_err().class, ErrorClass::Config);
    assert_eq!(host.requests().len(), 1);
}

#[test]
fn a_garbage_cursor_is_an_error_and_asks_nothing() {
    let shared = system(TIES);
    let host = host(&shared);
    for garbage in [json!("x"), json!({"page": 3}), json!([1])] {
        let error = read(&config(json!({})), Some(garbage), 0).unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some("cursor")));
    }
    assert!(host.requests().is_empty());
}

#[test]
fn a_failure_in_mid_walk_leaves_the_place_as_it_was() {
    let failures = [
        (response(429, &json!({})), ErrorClass::RateLimited),
        (response(500, &json!({})), ErrorClass::Transient),
        (raw(200, "application/json", "{\"items\": [{\"id\": \"z\""), ErrorClass::Transient),
        (raw(200, "text/html", "<html><input type=password>"), ErrorClass::Auth),
        (raw(200, "text/plain", "fine"), ErrorClass::Transient),
        (response(200, &json!({"error": "quota"})), ErrorClass::Transient),
        (response(200, &json!([])), ErrorClass::Transient),
        (response(200, &json!({"items": [{"no_id": 1}]})), ErrorClass::Config),
    ];
    for (failure, class) in failures {
        let shared = system(TIES);
        let _host = host(&shared);
        let config = config(json!({}));
        let first = read(&config, None, 2).unwrap();
        for _ in 0..20 {
            shared.borrow_mut().instead.push_back(failure.clone());
            assert_eq!(read(&config, first.next.clone(), 2).unwrap_err().class, class);
        }
        let (rest, _) = walk(&config, first.next.clone(), 2).unwrap();
        let items: Vec<_> = first.items.into_iter().chain(rest).collect();
        assert_eq!(union(&items), shared.borrow().truth(), "{class:?}");
    }
}

#[test]
fn a_full_list_beside_the_cursor_names_what_is_still_there() {
    let config = config(json!({"entities": {"contacts": {"deletes": {"kind": "full_list", "every_seconds": 60,
        "list": list(json!({"sort": "id", "after": "{after_id}", "per_page": "{per_page}"}), json!({"kind": "keyset"}))}}}}));
    let shared = system(TIES);
    let host = host(&shared);
    let (_, pages) = walk(&config, None, 0).unwrap();
    assert!(pages.iter().all(|page| page.details.is_none()), "the first walk has just read everything");
    shared.borrow_mut().records.retain(|record| record["id"] != "d");
    host.advance_ms(61_000);
    let (items, pages) = walk(&config, Some(pages.last().unwrap().checkpoint.clone()), 0).unwrap();
    assert_eq!(union(&items), shared.borrow().truth(), "the walk shows everything that is there, and nothing else");
    let last = pages.last().unwrap();
    assert_eq!(last.details, Some(json!({"complete_listing": true, "keys": ["a", "b", "c", "e", "f", "g", "h"]})));
    let (_, pages) = walk(&config, Some(last.checkpoint.clone()), 0).unwrap();
    assert!(pages.iter().all(|page| page.details.is_none()), "not before its time");
    // An instance lost in mid-listing begins it anew, and a list of bare ids is refused.
    host.advance_ms(61_000);
    let mut cursor = Some(last.checkpoint.clone());
    for _ in 0..3 {
        cursor = read(&config, cursor, 0).unwrap().next;
    }
    crate::walk::lose_instance();
    let (items, pages) = walk(&config, cursor.clone(), 0).unwrap();
    assert_eq!(union(&items), shared.borrow().truth());
    assert_eq!(pages.last().unwrap().details.as_ref().unwrap()["keys"].as_array().unwrap().len(), 7);
    shared.borrow_mut().instead.push_back(response(200, &json!({"items": [{"id": "a"}]})));
    assert_eq!(read(&config, cursor, 0).unwrap_err().field.as_deref(), Some("entities.contacts.deletes.list"));
}

#[test]
fn a_listing_that_did_not_end_cleanly_says_nothing() {
    fn delete_in_the_middle(system: &mut System, list: usize) {
        if list == 1 {
            system.records.retain(|record| record["id"] != "a");
        }
    }
    let numbered = json!({"path": "/contacts", "items": "/items", "query": {"page": "{page}", "per_page": "{per_page}"},
        "pagination": {"kind": "page"}, "page_size": 3, "total": "/total"});
    let config =
        config(json!({"entities": {"contacts": {"list": numbered, "cursor": {"kind": "none"}, "deletes": {"kind": "full_list"}}}}));
    let shared = system(TIES);
    let _host = host(&shared);
    let clean = walk(&config, None, 0).unwrap().1;
    assert_eq!(clean.last().unwrap().details.as_ref().unwrap()["keys"].as_array().unwrap().len(), 8);
    shared.borrow_mut().lists = 0;
    shared.borrow_mut().meanwhile = Some(delete_in_the_middle);
    let shifted = walk(&config, None, 0).unwrap().1;
    assert_eq!(shifted.last().unwrap().details, None, "a record was pulled out of sight");
    shared.borrow_mut().meanwhile = None;
    let first = read(&config, None, 0).unwrap();
    crate::walk::lose_instance();
    let rest = walk(&config, first.next, 0).unwrap().1;
    assert_eq!(rest.last().unwrap().details, None, "the instance that knew the first page is gone");
}

#[test]
fn an_opaque_token_is_taken_up_and_begun_anew_when_it_is_refused() {
    let config = config(json!({"entities": {"contacts": {"cursor": {"kind": "opaque", "pointer": "/token"},
        "list": list(json!({"since_token": "{since}", "cursor": "{cursor}", "per_page": "{per_page}"}), json!({"kind": "cursor", "pointer": "/next"}))}}}));
    let shared = system(TIES);
    let host = host(&shared);
    let (items, pages) = walk(&config, None, 0).unwrap();
    assert_eq!(union(&items), shared.borrow().truth());
    let checkpoint = pages.last().unwrap().checkpoint.clone();
    assert_eq!(checkpoint["token"], "token-1");
    shared.borrow_mut().instead.push_back(response(410, &json!({"message": "token expired"})));
    let (items, _) = walk(&config, Some(checkpoint), 0).unwrap();
    assert_eq!(items.len(), 8, "everything again");
    assert!(host.requests().iter().any(|request| request.url.contains("since_token=token-1")));
}

#[test]
fn records_are_got_by_key() {
    let shared = system(TIES);
    let _host = host(&shared);
    let config = config(json!({"entities": {"contacts": {"merged": {"pointer": "/into"}}}}));
    shared.borrow_mut().records.push(json!({"id": "m", "into": "a"}));
    let found = Rest::get(parsed(&config), "contacts", vec!["a".into(), "nope".into(), "m".into(), "../x".into(), String::new()]).unwrap();
    assert!(matches!(&found[0], Found::Record(item) if item.key == "a" && item.data["display_name"] == "name of a"));
    assert_eq!(found[1..], [Found::Gone, Found::MovedTo("a".into()), Found::Gone, Found::Gone]);
    shared.borrow_mut().instead.push_back(response(200, &json!({"id": "somebody else"})));
    assert_eq!(Rest::get(parsed(&config), "contacts", vec!["a".into()]).unwrap_err().class, ErrorClass::Transient);
    assert_eq!(Rest::get(parsed(&config), "nothing", vec![]).unwrap_err().field.as_deref(), Some("entities.nothing"));
}
