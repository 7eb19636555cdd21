//! `throughline lookup`: what an IVR would be told.

use std::process::ExitCode;

use throughline_domain::identity::parse_query;
use throughline_engine::LookupAnswer;
use throughline_schemas::IdentityType;

use crate::arguments::Lookup;
use crate::client::Client;
use crate::output;

pub(crate) fn run(lookup: &Lookup, json: bool) -> anyhow::Result<ExitCode> {
    let (parameter, value) = parameter(&lookup.identity)?;
    let mut query = vec![(parameter, value.as_str()), ("assurance", lookup.assurance.as_str())];
    query.extend(lookup.region.as_deref().map(|region| ("region", region)));
    let answer: LookupAnswer = Client::new(&lookup.remote)?.get("/v1/lookup", &query)?;
    output::print(json, &answer, || text(&answer))?;
    Ok(ExitCode::SUCCESS)
}

/// `phone:+44…` as the look-up's query parameter.
fn parameter(identity: &str) -> anyhow::Result<(&'static str, String)> {
    let (kind, namespace, value) = parse_query(identity)?;
    Ok(match kind {
        IdentityType::Phone => ("phone", value),
        IdentityType::Email => ("email", value),
        IdentityType::Handle => ("handle", format!("{namespace}:{value}")),
        IdentityType::External => ("external", format!("{namespace}:{value}")),
    })
}

fn text(answer: &LookupAnswer) -> String {
    let mut lines = Vec::new();
    match &answer.profile {
        Some(profile) => {
            let name = profile.display_name.as_deref().unwrap_or("(the name is kept back at this assurance)");
            lines.push(format!("{}  {}  {}", output::one_line(name, 100), profile.id, output::plain(&serde_json::json!(profile.state))));
            lines.extend(profile.language.iter().map(|language| format!("  language: {}", output::one_line(language, 20))));
            lines.extend(profile.fields.iter().map(|(name, value)| format!("  {name}: {}", output::plain(value))));
        }
        None if answer.ambiguous => lines.push("More than one customer has this; nobody is named.".to_owned()),
        None => lines.push("Nobody is known by this.".to_owned()),
    }
    for enquiry in &answer.enquiries {
        let reason = enquiry.reason.as_deref().unwrap_or("(the reason is kept back at this assurance)");
        lines.push(format!("  {}  {}  {}", enquiry.id, output::plain(&serde_json::json!(enquiry.status)), output::one_line(reason, 200)));
        lines.extend(enquiry.variables.iter().map(|(name, value)| format!("    {name}: {}", output::plain(value))));
    }
    if answer.withheld > 0 {
        lines.push(format!("  {} more values need a higher --assurance.", answer.withheld));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_become_parameters() {
        for (given, wanted) in [
            ("phone:+441632960123", ("phone", "+441632960123")),
            ("email:ada@example.com", ("email", "ada@example.com")),
            ("external:crm:contacts:7", ("external", "crm:contacts:7")),
            ("handle:chat:ada", ("handle", "chat:ada")),
        ] {
            assert_eq!(parameter(given).unwrap(), (wanted.0, wanted.1.to_owned()), "{given}");
        }
        assert!(parameter("ada@example.com").is_err());
    }
}
