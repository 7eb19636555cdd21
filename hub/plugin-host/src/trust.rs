//! Whose plugins this hub takes: pure rules about keys.

use throughline_domain::connector::PluginError;

use crate::keys::PublicKey;

/// Whose plugins are taken. A signature that does not fit its component is refused whatever stands here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginTrust {
    /// Keys whose owners the admin trusts.
    pub keys: Vec<TrustedKey>,
    /// What becomes of plugins that none of these keys signed.
    pub unsigned: Unsigned,
}

/// A key the admin trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// What the admin calls its owner.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// What becomes of plugins that no trusted key signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unsigned {
    /// They are taken, and shown as what they are.
    #[default]
    Allow,
    /// They are refused at install and not loaded at start.
    Refuse,
}

impl PluginTrust {
    /// What the admin calls this key's owner.
    #[must_use]
    pub fn name_of(&self, key: &PublicKey) -> Option<&str> {
        self.keys.iter().find(|trusted| trusted.key == *key).map(|trusted| trusted.name.as_str())
    }

    /// Who signed, in words: a trusted key's name or `unknown key ed25519:…`.
    #[must_use]
    pub fn in_words(&self, signer: &PublicKey) -> String {
        self.name_of(signer).map_or_else(|| format!("unknown key {signer}"), str::to_owned)
    }

    /// Refuses what nobody trusted has signed, if such is to be refused.
    pub(crate) fn admit(&self, signer: Option<&PublicKey>) -> Result<(), PluginError> {
        match (self.unsigned, signer) {
            (Unsigned::Allow, _) => Ok(()),
            (Unsigned::Refuse, None) => Err(refused("there is none, and this hub takes signed plugins only (`require_signed`)".to_owned())),
            (Unsigned::Refuse, Some(key)) if self.name_of(key).is_none() => Err(refused(format!(
                "it is of the unknown key {key}, and this hub takes plugins of trusted keys only (`require_signed`); if you trust its owner, \
                 add the key to `trusted_keys` in the hub's config"
            ))),
            (Unsigned::Refuse, Some(_)) => Ok(()),
        }
    }

    /// Refuses another publisher's plugin under the name of one that is installed: a new version must be signed by the key that signed
    /// `version`, the newest signed one installed, or by a trusted key.
    pub(crate) fn admit_after(&self, version: &str, before: &PublicKey, signer: Option<&PublicKey>) -> Result<(), PluginError> {
        let found = match signer {
            Some(key) if key == before || self.name_of(key).is_some() => return Ok(()),
            Some(key) => format!("it is of the {}", self.in_words(key)),
            None => "there is none".to_owned(),
        };
        Err(refused(format!(
            "version {version} of this plugin, which is installed, is signed by {} and must be followed by versions of the same key or a \
             trusted one, but {found}; have it signed by that key, or add the new publisher's key to `trusted_keys` in the hub's config, or \
             remove the installed versions first",
            self.in_words(before)
        )))
    }
}

fn refused(why: String) -> PluginError {
    PluginError::Signature(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn key(seed: u8) -> PublicKey {
        SigningKey::from_seed(&[seed; 32]).public()
    }

    fn trust(unsigned: Unsigned) -> PluginTrust {
        PluginTrust { keys: vec![TrustedKey { name: "acme".to_owned(), key: key(1) }], unsigned }
    }

    #[test]
    fn who_is_not_trusted_is_refused_only_if_the_admin_says_so() {
        let cases = [
            (Unsigned::Allow, None, None),
            (Unsigned::Allow, Some(key(1)), None),
            (Unsigned::Allow, Some(key(2)), None),
            (Unsigned::Refuse, None, Some("require_signed")),
            (Unsigned::Refuse, Some(key(1)), None),
            (Unsigned::Refuse, Some(key(2)), Some("trusted_keys")),
        ];
        for (unsigned, signer, wanted) in cases {
            let found = trust(unsigned).admit(signer.as_ref()).map_err(|error| error.to_string());
            match wanted {
                None => assert_eq!(found, Ok(()), "{unsigned:?} {signer:?}"),
                Some(word) => assert!(found.clone().is_err_and(|why| why.contains(word)), "{unsigned:?} {signer:?} {found:?}"),
            }
        }
        assert_eq!(trust(Unsigned::Allow).in_words(&key(1)), "acme");
        assert_eq!(trust(Unsigned::Allow).in_words(&key(2)), format!("unknown key {}", key(2)));
    }

    #[test]
    fn a_new_version_is_of_the_same_publisher_or_a_trusted_one() {
        let cases = [
            (key(2), Some(key(2)), true),
            (key(2), Some(key(1)), true),
            (key(1), Some(key(1)), true),
            (key(2), Some(key(3)), false),
            (key(1), Some(key(2)), false),
            (key(2), None, false),
            (key(1), None, false),
        ];
        for (before, signer, good) in cases {
            let found = trust(Unsigned::Allow).admit_after("1.0.0", &before, signer.as_ref());
            assert_eq!(found.is_ok(), good, "{before} {signer:?} {found:?}");
        }
        let why = trust(Unsigned::Allow).admit_after("1.0.0", &key(1), Some(&key(2))).unwrap_err().to_string();
        for word in ["version 1.0.0", "signed by acme", &key(2).to_string(), "trusted_keys", "remove"] {
            assert!(why.contains(word), "{word}: {why}");
        }
    }
}
