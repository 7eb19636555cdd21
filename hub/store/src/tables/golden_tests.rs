//! One golden file for what each table stores: a change that no longer reads it, or writes it otherwise, breaks the stores of users.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::golden::assert_golden;

const AT: &str = "2026-11-21T12:00:00.000Z";
const CNX: &str = "cnx_00000000000000000000000001";

fn id<I: DeserializeOwned>(prefix: &str) -> I {
    serde_json::from_value(json!(format!("{prefix}_00000000000000000000000007"))).expect(prefix)
}

fn check<T: Table>(sample: Value)
where
    T::Value: PartialEq + std::fmt::Debug + Serialize,
{
    let value: T::Value = serde_json::from_value(sample).expect(T::NAME);
    assert_golden(T::NAME, T::VERSION, &value);
}

fn link() -> Value {
    json!({"connection_id": CNX, "entity": "contact", "key": "42", "canonical_id": id::<Value>("pro"), "version": "3",
           "shadow": {"company": "Engines", "email": null}, "quarantined": {"phone": "not a number"}, "refused": {"phone": "x"},
           "seen_at": AT, "deleted_at": AT})
}

fn identity() -> Value {
    json!({"type": "phone", "value": "+447700900001", "raw": "07700 900001", "sharing": "exclusive", "assurance": "asserted",
           "first_seen": AT, "last_seen": AT})
}

fn fact() -> Value {
    json!({"channel": "email", "direction": "inbound", "endpoint": "shop@shop.test", "conversation_key": "t", "occurred_at": AT,
           "ended_at": AT, "participants": [{"role": "customer", "type": "email", "address": "ada@example.com", "name": "Ada", "sender": true}],
           "thread": {"message_id": "a@b", "in_reply_to": ["c@d"], "references": ["c@d"], "tokens": ["t"]}, "automated": "list",
           "variables": {"order": 4711},
           "content": {"kind": "message", "subject": "Late", "text": "Hello", "text_reference": "sha256:00", "html_reference": "sha256:01",
                       "attachments": [{"name": "a.pdf", "media_type": "application/pdf", "size": 7, "reference": "sha256:02"}]}})
}

fn merged(mut one: Value, other: Value) -> Value {
    one.as_object_mut().expect("an object").extend(other.as_object().expect("an object").clone());
    one
}

#[test]
fn people() {
    let field = json!({"value": "Ada", "source": CNX, "assurance": "confirmed", "at": AT});
    check::<Leaves>(json!({"state": "identified", "fields": {"display_name": field}, "identities": [identity()],
        "merged_into": id::<Value>("pro"), "members": [id::<Value>("pro")], "cannot_link": [id::<Value>("pro")], "created_at": AT, "updated_at": AT}));
    check::<Identities>(json!({"links": [{"identity": identity(), "profile_id": id::<Value>("pro"), "method": "deterministic",
        "decision_id": id::<Value>("dec"), "linked_at": AT, "retracted_at": AT}]}));
    check::<Merges>(json!({"id": id::<Value>("mrg"), "survivor": id::<Value>("pro"), "loser": id::<Value>("pro"),
        "members": [id::<Value>("pro")], "decision_id": id::<Value>("dec"), "at": AT, "undone_at": AT}));
    check::<Decisions>(json!({"id": id::<Value>("dec"), "subject": "identity", "outcome": "it is Ada's",
        "evidence": [{"rule": "exclusive identity", "detail": "phone"}], "alternatives": ["another"], "rules": "deterministic-1", "at": AT,
        "profile_id": id::<Value>("pro"), "enquiry_id": id::<Value>("enq"), "interaction_id": id::<Value>("int")}));
    check::<DecisionIndex>(json!({}));
    check::<Reviews>(json!({"id": id::<Value>("rev"), "profiles": [id::<Value>("pro"), id::<Value>("pro")], "bits": 7.5,
        "evidence": [{"rule": "phone", "detail": "equal"}], "alternatives": ["two people of one household: 2.0 %"], "model": "shipped-1",
        "status": "rejected", "at": AT, "decided_at": AT, "decided_by": "anna", "decision_id": id::<Value>("dec")}));
    check::<IdentityPolicies>(json!({"auto_merge": true, "merge_bits": 25.0, "suggest": false, "suggest_bits": 4.5,
        "blocked": ["+15550000000"], "most_profiles": {"phone": 5}}));
}

#[test]
fn what_happened() {
    check::<Interactions>(merged(
        fact(),
        json!({"id": id::<Value>("int"), "connection_id": CNX, "external_id": "m1", "version": "2",
        "conversation_id": id::<Value>("con"), "profile_id": id::<Value>("pro"), "enquiry_id": id::<Value>("enq"), "accepted_at": AT,
        "delivery": "sent"}),
    ));
    check::<Inbox>(json!({"interaction": id::<Value>("int"), "version": "2"}));
    check::<Timeline>(json!({}));
    check::<ConversationTimeline>(json!({}));
    check::<EnquiryTimeline>(json!({}));
    check::<MessageIds>(json!({"conversation": id::<Value>("con"), "ours": true, "seen": true}));
    check::<Conversations>(json!({"id": id::<Value>("con"), "connection_id": CNX, "channel": "email", "key": "t",
        "profile_id": id::<Value>("pro"), "enquiry_id": id::<Value>("enq"), "endpoint": "shop@shop.test", "subject": "Late",
        "started_at": AT, "updated_at": AT}));
    check::<ConversationKeys>(id("con"));
    let variable = json!({"value": "4711", "scope": "enquiry", "classification": "pii", "assurance": "asserted", "source": CNX, "at": AT, "expires_at": AT});
    check::<Enquiries>(json!({"id": id::<Value>("enq"), "profile_id": id::<Value>("pro"), "reason": "Late", "status": "waiting",
        "owner": "anna", "brand": "default", "variables": {"order": variable}, "follows": id::<Value>("enq"), "opened_at": AT, "updated_at": AT,
        "resolved_at": AT}));
    check::<EnquiriesByProfile>(json!("resolved"));
    check::<LatestEnquiries>(id("enq"));
}

#[test]
fn connections() {
    check::<Connections>(json!({"name": "crm", "plugin": "espocrm", "plugin_version": "1.0.0", "config": {"host": "crm.test"},
        "grants": {"hosts": ["https://{config.host}"], "private_hosts": ["crm.test"]},
        "sync": {"contact": {"direction": "both", "create_remote": true, "poll_seconds": 60, "fields": {"company": "manual"}}},
        "extract": [{"variable": "order", "pattern": "#(\\d+)", "classification": "internal"}], "brand": "default", "region": "GB",
        "paused": true, "paused_because": "wrong password", "account_id": "a",
        "entities": [{"name": "lead", "canonical": "profile", "cursor": "opaque"}], "created_at": AT, "updated_at": AT}));
    check::<Secrets>(json!({"sealed": "bm9uY2U=", "set_at": AT}));
    check::<Cursors>(json!({"cursor": {"page": 2}, "at": AT}));
    check::<PluginState>(json!({"uid": 7}));
    check::<DispatchCursors>(json!({"sequence": 7}));
    check::<Links>(link());
    check::<LinksByCanonical>(json!("42"));
}

#[test]
fn what_is_left_to_do() {
    let write = json!({"work": "write", "entity": "contact", "canonical_id": id::<Value>("pro"), "since": AT, "not_before": AT, "attempts": 2,
        "in_doubt": true, "last_error": {"class": "transient", "message": "refused"}, "left_out": {"phone": "bad"}});
    check::<Deliveries>(write.clone());
    check::<DeadLetters>(json!({"id": id::<Value>("dlt"), "connection_id": CNX, "delivery": write,
        "item": {"kind": "record", "entity": "contact", "key": "1", "version": "2", "at_ms": 3, "data": {}},
        "error": {"class": "invalid_record", "message": "bad", "field": "/email", "retry_after_ms": 5, "details": {"a": 1}}, "at": AT}));
    check::<Plans>(json!({"id": id::<Value>("pln"), "connection_id": CNX, "entity": "contact", "kind": "backfill", "state": "applying",
        "hash": "00ff", "because": "held", "counts": {"create": 2, "skip": 1}, "steps": 2, "done": 1, "applied": 1, "changed": 0, "failed": 0,
        "samples": [{"key": "1", "action": "create", "detail": "why"}], "cursor": {"page": 2}, "created_at": AT, "approved_at": AT,
        "approved_by": "anna", "ended_at": AT}));
    check::<PlanSteps>(json!({"key": "1", "action": "update", "canonical_id": id::<Value>("pro"),
        "changes": [{"field": "company", "before": null, "after": "a"}], "link_version": 7,
        "item": {"kind": "record", "entity": "contact", "key": "1", "version": "2", "at_ms": 3, "data": {}}, "outcome": {"failed": {"detail": "bad"}}}));
    check::<Conflicts>(json!({"id": id::<Value>("cfl"), "connection_id": CNX, "entity": "contact", "key": "1", "canonical_id": "x",
        "field": "company", "base": null, "theirs": "a", "ours": "b", "at": AT, "resolved_at": AT}));
    check::<OpenConflicts>(id("cfl"));
    check::<ApiKeys>(
        json!({"id": id::<Value>("key"), "name": "k", "scopes": ["read", "admin"], "created_at": AT, "expires_at": AT, "revoked_at": AT}),
    );
    check::<IdempotentResponses>(json!({"request": "00", "status": 201, "body": "{}", "at": AT}));
    check::<AuditLog>(json!({"actor": "key", "action": "profile.merge", "target": "x", "detail": {"a": 1}, "at": AT}));
}

#[test]
fn tokens() {
    check::<TokenUses>(json!({"enquiry_id": id::<Value>("enq"), "uses": 1, "used_at": AT, "expires_at": AT}));
    check::<ShortCodes>(json!({"enquiry_id": id::<Value>("enq"), "max_uses": 3, "uses": 1, "expires_at": AT}));
    check::<ShortCodesByExpiry>(json!({}));
    check::<Budgets>(json!({"full_at": AT, "last": "00ff"}));
}

#[test]
fn policies() {
    check::<Policies>(json!({"set": {"default": {"window_hours": 1}}, "at": AT}));
    check::<WebKeys>(
        json!({"brand": "shop", "algorithm": "EdDSA", "sealed": "bm9uY2U=", "issuer": "shop", "audience": "hub", "created_at": AT}),
    );
    check::<Proofs>(json!({"connection_id": CNX, "type": "email", "value": "ada@example.com", "raw": "Ada@example.com", "hash": "00ff",
        "attempts_left": 3, "status": "pending", "created_at": AT, "expires_at": AT}));
    check::<Endpoints>(json!({"connection_id": CNX, "address": "shop@shop.test", "first_seen": AT}));
}

#[test]
fn webhooks() {
    check::<Webhooks>(json!({"name": "desk", "url": "https://desk.test/hook", "types": ["enquiry.*"], "at_once": 1,
        "secrets": [{"sealed": "bm9uY2U=", "set_at": AT}, {"sealed": "b2xk", "set_at": AT, "until": AT}], "disabled_at": AT,
        "disabled_because": "410 Gone", "created_at": AT, "updated_at": AT}));
    check::<WebhookCursors>(json!({"sequence": 7, "last_success": AT}));
    check::<WebhookPendings>(json!({"attempts": 2, "since": AT, "not_before": AT}));
    check::<WebhookAttempts>(json!({"sequence": 7, "kind": "enquiry.opened", "at": AT, "attempt": 1, "status": 503, "error": "busy",
        "took_ms": 12, "outcome": "will_retry", "next_at": AT}));
}

#[test]
fn flows() {
    let spec = json!({"trigger": {"change": ["enquiry.opened"]}, "condition": "true",
        "steps": [{"name": "w", "do": {"wait": {"seconds": 60}}, "retry": {"attempts": 3, "wait_seconds": 5}, "on_error": "continue"}],
        "history": {"days": 30, "mebibytes": 64}});
    check::<Flows>(json!({"name": "greet", "draft": spec, "published": 2, "enabled": true, "created_at": AT, "updated_at": AT}));
    check::<FlowVersions>(json!({"spec": spec, "published_at": AT, "published_by": "admin",
        "pins": {"crm": {"connection_id": CNX, "plugin": "rest", "plugin_version": "0.1.0"}}}));
    check::<FlowCursors>(json!({"sequence": 7}));
    check::<FlowSchedules>(json!({"next_at": AT}));
    let change = json!({"kind": "enquiry.opened", "at": AT, "enquiry_id": id::<Value>("enq"),
        "cause": {"flow_id": id::<Value>("flw"), "run_id": id::<Value>("run"), "depth": 1}});
    let machine = json!({"at": 3, "loops": [{"items": [1, 2], "index": 1}], "outputs": {"a": {"x": 1}}, "attempts": 1, "done": 2});
    check::<Runs>(json!({"flow_id": id::<Value>("flw"), "version": 2, "state": "failed", "depth": 2, "sequence": 7, "change": change,
        "input": {"n": 1}, "machine": machine, "due": AT, "intent": {"n": 2}, "entries": 3, "error": "a: refused", "bytes": 512,
        "started_at": AT, "finished_at": AT}));
    check::<RunSteps>(json!({"name": "a", "pointer": "/steps/0", "do": "emit", "attempt": 1, "input": {"n": 1}, "output": {"x": 1},
        "error": "refused", "at": AT, "took_ms": 2}));
    check::<RunsByFlow>(json!({"state": "failed", "finished_at": AT, "bytes": 512}));
    check::<RunsDue>(json!({}));
    check::<RunsAwaiting>(json!({"run": id::<Value>("run")}));
}

#[test]
fn handoffs() {
    check::<Handoffs>(json!({"id": id::<Value>("hnd"), "enquiry_id": id::<Value>("enq"), "kind": "escalate", "state": "accepted",
        "offered_by": "ann", "from": "ann", "to": {"agent": "ben"},
        "meeting": {"channel": "phone", "connection_id": CNX, "address": "+447700900001"}, "at": AT, "deadline": AT, "fencing_token": 7,
        "briefing": {"enquiry_id": id::<Value>("enq"), "reason": "Late", "status": "open", "opened_at": AT, "note": "angry", "customer": "Ada",
                     "variables": {"order": "4711"}, "last_exchanges": [{"interaction_id": id::<Value>("int"), "at": AT, "channel": "chat",
                     "direction": "inbound", "by": "customer", "text": "Where is it?"}], "tried": ["answered 1 time"],
                     "attachments": [{"name": "a.pdf", "media_type": "application/pdf", "size": 7, "reference": "sha256:02"}], "withheld": 1},
        "accepted_by": "ben", "acknowledged_at": AT, "outcome": "completed by ben", "offered_at": AT, "accepted_at": AT, "ended_at": AT}));
    check::<HandoffsByEnquiry>(json!("accepted"));
    check::<HandoffDeadlines>(json!({}));
    check::<OpenHandoffs>(json!([{"id": id::<Value>("hnd"), "kind": "escalate", "channel": "phone", "deadline": AT}]));
    check::<HandoffPolicies>(json!({"offer_seconds": 120, "invite_seconds": 86400, "callback_seconds": 900, "complete_seconds": 3600,
        "fallback": "support", "unowned_seconds": 60}));
    check::<Unowned>(json!({}));
    check::<WatchPlaces>(json!({"sequence": 7, "walked_to": id::<Value>("enq")}));
    check::<Answers>(id("int"));
}
