//! What every check works with: the plugin in its host, the kit's silos, and the record of all that came out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use throughline_domain::connector::{Connector, Grants};
use throughline_schemas::connector::{CheckReport, ConnectorError, Item, Page};

use super::KitError;
use super::desk::Desk;
use super::plan::{Plan, placed};
use super::rig::{Connected, Rig, Settings};
use super::silo::http::{HttpSilo, Serving};
use super::silo::script::Protocol;
use super::silo::tcp::{Orders, TcpSilo, TcpSilos};
use crate::options::Limits;

/// Records by entity and key: what the hub would hold after a walk.
pub(crate) type Union = BTreeMap<(String, String), Item>;

/// A walk that takes more pages than this does not end.
const MOST_PAGES: usize = 2000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What checks work with.
pub(crate) struct Context {
    pub(crate) rig: Arc<Rig>,
    pub(crate) plan: Plan,
    pub(crate) http: Option<Arc<HttpSilo>>,
    pub(crate) tcp: TcpSilos,
    settings: Settings,
    /// Where the silos are.
    places: BTreeMap<String, String>,
    witnessed: Mutex<String>,
    desks: Mutex<Vec<Arc<Desk>>>,
    /// What came out of connections that are over.
    texts: Mutex<BTreeSet<String>>,
    _serving: Vec<Serving>,
}

impl Context {
    /// Starts the kit's silos.
    pub(crate) async fn new(rig: Arc<Rig>, plan: Plan) -> Result<Self, KitError> {
        let (mut serving, mut places) = (Vec::new(), BTreeMap::new());
        let mut http = None;
        if let Some(file) = &plan.http {
            let (silo, task) = HttpSilo::start(plan.script(file)?, &plan.secrets).await?;
            places.insert("http".to_owned(), format!("http://127.0.0.1:{}", silo.port));
            places.insert("http.port".to_owned(), silo.port.to_string());
            serving.push(task);
            http = Some(silo);
        }
        let mut tcp = TcpSilos::new();
        for (name, file) in &plan.tcp {
            let protocol = Protocol::new(plan.script(file)?, &plan.folder, &plan.secrets);
            let protocol = protocol.map_err(|detail| KitError::Kit { file: file.clone(), detail })?;
            let (silo, task) = TcpSilo::start(protocol).await?;
            places.insert(format!("{name}.port"), silo.port.to_string());
            serving.push(task);
            tcp.insert(name.clone(), silo);
        }
        let manifest = &rig.plugin().manifest;
        let config = placed(&plan.config, &places);
        let grants = plan.grants(&manifest.capabilities.hosts, &config);
        let settings = Settings { config, secrets: plan.secrets.clone(), grants };
        let (witnessed, desks, texts) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { rig, plan, http, tcp, settings, places, witnessed, desks, texts, _serving: serving })
    }

    /// Another one for the same plugin, with silos of its own: what is ordered of a silo holds for all its connections.
    pub(crate) async fn sibling(&self) -> Result<Self, String> {
        Self::new(self.rig.clone(), self.plan.clone()).await.map_err(|error| error.to_string())
    }

    /// Keeps what came out so far as text alone, the same text once.
    pub(crate) fn condense(&self) {
        let desks = std::mem::take(&mut *lock(&self.desks));
        let witnessed = std::mem::take(&mut *lock(&self.witnessed));
        let mut texts = lock(&self.texts);
        texts.extend(desks.iter().map(|desk| desk.text()));
        texts.extend(witnessed.lines().map(str::to_owned));
    }

    /// What came out of a sibling, as if it had come out here.
    pub(crate) fn absorb(&self, sibling: &Self) {
        sibling.condense();
        lock(&self.texts).append(&mut lock(&sibling.texts));
    }

    /// All silos as they were at the beginning.
    pub(crate) fn reset(&self) {
        if let Some(silo) = &self.http {
            silo.reset();
        }
        self.order(&Orders::default());
        self.tcp.values().for_each(|silo| silo.begin_anew());
    }

    /// What holds for the TCP silos from now on.
    pub(crate) fn order(&self, orders: &Orders) {
        self.tcp.values().for_each(|silo| silo.order(orders.clone()));
    }

    /// Has the TCP silos play a part; false if none can.
    pub(crate) fn play(&self, part: &str) -> bool {
        self.order(&Orders { part: Some(part.to_owned()), ..Orders::default() });
        self.tcp.values().any(|silo| silo.has_part(part))
    }

    pub(crate) fn config(&self) -> &Value {
        &self.settings.config
    }

    /// What a kit says with the silos' addresses in it.
    pub(crate) fn placed(&self, value: &Value) -> Value {
        placed(value, &self.places)
    }

    /// Whether the kit says where the plugin registers its webhook.
    pub(crate) fn registers(&self) -> bool {
        self.plan.webhook.as_ref().is_some_and(|webhook| webhook.registration.is_some())
    }

    fn remembered(&self, connected: Connected) -> Connected {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).push(connected.desk.clone());
        connected
    }

    /// A fresh connection to a hub that knows nothing.
    pub(crate) fn connect(&self) -> Result<Connected, String> {
        self.connect_to(Arc::default())
    }

    /// A fresh connection to a hub that has been connected before.
    pub(crate) fn connect_to(&self, desk: Arc<Desk>) -> Result<Connected, String> {
        self.rig.connect_to(&self.settings, desk).map(|connected| self.remembered(connected)).map_err(|error| error.to_string())
    }

    /// A connection whose secrets are all wrong.
    pub(crate) fn connect_as_stranger(&self) -> Result<Connected, String> {
        let secrets = self.settings.secrets.keys().map(|name| (name.clone(), "this-is-not-the-secret".to_owned())).collect();
        let settings = Settings { secrets, ..self.settings.clone() };
        self.rig.connect(&settings).map(|connected| self.remembered(connected)).map_err(|error| error.to_string())
    }

    /// A connection to which nothing is granted.
    pub(crate) fn connect_without_grants(&self) -> Result<Connected, String> {
        let settings = Settings { grants: Grants::default(), ..self.settings.clone() };
        self.rig.connect(&settings).map_err(|error| error.to_string())
    }

    /// A connection with other limits.
    pub(crate) fn connect_limited(&self, change: impl FnOnce(&mut Limits)) -> Result<Connected, String> {
        self.rig.connect_limited(&self.settings, change).map_err(|error| error.to_string())
    }

    /// Keeps what came out, for the search for secrets.
    pub(crate) fn witness<T: Debug>(&self, outcome: T) -> T {
        let mut witnessed = self.witnessed.lock().unwrap_or_else(PoisonError::into_inner);
        witnessed.push_str(&format!("{outcome:?}\n"));
        outcome
    }

    /// All that came out of the plugin so far, as text.
    pub(crate) fn all_witnessed(&self) -> String {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept: Vec<String> = desks.iter().map(|desk| desk.text()).collect();
        kept.extend(lock(&self.texts).iter().cloned());
        format!("{}{}", self.witnessed.lock().unwrap_or_else(PoisonError::into_inner), kept.join("\n"))
    }

    pub(crate) async fn check(&self, connected: &Connected) -> Result<CheckReport, ConnectorError> {
        self.tcp.values().for_each(|silo| silo.checking(true));
        let report = self.witness(connected.connector.check().await);
        self.tcp.values().for_each(|silo| silo.checking(false));
        report
    }

    /// The entities that are read.
    pub(crate) fn readable(&self) -> Vec<String> {
        let declared = || self.rig.plugin().manifest.entities.iter().filter(|entity| entity.readable).map(|entity| entity.name.clone());
        self.plan.read.clone().unwrap_or_else(|| declared().collect())
    }

    /// One page; the state it changed is committed.
    pub(crate) async fn page(
        &self,
        connected: &Connected,
        entity: &str,
        cursor: Option<&Value>,
        want: u32,
    ) -> Result<Page, ConnectorError> {
        let called = self.witness(connected.connector.read(entity, cursor, want).await)?;
        connected.desk.commit(called.state);
        Ok(called.value)
    }

    /// All pages of a walk.
    pub(crate) async fn walk(
        &self,
        connected: &Connected,
        entity: &str,
        cursor: Option<Value>,
        want: u32,
    ) -> Result<Vec<Page>, ConnectorError> {
        let (mut pages, mut cursor) = (Vec::new(), cursor);
        loop {
            let page = self.page(connected, entity, cursor.as_ref(), want).await?;
            cursor = page.next.clone();
            pages.push(page);
            if cursor.is_none() {
                return Ok(pages);
            }
            if pages.len() >= MOST_PAGES {
                return Err(crate::call::bug(format!("a walk over {entity} does not end: {MOST_PAGES} pages and more")));
            }
        }
    }

    /// What a fresh connection reads of an entity from the beginning.
    pub(crate) async fn all(&self, entity: &str, want: u32) -> Result<Union, String> {
        let pages = self.walk(&self.connect()?, entity, None, want).await.map_err(|error| format!("reading {entity}: {error}"))?;
        Ok(union(&pages))
    }
}

/// The newest of each record in these pages.
pub(crate) fn union(pages: &[Page]) -> Union {
    let items = pages.iter().flat_map(|page| &page.items);
    items.map(|item| ((item.entity.clone(), item.key.clone()), item.clone())).collect()
}

/// What differs between two unions, in a few words.
pub(crate) fn difference(got: &Union, wanted: &Union) -> Result<(), String> {
    let missing: Vec<&str> = wanted.keys().filter(|key| !got.contains_key(*key)).map(|(_, key)| key.as_str()).collect();
    let unwanted: Vec<&str> = got.keys().filter(|key| !wanted.contains_key(*key)).map(|(_, key)| key.as_str()).collect();
    let other: Vec<&str> =
        wanted.iter().filter(|(key, item)| got.get(*key).is_some_and(|got| got != *item)).map(|((_, key), _)| key.as_str()).collect();
    if missing.is_empty() && unwanted.is_empty() && other.is_empty() {
        return Ok(());
    }
    Err(format!("missing {missing:?}, unexpected {unwanted:?}, different {other:?}"))
}

/// How long a stream may be silent before it is taken to have said everything.
pub(crate) const QUIET: Duration = Duration::from_millis(700);

/// When all that is expected has come, this long may something more come.
const MORE: Duration = Duration::from_millis(30);

/// Listens until it has handed over `enough` records, its stream ends, or nothing more comes; returns how it ended, if it did by itself.
pub(crate) async fn listen(context: &Context, connected: &Connected, enough: Option<usize>) -> Option<Result<(), ConnectorError>> {
    let checkpoint = connected.desk.kept().checkpoint;
    let listening = connected.connector.listen(checkpoint);
    let mut listening = std::pin::pin!(listening);
    let has_enough = || enough.is_some_and(|enough| listened(&connected.desk).len() >= enough) && !context.ends_by_itself();
    let ended = loop {
        let quiet = if has_enough() { MORE } else { QUIET };
        tokio::select! {
            // First, so that there is a listener before it is told to stop.
            biased;
            ended = &mut listening => break Some(context.witness(ended)),
            () = connected.desk.news() => {}
            () = tokio::time::sleep(quiet) => break None,
        }
    };
    stop(&*connected.connector, listening, ended).await
}

async fn stop<F>(connector: &dyn Connector, listening: std::pin::Pin<&mut F>, ended: Option<F::Output>) -> Option<F::Output>
where
    F: Future,
{
    if ended.is_none() {
        // Whoever stops waits for what is stopped, or the listener's last words are lost.
        tokio::join!(connector.stop(), listening);
    }
    ended
}

/// What was emitted last of each record.
pub(crate) fn listened(desk: &Desk) -> Union {
    desk.kept().items.into_iter().map(|item| ((item.entity.clone(), item.key.clone()), item)).collect()
}

impl Context {
    /// Whether a TCP silo closes its stream when everything is said.
    pub(crate) fn ends_by_itself(&self) -> bool {
        self.tcp.values().any(|silo| silo.closes())
    }

    /// Bytes said on the connection that said most.
    pub(crate) fn take_most_said(&self) -> usize {
        self.tcp.values().map(|silo: &Arc<TcpSilo>| silo.take_most_said()).max().unwrap_or(0)
    }
}
