//! One AMI message: headers in order, some of them several times.

/// An event or a response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Message {
    headers: Vec<(String, String)>,
}

impl Message {
    /// Reads the lines between two empty lines. Lines end with CR LF only: a lone LF belongs to the value it stands in. Bytes that are not
    /// UTF-8 are replaced, lines without a colon are passed over.
    #[must_use]
    pub fn parse(block: &[u8]) -> Self {
        let text = String::from_utf8_lossy(block);
        let headers = text.split("\r\n").filter_map(|line| line.split_once(':')).map(|(name, value)| {
            let value = value.strip_prefix(' ').unwrap_or(value);
            (name.trim().to_owned(), value.trim_end().to_owned())
        });
        Self { headers: headers.collect() }
    }

    /// Whether nothing was in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The first header of this name, as sent. Names are compared without case: `Uniqueid` here is `UniqueID` there.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value, unless it is absent, empty or AMI's `<unknown>`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty() && *value != "<unknown>")
    }

    /// Like [`Message::get`], without the backslashes AMI puts into names and values.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(unescape)
    }

    /// The event's name, for an event. `OriginateResponse` carries `Event` and `Response`: it is an event.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.get("Event")
    }

    /// `Success` or `Error`, for the answer to an action.
    #[must_use]
    pub fn response(&self) -> Option<&str> {
        if self.event().is_some() { None } else { self.get("Response") }
    }

    /// When it happened by the PBX's clock, in milliseconds since the Unix epoch; there with `timestampevents=yes` only.
    #[must_use]
    pub fn at_ms(&self) -> Option<i64> {
        let (seconds, fraction) = self.get("Timestamp")?.split_once('.')?;
        let seconds: i64 = seconds.parse().ok()?;
        let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
        seconds.checked_mul(1000)?.checked_add(digits.parse().ok()?)
    }
}

/// Takes away the backslashes that AMI writes before quotes, backslashes and control characters.
#[must_use]
pub fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            plain.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some(other) => plain.push(other),
            None => plain.push('\\'),
        }
    }
    plain
}
