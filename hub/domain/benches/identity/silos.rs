//! What each silo writes down of a person, with its slips: records with the truth beside them.

use throughline_domain::identity::resolve::{PersonRecord, RawPerson, record_of};

use crate::numbers::{code, has_trunk_zero};
use crate::people::{Person, Town, plain};
use crate::pools::{Hazards, Pools};
use crate::random::Random;

/// A record, and whose it is.
pub(crate) struct Labelled {
    pub(crate) record: PersonRecord,
    pub(crate) person: usize,
}

/// Makes records of customers.
pub(crate) fn make(pools: &Pools, hazards: &Hazards, records: usize, seed: u64) -> Vec<Labelled> {
    let mut random = Random::new(seed);
    let mut town = Town { pools, hazards, firms: (records / 45).max(20), people: 0, used_mobiles: Vec::new() };
    let mut all = Vec::new();
    while all.len() < records {
        for person in town.household(&mut random) {
            let visits = 1 + ((-random.unit().max(1e-12).ln() * 2.9) as usize).min(24);
            for _ in 0..visits {
                let mut clerk = Clerk { pools, hazards, random: &mut random, person: &person };
                if let Some(record) = clerk.record(all.len()) {
                    all.push(Labelled { record, person: person.number });
                }
            }
        }
    }
    random.shuffle(&mut all);
    all.truncate(records);
    all
}

/// What a silo has in its fields.
#[derive(Default)]
struct Fields {
    source: &'static str,
    name: String,
    given: String,
    surname: String,
    email: String,
    phone: String,
    address: String,
    city: String,
    postcode: String,
    country: String,
    birth_date: String,
    company: String,
    handle: String,
    loyalty: String,
}

struct Clerk<'c> {
    pools: &'c Pools,
    hazards: &'c Hazards,
    random: &'c mut Random,
    person: &'c Person,
}

impl Clerk<'_> {
    fn record(&mut self, number: usize) -> Option<PersonRecord> {
        let time = self.random.unit();
        let (given, surname) = self.names(time);
        let mut fields = match self.random.between(0, 100) {
            0..27 => self.crm(time, given, surname),
            27..46 => self.pbx(time, &given, &surname),
            46..65 => self.mail(time, &given, &surname),
            65..75 => self.social(&given, &surname),
            75..86 => self.sms(time, given, &surname),
            _ => self.shop(time, given, surname),
        };
        let own_key = match fields.source {
            "email" => !fields.email.is_empty(),
            "pbx" | "sms" => !fields.phone.is_empty(),
            _ => true,
        };
        if !own_key {
            return None;
        }
        if fields.country.is_empty() && !fields.phone.is_empty() {
            self.person.country.clone_into(&mut fields.country);
        }
        Some(record_of(&fields.raw(&format!("r{number}"))))
    }

    fn crm(&mut self, time: f64, given: String, surname: String) -> Fields {
        let mut fields = Fields { source: "crm", ..Fields::default() };
        if self.random.chance(0.8) {
            self.structured(&mut fields, given, surname);
        } else {
            fields.name = self.free_name(&given, &surname);
        }
        if self.random.chance(0.75) {
            self.address(&mut fields, time);
        }
        if self.random.chance(0.85) {
            fields.email = self.email();
        }
        if self.random.chance(0.8) {
            fields.phone = self.phone(time, [0.7, 0.18]);
        }
        if self.random.chance(0.45) {
            fields.birth_date = self.birth();
        }
        self.firm_and_loyalty(&mut fields, 0.5);
        fields
    }

    fn shop(&mut self, time: f64, given: String, surname: String) -> Fields {
        let mut fields = Fields { source: "shop", ..Fields::default() };
        self.structured(&mut fields, given, surname);
        self.address(&mut fields, time);
        fields.email = self.email();
        if self.random.chance(0.6) {
            fields.phone = self.phone(time, [1.0, 0.0]);
        }
        if self.random.chance(0.6) {
            fields.loyalty = self.person.loyalty.clone().unwrap_or_default();
        }
        fields
    }

    fn pbx(&mut self, time: f64, given: &str, surname: &str) -> Fields {
        let mut fields = Fields { source: "pbx", phone: self.phone(time, [0.62, 0.23]), ..Fields::default() };
        if self.random.chance(0.5) {
            let shown = format!("{surname} {given}");
            fields.name = deunicode::deunicode(&shown).to_uppercase().chars().take(15).collect::<String>().trim().to_owned();
        }
        fields
    }

    fn sms(&mut self, time: f64, given: String, surname: &str) -> Fields {
        let mut fields = Fields { source: "sms", phone: self.phone(time, [1.0, 0.0]), ..Fields::default() };
        if self.random.chance(0.35) {
            fields.name = if self.random.chance(0.6) { given } else { format!("{given} {surname}") };
        }
        fields
    }

    fn mail(&mut self, time: f64, given: &str, surname: &str) -> Fields {
        let mut fields = Fields { source: "email", email: self.email(), ..Fields::default() };
        if self.random.chance(0.8) {
            fields.name = self.free_name(given, surname);
        }
        if self.random.chance(0.28) {
            fields.phone = self.phone(time, [0.75, 0.0]);
        }
        self.firm_and_loyalty(&mut fields, 0.35);
        fields.loyalty.clear();
        fields
    }

    fn social(&mut self, given: &str, surname: &str) -> Fields {
        let mut fields = Fields { source: "social", handle: self.person.handle.clone(), ..Fields::default() };
        if self.random.chance(0.9) {
            fields.name = self.free_name(given, surname);
        }
        if self.random.chance(0.4) {
            fields.email = self.email();
        }
        if self.random.chance(0.5) {
            fields.city.clone_from(&self.person.address.city);
        }
        fields
    }

    fn names(&mut self, time: f64) -> (String, String) {
        let (mut given, mut surname) = (self.person.given.clone(), self.person.surname.clone());
        if let Some((_, married)) = self.person.married.as_ref().filter(|(since, _)| time > *since) {
            surname = if self.random.chance(0.85) { married.clone() } else { format!("{surname}-{married}") };
        }
        if self.random.chance(self.hazards.nickname)
            && let Some(short) = self.pools.nick.get(&plain(&given))
        {
            given.clone_from(self.random.pick(short));
        }
        if surname.contains(' ') && self.random.chance(0.35) {
            surname.truncate(surname.find(' ').unwrap_or(surname.len()));
        }
        if self.random.chance(self.hazards.initial) {
            given = given.chars().take(1).collect();
        }
        for name in [&mut given, &mut surname] {
            if self.random.chance(self.hazards.name_typo) {
                *name = typo(name, self.random);
            }
        }
        if self.random.chance(self.hazards.ascii) {
            (given, surname) = (deunicode::deunicode(&given), deunicode::deunicode(&surname));
        }
        if self.random.chance(self.hazards.name_swap) {
            std::mem::swap(&mut given, &mut surname);
        }
        if self.random.chance(self.hazards.upper) {
            (given, surname) = (given.to_uppercase(), surname.to_uppercase());
        }
        (given, surname)
    }

    fn structured(&mut self, fields: &mut Fields, given: String, surname: String) {
        fields.given = if self.random.chance(self.hazards.title) { format!("Dr. {given}") } else { given };
        fields.surname = surname;
    }

    fn free_name(&mut self, given: &str, surname: &str) -> String {
        if self.random.chance(0.85) { format!("{given} {surname}") } else { format!("{surname}, {given}") }
    }

    fn address(&mut self, fields: &mut Fields, time: f64) {
        let moved = self.person.moved.as_ref().filter(|(since, _)| time > *since).map(|(_, address)| address);
        let address = moved.unwrap_or(&self.person.address).clone();
        let street = if self.random.chance(self.hazards.address_typo) { typo(&address.street, self.random) } else { address.street };
        let first = matches!(self.person.country, "US" | "GB" | "FR" | "IN");
        fields.address = if first { format!("{} {street}", address.house) } else { format!("{street} {}", address.house) };
        fields.city = address.city;
        fields.postcode = if self.random.chance(self.hazards.no_postcode) { String::new() } else { address.postcode };
        self.person.country.clone_into(&mut fields.country);
    }

    fn firm_and_loyalty(&mut self, fields: &mut Fields, probability: f64) {
        if let Some(firm) = self.person.firm.as_ref().filter(|_| self.random.chance(probability)) {
            fields.company.clone_from(&firm.name);
        }
        if self.random.chance(probability) {
            fields.loyalty = self.person.loyalty.clone().unwrap_or_default();
        }
    }

    fn email(&mut self) -> String {
        if let Some(family) = self.person.family_email.as_ref().filter(|_| self.random.chance(0.25)) {
            return family.clone();
        }
        if let Some(firm) = self.person.firm.as_ref().filter(|_| self.random.chance(self.hazards.role_email)) {
            return firm.role_email.clone();
        }
        let Some(first) = self.person.emails.first() else { return String::new() };
        let email = if self.random.chance(0.68) { first } else { self.random.pick(&self.person.emails) };
        if !self.random.chance(self.hazards.email_typo) {
            return email.clone();
        }
        let (local, domain) = email.split_once('@').unwrap_or((email, ""));
        format!("{}@{domain}", typo(local, self.random))
    }

    /// `shares`: how often it is the mobile, and how often (of all) the landline; else the switchboard.
    fn phone(&mut self, time: f64, shares: [f64; 2]) -> String {
        if self.random.chance(self.hazards.placeholder) {
            return "0000000000".to_owned();
        }
        let kind = self.random.unit();
        let second = self.person.mobiles.get(1).filter(|_| time > 0.5);
        let mobile = second.or(self.person.mobiles.first());
        let switchboard = self.person.firm.as_ref().and_then(|firm| firm.switchboard.as_ref());
        let number = match kind {
            at if at < shares[0] => mobile,
            at if at < shares[0] + shares[1] => self.person.landline.as_ref().or(mobile),
            _ => switchboard.or(mobile),
        };
        let Some(mut number) = number.cloned() else { return String::new() };
        if self.random.chance(self.hazards.phone_typo) {
            let place = self.random.between(0, number.len());
            number.replace_range(place..=place, &self.random.digits(1));
        }
        let country = self.person.country;
        let zero = if has_trunk_zero(country) { "0" } else { "" };
        match self.random.between(0, 4) {
            0 | 1 => format!("+{}{number}", code(country)),
            2 => format!("+{} {} {}", code(country), &number[..3], &number[3..]),
            _ => format!("{zero}{} {}", &number[..3], &number[3..]),
        }
    }

    fn birth(&mut self) -> String {
        let (mut year, mut month, mut day) = self.person.birth;
        if self.random.chance(self.hazards.dob_typo) {
            match self.random.between(0, 4) {
                0 => year += 1,
                1 => (month, day) = if day <= 12 { (day, month) } else { (month, day) },
                2 => day = self.random.between(1, 29) as u8,
                _ => month = self.random.between(1, 13) as u8,
            }
        }
        format!("{year:04}-{month:02}-{day:02}")
    }
}

impl Fields {
    fn raw<'f>(&'f self, id: &'f str) -> RawPerson<'f> {
        RawPerson {
            id,
            source: self.source,
            name: &self.name,
            given: &self.given,
            surname: &self.surname,
            email: &self.email,
            phone: &self.phone,
            address: &self.address,
            city: &self.city,
            postcode: &self.postcode,
            country: &self.country,
            birth_date: &self.birth_date,
            company: &self.company,
            handle: &self.handle,
            membership: &self.loyalty,
        }
    }
}

/// One letter dropped, doubled, replaced, or changed with its neighbour.
fn typo(text: &str, random: &mut Random) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if letters.len() < 2 {
        return text.to_owned();
    }
    let place = random.between(0, letters.len() - 1);
    match random.between(0, 4) {
        0 => drop(letters.remove(place)),
        1 => letters.insert(place, letters[place]),
        2 => letters[place] = char::from(b'a' + random.between(0, 26) as u8),
        _ => letters.swap(place, place + 1),
    }
    letters.into_iter().collect()
}
