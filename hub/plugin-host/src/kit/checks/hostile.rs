//! An environment that gives nothing away: no host, no memory, no time; and no secret must come out of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::ErrorClass;

use super::{Check, Extra, Need, Verdict, must_be_clean, must_fail};
use crate::kit::context::Context;
use crate::kit::rig::Connected;
use crate::kit::silo::http::Fault;
use crate::kit::silo::tcp::Orders;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "host/denied-host-is-a-clean-error", needs: &[], run: denied },
    Check { name: "host/memory-limit-contained", needs: &[], run: memory },
    Check { name: "host/time-limit-contained", needs: &[], run: time },
    Check { name: "host/canary-secret-nowhere", needs: &[Need::Secrets], run: canary },
];

fn denied<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let connected = context.connect_without_grants()?;
        must_fail("check without any grant", &context.check(&connected).await, &[ErrorClass::Permission])?;
        if context.rig.plugin().exports("listener") {
            let listened = context.witness(connected.connector.listen(None).await);
            must_fail("listen without any grant", &listened, &[ErrorClass::Permission])?;
        }
        Ok(())
    })
}

/// It dies of it as what it is, and others live on.
async fn contained(context: &Context, limited: Connected, word: &str) -> Verdict {
    let died = context.check(&limited).await;
    context.reset();
    must_fail("check beyond its limit", &died, &[ErrorClass::Bug])?;
    let text = died.err().map(|error| error.message).unwrap_or_default();
    if !text.contains(word) {
        return Err(format!("the error does not name the limit: {text}"));
    }
    let other = context.check(&context.connect()?).await;
    other.map(drop).map_err(|error| format!("another connection suffered too: {error}"))
}

fn memory<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let limited = context.connect_limited(|limits| limits.memory_mib = 1)?;
        contained(context, limited, "memory limit of 1 MiB").await
    })
}

fn time<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let limited = context.connect_limited(|limits| limits.call_cpu = Duration::ZERO)?;
        // What a guest has used is looked at when it gives way: at silos that say nothing it must.
        context.order(&Orders { silent: true, ..Orders::default() });
        if let Some(silo) = &context.http {
            silo.order(Fault::Silent, 0, usize::MAX);
        }
        contained(context, limited, "CPU time").await
    })
}

const MARK: &str = "the kit looks for secrets in what is logged";

/// Runs last: it looks through all that came out of every check, after a silo has told the plugin its own secrets.
fn canary<'a>(context: &'a Context, extra: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        provoke(context).await?;
        let mut places = vec![("an error, record, file or state", context.all_witnessed())];
        if let Some(logs) = &extra.logs {
            tracing::warn!("{MARK}");
            let text = logs.text();
            if !text.contains(MARK) {
                return Err("nothing is logged to where the kit looks, so it cannot tell".to_owned());
            }
            places.push(("the log", text));
        }
        for (name, secret) in &context.plan.secrets {
            let encoded = STANDARD.encode(secret);
            for (place, text) in &places {
                // The first and last characters of base64 depend on what stands before and after.
                if text.contains(secret.as_str()) || text.contains(encoded.trim_end_matches('=')) {
                    return Err(format!("the secret {name:?} turned up in {place}"));
                }
            }
        }
        Ok(())
    })
}

/// Has the silos answer with what they were sent, credentials and all.
async fn provoke(context: &Context) -> Verdict {
    context.play("echo");
    if let Some(silo) = &context.http {
        silo.order(Fault::Echo, 0, usize::MAX);
    }
    let connected = context.connect()?;
    must_be_clean("check at a silo that echoes", &context.check(&connected).await)?;
    if context.rig.plugin().exports("source") {
        for entity in context.readable() {
            must_be_clean("read at a silo that echoes", &context.walk(&connected, &entity, None, 10).await)?;
        }
    }
    if context.rig.plugin().exports("listener") {
        let listened = crate::kit::context::listen(context, &connected, None).await;
        must_be_clean("listen at a silo that echoes", &listened.unwrap_or(Ok(())))?;
    }
    provoke_writes(context, &connected).await
}

/// The same for what is written, sent, done and registered.
async fn provoke_writes(context: &Context, connected: &Connected) -> Verdict {
    let (plan, plugin, connector) = (&context.plan, context.rig.plugin(), &connected.connector);
    if let Some(write) = plan.write.as_ref().filter(|_| plugin.exports("sink")) {
        let written = connector.write(&write.entity, vec![super::write::create("op-echoed", &write.create)]).await;
        must_be_clean("write at a silo that echoes", &context.witness(written))?;
    }
    if let Some(send) = plan.send.as_ref().filter(|_| plugin.exports("channel")) {
        let sent = context.witness(connector.send(&send.message, "the-key-of-an-echo").await);
        must_be_clean("send at a silo that echoes", &sent)?;
    }
    if let Some(act) = plan.act.as_ref().filter(|_| plugin.exports("channel")) {
        let acted = context.witness(connector.act(&act.action, &context.placed(&act.input), "the-key-of-an-echo").await);
        must_be_clean("act at a silo that echoes", &acted)?;
    }
    if context.registers() && plugin.exports("webhook") {
        let ensured = context.witness(connector.webhook_ensure("https://hub.example.com/hooks/cnx_echo").await);
        must_be_clean("register at a silo that echoes", &ensured)?;
    }
    Ok(())
}
