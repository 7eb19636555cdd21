//! How handlers describe themselves: each extractor and each reply type says what it adds to its operation.
//!
//! A route is registered once ([`Routes`](crate::openapi::Routes)) and its description is computed from the handler's own argument
//! and return types, so the document cannot say anything else than what the code takes and gives.

use std::future::Future;

use axum::extract::State;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::problem::Problem;
use crate::problem_codes::Code;

/// One operation of the OpenAPI document, being put together.
pub(crate) struct Operation<'a> {
    pub(crate) schemas: &'a mut SchemaGenerator,
    pub(crate) fields: Map<String, Value>,
}

impl Operation<'_> {
    /// The schema of a type, by reference where it has a name.
    pub(crate) fn schema<T: JsonSchema>(&mut self) -> Value {
        self.schemas.subschema_for::<T>().to_value()
    }

    pub(crate) fn parameter(&mut self, location: &str, name: &str, required: bool, description: &str, schema: Value) {
        let mut parameter = json!({"name": name, "in": location, "required": required, "schema": schema});
        if !description.is_empty() {
            parameter["description"] = description.into();
        }
        if let Value::Array(list) = self.fields.entry("parameters").or_insert_with(|| json!([])) {
            list.push(parameter);
        }
    }

    /// Every property of an object type as a parameter.
    pub(crate) fn parameters_of<T: JsonSchema>(&mut self, location: &str) {
        let schema = T::json_schema(self.schemas).to_value();
        let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut property = property.clone();
            let description = property.as_object_mut().and_then(|fields| fields.remove("description"));
            let description = description.as_ref().and_then(Value::as_str).unwrap_or_default();
            self.parameter(location, name, location == "path" || required.contains(&name.as_str()), description, property);
        }
    }

    pub(crate) fn request_body(&mut self, media_type: &str, required: bool, schema: Value) {
        self.fields.insert("requestBody".to_owned(), json!({"required": required, "content": {media_type: {"schema": schema}}}));
    }

    pub(crate) fn response(&mut self, status: u16, description: &str, content: Option<(&str, Value)>) -> &mut Value {
        let mut response = json!({"description": description});
        if let Some((media_type, schema)) = content {
            response["content"] = json!({media_type: {"schema": schema}});
        }
        let responses = self.fields.entry("responses").or_insert_with(|| json!({}));
        responses[status.to_string()] = response;
        &mut responses[status.to_string()]
    }

    /// A way in which it can fail. Several codes may share a status.
    pub(crate) fn problem(&mut self, code: Code) {
        let status = code.status().as_u16();
        let key = status.to_string();
        let known =
            self.fields.get("responses").and_then(|responses| responses.get(&key)).and_then(|response| response["description"].as_str());
        let description = match known {
            Some(known) if known.split("; ").any(|part| part == code.title()) => return,
            Some(known) => format!("{known}; {}", code.title()),
            None => code.title().to_owned(),
        };
        let responses = self.fields.entry("responses").or_insert_with(|| json!({}));
        responses[key] = json!({"$ref": "#/components/responses/Problem", "description": description});
    }
}

/// What an argument of a handler adds to its operation.
pub(crate) trait DescribeInput {
    fn describe(operation: &mut Operation<'_>);
}

/// What the result of a handler adds to its operation.
pub(crate) trait DescribeOutput {
    fn describe(operation: &mut Operation<'_>);
}

impl<S> DescribeInput for State<S> {
    fn describe(_: &mut Operation<'_>) {}
}

impl<T: DescribeOutput> DescribeOutput for Result<T, Problem> {
    fn describe(operation: &mut Operation<'_>) {
        T::describe(operation);
    }
}

/// A handler that can describe itself. `T` is the tuple by which axum tells handlers apart.
pub(crate) trait Described<T> {
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! described {
    ($($argument:ident),*) => {
        impl<F, Fut, Output, M, $($argument,)*> Described<(M, $($argument,)*)> for F
        where
            F: FnOnce($($argument),*) -> Fut,
            Fut: Future<Output = Output>,
            Output: DescribeOutput,
            $($argument: DescribeInput,)*
        {
            fn describe(operation: &mut Operation<'_>) {
                $(<$argument as DescribeInput>::describe(operation);)*
                Output::describe(operation);
            }
        }
    };
}

impl<F, Fut, Output> Described<((),)> for F
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Output>,
    Output: DescribeOutput,
{
    fn describe(operation: &mut Operation<'_>) {
        Output::describe(operation);
    }
}
described!(A1);
described!(A1, A2);
described!(A1, A2, A3);
described!(A1, A2, A3, A4);
described!(A1, A2, A3, A4, A5);
described!(A1, A2, A3, A4, A5, A6);
