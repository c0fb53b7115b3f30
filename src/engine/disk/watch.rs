//! What tests hang before every system call. There is none of it without debug assertions.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Called before each system call with its name and the file that it is about. An error that it
/// gives becomes the outcome of the call, which is not made.
pub type Hook = Arc<dyn Fn(&'static str, &Path) -> io::Result<()> + Send + Sync>;

static WATCHED: AtomicBool = AtomicBool::new(false);
static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// Has `hook` called before every system call of this process, or nothing any more.
pub fn set(hook: Option<Hook>) {
    WATCHED.store(hook.is_some(), Ordering::SeqCst);
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = hook;
}

pub fn check(name: &'static str, path: &Path) -> io::Result<()> {
    if !WATCHED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // Not called under the lock: a hook may make calls of its own.
    let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner).clone();
    hook.map_or(Ok(()), |hook| hook(name, path))
}

/// The file that a call is about.
#[derive(Debug)]
pub(super) struct Watched(PathBuf);

impl Watched {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl std::ops::Deref for Watched {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}
