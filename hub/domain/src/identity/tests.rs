//! Tables for the normalisers: what a silo writes in, the canonical key or the reason why there is none out.

use proptest::prelude::*;
use throughline_schemas::IdentityType::{self, Email, External, Handle, Phone};
use throughline_schemas::Sharing::{self, Exclusive, Shared, Unknown};

use super::*;

fn check(kind: IdentityType, raw: &str, region: Option<&str>, wanted: Result<(&str, Sharing), &str>) {
    let got = normalise(kind, "", raw, region);
    match (&got, wanted) {
        (Ok(got), Ok((value, sharing))) => {
            assert_eq!((got.key.value.as_str(), got.sharing), (value, sharing), "{raw:?} in {region:?}");
            assert_eq!((got.key.kind, got.raw.as_str()), (kind, raw.trim()), "{raw:?}");
        }
        (Err(NormaliseError::Withheld), Err("withheld")) | (Err(NormaliseError::Blocked), Err("blocked")) => {}
        (Err(NormaliseError::Malformed { detail }), Err(part)) if detail.contains(part) => {}
        _ => panic!("{raw:?} in {region:?} gave {got:?}, wanted {wanted:?}"),
    }
}

#[test]
fn phone_numbers_become_e164() {
    let table = [
        ("+44 7700 900123", None, "+447700900123", Exclusive),
        (" +44 (0)7700 900-123 ", None, "+447700900123", Exclusive),
        ("\u{ff0b}447700900123", None, "+447700900123", Exclusive),
        ("tel:+44-7700-900123", None, "+447700900123", Exclusive),
        ("sip:+447700900123@pbx.example:5060;user=phone", None, "+447700900123", Exclusive),
        ("<SIP:+447700900123@pbx.example>", None, "+447700900123", Exclusive),
        ("0044 7700 900123", None, "+447700900123", Exclusive),
        ("00447700900123", Some("US"), "+447700900123", Exclusive),
        ("011 44 7700 900123", Some("US"), "+447700900123", Exclusive),
        ("07700 900123", Some("gb"), "+447700900123", Exclusive),
        ("447700900123", Some("GB"), "+447700900123", Exclusive),
        ("٠٧٧٠٠٩٠٠١٢٣", Some("GB"), "+447700900123", Exclusive),
        ("441632960201", Some("GB"), "+441632960201", Exclusive),
        ("01632 960201", Some("GB"), "+441632960201", Exclusive),
        ("(202) 555-0123", Some("US"), "+12025550123", Exclusive),
        ("06 12345678", Some("IT"), "+390612345678", Unknown),
        ("+4930123456", None, "+4930123456", Unknown),
        ("030 123456", Some("DE"), "+4930123456", Unknown),
        ("+44 20 7946 0958 ext. 12", None, "+442079460958", Shared),
        ("+44 800 123 4567", None, "+448001234567", Shared),
        ("+52 1 55 1234 5678", None, "+525512345678", Exclusive),
    ];
    for (raw, region, value, sharing) in table {
        check(Phone, raw, region, Ok((value, sharing)));
    }
}

#[test]
fn brazils_ninth_digit_makes_no_difference() {
    for raw in ["+55 11 98765-4321", "+55 11 8765-4321", "00551187654321"] {
        check(Phone, raw, None, Ok(("+5511987654321", Exclusive)));
    }
    for raw in ["11 98765-4321", "(11) 8765-4321", "011 98765-4321", "015 11 98765-4321"] {
        check(Phone, raw, Some("BR"), Ok(("+5511987654321", Exclusive)));
    }
    check(Phone, "+55 11 3265-4321", None, Ok(("+551132654321", Unknown)));
}

#[test]
fn what_is_no_phone_number_is_told_apart() {
    let table = [
        ("", None, "withheld"),
        ("  ", Some("GB"), "withheld"),
        ("Anonymous", None, "withheld"),
        ("<unknown>", None, "withheld"),
        ("anonymous@anonymous.invalid", None, "withheld"),
        ("Restricted", Some("US"), "withheld"),
        ("+266696687", None, "withheld"),
        ("-1", None, "blocked"),
        ("000000", None, "blocked"),
        ("0", Some("GB"), "blocked"),
        ("+11111111111", None, "blocked"),
        ("200", Some("DE"), "internal extension"),
        ("1001", None, "internal extension"),
        ("*43", None, "internal extension"),
        ("112", Some("GB"), "internal extension"),
        ("200123", Some("DE"), "area code"),
        ("07700 900123", None, "set its region"),
        ("447700900123", None, "set its region"),
        ("07700 900123", Some("XX"), "no region"),
        ("07700 900123", Some("Britain"), "no region"),
        ("+44 77", None, "too few or too many digits"),
        ("+44 7700 900123 456 789", None, "too few or too many digits"),
        ("+999 123456", None, "no international phone number"),
        ("abc", Some("GB"), "has digits"),
        ("+44\u{0}7700900123", None, "control characters"),
    ];
    for (raw, region, why) in table {
        check(Phone, raw, region, Err(why));
    }
}

#[test]
fn mail_addresses_become_one_spelling() {
    let table = [
        ("ada@example.com", "ada@example.com", Exclusive),
        ("  <Ada.Lovelace@Example.COM>", "ada.lovelace@example.com", Exclusive),
        ("Ada Lovelace <ada@example.com>", "ada@example.com", Exclusive),
        ("\"Lovelace, Ada <x>\" <ada@example.com>", "ada@example.com", Exclusive),
        ("mailto:ada@example.com", "ada@example.com", Exclusive),
        ("\"ada\"@example.com", "ada@example.com", Exclusive),
        ("\"ada lovelace\"@example.com", "\"ada lovelace\"@example.com", Exclusive),
        ("ada@example.com.", "ada@example.com", Exclusive),
        ("ada@bücher.example", "ada@xn--bcher-kva.example", Exclusive),
        ("ADA@XN--BCHER-KVA.example", "ada@xn--bcher-kva.example", Exclusive),
        ("ÄDA@example.com", "äda@example.com", Exclusive),
        ("ada+shop@example.com", "ada+shop@example.com", Exclusive),
        ("a.d.a+shop@googlemail.com", "ada@gmail.com", Exclusive),
        ("ada+shop@outlook.com", "ada@outlook.com", Exclusive),
        ("a.da@outlook.com", "a.da@outlook.com", Exclusive),
        ("ada_love-lace@pm.me", "adalovelace@proton.me", Exclusive),
        ("ada.love@ya.ru", "ada-love@yandex.ru", Exclusive),
        ("ada@[192.0.2.1]", "ada@[192.0.2.1]", Exclusive),
        ("ada@[IPv6:2001:DB8::1]", "ada@[ipv6:2001:db8::1]", Exclusive),
        ("o'brien@example.ie", "o'brien@example.ie", Exclusive),
        ("info@example.com", "info@example.com", Shared),
        ("Customer-Service@example.com", "customer-service@example.com", Shared),
        ("no-reply@example.com", "no-reply@example.com", Shared),
        ("sales+uk@example.com", "sales+uk@example.com", Shared),
        ("MAILER-DAEMON@example.com", "mailer-daemon@example.com", Shared),
        ("informatics@example.com", "informatics@example.com", Exclusive),
    ];
    for (raw, value, sharing) in table {
        check(Email, raw, None, Ok((value, sharing)));
    }
}

#[test]
fn what_is_no_mail_address_is_told_apart() {
    let long = format!("{}@example.com", "a".repeat(65));
    let endless = format!("a@{}", "a.".repeat(400));
    let table = [
        ("", "withheld"),
        ("<>", "withheld"),
        ("anonymous@anonymous.invalid", "withheld"),
        ("undisclosed-recipients:;", "withheld"),
        ("n/a", "blocked"),
        ("-1", "blocked"),
        ("none@none.com", "blocked"),
        ("test@test.com", "blocked"),
        ("no-email@example.com", "blocked"),
        ("ada@shop.invalid", "blocked"),
        ("ada", "name@domain"),
        ("@example.com", "nothing before the @"),
        ("ada@", "valid domain"),
        ("ada@nodots", "two labels"),
        ("ada@exa mple.com", "valid domain"),
        ("ada lovelace@example.com", "characters before the @"),
        ("ada@b@example.com", "characters before the @"),
        ("ada@-example-.com", "valid domain"),
        ("ada@[1.2.3]", "in its brackets"),
        ("+shop@gmail.com", "nothing is left"),
        (long.as_str(), "64 bytes"),
        (endless.as_str(), "320 bytes"),
    ];
    for (raw, why) in table {
        check(Email, raw, None, Err(why));
    }
}

#[test]
fn handles_and_external_ids_need_a_namespace() {
    let got = normalise(External, " cnx:contacts ", " A-17 ", None).unwrap();
    assert_eq!(got.key.to_string(), "external:cnx:contacts:A-17");
    assert_eq!(got.sharing, Exclusive);
    for kind in [External, Handle] {
        assert!(matches!(normalise(kind, " ", "17", None), Err(NormaliseError::Malformed { .. })));
        assert_eq!(normalise(kind, "n", " ", None), Err(NormaliseError::Withheld));
    }
}

#[test]
fn look_up_texts_are_read() {
    let table = [
        ("phone:+447700900123", Ok((Phone, "", "+447700900123"))),
        ("tel: 447700900123", Ok((Phone, "", "+447700900123"))),
        ("phone:07700900123", Ok((Phone, "", "07700900123"))),
        ("Email: ada@example.com ", Ok((Email, "", "ada@example.com"))),
        ("handle:telegram:ada", Ok((Handle, "telegram", "ada"))),
        ("external:cnx_1:contacts:17", Ok((External, "cnx_1:contacts", "17"))),
        ("external:17", Err("needs a namespace")),
        ("ada@example.com", Err("no colon")),
        ("fax:1", Err("none of phone")),
        ("email:", Err("no value")),
        ("", Err("no colon")),
    ];
    for (text, wanted) in table {
        match (parse_query(text), wanted) {
            (Ok((kind, namespace, value)), Ok(wanted)) => assert_eq!((kind, namespace.as_str(), value.as_str()), wanted, "{text}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, wanted) => panic!("{text:?} gave {got:?}, wanted {wanted:?}"),
        }
    }
}

fn kinds() -> impl Strategy<Value = IdentityType> {
    prop_oneof![Just(Phone), Just(Email), Just(Handle), Just(External)]
}

fn regions() -> impl Strategy<Value = Option<&'static str>> {
    proptest::sample::select(vec![None, Some("GB"), Some("US"), Some("BR"), Some("DE"), Some("IT"), Some("MX"), Some("?"), Some("001")])
}

/// Texts that look enough like numbers and addresses to get past the first checks.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[+0-9 ()./x;=-]{0,24}", r"[a-zA-Z.+_ß<>\x22-]{1,12}@[a-zA-Zü.-]{1,12}\.(com|gmail\.com|de|invalid)"]
}

proptest! {
    #[test]
    fn any_text_is_judged_and_the_canonical_form_is_its_own(kind in kinds(), text in texts(), region in regions()) {
        let _ = parse_query(&text);
        if let Ok(once) = normalise(kind, "space", &text, region) {
            let twice = normalise(kind, "space", &once.key.value, region);
            prop_assert_eq!(twice.map(|twice| twice.key), Ok(once.key));
        }
    }

    #[test]
    fn e164_needs_no_region(number in r"\+[1-9][0-9]{7,13}", region in regions().prop_filter("a region", |region| *region != Some("?"))) {
        let alone = normalise(Phone, "", &number, None).map(|found| found.key);
        prop_assert_eq!(normalise(Phone, "", &number, region).map(|found| found.key).is_ok(), alone.is_ok() && region != Some("001"));
        if let Ok(key) = alone {
            prop_assert!(key.value.starts_with('+') && key.value[1..].bytes().all(|byte| byte.is_ascii_digit()));
        }
    }
}
