//! Removes what is left of runs that ended too long ago, or that are more than a flow keeps.

use throughline_schemas::{FlowId, RunId};
use throughline_store::tables::{RunSteps, Runs, RunsByFlow, RunsDue, forget_rows, read, scan_rows};

use crate::error::Result;
use crate::hub::Hub;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// Besides its journal, a run's own rows weigh about so much.
const RUN_BYTES: u64 = 1_024;
const ROWS_AT_ONCE: usize = 200;

impl Hub {
    /// Applies each flow's history: the newest runs stay, up to its age and its bytes.
    pub(super) async fn sweep_runs(&self) -> Result<()> {
        for (id, flow) in self.all_flows()? {
            let history = match flow.published {
                Some(version) => self.flow_version_live(id, version)?.record.spec.history,
                None => flow.draft.history,
            };
            let oldest = self.now().plus_millis(-DAY_MS.saturating_mul(i64::from(history.days)));
            let (mut bytes, mut after) = (0, None);
            loop {
                let page = scan_rows::<RunsByFlow>(&self.inner.store, id.as_bytes(), after.as_deref(), ROWS_AT_ONCE)?;
                for (key, row) in &page.rows {
                    let (Some(run), Some(finished)) = (RunsByFlow::run(key), row.value.finished_at) else { continue };
                    bytes += row.value.bytes + RUN_BYTES;
                    if finished < oldest || bytes > u64::from(history.mebibytes) << 20 {
                        self.forget_run(id, run).await?;
                    }
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        Ok(())
    }

    /// Removes everything of a flow's runs.
    pub(super) async fn forget_runs_of(&self, flow: FlowId) -> Result<()> {
        loop {
            let page = scan_rows::<RunsByFlow>(&self.inner.store, flow.as_bytes(), None, ROWS_AT_ONCE)?;
            let runs: Vec<RunId> = page.rows.iter().filter_map(|(key, _)| RunsByFlow::run(key)).collect();
            if runs.is_empty() {
                return Ok(());
            }
            for run in runs {
                self.forget_run(flow, run).await?;
            }
        }
    }

    async fn forget_run(&self, flow: FlowId, id: RunId) -> Result<()> {
        forget_rows::<RunSteps>(&self.inner.store, id.as_bytes(), ROWS_AT_ONCE).await?;
        self.transact(|tx| {
            if let Some(run) = read::<Runs>(tx.store(), &id)? {
                tx.delete::<RunsDue>(&(run.value.due, id));
            }
            tx.delete::<Runs>(&id);
            tx.delete::<RunsByFlow>(&(flow, id));
            Ok(())
        })
        .await
    }
}
