//! `throughline identity review`: suggestions that two profiles are one person's.

use std::process::ExitCode;

use throughline_engine::Review as Suggestion;
use throughline_schemas::ReviewId;

use crate::arguments::{Remote, Review};
use crate::client::Client;
use crate::output;

pub(crate) fn run(command: Review, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Review::List { status, remote } => list(&status, &remote, json),
        Review::Accept { id, remote } => settle(&id, "accept", &remote, json),
        Review::Reject { id, remote } => settle(&id, "reject", &remote, json),
    }
}

fn list(status: &str, remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let reviews: Vec<Suggestion> = Client::new(remote)?.list("/v1/reviews", &[("status", status)], usize::MAX)?;
    output::print(json, &reviews, || {
        if reviews.is_empty() {
            return "None.".to_owned();
        }
        reviews.iter().map(text).collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

fn settle(id: &str, verb: &str, remote: &Remote, json: bool) -> anyhow::Result<ExitCode> {
    let id: ReviewId = id.parse().map_err(|_| anyhow::anyhow!("{id:?} is no suggestion's id; `identity review list` shows them"))?;
    let review: Suggestion = Client::new(remote)?.post(&format!("/v1/reviews/{id}/{verb}"), &serde_json::json!({}))?;
    output::print(json, &review, || text(&review))?;
    Ok(ExitCode::SUCCESS)
}

fn text(review: &Suggestion) -> String {
    let status = output::plain(&serde_json::json!(review.status));
    let [one, other] = review.profiles;
    let mut lines = vec![format!("{}  {status}  {one} and {other}  {:.1} bits for one person", review.id, review.bits)];
    lines.extend(review.evidence.iter().map(|step| format!("    {}: {}", step.rule, output::one_line(&step.detail, 160))));
    lines.extend(review.alternatives.iter().map(|other| format!("    or {}", output::one_line(other, 160))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_evidence_is_shown_step_by_step() {
        let review: Suggestion = serde_json::from_value(serde_json::json!({
            "id": "rev_00000000000000000000000007", "bits": 7.25, "status": "open", "model": "shipped-1", "at": "2026-11-21T12:00:00.000Z",
            "profiles": ["pro_00000000000000000000000001", "pro_00000000000000000000000002"], "decision_id": "dec_00000000000000000000000003",
            "evidence": [{"rule": "phone", "detail": "equal: +9.1 bits"}], "alternatives": ["two people of one household: 1.0 %"],
        }))
        .unwrap();
        let shown = text(&review);
        assert_eq!(shown.lines().count(), 3);
        assert!(
            shown.contains("7.2 bits") && shown.contains("    phone: equal: +9.1 bits") && shown.contains("    or two people"),
            "{shown}"
        );
    }
}
