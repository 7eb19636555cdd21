//! Phone numbers: to E.164 by libphonenumber's metadata, with the habits of PBXs that libphonenumber does not know.

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};
use throughline_schemas::Sharing;

use super::normalise::NormaliseError;

/// Fewer digits than this, without a country, are an extension of the PBX and no number of a customer.
const MIN_NATIONAL_DIGITS: usize = 6;

/// What PBXs and carriers show instead of a number.
const WITHHELD: [&str; 17] = [
    "anonymous",
    "unknown",
    "restricted",
    "private",
    "withheld",
    "unavailable",
    "blocked",
    "hidden",
    "no number",
    "not available",
    "number withheld",
    "private number",
    "unknown number",
    "caller id blocked",
    "out of area",
    "s",
    "null",
];

/// The same words keyed on a telephone's letters, as some carriers deliver them: anonymous, restricted, unavailable, blocked, unknown.
const WITHHELD_KEYED: [&str; 5] = ["266696687", "7378742833", "86282452253", "2562533", "8656696"];

/// Digits in a row that people type into a mandatory field.
const TYPED_IN_A_ROW: [&str; 5] = ["123456", "1234567", "12345678", "123456789", "1234567890"];

pub(super) struct Phone {
    pub(super) value: String,
    pub(super) sharing: Sharing,
}

pub(super) fn canonical(raw: &str, region: Option<&str>) -> Result<Phone, NormaliseError> {
    let text = subscriber(raw);
    let digits = ascii_digits(text);
    refuse_placeholders(text, &digits)?;
    let number = parse(text, &digits, region)?;
    // Who is reached through an extension shares the number with a whole house.
    if !number.extension().is_empty() {
        return Ok(Phone { value: e164(&number), sharing: Sharing::Shared });
    }
    if let Some(value) = with_ninth_digit(&number) {
        return Ok(Phone { value, sharing: Sharing::Exclusive });
    }
    Ok(Phone { value: e164(&number), sharing: sharing_by_type(&number) })
}

fn e164(number: &PhoneNumber) -> String {
    PHONE_NUMBER_UTIL.format(number, PhoneNumberFormat::E164).into_owned()
}

/// The subscriber part of `sip:+44…@pbx;user=phone`, `tel:+44…`, `<+44…>`; other texts as they are.
fn subscriber(raw: &str) -> &str {
    let text = raw.trim_matches(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'));
    let without_scheme = ["sips:", "sip:", "tel:", "callto:"]
        .iter()
        .find_map(|scheme| text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme)).map(|_| &text[scheme.len()..]));
    let text = without_scheme.unwrap_or(text);
    text.split('@').next().unwrap_or(text).trim()
}

/// The digits of a text whatever its script, as ASCII.
fn ascii_digits(text: &str) -> String {
    PHONE_NUMBER_UTIL.normalize_digits_only(text).to_string()
}

fn refuse_placeholders(text: &str, digits: &str) -> Result<(), NormaliseError> {
    let lower = text.to_lowercase();
    if lower.is_empty() || WITHHELD.contains(&lower.as_str()) || WITHHELD_KEYED.contains(&digits) {
        return Err(NormaliseError::Withheld);
    }
    let mut distinct = digits.chars();
    let first = distinct.next();
    // -1, 0, 000000, +1111111: the same digit over and over stands for nothing.
    let one_digit_only = first.is_some() && distinct.all(|digit| Some(digit) == first);
    if one_digit_only || TYPED_IN_A_ROW.contains(&digits) || matches!(text, "-1" | "n/a" | "N/A" | "-") {
        return Err(NormaliseError::Blocked);
    }
    Ok(())
}

fn parse(text: &str, digits: &str, region: Option<&str>) -> Result<PhoneNumber, NormaliseError> {
    if digits.is_empty() {
        return Err(NormaliseError::malformed("a phone number has digits"));
    }
    let region = region.map(str::trim).filter(|region| !region.is_empty()).map(region_of).transpose()?;
    if text.starts_with(['+', '\u{ff0b}']) {
        return international(without_mexican_one(digits).as_deref().unwrap_or(text));
    }
    if let Some(region) = region
        && let Ok(number) = PHONE_NUMBER_UTIL.parse(text, Some(region))
        && PHONE_NUMBER_UTIL.is_valid_number(&number)
        && digits.len() >= MIN_NATIONAL_DIGITS
    {
        return Ok(number);
    }
    if let Some(rest) = digits.strip_prefix("00").filter(|rest| !rest.starts_with('0')) {
        return international(&format!("+{rest}"));
    }
    national(text, digits, region)
}

fn region_of(code: &str) -> Result<Region, NormaliseError> {
    let known = Region::from_code(&code.to_ascii_uppercase())
        .ok()
        .filter(|region| PHONE_NUMBER_UTIL.get_country_code_for_region(*region).is_some());
    known.ok_or_else(|| NormaliseError::malformed(format!("{code:?} is no region; write two letters as in ISO 3166, for instance GB")))
}

fn international(text: &str) -> Result<PhoneNumber, NormaliseError> {
    let number = PHONE_NUMBER_UTIL
        .parse(text, None)
        .map_err(|error| NormaliseError::malformed(format!("this is no international phone number: {error}")))?;
    if !PHONE_NUMBER_UTIL.is_possible_number(&number) {
        return Err(NormaliseError::malformed("this phone number has too few or too many digits for its country"));
    }
    Ok(number)
}

/// Whether people of this region write a 0 before the area code: without it the number is local or internal.
fn writes_a_zero_first(region: Region) -> bool {
    let example = PHONE_NUMBER_UTIL.get_example_number(region).ok();
    example.is_some_and(|number| PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::National).trim_start_matches('(').starts_with('0'))
}

/// Until 2019 mobile numbers in Mexico had a 1 after the country code, which some carriers still send.
fn without_mexican_one(digits: &str) -> Option<String> {
    digits.strip_prefix("521").filter(|subscriber| subscriber.len() == 10).map(|subscriber| format!("+52{subscriber}"))
}

/// New ranges are in use before metadata knows them, so possible is enough, if the digits tell it from an extension or a local number.
fn national(text: &str, digits: &str, region: Option<Region>) -> Result<PhoneNumber, NormaliseError> {
    if digits.len() < MIN_NATIONAL_DIGITS {
        return Err(NormaliseError::malformed("this is too short for a customer's number and is taken for an internal extension"));
    }
    let Some(region) = region else {
        return Err(NormaliseError::malformed(
            "this is a national phone number and the connection has no region; set its region, or have the silo deliver +country numbers",
        ));
    };
    let country = PHONE_NUMBER_UTIL.get_country_code_for_region(region).map(|code| code.to_string()).unwrap_or_default();
    if !digits.starts_with('0') && !digits.starts_with(&country) && writes_a_zero_first(region) {
        return Err(NormaliseError::malformed(format!("this is no known phone number of region {region}; write it with its area code")));
    }
    let number = PHONE_NUMBER_UTIL
        .parse(text, Some(region))
        .map_err(|error| NormaliseError::malformed(format!("this is no phone number of region {region}: {error}")))?;
    if !PHONE_NUMBER_UTIL.is_possible_number(&number) {
        return Err(NormaliseError::malformed(format!("this phone number has too few or too many digits for region {region}")));
    }
    Ok(number)
}

/// Brazil put a 9 before all mobile numbers; old records and some carriers still leave it out. With it is canonical.
fn with_ninth_digit(number: &PhoneNumber) -> Option<String> {
    if number.country_code != 55 {
        return None;
    }
    let national = number.get_national_significant_number();
    let (area, subscriber) = national.split_at_checked(2)?;
    // Eight digits that begin with 6 to 9 are a mobile number of old; landlines begin with 2 to 5.
    let old_mobile = subscriber.len() == 8 && subscriber.starts_with(['6', '7', '8', '9']);
    old_mobile.then(|| format!("+55{area}9{subscriber}"))
}

/// What a number's type says of who uses it: a household shares its landline. Where mobile and landline cannot be told apart it counts as one person's own.
fn sharing_by_type(number: &PhoneNumber) -> Sharing {
    match PHONE_NUMBER_UTIL.get_number_type(number) {
        PhoneNumberType::TollFree | PhoneNumberType::PremiumRate | PhoneNumberType::SharedCost | PhoneNumberType::UAN => Sharing::Shared,
        PhoneNumberType::FixedLine => Sharing::Unknown,
        _ => Sharing::Exclusive,
    }
}
