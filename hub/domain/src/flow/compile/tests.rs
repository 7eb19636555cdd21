//! What is wrong with a flow is named with its place.

use super::*;
use serde_json::json;

fn errors(spec: Value) -> Vec<(String, String)> {
    let spec: FlowSpec = serde_json::from_value(spec).unwrap();
    Program::compile(&spec).map(|_| ()).unwrap_err().into_iter().map(|error| (error.pointer, error.detail)).collect()
}

fn flow(steps: Value) -> Value {
    json!({"trigger": {"change": ["enquiry.opened"]}, "steps": steps})
}

#[test]
fn everything_wrong_is_named_with_its_place() {
    let steps = json!([
        {"name": "a", "do": {"emit": {"type": "x", "data": {"order": "{{ enqiry.reason }}"}}}},
        {"name": "a", "do": {"wait": {"seconds": 0}}},
        {"name": "B", "do": {"branch": {"if": "1 ==", "then": [{"name": "c", "do": {"set_context": {"variables": {"v": {"value": "{{ 1 + }}"}}}}}]}}},
        {"name": "d", "do": {"for_each": {"in": "[1]", "as": "event", "at_most": 0, "steps": [
            {"name": "e", "do": {"write": {"to": "enquiry", "fields": {"colour": "red"}}}, "retry": {"attempts": 0}}]}}},
    ]);
    let found = errors(flow(steps));
    let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(
        pointers,
        [
            "/steps/0/do/emit/data/order",
            "/steps/1/name",
            "/steps/1/do/wait/seconds",
            "/steps/2/name",
            "/steps/2/do/branch/if",
            "/steps/2/do/branch/then/0/do/set_context/variables/v/value",
            "/steps/3/do/for_each/as",
            "/steps/3/do/for_each/at_most",
            "/steps/3/do/for_each/steps/0/retry",
            "/steps/3/do/for_each/steps/0/do/write/fields/colour",
        ]
    );
    assert!(found[0].1.starts_with("line 1, column 4: "), "{}", found[0].1);
}

#[test]
fn flows_are_bounded() {
    let many: Vec<Value> = (0..101).map(|index| json!({"name": format!("s{index}"), "do": {"wait": {"seconds": 1}}})).collect();
    assert_eq!(errors(flow(Value::from(many)))[0].0, "/steps");
    assert_eq!(errors(flow(json!([])))[0].0, "/steps");
    let mut nested = json!([{"name": "inner", "do": {"wait": {"seconds": 1}}}]);
    for depth in 0..5 {
        nested = json!([{"name": format!("n{depth}"), "do": {"branch": {"if": "true", "then": nested}}}]);
    }
    assert!(errors(flow(nested))[0].1.contains("nested"));
}
