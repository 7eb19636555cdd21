//! Suggestions that two profiles are one person's: written when they are found, settled by a person.

use sha2::{Digest, Sha256};
use throughline_domain::identity::resolve::Explanation;
use throughline_domain::identity::{IdentityPolicy, Merge};
use throughline_schemas::{DecisionId, Evidence, ProfileId, ProfileState, ReviewId};
use throughline_store::tables::{Leaf, Leaves, Review, ReviewStatus, Reviews, Row, read};

use super::Alike;
use crate::HubError;
use crate::clock::fresh;
use crate::commands::{page, page_of};
use crate::error::Result;
use crate::hub::{Hub, PageOf, Paging};
use crate::ingest::People;

/// The subject of decisions that likeness took: a what-if tells these merges from those of people and of identifiers.
pub(super) const SUBJECT: &str = "likeness";

impl Hub {
    /// Suggestions, those that wait for a person by default. Whoever changed just now is compared first.
    pub async fn reviews(&self, status: ReviewStatus, paging: Paging) -> Result<PageOf<Review>> {
        self.compare_people().await?;
        page_of(page::<Reviews>(&self.inner.store, &[], &paging)?, |_, review, _| {
            // What was merged by other ways meanwhile needs nobody any more.
            let waits = review.status != ReviewStatus::Open || self.roots_of_review(&review)?.is_some();
            Ok((review.status == status && waits).then_some(review))
        })
    }

    /// One suggestion.
    pub fn review(&self, id: ReviewId) -> Result<Review> {
        Ok(read::<Reviews>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("review", id))?.value)
    }

    /// They are one person: merges them. The older one that is known by more than an identifier goes on.
    pub async fn accept_review(&self, id: ReviewId, by: &str) -> Result<Review> {
        self.settle_review(id, by, ReviewStatus::Accepted).await
    }

    /// They are two: they are kept apart from then on.
    pub async fn reject_review(&self, id: ReviewId, by: &str) -> Result<Review> {
        self.settle_review(id, by, ReviewStatus::Rejected).await
    }

    async fn settle_review(&self, id: ReviewId, by: &str, to: ReviewStatus) -> Result<Review> {
        self.transact(|tx| {
            let mut review = tx.get::<Reviews>(&id)?.ok_or_else(|| HubError::not_found("review", id))?.value;
            if review.status != ReviewStatus::Open {
                return Err(HubError::conflict(format!("this was {} already", words(review.status))));
            }
            let mut people = self.people(tx);
            let [one, other] = review.profiles;
            let (Some(one), Some(other)) = (people.root_of(one)?, people.root_of(other)?) else {
                return Err(HubError::not_found("profile", one));
            };
            if one.0 == other.0 {
                return Err(HubError::conflict("they were merged meanwhile; unmerge them if they are two".to_owned()));
            }
            let decision = DecisionId::from_bytes(fresh());
            let outcome = if to == ReviewStatus::Accepted {
                merge_by_survival(&mut people, (&one, &other), &format!("{by} accepted the suggestion"), decision)?
            } else {
                people.keep_apart_by_hand(one.0, other.0)?;
                format!("{} and {} are two persons", one.0, other.0)
            };
            let mut evidence = vec![Evidence { rule: "by hand".to_owned(), detail: by.to_owned() }];
            evidence.extend(review.evidence.clone());
            let root = people.root_of(one.0)?.map(|(root, _)| root);
            people.decide(decision, "merge", &outcome, evidence, Vec::new(), root, None, None)?;
            review.status = to;
            review.decided_at = Some(people.now);
            review.decided_by = Some(by.to_owned());
            review.decision_id = decision;
            people.tx.put::<Reviews>(&id, &review)?;
            Ok(review)
        })
        .await
    }

    /// Says by hand that two profiles are two persons: no rule merges them, and they are not suggested.
    pub async fn keep_profiles_apart(&self, one: ProfileId, other: ProfileId, by: &str, reason: &str) -> Result<()> {
        if one == other {
            return Err(HubError::invalid("/profile_id", "a profile cannot be kept apart from itself"));
        }
        self.profile(one)?;
        self.profile(other)?;
        self.transact(|tx| {
            let mut people = self.people(tx);
            people.keep_apart_by_hand(one, other)?;
            let evidence = vec![Evidence { rule: "by hand".to_owned(), detail: format!("{by}: {reason}") }];
            let decision = DecisionId::from_bytes(fresh());
            let outcome = format!("{one} and {other} are two persons");
            people.decide(decision, "merge", &outcome, evidence, Vec::new(), Some(one), None, None)
        })
        .await
    }

    /// Writes what was found, unless somebody has settled it.
    pub(super) async fn suggest_or_merge(&self, alike: &Alike, model: &str, policy: &IdentityPolicy) -> Result<()> {
        self.transact(|tx| {
            let id = review_id(alike.one, alike.other);
            let known = tx.get::<Reviews>(&id)?.map(|row| row.value);
            let settled = known.as_ref().is_some_and(|review| review.status != ReviewStatus::Open);
            let mut people = self.people(tx);
            let (Some(one), Some(other)) = (people.root_of(alike.one)?, people.root_of(alike.other)?) else { return Ok(()) };
            if settled || one.0 == other.0 || people.are_kept_apart(&one, &other)? {
                return Ok(());
            }
            if policy.auto_merge && alike.explanation.score >= policy.merge_millibits() {
                return merge_by_likeness(&mut people, (&one, &other), alike, model);
            }
            let bits = bits(&alike.explanation);
            if !policy.suggest || known.as_ref().is_some_and(|review| review.bits == bits) {
                return Ok(());
            }
            suggest(&mut people, id, alike, model)
        })
        .await
    }

    /// The roots of an open suggestion, if they are still two.
    fn roots_of_review(&self, review: &Review) -> Result<Option<[ProfileId; 2]>> {
        let [one, other] = review.profiles;
        Ok(match (self.root(one)?, self.root(other)?) {
            (Some(one), Some(other)) if one != other => Some([one, other]),
            _ => None,
        })
    }
}

fn suggest(people: &mut People<'_>, id: ReviewId, alike: &Alike, model: &str) -> Result<()> {
    let decision_id = DecisionId::from_bytes(fresh());
    let (evidence, alternatives) = waterfall(&alike.explanation, model);
    let bits = bits(&alike.explanation);
    let outcome = format!("{} and {} may be one person: {bits:.1} bits speak for it", alike.one, alike.other);
    people.decide(decision_id, SUBJECT, &outcome, evidence.clone(), alternatives.clone(), Some(alike.one), None, None)?;
    let review = Review {
        id,
        profiles: [alike.one, alike.other],
        bits,
        evidence,
        alternatives,
        model: model.to_owned(),
        status: ReviewStatus::Open,
        at: people.now,
        decided_at: None,
        decided_by: None,
        decision_id,
    };
    Ok(people.tx.put::<Reviews>(&id, &review)?)
}

type Root = (ProfileId, Row<Leaf>);

fn merge_by_likeness(people: &mut People<'_>, roots: (&Root, &Root), alike: &Alike, model: &str) -> Result<()> {
    let decision = DecisionId::from_bytes(fresh());
    let (evidence, alternatives) = waterfall(&alike.explanation, model);
    let outcome = merge_by_survival(people, roots, "they are alike enough for the policy", decision)?;
    let root = people.root_of(roots.0.0)?.map(|(root, _)| root);
    people.decide(decision, SUBJECT, &outcome, evidence, alternatives, root, None, None)
}

/// The order of survival of identity's rules: known by more than an identifier, then the oldest, then the smallest id.
fn merge_by_survival(people: &mut People<'_>, (one, other): (&Root, &Root), because: &str, decision: DecisionId) -> Result<String> {
    let rank = |root: &Root| (root.1.value.state < ProfileState::Identified, root.1.value.created_at, root.0);
    let (survivor, loser) = if rank(one) <= rank(other) { (one.0, other.0) } else { (other.0, one.0) };
    people.merge(&Merge { loser_root: loser, survivor_root: survivor, because: because.to_owned() }, decision)?;
    Ok(format!("{loser} was merged into {survivor}"))
}

fn bits(explanation: &Explanation) -> f32 {
    explanation.score as f32 / 1000.0
}

/// The evidence step by step, and what else it may be.
fn waterfall(explanation: &Explanation, model: &str) -> (Vec<Evidence>, Vec<String>) {
    let step = |step: &throughline_domain::identity::resolve::Step| Evidence {
        rule: step.field.clone(),
        detail: format!("{}: {:+.1} bits", step.agreement, step.bits),
    };
    let mut evidence: Vec<Evidence> = explanation.steps.iter().map(step).collect();
    evidence.push(Evidence { rule: "model".to_owned(), detail: model.to_owned() });
    let likely = explanation.alternatives.iter().filter(|(_, thousandths)| *thousandths > 0);
    (evidence, likely.map(|(what, thousandths)| format!("{what}: {:.1} %", f32::from(*thousandths) / 10.0)).collect())
}

/// The same two profiles have the same id, whichever comes first.
fn review_id(one: ProfileId, other: ProfileId) -> ReviewId {
    let (low, high) = (one.min(other), one.max(other));
    let digest = Sha256::digest([*low.as_bytes(), *high.as_bytes()].concat());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    ReviewId::from_bytes(bytes)
}

const fn words(status: ReviewStatus) -> &'static str {
    match status {
        ReviewStatus::Open => "open",
        ReviewStatus::Accepted => "accepted",
        ReviewStatus::Rejected => "rejected",
    }
}

impl People<'_> {
    /// Writes down that two roots are two persons.
    pub(crate) fn keep_apart_by_hand(&mut self, one: ProfileId, other: ProfileId) -> Result<()> {
        for (id, from) in [(one, other), (other, one)] {
            if let Some(mut row) = self.tx.get::<Leaves>(&id)?
                && !row.value.cannot_link.contains(&from)
            {
                row.value.cannot_link.push(from);
                self.tx.put::<Leaves>(&id, &row.value)?;
            }
        }
        Ok(())
    }

    /// Whether somebody said of any leaves of two roots that they are two persons.
    fn are_kept_apart(&mut self, one: &Root, other: &Root) -> Result<bool> {
        let theirs: Vec<ProfileId> = std::iter::once(other.0).chain(other.1.value.members.iter().copied()).collect();
        for leaf in std::iter::once(one.0).chain(one.1.value.members.iter().copied()) {
            if let Some(row) = self.tx.get::<Leaves>(&leaf)?
                && row.value.cannot_link.iter().any(|apart| theirs.contains(apart))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
