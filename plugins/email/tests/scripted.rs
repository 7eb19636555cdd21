//! Against scripted servers: what real ones do rarely, or only when something is wrong on the way.
#![expect(clippy::unwrap_used, reason = "a test whose helpers fail has failed")]

use throughline_plugin_email::{Config, Email};
use throughline_plugin_sdk::testing::{ByteStream, Guard, ScriptedStream, TestHost};
use throughline_plugin_sdk::{Channel, Connector, Error, ErrorClass, Item, Listener, OutboundMessage, Result, Source, Value, json};

const SECRET: &str = "se\"cr\\et";

fn config(changes: Value) -> Config {
    let mut config = json!({
        "imap_host": "imap.test", "imap_port": 143, "imap_security": "plain",
        "smtp_host": "smtp.test", "smtp_port": 587, "smtp_security": "plain",
        "username": "agent@mail.test", "address": "agent@mail.test"
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

fn host(stream: ScriptedStream) -> Guard {
    let mut stream = Some(stream);
    let connect = move |_: &str, _: u16, _| stream.take().ok_or_else(|| Error::new(ErrorClass::Transient, "refused"));
    TestHost::new().secret("password", SECRET).connect(connect).install()
}

fn bytes_host(stream: &ByteStream) -> Guard {
    let stream = stream.clone();
    TestHost::new().secret("password", SECRET).connect(move |_: &str, _: u16, _| stream.clone()).install()
}

fn logged_in(capabilities: &str) -> ScriptedStream {
    ScriptedStream::new()
        .reply("* OK ready\r\n")
        .expect_line("a1 CAPABILITY")
        .reply(format!("* CAPABILITY IMAP4rev1 {capabilities}\r\na1 OK\r\n"))
        .expect_line(r#"a2 LOGIN "agent@mail.test" "se\"cr\\et""#)
        .reply("a2 OK hello\r\n")
        .expect_line("a3 CAPABILITY")
        .reply(format!("* CAPABILITY IMAP4rev1 {capabilities}\r\na3 OK\r\n"))
}

fn mail(number: u32) -> String {
    format!(
        "From: ada@other.test\r\nTo: agent@mail.test\r\nSubject: Mail {number}\r\nMessage-ID: <{number}@other.test>\r\n\r\nHello {{3}}\r\n)\r\na99 OK no\r\n"
    )
}

fn listing(uid: u32) -> String {
    format!("* 1 FETCH (UID {uid} INTERNALDATE \"21-Nov-2026 10:00:00 +0100\" RFC822.SIZE {})\r\n", mail(uid).len())
}

fn body(uid: u32) -> String {
    format!("* 1 FETCH (FLAGS (\\Seen) UID {uid} BODY[] {{{}}}\r\n{})\r\n", mail(uid).len(), mail(uid))
}

/// All that a server says to a listener that finds one mail, is woken by another, and goes to sleep again.
fn listener_transcript() -> String {
    [
        "* OK ready\r\n* CAPABILITY IMAP4rev1 IDLE\r\na1 OK\r\na2 OK hello\r\n* CAPABILITY IMAP4rev1 IDLE\r\na3 OK\r\n",
        "* FLAGS (\\Seen)\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\na4 OK [READ-ONLY] open\r\n",
        &format!("* 1 FETCH (UID 3)\r\na5 OK\r\n{}a6 OK\r\n{}a7 OK\r\n* 1 FETCH (UID 3)\r\na8 OK\r\n", listing(3), body(3)),
        "+ idling\r\n* OK still here\r\n* 2 EXISTS\r\n* 2 RECENT\r\na9 OK awake\r\n",
        &format!("* 2 FETCH (UID 5)\r\na10 OK\r\n{}a11 OK\r\n{}a12 OK\r\n* 2 FETCH (UID 5)\r\na13 OK\r\n", listing(5), body(5)),
        "+ idling\r\n",
    ]
    .concat()
}

/// What one `emit` told.
type Batch = (Vec<Item>, Option<Value>);

fn listened(stream: &ByteStream) -> (Result<()>, Vec<Batch>) {
    let host = bytes_host(stream);
    (Email::listen(config(json!({})), None), host.emitted())
}

fn keys(batches: &[Batch]) -> Vec<String> {
    batches.iter().flat_map(|(items, _)| items.iter().map(|item| item.key.split('#').next().unwrap().to_owned())).collect()
}

#[test]
fn a_listener_fetches_sleeps_is_woken_and_sleeps_again() {
    let stream = ByteStream::new(listener_transcript());
    let written = stream.written();
    let (result, batches) = listened(&stream);
    assert_eq!(result.unwrap_err().class, ErrorClass::Transient, "the server closed the connection");
    assert_eq!(keys(&batches), ["3@other.test", "5@other.test"]);
    let checkpoints: Vec<Value> = batches.into_iter().map(|(_, checkpoint)| checkpoint.unwrap()).collect();
    assert_eq!(checkpoints, [json!({"uidvalidity": 7, "uid": 3}), json!({"uidvalidity": 7, "uid": 5})]);
    let written = written.text();
    assert!(written.contains("a9 IDLE\r\nDONE\r\na10 "), "{written}");
    assert!(written.contains("a12 UID FETCH 5 (UID BODY.PEEK[])\r\n"), "{written}");
}

#[test]
fn how_the_servers_bytes_are_cut_makes_no_difference() {
    let expected = listened(&ByteStream::new(listener_transcript())).1;
    for sizes in [[1, 1], [2, 3], [7, 1], [64, 5], [1000, 1]] {
        assert_eq!(listened(&ByteStream::new(listener_transcript()).chunks(&sizes)).1, expected, "{sizes:?}");
    }
}

#[test]
fn a_connection_that_breaks_anywhere_is_a_transient_error_and_tells_no_half_mail() {
    let transcript = listener_transcript();
    let whole = listened(&ByteStream::new(transcript.clone())).1;
    for end in 0..transcript.len() {
        let (result, batches) = listened(&ByteStream::new(&transcript[..end]));
        assert_eq!(result.unwrap_err().class, ErrorClass::Transient, "cut at {end}");
        assert_eq!(batches, whole[..batches.len()], "cut at {end}");
    }
}

#[test]
fn starttls_forgets_what_came_in_the_clear() {
    let _host = host(
        ScriptedStream::new()
            .reply("* OK ready\r\n")
            .expect_line("a1 CAPABILITY")
            .reply("* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na1 OK\r\n")
            .expect_line("a2 STARTTLS")
            .reply("a2 OK go\r\n* CAPABILITY IMAP4rev1 LOGINDISABLED\r\na3 OK injected\r\n")
            .expect_start_tls()
            .expect_line("a3 CAPABILITY")
            .reply("* CAPABILITY IMAP4rev1\r\na3 OK\r\n")
            .expect_line("a4 LOGIN *")
            .reply("a4 NO [AUTHENTICATIONFAILED] wrong\r\n"),
    );
    assert_eq!(Email::check(config(json!({"imap_security": "starttls"}))).unwrap_err().class, ErrorClass::Auth);
}

#[test]
fn starttls_is_not_given_up_quietly() {
    let _host = host(
        ScriptedStream::new().reply("* OK ready\r\n").expect_line("a1 CAPABILITY").reply("* CAPABILITY IMAP4rev1\r\na1 OK\r\n").hold(),
    );
    let error = Email::check(config(json!({"imap_security": "starttls"}))).unwrap_err();
    assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some("imap_security")));
}

#[test]
fn a_server_that_disables_login_is_authenticated_to() {
    let _host = host(
        ScriptedStream::new()
            .reply("* OK ready\r\n")
            .expect_line("a1 CAPABILITY")
            .reply("* CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN\r\na1 OK\r\n")
            .expect_line("a2 AUTHENTICATE PLAIN")
            .reply("+ \r\n")
            .expect_line("AGFnZW50QG1haWwudGVzdABzZSJjclxldA==")
            .reply("a2 NO [UNAVAILABLE] the user database is away\r\n"),
    );
    assert_eq!(Email::check(config(json!({}))).unwrap_err().class, ErrorClass::Transient, "that is no wrong password");
}

#[test]
fn servers_that_are_none_or_do_not_want_us() {
    for (said, class, hint) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", ErrorClass::Transient, "not an IMAP server"),
        ("220 mail.test ESMTP\r\n", ErrorClass::Transient, "not an IMAP server"),
        ("* BYE too many connections\r\n", ErrorClass::Transient, "too many connections"),
        ("", ErrorClass::Transient, "closed the connection"),
    ] {
        let _host = host(ScriptedStream::new().reply(said));
        let error = Email::listen(config(json!({})), None).unwrap_err();
        assert!(error.class == class && error.message.contains(hint), "{said:?}: {error}");
    }
    let _host = host(ScriptedStream::new().silence(1));
    let error = Email::listen(config(json!({})), None).unwrap_err();
    assert!(!error.is_timeout() && error.message.contains("TLS"), "{error}");
}

#[test]
fn a_goodbye_in_the_middle_is_told() {
    let _host = host(logged_in("IDLE").expect_line("a4 EXAMINE \"INBOX\"").reply("* BYE shutting down\r\n"));
    let error = Email::listen(config(json!({})), None).unwrap_err();
    assert!(error.class == ErrorClass::Transient && error.message.contains("shutting down"), "{error}");
}

#[test]
fn a_server_without_idle_is_polled() {
    let host = host(
        logged_in("")
            .expect_line("a4 EXAMINE \"INBOX\"")
            .reply("* 0 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\na4 OK\r\n")
            .expect_line("a5 NOOP")
            .reply("* 1 EXISTS\r\na5 OK\r\n")
            .expect_line("a6 UID FETCH * (UID)")
            .reply("* 1 FETCH (UID 9)\r\na6 OK\r\n")
            .expect_line("a7 UID FETCH 1:9 (UID INTERNALDATE RFC822.SIZE)")
            .reply(format!("{}a7 OK\r\n", listing(9)))
            .expect_line("a8 UID FETCH 9 (UID BODY.PEEK[])")
            .reply(format!("{}a8 OK\r\n", body(9)))
            .expect_line("a9 UID FETCH * (UID)")
            .reply("* 1 FETCH (UID 9)\r\na9 OK\r\n")
            .expect_line("a10 NOOP")
            .reply("* BYE good night\r\n"),
    );
    assert_eq!(Email::listen(config(json!({})), None).unwrap_err().class, ErrorClass::Transient);
    assert_eq!(keys(&host.emitted()), ["9@other.test"]);
}

#[test]
fn what_the_hub_does_not_take_ends_the_listener() {
    let stream = ByteStream::new(listener_transcript());
    let host = TestHost::new().secret("password", SECRET).connect(move |_: &str, _: u16, _| stream.clone());
    let host = host.fail_emit(Error::new(ErrorClass::Transient, "the disk is full")).install();
    assert_eq!(Email::listen(config(json!({})), None).unwrap_err().message, "the disk is full");
    assert!(host.emitted().is_empty());
}

#[test]
fn a_mail_that_cannot_be_read_is_not_passed_over() {
    let unreadable = "* 1 FETCH (UID 9 BODY[] @@@)\r\na7 OK\r\n";
    let _host = host(
        logged_in("")
            .expect_line("a4 EXAMINE \"INBOX\"")
            .reply("* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\na4 OK\r\n")
            .expect_line("a5 UID FETCH * (UID)")
            .reply("* 1 FETCH (UID 9)\r\na5 OK\r\n")
            .expect_line("a6 UID FETCH 1:9 (UID INTERNALDATE RFC822.SIZE)")
            .reply(format!("{}a6 OK\r\n", listing(9)))
            .expect_line("a7 UID FETCH 9 (UID BODY.PEEK[])")
            .reply(unreadable),
    );
    assert_eq!(Email::read(config(json!({})), "messages", None, 10).unwrap_err().class, ErrorClass::Transient);
}

#[test]
fn a_mail_that_went_away_meanwhile_is_left_out_and_passed() {
    let _host = host(
        logged_in("")
            .expect_line("a4 EXAMINE \"INBOX\"")
            .reply("* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\na4 OK\r\n")
            .expect_line("a5 UID FETCH * (UID)")
            .reply("* 1 FETCH (UID 9)\r\na5 OK\r\n")
            .expect_line("a6 UID FETCH 1:9 (UID INTERNALDATE RFC822.SIZE)")
            .reply(format!("{}a6 OK\r\n", listing(9)))
            .expect_line("a7 UID FETCH 9 (UID BODY.PEEK[])")
            .reply("* 1 EXPUNGE\r\na7 OK\r\n"),
    );
    let page = Email::read(config(json!({})), "messages", None, 10).unwrap();
    assert_eq!((page.items.len(), page.next, page.checkpoint), (0, None, json!({"uidvalidity": 7, "uid": 9})));
}

const SMTP: &str = "220 smtp.test ESMTP\r\n250-smtp.test\r\n250-SIZE 1000\r\n250 AUTH PLAIN LOGIN\r\n235 hello\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n";

fn message() -> OutboundMessage {
    serde_json::from_value(json!({"to": ["ada@other.test"], "subject": "Hi", "text": "Hello\n.\n"})).unwrap()
}

fn sent(stream: &ByteStream) -> Result<()> {
    let _host = bytes_host(stream);
    Email::send(config(json!({})), message(), "key").map(|_| ())
}

#[test]
fn a_message_goes_through_the_whole_conversation() {
    let stream = ByteStream::new(SMTP);
    let written = stream.written();
    sent(&stream).unwrap();
    let written = written.text();
    let expected = "EHLO mail.test\r\nAUTH PLAIN AGFnZW50QG1haWwudGVzdABzZSJjclxldA==\r\nMAIL FROM:<agent@mail.test>\r\nRCPT TO:<ada@other.test>\r\nDATA\r\n";
    assert!(written.starts_with(expected), "{written}");
    assert!(written.ends_with("\r\n\r\nHello\r\n..\r\n.\r\nQUIT\r\n"), "{written}");
}

#[test]
fn only_after_the_final_dot_a_lost_connection_leaves_it_open_whether_the_mail_went_out() {
    let go = SMTP.find("354 go\r\n").unwrap() + "354 go\r\n".len();
    for end in 0..=SMTP.len() {
        let result = sent(&ByteStream::new(&SMTP[..end]).chunks(&[1, 9]));
        let expected = match end {
            _ if end == SMTP.len() => None,
            _ if end >= go => Some(ErrorClass::Ambiguous),
            _ => Some(ErrorClass::Transient),
        };
        assert_eq!(result.err().map(|error| error.class), expected, "cut at {end}");
    }
}

#[test]
fn refusals_keep_their_meaning() {
    for (from, to, class, field) in [
        ("235 hello", "535 5.7.8 no", ErrorClass::Auth, Some("password")),
        ("235 hello", "454 4.7.0 later", ErrorClass::Transient, None),
        ("220 smtp.test ESMTP", "421 busy", ErrorClass::Transient, None),
        ("250 ok\r\n250 ok", "553 not you\r\n250 ok", ErrorClass::InvalidRecord, Some("/from")),
        ("250 ok\r\n354", "550 unknown\r\n354", ErrorClass::InvalidRecord, Some("/to")),
        ("250 ok\r\n354", "451 greylisted\r\n354", ErrorClass::Transient, None),
        ("250 taken", "552 too large", ErrorClass::InvalidRecord, Some("/text")),
        ("250 taken", "452 disk full", ErrorClass::Transient, None),
        ("250 AUTH PLAIN LOGIN", "250 HELP", ErrorClass::Config, Some("smtp_security")),
    ] {
        assert!(SMTP.contains(from), "{from}");
        let error = sent(&ByteStream::new(SMTP.replacen(from, to, 1))).unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (class, field), "{to}: {error}");
    }
}

#[test]
fn an_old_server_is_logged_in_to_in_two_steps() {
    let stream = ByteStream::new(
        SMTP.replace("AUTH PLAIN LOGIN", "AUTH=LOGIN").replace("235 hello", "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 hello"),
    );
    let written = stream.written();
    sent(&stream).unwrap();
    assert!(written.text().contains("AUTH LOGIN\r\nYWdlbnRAbWFpbC50ZXN0\r\nc2UiY3JcZXQ=\r\nMAIL FROM"), "{}", written.text());
}

#[test]
fn addresses_beyond_ascii_need_a_server_that_takes_them() {
    let send = |transcript: String| {
        let stream = ByteStream::new(transcript);
        let written = stream.written();
        let _host = bytes_host(&stream);
        let to_joerg = OutboundMessage { to: vec!["jörg@other.test".into()], ..message() };
        (Email::send(config(json!({})), to_joerg, "key").map(|_| ()), written.text())
    };
    let (refused, _) = send(SMTP.to_owned());
    assert_eq!(refused.unwrap_err().field.as_deref(), Some("/to"));
    let (taken, written) = send(SMTP.replace("250-SIZE 1000", "250-SMTPUTF8"));
    taken.unwrap();
    assert!(written.contains("MAIL FROM:<agent@mail.test> SMTPUTF8\r\nRCPT TO:<jörg@other.test>"), "{written}");
}
