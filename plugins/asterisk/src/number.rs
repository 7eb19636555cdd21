//! Telephone numbers as trunks write them, brought to E.164 where that is certain.
//!
//! The hub normalises again with full metadata; this small table only has to be right about what it changes: a number it is not sure of
//! stays as it was given.

/// How a country writes numbers: its ISO code, country code, national (trunk) prefix, international prefix, and whether national numbers
/// are written without any prefix, in which case how long they are.
struct Plan {
    region: &'static str,
    code: &'static str,
    national: &'static str,
    international: &'static str,
    bare: Option<(usize, usize)>,
}

const fn plan(
    region: &'static str,
    code: &'static str,
    national: &'static str,
    international: &'static str,
    bare: Option<(usize, usize)>,
) -> Plan {
    Plan { region, code, national, international, bare }
}

const PLANS: &[Plan] = &[
    plan("GB", "44", "0", "00", None),
    plan("IE", "353", "0", "00", None),
    plan("DE", "49", "0", "00", None),
    plan("AT", "43", "0", "00", None),
    plan("CH", "41", "0", "00", None),
    plan("FR", "33", "0", "00", None),
    plan("NL", "31", "0", "00", None),
    plan("BE", "32", "0", "00", None),
    plan("LU", "352", "", "00", Some((6, 11))),
    plan("ES", "34", "", "00", Some((9, 9))),
    plan("PT", "351", "", "00", Some((9, 9))),
    // Italian numbers keep their zero.
    plan("IT", "39", "", "00", Some((8, 11))),
    plan("DK", "45", "", "00", Some((8, 8))),
    plan("NO", "47", "", "00", Some((8, 8))),
    plan("SE", "46", "0", "00", None),
    plan("FI", "358", "0", "00", None),
    plan("PL", "48", "", "00", Some((9, 9))),
    plan("CZ", "420", "", "00", Some((9, 9))),
    plan("SK", "421", "0", "00", None),
    plan("HU", "36", "06", "00", None),
    plan("RO", "40", "0", "00", None),
    plan("GR", "30", "", "00", Some((10, 10))),
    plan("TR", "90", "0", "00", None),
    plan("US", "1", "1", "011", Some((10, 10))),
    plan("CA", "1", "1", "011", Some((10, 10))),
    plan("MX", "52", "", "00", Some((10, 10))),
    plan("AU", "61", "0", "0011", None),
    plan("NZ", "64", "0", "00", None),
    plan("ZA", "27", "0", "00", None),
    plan("IN", "91", "0", "00", None),
    plan("SG", "65", "", "000", Some((8, 8))),
    plan("JP", "81", "0", "010", None),
];

/// Words that stand where a withheld or unknown number should.
const WITHHELD: &[&str] =
    &["anonymous", "unknown", "restricted", "unavailable", "private", "withheld", "blocked", "nonumber", "asterisk", "<unknown>", ""];

/// Whether a caller id says that there is none.
#[must_use]
pub(crate) fn is_withheld(raw: &str) -> bool {
    let word = raw.trim();
    WITHHELD.iter().any(|withheld| word.eq_ignore_ascii_case(withheld)) || !word.chars().any(|char| char.is_ascii_digit())
}

/// Whether the table knows the region, an ISO 3166 code.
#[must_use]
pub(crate) fn is_known_region(region: &str) -> bool {
    PLANS.iter().any(|plan| plan.region.eq_ignore_ascii_case(region))
}

/// The number in E.164, or none where that is not certain.
#[must_use]
pub(crate) fn to_e164(raw: &str, region: &str) -> Option<String> {
    let number = dialled_part(raw)?;
    if let Some(rest) = number.strip_prefix('+') {
        return e164(rest);
    }
    let plan = PLANS.iter().find(|plan| plan.region.eq_ignore_ascii_case(region))?;
    if let Some(rest) = number.strip_prefix(plan.international) {
        return e164(rest);
    }
    if let Some((least, most)) = plan.bare
        && (least..=most).contains(&number.len())
    {
        return e164(&format!("{}{number}", plan.code));
    }
    if !plan.national.is_empty()
        && let Some(rest) = number.strip_prefix(plan.national)
        && (6..=12).contains(&rest.len())
    {
        return e164(&format!("{}{rest}", plan.code));
    }
    // Some trunks leave out the plus sign alone.
    if number.starts_with(plan.code) && number.len() >= plan.code.len() + 9 { e164(&number) } else { None }
}

/// The digits of a caller id: without `sip:`, host, parameters and the punctuation people write.
fn dialled_part(raw: &str) -> Option<String> {
    let text = raw.trim();
    let text = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:")).or_else(|| text.strip_prefix("tel:")).unwrap_or(text);
    let text = text.split(['@', ';']).next().unwrap_or(text);
    let number: String = text.chars().filter(|char| !matches!(char, ' ' | '-' | '.' | '(' | ')' | '/')).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

fn e164(digits: &str) -> Option<String> {
    let whole = (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| format!("+{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_out_in_e164_where_that_is_certain() {
        let table = [
            ("+441632960123", "GB", Some("+441632960123")),
            ("01632960123", "GB", Some("+441632960123")),
            ("01632 960 123", "GB", Some("+441632960123")),
            ("00441632960123", "GB", Some("+441632960123")),
            ("441632960123", "GB", Some("+441632960123")),
            ("sip:+441632960123@127.0.0.1;user=phone", "GB", Some("+441632960123")),
            ("tel:+44-1632-960123", "DE", Some("+441632960123")),
            ("1001", "GB", None),
            ("999", "GB", None),
            ("anonymous", "GB", None),
            ("", "GB", None),
            ("+", "GB", None),
            ("+0123456789", "GB", None),
            ("+12345678901234567", "GB", None),
            ("2015550123", "US", Some("+12015550123")),
            ("12015550123", "US", Some("+12015550123")),
            ("011441632960123", "US", Some("+441632960123")),
            ("0301234567", "DE", Some("+49301234567")),
            ("0612345678", "IT", Some("+390612345678")),
            ("612345678", "ES", Some("+34612345678")),
            ("0011441632960123", "AU", Some("+441632960123")),
            ("01632960123", "XX", None),
            ("+441632960123", "XX", Some("+441632960123")),
            ("+44163296012٣", "GB", None),
        ];
        for (raw, region, expected) in table {
            assert_eq!(to_e164(raw, region).as_deref(), expected, "{raw} in {region}");
        }
    }

    #[test]
    fn a_withheld_number_is_no_number() {
        for raw in ["anonymous", "Anonymous", "unknown", "Restricted", "", " ", "<unknown>", "private", "Unavailable", "ada"] {
            assert!(is_withheld(raw), "{raw}");
        }
        for raw in ["1001", "+441632960123", "0044"] {
            assert!(!is_withheld(raw), "{raw}");
        }
    }
}
