//! Every command of the page "The API by example" works, from top to bottom.

use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpListener;
use tokio::process::Command;

use crate::script::COMPONENT;
use crate::support::Api;

const PAGE: &str = include_str!("../../../../docs/api-by-example.md");

/// The page's shell blocks as one script that stops at the first failure.
fn script() -> String {
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    format!("set -euo pipefail\n{}", blocks.collect::<Vec<_>>().join("\n"))
}

/// The files that the page takes for granted.
fn lay_out(dir: &Path) {
    std::fs::write(dir.join("email.wasm"), COMPONENT).unwrap();
    let mailbox = r#"{"name": "support mail", "plugin": "scripted", "config": {"host": "imap.example"}}"#;
    std::fs::write(dir.join("mailbox.json"), mailbox).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_runs_from_top_to_bottom() {
    let api = Api::new().await;
    let dir = tempfile::tempdir().unwrap();
    lay_out(dir.path());
    // Two people have written before.
    let before = api.connection().await;
    api.mail(before, "m1", "ada@customer.example").await;
    api.mail(before, "m2", "ada@work.example").await;
    let mut file = api.script.services(before).blob_writer("text/plain", None, 100).unwrap();
    file.write(b"an attachment").unwrap();
    let reference = file.finish().unwrap();
    api.rename(before, "earlier").await;

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, api.router()).into_future());
    let run = Command::new("bash")
        .args(["-c", &script()])
        .current_dir(dir.path())
        .envs([("HUB", hub.as_str()), ("KEY", &api.admin), ("REFERENCE", &reference)])
        .stdin(Stdio::null())
        .output();
    let output = run.await.expect("bash, curl and jq are installed");
    server.abort();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    for wanted in ["support mailbox", "\"eve\"", "\"branch\"", "io.throughline.enquiry.opened", "\"/colour\"", "It left our house today."] {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}\n{complained}");
    }
    assert_eq!(std::fs::read(dir.path().join("attachment.bin")).unwrap(), b"an attachment");
    assert_eq!(std::fs::read(dir.path().join("first-four-bytes.bin")).unwrap(), b"an a");
}
