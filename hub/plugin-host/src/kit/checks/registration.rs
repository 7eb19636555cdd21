//! A plugin that tells its silo where to post: one registration of ours however often it is told, gone when we go, and nobody else's
//! touched.

use serde_json::Value;
use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::{ConnectorError, ErrorClass};

use super::{Check, Extra, HONEST, Need, Verdict, must_fail, wanted};
use crate::kit::context::Context;
use crate::kit::plan::RegistrationPlan;
use crate::kit::rig::Connected;
use crate::kit::silo::http::{Fault, HttpSilo};

const REGISTERS: &[Need] = &[Need::Webhook, Need::Registration];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "webhook/registration-declared", needs: &[Need::Webhook], run: declared },
    Check { name: "webhook/ensure-twice-one-hook", needs: REGISTERS, run: ensure_twice },
    Check { name: "webhook/ensure-at-another-address", needs: REGISTERS, run: moved },
    Check { name: "webhook/list-shows-it", needs: REGISTERS, run: list },
    Check { name: "webhook/remove", needs: REGISTERS, run: remove },
    Check { name: "webhook/registration-at-a-failing-silo", needs: REGISTERS, run: failing },
    Check { name: "webhook/ensure-lost-response-one-hook", needs: REGISTERS, run: lost_response },
];

const ALWAYS: usize = usize::MAX;
/// The hub's address of the connection, and the same after the hub has moved.
const OURS: &str = "https://hub.example.com/hooks/cnx_00000000000000000000000001";
const MOVED: &str = "https://elsewhere.example.org/base/hooks/cnx_00000000000000000000000001";

struct Bench<'c> {
    context: &'c Context,
    plan: &'c RegistrationPlan,
    silo: &'c HttpSilo,
    connected: Connected,
}

impl<'c> Bench<'c> {
    fn new(context: &'c Context) -> Result<Self, String> {
        let webhook = wanted(context.plan.webhook.as_ref(), "webhook", "the plugin takes webhook requests")?;
        let plan = wanted(webhook.registration.as_ref(), "webhook.registration", "the plugin registers its webhook")?;
        let silo = wanted(context.http.as_deref(), "http", "only an HTTP silo can show what is registered")?;
        let bench = Self { context, plan, silo, connected: context.connect()? };
        if bench.registered().is_empty() {
            return Err(format!("the kit's silo must have a registration of somebody else in {:?}", plan.collection));
        }
        Ok(bench)
    }

    /// The addresses registered at the silo, in order.
    fn registered(&self) -> Vec<String> {
        let records = self.silo.records().into_iter().filter(|(path, _)| *path == self.plan.collection);
        let address = |record: &Value| record.pointer(&self.plan.address_at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut addresses: Vec<String> = records.map(|(_, record)| address(&record)).collect();
        addresses.sort();
        addresses
    }

    async fn try_to_ensure(&self, url: &str) -> Result<Value, ConnectorError> {
        let called = self.context.witness(self.connected.connector.webhook_ensure(url).await)?;
        self.connected.desk.commit(called.state);
        Ok(called.value)
    }

    async fn ensure(&self, what: &str, url: &str) -> Result<Value, String> {
        self.try_to_ensure(url).await.map_err(|error| format!("{what}: {error}"))
    }

    async fn try_to_list(&self) -> Result<Value, ConnectorError> {
        self.context.witness(self.connected.connector.webhook_list().await)
    }

    /// Whether the plugin lists this address.
    async fn lists(&self, url: &str) -> Result<bool, String> {
        let listed = self.try_to_list().await.map_err(|error| format!("listing: {error}"))?;
        let entries = listed.as_array().ok_or_else(|| format!("it lists {listed}, which is no list"))?;
        Ok(entries.iter().any(|entry| entry["url"] == url))
    }

    async fn try_to_remove(&self) -> Result<(), ConnectorError> {
        let called = self.context.witness(self.connected.connector.webhook_remove().await)?;
        self.connected.desk.commit(called.state);
        Ok(())
    }

    async fn remove(&self, what: &str) -> Verdict {
        self.try_to_remove().await.map_err(|error| format!("{what}: {error}"))
    }

    /// The verdict on what is registered besides what was from the beginning.
    fn must_have(&self, what: &str, others: &[String], ours: &[&str]) -> Verdict {
        let mut expected: Vec<String> = others.to_vec();
        expected.extend(ours.iter().map(|url| (*url).to_owned()));
        expected.sort();
        let registered = self.registered();
        if registered == expected { Ok(()) } else { Err(format!("{what}: the silo has {registered:?} and not {expected:?}")) }
    }
}

/// A kit without a registration says that the plugin cannot register itself; then it must say so too.
fn declared<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        if context.registers() {
            return Ok(());
        }
        let connected = context.connect()?;
        let ensured = context.witness(connected.connector.webhook_ensure(OURS).await);
        must_fail("registering, of which kit.json says nothing under \"webhook.registration\"", &ensured, &[ErrorClass::Unsupported])
    })
}

fn ensure_twice<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let others = bench.registered();
        let first = bench.ensure("registering", OURS).await?;
        bench.must_have("registered once", &others, &[OURS])?;
        let again = bench.ensure("registering again", OURS).await?;
        bench.must_have("registered twice", &others, &[OURS])?;
        if first == again { Ok(()) } else { Err(format!("registering gave {first} and then {again}")) }
    })
}

/// A hub that moved has no use for what is posted to its old address.
fn moved<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let others = bench.registered();
        bench.ensure("registering", OURS).await?;
        bench.ensure("registering the hub's new address", MOVED).await?;
        bench.must_have("registered at a new address", &others, &[MOVED])
    })
}

fn list<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        if bench.lists(OURS).await? {
            return Err("it lists our registration before there is one".to_owned());
        }
        bench.ensure("registering", OURS).await?;
        if bench.lists(OURS).await? { Ok(()) } else { Err(format!("it does not list {OURS}, which is registered")) }
    })
}

fn remove<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let others = bench.registered();
        bench.remove("removing what was never registered").await?;
        bench.must_have("removed before anything was registered", &others, &[])?;
        bench.ensure("registering", OURS).await?;
        bench.remove("removing").await?;
        bench.must_have("removed", &others, &[])?;
        bench.remove("removing again").await?;
        bench.must_have("removed twice", &others, &[])?;
        bench.ensure("registering after that", OURS).await?;
        bench.must_have("registered anew", &others, &[OURS])
    })
}

/// What each fault must be called, whatever was asked.
const FAULTS: &[(Fault, &[ErrorClass])] = &[
    (Fault::Broken, &[ErrorClass::Transient]),
    (Fault::RateLimited(Some(7)), &[ErrorClass::RateLimited]),
    (Fault::Expired, &[ErrorClass::Auth]),
    (Fault::Forbidden, &[ErrorClass::Permission]),
    (Fault::LoginPage, HONEST),
];

fn failing<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let others = Bench::new(context)?.registered();
        for (fault, classes) in FAULTS {
            context.reset();
            let bench = Bench::new(context)?;
            bench.silo.order(*fault, 0, ALWAYS);
            must_fail(&format!("registering at {fault:?}"), &bench.try_to_ensure(OURS).await, classes)?;
            must_fail(&format!("listing at {fault:?}"), &bench.try_to_list().await, classes)?;
            bench.silo.behave();
            bench.ensure(&format!("registering after {fault:?}"), OURS).await?;
            bench.must_have(&format!("registered after {fault:?}"), &others, &[OURS])?;
            bench.silo.order(*fault, 0, ALWAYS);
            must_fail(&format!("removing at {fault:?}"), &bench.try_to_remove().await, classes)?;
            bench.silo.behave();
            bench.remove(&format!("removing after {fault:?}")).await?;
            bench.must_have(&format!("removed after {fault:?}"), &others, &[])?;
        }
        Ok(())
    })
}

/// The answer to each request is lost in turn: the next attempt finds what the first one made.
fn lost_response<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let others = bench.registered();
        let before = bench.silo.requests();
        bench.ensure("registering", OURS).await?;
        for lost in 0..bench.silo.requests() - before {
            context.reset();
            let bench = Bench::new(context)?;
            bench.silo.order(Fault::Lost, lost, 1);
            let what = format!("when the answer to request {} is lost", lost + 1);
            must_fail(&what, &bench.try_to_ensure(OURS).await, &[ErrorClass::Ambiguous, ErrorClass::Transient])?;
            bench.silo.behave();
            bench.ensure(&format!("{what}, trying again"), OURS).await?;
            bench.must_have(&format!("{what}, trying again"), &others, &[OURS])?;
        }
        Ok(())
    })
}
