//! Who is who, by likeness: records that no identifier links, compared by all they say.
//!
//! A pure function of records, model and constraints: any order of arrival, streamed or at once, gives the same persons; a record
//! taken out leaves no trace. Records share a blocking key to be compared (`keys`), are compared field by field (`compare`,
//! `levels`), the agreement is weighed in bits (`model`, fitted without labels by `fit`), and components are parted into persons
//! (`cluster`). Knows no store, no profile and no policy: what is done with its verdicts is decided elsewhere.

mod cluster;
mod compare;
mod crowd;
mod entry;
mod explain;
mod fit;
mod hash;
mod intake;
mod keys;
mod levels;
mod model;
mod nicknames;
mod portrait;
mod prior;
mod record;
mod resolver;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod train;
mod upkeep;

pub use explain::{Explanation, Step};
pub use intake::{RawPerson, record_of};
pub use model::{Millibits, Model};
pub use record::PersonRecord;
pub use resolver::{Resolver, Settings};
pub use train::fit;
