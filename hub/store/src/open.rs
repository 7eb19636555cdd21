//! Opening a store: whose it is, whether it is whole, whether this program understands it. Refuses before it starts.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::sled_engine::database_file;
use crate::engine::{Durability, KvEngine, MemoryDisk, MemoryEngine, SledEngine, SledOptions, WriteBatch, get_one};
use crate::layout;
use crate::mark::{Mark, Marked, StoreId};
use crate::options::{Options, free_space_of};
use crate::port::{Sequence, StoreError};
use crate::queue::Queue;
use crate::sequencer::{Marking, Request, Sequencer};
use crate::status::{Reserve, Status};
use crate::store::Store;
use crate::watch::Head;

const LOCK: &str = "store.lock";
const MARK: &str = "store.mark";
const ENGINE: &str = "sled";

/// Where things are in a data folder.
pub(crate) struct Folder {
    pub(crate) lock: PathBuf,
    pub(crate) mark: PathBuf,
    pub(crate) engine: PathBuf,
}

impl Folder {
    pub(crate) fn of(dir: &Path) -> Self {
        Self { lock: dir.join(LOCK), mark: dir.join(MARK), engine: dir.join(ENGINE) }
    }
}

/// What an engine says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recovered {
    pub(crate) id: StoreId,
    pub(crate) head: Sequence,
}

impl Store {
    /// Opens the store in `dir`, or makes a new one there.
    ///
    /// # Errors
    /// `Locked` if another process has it; `Corrupt` if it is damaged or ends before what it had acknowledged; `Newer` if a newer program
    /// wrote it; `Io` if the file system refuses.
    pub fn open_sled(dir: &Path, options: Options) -> Result<Self, StoreError> {
        open_sled(dir, options, None, |engine| Arc::new(engine))
    }

    /// As [`open_sled`](Self::open_sled), with a durability of the caller's for the engine's file; for tests that hold it up.
    ///
    /// # Errors
    /// As [`open_sled`](Self::open_sled).
    #[doc(hidden)]
    pub fn open_sled_with(dir: &Path, options: Options, durability: Box<dyn Durability>) -> Result<Self, StoreError> {
        open_sled(dir, options, Some(durability), |engine| Arc::new(engine))
    }

    /// As [`open_sled`](Self::open_sled), with the engine wrapped by the caller; for benchmarks that count what reaches it.
    ///
    /// # Errors
    /// As [`open_sled`](Self::open_sled).
    #[doc(hidden)]
    pub fn open_sled_wrapped(dir: &Path, options: Options, wrap: impl FnOnce(SledEngine) -> Arc<dyn KvEngine>) -> Result<Self, StoreError> {
        open_sled(dir, options, None, wrap)
    }

    /// A new store in memory that nothing survives.
    ///
    /// # Errors
    /// If the sequencer cannot be started.
    pub fn in_memory(options: Options) -> Result<Self, StoreError> {
        // A disk that runs out can be played in memory too.
        let reserve = options.free_space.clone().map(|free_space| Reserve { free_space, bytes: options.reserve_bytes });
        start(Arc::new(MemoryEngine::new()), &options, Around { reserve, ..Around::default() })
    }

    /// The store on a pretended disk, for tests of what survives.
    ///
    /// # Errors
    /// As [`open_sled`](Self::open_sled).
    pub fn on_memory_disk(disk: &MemoryDisk, options: Options) -> Result<Self, StoreError> {
        start(Arc::new(MemoryEngine::on(disk)), &options, Around::default())
    }

    /// As [`on_memory_disk`](Self::on_memory_disk), but without a thread of its own: a commit is done when the call returns. For
    /// simulations, which must run the same way twice.
    ///
    /// # Errors
    /// As [`open_sled`](Self::open_sled).
    pub fn inline_on_memory_disk(disk: &MemoryDisk, options: Options) -> Result<Self, StoreError> {
        let engine: Arc<dyn KvEngine> = Arc::new(MemoryEngine::on(disk));
        let recovered = begin(engine.as_ref(), recover(engine.as_ref(), None)?)?;
        Ok(Self::start_inline(recovered.id, &options, |queue| sequencer(engine, queue, recovered, &options, Around::default(), None)))
    }
}

/// What only a store with files has.
#[derive(Default)]
struct Around {
    lock: Option<File>,
    marked: Option<(Mark, Marked)>,
    mark_path: Option<PathBuf>,
    reserve: Option<Reserve>,
}

fn open_sled(
    dir: &Path,
    options: Options,
    durability: Option<Box<dyn Durability>>,
    wrap: impl FnOnce(SledEngine) -> Arc<dyn KvEngine>,
) -> Result<Store, StoreError> {
    std::fs::create_dir_all(dir).map_err(|error| io_error(dir, &error))?;
    let folder = Folder::of(dir);
    let lock = locked(dir, &folder.lock)?;
    let marked = Mark::open(&folder.mark)?;
    if marked.is_some() && !database_file(&folder.engine).exists() {
        return Err(StoreError::Corrupt(format!("{} is gone", database_file(&folder.engine).display())));
    }
    let sled = SledOptions { cache_bytes: options.cache_bytes };
    let engine = match durability {
        Some(durability) => SledEngine::open_with(&folder.engine, sled, |_| Ok(durability))?,
        None => SledEngine::open(&folder.engine, sled)?,
    };
    let free_space = options.free_space.clone().unwrap_or_else(|| free_space_of(dir));
    let reserve = Reserve { free_space, bytes: options.reserve_bytes };
    start(wrap(engine), &options, Around { lock: Some(lock), marked, mark_path: Some(folder.mark), reserve: Some(reserve) })
}

fn start(engine: Arc<dyn KvEngine>, options: &Options, around: Around) -> Result<Store, StoreError> {
    let recovered = recover(engine.as_ref(), around.marked.as_ref().map(|(_, marked)| *marked))?;
    let mark = match (around.marked, &around.mark_path) {
        (Some((mark, _)), _) => Some(mark),
        (None, Some(path)) => Some(Mark::create(path, recovered.id, recovered.head)?),
        (None, None) => None,
    };
    let recovered = begin(engine.as_ref(), recovered)?;
    let marking = mark.map(|mark| Marking { mark, every: options.mark_every });
    let around = Around { reserve: around.reserve, lock: around.lock, marked: None, mark_path: None };
    Store::start(recovered.id, options, |queue: Arc<Queue<Request>>| sequencer(engine, queue, recovered, options, around, marking))
}

fn sequencer(
    engine: Arc<dyn KvEngine>,
    queue: Arc<Queue<Request>>,
    recovered: Recovered,
    options: &Options,
    around: Around,
    marking: Option<Marking>,
) -> Sequencer {
    Sequencer {
        engine,
        queue,
        head: Arc::new(Head::new(recovered.head)),
        status: Arc::new(Status::with(around.reserve)),
        now_ms: Arc::clone(&options.now_ms),
        marking,
        lock: around.lock,
        taps: Vec::new(),
    }
}

/// Reads who the store is, makes it somebody if it is new, and holds it against its mark.
fn recover(engine: &dyn KvEngine, marked: Option<Marked>) -> Result<Recovered, StoreError> {
    let found = identify(engine)?;
    let recovered = match (found, marked) {
        (Some(found), Some(marked)) => agreed(found, marked)?,
        (Some(found), None) if found.head > 0 && is_on_disk(engine) => {
            return Err(StoreError::Corrupt(format!("{MARK} is gone, so that nobody can tell whether the store is whole")));
        }
        (Some(found), None) => found,
        (None, Some(_)) => return Err(StoreError::Corrupt("it is empty, yet commits were acknowledged".to_owned())),
        (None, None) => create(engine)?,
    };
    Ok(recovered)
}

/// Notes that the store is open, and makes durable what it holds: some of it may be in the page cache only, and readers of the log must
/// not see that before. If its last end was not orderly, versions of a batch that did not survive may have been read: they are
/// skipped, so that none of them is ever given to something else.
fn begin(engine: &dyn KvEngine, recovered: Recovered) -> Result<Recovered, StoreError> {
    let ended = get_one(engine, layout::CLEAN)?.map(|bytes| layout::number_in(&bytes, "the orderly end")).transpose()?;
    let mut head = recovered.head;
    let mut batch = WriteBatch::default();
    if ended == Some(head) {
        batch.delete(layout::CLEAN.to_vec());
    } else {
        head = head.saturating_add(layout::CRASH_GAP);
        batch.put(layout::HEAD.to_vec(), head.to_be_bytes().to_vec());
    }
    engine.apply(batch)?;
    engine.sync()?;
    Ok(Recovered { head, ..recovered })
}

/// Notes an orderly end at `head`.
pub(crate) fn end(engine: &dyn KvEngine, head: Sequence) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    batch.put(layout::CLEAN.to_vec(), head.to_be_bytes().to_vec());
    engine.apply(batch)?;
    Ok(engine.sync()?)
}

fn is_on_disk(engine: &dyn KvEngine) -> bool {
    engine.size_on_disk().is_ok_and(|bytes| bytes > 0)
}

/// What the engine says about itself; nothing if it is new.
pub(crate) fn identify(engine: &dyn KvEngine) -> Result<Option<Recovered>, StoreError> {
    let Some(format) = get_one(engine, layout::STORE_FORMAT)? else { return empty(engine) };
    let format = <[u8; 4]>::try_from(format.as_slice()).map(u32::from_be_bytes);
    match format {
        Ok(layout::FORMAT) => {}
        Ok(found) if found > layout::FORMAT => return Err(StoreError::Newer { found, known: layout::FORMAT }),
        Ok(_) | Err(_) => return Err(StoreError::Corrupt("its format is none that was ever written".to_owned())),
    }
    let id = get_one(engine, layout::STORE_ID)?.and_then(|id| StoreId::try_from(id).ok());
    let id = id.ok_or_else(|| StoreError::Corrupt("it has lost its name".to_owned()))?;
    let head = get_one(engine, layout::HEAD)?.ok_or_else(|| StoreError::Corrupt("it has lost its head".to_owned()))?;
    Ok(Some(Recovered { id, head: layout::number_in(&head, "the head")? }))
}

/// A store without a format is a new one, unless it holds something.
fn empty(engine: &dyn KvEngine) -> Result<Option<Recovered>, StoreError> {
    if engine.scan(&layout::everything_after(&[]), false, 1)?.entries.is_empty() {
        return Ok(None);
    }
    Err(StoreError::Corrupt("it has lost its format".to_owned()))
}

fn agreed(found: Recovered, marked: Marked) -> Result<Recovered, StoreError> {
    if found.id != marked.id {
        return Err(StoreError::Corrupt(format!("{MARK} belongs to another store")));
    }
    if found.head < marked.acknowledged {
        let Marked { acknowledged, .. } = marked;
        return Err(StoreError::Corrupt(format!("it ends at sequence {}, yet {acknowledged} was acknowledged", found.head)));
    }
    Ok(found)
}

fn create(engine: &dyn KvEngine) -> Result<Recovered, StoreError> {
    let mut id: StoreId = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| StoreError::Io(format!("no random bytes: {error}")))?;
    let mut batch = WriteBatch::default();
    batch.put(layout::STORE_FORMAT.to_vec(), layout::FORMAT.to_be_bytes().to_vec());
    batch.put(layout::STORE_ID.to_vec(), id.to_vec());
    batch.put(layout::HEAD.to_vec(), 0_u64.to_be_bytes().to_vec());
    batch.put(layout::CLEAN.to_vec(), 0_u64.to_be_bytes().to_vec());
    engine.apply(batch)?;
    // Before the mark is made: a mark without a store would be a store that was emptied.
    engine.sync()?;
    Ok(Recovered { id, head: 0 })
}

/// The lock is on a file of our own and taken before anything else is looked at.
fn locked(dir: &Path, path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(|error| io_error(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(dir.display().to_string())),
        Err(TryLockError::Error(error)) => Err(io_error(path, &error)),
    }
}

fn io_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}
