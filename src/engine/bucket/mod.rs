//! Objects in buckets: S3 and its kin, Google Cloud Storage, Azure, and folders in their place.
//!
//! A bucket has no locks and no transactions. What it has: an object is replaced at once, what was
//! written is read by everybody from then on, and a write may be bound to a condition: that there is
//! no such object (`Write::Create`), or that it is still the one that was read (`Write::Replace`).
//! What is built on that is written down in `docs/design.md`.

mod errors;
mod live;
mod open;
mod probe;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, UpdateVersion,
};

pub use errors::{Error, Problem};
pub use live::{leave_to_parent, settle};
pub use open::{Service, Settings};

use live::Live;

/// How many requests are under way at once, where many are to be made.
const AT_ONCE: usize = 32;

/// From this length on an object is sent in parts of this length, each of which may be sent again.
const PART: usize = 8 << 20;

/// Within this time of its write an object may be the one whose answer was lost.
const MOMENT: Duration = Duration::from_secs(600);

/// How many parts are under way at once.
const PARTS_AT_ONCE: usize = 4;

type Result<T> = std::result::Result<T, Error>;

/// What tells one state of an object from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub tag: Option<String>,
    pub number: Option<String>,
}

impl Version {
    fn of(meta: &ObjectMeta) -> Self {
        Self {
            tag: meta.e_tag.clone(),
            number: meta.version.clone(),
        }
    }
}

/// On what condition an object is written.
#[derive(Clone, Debug)]
pub enum Write {
    /// There is no such object.
    Create,
    /// It is still the one that was read.
    Replace(Version),
    /// In any case.
    Anyway,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    Done(Version),
    /// The condition does not hold.
    Refused,
}

/// An object that was read.
pub struct Object {
    /// Its bytes, in the pieces that they came in.
    pub pieces: Vec<Bytes>,
    pub length: usize,
    pub version: Version,
}

/// An object in a listing.
pub struct Listed {
    pub path: String,
    pub length: u64,
    /// Seconds since 1970, by the server's clock.
    pub changed: f64,
}

/// A bucket, or a part of it.
pub struct Bucket {
    settings: Settings,
    live: live::Slot,
}

impl Bucket {
    /// Nothing is asked for yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            live: live::Slot::default(),
        }
    }

    /// How it is named in messages.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// An object; `None` if there is none.
    pub fn get(&self, path: &str) -> Result<Option<Object>> {
        self.run("read", path, |store, moved| {
            let path = self.path(path);
            async move { read(&*store, &path, &moved).await }
        })
    }

    /// As `get`, of many.
    pub fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Object>>> {
        let read_one = async |store: Arc<dyn ObjectStore>, path: Path, moved: Arc<Moved>| {
            read(&*store, &path, &moved).await
        };
        self.many("read", paths, read_one)
    }

    /// When each of these objects was written, in seconds since 1970 by the server's clock; `None`
    /// for one that is not there.
    pub fn changed_many(&self, paths: &[String]) -> Result<Vec<Option<f64>>> {
        let look = async |store: Arc<dyn ObjectStore>, path: Path, moved: Arc<Moved>| {
            let found = head(&*store, &path).await;
            moved.note();
            Ok(found?.map(|meta| changed(&meta)))
        };
        self.many("look for", paths, look)
    }

    /// What tells the present state of an object; `None` if there is none.
    pub fn version(&self, path: &str) -> Result<Option<Version>> {
        self.run("look for", path, |store, _| {
            let path = self.path(path);
            async move {
                let found = head(&*store, &path).await?;
                Ok(found.as_ref().map(Version::of))
            }
        })
    }

    /// Writes an object, whole or not at all.
    pub fn put(&self, path: &str, bytes: &Bytes, how: &Write) -> Result<Written> {
        self.run("write", path, |store, moved| {
            let path = self.path(path);
            let (bytes, how) = (bytes.clone(), how.clone());
            async move { write(&store, &path, bytes, how, &moved).await }
        })
    }

    /// Removes an object, which may be absent.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.run("remove", path, |store, _| {
            let path = self.path(path);
            async move {
                match store.delete(&path).await {
                    Err(error) if !is_missing(&error) => Err(error),
                    _ => Ok(()),
                }
            }
        })
    }

    /// The objects whose names begin with `folder/`, in order; after the one named `after`, if any.
    pub fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<Listed>> {
        self.run("list", folder, |store, moved| {
            let (path, after) = (self.path(folder), after.map(|after| self.path(after)));
            let prefix = self.path("");
            async move {
                let mut found = match &after {
                    Some(after) => store.list_with_offset(Some(&path), after),
                    None => store.list(Some(&path)),
                };
                let mut listed = Vec::new();
                while let Some(meta) = found.next().await {
                    moved.note();
                    let meta = match meta {
                        Ok(meta) => meta,
                        Err(error) if is_missing(&error) => break,
                        Err(error) => return Err(error),
                    };
                    let name = meta.location.as_ref();
                    let name = name.strip_prefix(prefix.as_ref()).unwrap_or(name);
                    listed.push(Listed {
                        path: name.trim_start_matches('/').to_owned(),
                        length: meta.size,
                        changed: changed(&meta),
                    });
                }
                // Folders list in no order.
                listed.sort_by(|one, other| one.path.cmp(&other.path));
                Ok(listed)
            }
        })
    }

    /// Whether conditions on writes hold where several write at once; else in what they fail.
    pub fn probe(&self, folder: &str, nonce: &str) -> Result<Option<&'static str>> {
        self.run("try conditional writes in", folder, |store, _| {
            let path = self.path(&format!("{folder}/.probe-{nonce}"));
            async move { probe::lies(&store, &path).await }
        })
    }

    /// Forgets connections and credentials: the next request makes new ones.
    pub fn forget(&self) {
        self.live.forget();
    }

    fn path(&self, path: &str) -> Path {
        // What is looked for are digests and names of our own making.
        match self.settings.prefix.as_str() {
            "" => Path::from(path),
            prefix if path.is_empty() => Path::from(prefix),
            prefix => Path::from(format!("{prefix}/{path}")),
        }
    }

    /// The same for many objects, in their order.
    fn many<T, F>(
        &self,
        action: &'static str,
        paths: &[String],
        one: impl Fn(Arc<dyn ObjectStore>, Path, Arc<Moved>) -> F,
    ) -> Result<Vec<T>>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let Some(first) = paths.first() else {
            return Ok(Vec::new());
        };
        self.run(action, first, |store, moved| {
            let work = paths
                .iter()
                .map(|path| one(store.clone(), self.path(path), moved.clone()))
                .collect::<Vec<_>>();
            async move {
                let mut done = stream::iter(work).buffered(AT_ONCE);
                let mut all = Vec::new();
                while let Some(each) = done.next().await {
                    all.push(each?);
                }
                Ok(all)
            }
        })
    }

    /// Waits for what is to be done: until nothing moves for too long, or the user interrupts.
    fn run<T, F>(
        &self,
        action: &'static str,
        path: &str,
        work: impl FnOnce(Arc<dyn ObjectStore>, Arc<Moved>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let live: Arc<Live> = self
            .live
            .get(|| self.settings.open())
            .map_err(|problem| Error::of(action, self.name(), path, problem))?;
        let moved = Arc::new(Moved::default());
        let future = work(live.store.clone(), moved.clone());
        let timeout = self.settings.timeout;
        match live.wait(future, || moved.since() > timeout) {
            live::Outcome::Done(Ok(done)) => Ok(done),
            live::Outcome::Done(Err(error)) => {
                let problem = Problem::of(&error);
                Err(Error::of(action, self.name(), path, problem))
            }
            live::Outcome::TimedOut => {
                let problem = Problem::TimedOut(timeout);
                Err(Error::of(action, self.name(), path, problem))
            }
            live::Outcome::Interrupted => Err(Error::Interrupted),
        }
    }
}

/// When anything came from the server, or went there, last.
struct Moved {
    begun: Instant,
    last: AtomicU64,
}

impl Default for Moved {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            last: AtomicU64::new(0),
        }
    }
}

impl Moved {
    fn note(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    fn since(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(last)
    }
}

/// Whether an error says that there is no such object, though there is its bucket.
fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
        && !matches!(Problem::of(error), Problem::NoBucket)
}

/// Seconds since 1970, by the server's clock.
fn changed(meta: &ObjectMeta) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a date, in milliseconds")]
    let milliseconds = meta.last_modified.timestamp_millis() as f64;
    milliseconds / 1000.0
}

async fn head(store: &dyn ObjectStore, path: &Path) -> object_store::Result<Option<ObjectMeta>> {
    match store.head(path).await {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an object was written a moment ago, as far as the clocks agree.
fn is_of_now(meta: &ObjectMeta) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let ago = now.unwrap_or_default().as_secs_f64() - changed(meta);
    ago.abs() < MOMENT.as_secs_f64()
}

async fn read(
    store: &dyn ObjectStore,
    path: &Path,
    moved: &Moved,
) -> object_store::Result<Option<Object>> {
    let found = match store.get_opts(path, GetOptions::default()).await {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let version = Version::of(&found.meta);
    let stated = found.range.end - found.range.start;
    let mut stream = found.into_stream();
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        moved.note();
        length += piece.len();
        pieces.push(piece);
    }
    if length as u64 != stated {
        return Err(errors::cut(path, length, stated));
    }
    Ok(Some(Object {
        pieces,
        length,
        version,
    }))
}

async fn write(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: Bytes,
    how: Write,
    moved: &Moved,
) -> object_store::Result<Written> {
    if bytes.len() > PART {
        return write_parts(store, path, bytes, how, moved).await;
    }
    let payload = PutPayload::from_bytes(bytes.clone());
    match store.put_opts(path, payload, options(&how)).await {
        Ok(put) => Ok(Written::Done(Version {
            tag: put.e_tag,
            number: put.version,
        })),
        // A server, or a folder, that knows no conditions; who needs them has probed it.
        Err(error) if errors::is_unconditional(&error) && !matches!(how, Write::Anyway) => {
            let payload = PutPayload::from_bytes(bytes);
            let put = store.put_opts(path, payload, PutOptions::default()).await?;
            Ok(Written::Done(Version {
                tag: put.e_tag,
                number: put.version,
            }))
        }
        Err(
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. },
        ) => {
            moved.note();
            is_what_was_written(store, path, &bytes).await
        }
        Err(error) => Err(error),
    }
}

/// A write whose answer was lost is sent again, and then refused because of itself.
async fn is_what_was_written(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: &Bytes,
) -> object_store::Result<Written> {
    let Some(meta) = head(&**store, path).await? else {
        return Ok(Written::Refused);
    };
    // One that is old may be about to be collected, and has to be written anew.
    if meta.size != bytes.len() as u64 || !is_of_now(&meta) {
        return Ok(Written::Refused);
    }
    let Some(found) = read(&**store, path, &Moved::default()).await? else {
        return Ok(Written::Refused);
    };
    let mut rest = &bytes[..];
    let same = found.pieces.iter().all(|piece| {
        let begins = rest.starts_with(piece);
        rest = rest.get(piece.len()..).unwrap_or_default();
        begins
    });
    Ok(if same && rest.is_empty() {
        Written::Done(found.version)
    } else {
        Written::Refused
    })
}

fn options(how: &Write) -> PutOptions {
    let mode = match how {
        Write::Create => PutMode::Create,
        Write::Replace(version) => PutMode::Update(UpdateVersion {
            e_tag: version.tag.clone(),
            version: version.number.clone(),
        }),
        Write::Anyway => PutMode::Overwrite,
    };
    mode.into()
}

/// Parts take no condition: it is looked at first. What is so long is a value, whose content its
/// name tells.
async fn write_parts(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    bytes: Bytes,
    how: Write,
    moved: &Moved,
) -> object_store::Result<Written> {
    if !matches!(how, Write::Anyway) {
        let present = head(&**store, path).await?.as_ref().map(Version::of);
        let holds = match &how {
            Write::Replace(version) => present.as_ref() == Some(version),
            _ => present.is_none(),
        };
        if !holds {
            return Ok(Written::Refused);
        }
    }
    let mut upload = store
        .put_multipart_opts(path, PutMultipartOptions::default())
        .await?;
    let mut parts = Vec::new();
    let mut begin = 0;
    while begin < bytes.len() {
        let end = (begin + PART).min(bytes.len());
        parts.push(upload.put_part(PutPayload::from_bytes(bytes.slice(begin..end))));
        begin = end;
    }
    let mut sent = stream::iter(parts).buffer_unordered(PARTS_AT_ONCE);
    while let Some(part) = sent.next().await {
        if let Err(error) = part {
            drop(sent);
            // What was sent of it costs money as long as it is there.
            let _ = upload.abort().await;
            return Err(error);
        }
        moved.note();
    }
    drop(sent);
    let put = upload.complete().await?;
    Ok(Written::Done(Version {
        tag: put.e_tag,
        number: put.version,
    }))
}
