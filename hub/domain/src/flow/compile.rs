//! From what an admin wrote to what is run: every expression compiled, every name checked, branches and loops made into jumps.

use std::collections::BTreeSet;

use serde_json::Value;
use throughline_schemas::Classification;

use super::ROOTS;
use super::cron::Timing;
use super::expression::{Expression, ExpressionError};
use super::spec::{Action, FieldRecord, FlowSpec, OnError, Retry, Step, Trigger};
use super::template::Template;

/// Steps of a flow, those in branches and loops included.
const MOST_STEPS: usize = 100;
/// How deep branches and loops may be nested.
const DEEPEST: usize = 5;
const LONGEST_NAME: usize = 40;
/// What may be written of an enquiry; variables are set with `set_context`.
const ENQUIRY_FIELDS: [&str; 3] = ["status", "owner", "reason"];

/// What is wrong with a flow, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// JSON pointer into the flow.
    pub pointer: String,
    /// What is wrong; with line and column if it is an expression.
    pub detail: String,
}

/// A flow ready to run.
#[derive(Debug)]
pub struct Program {
    /// When it starts by the clock, if it does.
    pub timing: Option<Timing>,
    /// What must be true for it to start.
    pub condition: Option<Expression>,
    /// What is done, in order, with jumps.
    pub instructions: Vec<Instruction>,
    /// Names of connections whose plugins it calls.
    pub connections: BTreeSet<String>,
}

/// One instruction.
#[derive(Debug)]
pub enum Instruction {
    /// Do something.
    Do(Todo),
    /// Go on with the next if the expression is true, else there.
    Unless(Expression, usize),
    /// Go on there.
    Jump(usize),
    /// Begin a loop over a list; go there if it is empty.
    Begin {
        /// The list.
        list: Expression,
        /// A longer one is an error.
        at_most: u32,
        /// Behind the loop.
        end: usize,
    },
    /// The next element of the innermost loop, which began there; behind it if there is none.
    Next {
        /// The first instruction of the loop's steps.
        first: usize,
    },
}

/// Something to be done.
#[derive(Debug)]
pub struct Todo {
    /// The step's name.
    pub name: String,
    /// Where it stands in the flow.
    pub pointer: String,
    /// What.
    pub act: Act,
    /// How often it is tried.
    pub retry: Retry,
    /// What happens when it has failed for good.
    pub on_error: OnError,
    /// The elements of the loops around it, by name, the outermost first.
    pub items: Vec<String>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Act {
    /// Send a message.
    Send(Template),
    /// Write fields.
    Write(FieldRecord, Template),
    /// Set variables: their values, and who may see each.
    SetContext(Template, Vec<(String, Classification)>),
    /// Wait for so many seconds.
    Wait(u64),
    /// Put an event of this type into the log.
    Emit(String, Template),
    /// Have a connection's plugin do this, with this input.
    Call(String, String, Template),
    /// Hand the enquiry on.
    Handoff {
        /// What is handed on, and how.
        what: Template,
        /// The connection where the customer is to be met.
        connection: Option<String>,
        /// Go on only when it is over.
        waits: bool,
    },
}

impl Act {
    /// As in the flow.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Send(_) => "send",
            Self::Write(..) => "write",
            Self::SetContext(..) => "set_context",
            Self::Wait(_) => "wait",
            Self::Emit(..) => "emit",
            Self::Call(..) => "call",
            Self::Handoff { .. } => "handoff",
        }
    }

    /// What has to be filled in before it is done.
    #[must_use]
    pub const fn template(&self) -> Option<&Template> {
        match self {
            Self::Send(template)
            | Self::Write(_, template)
            | Self::SetContext(template, _)
            | Self::Emit(_, template)
            | Self::Call(_, _, template)
            | Self::Handoff { what: template, .. } => Some(template),
            Self::Wait(_) => None,
        }
    }
}

impl Program {
    /// Compiles a flow.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: &FlowSpec) -> Result<Self, Vec<SpecError>> {
        let mut compiler = Compiler { errors: Vec::new(), out: Vec::new(), connections: BTreeSet::new(), names: Vec::new(), steps: 0 };
        compiler.trigger(&spec.trigger);
        let timing = compiler.timing(&spec.trigger);
        let names = compiler.scope(&[]);
        let condition = spec.condition.as_ref().and_then(|source| {
            let compiled = Expression::compile(source, &names).map_err(|error| compiler.wrong_expression("/condition", &error));
            compiled.ok()
        });
        if spec.steps.is_empty() {
            compiler.wrong("/steps", "a flow has at least one step");
        }
        compiler.block(&spec.steps, "/steps", &mut Vec::new(), 1);
        if compiler.steps > MOST_STEPS {
            compiler.wrong("/steps", &format!("a flow has at most {MOST_STEPS} steps; this has {}", compiler.steps));
        }
        if compiler.errors.is_empty() {
            Ok(Self { timing, condition, instructions: compiler.out, connections: compiler.connections })
        } else {
            Err(compiler.errors)
        }
    }
}

struct Compiler {
    errors: Vec<SpecError>,
    out: Vec<Instruction>,
    connections: BTreeSet<String>,
    names: Vec<String>,
    steps: usize,
}

impl Compiler {
    fn wrong(&mut self, pointer: &str, detail: &str) {
        self.errors.push(SpecError { pointer: pointer.to_owned(), detail: detail.to_owned() });
    }

    fn wrong_expression(&mut self, pointer: &str, error: &ExpressionError) {
        self.wrong(pointer, &format!("line {}, column {}: {}", error.line, error.column, error.message));
    }

    fn trigger(&mut self, trigger: &Trigger) {
        match trigger {
            Trigger::Change(kinds) if kinds.is_empty() => self.wrong("/trigger/change", "name at least one kind of change"),
            Trigger::Field { names, .. } if names.is_empty() => self.wrong("/trigger/field/names", "name at least one field"),
            _ => {}
        }
    }

    fn timing(&mut self, trigger: &Trigger) -> Option<Timing> {
        let Trigger::Schedule(schedule) = trigger else { return None };
        let wrong = |(field, detail): (&str, String)| {
            let pointer = format!("/trigger/schedule/{field}");
            self.wrong(pointer.trim_end_matches('/'), &detail);
        };
        Timing::of(schedule).map_err(wrong).ok()
    }

    fn scope(&self, items: &[String]) -> Vec<String> {
        ROOTS.iter().map(|root| (*root).to_owned()).chain(items.iter().cloned()).collect()
    }

    fn block(&mut self, steps: &[Step], pointer: &str, items: &mut Vec<String>, depth: usize) {
        if depth > DEEPEST {
            return self.wrong(pointer, &format!("branches and loops may be nested {DEEPEST} deep, no deeper"));
        }
        for (index, step) in steps.iter().enumerate() {
            self.steps += 1;
            self.step(step, &format!("{pointer}/{index}"), items, depth);
        }
    }

    fn step(&mut self, step: &Step, pointer: &str, items: &mut Vec<String>, depth: usize) {
        self.step_name(&step.name, pointer);
        if !(1..=20).contains(&step.retry.attempts) || !(1..=3600).contains(&step.retry.wait_seconds) {
            self.wrong(&format!("{pointer}/retry"), "from 1 to 20 attempts, and waits from 1 to 3600 seconds");
        }
        let names = self.scope(items);
        let inner = format!("{pointer}/do/{}", word(&step.r#do));
        match &step.r#do {
            Action::Branch(branch) => {
                let test = self.expression(&branch.r#if, &format!("{inner}/if"), &names);
                let fork = self.out.len();
                self.out.push(Instruction::Jump(0));
                self.block(&branch.then, &format!("{inner}/then"), items, depth + 1);
                let mut otherwise = self.out.len();
                if !branch.r#else.is_empty() {
                    self.out.push(Instruction::Jump(0));
                    otherwise += 1;
                    self.block(&branch.r#else, &format!("{inner}/else"), items, depth + 1);
                    self.out[otherwise - 1] = Instruction::Jump(self.out.len());
                }
                if let Some(test) = test {
                    self.out[fork] = Instruction::Unless(test, otherwise);
                }
            }
            Action::ForEach(each) => {
                let list = self.expression(&each.r#in, &format!("{inner}/in"), &names);
                if !is_name(&each.name) || names.contains(&each.name) {
                    self.wrong(&format!("{inner}/as"), &format!("{:?} is no name that is free here", each.name));
                }
                if !(1..=1000).contains(&each.at_most) {
                    self.wrong(&format!("{inner}/at_most"), "from 1 to 1000 elements");
                }
                let begin = self.out.len();
                self.out.push(Instruction::Jump(0));
                items.push(each.name.clone());
                self.block(&each.steps, &format!("{inner}/steps"), items, depth + 1);
                items.pop();
                self.out.push(Instruction::Next { first: begin + 1 });
                if let Some(list) = list {
                    self.out[begin] = Instruction::Begin { list, at_most: each.at_most, end: self.out.len() };
                }
            }
            other => {
                if let Some(act) = self.act(other, &inner, &names) {
                    let todo = Todo {
                        name: step.name.clone(),
                        pointer: pointer.to_owned(),
                        act,
                        retry: step.retry,
                        on_error: step.on_error,
                        items: items.clone(),
                    };
                    self.out.push(Instruction::Do(todo));
                }
            }
        }
    }

    fn step_name(&mut self, name: &str, pointer: &str) {
        if !is_name(name) {
            self.wrong(
                &format!("{pointer}/name"),
                &format!("{name:?} is no name: lower-case letters, digits and _, at most {LONGEST_NAME}"),
            );
        }
        if self.names.iter().any(|other| other == name) {
            self.wrong(&format!("{pointer}/name"), &format!("another step is called {name:?} already"));
        }
        self.names.push(name.to_owned());
    }

    fn expression(&mut self, source: &str, pointer: &str, names: &[String]) -> Option<Expression> {
        Expression::compile(source, names).map_err(|error| self.wrong_expression(pointer, &error)).ok()
    }

    fn template(&mut self, value: &Value, pointer: &str, names: &[String]) -> Option<Template> {
        Template::compile(value, pointer, names).map_err(|(pointer, error)| self.wrong_expression(&pointer, &error)).ok()
    }

    fn act(&mut self, action: &Action, pointer: &str, names: &[String]) -> Option<Act> {
        match action {
            Action::Send(send) => {
                let value = serde_json::to_value(send).unwrap_or_default();
                Some(Act::Send(self.template(&value, pointer, names)?))
            }
            Action::Write(write) => {
                if write.to == FieldRecord::Enquiry {
                    for field in write.fields.keys().filter(|field| !ENQUIRY_FIELDS.contains(&field.as_str())) {
                        let detail = format!("an enquiry's {field:?} cannot be written; set variables with set_context");
                        self.wrong(&format!("{pointer}/fields/{field}"), &detail);
                    }
                }
                let fields = Value::Object(write.fields.clone().into_iter().collect());
                Some(Act::Write(write.to, self.template(&fields, &format!("{pointer}/fields"), names)?))
            }
            Action::SetContext(set) => {
                let mut classes = Vec::new();
                let mut values = Vec::new();
                for (name, variable) in &set.variables {
                    classes.push((name.clone(), variable.classification));
                    values.push((name.clone(), self.template(&variable.value, &format!("{pointer}/variables/{name}/value"), names)?));
                }
                Some(Act::SetContext(Template::Map(values), classes))
            }
            Action::Wait(wait) => {
                if !(1..=31_536_000).contains(&wait.seconds) {
                    self.wrong(&format!("{pointer}/seconds"), "from a second to a year");
                }
                Some(Act::Wait(wait.seconds))
            }
            Action::Emit(emit) => {
                let good = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_.".contains(letter);
                if emit.r#type.is_empty() || emit.r#type.len() > 80 || !emit.r#type.chars().all(good) {
                    self.wrong(&format!("{pointer}/type"), "an event's type is made of lower-case letters, digits, _ and full stops");
                }
                Some(Act::Emit(emit.r#type.clone(), self.template(&emit.data, &format!("{pointer}/data"), names)?))
            }
            Action::Call(call) => {
                self.connections.insert(call.connection.clone());
                let input = self.template(&call.input, &format!("{pointer}/input"), names)?;
                Some(Act::Call(call.connection.clone(), call.action.clone(), input))
            }
            Action::Handoff(handoff) => {
                let connection = handoff.meeting.as_ref().map(|meeting| meeting.connection.clone());
                self.connections.extend(connection.clone());
                let mut value = serde_json::to_value(handoff).unwrap_or_default();
                if let Some(fields) = value.as_object_mut() {
                    fields.remove("wait");
                }
                Some(Act::Handoff { what: self.template(&value, pointer, names)?, connection, waits: handoff.wait })
            }
            Action::Branch(_) | Action::ForEach(_) => None,
        }
    }
}

const fn word(action: &Action) -> &'static str {
    match action {
        Action::Send(_) => "send",
        Action::Write(_) => "write",
        Action::SetContext(_) => "set_context",
        Action::Wait(_) => "wait",
        Action::Branch(_) => "branch",
        Action::ForEach(_) => "for_each",
        Action::Emit(_) => "emit",
        Action::Call(_) => "call",
        Action::Handoff(_) => "handoff",
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
}

#[cfg(test)]
mod tests;
