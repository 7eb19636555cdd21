//! Header fields by name, as they stand in the mail.

use mail_parser::Message;

/// The header fields of a mail's first part.
pub(super) struct Headers<'x> {
    fields: Vec<(&'x str, &'x str)>,
}

impl<'x> Headers<'x> {
    pub(super) fn of(message: &'x Message<'_>) -> Self {
        Self { fields: message.headers_raw().map(|(name, value)| (name.trim(), value.trim())).collect() }
    }

    /// The first field of this name.
    pub(super) fn first(&self, name: &str) -> Option<&'x str> {
        self.all(name).next()
    }

    /// All fields of this name.
    pub(super) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'x str> + 's {
        self.fields.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Whether a field's name begins like this.
    pub(super) fn any_name_starts_with(&self, prefix: &str) -> bool {
        self.fields.iter().any(|(name, _)| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
    }
}

/// The first word of a field with parameters or comments: `auto-replied` of `auto-replied (vacation); owner-email=…`.
pub(super) fn word(value: &str) -> String {
    value.split([';', ' ', '\t', '(', '\r', '\n']).next().unwrap_or("").to_ascii_lowercase()
}
