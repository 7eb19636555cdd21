//! What customers are made of, and how often things go wrong.

use std::collections::HashMap;

use serde::Deserialize;

use crate::random::Random;

/// Values with weights.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Vec<(String, f64)>")]
pub(crate) struct Pool {
    values: Vec<String>,
    cumulated: Vec<f64>,
}

impl From<Vec<(String, f64)>> for Pool {
    fn from(pairs: Vec<(String, f64)>) -> Self {
        let mut sum = 0.0;
        let (mut values, mut cumulated) = (Vec::new(), Vec::new());
        for (value, weight) in pairs {
            sum += weight.max(1e-9);
            values.push(value);
            cumulated.push(sum);
        }
        Self { values, cumulated }
    }
}

impl Pool {
    pub(crate) fn pick(&self, random: &mut Random) -> &str {
        let at = random.unit() * self.cumulated.last().copied().unwrap_or(0.0);
        let place = self.cumulated.partition_point(|sum| *sum < at);
        &self.values[place.min(self.values.len() - 1)]
    }
}

/// One country's names and places.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Country {
    pub(crate) male: Pool,
    pub(crate) fem: Pool,
    pub(crate) sur: Pool,
    pub(crate) cities: Vec<(String, String)>,
    pub(crate) streets: Vec<String>,
}

/// All countries.
#[derive(Debug, Deserialize)]
pub(crate) struct Pools {
    pub(crate) companies: Vec<String>,
    pub(crate) nick: HashMap<String, Vec<String>>,
    #[serde(flatten)]
    pub(crate) countries: HashMap<String, Country>,
}

impl Pools {
    pub(crate) fn load() -> Self {
        serde_json::from_str(include_str!("pools.json")).expect("the pools beside this file are valid")
    }
}

/// How often each thing happens that makes one person look like several, or several like one.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hazards {
    pub(crate) customer: f64,
    pub(crate) shared_landline: f64,
    pub(crate) family_email: f64,
    pub(crate) junior: f64,
    pub(crate) moved: f64,
    pub(crate) married_name: f64,
    pub(crate) second_mobile: f64,
    pub(crate) recycled_mobile: f64,
    pub(crate) employed: f64,
    pub(crate) switchboard: f64,
    pub(crate) role_email: f64,
    pub(crate) loyalty: f64,
    pub(crate) nickname: f64,
    pub(crate) name_typo: f64,
    pub(crate) name_swap: f64,
    pub(crate) initial: f64,
    pub(crate) ascii: f64,
    pub(crate) upper: f64,
    pub(crate) title: f64,
    pub(crate) email_typo: f64,
    pub(crate) phone_typo: f64,
    pub(crate) placeholder: f64,
    pub(crate) dob_typo: f64,
    pub(crate) address_typo: f64,
    pub(crate) no_postcode: f64,
}

impl Default for Hazards {
    fn default() -> Self {
        Self {
            customer: 0.8,
            shared_landline: 0.41,
            family_email: 0.1,
            junior: 0.04,
            moved: 0.25,
            married_name: 0.07,
            second_mobile: 0.15,
            recycled_mobile: 0.015,
            employed: 0.28,
            switchboard: 0.45,
            role_email: 0.03,
            loyalty: 0.3,
            nickname: 0.16,
            name_typo: 0.055,
            name_swap: 0.015,
            initial: 0.04,
            ascii: 0.35,
            upper: 0.06,
            title: 0.05,
            email_typo: 0.02,
            phone_typo: 0.012,
            placeholder: 0.006,
            dob_typo: 0.045,
            address_typo: 0.06,
            no_postcode: 0.08,
        }
    }
}
