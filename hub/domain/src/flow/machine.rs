//! Where a run stands, and what it does next. Stored after every step, so that a run goes on exactly there after a crash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::compile::{Instruction, Program, Todo};
use super::expression::Expression;
use super::spec::OnError;

/// Steps of one run, loops counted out.
const MOST_STEPS: u32 = 10_000;
/// The longest wait between two attempts of a step, in milliseconds.
const LONGEST_WAIT_MS: u64 = 3_600_000;
/// Bytes of what a step gave that later steps see.
const LONGEST_OUTPUT: usize = 4 * 1024;

/// A run's place in its program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The next instruction.
    pub at: usize,
    /// Loops it is in, the innermost last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loops: Vec<Frame>,
    /// What steps gave, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Value>,
    /// Failed attempts of the step it stands at.
    #[serde(default)]
    pub attempts: u32,
    /// Steps done, which number the entries of its journal.
    #[serde(default)]
    pub done: u32,
}

/// A loop that a run is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The elements.
    pub items: Vec<Value>,
    /// Which of them it is at.
    pub index: usize,
}

/// Evaluates expressions where a machine stands.
pub trait Evaluate {
    /// The value of an expression, or why there is none.
    fn evaluate(&mut self, machine: &Machine, expression: &Expression) -> Result<Value, String>;
}

/// What comes next.
#[derive(Debug)]
pub enum Advance<'p> {
    /// This step.
    Do(&'p Todo),
    /// Nothing: it is through.
    Done,
}

/// Why a run cannot go on, at which instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

/// What follows from a step's failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try it again after so many milliseconds.
    Again(u64),
    /// Go on with the next.
    GoOn,
    /// The run has failed.
    Fail,
}

impl Machine {
    /// Goes on to the next step, over branches and loops.
    ///
    /// # Errors
    /// If an expression on the way cannot be evaluated, a list is too long, or the run takes too many steps.
    pub fn advance<'p>(&mut self, program: &'p Program, evaluate: &mut dyn Evaluate) -> Result<Advance<'p>, Failure> {
        // Each round moves forward or ends a round of a bounded loop; the bound is for loops without a step in them.
        for _ in 0..MOST_STEPS {
            let Some(instruction) = program.instructions.get(self.at) else { return Ok(Advance::Done) };
            match instruction {
                Instruction::Do(_) if self.done >= MOST_STEPS => return Err(Failure(format!("a run takes at most {MOST_STEPS} steps"))),
                Instruction::Do(todo) => return Ok(Advance::Do(todo)),
                Instruction::Jump(to) => self.at = *to,
                Instruction::Unless(test, otherwise) => match evaluate.evaluate(self, test).map_err(|error| failure(test, &error))? {
                    Value::Bool(true) => self.at += 1,
                    Value::Bool(false) => self.at = *otherwise,
                    other => return Err(failure(test, &format!("it comes to {other}, neither true nor false"))),
                },
                Instruction::Begin { list, at_most, end } => {
                    let items = match evaluate.evaluate(self, list).map_err(|error| failure(list, &error))? {
                        Value::Array(items) if items.len() <= *at_most as usize => items,
                        Value::Array(items) => {
                            return Err(failure(list, &format!("the list has {} elements, more than at_most: {at_most}", items.len())));
                        }
                        _ => return Err(failure(list, "it comes to no list")),
                    };
                    if items.is_empty() {
                        self.at = *end;
                    } else {
                        self.loops.push(Frame { items, index: 0 });
                        self.at += 1;
                    }
                }
                Instruction::Next { first } => self.next_element(*first),
            }
        }
        Err(Failure(format!("a run takes at most {MOST_STEPS} steps")))
    }

    fn next_element(&mut self, first: usize) {
        match self.loops.last_mut() {
            Some(frame) if frame.index + 1 < frame.items.len() => {
                frame.index += 1;
                self.at = first;
            }
            _ => {
                self.loops.pop();
                self.at += 1;
            }
        }
    }

    /// The element of a loop around a step, by its place among the names in [`Todo::items`].
    #[must_use]
    pub fn element(&self, depth: usize) -> Option<&Value> {
        let frame = self.loops.get(depth)?;
        frame.items.get(frame.index)
    }

    /// What steps gave, as expressions see it: `steps`.
    #[must_use]
    pub fn steps(&self) -> Value {
        Value::Object(self.outputs.clone().into_iter().collect())
    }

    /// A step is done and gave this.
    pub fn did(&mut self, todo: &Todo, output: &Value) {
        self.outputs.insert(todo.name.clone(), bounded(output));
        self.at += 1;
        self.attempts = 0;
        self.done += 1;
    }

    /// An attempt of a step failed. Tells what follows, and has gone on if that is it.
    pub fn failed(&mut self, todo: &Todo, error: &str, may_retry: bool) -> Verdict {
        self.attempts += 1;
        if may_retry && self.attempts < todo.retry.attempts {
            let doublings = (self.attempts - 1).min(20);
            let wait = todo.retry.wait_seconds.saturating_mul(1000).saturating_mul(1 << doublings);
            return Verdict::Again(wait.min(LONGEST_WAIT_MS));
        }
        match todo.on_error {
            OnError::Continue => {
                self.did(todo, &json!({ "error": error }));
                Verdict::GoOn
            }
            OnError::Fail => Verdict::Fail,
        }
    }
}

fn failure(expression: &Expression, detail: &str) -> Failure {
    Failure(format!("`{}`: {detail}", expression.source()))
}

fn bounded(output: &Value) -> Value {
    let size = output.to_string().len();
    if size <= LONGEST_OUTPUT { output.clone() } else { json!({ "left_out": format!("{size} bytes, more than {LONGEST_OUTPUT}") }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::expression::Scope;
    use crate::flow::{FlowSpec, ROOTS};

    struct Given(Scope);

    impl Evaluate for Given {
        fn evaluate(&mut self, machine: &Machine, expression: &Expression) -> Result<Value, String> {
            self.0.set("steps", &machine.steps());
            for (depth, name) in ["item", "inner"].iter().enumerate() {
                if let Some(element) = machine.element(depth) {
                    self.0.set(name, element);
                }
            }
            expression.evaluate(&self.0)
        }
    }

    fn program(steps: Value) -> Program {
        let spec: FlowSpec = serde_json::from_value(json!({"trigger": {"webhook": {}}, "steps": steps})).unwrap();
        Program::compile(&spec).unwrap()
    }

    /// Runs to the end, each step giving what it was told to send; the machine is stored and read between any two steps.
    fn trace(steps: Value, input: Value) -> Result<Vec<String>, String> {
        let program = program(steps);
        let mut given = Given(Scope::default());
        for root in ROOTS {
            given.0.set(root, &Value::Null);
        }
        given.0.set("input", &input);
        let (mut machine, mut done) = (Machine::default(), Vec::new());
        loop {
            let text = serde_json::to_string(&machine).unwrap();
            machine = serde_json::from_str(&text).unwrap();
            match machine.advance(&program, &mut given).map_err(|failure| failure.0)? {
                Advance::Done => return Ok(done),
                Advance::Do(todo) => {
                    let output = todo.act.template().unwrap().render(&mut |expression| given.evaluate(&machine, expression))?;
                    done.push(format!("{}={}", todo.name, output));
                    machine.did(todo, &output);
                }
            }
        }
    }

    fn emit(name: &str, data: &str) -> Value {
        json!({"name": name, "do": {"emit": {"type": "x", "data": data}}})
    }

    #[test]
    fn branches_take_one_way_and_loops_go_over_every_element() {
        let steps = json!([
            emit("a", "{{ input.n }}"),
            {"name": "fork", "do": {"branch": {"if": "input.n > 1", "then": [emit("b", "big")], "else": [emit("c", "small")]}}},
            {"name": "each", "do": {"for_each": {"in": "input.list", "at_most": 5, "steps": [
                {"name": "more", "do": {"for_each": {"in": "item", "as": "inner", "at_most": 5, "steps": [emit("d", "{{ inner * 10 }}")]}}},
            ]}}},
            emit("e", "{{ steps.a }}"),
        ]);
        let trace = |input| trace(steps.clone(), input);
        assert_eq!(trace(json!({"n": 2, "list": [[1, 2], [], [3]]})).unwrap(), ["a=2", "b=\"big\"", "d=10", "d=20", "d=30", "e=2"]);
        assert_eq!(trace(json!({"n": 1, "list": []})).unwrap(), ["a=1", "c=\"small\"", "e=1"]);
        assert!(trace(json!({"n": 1, "list": [[1], [2], [3], [4], [5], [6]]})).unwrap_err().contains("at_most: 5"));
        assert!(trace(json!({"n": "x", "list": []})).unwrap_err().starts_with("`input.n > 1`: "));
        assert!(trace(json!({"n": 1, "list": 7})).unwrap_err().contains("no list"));
    }

    #[test]
    fn a_failed_step_is_tried_again_ever_later_and_then_goes_by_its_rule() {
        let with = |on_error: &str| {
            program(
                json!([{"name": "a", "do": {"emit": {"type": "x"}}, "retry": {"attempts": 3, "wait_seconds": 10}, "on_error": on_error}]),
            )
        };
        let program = with("fail");
        let Instruction::Do(todo) = &program.instructions[0] else { panic!() };
        let mut machine = Machine::default();
        assert_eq!(machine.failed(todo, "no", true), Verdict::Again(10_000));
        assert_eq!(machine.failed(todo, "no", true), Verdict::Again(20_000));
        assert_eq!((machine.failed(todo, "no", true), machine.at), (Verdict::Fail, 0));
        assert_eq!(Machine::default().failed(todo, "no", false), Verdict::Fail);
        let program = with("continue");
        let Instruction::Do(todo) = &program.instructions[0] else { panic!() };
        let mut machine = Machine::default();
        assert_eq!((machine.failed(todo, "no", false), machine.at), (Verdict::GoOn, 1));
        assert_eq!(machine.steps(), json!({"a": {"error": "no"}}));
    }

    #[test]
    fn a_run_and_what_it_keeps_are_bounded() {
        let program = program(json!([emit("a", "x")]));
        let mut machine = Machine { done: MOST_STEPS, ..Machine::default() };
        assert!(machine.advance(&program, &mut Given(Scope::default())).is_err());
        let Instruction::Do(todo) = &program.instructions[0] else { panic!() };
        let mut machine = Machine::default();
        machine.did(todo, &json!("x".repeat(LONGEST_OUTPUT)));
        assert!(machine.steps().to_string().len() < 100);
    }
}
