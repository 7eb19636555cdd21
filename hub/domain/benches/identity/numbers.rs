//! Telephone numbers of ten countries, without the country code.

use crate::random::Random;

/// Countries with their share of customers.
pub(crate) const COUNTRIES: [(&str, f64); 10] = [
    ("US", 0.40),
    ("GB", 0.15),
    ("DE", 0.10),
    ("FR", 0.07),
    ("ES", 0.05),
    ("IT", 0.05),
    ("NL", 0.04),
    ("SE", 0.03),
    ("BR", 0.05),
    ("IN", 0.06),
];

/// The country's code.
pub(crate) fn code(country: &str) -> &'static str {
    match country {
        "GB" => "44",
        "DE" => "49",
        "FR" => "33",
        "ES" => "34",
        "IT" => "39",
        "NL" => "31",
        "SE" => "46",
        "BR" => "55",
        "IN" => "91",
        _ => "1",
    }
}

/// Whether people write a 0 before the area code.
pub(crate) fn has_trunk_zero(country: &str) -> bool {
    !matches!(country, "US" | "ES" | "IT")
}

pub(crate) fn mobile(country: &str, random: &mut Random) -> String {
    let starts: &[&str] = match country {
        "GB" => &["74", "75", "77", "78", "79"],
        "DE" => &["160", "170", "171", "172", "175", "177"],
        "FR" => &["61", "62", "66", "76"],
        "ES" => &["60", "61", "65"],
        "IT" => &["320", "328", "333", "347", "380"],
        "NL" => &["61", "62", "63"],
        "SE" => &["70", "72", "73", "76"],
        "BR" => &["1196", "2197", "3198", "8199"],
        "IN" => &["98", "97", "70"],
        _ => return landline(country, random),
    };
    let length = match country {
        "GB" | "DE" | "IT" | "IN" => 10,
        "BR" => 11,
        _ => 9,
    };
    let start = random.pick(starts);
    format!("{start}{}", random.digits(length - start.len()))
}

pub(crate) fn landline(country: &str, random: &mut Random) -> String {
    let starts: &[&str] = match country {
        "GB" => &["207", "1612", "1213"],
        "DE" => &["302", "403", "894"],
        "FR" => &["13", "44", "23"],
        "ES" => &["911", "934"],
        "IT" => &["063", "025"],
        "NL" => &["202", "103"],
        "SE" => &["85", "86"],
        "BR" => &["112", "213"],
        "IN" => &["112", "222"],
        _ => &["2122", "3123", "4155", "5035", "6174", "7134", "8186", "9175"],
    };
    let length = match country {
        "DE" | "FR" | "ES" | "NL" => 9,
        "SE" => 8,
        _ => 10,
    };
    let start = random.pick(starts);
    format!("{start}{}", random.digits(length - start.len()))
}
