//! The demo's story, verified step by step.

use throughline_tests::story::{Setting, Story};

#[test]
fn one_enquiry_crosses_mail_crm_and_pbx_with_nothing_asked_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    let mut say = |line: &str| lines.push(line.to_owned());
    let setting = Setting::start(folder.path(), None, &mut say).unwrap();
    let told = Story::new(&setting, &mut say).tell();
    if let Err(error) = told {
        panic!("{error:?}\n{}\n--- hub\n{}\n--- mail\n{}", lines.join("\n"), setting.hub.log(), setting.mail.logs());
    }
}
