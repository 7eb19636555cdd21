//! Reading: the same twice, in pages of any size, from any checkpoint on, while records change.

use serde_json::json;
use throughline_domain::connector::BoxFuture;
use throughline_schemas::connector::{ErrorClass, Found, ItemKind};

use super::{Check, Extra, Need, Verdict, must_fail, wanted};
use crate::kit::context::{Context, Union, difference, union};

const SOURCE: &[Need] = &[Need::Source];

pub(super) const CHECKS: &[Check] = &[
    Check { name: "read/twice-equal", needs: SOURCE, run: twice_equal },
    Check { name: "read/page-sizes-equal", needs: SOURCE, run: page_sizes },
    Check { name: "read/resume-from-every-checkpoint", needs: SOURCE, run: resume },
    Check { name: "read/ties-at-page-boundary", needs: SOURCE, run: ties },
    Check { name: "read/garbage-cursor", needs: SOURCE, run: garbage },
    Check { name: "read/records-changing-while-paged", needs: SOURCE, run: changing },
    Check { name: "read/unknown-entity", needs: SOURCE, run: unknown_entity },
    Check { name: "read/get", needs: SOURCE, run: get },
    Check { name: "read/merged-and-moved", needs: SOURCE, run: moved },
];

/// What a hub asks for by default.
const USUAL: u32 = 100;
const MOST: u32 = 100_000;

fn entities(context: &Context) -> Result<Vec<String>, String> {
    let entities = context.readable();
    if entities.is_empty() { Err("no entity is readable: name some in kit.json under \"read\"".to_owned()) } else { Ok(entities) }
}

/// All of an entity in usual pages; a kit with fewer records than this shows nothing.
async fn baseline(context: &Context, entity: &str) -> Result<Union, String> {
    let all = context.all(entity, USUAL).await?;
    let enough = all.len() >= 3;
    if enough { Ok(all) } else { Err(format!("{entity}: the kit's silo has {} records; at least 3 are needed", all.len())) }
}

fn twice_equal<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        for entity in entities(context)? {
            let connected = context.connect()?;
            let pages = context.walk(&connected, &entity, None, USUAL).await.map_err(|error| format!("reading {entity}: {error}"))?;
            let first = union(&pages);
            difference(&baseline(context, &entity).await?, &first).map_err(|text| format!("{entity}, a second time: {text}"))?;
            // From the last checkpoint on there is nothing new: what comes again may only be what is known.
            let checkpoint = pages.last().map(|page| page.checkpoint.clone());
            let more =
                context.walk(&connected, &entity, checkpoint, USUAL).await.map_err(|error| format!("going on with {entity}: {error}"))?;
            let mut both = first.clone();
            both.extend(union(&more));
            difference(&both, &first).map_err(|text| format!("{entity}, from its last checkpoint on: {text}"))?;
        }
        Ok(())
    })
}

async fn in_pages_of(context: &Context, entity: &str, wanted: &Union, sizes: impl Iterator<Item = u32>) -> Verdict {
    for size in sizes {
        let got = context.all(entity, size).await?;
        difference(&got, wanted).map_err(|text| format!("{entity} in pages of {size}: {text}"))?;
    }
    Ok(())
}

fn page_sizes<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        for entity in entities(context)? {
            let wanted = baseline(context, &entity).await?;
            in_pages_of(context, &entity, &wanted, [1, MOST].into_iter()).await?;
        }
        Ok(())
    })
}

fn resume<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        for entity in entities(context)? {
            let wanted = baseline(context, &entity).await?;
            let pages = context.walk(&context.connect()?, &entity, None, 1).await.map_err(|error| error.to_string())?;
            for (at, page) in pages.iter().enumerate() {
                let mut got = union(&pages[..=at]);
                let rest = context.walk(&context.connect()?, &entity, Some(page.checkpoint.clone()), 2).await;
                got.extend(union(&rest.map_err(|error| format!("{entity} from checkpoint {}: {error}", page.checkpoint))?));
                difference(&got, &wanted).map_err(|text| format!("{entity} from checkpoint {}: {text}", page.checkpoint))?;
            }
        }
        Ok(())
    })
}

fn ties<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        if context.http.as_ref().is_some_and(|silo| !silo.has_ties()) {
            return Err("no two records of the kit's silo have the same place in its order, so no page can end among them".to_owned());
        }
        for entity in entities(context)? {
            let wanted = baseline(context, &entity).await?;
            in_pages_of(context, &entity, &wanted, 2..=5).await?;
        }
        Ok(())
    })
}

fn garbage<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let connected = context.connect()?;
        for entity in entities(context)? {
            for cursor in [json!("garbage"), json!(42), json!([1, 2]), json!({ "this is": "no cursor" })] {
                let page = context.page(&connected, &entity, Some(&cursor), USUAL).await;
                must_fail(&format!("{entity} from the cursor {cursor}"), &page, &[ErrorClass::Config])?;
            }
        }
        Ok(())
    })
}

/// Whatever changes while it is read is there at the end of the walk after.
fn changing<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let silo = super::wanted(context.http.as_ref(), "http", "records that change need a silo that changes them")?;
        for entity in entities(context)? {
            for size in [1, 2, 3] {
                context.reset();
                baseline(context, &entity).await?;
                let connected = context.connect()?;
                silo.stir(6);
                let mut pages = context.walk(&connected, &entity, None, size).await.map_err(|error| error.to_string())?;
                let checkpoint = pages.last().map(|page| page.checkpoint.clone());
                silo.stir(0);
                pages.extend(context.walk(&connected, &entity, checkpoint, size).await.map_err(|error| error.to_string())?);
                let truth = context.all(&entity, USUAL).await?;
                difference(&union(&pages), &truth).map_err(|text| format!("{entity} in pages of {size}: {text}"))?;
            }
        }
        Ok(())
    })
}

fn unknown_entity<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let page = context.page(&context.connect()?, "no-such-entity", None, USUAL).await;
        must_fail("reading an entity there is not", &page, &[ErrorClass::Unsupported, ErrorClass::Config])
    })
}

fn get<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let connected = context.connect()?;
        for entity in entities(context)? {
            let all = baseline(context, &entity).await?;
            let mut keys: Vec<String> = all.keys().map(|(_, key)| key.clone()).take(3).collect();
            keys.push(format!("{}-is-no-key", keys[0]));
            let found = context.witness(connected.connector.get(&entity, &keys).await).map_err(|error| format!("{entity}: {error}"))?;
            for (key, found) in keys.iter().zip(&found).take(keys.len() - 1) {
                match found {
                    Found::Record(item) if Some(&item.data) == all.get(&(entity.clone(), key.clone())).map(|item| &item.data) => {}
                    other => return Err(format!("{entity} {key}: got {}", super::shortened(&format!("{other:?}")))),
                }
            }
            if found.last() != Some(&Found::Gone) {
                return Err(format!("{entity}: a key there is not: got {:?} and not Gone", found.last()));
            }
        }
        Ok(())
    })
}

/// A record that the silo has merged into another, or moved there: it is told as that, and whoever asks for it is sent on.
fn moved<'a>(context: &'a Context, _: &'a Extra) -> BoxFuture<'a, Verdict> {
    Box::pin(async move {
        let plan = wanted(context.plan.moved.as_ref(), "moved", "silos merge and move records")?;
        let connected = context.connect()?;
        let found = context.witness(connected.connector.get(&plan.entity, std::slice::from_ref(&plan.key)).await);
        let found = found.map_err(|error| format!("{} {}: {error}", plan.entity, plan.key))?;
        if found != [Found::MovedTo(plan.into.clone())] {
            return Err(format!("{} {}: got {found:?} and not that it is {} now", plan.entity, plan.key, plan.into));
        }
        let all = context.all(&plan.entity, USUAL).await?;
        match all.get(&(plan.entity.clone(), plan.key.clone())) {
            Some(item) if item.kind == ItemKind::Merged && item.data["into"] == plan.into.as_str() => Ok(()),
            other => Err(format!("{} {} is read as {other:?} and not as merged into {}", plan.entity, plan.key, plan.into)),
        }
    })
}
