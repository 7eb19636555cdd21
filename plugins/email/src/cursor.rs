//! Where reading goes on: the last mail's UID, and under which numbering it holds.

use serde::{Deserialize, Serialize};
use throughline_plugin_sdk::{Result, Value, log};

use crate::errors;
use crate::imap::mailbox::Opened;

/// What the hub keeps for us between calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cursor {
    /// The numbering of the mailbox; when the server changes it, UIDs mean other mails.
    pub(crate) uidvalidity: u32,
    /// The last mail read.
    pub(crate) uid: u32,
    /// The highest modification sequence when it was read, where the server counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) modseq: Option<u64>,
}

impl Cursor {
    /// Where to go on in a mailbox. A cursor that cannot be read is an error: to start over unasked would hide that something
    /// is wrong.
    pub(crate) fn resume(saved: Option<Value>, opened: Opened) -> Result<Self> {
        let start = Self { uidvalidity: opened.uidvalidity, uid: 0, modseq: opened.modseq };
        let Some(saved) = saved.filter(|saved| !saved.is_null()) else { return Ok(start) };
        let unreadable = |why: &str| {
            let text = format!("the saved position in the mailbox cannot be read ({why}); reset it to read from the beginning");
            errors::config("cursor", text)
        };
        // A list would pass for an object's members in order.
        if !saved.is_object() {
            return Err(unreadable("it is no object"));
        }
        let cursor: Self = serde_json::from_value(saved).map_err(|error| unreadable(&error.to_string()))?;
        if cursor.uidvalidity != opened.uidvalidity {
            log::warn(
                "the server numbered the mailbox anew (UIDVALIDITY changed); reading it from the beginning, known mails are recognised",
            );
            return Ok(start);
        }
        Ok(Self { modseq: opened.modseq, ..cursor })
    }

    /// As the hub keeps it.
    pub(crate) fn to_value(self) -> Value {
        throughline_plugin_sdk::json!(self)
    }
}

#[cfg(test)]
mod tests {
    use throughline_plugin_sdk::{ErrorClass, json};

    use super::*;

    const OPENED: Opened = Opened { uidvalidity: 7, modseq: Some(9) };

    #[test]
    fn resuming() {
        for (saved, uid) in [
            (None, 0),
            (Some(Value::Null), 0),
            (Some(json!({"uidvalidity": 7, "uid": 5})), 5),
            (Some(json!({"uidvalidity": 7, "uid": 5, "modseq": 1})), 5),
        ] {
            assert_eq!(Cursor::resume(saved, OPENED).unwrap(), Cursor { uidvalidity: 7, uid, modseq: Some(9) });
        }
    }

    #[test]
    fn garbage_is_an_error_and_not_a_fresh_start() {
        for saved in [
            json!("x"),
            json!({}),
            json!([]),
            json!([7, 5, null]),
            json!({"uidvalidity": 7}),
            json!({"uidvalidity": -1, "uid": 5}),
            json!({"uidvalidity": 7, "uid": 5, "offset": 1}),
        ] {
            let error = Cursor::resume(Some(saved.clone()), OPENED).unwrap_err();
            assert_eq!((error.class, error.field.as_deref()), (ErrorClass::Config, Some("cursor")), "{saved}");
        }
    }
}
