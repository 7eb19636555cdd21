//! What a record's deletion in a silo leads to.

use std::time::Duration;

use serde_json::{Value, json};
use throughline_engine::{Clock, HubError, NewConnection, Paging};
use throughline_schemas::connector::{ErrorClass, Item, ItemKind, OpKind};
use throughline_schemas::{ConnectionId, EnquiryStatus};

use crate::scripted::Fault;
use crate::support::{DAY, World, error, mail, until};

fn sync(on_delete: &str) -> Value {
    let both = json!({"direction": "both", "create_remote": true, "poll_seconds": 3600, "on_delete": on_delete});
    json!({"sync": {"contact": both, "case": both}})
}

/// A person and a case, which the silo has both.
async fn known(world: &World, on_delete: &str) -> (ConnectionId, String, String) {
    let id = world.connect("crm", sync(on_delete)).await;
    world.take(id, vec![mail("m", "ada@example.com", "Late", world.clock.now())]).await;
    until(|| world.silo.keys("contact").len() == 1 && world.silo.keys("case").len() == 1).await;
    world.quiet(id).await;
    (id, world.silo.keys("contact").remove(0), world.silo.keys("case").remove(0))
}

async fn rename(world: &World, id: ConnectionId) {
    world.name(world.profiles()[0].id, "company", json!("Engines")).await;
    world.quiet(id).await;
}

fn why(world: &World) -> Vec<String> {
    let about = world.profiles()[0].id.to_string();
    let decisions = world.hub.decisions(&about, Paging { cursor: None, limit: 100 }).unwrap().items;
    decisions.into_iter().filter(|decision| decision.outcome.contains("crm deleted contact")).map(|decision| decision.outcome).collect()
}

#[tokio::test]
async fn ignored_it_is_noted_and_not_written_again() {
    let world = World::new();
    let (id, contact, case) = known(&world, "ignore").await;
    let ops = world.silo.ops();
    world.take(id, vec![world.silo.delete("contact", &contact), world.silo.delete("case", &case)]).await;
    rename(&world, id).await;
    assert!(world.hub.link(id, "contact", &contact).unwrap().deleted_at.is_some());
    assert_eq!((world.silo.ops(), world.profiles()[0].text("archived")), (ops, None));
    assert_ne!(world.enquiries()[0].status, EnquiryStatus::Closed);
    assert!(why(&world).is_empty(), "nothing was decided");
}

#[tokio::test]
async fn unlinked_the_next_change_makes_it_anew() {
    let world = World::new();
    let (id, contact, _) = known(&world, "unlink").await;
    let ops = world.silo.ops();
    world.take(id, vec![world.silo.delete("contact", &contact)]).await;
    world.quiet(id).await;
    assert!(matches!(world.hub.link(id, "contact", &contact), Err(HubError::NotFound { .. })));
    assert_eq!((world.silo.ops(), why(&world).len()), (ops, 1), "not by itself");
    rename(&world, id).await;
    until(|| world.silo.keys("contact").len() == 1).await;
    assert_ne!(world.silo.keys("contact")[0], contact);
}

#[tokio::test]
async fn archived_it_is_put_aside_until_the_silo_shows_it_again() {
    let world = World::new();
    let (id, contact, case) = known(&world, "archive").await;
    let shown = world.silo.edit("contact", &contact, json!({"language": "fr"}));
    world.take(id, vec![world.silo.delete("contact", &contact), world.silo.delete("case", &case)]).await;
    assert_eq!(world.profiles()[0].fields["archived"].value, json!(true));
    assert_eq!(world.enquiries()[0].status, EnquiryStatus::Closed);
    assert_eq!(why(&world).len(), 1);
    world.take(id, vec![shown]).await;
    assert!(!world.profiles()[0].fields.contains_key("archived"));
}

#[tokio::test]
async fn deleted_the_other_silos_delete_theirs_and_what_comes_of_it_leads_to_nothing() {
    let world = World::new();
    let (id, contact, _) = known(&world, "delete").await;
    let other = json!({"direction": "both", "create_remote": true, "poll_seconds": 3600, "on_delete": "delete"});
    let other = world.connect("shop", json!({"sync": {"contact": other}})).await;
    // The scripted silo is one for both connections: of the two records, the later is the shop's.
    rename(&world, other).await;
    until(|| world.silo.keys("contact").len() == 2).await;
    world.quiet(other).await;
    let theirs = world.silo.keys("contact").into_iter().find(|key| *key != contact).unwrap();
    world.silo.fault(Fault::OpAfter(error(ErrorClass::Ambiguous)));
    world.take(id, vec![world.silo.delete("contact", &contact)]).await;
    until(|| world.silo.keys("contact").is_empty()).await;
    world.quiet(other).await;
    let link = world.hub.link(other, "contact", &theirs).unwrap();
    assert!(link.deleted_at.is_some() && !link.remove, "{link:?}");
    let echo = Item { kind: ItemKind::Deleted, ..world.silo.delete("contact", &theirs) };
    world.take(other, vec![echo]).await;
    world.quiet(id).await;
    let deletes = world.silo.state().ops.iter().filter(|(_, op)| op.kind == OpKind::Delete).count();
    assert_eq!((deletes, why(&world).len()), (1, 1));
}

#[tokio::test]
async fn restored_it_is_made_anew_once_a_day() {
    let world = World::new();
    let (id, contact, _) = known(&world, "restore").await;
    world.take(id, vec![world.silo.delete("contact", &contact)]).await;
    until(|| world.silo.keys("contact").len() == 1).await;
    world.quiet(id).await;
    let second = world.silo.keys("contact").remove(0);
    assert_ne!(second, contact);
    assert_eq!(world.profiles().len(), 1);
    world.take(id, vec![world.silo.delete("contact", &second)]).await;
    rename(&world, id).await;
    assert!(world.silo.keys("contact").is_empty(), "somebody insists");
    assert!(why(&world).iter().any(|why| why.contains("is left so")), "{:?}", why(&world));
}

#[tokio::test]
async fn a_day_later_it_is_made_anew_again() {
    let world = World::new();
    let (id, contact, _) = known(&world, "restore").await;
    world.take(id, vec![world.silo.delete("contact", &contact)]).await;
    until(|| world.silo.keys("contact").len() == 1).await;
    world.quiet(id).await;
    world.clock.by(DAY + Duration::from_secs(1));
    let second = world.silo.keys("contact").remove(0);
    world.take(id, vec![world.silo.delete("contact", &second)]).await;
    until(|| world.silo.keys("contact").len() == 1).await;
}

#[tokio::test]
async fn to_restore_where_nothing_is_made_is_refused() {
    let world = World::new();
    let sync = json!({"contact": {"direction": "in", "on_delete": "restore"}});
    let new: NewConnection = serde_json::from_value(json!({"name": "crm", "plugin": "scripted", "sync": sync})).unwrap();
    let Err(HubError::Invalid { errors }) = world.hub.create_connection(new).await else { panic!("it was taken") };
    assert_eq!(errors[0].pointer, "/sync/contact/on_delete");
}

#[tokio::test]
async fn a_merge_in_the_silo_leaves_word_where_the_record_went() {
    let world = World::new();
    let (id, contact, _) = known(&world, "archive").await;
    let into = world.silo.edit("contact", "other", json!({"email": "ada@example.com"}));
    let merged = Item { kind: ItemKind::Merged, data: json!({"into": "other"}), ..world.silo.delete("contact", &contact) };
    world.take(id, vec![merged, into]).await;
    let (old, new) = (world.hub.link(id, "contact", &contact).unwrap(), world.hub.link(id, "contact", "other").unwrap());
    assert_eq!((old.moved_to.as_deref(), old.canonical_id), (Some("other"), new.canonical_id));
    assert_eq!((world.profiles().len(), world.profiles()[0].text("archived")), (1, None), "a merge is no deletion");
}
