//! Walking a list by its cursors sees everything once.

use std::collections::BTreeSet;

use crate::support::Api;

#[tokio::test]
async fn every_profile_is_seen_once() {
    let api = Api::new().await;
    let connection = api.connection().await;
    let mut wanted = BTreeSet::new();
    for number in 0..7 {
        wanted.insert(api.mail(connection, &format!("m{number}"), &format!("c{number}@customer.example")).await);
    }
    let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = api.get(&format!("/v1/profiles?limit=3{cursor}")).await.expect(200).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|profile| profile["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (7, 3));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[tokio::test]
async fn a_cursor_of_ones_own_making_is_refused() {
    let api = Api::new().await;
    for path in ["/v1/profiles", "/v1/connections", "/v1/enquiries", "/v1/dead-letters", "/v1/conflicts", "/v1/audit"] {
        let answer = api.get(&format!("{path}?cursor=%21%21nonsense")).await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        answer.problem();
    }
}
