//! Finding a record by the value of a field. What the system finds is compared again: one that ignores an unknown filter returns
//! everything, and the first of everything would be somebody else's record.

use serde_json::{Value, json};
use throughline_plugin_sdk::{Error, ErrorClass, Result};

use super::Context;
use crate::classify::Purpose;
use crate::client::Call;
use crate::pointer;
use crate::template::{self, Variables};

impl Context<'_> {
    /// The record whose field has this value.
    pub(super) fn find(&self, field: &str, value: &str) -> Result<Option<Value>> {
        let Some(lookup) = self.entity.lookups.get(field) else {
            let detail = format!("records of {:?} cannot be looked up by {field:?}", self.name);
            return Err(Error::new(ErrorClass::Config, detail).with_field(format!("entities.{}.lookups.{field}", self.name)));
        };
        let (place, wanted) = self.stored_form(field, value)?;
        let per_page = lookup.page_size.to_string();
        let variables =
            Variables::default().with("value", wanted.as_str()).with("per_page", per_page).with("page", "1").with("offset", "0");
        let url = self.client.address(&lookup.path, &lookup.query, &variables)?;
        let body = lookup.body.as_ref().map(|body| template::body(body, &variables, None)).transpose()?;
        let call = Call { method: lookup.method.clone(), url, headers: Vec::new(), body, purpose: Purpose::Read };
        let answer = self.client.call(&call, Some(self.entity))?;
        let Some(Value::Array(found)) = answer.body.pointer(&lookup.items) else {
            let detail = format!("the look-up of {:?} by {field:?} has no list at {:?} of its answer", self.name, lookup.items);
            return Err(Error::new(ErrorClass::Config, detail).with_field(format!("entities.{}.lookups.{field}.items", self.name)));
        };
        let held = |record: &&Value| pointer::text_at(record, &place).is_some_and(|held| held.to_lowercase() == wanted.to_lowercase());
        Ok(found.iter().find(held).cloned())
    }

    /// Where the field is in a record, and the value as the system would store it.
    fn stored_form(&self, field: &str, value: &str) -> Result<(String, String)> {
        let place = self.entity.fields.get(field).and_then(|map| map.spec().pointer).unwrap_or_default();
        let stored = self.as_stored(&json!({ field: value }), &[])?;
        let wanted = pointer::text_at(&stored, &place).unwrap_or_else(|| value.to_owned());
        Ok((place, wanted))
    }
}
