//! Mails of one mailbox: which there are, and their bytes, in pieces that fit into a small memory.

use throughline_plugin_sdk::{Error, ErrorClass, Result};

use super::command;
use super::session::{Answer, Session};
use super::status::Verdict;
use crate::errors::{self, quoted};

/// The largest mail that is read in full; of larger ones only the header. Mail providers stop at 25 MB, which is 34 MiB encoded.
/// While a mail is taken apart, it and its decoded attachments are in memory together.
pub(crate) const MAX_MAIL: usize = 36 * 1024 * 1024;
/// Mails up to this size are fetched together with others.
const SMALL_MAIL: u32 = 256 * 1024;
/// At most this much in one answer.
const BATCH_BYTES: u32 = 2 * 1024 * 1024;
/// Larger mails come in pieces of this size.
const PIECE: usize = 1024 * 1024;
/// The most that is read of a header.
const MAX_HEADER: usize = 512 * 1024;
/// How many UIDs are looked through at once; more when the mailbox is sparse.
const FIRST_WINDOW: u32 = 500;

/// A mailbox as the server opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) uidvalidity: u32,
    /// The highest modification sequence, where the server counts them.
    pub(crate) modseq: Option<u64>,
}

/// What is known of a mail before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) uid: u32,
    pub(crate) size: u32,
    pub(crate) internal_date_ms: Option<i64>,
}

/// A mail's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    /// All of them.
    Whole(Vec<u8>),
    /// Only the header, because the mail is too large.
    Header(Vec<u8>),
}

impl Session {
    /// Opens a mailbox read-only: reading must not take away the mark of new mail from people's mail programs.
    pub(crate) fn examine(&mut self, field: &str, name: &str) -> Result<Opened> {
        let condstore = if self.can("CONDSTORE") { " (CONDSTORE)" } else { "" };
        let answer = self.run(&format!("EXAMINE {}{condstore}", command::mailbox(name)))?;
        if answer.status.verdict == Verdict::No && !answer.status.has_code("UNAVAILABLE") && !answer.status.has_code("SERVERBUG") {
            let text = format!("the IMAP server does not open the mailbox {name:?}: {}", quoted(&answer.status.text));
            return Err(errors::config(field, text));
        }
        let answer = answer.ok("open the mailbox")?;
        self.take_news();
        let uidvalidity = answer.code_argument("UIDVALIDITY").and_then(|number| number.parse().ok());
        Ok(Opened {
            uidvalidity: uidvalidity
                .ok_or_else(|| errors::unsupported("the IMAP server gives mails no lasting numbers (no UIDVALIDITY)"))?,
            modseq: answer.code_argument("HIGHESTMODSEQ").and_then(|number| number.parse().ok()),
        })
    }

    /// The next mails after a UID, at most so many, in ascending order.
    pub(crate) fn list_after(&mut self, after: u32, want: usize) -> Result<Vec<Listed>> {
        let Some(highest) = self.highest_uid()? else { return Ok(Vec::new()) };
        let mut listed = Vec::new();
        let mut window = FIRST_WINDOW;
        let mut from = after.saturating_add(1);
        while from <= highest && listed.len() < want {
            let to = from.saturating_add(window - 1).min(highest);
            let found = self.list_range(from, to)?;
            if found.is_empty() {
                window = window.saturating_mul(4);
            }
            listed.extend(found);
            let Some(next) = to.checked_add(1) else { break };
            from = next;
        }
        listed.truncate(want);
        Ok(listed)
    }

    fn highest_uid(&mut self) -> Result<Option<u32>> {
        if self.exists() == 0 {
            return Ok(None);
        }
        let answer = self.run("UID FETCH * (UID)")?.ok("tell the last mail's number")?;
        Ok(answer.fetched().filter_map(|fetched| fetched.uid).max())
    }

    fn list_range(&mut self, from: u32, to: u32) -> Result<Vec<Listed>> {
        let answer = self.run(&format!("UID FETCH {from}:{to} (UID INTERNALDATE RFC822.SIZE)"))?.ok("list mails")?;
        let listed = answer.fetched().filter_map(|fetched| {
            let (uid, size) = (fetched.uid?, fetched.size?);
            Some(Listed { uid, size, internal_date_ms: fetched.internal_date_ms })
        });
        let mut listed: Vec<Listed> = listed.filter(|mail| (from..=to).contains(&mail.uid)).collect();
        if let Some(text) = answer.unreadable().filter(|text| text.contains("FETCH")) {
            return Err(errors::transient(format!("the IMAP server's list of mails cannot be read: {}", quoted(text))));
        }
        listed.sort_unstable_by_key(|mail| mail.uid);
        listed.dedup_by_key(|mail| mail.uid);
        Ok(listed)
    }

    /// The mails' bytes, in the order asked for; none for those that went away meanwhile. `each` is called as they come.
    pub(crate) fn fetch_each(&mut self, mails: &[Listed], mut each: impl FnMut(Listed, Option<Raw>) -> Result<()>) -> Result<()> {
        for batch in batches(mails) {
            if let [mail] = batch
                && mail.size > SMALL_MAIL
            {
                let raw = self.fetch_large(*mail)?;
                each(*mail, raw)?;
                continue;
            }
            let mut bodies = self.fetch_small(batch)?;
            for mail in batch {
                let body = bodies.iter_mut().find(|(uid, _)| *uid == mail.uid).map(|(_, body)| Raw::Whole(std::mem::take(body)));
                each(*mail, body)?;
            }
        }
        Ok(())
    }

    fn fetch_small(&mut self, mails: &[Listed]) -> Result<Vec<(u32, Vec<u8>)>> {
        let uids: Vec<u32> = mails.iter().map(|mail| mail.uid).collect();
        let answer = self.run(&format!("UID FETCH {} (UID BODY.PEEK[])", command::uid_set(&uids)))?.ok("hand out mails")?;
        must_be_readable(&answer)?;
        let bodies = answer.events.into_iter().filter_map(|event| match event {
            super::wire::Event::Fetch(fetched) => Some((fetched.uid?, fetched.body?)),
            _ => None,
        });
        Ok(bodies.collect())
    }

    fn fetch_large(&mut self, mail: Listed) -> Result<Option<Raw>> {
        if mail.size as usize > MAX_MAIL {
            return self.fetch_header(mail.uid);
        }
        // Some servers count differently than they send, hence the margin; it is all the memory the raw mail takes.
        let mut raw = Vec::with_capacity(mail.size as usize + 4096);
        loop {
            let Some(piece) = self.fetch_piece(mail.uid, "", raw.len(), PIECE)? else { return Ok(None) };
            if raw.len() + piece.len() > MAX_MAIL {
                return self.fetch_header(mail.uid);
            }
            raw.extend_from_slice(&piece);
            if piece.len() < PIECE {
                return Ok(Some(Raw::Whole(raw)));
            }
        }
    }

    fn fetch_header(&mut self, uid: u32) -> Result<Option<Raw>> {
        Ok(self.fetch_piece(uid, "HEADER", 0, MAX_HEADER)?.map(Raw::Header))
    }

    fn fetch_piece(&mut self, uid: u32, section: &str, offset: usize, length: usize) -> Result<Option<Vec<u8>>> {
        let answer = self.run(&format!("UID FETCH {uid} (UID BODY.PEEK[{section}]<{offset}.{length}>)"))?.ok("hand out a mail")?;
        must_be_readable(&answer)?;
        let mut bodies = answer.events.into_iter().filter_map(|event| match event {
            super::wire::Event::Fetch(fetched) if fetched.uid == Some(uid) => fetched.body,
            _ => None,
        });
        Ok(bodies.next())
    }

    /// The mails of the opened mailbox that carry this Message-ID (without brackets).
    pub(crate) fn find_message_id(&mut self, message_id: &str) -> Result<Vec<Listed>> {
        let answer = self.run(&format!("UID SEARCH HEADER Message-ID {}", command::quote(message_id)))?.ok("search")?;
        let found = answer.events.iter().filter_map(|event| if let super::wire::Event::Found(uids) = event { Some(uids) } else { None });
        let mut uids: Vec<u32> = found.flatten().copied().collect();
        uids.sort_unstable();
        let mut listed = Vec::new();
        for uid in uids {
            listed.extend(self.list_range(uid, uid)?);
        }
        Ok(listed)
    }

    /// Puts a mail into a mailbox, marked as read.
    pub(crate) fn append(&mut self, name: &str, raw: &[u8]) -> Result<()> {
        let answer = self.run_with_literal(&format!("APPEND {} (\\Seen)", command::mailbox(name)), raw)?;
        answer.ok("keep a copy of the sent mail").map(|_| ())
    }
}

/// A mail that seems to be missing must really be gone, not merely unreadable: otherwise it would be passed over for good.
fn must_be_readable(answer: &Answer) -> Result<()> {
    match answer.unreadable() {
        None => Ok(()),
        Some(text) if !text.contains("FETCH") => Ok(()),
        Some(text) => Err(Error::new(ErrorClass::Transient, format!("the IMAP server's answer cannot be read: {}", quoted(text)))),
    }
}

/// Cuts a list so that each part is either small mails that fit into one answer or a single large one.
fn batches(mails: &[Listed]) -> Vec<&[Listed]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0u32);
    for (position, mail) in mails.iter().enumerate() {
        let alone = mail.size > SMALL_MAIL;
        if position > start && (alone || bytes.saturating_add(mail.size) > BATCH_BYTES) {
            batches.push(&mails[start..position]);
            (start, bytes) = (position, 0);
        }
        bytes = bytes.saturating_add(mail.size);
        if alone {
            batches.push(&mails[start..=position]);
            (start, bytes) = (position + 1, 0);
        }
    }
    if start < mails.len() {
        batches.push(&mails[start..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_mail_once_and_large_ones_alone() {
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![1, 1, 1], vec![3]),
            (vec![SMALL_MAIL + 1], vec![1]),
            (vec![1, SMALL_MAIL + 1, 1, 1], vec![1, 1, 2]),
            (vec![SMALL_MAIL; 9], vec![8, 1]),
            (vec![u32::MAX, u32::MAX, 5], vec![1, 1, 1]),
        ] {
            let mails: Vec<Listed> = sizes.iter().map(|size| Listed { uid: 1, size: *size, internal_date_ms: None }).collect();
            assert_eq!(batches(&mails).iter().map(|batch| batch.len()).collect::<Vec<_>>(), expected, "{sizes:?}");
        }
    }
}
