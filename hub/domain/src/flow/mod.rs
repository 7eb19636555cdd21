//! Flows: what admins configure to happen by itself. Trigger, condition, steps; checked and compiled when published, decided step by step.
//!
//! Pure. A published flow is a [`Program`]: a flat list of instructions with every expression compiled once. A run of it is a
//! [`Machine`]: where it stands, small enough to be stored after each step. The engine does what a step says, and commits what came of
//! it together with the machine.

mod compile;
mod cron;
pub mod expression;
mod machine;
mod redact;
mod spec;
mod template;

pub use compile::{Act, Instruction, Program, SpecError, Todo};
pub use cron::{Cron, Timing};
pub use machine::{Advance, Evaluate, Failure, Frame, Machine, Verdict};
pub use redact::Redactor;
pub use spec::{
    Action, BranchSpec, CallSpec, EmitSpec, FieldRecord, FlowSpec, ForEachSpec, HandoffSpec, History, InviteSpec, MeetingSpec, OnError,
    Retry, ScheduleSpec, SendSpec, SetContextSpec, Step, Trigger, VariableSpec, WaitSpec, WriteSpec,
};
pub use template::Template;

/// How deep flows may cause each other: a change caused by the sixth flow in a row starts none.
pub const MAX_DEPTH: u8 = 5;
/// What expressions may speak of, besides what a `for_each` names.
pub const ROOTS: [&str; 9] = ["event", "enquiry", "profile", "conversation", "interaction", "steps", "input", "now", "flow"];
