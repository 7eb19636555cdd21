//! API keys: made, shown once, known by their hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use throughline_schemas::{ApiKeyId, Timestamp};
use throughline_store::tables::{ApiKeyRecord, ApiKeys, Scope, read, scan_rows};

use crate::HubError;
use crate::clock::{fresh, random};
use crate::error::Result;
use crate::hub::Hub;
use crate::views::ApiKeyView;

const PREFIX: &str = "tl_";
/// Last use is kept to the minute.
const USE_MS: i64 = 60_000;

impl Hub {
    /// Makes a key; the text is shown this once.
    pub async fn create_api_key(&self, name: &str, scopes: Vec<Scope>, expires_at: Option<Timestamp>) -> Result<(ApiKeyView, String)> {
        if name.trim().is_empty() {
            return Err(HubError::invalid("/name", "say what the key is for"));
        }
        if scopes.is_empty() {
            return Err(HubError::invalid("/scopes", "name at least one of read, write, agent, lookup, admin"));
        }
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()));
        let record = ApiKeyRecord {
            id: ApiKeyId::from_bytes(fresh()),
            name: name.to_owned(),
            scopes,
            created_at: self.now(),
            expires_at,
            revoked_at: None,
        };
        self.transact(|tx| Ok(tx.put::<ApiKeys>(&digest(&text), &record)?)).await?;
        Ok((self.show_key(record), text))
    }

    /// All keys, without their texts.
    pub fn api_keys(&self) -> Result<Vec<ApiKeyView>> {
        let page = scan_rows::<ApiKeys>(&self.inner.store, &[], None, usize::MAX)?;
        let mut keys: Vec<ApiKeyView> = page.rows.into_iter().map(|(_, row)| self.show_key(row.value)).collect();
        keys.sort_by_key(|key| key.id);
        Ok(keys)
    }

    /// Refuses a key from now on.
    pub async fn revoke_api_key(&self, id: ApiKeyId) -> Result<()> {
        let page = scan_rows::<ApiKeys>(&self.inner.store, &[], None, usize::MAX)?;
        let found = page.rows.into_iter().find(|(_, row)| row.value.id == id);
        let (key, _) = found.ok_or_else(|| HubError::not_found("API key", id))?;
        let digest: [u8; 32] = key
            .get(1..)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| HubError::Internal("a key's row is malformed".to_owned()))?;
        self.transact(|tx| {
            if let Some(mut row) = tx.get::<ApiKeys>(&digest)? {
                row.value.revoked_at.get_or_insert(self.now());
                tx.put::<ApiKeys>(&digest, &row.value)?;
            }
            Ok(())
        })
        .await
    }

    /// Whose key this is; none if it is unknown, expired or revoked. Looks up a hash, so the time it takes tells nothing of any key.
    pub fn authenticate(&self, presented: &str) -> Result<Option<ApiKeyView>> {
        let row = read::<ApiKeys>(&self.inner.store, &digest(presented))?;
        let now = self.now();
        let valid = row.filter(|row| row.value.revoked_at.is_none() && row.value.expires_at.is_none_or(|expires| now < expires));
        Ok(valid.map(|row| {
            let mut uses = self.inner.key_uses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let last = uses.entry(row.value.id).or_insert(now);
            if now.since(*last) >= USE_MS {
                *last = now;
            }
            drop(uses);
            self.show_key(row.value)
        }))
    }

    /// On a hub without any key: makes one that may do everything. Its text is to be printed once.
    pub async fn ensure_first_admin_key(&self) -> Result<Option<String>> {
        if !self.api_keys()?.is_empty() {
            return Ok(None);
        }
        let (_, text) = self.create_api_key("first admin key", vec![Scope::Admin], None).await?;
        Ok(Some(text))
    }

    fn show_key(&self, record: ApiKeyRecord) -> ApiKeyView {
        let uses = self.inner.key_uses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ApiKeyView {
            id: record.id,
            name: record.name,
            scopes: record.scopes,
            created_at: record.created_at,
            last_used_at: uses.get(&record.id).copied(),
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
