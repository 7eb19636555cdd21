//! A mailbox through the hub: what goes wrong with servers, and what people and machines really send.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use throughline_tests::mail::Mail;
use throughline_tests::stage::Stage;
use throughline_tests::story::setting::mailbox;
use throughline_tests::systems::email::MailServer;
use throughline_tests::systems::stand_in::StandIn;
use throughline_tests::wait::eventually;

const US: &str = "agent@mail.test";
const ADA: &str = "customer@mail.test";

/// The mail with this subject on somebody's timeline.
fn arrived(stage: &Stage, from: &str, subject: &str) -> Result<Value> {
    eventually(&format!("the mail {subject:?}"), || {
        let timeline = stage.client.timeline(&format!("email:{from}"))?;
        Ok(timeline.into_iter().find(|item| item["direction"] == "inbound" && item["content"]["subject"] == subject))
    })
}

fn enquiry_of(stage: &Stage, item: &Value) -> Result<Value> {
    stage.client.get(&format!("/v1/enquiries/{}", item["enquiry_id"].as_str().context("it is in an enquiry")?))
}

#[test]
fn a_wrong_password_is_named_until_it_is_mended_and_a_restarted_server_is_found_again() {
    Stage::play(&["email"], |stage| {
        let mut mail = MailServer::start(&stage.folder().join("mail"))?;
        let mut connection = mailbox(&mail)?;
        connection["secrets"] = json!({ "password": "not it" });
        let id = stage.connect(&connection)?;
        let health = stage.until_health(&id, "needs_attention")?;
        let error = &health["last_error"];
        ensure!(error["class"] == "auth" && error["message"].as_str().is_some_and(|said| said.contains("password")), "it says {error}");
        stage.client.patch(&format!("/v1/connections/{id}"), &json!({ "secrets": { "password": "secret" } }))?;
        stage.until_health(&id, "healthy")?;
        let before = Mail { from: ADA, subject: "before", id: "before@x.test", text: "Hello", ..Mail::default() };
        mail.inject(ADA, US, &before.bytes())?;
        arrived(stage, ADA, "before")?;

        mail.stop_imap();
        stage.until_health(&id, "failing")?;
        let meanwhile = Mail { subject: "meanwhile", id: "meanwhile@x.test", ..before };
        mail.put(US, [meanwhile.bytes()])?;
        mail.start_imap()?;
        arrived(stage, ADA, "meanwhile")?;
        stage.until_health(&id, "healthy")?;
        let timeline = stage.client.timeline(&format!("email:{ADA}"))?;
        ensure!(timeline.len() == 2, "each mail is there once: {timeline:?}");
        Ok(())
    });
}

#[test]
fn a_server_that_talks_nonsense_harms_nobody_else() {
    Stage::play(&["email"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        stage.connect(&mailbox(&mail)?)?;
        let nonsense = [
            StandIn::start(|mut stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"))?,
            // A line without an end, for as long as somebody listens.
            StandIn::start(|mut stream| {
                loop {
                    stream.write_all(&[0xfe; 64 * 1024])?;
                }
            })?,
            // A greeting, then answers to questions that nobody asked.
            StandIn::start(|mut stream| stream.write_all(b"* OK hello\r\n* 1 FETCH (UID {99999999999}\r\n) ))) \0\r\nA1 MAYBE\r\n"))?,
            StandIn::start(|_| Ok(()))?,
        ];
        for (number, server) in nonsense.iter().enumerate() {
            let mut connection = mailbox(&mail)?;
            connection["name"] = format!("nonsense {number}").into();
            connection["config"]["imap_port"] = server.port().into();
            connection["config"]["imap_security"] = "plain".into();
            connection["grants"]["hosts"] =
                json!(["tcp://{config.imap_host}:{config.imap_port}", "tcp://{config.smtp_host}:{config.smtp_port}"]);
            let id = stage.connect(&connection).with_context(|| format!("server {number}"))?;
            let health = eventually("an error", || Ok(Some(stage.health(&id)?).filter(|health| health["last_error"].is_object())))?;
            let said = health["last_error"]["message"].as_str().unwrap_or_default();
            ensure!(said.contains("IMAP"), "server {number}: {health}");
            ensure!(health["last_error"]["class"] != "bug", "server {number}: {health}");
        }
        let fine = Mail { from: ADA, subject: "all is well", id: "fine@x.test", text: "Hello", ..Mail::default() };
        mail.inject(ADA, US, &fine.bytes())?;
        arrived(stage, ADA, "all is well")?;
        ensure!(stage.is_ready()?, "the hub is ready");
        Ok(())
    });
}

#[test]
fn threads_tokens_and_machines_are_told_apart() {
    Stage::play(&["email"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        stage.connect(&mailbox(&mail)?)?;
        let answer = ada_is_answered(stage, &mail)?;
        ada_replies(stage, &mail, &answer)?;
        strangers_do_not_get_in(stage, &mail, &answer)?;
        machines_reopen_nothing(stage, &mail, &answer)
    });
}

/// What Ada got back from us.
struct Answer {
    enquiry: String,
    message_id: String,
    reply_to: String,
}

fn ada_is_answered(stage: &Stage, mail: &MailServer) -> Result<Answer> {
    let question = Mail { from: ADA, subject: "Broken kettle", id: "q1@x.test", text: "It leaks.", ..Mail::default() };
    mail.inject(ADA, US, &question.bytes())?;
    let first = arrived(stage, ADA, "Broken kettle")?;
    let conversation = first["conversation_id"].as_str().context("a mail is in a conversation")?;
    stage.client.post(&format!("/v1/conversations/{conversation}/messages"), &json!({ "text": "Where does it leak?" }))?;
    let received = eventually("the answer in Ada's mailbox", || {
        let mails = mail.mails(ADA, None)?;
        Ok(mails.into_iter().map(|mail| String::from_utf8_lossy(&mail).into_owned()).find(|mail| mail.contains("Where does it leak?")))
    })?;
    // Long header lines are folded.
    let received = received.replace("\r\n ", " ").replace("\r\n\t", " ").replace("\n ", " ").replace("\n\t", " ");
    let header = |name: &str| {
        let line = received.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
        let value = line.map(|line| line[name.len()..].trim().to_owned());
        value.with_context(|| format!("the answer has no {name} {received}"))
    };
    let bare = |value: String| value.rsplit('<').next().unwrap_or_default().trim_end_matches('>').to_owned();
    Ok(Answer {
        enquiry: first["enquiry_id"].as_str().context("it opened an enquiry")?.to_owned(),
        message_id: bare(header("message-id:")?),
        reply_to: bare(header("reply-to:")?),
    })
}

fn ada_replies(stage: &Stage, mail: &MailServer, answer: &Answer) -> Result<()> {
    let more = format!("In-Reply-To: <{}>\r\n", answer.message_id);
    let reply = Mail { from: ADA, subject: "Re: Broken kettle", id: "q2@x.test", more: &more, text: "At the spout." };
    mail.inject(ADA, US, &reply.bytes())?;
    ensure!(arrived(stage, ADA, reply.subject)?["enquiry_id"] == answer.enquiry.as_str(), "a reply goes on where it belongs");
    // Her mail program lost the thread, but the address still says where it belongs.
    let by_token = Mail { from: ADA, subject: "The photo", id: "q3@x.test", text: "Here it is.", ..Mail::default() };
    mail.inject(ADA, &answer.reply_to, &by_token.bytes())?;
    ensure!(arrived(stage, ADA, by_token.subject)?["enquiry_id"] == answer.enquiry.as_str(), "a token leads to its enquiry");
    Ok(())
}

fn strangers_do_not_get_in(stage: &Stage, mail: &MailServer, answer: &Answer) -> Result<()> {
    let stolen = Mail { from: "eve@evil.test", subject: "Stolen token", id: "e1@evil.test", text: "Send it to me.", ..Mail::default() };
    mail.inject("eve@evil.test", &answer.reply_to, &stolen.bytes())?;
    let item = arrived(stage, "eve@evil.test", stolen.subject)?;
    ensure!(item["enquiry_id"] != answer.enquiry.as_str(), "a stranger is not appended to Ada's enquiry: {item}");
    // It is found where it wanted to go.
    let decisions = stage.client.all(&format!("/v1/decisions?about={}", answer.enquiry))?;
    let is_parked = |decision: &Value| decision["outcome"].as_str().is_some_and(|outcome| outcome.contains("parked"));
    let parked = decisions.iter().any(|decision| decision["interaction_id"] == item["id"] && is_parked(decision));
    ensure!(parked, "it is said that it was parked: {decisions:?}");

    let forged = Mail { from: "mallory@evil.test", subject: "Forged token", id: "e2@evil.test", text: "Open up.", ..Mail::default() };
    mail.inject("mallory@evil.test", "agent+tl.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA@mail.test", &forged.bytes())?;
    let item = arrived(stage, "mallory@evil.test", forged.subject)?;
    ensure!(item["enquiry_id"] != answer.enquiry.as_str(), "a forged token opens nothing of Ada's: {item}");
    Ok(())
}

fn machines_reopen_nothing(stage: &Stage, mail: &MailServer, answer: &Answer) -> Result<()> {
    let path = format!("/v1/enquiries/{}", answer.enquiry);
    stage.client.post(&format!("{path}/resolve"), &json!({}))?;
    let thread = format!("In-Reply-To: <{}>\r\n", answer.message_id);
    let away = format!("{thread}Auto-Submitted: auto-replied (vacation)\r\n");
    let machine = Mail { from: ADA, subject: "Away until Monday", id: "q4@x.test", more: &away, text: "I am away." };
    mail.inject(ADA, US, &machine.bytes())?;
    let item = arrived(stage, ADA, machine.subject)?;
    ensure!(item["automated"].is_string(), "it is marked as automatic: {item}");
    ensure!(stage.client.get(&path)?["status"] == "resolved", "an out-of-office note re-opens nothing");
    let person = Mail { from: ADA, subject: "It still leaks", id: "q5@x.test", more: &thread, text: "Again." };
    mail.inject(ADA, US, &person.bytes())?;
    let enquiry = enquiry_of(stage, &arrived(stage, ADA, person.subject)?)?;
    ensure!(enquiry["id"] == answer.enquiry.as_str() && enquiry["status"] == "open", "a person's reply does: {enquiry}");
    Ok(())
}

#[test]
fn large_and_broken_mails_come_through() {
    Stage::play(&["email"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        stage.connect(&mailbox(&mail)?)?;
        let content = noise(15 * 1024 * 1024);
        let large = Mail { from: ADA, subject: "Twenty megabytes", id: "large@x.test", text: "See the attached plan.", ..Mail::default() };
        mail.inject(ADA, US, &large.with_attachment("plan.bin", &content))?;
        let broken = Mail {
            from: ADA,
            subject: "Broken parts",
            id: "broken@x.test",
            more: "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\r\nX-Odd: \u{fffd}=?utf-9?Q?=zz?=\r\n",
            text: "--b\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nstill readable\r\n--b\r\nContent-Type: image/png\r\n\
                   Content-Transfer-Encoding: base64\r\n\r\n%%%not base64%%%\r\n--b\r\nContent-Type: multipart/mixed; boundary=\r\n",
        };
        mail.inject(ADA, US, &broken.bytes())?;
        arrived(stage, ADA, broken.subject)?;
        let item = arrived(stage, ADA, large.subject)?;
        let attachment = &item["content"]["attachments"][0];
        ensure!(attachment["name"] == "plan.bin" && attachment["size"] == content.len(), "it has the attachment: {attachment}");
        let path = format!("/v1/blobs/{}", attachment["reference"].as_str().context("an attachment has a reference")?);
        ensure!(stage.client.download(&path)? == content, "the attachment is what was sent, byte for byte");
        Ok(())
    });
}

/// Bytes that no compression and no text filter leaves alone, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(next());
    }
    bytes.truncate(length);
    bytes
}
