//! How two records agree, field by field, as one of a few named levels: what evidence is counted by.
//!
//! About sixty levels over nine fields. Level 0 of every field says that one side says nothing, which counts for nothing. A level
//! never depends on which record comes first.

/// Fields that are compared.
pub(super) const FIELDS: usize = 9;
/// The most levels a field has.
pub(super) const LEVELS: usize = 25;
/// One side says nothing.
pub(super) const MISSING: u8 = 0;

/// Level of each field.
pub(super) type Levels = [u8; FIELDS];

/// The fields, as indices.
pub(super) mod field {
    pub(in super::super) const GIVEN: usize = 0;
    pub(in super::super) const SURNAME: usize = 1;
    pub(in super::super) const EMAIL: usize = 2;
    pub(in super::super) const PHONE: usize = 3;
    pub(in super::super) const BIRTH: usize = 4;
    pub(in super::super) const PLACE: usize = 5;
    pub(in super::super) const HANDLE: usize = 6;
    pub(in super::super) const MEMBERSHIP: usize = 7;
    pub(in super::super) const COMPANY: usize = 8;
}

/// Names of the fields.
pub(super) const FIELD_NAMES: [&str; FIELDS] =
    ["given name", "family name", "mail address", "phone", "date of birth", "place", "handle", "membership number", "company"];

/// Steps of rarity that equal names are told apart by.
pub(super) const NAME_RARITIES: u8 = 6;

/// Levels of given names; 1 to 6 are equal names, from common to rare.
pub(super) mod given {
    pub(in super::super) const EQUAL: u8 = 1;
    pub(in super::super) const NICKNAME: u8 = 7;
    pub(in super::super) const INITIAL: u8 = 8;
    pub(in super::super) const PART: u8 = 9;
    pub(in super::super) const CLOSE: u8 = 10;
    pub(in super::super) const NEAR: u8 = 11;
    pub(in super::super) const SWAPPED: u8 = 12;
    pub(in super::super) const DIFFERENT: u8 = 13;
    pub(in super::super) const COUNT: usize = 14;
}

/// Levels of family names; 1 to 6 are equal names, from common to rare.
pub(super) mod surname {
    pub(in super::super) const EQUAL: u8 = 1;
    pub(in super::super) const PART: u8 = 7;
    pub(in super::super) const CLOSE: u8 = 8;
    pub(in super::super) const NEAR: u8 = 9;
    pub(in super::super) const SWAPPED: u8 = 10;
    pub(in super::super) const DIFFERENT: u8 = 11;
    pub(in super::super) const COUNT: usize = 12;
}

/// Levels of mail addresses; 1 to 3 are equal ones by how many people use them.
pub(super) mod email {
    pub(in super::super) const EQUAL: u8 = 1;
    pub(in super::super) const ROLE: u8 = 4;
    pub(in super::super) const SAME_LOCAL: u8 = 5;
    pub(in super::super) const CLOSE: u8 = 6;
    pub(in super::super) const LOCAL_NEAR: u8 = 7;
    pub(in super::super) const DIFFERENT: u8 = 8;
    pub(in super::super) const COUNT: usize = 9;
}

/// Levels of phone numbers; 1 to 5 are equal ones by how many people use them.
pub(super) mod phone {
    pub(in super::super) const EQUAL: u8 = 1;
    pub(in super::super) const CLOSE: u8 = 6;
    pub(in super::super) const DIFFERENT: u8 = 7;
    pub(in super::super) const COUNT: usize = 8;
}

/// Levels of dates of birth; 1 to 3 are equal ones, from common to rare (many dates are the first of January, for want of better).
pub(super) mod birth {
    pub(in super::super) const EQUAL: u8 = 1;
    pub(in super::super) const SWAPPED: u8 = 4;
    pub(in super::super) const ONE_DIGIT: u8 = 5;
    pub(in super::super) const TWO_PARTS: u8 = 6;
    pub(in super::super) const ONE_PART: u8 = 7;
    pub(in super::super) const DIFFERENT: u8 = 8;
    pub(in super::super) const COUNT: usize = 9;
}

/// Levels of places: how the postal part agrees (5) times how the city agrees (5).
pub(super) mod place {
    pub(in super::super) const POSTAL_MISSING: u8 = 0;
    pub(in super::super) const ADDRESS: u8 = 1;
    pub(in super::super) const POSTCODE: u8 = 2;
    pub(in super::super) const POSTCODE_CLOSE: u8 = 3;
    pub(in super::super) const POSTAL_DIFFERENT: u8 = 4;
    pub(in super::super) const CITY_MISSING: u8 = 0;
    /// 2 is a rare city.
    pub(in super::super) const CITY_COMMON: u8 = 1;
    pub(in super::super) const CITY_NEAR: u8 = 3;
    pub(in super::super) const CITY_DIFFERENT: u8 = 4;
    pub(in super::super) const COUNT: usize = 25;

    pub(in super::super) const fn of(postal: u8, city: u8) -> u8 {
        postal * 5 + city
    }
}

/// Levels of handles and membership numbers.
pub(super) mod number {
    pub(in super::super) const EQUAL: u8 = 1;
    pub(in super::super) const CLOSE: u8 = 2;
    pub(in super::super) const DIFFERENT: u8 = 3;
    pub(in super::super) const COUNT: usize = 4;
}

/// Levels of companies.
pub(super) mod company {
    pub(in super::super) const COMMON: u8 = 1;
    pub(in super::super) const RARE: u8 = 2;
    pub(in super::super) const PART: u8 = 3;
    pub(in super::super) const DIFFERENT: u8 = 4;
    pub(in super::super) const COUNT: usize = 5;
}

/// How many levels each field has.
pub(super) const COUNTS: [usize; FIELDS] =
    [given::COUNT, surname::COUNT, email::COUNT, phone::COUNT, birth::COUNT, place::COUNT, number::COUNT, number::COUNT, company::COUNT];

/// What a pair says, and where it is silent what the clusters around it say. What it does say stays: clusters that agree elsewhere
/// would otherwise be joined by the best of everything, which no two records said together.
pub(super) fn filled(pair: Levels, clusters: Levels) -> Levels {
    let mut levels = pair;
    for (index, level) in levels.iter_mut().enumerate() {
        let silent = *level == MISSING || (index == field::PLACE && *level < place::of(place::ADDRESS, 0));
        if silent && clusters[index] != MISSING {
            *level = clusters[index];
        }
    }
    levels
}
