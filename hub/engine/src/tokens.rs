//! Continuity tokens where they touch the store: checking what was presented, counting uses, bounding how often one may guess.
//!
//! A sealed token says itself what it points to, and only its uses are kept. A short code is looked up by a keyed digest; wrong ones are
//! paid for from the budgets in `throughline_domain::continuity::token::code`. Knows nothing of who may go on with a token: that is
//! for the rules to say.

use sha2::{Digest, Sha256};
use throughline_domain::continuity::token::{
    Presented, TokenClaims, TokenError, TokenForm, claimed_enquiry, code, parse_token, read_presented,
};
use throughline_schemas::{Channel, EnquiryId, Evidence, ProfileId};
use throughline_store::tables::{BudgetRow, Budgets, Enquiries, ShortCodeKey, ShortCodes, TokenUse, TokenUses, scan_rows};

use crate::clock::random;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::People;

/// How many budgets are looked at, whenever one is written, for being full again and therefore superfluous.
const SWEPT: usize = 4;

/// Where and by whom a token was presented.
pub(crate) struct Presenting<'a> {
    /// The brand that was addressed; none if only the token can say.
    pub(crate) brand: Option<&'a str>,
    /// The channel; none if it may have been any.
    pub(crate) channel: Option<Channel>,
    /// Who presented it, as far as that can be told apart from others.
    pub(crate) caller: Option<String>,
}

/// What a presented text is.
pub(crate) enum Checked {
    /// Nothing of ours: it says nothing.
    Nothing,
    /// It was not looked at, or is no code: to be written down.
    Remark(Evidence),
    /// A token of ours.
    Token(CheckedToken),
}

/// A token of ours, holding or not.
pub(crate) struct CheckedToken {
    pub(crate) enquiry: EnquiryId,
    /// Whose the enquiry is, after merges.
    pub(crate) root: Option<ProfileId>,
    /// Why it does not hold, if it does not.
    pub(crate) why_not: Option<String>,
    pub(crate) spend: Spend,
}

/// How a use of a token is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spend {
    /// It may be used as often as one likes.
    Free,
    Sealed([u8; 16], TokenClaims),
    Code(ShortCodeKey),
}

impl Hub {
    /// Checks what was presented. Counts a wrong code, but no use.
    pub(crate) fn check_token(&self, people: &mut People<'_>, text: &str, by: &Presenting<'_>) -> Result<Checked> {
        match read_presented(text) {
            None => Ok(Checked::Nothing),
            Some(Presented::Sealed(token)) => self.check_sealed(people, &token, by),
            // Digits mean something only where somebody can key them.
            Some(Presented::Code(_)) if by.channel.is_some_and(|channel| !TokenForm::IvrDigits.is_taken_on(channel)) => {
                Ok(Checked::Nothing)
            }
            Some(Presented::Code(digits)) => self.check_code(people, &digits, by),
        }
    }

    fn check_sealed(&self, people: &mut People<'_>, token: &str, by: &Presenting<'_>) -> Result<Checked> {
        let own_brand = || -> Result<Option<String>> {
            let row = claimed_enquiry(token).map(|id| people.tx.get::<Enquiries>(&id)).transpose()?.flatten();
            Ok(row.map(|row| row.value.brand))
        };
        let Some(brand) = by.brand.map(|brand| Ok(Some(brand.to_owned()))).unwrap_or_else(own_brand)? else { return Ok(Checked::Nothing) };
        let claims = match parse_token(token, &brand, people.now, &|data| self.token_mac(data)) {
            Ok(claims) => claims,
            Err(error @ TokenError::Expired { enquiry, .. }) => {
                return self.token_of(people, enquiry, Some(error.to_string()), Spend::Free);
            }
            Err(TokenError::Malformed | TokenError::Forged) => return Ok(Checked::Nothing),
        };
        if let Some(channel) = by.channel
            && !claims.form.is_taken_on(channel)
        {
            return self.token_of(people, claims.enquiry, Some("the token was issued for another kind of channel".to_owned()), Spend::Free);
        }
        let Some(max_uses) = claims.max_uses else { return self.token_of(people, claims.enquiry, None, Spend::Free) };
        let digest = digest16(&[token.as_bytes()]);
        let uses = people.tx.get::<TokenUses>(&digest)?.map_or(0, |row| row.value.uses);
        self.token_of(people, claims.enquiry, used_up(uses, max_uses), Spend::Sealed(digest, claims))
    }

    fn check_code(&self, people: &mut People<'_>, digits: &str, by: &Presenting<'_>) -> Result<Checked> {
        let brand = by.brand.unwrap_or(DEFAULT_BRAND);
        let of_caller = by.caller.as_ref().map(|caller| digest16(&[b"wrong codes", brand.as_bytes(), caller.as_bytes()]));
        let of_brand = digest16(&[b"wrong codes", brand.as_bytes()]);
        let caller_row = of_caller.map(|key| people.tx.get::<Budgets>(&key)).transpose()?.flatten().map(|row| row.value);
        let brand_row = people.tx.get::<Budgets>(&of_brand)?.map(|row| row.value);
        let full_at = |row: &Option<BudgetRow>| row.as_ref().map(|row| row.full_at);
        if !code::may_try(full_at(&caller_row), full_at(&brand_row), people.now) {
            return Ok(remark("a code was keyed, but was not looked at: too many wrong ones came before it"));
        }
        let key = self.short_code_key(brand, digits);
        if let Some(row) = people.tx.get::<ShortCodes>(&key)? {
            let found = row.value;
            let why_not = if people.now >= found.expires_at {
                Some(format!("the code expired at {}", found.expires_at))
            } else {
                used_up(found.uses, found.max_uses)
            };
            return self.token_of(people, found.enquiry_id, why_not, Spend::Code(key));
        }
        // The same wrong code again tells a guesser nothing new; silos and dial plans repeat themselves.
        let tried = digest16(&[digits.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let repeated = caller_row.as_ref().is_some_and(|row| row.last.as_deref() == Some(&tried));
        if !repeated {
            if let Some(key) = of_caller {
                let full_at = code::PER_CALLER.spend(full_at(&caller_row), people.now);
                people.tx.put::<Budgets>(&key, &BudgetRow { full_at, last: Some(tried) })?;
            }
            let full_at = code::PER_BRAND.spend(full_at(&brand_row), people.now);
            people.tx.put::<Budgets>(&of_brand, &BudgetRow { full_at, last: None })?;
            self.sweep_budgets(people)?;
        }
        Ok(remark("a code was keyed that leads nowhere"))
    }

    fn token_of(&self, people: &mut People<'_>, enquiry: EnquiryId, why_not: Option<String>, spend: Spend) -> Result<Checked> {
        let root = match people.tx.get::<Enquiries>(&enquiry)? {
            Some(row) => people.root_of(row.value.profile_id)?.map(|(root, _)| root),
            None => None,
        };
        let gone = || format!("{enquiry} is not there any more");
        let why_not = why_not.or_else(|| root.is_none().then(gone));
        Ok(Checked::Token(CheckedToken { enquiry, root, why_not, spend }))
    }

    /// Counts one use.
    pub(crate) fn spend_token(&self, people: &mut People<'_>, spend: &Spend) -> Result<()> {
        match spend {
            Spend::Free => Ok(()),
            Spend::Sealed(digest, claims) => {
                let uses = people.tx.get::<TokenUses>(digest)?.map_or(0, |row| row.value.uses) + 1;
                let row = TokenUse { enquiry_id: claims.enquiry, uses, used_at: people.now, expires_at: claims.expires_at };
                Ok(people.tx.put::<TokenUses>(digest, &row)?)
            }
            Spend::Code(key) => {
                let Some(mut row) = people.tx.get::<ShortCodes>(key)? else { return Ok(()) };
                row.value.uses += 1;
                Ok(people.tx.put::<ShortCodes>(key, &row.value)?)
            }
        }
    }

    /// Budgets that are full again mean nothing: whoever writes one clears away some others.
    pub(crate) fn sweep_budgets(&self, people: &mut People<'_>) -> Result<()> {
        let page = scan_rows::<Budgets>(people.tx.store(), &random::<1>(), None, SWEPT)?;
        for (key, row) in page.rows {
            let Some(key) = key.get(1..).and_then(|key| key.try_into().ok()) else { continue };
            // Read again where it becomes a precondition: somebody may be spending from it right now.
            if row.value.full_at < people.now && people.tx.get::<Budgets>(&key)?.is_some_and(|row| row.value.full_at < people.now) {
                people.tx.delete::<Budgets>(&key);
            }
        }
        Ok(())
    }

    pub(crate) fn token_mac(&self, data: &[u8]) -> [u8; 32] {
        self.inner.options.master_key.mac("continuity token", data)
    }

    pub(crate) fn short_code_key(&self, brand: &str, digits: &str) -> ShortCodeKey {
        let mac = self.inner.options.master_key.mac("short code", &[brand.as_bytes(), &[0], digits.as_bytes()].concat());
        let mut code = [0; 16];
        code.copy_from_slice(&mac[..16]);
        ShortCodeKey { brand: brand_digest(brand), length: u8::try_from(digits.len()).unwrap_or(u8::MAX), code }
    }
}

/// The brand of whoever names none.
pub(crate) const DEFAULT_BRAND: &str = "default";

pub(crate) fn brand_digest(brand: &str) -> [u8; 8] {
    let mut cut = [0; 8];
    cut.copy_from_slice(&digest16(&[brand.as_bytes()])[..8]);
    cut
}

/// Sixteen bytes of SHA-256 over parts that cannot run into each other.
pub(crate) fn digest16(parts: &[&[u8]]) -> [u8; 16] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut cut = [0; 16];
    cut.copy_from_slice(&digest.finalize()[..16]);
    cut
}

fn used_up(uses: u32, max_uses: u8) -> Option<String> {
    (uses >= u32::from(max_uses)).then(|| format!("the token was for {max_uses} uses and has had them"))
}

fn remark(detail: &str) -> Checked {
    Checked::Remark(Evidence { rule: "short code".to_owned(), detail: detail.to_owned() })
}
