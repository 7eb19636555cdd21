//! Writing: one effect for each operation, whatever happens on the way.

use serde_json::{Map, Value, json};
use throughline_domain::connector::BoxFuture;
use throughline_domain::sync::normalise_value;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Found, Op, OpKind, Outcome, Written};
use throughline_schemas::manifest::Entity;

use super::{Check, Extra, Need, Verdict, must_fail, wanted};
use crate::kit::context::Context;
use crate::kit::plan::WritePlan;
use crate::kit::rig::Connected;
use crate::kit::silo::http::{Fault, HttpSilo};

const SINK: &[Need] = &[Need::Sink];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "write/same-twice-one-effect", needs: SINK, run: same_twice },
    Check { name: "write/partial-failure-per-item", needs: SINK, run: partial_failure },
    Check { name: "write/lost-response-then-retry-one-effect", needs: SINK, run: lost_response },
    Check { name: "write/version-honoured", needs: SINK, run: version_honoured },
    Check { name: "write/clear", needs: SINK, run: clear },
    Check { name: "write/normalisers", needs: SINK, run: normalisers },
    Check { name: "write/delete", needs: SINK, run: delete },
];

/// The plan, the silo and a connection of one check.
struct Bench<'c> {
    context: &'c Context,
    plan: &'c WritePlan,
    silo: &'c HttpSilo,
    connected: Connected,
}

impl<'c> Bench<'c> {
    fn new(context: &'c Context) -> Result<Self, String> {
        let plan = wanted(context.plan.write.as_ref(), "write", "the plugin writes")?;
        let silo = wanted(context.http.as_deref(), "http", "only an HTTP silo can show what was written")?;
        Ok(Self { context, plan, silo, connected: context.connect()? })
    }

    async fn write(&self, ops: Vec<Op>) -> Result<Vec<Outcome>, String> {
        let ids: Vec<String> = ops.iter().map(|op| op.id.clone()).collect();
        let called =
            self.context.witness(self.connected.connector.write(&self.plan.entity, ops).await).map_err(|error| error.to_string())?;
        self.connected.desk.commit(called.state);
        let answered: Vec<&String> = called.value.iter().map(|outcome| &outcome.op_id).collect();
        if answered.iter().copied().eq(ids.iter()) {
            Ok(called.value)
        } else {
            Err(format!("asked for {ids:?}, answered for {answered:?}"))
        }
    }

    async fn one(&self, op: Op) -> Result<Result<Written, ConnectorError>, String> {
        let outcome = self.write(vec![op]).await?.pop();
        outcome.map(|outcome| outcome.result).ok_or_else(|| "no outcome".to_owned())
    }

    async fn done(&self, what: &str, op: Op) -> Result<Written, String> {
        self.one(op).await?.map_err(|error| format!("{what}: {error}"))
    }

    /// The record that the kit says can be created.
    async fn created(&self) -> Result<Written, String> {
        self.done("creating", create("op-created", &self.plan.create)).await
    }

    fn count(&self) -> usize {
        self.silo.records().len()
    }

    fn grown_by(&self, before: usize, by: usize) -> Verdict {
        let grown = self.count().saturating_sub(before);
        if grown == by { Ok(()) } else { Err(format!("the silo has {grown} records more, and not {by}")) }
    }

    async fn read_back(&self, key: &str) -> Result<Found, String> {
        let keys = [key.to_owned()];
        let found = self.context.witness(self.connected.connector.get(&self.plan.entity, &keys).await);
        found.map_err(|error| format!("reading back: {error}"))?.pop().ok_or_else(|| "nothing was found".to_owned())
    }

    async fn record(&self, key: &str) -> Result<Value, String> {
        match self.read_back(key).await? {
            Found::Record(item) => Ok(item.data),
            other => Err(format!("what was written is not there: {other:?}")),
        }
    }

    /// The entity as the manifest or `check` declares it.
    async fn declared(&self) -> Result<Entity, String> {
        let report = self.context.check(&self.connected).await.map_err(|error| error.to_string())?;
        let manifest = &self.context.rig.plugin().manifest;
        let entity = report.entities.into_iter().chain(manifest.entities.iter().cloned()).find(|entity| entity.name == self.plan.entity);
        entity.ok_or_else(|| format!("neither the manifest nor check declares the entity {:?}", self.plan.entity))
    }
}

fn op(id: &str, kind: OpKind, key: Option<&str>, data: &Value) -> Op {
    Op {
        id: id.to_owned(),
        idempotency_key: format!("key-of-{id}"),
        kind,
        key: key.map(str::to_owned),
        expect_version: None,
        data: data.clone(),
        clear: Vec::new(),
    }
}

pub(super) fn create(id: &str, data: &Value) -> Op {
    op(id, OpKind::Create, None, data)
}

fn same_twice<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let before = bench.count();
        let first = bench.created().await?;
        let second = bench.created().await.map_err(|error| format!("the second time: {error}"))?;
        bench.grown_by(before, 1)?;
        if first.key != second.key {
            return Err(format!("the same create gave {:?} and then {:?}", first.key, second.key));
        }
        let update = || op("op-update", OpKind::Update, Some(&first.key), &bench.plan.update);
        bench.done("updating", update()).await?;
        let once = bench.record(&first.key).await?;
        bench.done("updating again", update()).await?;
        let twice = bench.record(&first.key).await?;
        if once == twice { bench.grown_by(before, 1) } else { Err(format!("the same update gave {once} and then {twice}")) }
    })
}

fn partial_failure<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let key = bench.created().await?.key;
        let before = bench.count();
        let outcomes = bench
            .write(vec![
                op("op-1", OpKind::Update, Some(&key), &bench.plan.update),
                create("op-2", &bench.plan.refused),
                op("op-3", OpKind::Update, Some(&key), &bench.plan.update),
            ])
            .await?;
        for (outcome, must_be_good) in outcomes.iter().zip([true, false, true]) {
            match &outcome.result {
                Ok(_) if must_be_good => {}
                Err(error) if must_be_good => return Err(format!("{}: {error}", outcome.op_id)),
                refused => must_fail("the record the silo refuses", refused, &[ErrorClass::InvalidRecord])?,
            }
        }
        bench.grown_by(before, 0)
    })
}

fn lost_response<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        // How many requests a create takes in all tells at which of them the answer can be lost.
        let before = bench.silo.requests();
        bench.created().await?;
        let requests = bench.silo.requests() - before;
        for lost in 0..requests {
            context.reset();
            let (bench, records) = (Bench::new(context)?, bench.count());
            bench.silo.order(Fault::Lost, lost, 1);
            let first = bench.one(create("op-lost", &bench.plan.create)).await?;
            if let Err(error) = &first {
                must_fail(
                    &format!("when the answer to request {} is lost", lost + 1),
                    &first,
                    &[ErrorClass::Ambiguous, ErrorClass::Transient],
                )
                .map_err(|text| format!("{text} ({error})"))?;
            }
            bench.silo.behave();
            bench.done("trying again", create("op-lost", &bench.plan.create)).await?;
            bench.grown_by(records, 1).map_err(|text| format!("after the answer to request {} was lost: {text}", lost + 1))?;
        }
        Ok(())
    })
}

fn version_honoured<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        if bench.declared().await?.writes.concurrency.is_none() {
            return Err("the entity declares no concurrency: declare it, or say in skip why lost updates cannot be prevented".to_owned());
        }
        let written = bench.created().await?;
        let before = bench.record(&written.key).await?;
        let stale = Op {
            expect_version: Some("1999-01-01T00:00:00.000Z".to_owned()),
            ..op("op-stale", OpKind::Update, Some(&written.key), &bench.plan.update)
        };
        must_fail("an update of a version that is no more", &bench.one(stale).await?, &[ErrorClass::Conflict])?;
        if bench.record(&written.key).await? != before {
            return Err("it was refused and took effect all the same".to_owned());
        }
        let version = written.version.ok_or("a create does not say which version it made")?;
        let fresh = Op { expect_version: Some(version), ..op("op-fresh", OpKind::Update, Some(&written.key), &bench.plan.update) };
        bench.done("an update of the version there is", fresh).await.map(drop)
    })
}

fn clear<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let field = &bench.plan.clear;
        let key = bench.created().await?.key;
        if is_empty(&bench.record(&key).await?[field]) {
            return Err(format!("the kit's record has nothing in {field:?} that could be emptied"));
        }
        let cleared = Op { clear: vec![field.clone()], ..op("op-clear", OpKind::Update, Some(&key), &json!({})) };
        bench.done("emptying", cleared).await?;
        let left = bench.record(&key).await?[field].clone();
        if !is_empty(&left) {
            return Err(format!("{field:?} still holds {left}"));
        }
        let held = bench.silo.records().into_iter().map(|(_, record)| record).find(|record| record["id"] == key.as_str());
        let held = held.and_then(|record| record.pointer(&bench.plan.cleared_at).cloned()).unwrap_or_default();
        if is_empty(&held) { Ok(()) } else { Err(format!("the silo still holds {held} at {}", bench.plan.cleared_at)) }
    })
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value == ""
}

/// What is declared of a field is what becomes of its value, and once is enough.
fn normalisers<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        let declared: Vec<(String, Vec<String>)> =
            bench.declared().await?.fields.into_iter().map(|(name, field)| (name, field.normalisers)).collect();
        let no_values = Map::new();
        let unnormal = bench.plan.unnormal.as_object().unwrap_or(&no_values);
        for (name, normalisers) in declared.iter().filter(|(_, normalisers)| !normalisers.is_empty()) {
            let value = wanted(unnormal.get(name), &format!("write.unnormal.{name}"), &format!("{name} is declared as {normalisers:?}"))?;
            let wanted = normalise_value(normalisers, value);
            if normalise_value(normalisers, &wanted) != wanted {
                return Err(format!("{name}: {normalisers:?} twice is not the same as once, for {value}"));
            }
            let key = bench.created().await?.key;
            for (round, value) in [value, &wanted].into_iter().enumerate() {
                bench.done(name, op(&format!("op-{name}-{round}"), OpKind::Update, Some(&key), &json!({ name: value }))).await?;
                let stored = bench.record(&key).await?[name].clone();
                if stored != wanted {
                    return Err(format!("{name}: {value} became {stored}, and {normalisers:?} say {wanted}"));
                }
            }
        }
        Ok(())
    })
}

fn delete<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let bench = Bench::new(context)?;
        if !bench.declared().await?.writes.delete {
            return Err("the entity does not declare that it can be deleted: say so in skip".to_owned());
        }
        let before = bench.count();
        let key = bench.created().await?.key;
        for what in ["deleting", "deleting again"] {
            let result = bench.one(op("op-delete", OpKind::Delete, Some(&key), &Value::Null)).await?;
            match result {
                Ok(_) => {}
                // A retry may be told that there is nothing left to delete.
                Err(error) if error.class == ErrorClass::Gone && what == "deleting again" => {}
                Err(error) => return Err(format!("{what}: {error}")),
            }
        }
        bench.grown_by(before, 0)?;
        match bench.read_back(&key).await? {
            Found::Gone => Ok(()),
            other => Err(format!("what was deleted is still found: {other:?}")),
        }
    })
}
