//! Reading a mailbox: pages for `read`, batches for `listen`, single mails for `get`.

use std::cell::RefCell;

use throughline_plugin_sdk::schemas::Timestamp;
use throughline_plugin_sdk::{Error, Found, Item, Page, Result, Value, clock, control, emit, log};

use crate::config::Config;
use crate::cursor::Cursor;
use crate::errors;
use crate::imap::mailbox::{Listed, Raw};
use crate::imap::session::{Session, Wake};
use crate::mail::{self, Arrival, Blobs, ENTITY, Mapped};

/// Mails in one batch of the listener.
const BATCH_MAILS: usize = 50;
/// A batch ends early with the mail that reaches this many bytes.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// A page ends early with the mail that reaches this many bytes, so that a call ends in good time.
const PAGE_BYTES: u64 = 64 * 1024 * 1024;
/// Most mails of a page, whatever is wished.
const MAX_PAGE: u32 = 1_000;
/// IDLE is begun anew this often: RFC 2177 wants it before 29 minutes, many routers forget a silent connection much earlier, and
/// a connection that died unnoticed is found out by it.
const IDLE_MS: u64 = 9 * 60 * 1000;
/// How often a server without IDLE is asked.
const POLL_MS: u64 = 30_000;
/// As much of a mail too heavy to take apart is looked at for its header.
const HEADER_BYTES: usize = 512 * 1024;
/// An idle session of an earlier call is used again if it is younger than this.
const KEEP_SESSION_MS: u64 = 120_000;

struct Kept {
    config: Config,
    session: Session,
    used_at_ms: u64,
}

thread_local! {
    /// The session of the last `read`, for the next page: logging in anew for each page is slow and annoys servers.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// One page of the mailbox.
pub(crate) fn read(config: &Config, entity: &str, cursor: Option<Value>, want: u32) -> Result<Page> {
    must_be_messages(entity)?;
    with_session(config, |session| {
        let opened = session.examine("mailbox", &config.mailbox)?;
        let mut cursor = Cursor::resume(cursor, opened)?;
        let want = want.clamp(1, MAX_PAGE) as usize;
        // One more than wished tells whether there is a next page.
        let mut listed = session.list_after(cursor.uid, want + 1)?;
        let more = listed.len() > want || weight(&listed) > PAGE_BYTES;
        listed.truncate(fitting(&listed, want, PAGE_BYTES));
        let items = take(session, config, &listed)?;
        cursor.uid = listed.last().map_or(cursor.uid, |mail| mail.uid);
        let position = cursor.to_value();
        Ok(Page { items, next: more.then(|| position.clone()), checkpoint: position, details: None })
    })
}

/// Mails by key. Looks them up by the Message-ID the key begins with.
pub(crate) fn get(config: &Config, entity: &str, keys: &[String]) -> Result<Vec<Found>> {
    must_be_messages(entity)?;
    with_session(config, |session| {
        session.examine("mailbox", &config.mailbox)?;
        keys.iter().map(|key| get_one(session, config, key)).collect()
    })
}

fn get_one(session: &mut Session, config: &Config, key: &str) -> Result<Found> {
    let id = mail::message_id_of_key(key).ok_or_else(|| errors::unsupported("a mail without a Message-ID cannot be looked up"))?;
    let listed = session.find_message_id(id)?;
    let items = take(session, config, &listed)?;
    Ok(items.into_iter().find(|item| item.key == key).map_or(Found::Gone, Found::Record))
}

/// Tells the hub of new mail until it is told to stop, the connection is lost, or something is wrong.
pub(crate) fn listen(config: &Config, checkpoint: Option<Value>) -> Result<()> {
    let mut session = Session::open(config)?;
    let opened = session.examine("mailbox", &config.mailbox)?;
    let mut cursor = Cursor::resume(checkpoint, opened)?;
    let idles = session.can("IDLE");
    while !control::cancelled() {
        catch_up(&mut session, config, &mut cursor)?;
        if session.take_news() {
            continue;
        }
        if idles {
            let wake = session.idle(IDLE_MS)?;
            log::debug(if wake == Wake::News { "woken by the server" } else { "nothing new; asking again" });
            session.take_news();
        } else {
            control::sleep_ms(POLL_MS)?;
            session.run("NOOP")?.ok("answer")?;
        }
    }
    Ok(())
}

fn catch_up(session: &mut Session, config: &Config, cursor: &mut Cursor) -> Result<()> {
    loop {
        session.take_news();
        let mut listed = session.list_after(cursor.uid, BATCH_MAILS)?;
        listed.truncate(fitting(&listed, BATCH_MAILS, BATCH_BYTES));
        let Some(last) = listed.last() else { return Ok(()) };
        let (from, to) = (cursor.uid, last.uid);
        let items = take(session, config, &listed)?;
        log::debug(format!("{} mails after {from} up to {to}", items.len()));
        cursor.uid = to;
        emit::emit(items, Some(cursor.to_value()))?;
    }
}

/// Fetches and understands mails; those that went away meanwhile are left out.
fn take(session: &mut Session, config: &Config, listed: &[Listed]) -> Result<Vec<Item>> {
    let own = config.own();
    let now = clock::now();
    let mut items = Vec::with_capacity(listed.len());
    session.fetch_each(listed, |mail, raw| {
        let Some(raw) = raw else { return Ok(()) };
        let received_at = mail.internal_date_ms.map_or(now, Timestamp::from_millis);
        let mapped = understand(raw, mail, Arrival { own: &own, received_at })?;
        items.push(mapped.into_item()?);
        Ok(())
    })?;
    Ok(items)
}

fn understand(raw: Raw, mail: Listed, arrival: Arrival<'_>) -> Result<Mapped> {
    match raw {
        Raw::Whole(bytes) if mail::weight::fits(&bytes) => mail::map(&bytes, arrival, &mut Blobs),
        Raw::Whole(bytes) | Raw::Header(bytes) => {
            log::warn(format!("a mail of {} bytes is too large; only its header is kept", mail.size));
            Ok(mail::map_header(&bytes[..bytes.len().min(HEADER_BYTES)], mail.size, arrival))
        }
    }
}

/// How many mails from the front make a page or batch: at least one.
fn fitting(listed: &[Listed], most: usize, bytes: u64) -> usize {
    let mut sum = 0;
    let full = listed.iter().take(most).position(|mail| {
        sum += u64::from(mail.size);
        sum >= bytes
    });
    full.map_or(most.min(listed.len()), |position| position + 1)
}

fn weight(listed: &[Listed]) -> u64 {
    listed.iter().map(|mail| u64::from(mail.size)).sum()
}

fn must_be_messages(entity: &str) -> Result<()> {
    if entity == ENTITY { Ok(()) } else { Err(errors::unsupported(format!("no entity {entity:?}; there is only {ENTITY:?}"))) }
}

/// Runs with the session of the last call if it is still good, otherwise with a new one; keeps it if all went well.
fn with_session<T>(config: &Config, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
    let now = clock::monotonic_ms();
    let kept = KEPT.take().filter(|kept| kept.config == *config && now.saturating_sub(kept.used_at_ms) < KEEP_SESSION_MS);
    let mut session = match kept.map(|mut kept| kept.session.run("NOOP").map(|_| kept.session)) {
        Some(Ok(session)) => session,
        Some(Err(error)) if is_cancelled(&error) => return Err(error),
        _ => Session::open(config)?,
    };
    let result = work(&mut session)?;
    KEPT.set(Some(Kept { config: config.clone(), session, used_at_ms: clock::monotonic_ms() }));
    Ok(result)
}

fn is_cancelled(error: &Error) -> bool {
    error.class == throughline_plugin_sdk::ErrorClass::Cancelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_with_the_mail_that_fills_it() {
        for (sizes, most, bytes, expected) in [
            (vec![], 5, 10, 0),
            (vec![1, 1, 1], 2, 10, 2),
            (vec![1, 1, 1], 5, 10, 3),
            (vec![100, 1], 5, 10, 1),
            (vec![4, 4, 4, 4], 5, 10, 3),
            (vec![10, 1], 5, 10, 1),
        ] {
            let listed: Vec<Listed> = sizes.iter().map(|size| Listed { uid: 1, size: *size, internal_date_ms: None }).collect();
            assert_eq!(fitting(&listed, most, bytes), expected, "{sizes:?}");
        }
    }
}
