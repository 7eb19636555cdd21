//! `state`: a connection's small memory. Changes stay pending until the call ends well or an `emit` carries them.

use throughline_schemas::connector::ConnectorError;

use crate::call::bug;
use crate::guest::Guest;
use crate::wit::v0_1_0::{imports, parse, types};

const LONGEST_KEY: usize = 256;

impl imports::state::Host for Guest {
    fn get(&mut self, key: String) -> Result<Option<String>, types::Error> {
        self.state_get(&key).map_err(|error| self.guest_error(error))
    }

    fn set(&mut self, key: String, value: String) -> Result<(), types::Error> {
        self.state_set(key, &value).map_err(|error| self.guest_error(error))
    }

    fn delete(&mut self, key: String) -> Result<(), types::Error> {
        self.pending.put(key, None);
        Ok(())
    }
}

impl Guest {
    fn state_get(&self, key: &str) -> Result<Option<String>, ConnectorError> {
        if let Some(pending) = self.pending.get(key) {
            return Ok(pending.as_ref().map(ToString::to_string));
        }
        let value = self.connection.services.state(key)?.map(|value| value.to_string());
        self.connection.note_state_size(key, value.as_ref().map(String::len));
        Ok(value)
    }

    fn state_set(&mut self, key: String, text: &str) -> Result<(), ConnectorError> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(bug(format!("a state key has 1 to {LONGEST_KEY} bytes")).with_field(key));
        }
        let limit = self.connection.limits.state_bytes;
        let size = self.connection.state_size_with(&self.pending.sizes_with(&key, text.len()));
        if size > limit {
            return Err(bug(format!("the state would be {size} bytes; the limit is {limit}")).with_field(key));
        }
        let value = parse("a state value", text, &self.connection.redactor)?;
        self.pending.put(key, Some((value, text.len())));
        Ok(())
    }
}
