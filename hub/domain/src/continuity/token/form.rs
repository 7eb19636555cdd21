//! The forms a token is written in, where each is taken, and reading a token out of whatever it was presented as.
//!
//! A form is how the token travels: a plus-address, a link, keyed digits, the SIP header User-to-User, the id of a callback. What was
//! issued in one form is not taken where only another can come from, so that a link that leaked is no good on the phone.

use serde::{Deserialize, Serialize};
use throughline_schemas::Channel;

use super::{BYTES, code, decode, encode};

/// How a token travels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TokenForm {
    /// However it comes: taken on every channel.
    #[default]
    Any,
    /// In a mail address of ours, behind the plus (RFC 5233): `support+tl.…@shop.example`.
    PlusAddress,
    /// In a link to a chat, a form or a messenger.
    DeepLink,
    /// Six to eight digits, keyed into a phone.
    IvrDigits,
    /// In the SIP header User-to-User (RFC 7433), as hexadecimal.
    SipUui,
    /// As the id of a callback that was agreed on.
    Callback,
}

/// What somebody presented, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presented {
    /// A token of 48 characters, in lower case.
    Sealed(String),
    /// A short code, digits only.
    Code(String),
}

/// The parameter of a link that holds a token.
const PARAMETER: &str = "tl";
/// What stands before a token behind the plus of an address, so that other tags are left alone.
const TAG: &str = "tl.";
/// What a callback's id begins with.
const CALLBACK: &str = "cb_";
/// The longest local part of an address (RFC 5321, 4.5.3.1.1).
const LOCAL_PART: usize = 64;

impl TokenForm {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Any, Self::PlusAddress, Self::DeepLink, Self::IvrDigits, Self::SipUui, Self::Callback];

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::PlusAddress => 1,
            Self::DeepLink => 2,
            Self::IvrDigits => 3,
            Self::SipUui => 4,
            Self::Callback => 5,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.number() == number)
    }

    /// Whether what was issued in this form may come in on that channel.
    #[must_use]
    pub const fn is_taken_on(self, channel: Channel) -> bool {
        match self {
            Self::Any => true,
            Self::PlusAddress => matches!(channel, Channel::Email),
            Self::DeepLink => !matches!(channel, Channel::Email | Channel::Phone),
            Self::IvrDigits | Self::SipUui => matches!(channel, Channel::Phone),
            Self::Callback => matches!(channel, Channel::Phone | Channel::Sms),
        }
    }

    /// The token as it is handed out in this form. `at` is the mail address or the link to put it into; without one where one is
    /// needed there is nothing to hand out but the token itself.
    ///
    /// # Errors
    /// Says what is wrong with `at`.
    pub fn written(self, token: &str, at: Option<&str>) -> Result<Option<String>, String> {
        match (self, at) {
            (Self::PlusAddress, Some(address)) => plus_address(token, address).map(Some),
            (Self::DeepLink, Some(link)) => deep_link(token, link).map(Some),
            (Self::Any | Self::IvrDigits, None) => Ok(Some(token.to_owned())),
            (Self::SipUui, None) => Ok(decode(token).map(|bytes| format!("{};encoding=hex", hex(&bytes)))),
            (Self::Callback, None) => Ok(Some(format!("{CALLBACK}{token}"))),
            (Self::PlusAddress | Self::DeepLink, None) => Ok(None),
            (Self::Any | Self::IvrDigits | Self::SipUui | Self::Callback, Some(_)) => {
                Err("only a plus-address or a deep link is put into something; leave it out".to_owned())
            }
        }
    }
}

fn plus_address(token: &str, address: &str) -> Result<String, String> {
    let (local, domain) =
        address.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty()).ok_or("write a mail address")?;
    let tagged = format!("{local}+{TAG}{token}");
    if tagged.len() > LOCAL_PART {
        return Err(format!("{local:?} is too long: with the token, what stands before the @ must have at most {LOCAL_PART} characters"));
    }
    Ok(format!("{tagged}@{domain}"))
}

fn deep_link(token: &str, link: &str) -> Result<String, String> {
    if !(link.starts_with("https://") || link.starts_with("http://")) {
        return Err("write a link that begins with https://".to_owned());
    }
    let (before, fragment) = link.split_once('#').map_or((link, None), |(before, fragment)| (before, Some(fragment)));
    let sign = if before.contains('?') { '&' } else { '?' };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    Ok(format!("{before}{sign}{PARAMETER}={token}{fragment}"))
}

/// Reads what was presented, in whichever form: a token, a plus-address, a link, a User-to-User header, a callback's id, keyed digits.
/// None if it cannot be a token of ours.
#[must_use]
pub fn read_presented(text: &str) -> Option<Presented> {
    let text = text.trim();
    if text.contains("://") || text.contains('?') {
        return in_link(text).and_then(sealed);
    }
    if let Some((local, _)) = text.rsplit_once('@') {
        let (_, tag) = local.split_once('+')?;
        let marked = tag.get(..TAG.len()).is_some_and(|start| start.eq_ignore_ascii_case(TAG));
        return sealed(if marked { &tag[TAG.len()..] } else { tag });
    }
    let bare = text.split(';').next().unwrap_or(text).trim();
    let bare = bare.strip_prefix(CALLBACK).unwrap_or(bare);
    sealed(bare).or_else(|| user_to_user(bare)).or_else(|| code::read(text).map(Presented::Code))
}

fn sealed(text: &str) -> Option<Presented> {
    decode(text).map(|bytes| Presented::Sealed(encode(&bytes)))
}

/// The parameter if there is one, else the last part of the path.
fn in_link(link: &str) -> Option<&str> {
    let link = link.split('#').next().unwrap_or(link);
    let (path, query) = link.split_once('?').unwrap_or((link, ""));
    let parameter = query.split('&').find_map(|pair| pair.strip_prefix(PARAMETER)?.strip_prefix('='));
    parameter.or_else(|| path.trim_end_matches('/').rsplit('/').next())
}

/// Hexadecimal, with or without the octet before it that names the protocol (ITU-T Q.931, 4.5.30).
fn user_to_user(text: &str) -> Option<Presented> {
    let digits = match text.len() {
        len if len == 2 * BYTES => text,
        len if len == 2 * BYTES + 2 => text.get(2..)?,
        _ => return None,
    };
    let mut bytes = [0; BYTES];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(Presented::Sealed(encode(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdefghjkmnpqrstvwxyz0123456789abcdef";

    fn check(presented: &str, wanted: Option<Presented>) {
        assert_eq!(read_presented(presented), wanted, "{presented}");
    }

    #[test]
    fn every_form_is_read_as_it_is_written() {
        let table = [
            (TokenForm::Any, None, TOKEN.to_owned()),
            (TokenForm::PlusAddress, Some("support@shop.example"), format!("support+tl.{TOKEN}@shop.example")),
            (TokenForm::DeepLink, Some("https://shop.example/chat"), format!("https://shop.example/chat?tl={TOKEN}")),
            (TokenForm::DeepLink, Some("https://shop.example/?a=b#top"), format!("https://shop.example/?a=b&tl={TOKEN}#top")),
            (TokenForm::Callback, None, format!("cb_{TOKEN}")),
        ];
        for (form, at, wanted) in table {
            let written = form.written(TOKEN, at).unwrap().unwrap();
            assert_eq!(written, wanted);
            check(&written, Some(Presented::Sealed(TOKEN.to_owned())));
            check(
                &format!(" {} ", written.to_uppercase().replace("TL=", "tl=").replace("CB_", "cb_")),
                Some(Presented::Sealed(TOKEN.to_owned())),
            );
        }
        let header = TokenForm::SipUui.written(TOKEN, None).unwrap().unwrap();
        assert!(header.ends_with(";encoding=hex") && header.len() < 128, "{header}");
        for written in [header.clone(), format!("04{header};purpose=isdn-uui"), header.replace(";encoding=hex", "").to_uppercase()] {
            check(&written, Some(Presented::Sealed(TOKEN.to_owned())));
        }
        check(&format!("https://shop.example/c/{TOKEN}"), Some(Presented::Sealed(TOKEN.to_owned())));
        check(&format!("agent+{TOKEN}@shop.example"), Some(Presented::Sealed(TOKEN.to_owned())));
    }

    #[test]
    fn keyed_digits_are_a_short_code_and_nothing_else_is() {
        for (keyed, wanted) in [("123456", "123456"), (" 12 34-56 78# ", "12345678"), ("*0123456#", "0123456")] {
            check(keyed, Some(Presented::Code(wanted.to_owned())));
        }
        for other in [
            "",
            "12345",
            "123456789",
            "12345x",
            "+442079460123",
            "support@shop.example",
            "https://shop.example/",
            "?tl=",
            "é",
            "cb_123456x",
        ] {
            check(other, None);
        }
    }

    #[test]
    fn what_it_is_put_into_must_take_it() {
        assert_eq!(TokenForm::PlusAddress.written(TOKEN, None), Ok(None));
        assert!(TokenForm::PlusAddress.written(TOKEN, Some("support")).is_err());
        assert!(TokenForm::PlusAddress.written(TOKEN, Some("customer-service@shop.example")).unwrap_err().contains("too long"));
        assert!(TokenForm::DeepLink.written(TOKEN, Some("shop.example")).is_err());
        assert!(TokenForm::SipUui.written(TOKEN, Some("x")).is_err());
    }

    #[test]
    fn a_form_is_taken_only_where_it_can_come_from() {
        use Channel::{Chat, Email, Other, Phone, Sms, Social, Web};
        let table: [(TokenForm, &[Channel]); 6] = [
            (TokenForm::Any, &[Chat, Email, Other, Phone, Sms, Social, Web]),
            (TokenForm::PlusAddress, &[Email]),
            (TokenForm::DeepLink, &[Chat, Other, Sms, Social, Web]),
            (TokenForm::IvrDigits, &[Phone]),
            (TokenForm::SipUui, &[Phone]),
            (TokenForm::Callback, &[Phone, Sms]),
        ];
        for (form, taken) in table {
            for channel in [Chat, Email, Other, Phone, Sms, Social, Web] {
                assert_eq!(form.is_taken_on(channel), taken.contains(&channel), "{form:?} on {channel:?}");
            }
        }
    }
}
