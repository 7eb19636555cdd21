//! A bot, two people, a supervisor and the watchdog race for an enquiry at its handoff, over a thousand seeds: one owner, one answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_engine::{Clock, HandoffAnswer, HandoffFilter, HubError, Paging};
use throughline_schemas::{ConversationId, EnquiryId, HandoffState, InteractionId};

use crate::support::{World, mail};

/// How many races are run.
const RACES: u64 = 1000;

/// A small generator (SplitMix64, Steele, Lea and Flood 2014): the same seed is the same race, as far as threads allow.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
    /// Lets the others go first, for a while.
    async fn dawdle(&mut self) {
        for _ in 0..self.roll(12) {
            tokio::task::yield_now().await;
        }
    }
}

/// What is raced for.
#[derive(Clone)]
struct Race {
    world: Arc<World>,
    enquiry: EnquiryId,
    conversation: ConversationId,
    said: InteractionId,
    /// The enquiry's token when the bot began to think.
    token: u64,
}

/// What one of them achieved.
#[derive(Debug, Default, Clone, PartialEq)]
struct Feat {
    who: &'static str,
    accepted: Option<u64>,
    answered: bool,
}

impl Race {
    async fn begin(world: &Arc<World>, connection: throughline_schemas::ConnectionId, seed: u64) -> Self {
        let address = format!("c{seed}@example.com");
        world.take(connection, vec![mail(&format!("m{seed}"), &address, "Help", world.clock.now())]).await;
        let said = world.timeline(world.who(&format!("email:{address}")).id).remove(0);
        let enquiry = said.enquiry_id.unwrap();
        let owned = world.hub.assign_enquiry(enquiry, Some("bot".to_owned())).await.unwrap().value;
        Self { world: world.clone(), enquiry, conversation: said.conversation_id, said: said.id, token: owned.fencing_token }
    }

    async fn answer(&self, token: u64, automatic: bool) -> bool {
        let message = json!({"text": "Here you are", "answers": self.said, "fencing_token": token, "automatic": automatic});
        match self.world.hub.send_message(self.conversation, serde_json::from_value(message).unwrap()).await {
            Ok(_) => true,
            Err(HubError::Fenced { .. } | HubError::Conflict { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The bot cannot help and hands over.
    async fn hand_over(self, mut dice: Dice) -> Feat {
        dice.dawdle().await;
        let new: Value =
            json!({"kind": "bot_to_human", "by": "bot", "to": {"queue": "support"}, "fencing_token": self.token, "deadline_seconds": 60});
        match self.world.hub.create_handoff(self.enquiry, serde_json::from_value(new).unwrap()).await {
            Ok(_) | Err(HubError::Fenced { .. }) => Feat { who: "bot", ..Feat::default() },
            Err(error) => panic!("{error}"),
        }
    }

    /// Another part of the bot has found an answer after all.
    async fn think_on(self, mut dice: Dice) -> Feat {
        dice.dawdle().await;
        Feat { who: "bot", accepted: None, answered: self.answer(self.token, true).await }
    }

    /// An agent takes what is offered, and answers.
    async fn take_over(self, who: &'static str, mut dice: Dice) -> Feat {
        let filter = HandoffFilter { enquiry: Some(self.enquiry), state: Some(HandoffState::Offered), receiver: None };
        for _ in 0..20 {
            dice.dawdle().await;
            let offered = self.world.hub.handoffs(&filter, Paging { cursor: None, limit: 1 }).unwrap().items;
            let Some(offered) = offered.into_iter().next() else {
                tokio::task::yield_now().await;
                continue;
            };
            let handoff = offered.value;
            let mine = HandoffAnswer { by: who.to_owned(), fencing_token: handoff.fencing_token, acknowledge_briefing: true, why: None };
            let Ok(taken) = self.world.hub.accept_handoff(handoff.id, mine).await else { continue };
            let token = taken.value.fencing_token;
            dice.dawdle().await;
            return Feat { who, accepted: Some(token), answered: self.answer(token, false).await };
        }
        Feat { who, ..Feat::default() }
    }

    /// Somebody gives it to somebody else altogether.
    async fn supervise(self, mut dice: Dice) -> Feat {
        if dice.roll(4) > 0 {
            return Feat { who: "eve", ..Feat::default() };
        }
        dice.dawdle().await;
        let token = self.world.hub.assign_enquiry(self.enquiry, Some("eve".to_owned())).await.unwrap().value.fencing_token;
        dice.dawdle().await;
        Feat { who: "eve", accepted: None, answered: self.answer(token, false).await }
    }

    async fn watch(self, mut dice: Dice) -> Feat {
        for _ in 0..dice.roll(3) {
            dice.dawdle().await;
            if dice.roll(3) == 0 {
                self.world.clock.by(Duration::from_secs(61));
            }
            self.world.hub.watch_handoffs().await.unwrap();
        }
        Feat { who: "watchdog", ..Feat::default() }
    }

    async fn run(&self, seed: u64) -> Vec<Feat> {
        let mut dice = Dice(seed);
        let mut fork = || Dice(dice.roll(u64::MAX));
        let mut racers = tokio::task::JoinSet::new();
        racers.spawn(self.clone().hand_over(fork()));
        racers.spawn(self.clone().think_on(fork()));
        racers.spawn(self.clone().take_over("ann", fork()));
        racers.spawn(self.clone().take_over("ben", fork()));
        racers.spawn(self.clone().supervise(fork()));
        racers.spawn(self.clone().watch(fork()));
        racers.join_all().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bot_and_people_race_and_there_is_one_owner_and_one_answer() {
    let world = Arc::new(World::new());
    let connection = world.connect("desk", json!({})).await;
    let (mut by_bot, mut by_person) = (0, 0);
    for seed in 0..RACES {
        let race = Race::begin(&world, connection, seed).await;
        let feats = race.run(seed).await;
        let accepted: Vec<&Feat> = feats.iter().filter(|feat| feat.accepted.is_some()).collect();
        let answered: Vec<&Feat> = feats.iter().filter(|feat| feat.answered).collect();
        assert!(accepted.len() <= 1, "seed {seed}: several took it: {feats:?}");
        assert!(answered.len() <= 1, "seed {seed}: several answered: {feats:?}");
        by_bot += answered.iter().filter(|feat| feat.who == "bot").count();
        by_person += answered.iter().filter(|feat| feat.who != "bot").count();
        let page = Paging { cursor: None, limit: 10 };
        let sent = world.hub.conversation_interactions(race.conversation, page).unwrap().items.len() - 1;
        assert_eq!(sent, answered.len(), "seed {seed}");
        let enquiry = world.hub.enquiry(race.enquiry).unwrap().value;
        assert!(accepted.iter().all(|feat| feat.accepted.unwrap() <= enquiry.fencing_token), "seed {seed}");
        if let Some(taken) = accepted.first().filter(|feat| feat.accepted == Some(enquiry.fencing_token)) {
            assert_eq!(enquiry.owner.as_deref(), Some(taken.who), "seed {seed}");
        }
        let open = HandoffFilter { enquiry: Some(race.enquiry), ..HandoffFilter::default() };
        let handoffs = world.hub.handoffs(&open, Paging { cursor: None, limit: 10 }).unwrap().items;
        assert!(handoffs.iter().filter(|stored| stored.value.state.is_open()).count() <= 1, "seed {seed}");
    }
    // A race that one side always wins is none.
    assert!(by_bot > 0 && by_person > 0, "by bot {by_bot}, by person {by_person}");
}
