//! A person as one source describes them, normalised: what the resolver compares.

use serde::{Deserialize, Serialize};

/// One source's view of a person. Empty means that the source says nothing. Texts are folded (lower case, ASCII, single blanks);
/// `intake` makes records of what silos write.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct PersonRecord {
    /// Names the record; breaks ties by its hash.
    pub id: String,
    /// Given names.
    pub given: String,
    /// Family names.
    pub surname: String,
    /// Canonical mail address.
    pub email: String,
    /// Phone number in E.164.
    pub phone: String,
    /// House number.
    pub house: String,
    /// Street without the house number.
    pub street: String,
    /// City.
    pub city: String,
    /// Postcode without blanks.
    pub postcode: String,
    /// Country, ISO 3166.
    pub country: String,
    /// Date of birth as `YYYY-MM-DD`.
    pub birth_date: String,
    /// Employer, or what else a person belongs to and shares with others.
    pub company: String,
    /// Handle on a platform, with its scope if there are several.
    pub handle: String,
    /// A number that a system gives to one person only: loyalty card, customer number, social security number.
    pub membership: String,
    /// Records with the same group are one person's by what is known already (links, must-link by hand); never parted.
    pub group: String,
}

impl PersonRecord {
    /// Whether there is nothing to compare.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let parts = [&self.given, &self.surname, &self.email, &self.phone, &self.handle, &self.membership, &self.birth_date];
        parts.iter().all(|part| part.is_empty())
    }
}
