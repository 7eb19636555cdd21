//! The connection's own small memory (1 MiB in all): what is set during a call commits together with that call's checkpoint.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, ErrorClass, Result, sys};

/// What is kept under a key.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
    let Some(text) = sys::state_get(key)? else { return Ok(None) };
    let value = serde_json::from_str(&text).map_err(|error| bug(format!("the state under {key:?} is of another shape: {error}")))?;
    Ok(Some(value))
}

/// Keeps a value under a key.
pub fn set<T: Serialize>(key: &str, value: &T) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| bug(format!("the state for {key:?} cannot be written as JSON: {error}")))?;
    sys::state_set(key, &text)
}

/// Forgets a key.
pub fn delete(key: &str) -> Result<()> {
    sys::state_delete(key)
}

fn bug(message: String) -> Error {
    Error::new(ErrorClass::Bug, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestHost;

    #[test]
    fn what_is_set_is_got_and_what_has_another_shape_is_a_bug() {
        let _host = TestHost::new().install();
        assert_eq!(get::<u32>("seen").unwrap(), None);
        set("seen", &7_u32).unwrap();
        assert_eq!(get::<u32>("seen").unwrap(), Some(7));
        assert_eq!(get::<String>("seen").unwrap_err().class, ErrorClass::Bug);
        delete("seen").unwrap();
        assert_eq!(get::<u32>("seen").unwrap(), None);
    }
}
