//! `throughline why`: who said what of a customer, and which decisions made the profile.

use std::process::ExitCode;

use throughline_engine::WhyView;
use throughline_schemas::Decision;

use super::timeline::who;
use crate::arguments::Why;
use crate::client::Client;
use crate::output;

pub(crate) fn run(why: &Why, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&why.remote)?;
    let profile = who(&client, &why.who)?;
    let query: Vec<(&str, &str)> = why.field.iter().map(|field| ("field", field.as_str())).collect();
    let view: WhyView = client.get(&format!("/v1/profiles/{profile}/why"), &query)?;
    output::print(json, &view, || text(&view))?;
    Ok(ExitCode::SUCCESS)
}

fn text(view: &WhyView) -> String {
    let mut lines = vec![view.profile_id.to_string()];
    for value in &view.said {
        let source = value.said.source.map_or_else(|| "by hand".to_owned(), |source| source.to_string());
        let assurance = output::plain(&serde_json::json!(value.said.assurance));
        lines.push(format!("  {} = {}  {source}, {assurance}, {}", value.field, output::plain(&value.said.value), value.said.at));
    }
    for link in &view.links {
        let method = output::plain(&serde_json::json!(link.method));
        let taken_back = if link.retracted_at.is_some() { ", taken back" } else { "" };
        lines.push(format!(
            "  {}:{}  linked {method}{taken_back}",
            link.identity.kind.as_str(),
            output::one_line(&link.identity.value, 100)
        ));
    }
    for member in &view.members {
        lines.push(format!("  made of {}", member.profile_id));
        lines.extend(member.decision.iter().flat_map(decision));
    }
    lines.push("Decisions, newest first:".to_owned());
    lines.extend(view.decisions.iter().flat_map(decision));
    lines.join("\n")
}

fn decision(decision: &Decision) -> Vec<String> {
    let mut lines = vec![format!("    {}  {}  {}", decision.at, decision.subject, output::one_line(&decision.outcome, 160))];
    lines.extend(decision.evidence.iter().map(|step| format!("        {}: {}", step.rule, output::one_line(&step.detail, 160))));
    lines
}
