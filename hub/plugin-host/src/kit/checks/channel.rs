//! Sending: the same message under the same key however often it is tried, refused for good what can never arrive, and told apart from
//! not sent what may have been.

use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::{ConnectorError, ErrorClass, OutboundMessage, Written};

use super::{Check, Extra, Need, Verdict, must_fail, wanted};
use crate::kit::context::Context;
use crate::kit::plan::SendPlan;
use crate::kit::silo::http::Fault;
use crate::kit::silo::tcp::Orders;

const MESSAGES: &[Need] = &[Need::Messages];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "send/delivered", needs: MESSAGES, run: delivered },
    Check { name: "send/same-key-same-message", needs: MESSAGES, run: same_key },
    Check { name: "send/invalid-recipient", needs: MESSAGES, run: invalid_recipient },
    Check { name: "send/lost-response", needs: MESSAGES, run: lost_response },
];

const KEY: &str = "the-key-of-this-message";

fn plan(context: &Context) -> Result<&SendPlan, String> {
    wanted(context.plan.send.as_ref(), "send", "the plugin sends messages")
}

/// Sends over a fresh connection: what an earlier instance knew is gone.
async fn send(context: &Context, message: &OutboundMessage) -> Result<Result<Written, ConnectorError>, String> {
    let connected = context.connect()?;
    let sent = context.witness(connected.connector.send(message, KEY).await);
    connected.connector.stop().await;
    Ok(sent.map(|called| {
        connected.desk.commit(called.state);
        called.value
    }))
}

async fn sent(context: &Context, what: &str) -> Result<Written, String> {
    send(context, &plan(context)?.message).await?.map_err(|error| format!("{what}: {error}"))
}

/// How many messages the silos have: whole payloads at TCP silos, records at an HTTP silo.
pub(super) fn arrived(context: &Context) -> usize {
    let over_tcp: usize = context.tcp.values().map(|silo| silo.payloads()).sum();
    over_tcp + context.http.as_ref().map_or(0, |silo| silo.records().len())
}

fn delivered<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let before = arrived(context);
        let written = sent(context, "sending").await?;
        if written.key.trim().is_empty() {
            return Err("it does not say under which key the silo has the message".to_owned());
        }
        match arrived(context) - before {
            1 => Ok(()),
            count => Err(format!("{count} messages arrived, and not one")),
        }
    })
}

fn same_key<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let first = sent(context, "sending").await?;
        let again = sent(context, "sending again").await?;
        let same = first.key == again.key;
        if same { Ok(()) } else { Err(format!("the same key made the message {:?} and then {:?}", first.key, again.key)) }
    })
}

fn invalid_recipient<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let before = arrived(context);
        let refused = send(context, &plan(context)?.refused).await?;
        // For good: a retry would be refused as well.
        must_fail("a recipient there is not", &refused, &[ErrorClass::InvalidRecord, ErrorClass::Gone])?;
        if arrived(context) == before { Ok(()) } else { Err("it was refused and delivered all the same".to_owned()) }
    })
}

/// The answer is lost at each place where it can be. What has arrived is never called "not sent", and a retry is the same message.
fn lost_response<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move { if context.tcp.is_empty() { lost_over_http(context).await } else { lost_over_tcp(context).await } })
}

const SAID_NOTHING: &str = "no silo of the kit was spoken to, so no answer can be lost";

async fn lost_over_tcp(context: &Context) -> Verdict {
    context.take_most_said();
    let whole = sent(context, "sending").await?;
    let length = context.take_most_said();
    if length == 0 {
        return Err(SAID_NOTHING.to_owned());
    }
    for at in 1..length {
        context.reset();
        context.order(&Orders { cut: Some(at), ..Orders::default() });
        let what = format!("when the silo is cut off after {at} bytes");
        retried(context, &what, &whole).await?;
    }
    Ok(())
}

async fn lost_over_http(context: &Context) -> Verdict {
    let silo = wanted(context.http.as_deref(), "http", "only a silo can show what was sent")?;
    let before = silo.requests();
    let whole = sent(context, "sending").await?;
    let requests = silo.requests() - before;
    if requests == 0 {
        return Err(SAID_NOTHING.to_owned());
    }
    for lost in 0..requests {
        context.reset();
        silo.order(Fault::Lost, lost, 1);
        retried(context, &format!("when the answer to request {} is lost", lost + 1), &whole).await?;
    }
    Ok(())
}

/// One disturbed attempt, and one after it that nothing disturbs.
async fn retried(context: &Context, what: &str, whole: &Written) -> Verdict {
    let before = arrived(context);
    let first = send(context, &plan(context)?.message).await?;
    let has_arrived = arrived(context) > before;
    match &first {
        Ok(_) if has_arrived => {}
        Ok(_) => return Err(format!("{what}: it is called sent, and nothing arrived")),
        Err(_) if has_arrived => must_fail(&format!("{what}, although the message arrived"), &first, &[ErrorClass::Ambiguous])?,
        Err(_) => must_fail(what, &first, &[ErrorClass::Transient, ErrorClass::Ambiguous])?,
    }
    context.order(&Orders::default());
    if let Some(silo) = &context.http {
        silo.behave();
    }
    let again = sent(context, &format!("{what}, trying again")).await?;
    if again.key == whole.key {
        Ok(())
    } else {
        Err(format!("{what}: trying again made another message: {:?} and not {:?}", again.key, whole.key))
    }
}
