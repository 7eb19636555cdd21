//! Any weaving of news, merges and separations keeps what must always hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use throughline_engine::{Clock, Paging};
use throughline_schemas::ProfileId;

use crate::support::{World, call, mail};

#[derive(Debug, Clone)]
enum Step {
    Mail(u8),
    Call(u8),
    Record(u8, u8, u8),
    Merge(usize, usize),
    Separate(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..5).prop_map(Step::Mail),
        (0u8..5).prop_map(Step::Call),
        (0u8..4, 0u8..5, 0u8..5).prop_map(|(key, mail, phone)| Step::Record(key, mail, phone)),
        (any::<usize>(), any::<usize>()).prop_map(|(one, other)| Step::Merge(one, other)),
        any::<usize>().prop_map(Step::Separate),
    ]
}

fn address(index: u8) -> String {
    format!("u{index}@example.com")
}

fn number(index: u8) -> String {
    format!("+4477009000{index:02}")
}

async fn run(steps: Vec<Step>) {
    let world = World::new();
    let id = world.connect("crm", json!({"sync": {"contact": {}}})).await;
    let now = world.clock.now();
    let (mut accepted, mut ever) = (0, BTreeSet::new());
    for (index, step) in steps.iter().enumerate() {
        let roots: Vec<ProfileId> = world.profiles().iter().map(|profile| profile.id).collect();
        match step {
            Step::Mail(who) => accepted += world.take(id, vec![mail(&format!("m{index}"), &address(*who), "Hi", now)]).await.accepted,
            Step::Call(who) => {
                let item = call(&format!("c{index}"), "1", Some(&number(*who)), "ended", &[], now);
                accepted += world.take(id, vec![item]).await.accepted;
            }
            Step::Record(key, mail, phone) => {
                let news = world.silo.edit("contact", &key.to_string(), json!({"email": address(*mail), "phone": number(*phone)}));
                world.take(id, vec![news]).await;
            }
            Step::Merge(one, other) if roots.len() > 1 => {
                let (one, other) = (roots[one % roots.len()], roots[other % roots.len()]);
                let merged = world.hub.merge_profiles(one, other, "t", "t").await;
                assert_eq!(merged.is_err(), one == other);
            }
            Step::Separate(which) => {
                let members: Vec<_> =
                    world.profiles().into_iter().flat_map(|root| root.members.into_iter().map(move |member| (root.id, member))).collect();
                if !members.is_empty() {
                    let (root, member) = members[which % members.len()];
                    world.hub.unmerge_profile(root, member, "t", "t").await.unwrap();
                }
            }
            Step::Merge(..) => {}
        }
        ever.extend(world.profiles().iter().map(|profile| profile.id));
        check(&world, &ever, accepted);
    }
}

fn check(world: &World, ever: &BTreeSet<ProfileId>, accepted: u64) {
    let roots = world.profiles();
    let mut shown: BTreeMap<ProfileId, ProfileId> = BTreeMap::new();
    for root in &roots {
        for id in std::iter::once(&root.id).chain(&root.members) {
            assert_eq!(shown.insert(*id, root.id), None, "{id} is shown once");
        }
        for member in &root.members {
            let merged = world.hub.profile(*member).unwrap_err();
            assert_eq!(merged, throughline_engine::HubError::Merged { into: root.id }, "flat: one step leads to the root");
        }
        for identity in &root.identities {
            let query = match identity.kind {
                throughline_schemas::IdentityType::External => continue,
                kind => format!("{}:{}", kind.as_str(), identity.value),
            };
            let found = world.hub.profiles(Some(&query), Paging { cursor: None, limit: 9 }).unwrap().items;
            assert!(found.iter().any(|stored| stored.value.id == root.id), "the index finds {query}");
        }
    }
    assert!(ever.iter().all(|id| shown.contains_key(id)), "nobody is lost");
    let mut seen = BTreeSet::new();
    for root in &roots {
        for interaction in world.timeline(root.id) {
            assert!(seen.insert(interaction.id), "on one timeline only");
        }
    }
    assert!(seen.len() as u64 <= accepted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_weaving_keeps_what_must_hold(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
