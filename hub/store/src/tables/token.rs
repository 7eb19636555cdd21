//! Continuity tokens: how often each was used, the short codes of IVRs, and what guessing and answering has cost so far.
//!
//! The long tokens are not here: they say themselves what they point to. Of a short code only a keyed digest is kept.

use serde::{Deserialize, Serialize};
use throughline_schemas::{EnquiryId, Timestamp};

use super::{Present, Table};

/// Uses of a token that is limited to some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUse {
    /// What it points to.
    pub enquiry_id: EnquiryId,
    /// How often it was used.
    pub uses: u32,
    /// When it was used last.
    pub used_at: Timestamp,
    /// When it stops to hold anyway.
    pub expires_at: Timestamp,
}

/// Digest of a token -> its uses.
pub struct TokenUses;

impl Table for TokenUses {
    const PREFIX: u8 = 0x50;
    const NAME: &'static str = "token_uses";
    type Key = [u8; 16];
    type Value = TokenUse;
    fn suffix(key: &[u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

/// A short code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortCode {
    /// What it points to.
    pub enquiry_id: EnquiryId,
    /// How often it may be used.
    pub max_uses: u8,
    /// How often it was used.
    pub uses: u32,
    /// When it stops to hold.
    pub expires_at: Timestamp,
}

/// Which short code: codes of one brand and length stand together, so that they can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortCodeKey {
    /// Digest of the brand's name.
    pub brand: [u8; 8],
    /// How many digits.
    pub length: u8,
    /// Keyed digest of brand and digits.
    pub code: [u8; 16],
}

impl ShortCodeKey {
    /// What the keys of all codes of this brand and length begin with, behind the table's byte.
    #[must_use]
    pub fn prefix(brand: [u8; 8], length: u8) -> Vec<u8> {
        [brand.as_slice(), &[length]].concat()
    }

    fn bytes(&self) -> Vec<u8> {
        [Self::prefix(self.brand, self.length).as_slice(), &self.code].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (brand, rest) = bytes.split_at_checked(8)?;
        let (length, code) = rest.split_first()?;
        Some(Self { brand: brand.try_into().ok()?, length: *length, code: code.try_into().ok()? })
    }
}

/// Short code -> what it points to.
pub struct ShortCodes;

impl Table for ShortCodes {
    const PREFIX: u8 = 0x51;
    const NAME: &'static str = "short_codes";
    type Key = ShortCodeKey;
    type Value = ShortCode;
    fn suffix(key: &ShortCodeKey) -> Vec<u8> {
        key.bytes()
    }
}

/// (when it stops to hold, short code) -> nothing: those that are over come first.
pub struct ShortCodesByExpiry;

impl ShortCodesByExpiry {
    /// What a key of this table says.
    #[must_use]
    pub fn parts(key: &[u8]) -> Option<(Timestamp, ShortCodeKey)> {
        let (at, code) = key.get(1..)?.split_at_checked(8)?;
        let millis = u64::from_be_bytes(at.try_into().ok()?);
        Some((Timestamp::from_millis(i64::try_from(millis).ok()?), ShortCodeKey::from_bytes(code)?))
    }
}

impl Table for ShortCodesByExpiry {
    const PREFIX: u8 = 0x52;
    const NAME: &'static str = "short_codes_by_expiry";
    type Key = (Timestamp, ShortCodeKey);
    type Value = Present;
    fn suffix((at, code): &Self::Key) -> Vec<u8> {
        let mut bytes = u64::try_from(at.as_millis()).unwrap_or(0).to_be_bytes().to_vec();
        bytes.extend(code.bytes());
        bytes
    }
}

/// What was spent of a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRow {
    /// When the budget is full again; from then on the row means nothing.
    pub full_at: Timestamp,
    /// Digest of what it was spent on last: the same again costs nothing where it tells nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// Digest of whose budget of what it is -> what was spent.
pub struct Budgets;

impl Table for Budgets {
    const PREFIX: u8 = 0x53;
    const NAME: &'static str = "budgets";
    type Key = [u8; 16];
    type Value = BudgetRow;
    fn suffix(key: &[u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_the_order_they_expire_and_are_counted_by_length() {
        let code = ShortCodeKey { brand: [1; 8], length: 6, code: [2; 16] };
        let at = |millis| Timestamp::from_millis(millis);
        let early = ShortCodesByExpiry::key(&(at(255), code));
        assert!(early < ShortCodesByExpiry::key(&(at(256), code)));
        assert_eq!(ShortCodesByExpiry::parts(&early), Some((at(255), code)));
        assert_eq!(ShortCodesByExpiry::parts(&early[..20]), None);
        assert!(ShortCodes::key(&code)[1..].starts_with(&ShortCodeKey::prefix([1; 8], 6)));
    }
}
