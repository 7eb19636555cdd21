//! Values with expressions in them: `"Order {{ enquiry.variables.order }}"`. A text that is one expression and nothing else gives that
//! expression's value with its type; lists and maps are filled in element by element.

use serde_json::{Map, Value};

use super::expression::{Expression, ExpressionError};

/// Bytes of a text that is filled in, at most.
const LONGEST_TEXT: usize = 48 * 1024;

/// A compiled template.
#[derive(Debug)]
pub enum Template {
    /// Nothing to fill in.
    Literal(Value),
    /// The value of an expression.
    Whole(Expression),
    /// A text with pieces to fill in.
    Text(Vec<Piece>),
    /// A list.
    List(Vec<Self>),
    /// A map.
    Map(Vec<(String, Self)>),
}

/// A piece of a text.
#[derive(Debug)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// An expression's value as text.
    Insert(Expression),
}

impl Template {
    /// Compiles a value; an error names the place in it as a JSON pointer.
    ///
    /// # Errors
    /// If one of its expressions is wrong; line and column are those in the text that holds it.
    pub fn compile(value: &Value, pointer: &str, names: &[String]) -> Result<Self, (String, ExpressionError)> {
        match value {
            Value::String(text) => Self::text(text, names).map_err(|error| (pointer.to_owned(), error)),
            Value::Array(items) => {
                let compiled = items.iter().enumerate().map(|(index, item)| Self::compile(item, &format!("{pointer}/{index}"), names));
                Ok(Self::List(compiled.collect::<Result<_, _>>()?))
            }
            Value::Object(fields) => {
                let compiled = fields.iter().map(|(name, value)| {
                    let escaped = name.replace('~', "~0").replace('/', "~1");
                    Ok((name.clone(), Self::compile(value, &format!("{pointer}/{escaped}"), names)?))
                });
                Ok(Self::Map(compiled.collect::<Result<_, _>>()?))
            }
            other => Ok(Self::Literal(other.clone())),
        }
    }

    fn text(text: &str, names: &[String]) -> Result<Self, ExpressionError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{{") {
            let place = text.len() - behind.len();
            let Some((source, after)) = behind.split_once("}}") else {
                let (line, column) = line_and_column(text, place - 2);
                return Err(ExpressionError { line, column, message: "\"{{\" without \"}}\"".to_owned() });
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let inner = Expression::compile(source, names).map_err(|error| moved(text, place, error))?;
            pieces.push(Piece::Insert(inner));
            rest = after;
        }
        if pieces.is_empty() {
            return Ok(Self::Literal(Value::from(text)));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        match pieces.pop() {
            Some(Piece::Insert(only)) if pieces.is_empty() => Ok(Self::Whole(only)),
            Some(last) => {
                pieces.push(last);
                Ok(Self::Text(pieces))
            }
            None => Ok(Self::Literal(Value::from(text))),
        }
    }

    /// Fills in.
    ///
    /// # Errors
    /// In words, if an expression cannot be evaluated or a text becomes too long.
    pub fn render(&self, evaluate: &mut dyn FnMut(&Expression) -> Result<Value, String>) -> Result<Value, String> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Whole(expression) => evaluate(expression)?,
            Self::List(items) => Value::Array(items.iter().map(|item| item.render(evaluate)).collect::<Result<_, _>>()?),
            Self::Map(fields) => {
                let mut map = Map::new();
                for (name, value) in fields {
                    map.insert(name.clone(), value.render(evaluate)?);
                }
                Value::Object(map)
            }
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(piece) => text.push_str(piece),
                        Piece::Insert(expression) => text.push_str(&as_text(&evaluate(expression)?)),
                    }
                    if text.len() > LONGEST_TEXT {
                        return Err(format!("the text becomes longer than {LONGEST_TEXT} bytes"));
                    }
                }
                Value::String(text)
            }
        })
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Line and column of a byte of a text, from 1 on.
fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (1 + before.matches('\n').count(), 1 + before[line_start..].chars().count())
}

/// An error of an expression that begins at this byte of a text.
fn moved(text: &str, byte: usize, error: ExpressionError) -> ExpressionError {
    let (line, column) = line_and_column(text, byte);
    let column = if error.line == 1 { column + error.column - 1 } else { error.column };
    ExpressionError { line: line + error.line - 1, column, message: error.message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::expression::Scope;
    use serde_json::json;

    fn names() -> Vec<String> {
        vec!["enquiry".to_owned()]
    }

    fn check(template: Value, wanted: Value) {
        let mut scope = Scope::default();
        scope.set("enquiry", &json!({"reason": "Late", "order": 4711, "none": null, "list": [1]}));
        let template = Template::compile(&template, "", &names()).unwrap();
        assert_eq!(template.render(&mut |expression| expression.evaluate(&scope)), Ok(wanted));
    }

    #[test]
    fn texts_are_filled_in_and_a_lone_expression_keeps_its_type() {
        check(json!("Order {{enquiry.order}}: {{ enquiry.reason }}!"), json!("Order 4711: Late!"));
        check(json!("{{ enquiry.order }}"), json!(4711));
        check(json!("{{ enquiry.list }}"), json!([1]));
        check(json!("{{enquiry.none}}{{enquiry.list}}"), json!("[1]"));
        check(json!("no braces } here {"), json!("no braces } here {"));
        check(
            json!({"a": ["{{ enquiry.order + 1 }}", 7, null], "b": {"c": "x{{enquiry.reason}}"}}),
            json!({"a": [4712, 7, null], "b": {"c": "xLate"}}),
        );
    }

    #[test]
    fn mistakes_have_a_pointer_a_line_and_a_column() {
        let table = [
            (json!({"a": ["x", "Dear {{ enqiry.reason }}"]}), "/a/1", 1, 9),
            (json!({"a/b": "one\ntwo {{\n enqiry }}"}), "/a~1b", 3, 2),
            (json!("never {{ closed"), "", 1, 7),
        ];
        for (template, pointer, line, column) in table {
            let (place, error) = Template::compile(&template, "", &names()).unwrap_err();
            assert_eq!((place.as_str(), error.line, error.column), (pointer, line, column), "{template}: {error:?}");
        }
    }
}
