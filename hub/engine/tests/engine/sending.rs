//! The way out: messages.

use serde_json::json;
use throughline_engine::{Clock, Paging};
use throughline_schemas::connector::{ErrorClass, Item};
use throughline_schemas::interaction::DeliveryState;
use throughline_schemas::{ConnectionId, ConversationId, Interaction};
use throughline_store::{MemoryDisk, Options, Store};

use crate::scripted::Fault;
use crate::support::{World, error, item, mail, until};

async fn conversation(world: &World) -> (ConnectionId, ConversationId) {
    let id = world.connect("mail", json!({"sync": {"contact": {}}})).await;
    world.take(id, vec![mail("m", "ada@example.com", "Late", world.clock.now())]).await;
    (id, world.timeline(world.profiles()[0].id)[0].conversation_id)
}

async fn say(world: &World, conversation: ConversationId) -> Interaction {
    world.hub.send_message(conversation, serde_json::from_value(json!({"text": "Hello"})).unwrap()).await.unwrap()
}

fn state(world: &World, conversation: ConversationId) -> Option<DeliveryState> {
    world.hub.conversation_interactions(conversation, Paging { cursor: None, limit: 1 }).unwrap().items[0].delivery
}

#[tokio::test]
async fn a_message_is_sent_once_with_the_name_the_profile_has_then() {
    let world = World::new();
    let (id, conversation) = conversation(&world).await;
    world.hub.pause_connection(id).await.unwrap();
    let sent = say(&world, conversation).await;
    let contact = world.silo.edit("contact", "1", json!({"display_name": "Ada Lovelace", "email": "ada@example.com"}));
    world.take(id, vec![contact]).await;
    world.hub.resume_connection(id).await.unwrap();
    until(|| state(&world, conversation) == Some(DeliveryState::Sent)).await;
    let (message, key) = world.silo.state().sent[0].clone();
    assert_eq!(
        (message.to_name.as_deref(), message.subject.as_deref(), key),
        (Some("Ada Lovelace"), Some("Re: Late"), sent.id.to_string())
    );
    let other = json!({"text": "Hello", "to": ["bob@example.com"]});
    world.hub.send_message(conversation, serde_json::from_value(other).unwrap()).await.unwrap();
    until(|| world.silo.state().sent.len() == 2).await;
    assert_eq!(world.silo.state().sent[1].0.to_name, None, "somebody else is not called Ada");

    // The silo shows what we sent, by its key or by the id we gave it.
    let shown = |key: &str, id: &str| -> Item {
        let mut shown = mail(key, "ada@example.com", "Re: Late", world.clock.now());
        shown.data["direction"] = json!("outbound");
        shown.data["thread"]["message_id"] = json!(id);
        item(key, None, shown.data)
    };
    let again = [shown(&format!("sent-{}", sent.id), "x@y.test"), shown("other key", message.message_id.as_deref().unwrap())];
    assert_eq!(world.take(id, again.to_vec()).await.duplicates, 2);
}

#[tokio::test]
async fn a_message_that_surely_did_not_go_out_is_tried_again_and_any_other_is_not() {
    let world = World::new();
    let (_, conversation) = conversation(&world).await;
    for class in [ErrorClass::Transient, ErrorClass::RateLimited, ErrorClass::Auth] {
        world.silo.fault(Fault::Op(error(class).with_retry_after_ms(1)));
        say(&world, conversation).await;
        until(|| state(&world, conversation) == Some(DeliveryState::Sent)).await;
    }
    assert_eq!((world.silo.state().sent.len(), world.letters().len()), (3, 0));
    for (count, class) in [ErrorClass::Ambiguous, ErrorClass::Bug, ErrorClass::Cancelled, ErrorClass::InvalidRecord].into_iter().enumerate()
    {
        world.silo.fault(Fault::Op(error(class)));
        say(&world, conversation).await;
        until(|| state(&world, conversation) == Some(DeliveryState::Failed)).await;
        assert_eq!(world.letters().len(), count + 1, "{class:?}");
    }
    world.hub.replay_dead_letter(world.letters()[3].id).await.unwrap();
    until(|| state(&world, conversation) == Some(DeliveryState::Sent)).await;
    assert_eq!(world.silo.state().sent.len(), 4);
}

#[tokio::test]
async fn a_message_that_was_under_way_in_a_crash_is_left_to_a_person() {
    let disk = MemoryDisk::default();
    let world = World::on_disk(&disk);
    let (id, conversation) = conversation(&world).await;
    world.silo.fault(Fault::Hang);
    say(&world, conversation).await;
    until(|| world.silo.state().sent.len() == 1).await;
    disk.crash();
    let world = world.again(Store::on_memory_disk(&disk, Options::new(|| 0)).unwrap());
    world.hub.start().await.unwrap();
    until(|| state(&world, conversation) == Some(DeliveryState::Failed)).await;
    world.quiet(id).await;
    assert_eq!((world.silo.state().sent.len(), world.letters().len()), (1, 1));
    assert_eq!(world.letters()[0].error.class, ErrorClass::Ambiguous);
}

#[tokio::test]
async fn messages_of_one_conversation_stay_in_order_and_hold_up_no_other() {
    let world = World::new();
    let (id, first) = conversation(&world).await;
    world.take(id, vec![mail("m2", "bob@example.com", "Other", world.clock.now())]).await;
    let second = world.timeline(world.who("email:bob@example.com").id)[0].conversation_id;
    world.hub.pause_connection(id).await.unwrap();
    let in_order = [say(&world, first).await, say(&world, first).await, say(&world, first).await].map(|sent| sent.id.to_string());
    let beside = say(&world, second).await.id.to_string();
    // The first waits; had the others passed it, they would be there before it.
    world.silo.fault(Fault::Op(error(ErrorClass::Transient).with_retry_after_ms(20)));
    world.hub.resume_connection(id).await.unwrap();
    until(|| world.silo.state().sent.len() == 4).await;
    let sent: Vec<String> = world.silo.state().sent.iter().map(|(_, key)| key.clone()).collect();
    let of_first: Vec<&String> = sent.iter().filter(|key| in_order.contains(key)).collect();
    assert_eq!(of_first, in_order.iter().collect::<Vec<_>>());
    assert_eq!(sent[0], beside, "another conversation is not held up");

    world.hub.pause_connection(id).await.unwrap();
    let refused = say(&world, first).await;
    let next = say(&world, first).await;
    world.silo.fault(Fault::Op(error(ErrorClass::InvalidRecord)));
    world.hub.resume_connection(id).await.unwrap();
    until(|| world.silo.state().sent.len() == 5).await;
    assert_eq!(world.silo.state().sent[4].1, next.id.to_string(), "what is given up lets the next go");
    assert_eq!(world.letters()[0].delivery.as_ref().map(|delivery| delivery.since), Some(refused.accepted_at));
}
