//! Backup and restore: the way there and back, and what is refused.

use crate::support::{Place, component};

#[test]
fn a_backup_comes_back_with_everything_but_the_key() {
    let place = Place::new();
    let hub = place.serve();
    let key = hub.key().unwrap();
    hub.run(&place, &key, &["plugin", "install", &component("minimal")]).ok();
    let add = ["connection", "add", "minimal", "--set", "base_url=http://127.0.0.1:1", "--secret", "api_token=env:API_TOKEN"];
    hub.run(&place, &key, &[&add[..], &["--grant-all-hosts", "--private-host", "127.0.0.1"]].concat()).ok();
    place.run(&["backup", "b.tlb"]).fails(1, &["no hub uses the folder"]);
    hub.stop();

    place.run(&["backup", "b.tlb"]).ok();
    place.run(&["backup", "b.tlb"]).fails(1, &["b.tlb is there already"]);
    place.run(&["restore", "b.tlb"]).fails(1, &["data is not empty"]);
    let told = place.run(&["restore", "b.tlb", "--data", "new"]).ok();
    assert!(told.out.contains("new/hub.key"), "{}", told.out);
    place.run(&["serve", "--data", "new", "--listen", "127.0.0.1:0"]).fails(1, &["new/hub.key is gone"]);

    std::fs::copy(place.path("data/hub.key"), place.path("new/hub.key")).unwrap();
    let restored = place.serve_with(&["--data", "new"]);
    let list = restored.run(&place, &key, &["--json", "connection", "list"]).ok().json();
    assert_eq!(list[0]["secret_names"][0], "api_token");
    assert_eq!(restored.run(&place, &key, &["--json", "plugin", "list"]).ok().json()[0]["manifest"]["name"], "minimal");
}

#[test]
fn the_key_is_in_it_if_asked_for() {
    let place = Place::new();
    place.serve().stop();
    assert!(place.run(&["backup", "b.tlb", "--include-key"]).ok().out.contains("read every secret"));
    place.run(&["restore", "b.tlb", "--data", "new"]).ok();
    let key = |folder: &str| std::fs::read(place.path(folder).join("hub.key")).unwrap();
    assert_eq!(key("new"), key("data"));
    place.serve_with(&["--data", "new"]).stop();
}

#[test]
fn what_is_no_whole_backup_restores_nothing() {
    let place = Place::new();
    place.run(&["backup", "b.tlb"]).fails(1, &["no data folder"]);
    place.serve().stop();
    place.run(&["backup", "b.tlb"]).ok();
    let whole = std::fs::read(place.path("b.tlb")).unwrap();
    // Every kind of place in it: header of an entry, the store's bytes, the list at the end.
    for cut in [0, 100, 600, 1000, whole.len() / 2, whole.len() - 1536] {
        std::fs::write(place.path("cut.tlb"), &whole[..cut]).unwrap();
        place.run(&["restore", "cut.tlb", "--data", "new"]).fails(1, &["nothing was restored"]);
        assert!(!place.path("new").exists() && !place.path("new.restoring").exists(), "cut at {cut}");
    }
    // The first entry's name, the store's bytes, a digest in the list.
    let digest = whole.windows(8).position(|text| text == b"\"sha256\"").unwrap() + 12;
    for flipped in [2, 600, 700, digest] {
        let mut altered = whole.clone();
        altered[flipped] ^= 0x40;
        std::fs::write(place.path("alt.tlb"), &altered).unwrap();
        place.run(&["restore", "alt.tlb", "--data", "new"]).fails(1, &["nothing was restored"]);
        assert!(!place.path("new").exists(), "altered at {flipped}");
    }
    place.write("text.tlb", "this is no backup at all");
    place.run(&["restore", "text.tlb", "--data", "new"]).fails(1, &["no backup"]);
    place.run(&["restore", "absent.tlb", "--data", "new"]).fails(1, &["absent.tlb"]);
}
