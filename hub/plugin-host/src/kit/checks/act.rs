//! Actions: the same order under the same key has one effect, whatever happens on the way; another key is another order.

use serde_json::{Value, json};
use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use super::channel::arrived;
use super::{Check, Extra, Need, Verdict, must_fail, wanted};
use crate::kit::context::Context;
use crate::kit::plan::ActPlan;
use crate::kit::silo::http::Fault;

const ACTIONS: &[Need] = &[Need::Actions];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "act/same-key-one-effect", needs: ACTIONS, run: same_key },
    Check { name: "act/other-key-other-effect", needs: ACTIONS, run: other_key },
    Check { name: "act/lost-response-then-retry-one-effect", needs: ACTIONS, run: lost_response },
    Check { name: "act/unknown-action", needs: &[Need::Channel], run: unknown_action },
];

const KEY: &str = "the-key-of-this-order";
const OTHER_KEY: &str = "the-key-of-another-order";

fn plan(context: &Context) -> Result<&ActPlan, String> {
    wanted(context.plan.act.as_ref(), "act", "the manifest declares actions")
}

/// Acts over a fresh connection: what an earlier instance knew is gone.
async fn act(context: &Context, action: &str, input: &Value, key: &str) -> Result<Result<Value, ConnectorError>, String> {
    let connected = context.connect()?;
    let acted = context.witness(connected.connector.act(action, input, key).await);
    connected.connector.stop().await;
    Ok(acted.map(|called| {
        connected.desk.commit(called.state);
        called.value
    }))
}

async fn order(context: &Context, key: &str) -> Result<Result<Value, ConnectorError>, String> {
    let plan = plan(context)?;
    act(context, &plan.action, &context.placed(&plan.input), key).await
}

async fn done(context: &Context, what: &str, key: &str) -> Result<Value, String> {
    order(context, key).await?.map_err(|error| format!("{what}: {error}"))
}

/// The verdict on how many effects there are at the silos now.
fn effects(context: &Context, before: usize, expected: usize, what: &str) -> Verdict {
    let effects = arrived(context).saturating_sub(before);
    if effects == expected { Ok(()) } else { Err(format!("{what}: {effects} effects at the silo, and not {expected}")) }
}

fn same_key<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let before = arrived(context);
        let first = done(context, "acting", KEY).await?;
        effects(context, before, 1, "acting once")?;
        let again = done(context, "acting again", KEY).await?;
        effects(context, before, 1, "acting twice under one key")?;
        if first == again { Ok(()) } else { Err(format!("the same key gave {first} and then {again}")) }
    })
}

fn other_key<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let before = arrived(context);
        done(context, "acting", KEY).await?;
        done(context, "acting under another key", OTHER_KEY).await?;
        effects(context, before, 2, "acting under two keys")
    })
}

/// The answer to each request is lost in turn. What took effect is never called "not done", and trying again adds nothing.
fn lost_response<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let silo = wanted(context.http.as_deref(), "http", "only an HTTP silo can lose the answer to a request")?;
        let before = silo.requests();
        done(context, "acting", KEY).await?;
        let requests = silo.requests() - before;
        if requests == 0 {
            return Err("the action makes no request to the HTTP silo, so no answer can be lost".to_owned());
        }
        for lost in 0..requests {
            context.reset();
            let what = format!("when the answer to request {} is lost", lost + 1);
            let before = arrived(context);
            silo.order(Fault::Lost, lost, 1);
            let first = order(context, KEY).await?;
            let took_effect = arrived(context) > before;
            match &first {
                Ok(_) if took_effect => {}
                Ok(_) => return Err(format!("{what}: it is called done, and nothing happened")),
                Err(_) if took_effect => {
                    must_fail(&format!("{what}, although it took effect"), &first, &[ErrorClass::Ambiguous])?;
                }
                Err(_) => must_fail(&what, &first, &[ErrorClass::Transient, ErrorClass::Ambiguous])?,
            }
            silo.behave();
            done(context, &format!("{what}, trying again"), KEY).await?;
            effects(context, before, 1, &format!("{what}, trying again"))?;
        }
        Ok(())
    })
}

fn unknown_action<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let acted = act(context, "no-such-action", &json!({}), KEY).await?;
        must_fail("an action there is not", &acted, &[ErrorClass::Unsupported, ErrorClass::InvalidRecord, ErrorClass::Config])
    })
}
