//! What subjects say: their reply and forward marks stripped, and how much two of them are about the same.
//!
//! Likeness is only good for putting suggestions in order: strangers write "Question" too.

/// Reply and forward marks of the mail programs in use, in their languages, lower case and without the colon.
const MARKS: [&str; 38] = [
    "re",
    "r",
    "fw",
    "fwd",
    "aw",
    "wg",
    "antw",
    "sv",
    "vs",
    "vb",
    "vl",
    "vá",
    "fs",
    "tr",
    "réf",
    "rv",
    "rif",
    "i",
    "enc",
    "res",
    "odp",
    "pd",
    "ynt",
    "ilt",
    "i̇lt",
    "doorst",
    "atb",
    "bls",
    "továbbítás",
    "ответ",
    "пересл",
    "回复",
    "回覆",
    "答复",
    "转发",
    "轉寄",
    "השב",
    "رد",
];
/// Fewer characters are no subject that could be recognised.
const SHORTEST: usize = 4;

/// The subject without the marks before it, however many there are: `Re: AW[2]: WG： Late order` is `Late order`.
#[must_use]
pub fn strip_marks(subject: &str) -> &str {
    let mut rest = subject.trim();
    while let Some((before, after)) = rest.split_once([':', '：']) {
        let mark = before.trim().to_lowercase();
        // Outlook counts: Re[2], Re(3), Re^2.
        let mark = mark.trim_end_matches(|c: char| c.is_ascii_digit() || "[]()^".contains(c)).trim();
        if !MARKS.contains(&mark) {
            break;
        }
        rest = after.trim_start();
    }
    rest
}

/// How much a message's subject is about the same as an enquiry: 2 the same, 1 much of it, 0 nothing to go by.
#[must_use]
pub fn likeness(subject: &str, reason: &str) -> u8 {
    let (subject, reason) = (strip_marks(subject).to_lowercase(), strip_marks(reason).to_lowercase());
    if subject.chars().count() < SHORTEST || reason.chars().count() < SHORTEST {
        return 0;
    }
    if subject == reason {
        return 2;
    }
    let words = |text: &str| -> std::collections::BTreeSet<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 2).map(str::to_owned).collect()
    };
    let (one, other) = (words(&subject), words(&reason));
    let shared = one.intersection(&other).count();
    u8::from(shared > 0 && 2 * shared >= one.len().min(other.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_stripped_however_often_and_in_whichever_language() {
        let table = [
            ("Re: AW: fwd:  Late order", "Late order"),
            ("RE[2]: Late order", "Late order"),
            ("SV(3): VB: Late order", "Late order"),
            ("Re：回复：Late order", "Late order"),
            ("TR : Late order", "Late order"),
            ("Odp: PD: YNT: Ответ: Late order", "Late order"),
            ("Report: late", "Report: late"),
            ("RE:", ""),
            ("Ré: x", "Ré: x"),
            ("Order 12:30", "Order 12:30"),
        ];
        for (subject, wanted) in table {
            assert_eq!(strip_marks(subject), wanted, "{subject}");
        }
    }

    #[test]
    fn likeness_needs_something_to_go_by() {
        let table = [
            ("Re: Late order", "Late order", 2),
            ("Late order 4711", "late order", 1),
            ("The order is late", "Late order", 1),
            ("Refund", "Late order", 0),
            ("Hi", "Hi", 0),
            ("", "Late order", 0),
        ];
        for (subject, reason, wanted) in table {
            assert_eq!(likeness(subject, reason), wanted, "{subject} / {reason}");
        }
    }
}
