//! `secrets`: signing and comparing with values that the guest never sees.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use throughline_domain::connector::Secret;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use crate::guest::Guest;
use crate::wit::v0_1_0::{imports, types};

impl imports::secrets::Host for Guest {
    fn hmac_sha256(&mut self, name: String, data: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        let value = self.secret(&name).map_err(|error| self.guest_error(error))?;
        Ok(mac(value.expose().as_bytes(), &data).finalize().into_bytes().to_vec())
    }

    fn equals(&mut self, name: String, data: Vec<u8>) -> Result<bool, types::Error> {
        let value = self.secret(&name).map_err(|error| self.guest_error(error))?;
        Ok(equal_in_constant_time(value.expose().as_bytes(), &data))
    }
}

impl Guest {
    fn secret(&self, name: &str) -> Result<Secret, ConnectorError> {
        let missing = || ConnectorError::new(ErrorClass::Config, format!("the connection has no secret named {name:?}")).with_field(name);
        self.connection.secrets.for_plugin().get(name).cloned().ok_or_else(missing)
    }
}

fn mac(key: &[u8], data: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length").chain_update(data)
}

// Comparing MACs instead of the values hides the length as well.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    const KEY: &[u8] = b"throughline/equals";
    mac(KEY, left).verify(&mac(KEY, right).finalize().into_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_whole() {
        for (left, right, expected) in [("token", "token", true), ("token", "toke", false), ("token", "tokeN", false), ("", "", true)] {
            assert_eq!(equal_in_constant_time(left.as_bytes(), right.as_bytes()), expected, "{left} {right}");
        }
    }
}
