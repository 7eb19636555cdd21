//! Issuing continuity tokens: sealed ones that need no row, and the short codes of IVRs.

use throughline_domain::continuity::token::{MOST_USES, TokenClaims, TokenForm, code, token_text};
use throughline_schemas::{Channel, Enquiry, EnquiryId, Timestamp};
use throughline_store::tables::{Present, ShortCode, ShortCodeKey, ShortCodes, ShortCodesByExpiry, Tx, count_rows, scan_rows};

use crate::HubError;
use crate::clock::random;
use crate::error::Result;
use crate::hub::Hub;
use crate::tokens::brand_digest;
use crate::views::{NewToken, TokenView};

const DAY: u64 = 24 * 3600;
/// The longest a token may hold, and the longest a short code may.
const LONGEST: u64 = 90 * DAY;
const LONGEST_CODE: u64 = 7 * DAY;
/// How long they hold if nobody says.
const USUAL: u64 = 7 * DAY;
const USUAL_CODE: u64 = 3600;
/// How often a short code, and what goes with one call only, is good.
const USES_OF_CODE: u8 = 3;
const USES_OF_CALL: u8 = 1;
/// How many codes that are over are cleared away whenever one is made.
const CLEARED: usize = 32;
/// Draws until a number is free: with one in ten thousand taken, two are hardly ever needed.
const DRAWS: usize = 16;

impl Hub {
    /// Makes a token that leads to this enquiry. A pointer: it carries nothing and proves nothing but itself.
    pub async fn issue_token(&self, id: EnquiryId, new: NewToken) -> Result<TokenView> {
        let enquiry = self.enquiry(id)?.value;
        let is_code = new.form == TokenForm::IvrDigits;
        let longest = if is_code { LONGEST_CODE } else { LONGEST };
        let ttl = new.ttl_seconds.unwrap_or(if is_code { USUAL_CODE } else { USUAL });
        if ttl == 0 || ttl > longest {
            return Err(HubError::invalid("/ttl_seconds", format!("a token of this form holds for 1 to {longest} seconds")));
        }
        let max_uses = new.max_uses.or(usual_uses(new.form));
        if max_uses.is_some_and(|uses| uses == 0 || uses > MOST_USES) {
            return Err(HubError::invalid("/max_uses", format!("a token can be limited to 1 to {MOST_USES} uses")));
        }
        if new.digits.is_some_and(|digits| !is_code || !code::LENGTHS.contains(&digits)) {
            return Err(HubError::invalid("/digits", "say 6 to 8, and only for ivr_digits"));
        }
        let expires_at = self.now().plus_millis(i64::try_from(ttl).unwrap_or(i64::MAX).saturating_mul(1000));
        let token = if is_code {
            let holds = ShortCode { enquiry_id: id, max_uses: max_uses.unwrap_or(USES_OF_CODE), uses: 0, expires_at };
            let at_least = new.digits.unwrap_or(*code::LENGTHS.start());
            self.transact(|tx| self.make_code(tx, &enquiry, at_least, holds)).await?
        } else {
            self.sealed_token(&TokenClaims { enquiry: id, form: new.form, max_uses, expires_at }, &enquiry.brand)
        };
        let value = new.form.written(&token, new.at.as_deref()).map_err(|error| HubError::invalid("/at", error))?;
        Ok(TokenView { token, form: new.form, value, expires_at, max_uses })
    }

    /// The token in the return address, or wherever else the channel takes one, of what is sent.
    pub(crate) fn token_for(&self, enquiry: EnquiryId, brand: &str, channel: Channel, expires_at: Timestamp) -> String {
        let form = if channel == Channel::Email { TokenForm::PlusAddress } else { TokenForm::Any };
        self.sealed_token(&TokenClaims { enquiry, form, max_uses: None, expires_at }, brand)
    }

    pub(crate) fn sealed_token(&self, claims: &TokenClaims, brand: &str) -> String {
        token_text(claims, brand, &|data| self.token_mac(data))
    }

    fn make_code(&self, tx: &mut Tx, enquiry: &Enquiry, at_least: u8, holds: ShortCode) -> Result<String> {
        self.clear_codes(tx)?;
        let brand = brand_digest(&enquiry.brand);
        let mut counted = Ok(());
        let holding = |length: u8| {
            let most = usize::try_from(code::most_of_length(length)).unwrap_or(usize::MAX);
            let count = count_rows::<ShortCodes>(&self.inner.store, &ShortCodeKey::prefix(brand, length), most);
            count.map_err(|error| counted = Err(error)).map_or(u64::MAX, |count| count as u64)
        };
        let length = code::choose_length(at_least, holding);
        counted?;
        let full =
            || HubError::conflict("more codes hold at once than can be kept from being guessed; let some expire, or use another form");
        let length = length.ok_or_else(full)?;
        for _ in 0..DRAWS {
            let digits = code::code_of(u64::from_be_bytes(random()), length);
            let key = self.short_code_key(&enquiry.brand, &digits);
            if tx.get::<ShortCodes>(&key)?.is_none() {
                tx.put::<ShortCodes>(&key, &holds)?;
                tx.put::<ShortCodesByExpiry>(&(holds.expires_at, key), &Present {})?;
                return Ok(digits);
            }
        }
        Err(HubError::Busy)
    }

    fn clear_codes(&self, tx: &mut Tx) -> Result<()> {
        let now = self.now();
        for (key, _) in scan_rows::<ShortCodesByExpiry>(&self.inner.store, &[], None, CLEARED)?.rows {
            let Some((at, code)) = ShortCodesByExpiry::parts(&key).filter(|(at, _)| *at <= now) else { break };
            tx.delete::<ShortCodesByExpiry>(&(at, code));
            tx.delete::<ShortCodes>(&code);
        }
        Ok(())
    }
}

const fn usual_uses(form: TokenForm) -> Option<u8> {
    match form {
        TokenForm::Any | TokenForm::PlusAddress | TokenForm::DeepLink => None,
        TokenForm::IvrDigits => Some(USES_OF_CODE),
        TokenForm::SipUui | TokenForm::Callback => Some(USES_OF_CALL),
    }
}
