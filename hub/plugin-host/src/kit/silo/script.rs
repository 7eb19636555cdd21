//! A line protocol by rules: what is heard, matched in order; what is said to it.

use std::collections::BTreeMap;
use std::path::Path;

use regex::Regex;
use serde::Deserialize;

use super::with_secrets;

/// The protocol as a kit describes it. Texts may hold `{secret:NAME}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpScript {
    /// Said at connect.
    #[serde(default)]
    greeting: String,
    /// What ends a message of the peer.
    #[serde(default = "line_end")]
    delimiter: String,
    /// The first that fits answers.
    rules: Vec<RuleScript>,
    /// Rules that come before these while the silo plays a part: `expired`, `insufficient`, `echo`; and `check` whenever `check` is called.
    #[serde(default)]
    parts: BTreeMap<String, Vec<RuleScript>>,
    /// Numbered texts for rules with `each`: files beside the script.
    #[serde(default)]
    numbered: BTreeMap<u32, String>,
    /// What the silo always says in order: messages in which the first group of this expression is the same. Without it any two may
    /// come the other way round.
    #[serde(default)]
    in_order: Option<String>,
}

fn line_end() -> String {
    "\r\n".to_owned()
}

/// What is said to a message.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleScript {
    /// A regular expression over the message; `.` does not match line ends.
    on: String,
    /// Said first; `$1` is the first group of the expression, `{message}` the message.
    #[serde(default)]
    reply: String,
    /// Then the numbered texts that this set names (`1:3,7`, `*` is the last), each as `each` says.
    #[serde(default)]
    set: Option<String>,
    /// With `{n}`, `{size}` and `{text}`.
    #[serde(default)]
    each: String,
    /// Then this file's bytes, from this line on.
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    from_line: usize,
    /// Said last.
    #[serde(default)]
    after: String,
    /// After a connection that was cut off the file goes on where it was, from the message on that was cut: for silos that say each thing
    /// once, however often somebody connects.
    #[serde(default)]
    resume: bool,
    /// The connection ends with that.
    #[serde(default)]
    close: bool,
    /// The next message ends with this instead.
    #[serde(default)]
    next_delimiter: Option<String>,
}

/// How the messages of an answer are said: the numbered texts, and what a file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// As they are written.
    #[default]
    AsWritten,
    /// Each twice.
    Doubled,
    /// This one, counted from nought, after the next one instead of before it.
    Swapped(usize),
}

/// A rule made ready.
struct Rule {
    on: Regex,
    script: RuleScript,
    /// Its file, message by message.
    file: Vec<Vec<u8>>,
}

/// A protocol made ready.
pub(crate) struct Protocol {
    pub(crate) greeting: String,
    pub(crate) delimiter: String,
    rules: Vec<Rule>,
    parts: BTreeMap<String, Vec<Rule>>,
    numbered: BTreeMap<u32, String>,
    in_order: Option<Regex>,
}

/// The answer to a message.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) bytes: Vec<u8>,
    pub(crate) close: bool,
    /// Where in the bytes the part begins that goes on where it was cut, if one does.
    pub(crate) resume: Option<usize>,
    pub(crate) next_delimiter: Option<String>,
    /// How many messages of it can be arranged.
    pub(crate) arrangeable: usize,
    /// Whether the arrangement made it another answer.
    pub(crate) rearranged: bool,
}

impl Protocol {
    /// Makes a script ready; its files lie beside it, in `folder`.
    pub(crate) fn new(script: TcpScript, folder: &Path, secrets: &BTreeMap<String, String>) -> Result<Self, String> {
        let delimiter = script.delimiter.clone();
        let rules = |rules: Vec<RuleScript>| {
            rules.into_iter().map(|rule| Rule::new(rule, folder, secrets, &delimiter)).collect::<Result<Vec<_>, _>>()
        };
        let in_order = script.in_order.as_deref().map(Regex::new).transpose().map_err(|error| format!("in_order: {error}"))?;
        let numbered = script.numbered.into_iter().map(|(number, file)| {
            let text = std::fs::read_to_string(folder.join(&file)).map_err(|error| format!("{file}: {error}"))?;
            Ok((number, text.replace("\r\n", "\n").replace('\n', "\r\n")))
        });
        Ok(Self {
            greeting: with_secrets(&script.greeting, secrets),
            delimiter: script.delimiter,
            rules: rules(script.rules)?,
            parts: script.parts.into_iter().map(|(name, part)| Ok((name, rules(part)?))).collect::<Result<_, String>>()?,
            numbered: numbered.collect::<Result<_, String>>()?,
            in_order,
        })
    }

    /// Whether the silo can play this part.
    pub(crate) fn has_part(&self, part: &str) -> bool {
        self.parts.contains_key(part)
    }

    /// Whether a conversation ends from this side.
    pub(crate) fn closes(&self) -> bool {
        self.rules.iter().any(|rule| rule.script.close && !rule.file.is_empty())
    }

    /// What is said to a message; an unknown one ends the connection, for a script must know what it is asked.
    pub(crate) fn answer(&self, message: &str, parts: &[&str], arrangement: Arrangement) -> Said {
        let special = parts.iter().filter_map(|part| self.parts.get(*part)).flatten();
        let rule = special.chain(&self.rules).find_map(|rule| rule.on.captures(message).map(|captures| (rule, captures)));
        let Some((rule, captures)) = rule else {
            tracing::warn!(message, "the kit's script has no rule for this");
            return Said { close: true, ..Said::default() };
        };
        let expand = |template: &str| {
            let mut text = String::new();
            captures.expand(template, &mut text);
            text.replace("{message}", message)
        };
        let mut bytes = expand(&rule.script.reply).into_bytes();
        let named = rule.script.set.as_ref().map(|set| numbers(&expand(set), &self.numbered)).unwrap_or_default();
        let texts = named.into_iter().map(|(number, text)| each(&rule.script.each, number, text).into_bytes()).collect();
        let (texts, texts_moved) = self.arranged(texts, arrangement);
        bytes.extend(texts.iter().flatten());
        let resume = rule.script.resume.then_some(bytes.len());
        let (file, file_moved) = self.arranged(rule.file.clone(), arrangement);
        bytes.extend(file.iter().flatten());
        bytes.extend(expand(&rule.script.after).into_bytes());
        Said {
            bytes,
            close: rule.script.close,
            resume,
            next_delimiter: rule.script.next_delimiter.clone(),
            arrangeable: texts.len().max(file.len()),
            rearranged: texts_moved || file_moved,
        }
    }
}

impl Protocol {
    /// The messages as ordered, and whether that is another order than the one they have.
    fn arranged(&self, mut messages: Vec<Vec<u8>>, arrangement: Arrangement) -> (Vec<Vec<u8>>, bool) {
        match arrangement {
            Arrangement::AsWritten => (messages, false),
            Arrangement::Doubled => {
                let any = !messages.is_empty();
                (messages.into_iter().flat_map(|message| [message.clone(), message]).collect(), any)
            }
            Arrangement::Swapped(at) => {
                let free = messages.get(at).zip(messages.get(at + 1)).is_some_and(|(one, two)| one != two && !self.is_in_order(one, two));
                if free {
                    messages.swap(at, at + 1);
                }
                (messages, free)
            }
        }
    }

    fn is_in_order(&self, one: &[u8], two: &[u8]) -> bool {
        let Some(in_order) = &self.in_order else { return false };
        let group = |message: &[u8]| {
            let text = String::from_utf8_lossy(message).into_owned();
            in_order.captures(&text).and_then(|captures| captures.get(1)).map(|group| group.as_str().to_owned())
        };
        let group_of_one = group(one);
        group_of_one.is_some() && group_of_one == group(two)
    }
}

impl Rule {
    fn new(mut script: RuleScript, folder: &Path, secrets: &BTreeMap<String, String>, delimiter: &str) -> Result<Self, String> {
        let escaped = secrets.iter().map(|(name, value)| (name.clone(), regex::escape(value))).collect();
        let on = Regex::new(&with_secrets(&script.on, &escaped)).map_err(|error| error.to_string())?;
        script.reply = with_secrets(&script.reply, secrets);
        let file = match &script.file {
            Some(file) => {
                let bytes = std::fs::read(folder.join(file)).map_err(|error| format!("{file}: {error}"))?;
                let lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(script.from_line);
                messages(&lines.flatten().copied().collect::<Vec<u8>>(), delimiter.as_bytes())
            }
            None => Vec::new(),
        };
        Ok(Self { on, script, file })
    }
}

/// The bytes cut after each delimiter; what follows the last one is a message too.
fn messages(bytes: &[u8], delimiter: &[u8]) -> Vec<Vec<u8>> {
    let (mut messages, mut from) = (Vec::new(), 0);
    while let Some(at) = bytes[from..].windows(delimiter.len().max(1)).position(|window| window == delimiter) {
        messages.push(bytes[from..from + at + delimiter.len()].to_vec());
        from += at + delimiter.len();
    }
    messages.extend((from < bytes.len()).then(|| bytes[from..].to_vec()));
    messages
}

fn each(template: &str, number: u32, text: &str) -> String {
    template.replace("{n}", &number.to_string()).replace("{size}", &text.len().to_string()).replace("{text}", text)
}

/// The texts that a set such as `1:3,7` or `*` names.
fn numbers<'t>(set: &str, texts: &'t BTreeMap<u32, String>) -> Vec<(u32, &'t str)> {
    let last = texts.keys().max().copied().unwrap_or_default();
    let number = |text: &str| if text == "*" { last } else { text.parse().unwrap_or_default() };
    let ranges: Vec<(u32, u32)> = set
        .split(',')
        .map(|range| {
            let (from, to) = range.split_once(':').unwrap_or((range, range));
            (number(from), number(to))
        })
        .collect();
    let named = texts.iter().filter(|(at, _)| ranges.iter().any(|(from, to)| from <= *at && *at <= to));
    named.map(|(number, text)| (*number, text.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_answer_in_order_with_what_they_caught() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one.txt"), "hello\nyou\n").unwrap();
        let script = json!({
            "greeting": "ready\r\n",
            "rules": [
                {"on": "^(\\S+) LOGIN {secret:password}$", "reply": "$1 OK\r\n"},
                {"on": "^(\\S+) LOGIN", "reply": "$1 NO {message}\r\n", "close": true},
                {"on": "^(\\S+) GET (\\S+)$", "set": "$2", "each": "* {n} {size} {text}", "after": "$1 OK\r\n"},
                {"on": "^FILE$", "file": "one.txt", "from_line": 1},
            ],
            "parts": {"expired": [{"on": "LOGIN", "reply": "gone\r\n"}]},
            "numbered": {"3": "one.txt"},
        });
        let secrets = BTreeMap::from([("password".to_owned(), "a+b".to_owned())]);
        let protocol = Protocol::new(serde_json::from_value(script).unwrap(), folder.path(), &secrets).unwrap();
        let said = |message: &str, part: Option<&str>| {
            let said = protocol.answer(message, part.as_slice(), Arrangement::AsWritten);
            String::from_utf8(said.bytes).unwrap()
        };
        assert_eq!(said("a1 LOGIN a+b", None), "a1 OK\r\n");
        assert_eq!(said("a1 LOGIN aab", None), "a1 NO a1 LOGIN aab\r\n");
        assert_eq!(said("a1 LOGIN a+b", Some("expired")), "gone\r\n");
        assert_eq!(said("a2 GET 1:5", None), "* 3 12 hello\r\nyou\r\na2 OK\r\n");
        assert_eq!(said("a2 GET 4", None), "a2 OK\r\n");
        assert_eq!(said("FILE", None), "you\n");
        assert!(protocol.answer("what?", &[], Arrangement::AsWritten).close);
    }

    #[test]
    fn messages_are_arranged_but_for_those_that_stay_in_order() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("calls.txt"), "a:1\nb:1\nb:2\nc").unwrap();
        let script = json!({
            "delimiter": "\n", "in_order": "^(\\w):",
            "rules": [{"on": "^go$", "reply": "first\n", "file": "calls.txt", "after": "last\n"}],
        });
        let protocol = Protocol::new(serde_json::from_value(script).unwrap(), folder.path(), &BTreeMap::new()).unwrap();
        for (arrangement, wanted, rearranged) in [
            (Arrangement::AsWritten, "a:1 b:1 b:2 c", false),
            (Arrangement::Doubled, "a:1 a:1 b:1 b:1 b:2 b:2 cc", true),
            (Arrangement::Swapped(0), "b:1 a:1 b:2 c", true),
            (Arrangement::Swapped(1), "a:1 b:1 b:2 c", false),
            (Arrangement::Swapped(2), "a:1 b:1 cb:2 ", true),
            (Arrangement::Swapped(3), "a:1 b:1 b:2 c", false),
        ] {
            let said = protocol.answer("go", &[], arrangement);
            let text = String::from_utf8(said.bytes).unwrap();
            assert_eq!(text, format!("first\n{}last\n", wanted.replace(' ', "\n")), "{arrangement:?}");
            assert_eq!(said.rearranged, rearranged, "{arrangement:?}");
        }
    }
}
