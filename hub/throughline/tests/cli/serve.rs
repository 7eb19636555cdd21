//! `throughline serve`: its life, and the configuration it refuses.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::support::Place;

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_starts_from_nothing_and_ends_in_good_order() {
    let place = Place::new();
    let hub = place.serve();
    assert!(hub.key().is_some(), "{:?}", hub.printed);
    assert_eq!((hub.status("/readyz"), hub.status("/docs"), hub.status("/livez")), (200, 200, 200));
    assert_eq!((mode(&place.path("data")), mode(&place.path("data/hub.key"))), (0o700, 0o600));
    let (code, took) = hub.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "it took {took:?} to end");

    let again = place.serve();
    assert_eq!(again.key(), None, "the first admin key is shown once");
    again.signal("INT");
    assert_eq!(again.stop().0, Some(0));
}

#[test]
fn it_starts_again_after_it_was_killed_and_the_key_still_holds() {
    let place = Place::new();
    let hub = place.serve();
    let key = hub.key().unwrap();
    hub.kill();
    let hub = place.serve();
    assert_eq!(hub.key(), None);
    hub.run(&place, &key, &["connection", "list"]).ok();
}

#[test]
fn a_second_hub_on_the_same_folder_or_address_is_told_so() {
    let place = Place::new();
    let hub = place.serve();
    place.run(&["serve", "--listen", "127.0.0.1:0"]).fails(1, &["another process", "data/store"]);
    let address = hub.url.strip_prefix("http://").unwrap();
    Place::new().run(&["serve", "--listen", address]).fails(1, &["cannot listen on", address]);
    assert_eq!(hub.status("/readyz"), 200);
}

#[test]
fn the_first_admin_key_can_go_to_a_new_file_and_is_never_lost() {
    let place = Place::new();
    place.write("there", "something else");
    place.run(&["serve", "--listen", "127.0.0.1:0", "--admin-key-file", "there"]).fails(1, &["cannot make there"]);
    assert_eq!(std::fs::read_to_string(place.path("there")).unwrap(), "something else");
    // Nothing was given out by the start that failed.
    let hub = place.serve_with(&["--admin-key-file", "key"]);
    assert_eq!(hub.key(), None, "it is in the file, not printed");
    assert_eq!(mode(&place.path("key")), 0o600);
    let key = std::fs::read_to_string(place.path("key")).unwrap();
    hub.run(&place, &key, &["connection", "list"]).ok();
}

#[test]
fn who_lost_all_admin_keys_gets_another_at_the_next_start() {
    let place = Place::new();
    let first = place.serve().key().unwrap();
    let hub = place.serve_with(&["--new-admin-key"]);
    let second = hub.key().unwrap();
    assert_ne!(first, second);
    for key in [first, second] {
        hub.run(&place, &key, &["connection", "list"]).ok();
    }
}

#[test]
fn a_store_whose_key_is_gone_is_not_opened_with_another() {
    let place = Place::new();
    place.serve().stop();
    std::fs::remove_file(place.path("data/hub.key")).unwrap();
    place.run(&["serve", "--listen", "127.0.0.1:0"]).fails(1, &["hub.key", "put your copy of it back"]);
    assert!(!place.path("data/hub.key").exists());
}

#[test]
fn wrong_configuration_is_refused_with_the_field_named() {
    let place = Place::new();
    for (text, words) in [
        ("listn = \"127.0.0.1:1\"", ["listn", "listen"]),
        ("listen = \"nowhere\"", ["listen", "throughline.toml"]),
        ("log_format = \"xml\"", ["log_format", "json"]),
        ("cache_mib = -1", ["cache_mib", "throughline.toml"]),
        ("extra_ca_file = \"absent.pem\"", ["extra_ca_file", "absent.pem"]),
        ("log = \"info=debug=x\"", ["log", "info"]),
    ] {
        place.write("throughline.toml", text);
        place.run(&["serve"]).fails(1, &words);
    }
    std::fs::remove_file(place.path("throughline.toml")).unwrap();
    place.run(&["serve", "--config", "absent.toml"]).fails(1, &["absent.toml"]);
    place.run(&["serve", "--listen", "nowhere"]).fails(2, &["--listen"]);
    place.write("file", "");
    place.run(&["serve", "--data", "file"]).fails(1, &["file"]);
}

#[test]
fn flags_win_over_environment_and_file() {
    let place = Place::new();
    place.write("throughline.toml", "data = \"from-file\"\nlisten = \"256.0.0.1:1\"");
    place.run(&["serve"]).fails(1, &["listen"]);
    place.write("throughline.toml", "data = \"from-file\"\nlisten = \"127.0.0.1:1\"");
    // `listen` of the flag, `data` of the environment.
    place.serve().stop();
    assert!(place.path("data/store").is_dir() && !place.path("from-file").exists());
}
