//! Signed web identities: the keys of websites, and taking a token that one of them signed as proof of who speaks.
//!
//! The algorithm belongs to the key and is never taken from the token: neither `none` nor a public key used as a secret gets through
//! (RFC 8725, 3.1). Time is the hub's clock, so the library only checks the signature.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use throughline_domain::identity::{Normalised, normalise};
use throughline_domain::web_identity::{Agreed, Claims, SigningAlgorithm, proven};
use throughline_schemas::{ConversationId, Evidence, IdentityType};
use throughline_store::tables::{StoredWebKey, WebKeys, read, scan_rows};

use crate::HubError;
use crate::clock::random;
use crate::error::Result;
use crate::hub::Hub;
use crate::views::{NewWebKey, WebIdentity, WebKeyView, WebProofView};

/// The shortest secret, in bytes: as long as the hash (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;
/// The longest key and the longest token, in bytes.
const LONGEST_KEY: usize = 8 * 1024;
const LONGEST_TOKEN: usize = 8 * 1024;
/// The longest id of a key, in bytes.
const LONGEST_ID: usize = 100;

impl Hub {
    /// Makes a website's key known. The same id again is refused: tokens name it.
    pub async fn create_web_key(&self, new: NewWebKey) -> Result<WebKeyView> {
        if new.kid.trim().is_empty() || new.kid.len() > LONGEST_ID {
            return Err(HubError::invalid("/kid", format!("name the key with 1 to {LONGEST_ID} bytes, as its tokens do")));
        }
        decoding_key(new.algorithm, &new.key).map_err(|detail| HubError::invalid("/key", detail))?;
        let row = StoredWebKey {
            brand: new.brand,
            algorithm: algorithm_name(new.algorithm)?,
            sealed: self.inner.options.master_key.seal(&place(&new.kid), &new.key, random()),
            issuer: new.issuer,
            audience: new.audience,
            created_at: self.now(),
        };
        self.transact(|tx| {
            if tx.get::<WebKeys>(&new.kid)?.is_some() {
                return Err(HubError::conflict(format!("there is a key {:?} already; delete it first, or take another name", new.kid)));
            }
            Ok(tx.put::<WebKeys>(&new.kid, &row)?)
        })
        .await?;
        shown(new.kid, row)
    }

    /// All keys of websites, without the keys themselves.
    pub fn web_keys(&self) -> Result<Vec<WebKeyView>> {
        let page = scan_rows::<WebKeys>(&self.inner.store, &[], None, usize::MAX)?;
        page.rows.into_iter().filter_map(|(key, row)| Some(shown(WebKeys::id(&key)?, row.value))).collect()
    }

    /// Takes nothing signed by this key any more.
    pub async fn delete_web_key(&self, kid: &str) -> Result<()> {
        let kid = kid.to_owned();
        self.transact(|tx| {
            tx.get::<WebKeys>(&kid)?.ok_or_else(|| HubError::not_found("web key", &kid))?;
            tx.delete::<WebKeys>(&kid);
            Ok(())
        })
        .await
    }

    /// Takes what a website signed of its visitor as proof of who speaks in a conversation.
    pub async fn prove_by_web_identity(&self, id: ConversationId, given: WebIdentity) -> Result<WebProofView> {
        let conversation = self.conversation(id)?.value;
        let brand = self.connection_context(conversation.connection_id)?.brand.clone();
        let identities = self.identities_signed(&given.token, &brand).map_err(|detail| HubError::invalid("/token", detail))?;
        let names: Vec<String> = identities.iter().map(|identity| identity.key.kind.as_str().to_owned()).collect();
        let evidence = Evidence { rule: "signed web identity".to_owned(), detail: format!("it names {}", names.join(", ")) };
        self.transact(|tx| self.prove(tx, id, &identities, evidence.clone(), given.link)).await?;
        let proven = self.conversation(id)?.value.proven;
        let until = proven.first().map_or_else(|| self.now(), |proven| proven.until);
        Ok(WebProofView { proven: proven.into_iter().map(|proven| proven.kind).collect(), until })
    }

    fn identities_signed(&self, token: &str, brand: &str) -> std::result::Result<Vec<Normalised>, String> {
        const REFUSED: &str = "the token is not signed by a key that is known here";
        if token.len() > LONGEST_TOKEN {
            return Err(format!("the token has more than {LONGEST_TOKEN} bytes"));
        }
        let header = decode_header(token).map_err(|error| format!("this is no signed token: {error}"))?;
        let kid = header.kid.ok_or("the token does not say by which key it is signed (kid)")?;
        let row = read::<WebKeys>(&self.inner.store, &kid).map_err(|error| error.to_string())?.ok_or(REFUSED)?.value;
        if row.brand != brand {
            return Err(REFUSED.to_owned());
        }
        let key = self.inner.options.master_key.open(&place(&kid), &row.sealed).ok_or(REFUSED)?;
        let algorithm = named_algorithm(&row.algorithm).ok_or(REFUSED)?;
        // Only the key's own algorithm is tried, whatever the header says.
        let mut validation = Validation::new(of_library(algorithm));
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims =
            decode::<Claims>(token, &decoding_key(algorithm, &key)?, &validation).map_err(|error| format!("{REFUSED}: {error}"))?.claims;
        let agreed = Agreed { issuer: row.issuer, audience: row.audience };
        let found = proven(&claims, &agreed, self.now())?;
        let normalised = found.into_iter().filter_map(|(kind, value)| {
            let namespace = if kind == IdentityType::External { format!("web/{brand}") } else { String::new() };
            normalise(kind, &namespace, &value, None).ok()
        });
        Ok(normalised.collect())
    }
}

fn place(kid: &str) -> String {
    format!("web key {kid}")
}

fn of_library(algorithm: SigningAlgorithm) -> Algorithm {
    match algorithm {
        SigningAlgorithm::HS256 => Algorithm::HS256,
        SigningAlgorithm::RS256 => Algorithm::RS256,
        SigningAlgorithm::PS256 => Algorithm::PS256,
        SigningAlgorithm::ES256 => Algorithm::ES256,
        SigningAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

fn algorithm_name(algorithm: SigningAlgorithm) -> Result<String> {
    let name = serde_json::to_value(algorithm).map_err(|error| HubError::Internal(error.to_string()))?;
    Ok(name.as_str().unwrap_or_default().to_owned())
}

fn named_algorithm(name: &str) -> Option<SigningAlgorithm> {
    serde_json::from_value(name.into()).ok()
}

fn decoding_key(algorithm: SigningAlgorithm, key: &str) -> std::result::Result<DecodingKey, String> {
    if key.len() > LONGEST_KEY {
        return Err(format!("a key of at most {LONGEST_KEY} bytes is taken"));
    }
    let pem = |read: fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>| {
        if !key.contains("PUBLIC KEY") {
            return Err("a public key as PEM is needed (-----BEGIN PUBLIC KEY-----)".to_owned());
        }
        read(key.as_bytes()).map_err(|error| format!("this is no public key for that algorithm: {error}"))
    };
    match algorithm {
        SigningAlgorithm::HS256 if key.contains("-----BEGIN") => Err("this is a key pair's; HS256 takes a shared secret".to_owned()),
        SigningAlgorithm::HS256 if key.len() < SHORTEST_SECRET => Err(format!("a secret of at least {SHORTEST_SECRET} bytes is needed")),
        SigningAlgorithm::HS256 => Ok(DecodingKey::from_secret(key.as_bytes())),
        SigningAlgorithm::RS256 | SigningAlgorithm::PS256 => pem(DecodingKey::from_rsa_pem),
        SigningAlgorithm::ES256 => pem(DecodingKey::from_ec_pem),
        SigningAlgorithm::EdDSA => pem(DecodingKey::from_ed_pem),
    }
}

fn shown(kid: String, row: StoredWebKey) -> Result<WebKeyView> {
    let algorithm = named_algorithm(&row.algorithm).ok_or_else(|| HubError::Internal(format!("key {kid} has no algorithm")))?;
    Ok(WebKeyView { kid, brand: row.brand, algorithm, issuer: row.issuer, audience: row.audience, created_at: row.created_at })
}
