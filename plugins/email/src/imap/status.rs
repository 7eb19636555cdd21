//! Status lines (`OK`, `NO`, `BAD`, `BYE`, `PREAUTH`), read leniently.
//!
//! They carry text for people, in which servers put whatever they like: 8-bit text, unknown codes, nothing at all. A strict
//! grammar would lose the one line that says why a command failed.

/// How a command, or the connection, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

/// A status line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// The tag of the command it ends; none for a line that came by itself.
    pub(crate) tag: Option<String>,
    pub(crate) verdict: Verdict,
    /// What stood in square brackets, for instance `UIDVALIDITY 17`.
    pub(crate) code: Option<String>,
    pub(crate) text: String,
}

impl Status {
    /// Reads a status line; none if it is something else.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (tag, rest) = line.trim_end_matches(['\r', '\n']).split_once(' ')?;
        if tag.is_empty() || tag == "+" {
            return None;
        }
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let verdict = verdict(word)?;
        let (code, text) = split_code(rest.trim_start());
        Some(Self { tag: (tag != "*").then(|| tag.to_owned()), verdict, code, text: text.trim().to_owned() })
    }

    /// The argument of a code, for instance 17 of `UIDVALIDITY 17`.
    pub(crate) fn code_argument(&self, name: &str) -> Option<&str> {
        let (word, argument) = self.code.as_deref()?.split_once(' ')?;
        word.eq_ignore_ascii_case(name).then_some(argument.trim())
    }

    /// Whether the code is this one.
    pub(crate) fn has_code(&self, name: &str) -> bool {
        self.code.as_deref().and_then(|code| code.split(' ').next()).is_some_and(|word| word.eq_ignore_ascii_case(name))
    }
}

fn verdict(word: &str) -> Option<Verdict> {
    let known = [("OK", Verdict::Ok), ("NO", Verdict::No), ("BAD", Verdict::Bad), ("BYE", Verdict::Bye), ("PREAUTH", Verdict::Preauth)];
    known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, verdict)| verdict)
}

fn split_code(rest: &str) -> (Option<String>, &str) {
    let Some((code, text)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else { return (None, rest) };
    (Some(code.to_owned()), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, tag: Option<&str>, verdict: Verdict, code: Option<&str>, text: &str) {
        let expected = Status { tag: tag.map(str::to_owned), verdict, code: code.map(str::to_owned), text: text.to_owned() };
        assert_eq!(Status::parse(line.as_bytes()), Some(expected), "{line}");
    }

    #[test]
    fn status_lines() {
        check("* OK Dovecot ready.\r\n", None, Verdict::Ok, None, "Dovecot ready.");
        check("* OK [UIDVALIDITY 17] UIDs valid\r\n", None, Verdict::Ok, Some("UIDVALIDITY 17"), "UIDs valid");
        check("a1 NO [AUTHENTICATIONFAILED] no.\n", Some("a1"), Verdict::No, Some("AUTHENTICATIONFAILED"), "no.");
        check("a1 ok\r\n", Some("a1"), Verdict::Ok, None, "");
        check("* BYE Überlast\r\n", None, Verdict::Bye, None, "Überlast");
        check("* OK [UNTERMINATED\r\n", None, Verdict::Ok, None, "[UNTERMINATED");
        check("* PREAUTH [CAPABILITY IMAP4rev1 IDLE] hi", None, Verdict::Preauth, Some("CAPABILITY IMAP4rev1 IDLE"), "hi");
    }

    #[test]
    fn everything_else_is_no_status() {
        for line in ["", "\r\n", "* 3 EXISTS\r\n", "+ idling\r\n", "+ OK\r\n", "SSH-2.0-OpenSSH_9.2", "HTTP/1.1 400 Bad Request", " OK x"] {
            assert_eq!(Status::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn arguments_of_codes() {
        let status = Status::parse(b"* OK [HIGHESTMODSEQ 715194045007] Highest").unwrap();
        assert_eq!(status.code_argument("highestmodseq"), Some("715194045007"));
        assert!(status.has_code("HIGHESTMODSEQ") && !status.has_code("UIDNEXT"));
        assert_eq!(status.code_argument("UIDNEXT"), None);
    }
}
