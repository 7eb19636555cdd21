//! What a briefing is built from, as the store has it now.

use throughline_domain::disclosure::Audience;
use throughline_domain::handoff::{BriefingFacts, briefing, fit};
use throughline_schemas::{Briefing, Enquiry, Handoff, HandoffState, Interaction};
use throughline_store::tables::{EnquiryTimeline, Handoffs, HandoffsByEnquiry, Interactions, read, scan_rows};

use crate::error::Result;
use crate::hub::Hub;

/// How many interactions and handoffs are looked at.
const LOOK_BACK: usize = 60;
const EARLIER: usize = 20;
/// The longest briefing, in bytes of JSON: a handoff has to fit into one row.
const LONGEST: usize = 40 * 1024;

impl Hub {
    /// The briefing for an agent who takes this enquiry now.
    pub(crate) fn briefing_for_agent(&self, enquiry: &Enquiry, note: Option<String>) -> Result<Briefing> {
        let customer = match self.root(enquiry.profile_id)? {
            Some(root) => self.profile(root)?.value.display_name(),
            None => None,
        };
        let (interactions, earlier) = (self.said_in_enquiry(enquiry)?, self.earlier_handoffs(enquiry)?);
        let facts = BriefingFacts { enquiry, customer, interactions: &interactions, earlier: &earlier, note, now: self.now() };
        let mut told = briefing(&facts, &|classification| Audience::Staff.may_read(classification));
        fit(&mut told, LONGEST);
        Ok(told)
    }

    fn said_in_enquiry(&self, enquiry: &Enquiry) -> Result<Vec<Interaction>> {
        let page = scan_rows::<EnquiryTimeline>(&self.inner.store, enquiry.id.as_bytes(), None, LOOK_BACK)?;
        let ids = page.rows.iter().filter_map(|(key, _)| EnquiryTimeline::interaction(key));
        let found = ids.map(|id| Ok(read::<Interactions>(&self.inner.store, &id)?.map(|row| row.value)));
        found.filter_map(Result::transpose).collect()
    }

    /// Handoffs of an enquiry, oldest first.
    fn earlier_handoffs(&self, enquiry: &Enquiry) -> Result<Vec<Handoff>> {
        let page = scan_rows::<HandoffsByEnquiry>(&self.inner.store, enquiry.id.as_bytes(), None, EARLIER)?;
        let mut found = Vec::new();
        for id in page.rows.iter().rev().filter_map(|(key, _)| HandoffsByEnquiry::handoff(key)) {
            found.extend(read::<Handoffs>(&self.inner.store, &id)?.map(|row| row.value));
        }
        Ok(found)
    }

    /// The handoff that an agent's screen should show with this enquiry: the newest in progress.
    pub(crate) fn open_handoff(&self, enquiry: &Enquiry) -> Result<Option<Handoff>> {
        let page = scan_rows::<HandoffsByEnquiry>(&self.inner.store, enquiry.id.as_bytes(), None, EARLIER)?;
        let open = page.rows.iter().find(|(_, row)| matches!(row.value, HandoffState::Offered | HandoffState::Accepted));
        let id = open.and_then(|(key, _)| HandoffsByEnquiry::handoff(key));
        Ok(id.map(|id| read::<Handoffs>(&self.inner.store, &id)).transpose()?.flatten().map(|row| row.value))
    }
}
