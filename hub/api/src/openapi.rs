//! Routes and their OpenAPI 3.1 document, made together.
//!
//! [`Routes`] is the only way to add a route. It takes a handler's description from the handler's own types (see
//! [`crate::describe`]) and schemas from schemars, which the canonical types already derive: neither a second schema system nor
//! attributes beside the handlers (utoipa), so there is nothing that could drift.

use std::collections::HashMap;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, any, on};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::describe::{Described, Operation};
use crate::problem::{ProblemDocument, TYPE_PREFIX};
use crate::problem_codes::Code;
use crate::state::Api;

/// The operations' names, by path and method.
pub(crate) struct OperationNames(HashMap<String, Vec<(Method, &'static str)>>);

impl OperationNames {
    /// The name of what this method does at this path; HEAD is GET.
    pub(crate) fn name(&self, method: &Method, path: &str) -> Option<&'static str> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let at_path = self.0.get(path)?;
        at_path
            .iter()
            .find(|(known, _)| known == method)
            .or_else(|| at_path.first().filter(|(_, name)| name.starts_with("hooks.")))
            .map(|(_, name)| *name)
    }
}

/// A router and its document, growing together.
pub(crate) struct Routes {
    router: Router<Api>,
    schemas: SchemaGenerator,
    paths: Map<String, Value>,
    names: OperationNames,
}

impl Routes {
    pub(crate) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { router: Router::new(), schemas: settings.into_generator(), paths: Map::new(), names: OperationNames(HashMap::new()) }
    }

    /// A GET route. `name` is `resource.verb`; the first sentence of `about` is the summary, the rest the description.
    pub(crate) fn get<H, T>(self, path: &'static str, name: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<T>,
        T: 'static,
    {
        self.add(&Method::GET, MethodFilter::GET, path, name, about, handler)
    }

    /// A POST route.
    pub(crate) fn post<H, T>(self, path: &'static str, name: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<T>,
        T: 'static,
    {
        self.add(&Method::POST, MethodFilter::POST, path, name, about, handler)
    }

    /// A PATCH route.
    pub(crate) fn patch<H, T>(self, path: &'static str, name: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<T>,
        T: 'static,
    {
        self.add(&Method::PATCH, MethodFilter::PATCH, path, name, about, handler)
    }

    /// A PUT route.
    pub(crate) fn put<H, T>(self, path: &'static str, name: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<T>,
        T: 'static,
    {
        self.add(&Method::PUT, MethodFilter::PUT, path, name, about, handler)
    }

    /// A DELETE route.
    pub(crate) fn delete<H, T>(self, path: &'static str, name: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<T>,
        T: 'static,
    {
        self.add(&Method::DELETE, MethodFilter::DELETE, path, name, about, handler)
    }

    /// A route that takes any method, with a slash at its end or without; described as POST, which is what is mostly sent to it.
    pub(crate) fn any<H, T>(mut self, path: &'static str, name: &'static str, about: &'static str, handler: H) -> Self
    where
        H: Handler<T, Api> + Described<T>,
        T: 'static,
    {
        self.describe::<H, T>(&Method::POST, path, name, about);
        if !path.contains("{*") {
            let slashed = format!("{path}/");
            self.router = self.router.route(&slashed, any(handler.clone()));
            self.names.0.insert(slashed, vec![(Method::POST, name)]);
        }
        self.router = self.router.route(path, any(handler));
        self
    }

    /// The router, its names and its document.
    pub(crate) fn finish(mut self) -> (Router<Api>, OperationNames, Value) {
        let problem = self.schemas.subschema_for::<ProblemDocument>();
        let document = json!({
            "openapi": "3.1.0",
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
            "info": {
                "title": "Throughline",
                "version": env!("CARGO_PKG_VERSION"),
                "description": description(),
                "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"},
            },
            "servers": [{"url": "/"}],
            "tags": tags(),
            "paths": self.paths,
            "components": {
                "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key, `tl_…`."}},
                "responses": {
                    "Problem": {"description": "What went wrong.", "content": {"application/problem+json": {"schema": problem}}},
                },
                "schemas": self.schemas.take_definitions(true),
            },
        });
        (self.router, self.names, document)
    }

    fn add<H, T>(
        mut self,
        method: &Method,
        filter: MethodFilter,
        path: &'static str,
        name: &'static str,
        about: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Api> + Described<T>,
        T: 'static,
    {
        self.describe::<H, T>(method, path, name, about);
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    fn describe<H: Described<T>, T>(&mut self, method: &Method, path: &'static str, name: &'static str, about: &'static str) {
        let (summary, description) = about.split_once(". ").unwrap_or((about.trim_end_matches('.'), ""));
        let mut operation = Operation { schemas: &mut self.schemas, fields: Map::new() };
        operation.fields.insert("operationId".to_owned(), name.into());
        operation.fields.insert("tags".to_owned(), json!([name.split('.').next().unwrap_or(name)]));
        operation.fields.insert("summary".to_owned(), summary.into());
        if !description.is_empty() {
            operation.fields.insert("description".to_owned(), description.into());
        }
        H::describe(&mut operation);
        if *method == Method::POST && path.starts_with("/v1/") && !crate::idempotency::SHOWING_SECRETS.contains(&path) {
            describe_idempotency(&mut operation);
        }
        let fields = Value::Object(operation.fields);
        let documented = path.replace("{*", "{");
        let at_path = self.paths.entry(documented).or_insert_with(|| json!({}));
        at_path[method.as_str().to_ascii_lowercase()] = fields;
        self.names.0.entry(path.to_owned()).or_default().push((method.clone(), name));
    }
}

fn describe_idempotency(operation: &mut Operation<'_>) {
    let about = "The same key and body get the first answer again (with `Idempotency-Replayed: true`) and nothing is done twice.";
    operation.parameter("header", "Idempotency-Key", false, about, json!({"type": "string", "minLength": 1, "maxLength": 255}));
    operation.problem(Code::IdempotencyRunning);
    operation.problem(Code::IdempotencyMismatch);
}

fn description() -> String {
    let mut text = String::from(
        "JSON, snake_case, RFC 3339 times in UTC, prefixed sortable ids. Errors are RFC 9457 `application/problem+json`. Lists take \
         `cursor` and `limit` and answer `items` and `next`. `ETag` is the version: PATCH and DELETE want it back in `If-Match`. POST \
         takes an `Idempotency-Key`. Send the API key as `Authorization: Bearer tl_…`.\n\nProblem types:\n",
    );
    for code in Code::ALL {
        text.push_str(&format!("\n- `{TYPE_PREFIX}{}` ({}): {}", code.slug(), code.status().as_u16(), code.title()));
    }
    text
}

fn tags() -> Value {
    let tags = [
        ("plugins", "Installed connectors."),
        ("connections", "Plugins configured for one real system each."),
        ("plans", "Large runs, shown before they are done: approved by hash, or cancelled."),
        ("oauth", "Where a browser comes back to from a silo's consent page."),
        ("hooks", "Where silos post to. No API key: the plugin checks the sender's signature."),
        ("profiles", "People, and what belongs to them."),
        ("lookup", "Who is calling? For IVRs and screen pops."),
        ("enquiries", "What customers want, over all channels."),
        ("conversations", "Threads on one channel, and sending on them."),
        ("operations", "Dead letters, decisions, conflicts, audit."),
        ("policies", "What admins set of the rules, and what it would change."),
        ("events", "The change log as server-sent CloudEvents."),
        ("api_keys", "Keys and their scopes."),
        ("web_keys", "Keys by which websites sign what they say of their visitors."),
        ("blobs", "Files that came with messages."),
        ("system", "Health, metrics, documentation."),
    ];
    tags.iter().map(|(name, description)| json!({"name": name, "description": description})).collect()
}
