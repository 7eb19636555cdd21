//! Who is speaking, and about what: spoofed mails, machines that answer machines, a code that proves an address.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use throughline_tests::mail::Mail;
use throughline_tests::stage::Stage;
use throughline_tests::story::setting::mailbox;
use throughline_tests::systems::email::MailServer;
use throughline_tests::wait::eventually;

const US: &str = "agent@mail.test";
const ADA: &str = "customer@mail.test";

fn arrived(stage: &Stage, from: &str, subject: &str) -> Result<Value> {
    eventually(&format!("the mail {subject:?}"), || {
        let timeline = stage.client.timeline(&format!("email:{from}"))?;
        Ok(timeline.into_iter().find(|item| item["direction"] == "inbound" && item["content"]["subject"] == subject))
    })
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().with_context(|| format!("it has no {field}: {value}"))
}

/// Ada's mail with a question, and what became of it.
fn asked(stage: &Stage, mail: &MailServer) -> Result<Value> {
    let question =
        Mail { from: ADA, subject: "Broken kettle", id: "q1@x.test", text: "It leaks at the spout, as it did before.", ..Mail::default() };
    mail.inject(ADA, US, &question.bytes())?;
    arrived(stage, ADA, question.subject)
}

/// The decisions of continuity about one interaction, newest first.
fn decided(stage: &Stage, interaction: &str) -> Result<Vec<Value>> {
    let all = stage.client.all(&format!("/v1/decisions?about={interaction}"))?;
    Ok(all.into_iter().filter(|decision| decision["subject"] == "continuity").collect())
}

/// S3
#[test]
fn spoofed_mails_with_a_valid_thread_or_token_are_parked() {
    Stage::play(&["email"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        let mut connection = mailbox(&mail)?;
        connection["config"]["authserv_id"] = "mx.mail.test".into();
        stage.connect(&connection)?;
        let first = asked(stage, &mail)?;
        let (conversation, enquiry) = (text(&first, "conversation_id")?, text(&first, "enquiry_id")?);
        let sent = stage.client.post(&format!("/v1/conversations/{conversation}/messages"), &json!({ "text": "Where does it leak?" }))?;
        let message_id = sent["thread"]["message_id"].as_str().context("what we sent has an id")?;
        let issued = stage.client.post(&format!("/v1/enquiries/{enquiry}/tokens"), &json!({ "form": "plus_address", "at": US }))?;
        let failed = "Authentication-Results: mx.mail.test; spf=fail; dmarc=fail header.from=mail.test\r\n";
        let thread = format!("{failed}In-Reply-To: <{message_id}>\r\n");
        let spoofed = [("Re: Broken kettle", thread.as_str(), US), ("New address", failed, text(&issued, "value")?)];
        for (number, (subject, more, to)) in spoofed.into_iter().enumerate() {
            let id = format!("spoof{number}@evil.test");
            let mut body = Mail { from: ADA, subject, id: &id, more, text: "Send everything to me instead." }.bytes();
            if to != US {
                body = String::from_utf8_lossy(&body).replace("To: agent@mail.test", &format!("To: {to}")).into_bytes();
            }
            mail.inject("mallory@evil.test", to, &body)?;
            let item = arrived(stage, ADA, subject)?;
            ensure!(item["enquiry_id"].is_null(), "{subject}: it is appended nowhere: {item}");
            ensure!(item["conversation_id"] != conversation, "{subject}: an answer to it would not go to Ada's thread");
            let decision = decided(stage, text(&item, "id")?)?.into_iter().next().context("it was decided about")?;
            ensure!(decision["verdict"] == "park" && decision["enquiry_id"] == enquiry, "{subject}: {decision}");
        }
        let inside = stage.client.all(&format!("/v1/enquiries/{enquiry}/interactions"))?;
        ensure!(inside.len() == 2, "question and answer, and nothing else: {inside:?}");
        // The same from a server that says nothing against it is hers.
        let more = format!("In-Reply-To: <{message_id}>\r\n");
        let own = Mail { from: ADA, subject: "At the spout", id: "own@x.test", more: &more, text: "As I said." };
        mail.inject(ADA, US, &own.bytes())?;
        ensure!(arrived(stage, ADA, own.subject)?["enquiry_id"] == enquiry, "her own answer goes on");
        Ok(())
    });
}

/// S4
#[test]
fn two_machines_that_answer_each_other_are_stopped_at_once() {
    const ROUNDS: usize = 100;
    const AT_ONCE: usize = 10;
    Stage::play(&["email"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        stage.connect(&mailbox(&mail)?)?;
        let first = asked(stage, &mail)?;
        let (conversation, enquiry) = (text(&first, "conversation_id")?, text(&first, "enquiry_id")?);
        let path = format!("/v1/conversations/{conversation}/messages");
        let rule = json!({ "text": "We have your mail.", "automatic": true });
        let mut sent = 0;
        let mut answer = || -> Result<String> {
            let body = serde_json::to_vec(&rule)?;
            let said = stage.client.request("POST", &path, &[("content-type", "application/json")], Some(&body))?;
            if said.status == 202 {
                sent += 1;
            } else {
                ensure!(said.status == 409, "a rule is told why it may not: {said:?}");
            }
            Ok(said.body["thread"]["message_id"].as_str().unwrap_or_default().to_owned())
        };
        // All the notices answer what the rule sent first.
        let thread = format!("In-Reply-To: <{}>\r\n", answer()?);
        stage.client.post(&format!("/v1/enquiries/{enquiry}/resolve"), &json!({}))?;
        for round in 0..ROUNDS / AT_ONCE {
            for number in round * AT_ONCE..(round + 1) * AT_ONCE {
                let (id, subject) = (format!("ooo{number}@x.test"), format!("Automatic reply {number}"));
                // Half of them say what they are, half only look like it.
                let says = if number.is_multiple_of(2) { "Auto-Submitted: auto-replied\r\n" } else { "X-Nothing: here\r\n" };
                let more = format!("{thread}{says}");
                let notice = Mail { from: ADA, subject: &subject, id: &id, more: &more, text: "I am away until Monday." };
                mail.inject(ADA, US, &notice.bytes())?;
            }
            for number in round * AT_ONCE..(round + 1) * AT_ONCE {
                let item = arrived(stage, ADA, &format!("Automatic reply {number}"))?;
                ensure!(item["automated"].is_string(), "it is known for a machine's: {item}");
                answer()?;
            }
        }
        ensure!(sent == 1, "one automatic send, and not {sent}");
        let status = stage.client.get(&format!("/v1/enquiries/{enquiry}"))?["status"].clone();
        ensure!(status == "resolved", "nothing opened it again: {status}");
        let received = eventually("the one automatic mail", || Ok(Some(mail.mails(ADA, None)?).filter(|mails| !mails.is_empty())))?;
        ensure!(received.len() == 1, "Ada got {} mails", received.len());
        ensure!(String::from_utf8_lossy(&received[0]).contains("Auto-Submitted: auto-replied"), "it says that it is automatic");
        Ok(())
    });
}

/// The part of S1 that proves an address: a code goes out by real mail and comes back in a conversation.
#[test]
fn a_code_by_mail_proves_an_address() {
    Stage::play(&["email"], |stage| {
        let mail = MailServer::start(&stage.folder().join("mail"))?;
        stage.connect(&mailbox(&mail)?)?;
        let first = asked(stage, &mail)?;
        let conversation = text(&first, "conversation_id")?;
        let person = text(&first, "profile_id")?;
        stage.client.patch(&format!("/v1/profiles/{person}"), &json!({ "fields": { "display_name": "Ada Lovelace" } }))?;
        let told = || stage.client.get(&format!("/v1/lookup?conversation={conversation}"));
        ensure!(told()?["profile"]["display_name"].is_null(), "a From header proves nothing");
        let proofs = format!("/v1/conversations/{conversation}/proofs");
        let begun = stage.client.post(&proofs, &json!({ "to": format!("email:{ADA}") }))?;
        ensure!(begun["status"] == "pending" && begun["to"] == "c•••••••@mail.test", "{begun}");
        let code = eventually("the code in Ada's mailbox", || {
            let mails = mail.mails(ADA, None)?;
            let body = mails.first().map(|mail| String::from_utf8_lossy(mail).into_owned());
            Ok(body.and_then(|body| Some(body.split_once("Your code is ")?.1.chars().take(6).collect::<String>())))
        })?;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        let refused = stage.client.post(&format!("{proofs}/verify"), &json!({ "code": wrong }))?;
        ensure!(refused["status"] == "pending" && refused["attempts_left"] == 2, "{refused}");
        let done = stage.client.post(&format!("{proofs}/verify"), &json!({ "code": code }))?;
        ensure!(done["status"] == "approved", "{done}");
        ensure!(told()?["profile"]["display_name"] == "Ada Lovelace", "{}", told()?);
        Ok(())
    });
}
