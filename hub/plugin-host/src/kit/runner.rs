//! Runs all checks on one plugin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::checks::{self, Check};
use super::context::Context;
use super::logs::Logs;
use super::plan::Plan;
use super::report::{Line, Outcome, Report};
use super::rig::Rig;
use super::{KitError, manifest_of};
use crate::options::Limits;

/// A check that takes longer does not end.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is tested.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The component.
    pub component: Vec<u8>,
    /// The folder with `kit.json`; the plugin's README lies beside it.
    pub kit: PathBuf,
    /// Where compiled code is kept.
    pub cache: PathBuf,
    /// What is logged in this process, if somebody collects it.
    pub logs: Option<Logs>,
}

/// Runs the conformance checks. `each` is told of every check as it ends.
pub async fn test(subject: Subject, mut each: impl FnMut(&Line)) -> Result<Report, KitError> {
    let Subject { component, kit, cache, logs } = subject;
    let plan = Plan::load(&kit)?;
    let declared = manifest_of(&component)?;
    let rig = Rig::open(component, cache, Limits { grace: Duration::from_secs(2), ..Limits::default() }).await?;
    let context = Context::new(Arc::new(rig), plan).await?;
    must_fit(&context)?;
    let readme = kit.parent().unwrap_or(Path::new(".")).join("README.md");
    let extra = checks::Extra { readme, declared, logs };
    let mut lines = Vec::new();
    for check in checks::all() {
        context.reset();
        let outcome = run(check, &context, &extra).await;
        let line = Line { check: check.name.to_owned(), outcome };
        each(&line);
        lines.push(line);
    }
    let (manifest, usage) = (&context.rig.plugin().manifest, &context.rig.usage);
    Ok(Report {
        plugin: manifest.name.clone(),
        version: manifest.version.clone(),
        checks: lines,
        peak_memory_bytes: usage.peak_memory(),
        cpu_ms: u64::try_from(usage.cpu().as_millis()).unwrap_or(u64::MAX),
        calls: usage.calls(),
    })
}

/// A kit for another plugin, or one that leaves out what there is not, tests something else than it says.
fn must_fit(context: &Context) -> Result<(), KitError> {
    let wrong = |detail: String| KitError::Kit { file: "kit.json".to_owned(), detail };
    let (plan, name) = (&context.plan, &context.rig.plugin().manifest.name);
    if plan.plugin != *name {
        return Err(wrong(format!("it is the kit of {:?}, the component is {name:?}", plan.plugin)));
    }
    for (check, reason) in &plan.skip {
        if checks::all().all(|known| known.name != check) {
            return Err(wrong(format!("skip names {check:?}, but there is no such check")));
        }
        if reason.trim().len() < 10 {
            return Err(wrong(format!("skip of {check:?} needs a reason in words")));
        }
    }
    Ok(())
}

async fn run(check: &Check, context: &Context, extra: &checks::Extra) -> Outcome {
    if let Some(reason) = context.plan.skip.get(check.name) {
        return Outcome::Skipped(reason.clone());
    }
    if let Some(reason) = check.needs.iter().find_map(|need| need.missing(context)) {
        return Outcome::NotApplicable(reason);
    }
    match tokio::time::timeout(PATIENCE, (check.run)(context, extra)).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(reason)) => Outcome::Failed(reason),
        Err(_) => Outcome::Failed(format!("it did not end within {} s", PATIENCE.as_secs())),
    }
}
