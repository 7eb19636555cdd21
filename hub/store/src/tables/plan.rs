//! Plans and their steps.

use throughline_schemas::PlanId;
use throughline_schemas::plan::{Plan, PlanStep};

use super::Table;

/// Plan id -> plan.
pub struct Plans;

impl Table for Plans {
    const PREFIX: u8 = 0x2f;
    const NAME: &'static str = "plans";
    type Key = PlanId;
    type Value = Plan;
    fn suffix(key: &PlanId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// (plan, number of the step from 0) -> step.
pub struct PlanSteps;

impl Table for PlanSteps {
    const PREFIX: u8 = 0x30;
    const NAME: &'static str = "plan_steps";
    type Key = (PlanId, u64);
    type Value = PlanStep;
    fn suffix((plan, number): &Self::Key) -> Vec<u8> {
        let mut bytes = plan.as_bytes().to_vec();
        bytes.extend(number.to_be_bytes());
        bytes
    }
}
