//! One connection's connector: hands calls to the task that owns the instance, starts it when needed, ends it cleanly.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use throughline_domain::connector::{BoxFuture, Called, Connector, InstalledPlugin, Secret};
use throughline_schemas::connector::{
    CheckReport, ConnectorError, ErrorClass, Found, HttpRequest, HttpResponse, Item, Op, OutboundMessage, Outcome, Page, Written,
};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::call::{Answer, Call, bug, cancelled};
use crate::connection::Connection;
use crate::instance::{Live, Program};
use crate::oauth;

type Ending = Result<Called<Answer>, ConnectorError>;

/// A call with the place for its answer. When nobody waits for the answer any more, the instance is thrown away.
struct Job {
    call: Call,
    reply: oneshot::Sender<Ending>,
}

/// Calls waiting for the instance; more wait in their callers.
const QUEUE: usize = 16;

/// What the tasks of one connector have in common.
#[derive(Clone)]
struct Shared {
    program: Arc<Program>,
    connection: Arc<Connection>,
    slots: Arc<Semaphore>,
    cancel: watch::Receiver<bool>,
}

/// The connector of one open connection.
pub(crate) struct Running {
    program: Arc<Program>,
    connection: Arc<Connection>,
    slots: Arc<Semaphore>,
    runtime: Handle,
    roles: Mutex<Roles>,
}

/// What an instance is kept for. Each role has an instance of its own, so that its calls wait for each other and for no others:
/// a silo that posts a webhook while it answers our write must not wait for that very write, and a long walk holds up nothing else.
#[derive(Debug, Clone, Copy)]
enum Role {
    Reading,
    Writing,
    Hooks,
}

const ROLES: usize = 3;

impl Role {
    const fn of(call: &Call) -> Self {
        match call {
            Call::Webhook { .. } | Call::WebhookEnsure { .. } | Call::WebhookList | Call::WebhookRemove => Self::Hooks,
            Call::Write { .. } | Call::Send { .. } | Call::Act { .. } => Self::Writing,
            _ => Self::Reading,
        }
    }
}

/// The task that owns a role's instance, and the way to hand it jobs.
type Worker = (mpsc::Sender<Job>, JoinHandle<()>);

/// The tasks that run now. `stop` takes them and leaves fresh ones to be started.
struct Roles {
    cancel: watch::Sender<bool>,
    calls: [Option<Worker>; ROLES],
    listener: Option<JoinHandle<()>>,
    stopping: bool,
}

impl Roles {
    fn new() -> Self {
        Self { cancel: watch::Sender::new(false), calls: [const { None }; ROLES], listener: None, stopping: false }
    }
}

impl Running {
    pub(crate) fn new(program: Arc<Program>, connection: Arc<Connection>, slots: Arc<Semaphore>, runtime: Handle) -> Self {
        Self { program, connection, slots, runtime, roles: Mutex::new(Roles::new()) }
    }

    fn roles(&self) -> std::sync::MutexGuard<'_, Roles> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self, roles: &Roles) -> Shared {
        Shared {
            program: self.program.clone(),
            connection: self.connection.clone(),
            slots: self.slots.clone(),
            cancel: roles.cancel.subscribe(),
        }
    }

    /// The queue of the task that makes a role's calls; the task is started if there is none.
    fn queue(&self, role: Role) -> Result<mpsc::Sender<Job>, ConnectorError> {
        let mut roles = self.roles();
        if roles.stopping {
            return Err(cancelled());
        }
        if let Some((queue, _)) = roles.calls[role as usize].as_ref().filter(|(queue, _)| !queue.is_closed()) {
            return Ok(queue.clone());
        }
        let (queue, jobs) = mpsc::channel(QUEUE);
        let task = self.runtime.spawn(serve(self.shared(&roles), jobs));
        roles.calls[role as usize] = Some((queue.clone(), task));
        Ok(queue)
    }

    async fn call(&self, call: Call) -> Ending {
        let (reply, ending) = oneshot::channel();
        self.queue(Role::of(&call))?.send(Job { call, reply }).await.map_err(|_| cancelled())?;
        ending.await.unwrap_or_else(|_| Err(self.lost()))
    }

    async fn value(&self, call: Call) -> Result<Answer, ConnectorError> {
        self.call(call).await.map(|called| called.value)
    }

    // The task went without an answer: stopped, or it panicked, which is our fault but must not be more than this call's end.
    fn lost(&self) -> ConnectorError {
        let roles = self.roles();
        if roles.stopping || *roles.cancel.borrow() || roles.calls.iter().all(Option::is_none) {
            return cancelled();
        }
        bug("the instance ended without an answer")
    }

    async fn run_listener(&self, checkpoint: Option<Value>) -> Result<(), ConnectorError> {
        let ending = {
            let mut roles = self.roles();
            if roles.stopping {
                return Err(cancelled());
            }
            if roles.listener.as_ref().is_some_and(|task| !task.is_finished()) {
                return Err(ConnectorError::new(ErrorClass::Conflict, "the connection is listening already"));
            }
            let (reply, ending) = oneshot::channel();
            let call = Call::Listen { checkpoint: checkpoint.map(|checkpoint| checkpoint.to_string()) };
            let shared = self.shared(&roles);
            roles.listener = Some(self.runtime.spawn(async move {
                run_job(&shared, &mut None, Job { call, reply }).await;
            }));
            ending
        };
        ending.await.unwrap_or_else(|_| Err(cancelled())).map(drop)
    }

    async fn end_tasks(&self) {
        let tasks: Vec<JoinHandle<()>> = {
            let mut roles = self.roles();
            roles.stopping = true;
            // `send_replace` and not `send`: it is to hold for tasks that look later as well.
            roles.cancel.send_replace(true);
            let workers = std::mem::take(&mut roles.calls).into_iter().flatten().map(|(_, task)| task);
            workers.collect::<Vec<_>>().into_iter().chain(roles.listener.take()).collect()
        };
        let deadline = tokio::time::Instant::now() + self.connection.limits.grace;
        for mut task in tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                tracing::warn!(
                    connection = self.connection.id,
                    plugin = self.connection.plugin,
                    "the plugin did not end when told to: dropped"
                );
                task.abort();
                // An error says that it was aborted, which is what was wanted.
                drop(task.await);
            }
        }
        oauth::settled(&self.connection, self.connection.limits.grace).await;
        *self.roles() = Roles::new();
    }
}

/// The task that owns the instance for calls.
async fn serve(shared: Shared, mut jobs: mpsc::Receiver<Job>) {
    let mut live = None;
    let mut cancel = shared.cancel.clone();
    loop {
        let job = tokio::select! {
            biased;
            // An error means that the connector is gone.
            _ = cancel.wait_for(|cancelled| *cancelled) => break,
            job = jobs.recv() => job,
        };
        let Some(job) = job else { return };
        run_job(&shared, &mut live, job).await;
    }
    jobs.close();
    while let Some(job) = jobs.recv().await {
        // Whoever does not wait any more needs no answer.
        drop(job.reply.send(Err(cancelled())));
    }
}

/// Runs one job on the instance, which is started if there is none and left only if it can take another.
async fn run_job(shared: &Shared, slot: &mut Option<Live>, job: Job) {
    let Job { call, mut reply } = job;
    if reply.is_closed() {
        return;
    }
    let work = async {
        let mut live = match slot.take() {
            Some(live) => live,
            None => shared.program.start(shared.connection.clone(), shared.cancel.clone(), &shared.slots).await?,
        };
        let ended = live.run(&call).await;
        if ended.alive {
            *slot = Some(live);
        }
        ended.result
    };
    let result = tokio::select! {
        result = work => result,
        () = reply.closed() => {
            tracing::debug!(connection = shared.connection.id, call = call.name(), "nobody waits for the call any more: its instance is dropped");
            return;
        }
    };
    // Whoever does not wait any more needs no answer.
    drop(reply.send(result));
}

fn unexpected(call: &str) -> ConnectorError {
    bug(format!("{call} was answered with something else"))
}

macro_rules! expect_answer {
    ($answer:expr, $call:literal, $pattern:pat => $value:expr) => {
        match $answer {
            $pattern => Ok($value),
            _ => Err(unexpected($call)),
        }
    };
}

impl Connector for Running {
    fn plugin(&self) -> &InstalledPlugin {
        &self.program.plugin
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, ConnectorError>> {
        Box::pin(async { expect_answer!(self.value(Call::Check).await?, "check", Answer::Check(report) => report) })
    }

    fn options<'a>(&'a self, field: &'a str, query: &'a str) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        let call = Call::Options { field: field.to_owned(), query: query.to_owned() };
        Box::pin(async { expect_answer!(self.value(call).await?, "options", Answer::Json(value) => value) })
    }

    fn read<'a>(&'a self, entity: &'a str, cursor: Option<&'a Value>, want: u32) -> BoxFuture<'a, Result<Called<Page>, ConnectorError>> {
        let call = Call::Read { entity: entity.to_owned(), cursor: cursor.map(ToString::to_string), want };
        Box::pin(async {
            let Called { value, state } = self.call(call).await?;
            expect_answer!(value, "read", Answer::Page(page) => Called { value: page, state })
        })
    }

    fn get<'a>(&'a self, entity: &'a str, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Found>, ConnectorError>> {
        let call = Call::Get { entity: entity.to_owned(), keys: keys.to_vec() };
        Box::pin(async move {
            let found = expect_answer!(self.value(call).await?, "get", Answer::Found(found) => found)?;
            if found.len() == keys.len() { Ok(found) } else { Err(bug(format!("get answered {} keys of {}", found.len(), keys.len()))) }
        })
    }

    fn write<'a>(&'a self, entity: &'a str, ops: Vec<Op>) -> BoxFuture<'a, Result<Called<Vec<Outcome>>, ConnectorError>> {
        let call = Call::Write { entity: entity.to_owned(), ops };
        Box::pin(async {
            let Called { value, state } = self.call(call).await?;
            expect_answer!(value, "write", Answer::Outcomes(outcomes) => Called { value: outcomes, state })
        })
    }

    fn webhook(&self, request: HttpRequest) -> BoxFuture<'_, Result<Called<(HttpResponse, Vec<Item>)>, ConnectorError>> {
        Box::pin(async {
            let Called { value, state } = self.call(Call::Webhook { request }).await?;
            expect_answer!(value, "webhook", Answer::Webhook(response, items) => Called { value: (response, items), state })
        })
    }

    fn webhook_ensure<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        let call = Call::WebhookEnsure { url: url.to_owned() };
        Box::pin(async {
            let Called { value, state } = self.call(call).await?;
            expect_answer!(value, "webhook ensure", Answer::Json(value) => Called { value, state })
        })
    }

    fn webhook_list(&self) -> BoxFuture<'_, Result<Value, ConnectorError>> {
        Box::pin(async { expect_answer!(self.value(Call::WebhookList).await?, "webhook list", Answer::Json(value) => value) })
    }

    fn webhook_remove(&self) -> BoxFuture<'_, Result<Called<()>, ConnectorError>> {
        Box::pin(async {
            let Called { state, .. } = self.call(Call::WebhookRemove).await?;
            Ok(Called { value: (), state })
        })
    }

    fn listen(&self, checkpoint: Option<Value>) -> BoxFuture<'_, Result<(), ConnectorError>> {
        Box::pin(self.run_listener(checkpoint))
    }

    fn send<'a>(
        &'a self,
        message: &'a OutboundMessage,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Called<Written>, ConnectorError>> {
        Box::pin(async {
            let message = serde_json::to_string(message).map_err(|fault| bug(format!("the message is no JSON: {fault}")))?;
            let Called { value, state } = self.call(Call::Send { message, idempotency_key: idempotency_key.to_owned() }).await?;
            expect_answer!(value, "send", Answer::Written(written) => Called { value: written, state })
        })
    }

    fn act<'a>(
        &'a self,
        action: &'a str,
        input: &'a Value,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<Called<Value>, ConnectorError>> {
        let call = Call::Act { action: action.to_owned(), input: input.to_string(), idempotency_key: idempotency_key.to_owned() };
        Box::pin(async {
            let Called { value, state } = self.call(call).await?;
            expect_answer!(value, "act", Answer::Json(value) => Called { value, state })
        })
    }

    fn migrate<'a>(&'a self, what: &'a str, from_version: &'a str, value: &'a Value) -> BoxFuture<'a, Result<Value, ConnectorError>> {
        let call = Call::Migrate { what: what.to_owned(), from_version: from_version.to_owned(), value: value.to_string() };
        Box::pin(async { expect_answer!(self.value(call).await?, "migrate", Answer::Json(value) => value) })
    }

    fn oauth_url(&self, redirect_uri: &str, state: &str, challenge: &str) -> Result<String, ConnectorError> {
        oauth::authorize_url(&self.connection, redirect_uri, state, challenge)
    }

    fn oauth_connect(&self, code: Secret, verifier: Secret, redirect_uri: String) -> BoxFuture<'_, Result<(), ConnectorError>> {
        let work = oauth::connect(self.connection.clone(), code, verifier, redirect_uri);
        // On the guests' runtime, where the connection's client lives; and it goes on should the browser go away.
        let task = self.runtime.spawn(work);
        Box::pin(async { task.await.unwrap_or_else(|_| Err(cancelled())) })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end_tasks())
    }
}
