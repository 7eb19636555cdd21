//! `throughline identity`: who is who, in a file or in a hub.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use throughline_domain::identity::resolve::{PersonRecord, RawPerson, Resolver, Settings, fit, record_of};

use super::csv::{Csv, Row};
use crate::arguments::Identity;
use crate::output;

pub(crate) fn run(command: Identity, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Identity::Resolve { file, region } => resolve(&file, region.as_deref(), json),
        Identity::Review(command) => super::identity_review::run(command, json),
    }
}

/// Fits a model to the file alone, and prints whose each record is.
fn resolve(file: &Path, region: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let csv = Csv::parse(&text).with_context(|| format!("{} is no table this can read", file.display()))?;
    let records = records(&csv, region)?;
    let mut resolver = Resolver::new(Arc::new(fit(&records)), Settings::default());
    resolver.load(&records);
    let persons: HashMap<&str, &str> = resolver.persons().into_iter().collect();
    let verdicts: Vec<[&str; 2]> = records.iter().map(|record| [record.id.as_str(), persons[record.id.as_str()]]).collect();
    output::print(json, &objects(&verdicts, json), || {
        let mut text = "rec_id,profile_id\n".to_owned();
        for [record, person] in &verdicts {
            let _ = writeln!(text, "{},{}", field(record), field(person));
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn objects(verdicts: &[[&str; 2]], json: bool) -> serde_json::Value {
    if !json {
        return serde_json::Value::Null;
    }
    verdicts.iter().map(|[record, person]| serde_json::json!({ "rec_id": record, "profile_id": person })).collect()
}

/// A field of a CSV file, quoted where it must be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn records(csv: &Csv, region: Option<&str>) -> anyhow::Result<Vec<PersonRecord>> {
    if !csv.has("rec_id") {
        bail!("there is no column rec_id: add one that names each record");
    }
    // The table that is left when names, addresses and numbers are normalised already has other names for its columns.
    let normalised = csv.has("given") && !csv.has("given_name") && !csv.has("name_raw");
    let known =
        ["given", "given_name", "surname", "family_name", "name_raw", "name", "email", "phone", "dob", "handle", "loyalty", "loyalty_id"];
    if !known.iter().any(|column| csv.has(column)) {
        bail!("no column says who anybody is: there must be one of {}", known.join(", "));
    }
    let mut seen = HashSet::new();
    let mut records = Vec::new();
    for row in csv.rows() {
        let record = if normalised { normalised_record(row) } else { record_of(&raw_person(row, region.unwrap_or_default())) };
        if !seen.insert(record.id.clone()) {
            bail!("there are two records {:?}: rec_id must name one record only", record.id);
        }
        records.push(record);
    }
    Ok(records)
}

fn raw_person<'t>(row: Row<'t>, region: &'t str) -> RawPerson<'t> {
    let country = row.get(&["country"]);
    RawPerson {
        id: row.get(&["rec_id"]),
        source: row.get(&["source"]),
        name: row.get(&["name_raw", "name", "display_name"]),
        given: row.get(&["given_name"]),
        surname: row.get(&["surname", "family_name"]),
        email: row.get(&["email"]),
        phone: row.get(&["phone"]),
        address: row.get(&["address"]),
        city: row.get(&["city"]),
        postcode: row.get(&["postcode"]),
        country: if country.is_empty() { region } else { country },
        birth_date: row.get(&["dob", "birth_date"]),
        company: row.get(&["company"]),
        handle: row.get(&["handle"]),
        membership: row.get(&["loyalty_id", "membership"]),
    }
}

fn normalised_record(row: Row<'_>) -> PersonRecord {
    let text = |columns: &[&str]| row.get(columns).to_owned();
    PersonRecord {
        id: text(&["rec_id"]),
        given: text(&["given"]),
        surname: text(&["surname"]),
        email: text(&["email"]),
        phone: text(&["phone"]),
        house: text(&["house"]),
        street: text(&["street"]),
        city: text(&["city"]),
        postcode: text(&["postcode"]),
        country: text(&["country"]),
        birth_date: text(&["dob"]),
        company: text(&["company"]),
        handle: text(&["handle"]),
        membership: text(&["loyalty", "loyalty_id"]),
        group: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: &[(&str, &str)]) {
        let csv = Csv::parse(text).unwrap();
        let records = records(&csv, None).unwrap();
        let mut resolver = Resolver::new(Arc::new(fit(&records)), Settings::default());
        resolver.load(&records);
        assert_eq!(resolver.persons(), wanted);
    }

    #[test]
    fn a_file_is_resolved_with_nothing_but_itself_and_unknown_columns_are_left_out() {
        let heading = "rec_id,source,name_raw,given_name,surname,email,phone,country,shoe_size\n";
        let rows = "a,crm,,Ada,Lovelace,ada@example.com,,GB,37\nb,pbx,LOVELACE ADA,,,,020 7946 0123,GB,\nc,email,\"Lovelace, Ada\",,,Ada@Example.com,+442079460123,,\nd,crm,,Bob,Smith,bob@example.com,,GB,\n";
        check(&format!("{heading}{rows}"), &[("a", "a"), ("b", "a"), ("c", "a"), ("d", "d")]);
    }

    #[test]
    fn the_normalised_table_is_recognised() {
        let rows = "1,ada,lovelace,bristol,1856-06-18\n2,ada,lovelace,bristol,1856-06-18\n3,bob,smith,york,1900-02-03\n";
        check(&format!("rec_id,given,surname,city,dob\n{rows}"), &[("1", "1"), ("2", "1"), ("3", "3")]);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, wanted) in [("a,b\n", "rec_id"), ("rec_id,shoe_size\n", "name_raw"), ("rec_id,email\n1,\n1,\n", "two records")] {
            let error = records(&Csv::parse(text).unwrap(), None).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
