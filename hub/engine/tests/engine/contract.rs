//! What the hub does with a plugin's whole contract: other versions of it, its webhook at the silo, reading anew.

use serde_json::{Value, json};
use throughline_engine::{ConnectionPatch, ConnectionView, HookState, HubError, Stored, UpdateOutcome};
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{ErrorClass, Page};

use crate::support::{World, error, mail, until};

/// A connection with a plugin that has more versions, and a cursor from the first.
async fn moving(world: &World) -> ConnectionId {
    let page = Page { items: vec![], next: None, checkpoint: json!({"since": 7}), details: None };
    world.silo.state().pages.entry("contact".to_owned()).or_default().push_back(Ok(page));
    let more = json!({"plugin": "moving", "plugin_version": "1.0.0", "config": {"host": "a.example"},
        "grants": {"hosts": ["https://a.example"]}, "sync": {"contact": {"poll_seconds": 3600}}});
    let id = world.connect("moving", more).await;
    until(|| cursor(world, id, "contact") == Some(json!({"since": 7}))).await;
    id
}

fn cursor(world: &World, id: ConnectionId, entity: &str) -> Option<Value> {
    world.hub.connection_cursors(id).unwrap().into_iter().find(|cursor| cursor.entity == entity).map(|cursor| cursor.cursor)
}

async fn patch(world: &World, id: ConnectionId, patch: Value) -> Result<Stored<ConnectionView>, HubError> {
    let version = world.hub.connection(id).unwrap().version;
    let patch: ConnectionPatch = serde_json::from_value(patch).unwrap();
    world.hub.update_connection(id, version, patch).await
}

#[tokio::test]
async fn another_version_takes_over_config_and_cursors_at_once() {
    let world = World::new();
    let id = moving(&world).await;
    world.silo.state().migrations.insert("config".to_owned(), Ok(json!({"place": "a.example"})));
    world.silo.state().migrations.insert("cursor:contact".to_owned(), Ok(json!({"after": "7"})));
    let moved = patch(&world, id, json!({"plugin_version": "1.1.0"})).await.unwrap().value;
    assert_eq!((moved.plugin_version.as_str(), &moved.config, moved.paused), ("1.1.0", &json!({"place": "a.example"}), false));
    let migrated = world.silo.state().migrated.clone();
    let wanted = [("config", json!({"host": "a.example"})), ("cursor:contact", json!({"since": 7}))];
    assert_eq!(migrated, wanted.map(|(what, value)| (what.to_owned(), "1.0.0".to_owned(), value)));
    until(|| world.silo.state().reads.last() == Some(&("contact".to_owned(), Some(json!({"after": "7"}))))).await;
    let spec = world.silo.state().specs.last().cloned().unwrap();
    assert_eq!((spec.version.as_str(), &spec.config), ("1.1.0", &json!({"place": "a.example"})));
}

#[tokio::test]
async fn a_version_that_does_not_take_something_over_changes_nothing() {
    let places = ["config", "cursor:contact"];
    for place in places {
        let world = World::new();
        let id = moving(&world).await;
        world.silo.state().migrations.insert("config".to_owned(), Ok(json!({"place": "a.example"})));
        world.silo.state().migrations.insert(place.to_owned(), Err(error(ErrorClass::Unsupported)));
        let before = world.hub.connection(id).unwrap();
        let refused = patch(&world, id, json!({"plugin_version": "1.1.0"})).await.unwrap_err();
        let HubError::Invalid { errors } = refused else { panic!("{place}: {refused:?}") };
        assert_eq!(errors[0].pointer, "/plugin_version", "{place}");
        assert!(errors[0].detail.contains("nothing was changed"), "{place}: {}", errors[0].detail);
        assert_eq!(world.hub.connection(id).unwrap(), before, "{place}");
        assert_eq!(cursor(&world, id, "contact"), Some(json!({"since": 7})), "{place}");
        // It runs on, with the version it had.
        let reads = world.silo.state().reads.len();
        until(|| world.silo.state().listened.len() > usize::from(place != "config")).await;
        world.hub.sync_connection(id).await.unwrap();
        until(|| world.silo.state().reads.len() > reads).await;
        assert_eq!(world.silo.state().specs.last().unwrap().version, if place == "config" { "1.1.0" } else { "1.0.0" }, "{place}");
    }
}

#[tokio::test]
async fn a_config_that_the_new_version_made_itself_must_fit_its_schema() {
    let world = World::new();
    let id = moving(&world).await;
    world.silo.state().migrations.insert("config".to_owned(), Ok(json!({"nonsense": 1})));
    let refused = patch(&world, id, json!({"plugin_version": "1.1.0"})).await.unwrap_err();
    assert!(matches!(&refused, HubError::Invalid { errors } if errors[0].pointer.starts_with("/config")), "{refused:?}");
    assert_eq!(world.hub.connection(id).unwrap().value.plugin_version, "1.0.0");
    // A config given with the move is for the new version: it is not migrated.
    world.silo.state().migrated.clear();
    let moved = patch(&world, id, json!({"plugin_version": "1.1.0", "config": {"place": "x"}})).await.unwrap().value;
    assert_eq!(moved.config, json!({"place": "x"}));
    assert!(world.silo.state().migrated.iter().all(|(what, ..)| what != "config"));
}

#[tokio::test]
async fn a_version_that_asks_for_more_waits_until_somebody_grants_it() {
    let world = World::new();
    let id = moving(&world).await;
    world.silo.state().migrations.insert("config".to_owned(), Ok(json!({"place": "a.example"})));
    let waits = patch(&world, id, json!({"plugin_version": "2.0.0"})).await.unwrap();
    let pending = waits.value.pending_update.clone().unwrap();
    assert_eq!((waits.value.plugin_version.as_str(), pending.plugin_version.as_str()), ("1.0.0", "2.0.0"));
    assert_eq!(pending.hosts, ["https://b.example"]);
    assert!(world.silo.state().migrated.is_empty(), "nothing of it has run");
    let beyond = world.hub.approve_update(id, waits.version, Some(vec!["https://c.example".to_owned()])).await.unwrap_err();
    assert!(matches!(beyond, HubError::Invalid { .. }), "{beyond:?}");
    let moved = world.hub.approve_update(id, waits.version, None).await.unwrap().value;
    assert_eq!((moved.plugin_version.as_str(), &moved.pending_update), ("2.0.0", &None));
    assert_eq!(moved.grants.hosts, ["https://a.example", "https://b.example"]);
    let nothing = world.hub.approve_update(id, world.hub.connection(id).unwrap().version, None).await.unwrap_err();
    assert!(matches!(nothing, HubError::Conflict { .. }), "{nothing:?}");
}

#[tokio::test]
async fn an_update_that_waits_is_dropped_by_staying_and_refused_in_company() {
    let world = World::new();
    let id = moving(&world).await;
    patch(&world, id, json!({"plugin_version": "2.0.0"})).await.unwrap();
    let stays = patch(&world, id, json!({"plugin_version": "1.0.0"})).await.unwrap().value;
    assert_eq!((stays.plugin_version.as_str(), stays.pending_update), ("1.0.0", None));
    let refused = patch(&world, id, json!({"plugin_version": "2.0.0", "config": {"place": "x"}})).await.unwrap_err();
    assert!(matches!(&refused, HubError::Invalid { errors } if errors[0].pointer == "/grants"), "{refused:?}");
    let hosts = json!({"hosts": ["https://a.example"]});
    let decided = patch(&world, id, json!({"plugin_version": "2.0.0", "config": {"place": "x"}, "grants": hosts})).await.unwrap().value;
    assert_eq!((decided.plugin_version.as_str(), decided.grants.hosts), ("2.0.0", vec!["https://a.example".to_owned()]));
}

#[tokio::test]
async fn an_installed_update_moves_each_connection_by_itself() {
    let world = World::new();
    let id = moving(&world).await;
    let newest = world.hub.update_plugin("moving", None).await.unwrap();
    assert_eq!(newest[0].outcome, UpdateOutcome::Pending { hosts: vec!["https://b.example".to_owned()] });
    let failed = world.hub.update_plugin("moving", Some("1.1.0")).await.unwrap();
    assert!(matches!(&failed[0].outcome, UpdateOutcome::Failed { detail } if detail.contains("host")), "{failed:?}");
    world.silo.state().migrations.insert("config".to_owned(), Ok(json!({"place": "a.example"})));
    let moved = world.hub.update_plugin("moving", Some("1.1.0")).await.unwrap();
    assert_eq!((moved[0].connection, moved[0].from.as_str(), &moved[0].outcome), (id, "1.0.0", &UpdateOutcome::Moved));
    assert!(world.hub.update_plugin("moving", Some("1.1.0")).await.unwrap().is_empty());
    assert!(world.hub.update_plugin("nobody", None).await.is_err());
}

#[tokio::test]
async fn a_silo_is_told_where_to_post_and_told_to_forget_it() {
    let world = World::new();
    world.silo.state().hook_faults.push_back(error(ErrorClass::Transient));
    let id = world.connect("crm", json!({})).await;
    let url = format!("https://hub.example/hooks/{id}");
    let state = async || world.hub.connection_health(id).await.unwrap().webhook.map(|webhook| webhook.state);
    until(|| !world.silo.state().ensured.is_empty()).await;
    // The first attempt failed, which the health says; asking for it anew works at once.
    for _ in 0..1000 {
        if state().await == Some(HookState::Failed) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(state().await, Some(HookState::Failed));
    let ensured = world.hub.ensure_hook(id).await.unwrap();
    assert_eq!(
        (ensured.state, ensured.url.as_deref(), ensured.registration),
        (HookState::Registered, Some(&*url), Some(json!({"id": "wh1"})))
    );
    assert_eq!(state().await, Some(HookState::Registered));
    assert_eq!(world.silo.services(id).state("registration").unwrap(), Some(json!(url)), "what the plugin keeps of it is kept");
    assert_eq!(world.hub.list_hooks(id).await.unwrap(), json!([url, url]));
    world.hub.remove_hook(id).await.unwrap();
    assert_eq!(state().await, Some(HookState::Removed));
    assert_eq!(world.silo.services(id).state("registration").unwrap(), None);
    // A plugin that cannot leaves it to people.
    world.silo.state().hook_faults.push_back(error(ErrorClass::Unsupported));
    assert_eq!(world.hub.ensure_hook(id).await.unwrap().state, HookState::ByHand);
    // Its silo does not answer, and it is deleted all the same.
    world.silo.state().hook_faults.push_back(error(ErrorClass::Transient));
    let version = world.hub.connection(id).unwrap().version;
    world.hub.delete_connection(id, version).await.unwrap();
    assert_eq!(world.silo.state().removed, 2);
}

#[tokio::test]
async fn a_changed_config_registers_again() {
    let world = World::new();
    let id = world.connect("crm", json!({})).await;
    until(|| world.silo.state().ensured.len() == 1).await;
    patch(&world, id, json!({"config": {"host": "b.example"}})).await.unwrap();
    until(|| world.silo.state().ensured.len() == 2).await;
    world.hub.pause_connection(id).await.unwrap();
    assert!(matches!(world.hub.ensure_hook(id).await, Err(HubError::Conflict { .. })));
}

#[tokio::test]
async fn reading_anew_brings_nothing_twice() {
    let world = World::new();
    let now = throughline_engine::Clock::now(&*world.clock);
    let ada = world.silo.edit("contact", "c1", json!({"email": "ada@example.com", "display_name": "Ada"}));
    let pages = |silo: &crate::scripted::Silo| {
        let page = |items| Ok(Page { items, next: None, checkpoint: json!("end"), details: None });
        let mut state = silo.state();
        state.pages.entry("contact".to_owned()).or_default().push_back(page(vec![ada.clone()]));
    };
    pages(&world.silo);
    let id = world.connect("crm", json!({"sync": {"contact": {"direction": "both", "poll_seconds": 3600}}})).await;
    world.take(id, vec![mail("m1", "ada@example.com", "Hello", now)]).await;
    until(|| cursor(&world, id, "contact") == Some(json!("end"))).await;
    let ada_id = world.who("email:ada@example.com").id;
    let state = || (world.profiles().len(), world.enquiries().len(), world.timeline(ada_id).len(), world.silo.ops());
    world.quiet(id).await;
    let before = state();
    pages(&world.silo);
    let reads = world.silo.state().reads.len();
    world.hub.reset_cursor(id, "contact").await.unwrap();
    until(|| world.silo.state().reads.len() > reads && cursor(&world, id, "contact").is_some()).await;
    assert_eq!(world.silo.state().reads[reads], ("contact".to_owned(), None), "from the beginning");
    world.take(id, vec![mail("m1", "ada@example.com", "Hello", now)]).await;
    world.quiet(id).await;
    assert_eq!(state(), before);
    // A paused connection stays so; a name that means nothing is a slip.
    world.hub.pause_connection(id).await.unwrap();
    world.hub.reset_cursor(id, "contact").await.unwrap();
    assert_eq!(cursor(&world, id, "contact"), None);
    assert!(world.hub.connection(id).unwrap().value.paused);
    world.hub.reset_cursor(id, "listen").await.unwrap();
    assert!(matches!(world.hub.reset_cursor(id, "contcat").await, Err(HubError::NotFound { .. })));
}
