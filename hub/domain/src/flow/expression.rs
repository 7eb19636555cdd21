//! CEL, the Common Expression Language: compiled once, checked before it is used, its cost bounded before it is evaluated.
//!
//! CEL has no loops but its comprehensions (`all`, `exists`, `map`, `filter`), which go over a list that is there. So the work of an
//! expression is bounded by its size, by how deep comprehensions are nested, and by the longest list: the first two are bounded when a
//! flow is published, the product is looked at before each evaluation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, Map};
use cel::{Context, Env, Program, Value as Cel};
use serde_json::Value;

/// The longest expression in bytes.
pub const LONGEST: usize = 2_000;
/// The most nodes of its syntax tree.
const MOST_NODES: usize = 500;
/// The deepest syntax tree.
const DEEPEST: usize = 40;
/// How deep brackets may be nested, and how many prefixes may follow each other.
const DEEPEST_BRACKETS: usize = 12;
/// Operators and full stops: each is a level of the syntax tree at worst.
const MOST_OPERATORS: usize = 100;
/// How deep comprehensions may be nested.
const MOST_LOOPS: u32 = 2;
/// Steps of an evaluation, estimated, beyond which it is not begun.
const MOST_WORK: u64 = 5_000_000;

/// The functions and types of the standard library, built once for all expressions.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// What of the standard library may be called. A name that is not here is a slip, found before the flow is published.
const FUNCTIONS: &[&str] =
    &["size", "contains", "startsWith", "endsWith", "matches", "string", "int", "uint", "double", "bool", "bytes", "dyn", "type"];

/// What is wrong with an expression, and where: line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionError {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    source: String,
    program: Program,
    roots: BTreeSet<String>,
    nodes: u64,
    loops: u32,
    /// Operations that copy texts or lists, within comprehensions.
    copies: u64,
}

impl Expression {
    /// Compiles, with these names at hand.
    ///
    /// # Errors
    /// If it does not parse, is too large, or speaks of what there is not.
    pub fn compile(source: &str, names: &[String]) -> Result<Self, ExpressionError> {
        if source.len() > LONGEST {
            return Err(at_start(format!("an expression has at most {LONGEST} bytes; this has {}", source.len())));
        }
        check_shape(source)?;
        let program = ENVIRONMENT.compile(source).map_err(|errors| parse_error(&errors))?;
        let mut walk =
            Walk { program: &program, names, bound: Vec::new(), roots: BTreeSet::new(), nodes: 0, loops: 0, copies: 0, deepest: 0 };
        walk.visit(program_root(&program), 1)?;
        if walk.nodes > MOST_NODES as u64 {
            return Err(at_start(format!("the expression has {} parts; {MOST_NODES} are allowed", walk.nodes)));
        }
        let Walk { roots, nodes, deepest, copies, .. } = walk;
        Ok(Self { source: source.to_owned(), roots, nodes, loops: deepest, copies, program })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names it speaks of: only these have to be looked up.
    #[must_use]
    pub const fn roots(&self) -> &BTreeSet<String> {
        &self.roots
    }

    /// Evaluates.
    ///
    /// # Errors
    /// In words: a field that is not there, types that do not go together, too much work.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, String> {
        let work = self.work(scope);
        if work > MOST_WORK {
            return Err(format!("this would take some {work} steps over lists of this length; {MOST_WORK} are allowed"));
        }
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        for root in &self.roots {
            let Some(known) = scope.values.get(root) else { return Err(format!("there is no {root:?} here")) };
            context.add_variable_from_value(root.as_str(), known.value.clone());
        }
        let value = self.program.execute(&context).map_err(|error| error.to_string())?;
        to_json(&value)
    }

    /// An upper bound of the work in a scope: parts of the expression times elements for each nested comprehension, and what is copied.
    fn work(&self, scope: &Scope) -> u64 {
        let known = self.roots.iter().filter_map(|root| scope.values.get(root));
        let (longest, bytes) = known.fold((1, 1), |(longest, bytes), known| (known.longest.max(longest), bytes + known.bytes));
        // A list in the expression itself is no longer than the expression; lists may be put together.
        let elements = (longest + self.nodes).saturating_mul(if self.copies > 0 { 1 + self.copies } else { 1 });
        let rounds = if self.loops == 0 { 1 } else { elements.saturating_pow(self.loops) };
        rounds.saturating_mul(self.nodes).saturating_add(rounds.saturating_mul(self.copies).saturating_mul(bytes) / 64)
    }
}

/// What expressions see. Each value is converted once, however many expressions look at it.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    values: BTreeMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    value: Cel,
    longest: u64,
    bytes: u64,
}

impl Scope {
    /// Whether a name has a value here.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Gives a name a value.
    pub fn set(&mut self, name: &str, value: &Value) {
        let (mut longest, mut bytes) = (0, 0);
        measure(value, &mut longest, &mut bytes);
        self.values.insert(name.to_owned(), Known { value: to_cel(value), longest, bytes });
    }

    /// Takes a name's value away.
    pub fn remove(&mut self, name: &str) {
        self.values.remove(name);
    }
}

fn measure(value: &Value, longest: &mut u64, bytes: &mut u64) {
    match value {
        Value::String(text) => *bytes += text.len() as u64,
        Value::Array(items) => {
            *longest = (*longest).max(items.len() as u64);
            items.iter().for_each(|item| measure(item, longest, bytes));
        }
        Value::Object(fields) => {
            *longest = (*longest).max(fields.len() as u64);
            fields.values().for_each(|value| measure(value, longest, bytes));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => *bytes += 8,
    }
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(bool) => Cel::Bool(*bool),
        // A whole number is an int if it fits, as JSON readers of CEL do it.
        Value::Number(number) => number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or(f64::NAN)), Cel::Int),
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let map = fields.iter().map(|(name, value)| (Key::String(Arc::new(name.clone())), to_cel(value))).collect();
            Cel::Map(Map { map: Arc::new(map) })
        }
    }
}

fn to_json(value: &Cel) -> Result<Value, String> {
    Ok(match value {
        Cel::Null => Value::Null,
        Cel::Bool(bool) => Value::Bool(*bool),
        Cel::Int(number) => Value::from(*number),
        Cel::UInt(number) => Value::from(*number),
        Cel::Float(number) => serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Cel::String(text) => Value::String(text.as_ref().clone()),
        Cel::List(items) => Value::Array(items.iter().map(to_json).collect::<Result<_, _>>()?),
        Cel::Map(map) => {
            let entry = |(key, value): (&Key, &Cel)| {
                let name = match key {
                    Key::String(text) => text.as_ref().clone(),
                    Key::Int(number) => number.to_string(),
                    Key::Uint(number) => number.to_string(),
                    Key::Bool(bool) => bool.to_string(),
                };
                Ok((name, to_json(value)?))
            };
            Value::Object(map.map.iter().map(entry).collect::<Result<_, String>>()?)
        }
        other => return Err(format!("the expression comes to a {}, which is nothing that can be kept", other.type_of())),
    })
}

/// A look at every part of a syntax tree.
struct Walk<'w> {
    program: &'w Program,
    names: &'w [String],
    /// Names that comprehensions around here have given.
    bound: Vec<String>,
    roots: BTreeSet<String>,
    nodes: u64,
    loops: u32,
    deepest: u32,
    copies: u64,
}

fn program_root(program: &Program) -> &IdedExpr {
    program.expression()
}

impl Walk<'_> {
    fn visit(&mut self, part: &IdedExpr, depth: usize) -> Result<(), ExpressionError> {
        self.nodes += 1;
        if depth > DEEPEST {
            return Err(self.error(part, format!("the expression is nested more than {DEEPEST} deep")));
        }
        match &part.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(part, name),
            Expr::Select(select) => self.visit(&select.operand, depth + 1),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element, depth + 1)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(_) => Err(self.error(part, "messages cannot be made here; write a map: {'name': value}".to_owned())),
            Expr::Call(call) => {
                self.function(part, &call.func_name)?;
                call.target.iter().try_for_each(|target| self.visit(target, depth + 1))?;
                call.args.iter().try_for_each(|argument| self.visit(argument, depth + 1))
            }
            Expr::Comprehension(loops) => {
                self.visit(&loops.iter_range, depth + 1)?;
                self.loops += 1;
                self.deepest = self.deepest.max(self.loops);
                if self.loops > MOST_LOOPS {
                    return Err(self.error(part, format!("comprehensions may be nested {MOST_LOOPS} deep, no deeper")));
                }
                let bound = self.bound.len();
                self.bound.push(loops.iter_var.clone());
                self.bound.extend(loops.iter_var2.clone());
                self.bound.push(loops.accu_var.clone());
                for part in [&loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.visit(part, depth + 1)?;
                }
                self.bound.truncate(bound);
                self.loops -= 1;
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize) -> Result<(), ExpressionError> {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key, depth + 1)?;
                self.visit(&entry.value, depth + 1)
            }
            EntryExpr::StructField(field) => self.visit(&field.value, depth + 1),
        }
    }

    fn name(&mut self, part: &IdedExpr, name: &str) -> Result<(), ExpressionError> {
        if self.bound.iter().any(|bound| bound == name) {
            return Ok(());
        }
        if self.names.iter().any(|known| known == name) {
            self.roots.insert(name.to_owned());
            return Ok(());
        }
        Err(self.error(part, format!("there is no {name:?} here; there are {}", self.names.join(", "))))
    }

    fn function(&mut self, part: &IdedExpr, name: &str) -> Result<(), ExpressionError> {
        // Operators have names that cannot be written: `_+_`, `!_`, `@in`.
        let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if name == "_+_" && self.loops > 0 {
            self.copies += 1;
        }
        if is_operator || FUNCTIONS.contains(&name) {
            return Ok(());
        }
        Err(self.error(
            part,
            format!("there is no function {name:?}; there are {}, has, all, exists, exists_one, map, filter", FUNCTIONS.join(", ")),
        ))
    }

    fn error(&self, part: &IdedExpr, message: String) -> ExpressionError {
        let info = self.program.source_info();
        let offset = info.offset_for(part.id).map_or(0, |(start, _)| start as usize);
        let (line, column) = line_and_column(&info.source, offset);
        ExpressionError { line, column, message }
    }
}

/// Bounds what the parser descends into before it does: its own bound is too deep for a small stack.
fn check_shape(source: &str) -> Result<(), ExpressionError> {
    let (mut depth, mut operators, mut prefixes) = (0_usize, 0_usize, 0_usize);
    let mut quote = None;
    let mut escaped = false;
    for (offset, letter) in source.chars().enumerate() {
        if let Some(open) = quote {
            if !escaped && letter == open {
                quote = None;
            }
            escaped = !escaped && letter == '\\';
            continue;
        }
        match letter {
            '"' | '\'' => quote = Some(letter),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '+' | '*' | '/' | '%' | '<' | '>' | '=' | '&' | '|' | '?' | '.' => operators += 1,
            _ => {}
        }
        match letter {
            '!' | '-' => prefixes += 1,
            _ if letter.is_whitespace() => {}
            _ => prefixes = 0,
        }
        let message = if depth > DEEPEST_BRACKETS {
            format!("brackets may be nested {DEEPEST_BRACKETS} deep, no deeper")
        } else if operators > MOST_OPERATORS {
            format!("an expression has at most {MOST_OPERATORS} operators and full stops")
        } else if prefixes > DEEPEST_BRACKETS {
            "too many ! or - in a row".to_owned()
        } else {
            continue;
        };
        let (line, column) = line_and_column(source, offset);
        return Err(ExpressionError { line, column, message });
    }
    Ok(())
}

/// Line and column of a character of a text, from 1 on.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let (mut line, mut column) = (1, 1);
    for letter in text.chars().take(offset) {
        if letter == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    (line, column)
}

fn at_start(message: String) -> ExpressionError {
    ExpressionError { line: 1, column: 1, message }
}

fn parse_error(errors: &cel::ParseErrors) -> ExpressionError {
    let first = errors.errors.first();
    let place = |position: isize| usize::try_from(position).unwrap_or(0).max(1);
    first.map_or_else(
        || at_start("the expression cannot be read".to_owned()),
        |error| ExpressionError { line: place(error.pos.0), column: place(error.pos.1), message: error.msg.trim().to_owned() },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names() -> Vec<String> {
        ["event", "enquiry", "steps", "list"].map(str::to_owned).to_vec()
    }

    fn compiled(source: &str) -> Result<Expression, ExpressionError> {
        Expression::compile(source, &names())
    }

    fn check(source: &str, wanted: Value) {
        let mut scope = Scope::default();
        scope.set("event", &json!({"type": "enquiry.opened", "data": {"fields": ["status", "owner"]}}));
        scope.set(
            "enquiry",
            &json!({"status": "open", "reason": "Late order 4711", "variables": {"order": 4711, "weight": 1.5}, "owner": null}),
        );
        scope.set("list", &json!([1, 2, 3]));
        assert_eq!(compiled(source).unwrap().evaluate(&scope), Ok(wanted), "{source}");
    }

    #[test]
    fn expressions_come_to_what_cel_says() {
        check("enquiry.status == 'open' && enquiry.reason.contains('4711')", json!(true));
        check("enquiry.variables.order + 1", json!(4712));
        check("enquiry.variables.weight * 2.0", json!(3.0));
        check("'owner' in event.data.fields", json!(true));
        check("has(enquiry.variables.colour) ? enquiry.variables.colour : 'none'", json!("none"));
        check("list.filter(x, x > 1).map(x, x * 10)", json!([20, 30]));
        check("enquiry.owner == null", json!(true));
        check("{'a': [1, 'b'], 'c': {}}", json!({"a": [1, "b"], "c": {}}));
        check("enquiry.reason.matches('[0-9]{4}')", json!(true));
        check("list.exists(x, list.all(y, y <= x))", json!(true));
        check("string(enquiry.variables.order) + '!'", json!("4711!"));
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let scope = || {
            let mut scope = Scope::default();
            scope.set("enquiry", &json!({"status": "open"}));
            scope
        };
        for (source, word) in [("enquiry.owner == 'x'", "owner"), ("enquiry.status + 1 == 2", "add"), ("event.type == 'x'", "event")] {
            let error = compiled(source).unwrap().evaluate(&scope()).unwrap_err();
            assert!(error.contains(word), "{source}: {error}");
        }
    }

    #[test]
    fn mistakes_are_found_with_their_place_before_anything_runs() {
        let table = [
            ("enquiry.status ==", 1, 18, ""),
            ("enqiry.status == 'open'", 1, 1, "\"enqiry\""),
            ("enquiry.status == 'open' &&\n  evnt.type == 'x'", 2, 3, "\"evnt\""),
            ("enquiry.reason.beginsWith('x')", 1, 26, "\"beginsWith\""),
            ("list.map(x, list.map(y, list.map(z, z)))", 1, 33, "nested"),
        ];
        for (source, line, column, word) in table {
            let error = compiled(source).unwrap_err();
            assert!(error.message.contains(word), "{source}: {error:?}");
            assert_eq!((error.line, error.column), (line, column), "{source}: {error:?}");
        }
    }

    #[test]
    fn size_and_nesting_are_bounded() {
        let deep = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        let table = [
            ("1 + ".repeat(499) + "1", false),
            (format!("'{}'", "x".repeat(LONGEST)), false),
            (deep(900), false),
            ("!".repeat(1500) + "true", false),
            ("[".repeat(500) + &"]".repeat(500), false),
            (format!("[{}1]", "1,".repeat(400)), true),
            (deep(5), true),
            ("1 + ".repeat(30) + "1", true),
            ("'((((((((((((((((((((((' != 'it\\'s ((((((((((((((('".to_owned(), true),
        ];
        for (source, good) in table {
            assert_eq!(compiled(&source).is_ok(), good, "{}…", &source[..20.min(source.len())]);
        }
    }

    #[test]
    fn work_is_bounded_by_what_it_goes_over() {
        let with = |length: usize| {
            let mut scope = Scope::default();
            scope.set("list", &Value::from(vec![7; length]));
            scope
        };
        let twice = compiled("list.exists(x, list.exists(y, x + y < 0))").unwrap();
        assert_eq!(twice.evaluate(&with(30)), Ok(json!(false)));
        assert!(twice.evaluate(&with(30_000)).unwrap_err().contains("steps"));
        let once = compiled("list.exists(x, x < 0)").unwrap();
        assert_eq!(once.evaluate(&with(30_000)), Ok(json!(false)));
        let mut scope = Scope::default();
        scope.set("list", &Value::from(vec!["x".repeat(60); 1000]));
        let copies = compiled("list.map(x, list.map(y, x + y + x + y))").unwrap();
        assert!(copies.evaluate(&scope).is_err());
    }

    #[test]
    fn only_what_is_spoken_of_is_looked_up() {
        let roots = |source| compiled(source).unwrap().roots().iter().cloned().collect::<Vec<_>>();
        assert_eq!(roots("list.map(event, event + 1) == [2]"), ["list"]);
        assert_eq!(roots("event.type == enquiry.status"), ["enquiry", "event"]);
    }
}
