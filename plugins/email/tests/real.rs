//! Against a real mail server: Dovecot and Exim, started for each test on free ports.
#![expect(clippy::unwrap_used, reason = "a test whose helpers fail has failed")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use server::MailServer;
use throughline_plugin_email::{Config, Email};
use throughline_plugin_sdk::net::Security;
use throughline_plugin_sdk::schemas::{Content, InteractionFact, MessageFacts};
use throughline_plugin_sdk::testing::{Guard, TestHost, TestStream};
use throughline_plugin_sdk::{Channel, Connector, Error, ErrorClass, Found, Item, Listener, OutboundMessage, Result, Source, Value, json};

#[path = "../../../tests/src/systems/email.rs"]
#[expect(dead_code, unreachable_pub, reason = "the file is a module of the end-to-end tests, which use more of it")]
mod server;

const AGENT: &str = "agent@mail.test";
const CUSTOMER: &str = "customer@mail.test";
const DEADLINE: Duration = Duration::from_secs(60);

struct Running {
    server: MailServer,
    _dir: tempfile::TempDir,
}

fn start() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let server = MailServer::start(dir.path()).unwrap_or_else(|error| panic!("{error:?}"));
    Running { server, _dir: dir }
}

impl Running {
    fn config(&self, user: &str) -> Config {
        let ports = self.server.ports;
        serde_json::from_value(json!({
            "imap_host": "127.0.0.1", "imap_port": ports.imap, "imap_security": "plain",
            "smtp_host": "127.0.0.1", "smtp_port": ports.submission, "smtp_security": "plain",
            "username": user, "address": user, "from_name": "Shop", "sent_mailbox": "Sent"
        }))
        .unwrap()
    }
}

fn network() -> Guard {
    TestHost::new().secret("password", server::PASSWORD).real_network().install()
}

fn mail(number: usize) -> Vec<u8> {
    format!(
        "From: Ada <ada@other.test>\r\nTo: {AGENT}\r\nSubject: Mail {number}\r\nMessage-ID: <{number}@other.test>\r\n\r\nHello {number}\r\n"
    )
    .into_bytes()
}

fn fact(item: &Item) -> InteractionFact {
    serde_json::from_value(item.data.clone()).unwrap()
}

fn message(item: &Item) -> MessageFacts {
    let Content::Message(message) = fact(item).content else { panic!("no message: {item:?}") };
    message
}

fn subjects(items: &[Item]) -> Vec<String> {
    items.iter().map(|item| message(item).subject.unwrap_or_default()).collect()
}

/// Reads page after page to the end.
fn read_all(config: &Config, mut cursor: Option<Value>, want: u32) -> (Vec<Item>, Value) {
    let mut items = Vec::new();
    loop {
        let page = Email::read(config.clone(), "messages", cursor, want).unwrap();
        assert!(page.items.len() <= want as usize);
        items.extend(page.items);
        let Some(next) = page.next else { return (items, page.checkpoint) };
        cursor = Some(next);
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets a test see when the listener has gone to sleep, and end it.
#[derive(Default)]
struct Watch {
    idles: AtomicUsize,
    stop: AtomicBool,
}

struct Watched {
    stream: TcpStream,
    watch: Arc<Watch>,
}

impl TestStream for Watched {
    fn read(&mut self, max: usize, timeout_ms: u32) -> Result<Vec<u8>> {
        let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = vec![0; max];
        loop {
            if self.watch.stop.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorClass::Cancelled, "stopped"));
            }
            match self.stream.read(&mut buffer) {
                Ok(read) => return Ok(buffer[..read].to_vec()),
                Err(_) if Instant::now() < deadline => {}
                Err(_) => return Err(Error::new(ErrorClass::Transient, "nothing came").with_details(json!({"timeout": true}))),
            }
        }
    }
    fn write(&mut self, data: &[u8]) -> Result<()> {
        if data.ends_with(b" IDLE\r\n") {
            self.watch.idles.fetch_add(1, Ordering::SeqCst);
        }
        self.stream.write_all(data).map_err(|error| Error::new(ErrorClass::Transient, error.to_string()))
    }
}

/// What one `emit` told.
type Batch = (Vec<Item>, Option<Value>);

/// A listener in a thread of its own.
struct Listening {
    watch: Arc<Watch>,
    thread: JoinHandle<(Result<()>, Vec<Batch>)>,
}

/// What a listener told, and how it ended.
struct Heard {
    result: Result<()>,
    items: Vec<Item>,
    checkpoint: Option<Value>,
}

impl Listening {
    fn start(config: Config, checkpoint: Option<Value>) -> Self {
        let watch = Arc::new(Watch::default());
        let in_thread = Arc::clone(&watch);
        let thread = std::thread::spawn(move || {
            let connect = move |host: &str, port: u16, security: Security| -> Result<Watched> {
                assert_eq!(security, Security::Plain);
                let stream = TcpStream::connect((host, port)).map_err(|error| Error::new(ErrorClass::Transient, error.to_string()))?;
                Ok(Watched { stream, watch: Arc::clone(&in_thread) })
            };
            let host = TestHost::new().secret("password", server::PASSWORD).connect(connect).install();
            (Email::listen(config, checkpoint), host.emitted())
        });
        Self { watch, thread }
    }

    fn await_idle(&self, times: usize) {
        eventually("the listener to go to sleep", || {
            (self.watch.idles.load(Ordering::SeqCst) >= times || self.thread.is_finished()).then_some(())
        });
    }

    fn stop(self) -> Heard {
        self.watch.stop.store(true, Ordering::SeqCst);
        self.join()
    }

    fn join(self) -> Heard {
        let (result, batches) = self.thread.join().unwrap();
        let checkpoint = batches.last().and_then(|(_, checkpoint)| checkpoint.clone());
        Heard { result, items: batches.into_iter().flat_map(|(items, _)| items).collect(), checkpoint }
    }
}

#[test]
fn new_mail_is_told_as_it_comes_and_what_came_meanwhile_afterwards() {
    let running = start();
    let listening = Listening::start(running.config(AGENT), None);
    listening.await_idle(1);
    let injected = Instant::now();
    running.server.inject("ada@other.test", "agent+tl.abc234@mail.test", &mail(1)).unwrap();
    listening.await_idle(2);
    let took = injected.elapsed();
    let heard = listening.stop();
    assert_eq!(heard.result.unwrap_err().class, ErrorClass::Cancelled);
    assert_eq!(subjects(&heard.items), ["Mail 1"], "{}", running.server.logs());
    assert!(took < Duration::from_secs(30), "it took {took:?}");
    let fact = fact(&heard.items[0]);
    assert_eq!(fact.customer().unwrap().address.as_deref(), Some("ada@other.test"));
    assert_eq!(fact.thread.tokens, ["abc234"], "the server says where it delivered to: {fact:?}");

    running.server.put(AGENT, [mail(2)]).unwrap();
    let listening = Listening::start(running.config(AGENT), heard.checkpoint);
    listening.await_idle(1);
    assert_eq!(subjects(&listening.stop().items), ["Mail 2"]);
}

#[test]
fn a_restarted_server_costs_nothing_but_a_new_connection() {
    let mut running = start();
    running.server.put(AGENT, (0..3).map(mail)).unwrap();
    let listening = Listening::start(running.config(AGENT), None);
    listening.await_idle(1);
    running.server.stop_imap();
    let heard = listening.join();
    assert_eq!(heard.result.unwrap_err().class, ErrorClass::Transient);
    assert_eq!(heard.items.len(), 3);

    let refused = Listening::start(running.config(AGENT), heard.checkpoint.clone()).join();
    assert_eq!(refused.result.unwrap_err().class, ErrorClass::Transient);

    running.server.inject("ada@other.test", AGENT, &mail(3)).unwrap();
    running.server.start_imap().unwrap();
    eventually("the queued mail to be delivered", || (running.server.mails(AGENT, None).unwrap().len() == 4).then_some(()));
    let listening = Listening::start(running.config(AGENT), heard.checkpoint);
    listening.await_idle(1);
    assert_eq!(subjects(&listening.stop().items), ["Mail 3"]);
}

#[test]
fn check_says_whose_account_it_is_and_what_is_wrong() {
    let running = start();
    let _host = network();
    let report = Email::check(running.config("Agent@mail.test")).unwrap();
    assert_eq!((report.account_id.as_str(), report.account_name.as_str()), ("agent@mail.test@127.0.0.1", "Agent@mail.test"));
    assert_eq!(report.warnings.len(), 2, "both connections are plain, and nothing else is wrong: {:?}", report.warnings);

    let mut config = running.config(AGENT);
    config.mailbox = "Elsewhere".into();
    assert_eq!(Email::check(config).unwrap_err().field.as_deref(), Some("mailbox"));

    let mut config = running.config(AGENT);
    config.imap_port = running.server.ports.smtp;
    let error = Email::check(config).unwrap_err();
    assert!(error.class == ErrorClass::Transient && error.message.contains("not an IMAP server"), "{error}");

    let mut config = running.config(AGENT);
    config.smtp_port = running.server.ports.imap;
    let error = Email::check(config).unwrap_err();
    assert!(error.class == ErrorClass::Transient && error.message.contains("not an SMTP server"), "{error}");
}

#[test]
fn a_wrong_password_is_an_auth_error_and_stays_secret() {
    let running = start();
    let host = TestHost::new().secret("password", "wr\"ong\\canary").real_network().install();
    for error in [
        Email::check(running.config(AGENT)).unwrap_err(),
        Email::listen(running.config(AGENT), None).unwrap_err(),
        Email::read(running.config(AGENT), "messages", None, 10).unwrap_err(),
    ] {
        assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Auth, Some("password")), "{error}");
        assert!(error.message.starts_with("IMAP: ") && !error.message.contains("canary"), "{error}");
    }
    let mut config = running.config(AGENT);
    config.sent_mailbox = None;
    let error = Email::send(config, outbound(), "key").unwrap_err();
    assert!(error.class == ErrorClass::Auth && error.message.starts_with("SMTP: "), "{error}");
    assert!(host.logs().iter().all(|line| !line.message.contains("canary")));
}

#[test]
fn a_mail_of_20_megabytes_arrives_whole() {
    let running = start();
    let file: Vec<u8> = (0..14_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut mail = b"From: ada@other.test\r\nTo: agent@mail.test\r\nSubject: Large\r\nMessage-ID: <large@other.test>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n--b\r\nContent-Type: application/zip; name=\"a.zip\"\r\nContent-Transfer-Encoding: base64\r\n\r\n".to_vec();
    mail.extend_from_slice(&base64_lines(&file));
    mail.extend_from_slice(b"--b--\r\n");
    assert!(mail.len() > 19_000_000, "{}", mail.len());
    running.server.inject("ada@other.test", AGENT, &mail).unwrap();
    eventually("the mail to be delivered", || (running.server.mails(AGENT, None).unwrap().len() == 1).then_some(()));

    let host = network();
    let page = Email::read(running.config(AGENT), "messages", None, 10).unwrap();
    let facts = message(&page.items[0]);
    assert_eq!((facts.text.as_str(), facts.attachments.len()), ("See the file.", 1));
    assert_eq!((facts.attachments[0].name.as_deref(), facts.attachments[0].size), (Some("a.zip"), file.len() as u64));
    assert!(host.blobs()[&facts.attachments[0].reference].data == file, "the file was changed on the way");
}

#[test]
fn a_mail_over_the_limit_does_not_stop_the_mailbox() {
    let running = start();
    let mut huge = b"From: ada@other.test\r\nTo: agent@mail.test\r\nSubject: Huge\r\nMessage-ID: <huge@other.test>\r\n\r\n".to_vec();
    huge.extend(std::iter::repeat_n(*b"0123456789abcdef\r\n", 40 * 1024 * 1024 / 18).flatten());
    running.server.put(AGENT, [mail(1), huge, mail(2)]).unwrap();
    let host = network();
    let (items, _) = read_all(&running.config(AGENT), None, 10);
    assert_eq!(subjects(&items), ["Mail 1", "Huge", "Mail 2"]);
    assert!(message(&items[1]).text.contains("too large"), "{:?}", message(&items[1]));
    assert!(host.blobs().is_empty());
}

#[test]
fn mails_that_are_broken_in_every_way_are_read() {
    let running = start();
    let broken: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\r\n".to_vec(),
        b"no header at all".to_vec(),
        b"\xff\xfe\x00\x01\x02 binary \x00 rubbish".to_vec(),
        b"From: \xe9\xe8 <a@b.test>\r\nSubject: \xfc\xdf\r\n\r\nlatin1 \xe9\r\n".to_vec(),
        b"From: a@b.test\r\nContent-Type: multipart/mixed; boundary=never\r\n\r\n--other\r\n\r\nx".to_vec(),
        b"From: a@b.test\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!! not base64 !!!!".to_vec(),
        format!("From: a@b.test\r\n{}\r\n\r\nmany fields\r\n", "X-Filler: 0123456789\r\n".repeat(5000)).into_bytes(),
    ];
    let count = broken.len();
    running.server.put(AGENT, broken.into_iter().chain([mail(9)])).unwrap();
    let _host = network();
    let (items, _) = read_all(&running.config(AGENT), None, 100);
    assert_eq!(items.len(), count + 1, "{}", running.server.logs());
    assert_eq!(subjects(&items).last().unwrap(), "Mail 9");
}

#[test]
fn ten_thousand_mails_are_read_once_each_whatever_the_page() {
    let running = start();
    running.server.put("many@mail.test", (0..10_000).map(mail)).unwrap();
    let _host = network();
    let config = running.config("many@mail.test");
    let (items, checkpoint) = read_all(&config, None, 700);
    let keys: BTreeSet<&str> = items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!((items.len(), keys.len()), (10_000, 10_000));
    assert_eq!(subjects(&items[9_998..]), ["Mail 9998", "Mail 9999"]);

    let twice = [(); 2].map(|()| Email::read(config.clone(), "messages", None, 3).unwrap());
    assert_eq!(twice[0], twice[1]);
    let one_by_one: Vec<Item> = (0..3)
        .scan(None, |cursor, _| {
            let page = Email::read(config.clone(), "messages", cursor.take(), 1).unwrap();
            *cursor = page.next;
            Some(page.items)
        })
        .flatten()
        .collect();
    assert_eq!(one_by_one, twice[0].items);

    running.server.put("many@mail.test", [mail(10_000)]).unwrap();
    let (new, _) = read_all(&config, Some(checkpoint), 700);
    assert_eq!(subjects(&new), ["Mail 10000"]);
}

#[test]
fn a_mailbox_numbered_anew_is_read_again_under_the_same_keys() {
    let mut running = start();
    running.server.put(AGENT, (0..20).map(mail)).unwrap();
    let host = network();
    let (before, checkpoint) = read_all(&running.config(AGENT), None, 7);
    running.server.renumber(AGENT).unwrap();
    let (after, new_checkpoint) = read_all(&running.config(AGENT), Some(checkpoint.clone()), 7);
    assert_ne!(checkpoint["uidvalidity"], new_checkpoint["uidvalidity"]);
    let keys = |items: &[Item]| items.iter().map(|item| item.key.clone()).collect::<BTreeSet<_>>();
    assert_eq!((after.len(), keys(&after)), (20, keys(&before)));
    assert!(host.logs().iter().any(|line| line.message.contains("UIDVALIDITY")));
}

#[test]
fn a_cursor_that_is_garbage_and_an_entity_that_is_unknown_are_errors() {
    let running = start();
    let _host = network();
    let error = Email::read(running.config(AGENT), "messages", Some(json!({"page": 3})), 10).unwrap_err();
    assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some("cursor")));
    assert_eq!(Email::read(running.config(AGENT), "contacts", None, 10).unwrap_err().class, ErrorClass::Unsupported);
}

#[test]
fn mails_are_found_by_key_and_a_forged_key_is_not() {
    let running = start();
    let mut impostor = mail(1);
    impostor.splice(6..9, *b"Eve");
    running.server.put(AGENT, [mail(1), impostor, mail(2)]).unwrap();
    let _host = network();
    let config = running.config(AGENT);
    let (items, _) = read_all(&config, None, 10);
    assert_eq!(items.iter().map(|item| &item.key).collect::<BTreeSet<_>>().len(), 3, "a stolen Message-ID hides nothing");
    let keys = vec![items[1].key.clone(), "1@other.test#0000000000000000".into(), "nobody@other.test#0000000000000000".into()];
    let found = Email::get(config, "messages", keys).unwrap();
    assert_eq!(found, [Found::Record(items[1].clone()), Found::Gone, Found::Gone]);
}

fn outbound() -> OutboundMessage {
    serde_json::from_value(json!({
        "to": [CUSTOMER], "subject": "Re: Größe", "text": "Guten Tag\n.\nIhr Shop", "in_reply_to": "q@other.test",
        "references": ["p@other.test"], "token": "abc234", "automatic": true
    }))
    .unwrap()
}

#[test]
fn a_message_arrives_once_however_often_it_is_tried() {
    let running = start();
    let _host = network();
    let first = Email::send(running.config(AGENT), outbound(), "key-1").unwrap();
    let again = Email::send(running.config(AGENT), outbound(), "key-1").unwrap();
    assert_eq!(first.key, again.key);
    let mails = eventually("the mail to arrive", || Some(running.server.mails(CUSTOMER, None).unwrap()).filter(|mails| !mails.is_empty()));
    assert_eq!(running.server.mails(AGENT, Some("Sent")).unwrap().len(), 1);

    let text = String::from_utf8_lossy(&mails[0]).replace("\r\n", "\n");
    for line in [
        "Auto-Submitted: auto-replied",
        "In-Reply-To: <q@other.test>",
        "References: <p@other.test> <q@other.test>",
        "agent+tl.abc234@mail.test",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    let (items, _) = read_all(&running.config(CUSTOMER), None, 10);
    assert_eq!(items.len(), 1, "it was sent twice");
    let received = message(&items[0]);
    assert_eq!((received.subject.as_deref(), received.text.as_str()), (Some("Re: Größe"), "Guten Tag\n.\nIhr Shop"));
    assert_eq!(items[0].key, first.key, "the key is the one it is read under");
    assert_eq!(fact(&items[0]).automated.as_deref(), Some("auto-submitted"));
}

#[test]
fn what_the_server_refuses_is_told_with_its_place() {
    let running = start();
    let _host = network();
    for to in ["nobody@mail.test", "Jürgen@mail.test\r\nRCPT TO:<x@mail.test>", "not an address"] {
        let error = Email::send(running.config(AGENT), OutboundMessage { to: vec![CUSTOMER.into(), to.into()], ..outbound() }, "key-2")
            .unwrap_err();
        assert_eq!((error.class, error.field.as_deref()), (ErrorClass::InvalidRecord, Some("/to")), "{error}");
    }
    assert!(running.server.mails(CUSTOMER, None).unwrap().is_empty(), "all or nobody");
    assert!(running.server.mails(AGENT, Some("Sent")).unwrap().is_empty());
}

#[test]
fn a_server_that_is_away_is_worth_another_try() {
    let mut running = start();
    running.server.stop_smtp();
    let _host = network();
    assert_eq!(Email::send(running.config(AGENT), outbound(), "key-3").unwrap_err().class, ErrorClass::Transient);
    running.server.start_smtp().unwrap();
    Email::send(running.config(AGENT), outbound(), "key-3").unwrap();
    eventually("the mail to arrive", || Some(running.server.mails(CUSTOMER, None).unwrap()).filter(|mails| mails.len() == 1));
}

fn base64_lines(data: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = Vec::with_capacity(data.len() * 4 / 3 + data.len() / 28 + 8);
    for line in data.chunks(57) {
        for group in line.chunks(3) {
            let word = u32::from_be_bytes([0, group[0], *group.get(1).unwrap_or(&0), *group.get(2).unwrap_or(&0)]);
            for position in 0..4 {
                let used = position <= group.len();
                encoded.push(if used { ALPHABET[(word >> (18 - 6 * position)) as usize & 63] } else { b'=' });
            }
        }
        encoded.extend_from_slice(b"\r\n");
    }
    encoded
}
