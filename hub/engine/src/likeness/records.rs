//! A profile as the resolver compares it: one record for each address and number it has, held together by a group.

use throughline_domain::identity::resolve::{PersonRecord, RawPerson, record_of};
use throughline_schemas::{IdentityType, ProfileId};
use throughline_store::tables::Leaf;

/// Records of one profile, at most: more identities than that compare as those do.
const MOST_RECORDS: usize = 8;

/// The records of a leaf. `group` names what is one person by what is known already.
pub(super) fn records_of(id: ProfileId, leaf: &Leaf, group: ProfileId) -> Vec<PersonRecord> {
    let values =
        |kind: IdentityType| -> Vec<String> {
            let of_kind = leaf.identities.iter().filter(|identity| identity.kind == kind);
            of_kind
                .map(|identity| {
                    if identity.namespace.is_empty() {
                        identity.value.clone()
                    } else {
                        format!("{}:{}", identity.namespace, identity.value)
                    }
                })
                .collect()
        };
    let (emails, phones, handles) = (values(IdentityType::Email), values(IdentityType::Phone), values(IdentityType::Handle));
    let count = [emails.len(), phones.len(), handles.len(), 1].into_iter().max().unwrap_or(1).min(MOST_RECORDS);
    let nth = |values: &[String], number: usize| values.get(number).cloned().unwrap_or_default();
    (0..count)
        .map(|number| {
            let (record, group) = (format!("{id}#{number}"), group.to_string());
            let (email, phone, handle) = (nth(&emails, number), nth(&phones, number), nth(&handles, number));
            PersonRecord { group, handle, ..described(leaf, &record, &email, &phone) }
        })
        .filter(|record| !record.is_blank())
        .collect()
}

/// The profile that a record is of.
pub(super) fn profile_of(record: &str) -> Option<ProfileId> {
    record.split_once('#')?.0.parse().ok()
}

fn described(leaf: &Leaf, id: &str, email: &str, phone: &str) -> PersonRecord {
    let field = |names: &[&str]| names.iter().find_map(|name| leaf.fields.get(*name)?.value.as_str()).unwrap_or_default();
    record_of(&RawPerson {
        id,
        source: "",
        name: field(&["display_name", "name"]),
        given: field(&["given_name", "first_name"]),
        surname: field(&["family_name", "last_name", "surname"]),
        email,
        phone,
        address: field(&["address", "street", "street_address"]),
        city: field(&["city", "locality"]),
        postcode: field(&["postcode", "postal_code", "zip"]),
        country: field(&["country"]),
        birth_date: field(&["birth_date", "date_of_birth", "birthday", "dob"]),
        company: field(&["company"]),
        handle: "",
        membership: field(&["loyalty_id", "customer_number"]),
    })
}
