//! What holds whatever the records: no order matters, what is gone left no trace, decrees are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// Records that have much in common, so that everything there is to go wrong does.
fn record() -> impl Strategy<Value = PersonRecord> {
    let pick = |words: &'static [&'static str]| prop::sample::select(words).prop_map(str::to_owned);
    (
        pick(&["", "ada", "adda", "bob", "robert", "r"]),
        pick(&["", "lovelace", "lovelase", "smith", "ada"]),
        pick(&["", "ada@a.example", "adda@a.example", "info@a.example", "bob1@b.example"]),
        pick(&["", "+442079460123", "+442079460124", "+447700900001"]),
        pick(&["", "1980-02-03", "1980-03-02", "1975-01-01"]),
        pick(&["", "bristol", "bristoll", "york"]),
        pick(&["", "bs12el", "yo11aa"]),
        pick(&["", "L12345678", "L99999999"]),
    )
        .prop_map(|(given, surname, email, phone, birth_date, city, postcode, membership)| PersonRecord {
            given,
            surname,
            email,
            phone,
            birth_date,
            city,
            postcode,
            membership,
            ..PersonRecord::default()
        })
}

fn records(most: usize) -> impl Strategy<Value = Vec<PersonRecord>> {
    prop::collection::vec(record(), 1..most).prop_map(|mut all| {
        for (number, record) in all.iter_mut().enumerate() {
            record.id = format!("r{number}");
        }
        all
    })
}

fn empty() -> Resolver {
    Resolver::new(Arc::new(Model::shipped()), Settings::default())
}

fn batch(records: &[PersonRecord]) -> Resolver {
    let mut resolver = empty();
    resolver.load(records);
    resolver
}

fn owned(resolver: &Resolver) -> Vec<(String, String)> {
    resolver.persons().into_iter().map(|(record, person)| (record.to_owned(), person.to_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_in_any_order_gives_what_a_batch_gives(all in records(40), seed in any::<u64>()) {
        let whole = batch(&all);
        let mut shuffled = all.clone();
        shuffled.sort_by_key(|record| hash::of_parts(&[seed, hash::of_text(&record.id)]));
        let mut stream = empty();
        for record in &shuffled {
            stream.insert(record);
        }
        prop_assert_eq!(stream.persons(), whole.persons());
        prop_assert_eq!(stream.doubtful(0), whole.doubtful(0));
        prop_assert_eq!(owned(&batch(&shuffled)), owned(&whole));
    }

    #[test]
    fn what_was_taken_out_was_never_there(all in records(30), gone in prop::collection::btree_set(0_usize..30, 0..12)) {
        let gone: BTreeSet<String> = gone.into_iter().map(|number| format!("r{number}")).collect();
        let left: Vec<PersonRecord> = all.iter().filter(|record| !gone.contains(&record.id)).cloned().collect();
        let mut resolver = batch(&all);
        for id in &gone {
            resolver.remove(id);
        }
        prop_assert_eq!(owned(&resolver), owned(&batch(&left)));
        // And what comes back is as if it had never gone.
        for record in all.iter().filter(|record| gone.contains(&record.id)) {
            resolver.insert(record);
        }
        prop_assert_eq!(owned(&resolver), owned(&batch(&all)));
    }

    #[test]
    fn a_record_that_changes_is_the_record_it_is_now(all in records(25), other in record()) {
        let mut changed = all.clone();
        changed[0] = PersonRecord { id: "r0".to_owned(), ..other };
        let mut resolver = batch(&all);
        resolver.insert(&changed[0]);
        prop_assert_eq!(owned(&resolver), owned(&batch(&changed)));
    }

    #[test]
    fn groups_stay_together_and_what_is_kept_apart_stays_apart(mut all in records(25)) {
        let last = all.len() - 1;
        for place in [0, last] {
            all[place].group = "one".to_owned();
        }
        let mut resolver = empty();
        if last >= 3 {
            resolver.keep_apart("r1", "r2");
        }
        resolver.load(&all);
        let person = |id: &str| resolver.persons().into_iter().find(|(record, _)| *record == id).map(|(_, person)| person.to_owned());
        prop_assert_eq!(person("r0"), person(&format!("r{last}")));
        if last >= 3 {
            prop_assert_ne!(person("r1"), person("r2"));
        }
    }
}

#[test]
fn a_switchboard_beyond_every_cap_is_no_matter_of_order() {
    let all: Vec<PersonRecord> = (0..160)
        .map(|number| PersonRecord {
            id: format!("r{number}"),
            phone: "+442079460123".to_owned(),
            given: if number % 3 == 0 { String::new() } else { format!("name{}", number / 4) },
            surname: if number % 5 == 0 { "smith".to_owned() } else { String::new() },
            ..PersonRecord::default()
        })
        .collect();
    let mut stream = empty();
    for record in all.iter().rev() {
        stream.insert(record);
    }
    assert_eq!(stream.persons(), batch(&all).persons());
    for number in 60..160 {
        assert!(stream.remove(&format!("r{number}")));
    }
    assert_eq!(stream.persons(), batch(&all[..60]).persons());
}

#[test]
fn what_is_plain_to_people_is_plain_to_the_weights_that_ship() {
    let person = |id: &str, given: &str, surname: &str, email: &str, phone: &str, birth: &str| PersonRecord {
        id: id.to_owned(),
        given: given.to_owned(),
        surname: surname.to_owned(),
        email: email.to_owned(),
        phone: phone.to_owned(),
        birth_date: birth.to_owned(),
        ..PersonRecord::default()
    };
    let all = [
        person("a1", "robert", "lovelace", "rl@a.example", "+447700900001", ""),
        person("a2", "bob", "lovelace", "", "+447700900001", "1980-02-03"),
        person("a3", "lovelace", "robert", "rl@a.example", "", "1980-03-02"),
        // The same landline, another given name and date of birth: a household.
        person("b1", "ada", "king", "", "+442079460123", "1971-05-06"),
        person("b2", "william", "king", "", "+442079460123", "1969-11-30"),
    ];
    let persons = owned(&batch(&all));
    let of = |id: &str| persons.iter().find(|(record, _)| record == id).map(|(_, person)| person.clone()).unwrap();
    assert_eq!((of("a1"), of("a1")), (of("a2"), of("a3")));
    assert_ne!(of("b1"), of("b2"));
    let explained = batch(&all).explain("a1", "a2").unwrap();
    assert!(explained.score > 0 && explained.steps.iter().any(|step| step.field == "phone" && step.bits > 0.0), "{explained:?}");
    let total: f32 = explained.steps.iter().map(|step| step.bits).sum();
    assert!((total - explained.score as f32 / 1000.0).abs() < 0.01, "{total} {explained:?}");
}

#[test]
fn among_more_people_a_name_alone_says_less() {
    let pair = ["1", "2"].map(|id| PersonRecord {
        id: id.to_owned(),
        given: "ada".to_owned(),
        surname: "smith".to_owned(),
        ..PersonRecord::default()
    });
    let score = |population: u64| {
        let mut resolver = Resolver::new(
            Arc::new(Model::shipped().for_population(population)),
            Settings { suggest: -100_000, merge: 100_000, ..Settings::default() },
        );
        resolver.load(&pair);
        resolver.doubtful(-100_000)[0].2
    };
    assert!(score(1_000) > score(100_000) && score(100_000) > score(10_000_000));
}

#[test]
fn a_fitted_model_is_the_same_whatever_the_order() {
    let all: Vec<PersonRecord> = (0..600)
        .map(|number| PersonRecord {
            id: format!("r{number}"),
            given: format!("given{}", number / 3 % 40),
            surname: format!("surname{}", number / 3),
            email: if number % 3 == 0 { String::new() } else { format!("mail{}@a.example", number / 3) },
            ..PersonRecord::default()
        })
        .collect();
    let mut reversed = all.clone();
    reversed.reverse();
    let model = fit(&all);
    assert_eq!((model.version.as_str(), model.population), ("fitted-600", 600));
    assert_eq!(model, fit(&reversed));
    let text = serde_json::to_string(&model).unwrap();
    assert_eq!(serde_json::from_str::<Model>(&text).unwrap().prepared(), model);
}
