pub struct X;
use throughline_plugin_sdk::*;
impl Connector for X { type Config = Value; fn check(_c: Value) -> Result<CheckReport> { let r = http::get("http://a").send()?; log::info("x"); Ok(CheckReport{account_id: r.status.to_string(), account_name: String::new(), missing_scopes: vec![], warnings: vec![], entities: vec![]}) } }
impl Source for X { fn read(_: Value, _: &str, _: Option<Value>, _: u32) -> Result<Page> { panic!("x") } fn get(_: Value, _: &str, _: Vec<String>) -> Result<Vec<Found>> { Ok(vec![]) } }
throughline_plugin_sdk::export!(X, manifest = "manifest.json", interfaces = [source]);
