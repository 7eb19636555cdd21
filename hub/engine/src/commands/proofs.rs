//! Proof of identity as a service to every channel: a one-time code to an address, and what giving it back proves.
//!
//! The code goes straight to the connector and is stored nowhere: what waits on a disk could be read there. So sending is not retried;
//! whoever asked is told at once, and asks again.

use throughline_domain::continuity::budget::Budget;
use throughline_domain::continuity::token::code;
use throughline_domain::identity::{IdentityKey, Normalised};
use throughline_domain::proof::{self, Attempt, CodeState};
use throughline_schemas::connector::OutboundMessage;
use throughline_schemas::{
    Assurance, Change, ChangeKind, ConnectionId, Conversation, ConversationId, DecisionId, Evidence, IdentityType, ProfileId, ProofId,
    ProvenIdentity,
};
use throughline_store::tables::{
    BudgetRow, Budgets, ConversationTimeline, Conversations, Identities, Interactions, Leaves, ProofStatus, Proofs, StoredProof, Tx,
    scan_rows,
};

use crate::HubError;
use crate::clock::{fresh, random};
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::People;
use crate::tokens::digest16;
use crate::views::{NewProof, ProofCheck, ProofView};

/// What the text is, unless one is given; the place of the code is marked.
const TEXT: &str = "Your code is {code}. It holds for ten minutes. Nobody of ours will ask you for it on the phone or in a mail.";
const PLACE: &str = "{code}";
const SUBJECT: &str = "Your code";
/// The longest text, in bytes.
const LONGEST_TEXT: usize = 1000;
/// How far back the conversation's own identity is looked for.
const LOOK_BACK: usize = 20;

impl Hub {
    /// Sends a code to an address: whoever gives it back in this conversation is who the address belongs to.
    pub async fn start_proof(&self, id: ConversationId, new: NewProof) -> Result<ProofView> {
        let conversation = self.conversation(id)?.value;
        let sender = new.connection_id.unwrap_or(conversation.connection_id);
        let text = new.text.as_deref().unwrap_or(TEXT);
        if !text.contains(PLACE) || text.len() > LONGEST_TEXT {
            return Err(HubError::invalid("/text", format!("a text of at most {LONGEST_TEXT} bytes with {PLACE} in it is needed")));
        }
        let context = self.connection_context(sender).map_err(|error| HubError::invalid("/connection_id", error.to_string()))?;
        let (kind, raw) = new.address()?;
        let address =
            context.normalise(kind, raw).ok_or_else(|| HubError::invalid("/to", "this is no address that could be written to"))?;
        let connector = self.open_now(sender).ok_or_else(|| HubError::conflict(format!("connection {sender} is not running")))?;
        if !connector.plugin().exports("channel") {
            return Err(HubError::invalid("/connection_id", format!("connection {sender} cannot send messages; name one that can")));
        }
        let digits = code::code_of(u64::from_be_bytes(random()), proof::DIGITS);
        let proof = ProofId::from_bytes(fresh());
        let row = self.transact(|tx| self.keep_code(tx, (id, proof), sender, &address, &digits)).await?;
        let message = OutboundMessage {
            to: vec![raw.to_owned()],
            to_name: None,
            from: None,
            from_name: None,
            subject: Some(new.subject.unwrap_or_else(|| SUBJECT.to_owned())),
            text: text.replace(PLACE, &digits),
            message_id: None,
            in_reply_to: None,
            references: Vec::new(),
            token: None,
            conversation_key: None,
            automatic: true,
            sent_at: Some(self.now()),
        };
        if let Err(error) = connector.send(&message, &proof.to_string()).await {
            self.transact(|tx| set_status(tx, (id, proof), ProofStatus::Canceled)).await?;
            return Err(error.into());
        }
        Ok(shown(proof, &row))
    }

    fn keep_code(
        &self,
        tx: &mut Tx,
        key: (ConversationId, ProofId),
        sender: ConnectionId,
        address: &Normalised,
        digits: &str,
    ) -> Result<StoredProof> {
        let (conversation, _) = key;
        let now = self.now();
        let name = address.key.to_string();
        spend(tx, &[b"codes to", name.as_bytes()], proof::PER_ADDRESS, now, "this address")?;
        spend(tx, &[b"codes in", conversation.as_bytes()], proof::PER_CONVERSATION, now, "this conversation")?;
        spend(tx, &[b"codes by", sender.as_bytes()], proof::PER_CONNECTION, now, "this connection")?;
        // One code at a time: the last one sent is the one that counts.
        for earlier in self.pending(conversation)? {
            set_status(tx, (conversation, earlier), ProofStatus::Canceled)?;
        }
        let row = StoredProof {
            connection_id: sender,
            kind: address.key.kind,
            value: address.key.value.clone(),
            raw: address.raw.clone(),
            hash: self.code_hash(conversation, &address.key.value, digits),
            attempts_left: proof::ATTEMPTS,
            status: ProofStatus::Pending,
            created_at: now,
            expires_at: now.plus_millis(proof::HOLDS_MS),
        };
        tx.put::<Proofs>(&key, &row)?;
        Ok(row)
    }

    fn pending(&self, conversation: ConversationId) -> Result<Vec<ProofId>> {
        let page = scan_rows::<Proofs>(&self.inner.store, conversation.as_bytes(), None, LOOK_BACK)?;
        let pending = page.rows.iter().filter(|(_, row)| row.value.status == ProofStatus::Pending);
        Ok(pending.filter_map(|(key, _)| Proofs::proof(key)).collect())
    }

    fn code_hash(&self, conversation: ConversationId, address: &str, digits: &str) -> String {
        let data = [conversation.as_bytes().as_slice(), address.as_bytes(), &[0], digits.as_bytes()].concat();
        self.inner.options.master_key.mac("one-time code", &data).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Takes the code that somebody gave in the conversation. A wrong one is an answer, not an error.
    pub async fn verify_proof(&self, id: ConversationId, check: ProofCheck) -> Result<ProofView> {
        self.conversation(id)?;
        let proof = match check.proof_id {
            Some(proof) => proof,
            None => self.pending(id)?.into_iter().next().ok_or_else(|| HubError::conflict("no code is waited for here; send one first"))?,
        };
        let digits: String = check.code.chars().filter(char::is_ascii_digit).collect();
        let (row, attempt) = self
            .transact(|tx| {
                let mut row = tx.get::<Proofs>(&(id, proof))?.ok_or_else(|| HubError::not_found("proof", proof))?.value;
                let state =
                    CodeState { expires_at: row.expires_at, attempts_left: row.attempts_left, is_over: row.status != ProofStatus::Pending };
                let is_right = same(&row.hash, &self.code_hash(id, &row.value, &digits));
                let attempt = proof::attempt(state, is_right, self.now());
                match attempt {
                    Attempt::Approved => {
                        row.status = ProofStatus::Approved;
                        self.approve(tx, id, &row, check.link)?;
                    }
                    Attempt::Wrong { attempts_left } => {
                        row.attempts_left = attempts_left;
                        if attempts_left == 0 {
                            row.status = ProofStatus::Canceled;
                        }
                    }
                    Attempt::Expired | Attempt::Over => return Ok((row, attempt)),
                }
                tx.put::<Proofs>(&(id, proof), &row)?;
                Ok((row, attempt))
            })
            .await?;
        match attempt {
            Attempt::Approved | Attempt::Wrong { .. } => Ok(shown(proof, &row)),
            Attempt::Expired => Err(HubError::conflict("the code's time is over; send another")),
            Attempt::Over => Err(HubError::conflict("this code was used, replaced, or has had its attempts; send another")),
        }
    }

    /// The speaker is who the address belongs to, in this conversation and for this session.
    fn approve(&self, tx: &mut Tx, id: ConversationId, row: &StoredProof, link: bool) -> Result<()> {
        let context = self.connection_context(row.connection_id)?;
        let Some(proven) = context.normalise(row.kind, &row.raw) else { return Ok(()) };
        let evidence = Evidence { rule: "one-time code".to_owned(), detail: format!("given back from {}", proof::masked(&row.value)) };
        self.prove(tx, id, &[proven], evidence, link)
    }

    /// Raises a conversation to proven, and, if that is wanted, links what was proven with whose conversation it is.
    pub(crate) fn prove(&self, tx: &mut Tx, id: ConversationId, proven: &[Normalised], evidence: Evidence, link: bool) -> Result<()> {
        let mut row = tx.get::<Conversations>(&id)?.ok_or_else(|| HubError::not_found("conversation", id))?;
        let own = self.own_identity(&row.value)?;
        let mut people = self.people(tx);
        let now = people.now;
        if link {
            let mut identities: Vec<(Normalised, Assurance)> =
                proven.iter().map(|identity| (identity.clone(), Assurance::Proven)).collect();
            identities.extend(own.map(|own| (own, Assurance::Proven)));
            let found = people.resolve(&identities, false, None, None)?;
            row.value.profile_id = row.value.profile_id.or(found.leaf);
            for (identity, _) in &identities {
                people.vouch(&identity.key)?;
            }
        }
        let decision = DecisionId::from_bytes(fresh());
        let names: Vec<String> = proven.iter().map(|identity| identity.key.to_string()).collect();
        let outcome = format!("who speaks in {id} is proven to be {}", names.join(", "));
        let root = row.value.profile_id.map(|leaf| people.root_of(leaf)).transpose()?.flatten().map(|(root, _)| root);
        people.decide(decision, "proof", &outcome, vec![evidence], Vec::new(), root, row.value.enquiry_id, None)?;
        row.value.proven = proven
            .iter()
            .map(|identity| ProvenIdentity {
                kind: identity.key.kind,
                namespace: identity.key.namespace.clone(),
                value: identity.key.value.clone(),
                at: now,
                until: now.plus_millis(proof::PROVEN_MS),
            })
            .collect();
        people.tx.put::<Conversations>(&id, &row.value)?;
        if let Some(root) = root.filter(|_| link) {
            self.reconsider(&mut people, root)?;
        }
        let change = Change {
            profile_id: root,
            enquiry_id: row.value.enquiry_id,
            conversation_id: Some(id),
            decision_id: Some(decision),
            ..Change::new(ChangeKind::ConversationProven, now)
        };
        Ok(people.tx.log(&change)?)
    }

    /// The identity that the customer shows in a conversation.
    fn own_identity(&self, conversation: &Conversation) -> Result<Option<Normalised>> {
        let context = self.connection_context(conversation.connection_id)?;
        let page = scan_rows::<ConversationTimeline>(&self.inner.store, conversation.id.as_bytes(), None, LOOK_BACK)?;
        for id in page.rows.iter().filter_map(|(key, _)| ConversationTimeline::interaction(key)) {
            let Some(row) = throughline_store::tables::read::<Interactions>(&self.inner.store, &id)? else { continue };
            let shown =
                row.value.fact.customer().and_then(|customer| context.normalise(customer.identity_type?, customer.address.as_deref()?));
            if shown.is_some() {
                return Ok(shown);
            }
        }
        Ok(None)
    }

    /// How sure it is, by the hub's own knowledge, who speaks in a conversation.
    #[must_use]
    pub fn assurance_in(&self, conversation: &Conversation) -> Assurance {
        let is_proven = conversation.proven.iter().any(|proven| self.now() < proven.until);
        if is_proven { Assurance::Proven } else { Assurance::Asserted }
    }
}

impl People<'_> {
    /// Notes that an identity was proven to be its owner's.
    fn vouch(&mut self, key: &IdentityKey) -> Result<()> {
        let row_key = (key.kind, key.namespace.clone(), key.value.clone());
        let Some(mut row) = self.tx.get::<Identities>(&row_key)? else { return Ok(()) };
        let mut leaves: Vec<ProfileId> = Vec::new();
        for link in row.value.links.iter_mut().filter(|link| link.retracted_at.is_none()) {
            link.identity.assurance = link.identity.assurance.max(Assurance::Proven);
            link.identity.last_seen = self.now;
            leaves.push(link.profile_id);
        }
        self.tx.put::<Identities>(&row_key, &row.value)?;
        for leaf in leaves {
            let Some(mut row) = self.tx.get::<Leaves>(&leaf)? else { continue };
            let own = row.value.identities.iter_mut();
            for identity in own.filter(|own| (own.kind, &own.namespace, &own.value) == (key.kind, &key.namespace, &key.value)) {
                identity.assurance = identity.assurance.max(Assurance::Proven);
                identity.last_seen = self.now;
            }
            self.tx.put::<Leaves>(&leaf, &row.value)?;
        }
        Ok(())
    }
}

fn spend(tx: &mut Tx, whose: &[&[u8]], budget: Budget, now: throughline_schemas::Timestamp, what: &str) -> Result<()> {
    let key = digest16(whose);
    let full_at = tx.get::<Budgets>(&key)?.map(|row| row.value.full_at);
    if !budget.allows(full_at, now) {
        return Err(HubError::conflict(format!("too many codes were asked for with {what}; wait some minutes")));
    }
    Ok(tx.put::<Budgets>(&key, &BudgetRow { full_at: budget.spend(full_at, now), last: None })?)
}

fn set_status(tx: &mut Tx, key: (ConversationId, ProofId), status: ProofStatus) -> Result<()> {
    let Some(mut row) = tx.get::<Proofs>(&key)? else { return Ok(()) };
    row.value.status = status;
    Ok(tx.put::<Proofs>(&key, &row.value)?)
}

fn shown(id: ProofId, row: &StoredProof) -> ProofView {
    ProofView {
        id: Some(id),
        status: row.status,
        identity_type: row.kind,
        to: proof::masked(&row.value),
        attempts_left: row.attempts_left,
        expires_at: row.expires_at,
    }
}

/// Compared whole, so that the time it takes says nothing.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

impl NewProof {
    fn address(&self) -> Result<(IdentityType, &str)> {
        match self.to.split_once(':') {
            Some(("email", address)) => Ok((IdentityType::Email, address)),
            Some(("phone", number)) => Ok((IdentityType::Phone, number)),
            _ => Err(HubError::invalid("/to", "write email:… or phone:…")),
        }
    }
}
