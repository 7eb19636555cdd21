//! Households of people who move, marry, share telephones and change numbers.

use crate::numbers::{COUNTRIES, landline, mobile};
use crate::pools::{Hazards, Pools};
use crate::random::Random;

const FREE_MAIL: [&str; 7] = ["gmail.com", "gmail.com", "outlook.com", "yahoo.com", "hotmail.com", "icloud.com", "proton.me"];

/// Street, house number, city, postcode.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) house: String,
    pub(crate) street: String,
    pub(crate) city: String,
    pub(crate) postcode: String,
}

/// Somebody, as they are.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) number: usize,
    pub(crate) country: &'static str,
    pub(crate) given: String,
    pub(crate) surname: String,
    /// Another family name, from that moment on.
    pub(crate) married: Option<(f64, String)>,
    pub(crate) birth: (u16, u8, u8),
    pub(crate) address: Address,
    pub(crate) moved: Option<(f64, Address)>,
    pub(crate) mobiles: Vec<String>,
    pub(crate) landline: Option<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) family_email: Option<String>,
    pub(crate) firm: Option<Firm>,
    pub(crate) handle: String,
    pub(crate) loyalty: Option<String>,
}

/// An employer.
#[derive(Debug, Clone)]
pub(crate) struct Firm {
    pub(crate) name: String,
    pub(crate) switchboard: Option<String>,
    pub(crate) role_email: String,
}

/// Makes people.
pub(crate) struct Town<'p> {
    pub(crate) pools: &'p Pools,
    pub(crate) hazards: &'p Hazards,
    pub(crate) firms: usize,
    pub(crate) people: usize,
    /// Numbers that were somebody's, by country.
    pub(crate) used_mobiles: Vec<(&'static str, String)>,
}

impl Town<'_> {
    pub(crate) fn household(&mut self, random: &mut Random) -> Vec<Person> {
        let country = country(random);
        let size = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5][random.between(0, 11)];
        let (address, surname) = (self.address(country, random), self.surname(country, random));
        let line = random.chance(self.hazards.shared_landline).then(|| landline(country, random));
        let parents = random.between(1938, 1996);
        let family = (size > 1 && random.chance(self.hazards.family_email)).then(|| {
            let name = plain(&surname);
            format!("family.{name}{parents}@{}", random.pick(&FREE_MAIL))
        });
        let mut people: Vec<Person> = Vec::new();
        for place in 0..size {
            let name = if place == 1 && random.chance(0.28) { self.surname(country, random) } else { surname.clone() };
            let year = if place < 2 { parents + random.between(0, 12) - 6 } else { (parents + random.between(20, 40)).min(2008) };
            let mut person = self.person(country, name, year, &address, random);
            if place >= 2 && random.chance(self.hazards.junior) {
                person.given.clone_from(&people[0].given);
            }
            person.landline = line.clone().filter(|_| random.chance(0.75));
            person.family_email.clone_from(&family);
            people.push(person);
        }
        people.retain(|_| random.chance(self.hazards.customer));
        people
    }

    fn person(&mut self, country: &'static str, surname: String, year: usize, address: &Address, random: &mut Random) -> Person {
        let female = random.chance(0.5);
        let names = if random.chance(0.15) { self::country(random) } else { country };
        let names = &self.pools.countries[names];
        let given = if female { &names.fem } else { &names.male }.pick(random).to_owned();
        self.people += 1;
        let birth = (year as u16, random.between(1, 13) as u8, random.between(1, 29) as u8);
        let mut emails: Vec<String> = Vec::new();
        for probability in [0.93, 0.22] {
            if random.chance(probability) {
                emails.push(mailbox(&given, &surname, year, random));
            }
        }
        let firm = random.chance(self.hazards.employed).then(|| self.firm(country, random));
        if let Some(firm) = firm.as_ref().filter(|_| random.chance(0.6)) {
            let domain = firm.role_email.split('@').nth(1).unwrap_or_default();
            emails.push(format!("{}.{}{}@{domain}", plain(&given), plain(&surname), self.people % 97));
        }
        Person {
            number: self.people,
            country,
            married: (female && random.chance(2.0 * self.hazards.married_name)).then(|| (random.unit(), self.surname(country, random))),
            moved: random.chance(self.hazards.moved).then(|| (random.unit(), self.address(country, random))),
            mobiles: self.mobiles(country, random),
            landline: None,
            family_email: None,
            firm,
            handle: format!("{}{}{}", plain(&given), ["", "_", "."][random.between(0, 3)], random.between(1, 99_999)),
            loyalty: random.chance(self.hazards.loyalty).then(|| format!("L{}", random.digits(9))),
            address: address.clone(),
            given,
            surname,
            birth,
            emails,
        }
    }

    fn mobiles(&mut self, country: &'static str, random: &mut Random) -> Vec<String> {
        let mut all = Vec::new();
        for probability in [0.95, self.hazards.second_mobile] {
            if !random.chance(probability) {
                continue;
            }
            let recycled = random.chance(self.hazards.recycled_mobile) && !self.used_mobiles.is_empty();
            let used = recycled.then(|| random.pick(&self.used_mobiles).clone()).filter(|(known, _)| *known == country);
            let number = used.map_or_else(|| mobile(country, random), |(_, number)| number);
            self.used_mobiles.push((country, number.clone()));
            all.push(number);
        }
        all
    }

    /// A few firms employ many.
    fn firm(&self, country: &'static str, random: &mut Random) -> Firm {
        let place = (self.firms as f64 * random.unit().powi(3)) as usize;
        let mut own = Random::new(place as u64 + 77);
        let name = format!("{} {}", own.pick(&self.pools.companies), place / self.pools.companies.len());
        let word: String = plain(&name).chars().take(18).collect();
        let role = ["info", "sales", "support", "office"][own.between(0, 4)];
        Firm {
            switchboard: own.chance(self.hazards.switchboard).then(|| landline(country, &mut own)),
            role_email: format!("{role}@{word}{place}.com"),
            name,
        }
    }

    fn surname(&self, country: &str, random: &mut Random) -> String {
        let pool = &self.pools.countries[country].sur;
        let first = pool.pick(random).to_owned();
        if matches!(country, "ES" | "BR") && random.chance(0.85) { format!("{first} {}", pool.pick(random)) } else { first }
    }

    fn address(&self, country: &str, random: &mut Random) -> Address {
        let pool = &self.pools.countries[country];
        let (city, postcode) = random.pick(&pool.cities).clone();
        let postcode = postcode
            .chars()
            .enumerate()
            .map(|(place, c)| if place > 0 && c.is_ascii_digit() { char::from(b'0' + random.between(0, 10) as u8) } else { c })
            .collect();
        Address { house: random.between(1, 180).to_string(), street: random.pick(&pool.streets).clone(), city, postcode }
    }
}

fn country(random: &mut Random) -> &'static str {
    let at = random.unit();
    let mut sum = 0.0;
    COUNTRIES
        .iter()
        .find(|(_, share)| {
            sum += share;
            at < sum
        })
        .map_or("US", |(country, _)| country)
}

/// Small ASCII letters and digits of a text.
pub(crate) fn plain(text: &str) -> String {
    deunicode::deunicode(text).to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect()
}

fn mailbox(given: &str, surname: &str, year: usize, random: &mut Random) -> String {
    let (first, last) = (plain(given), plain(surname.split(' ').next().unwrap_or(surname)));
    let local = match random.between(0, 6) {
        0 => format!("{first}.{last}"),
        1 => format!("{first}{last}"),
        2 => format!("{}{last}", &first[..1]),
        3 => format!("{first}_{last}"),
        4 => format!("{last}.{first}"),
        _ => first,
    };
    let tail = match random.between(0, 3) {
        0 => format!("{:02}", year % 100),
        1 => random.between(1, 9_999).to_string(),
        _ => random.between(1, 999).to_string(),
    };
    format!("{local}{tail}@{}", random.pick(&FREE_MAIL))
}
