//! How a listener hands over what it heard.

use crate::{Item, Result, Value, sys};

/// Returns when the items, the state set so far and the checkpoint are durable: that is the back-pressure.
pub fn emit(items: Vec<Item>, checkpoint: Option<Value>) -> Result<()> {
    sys::emit(items, checkpoint)
}
