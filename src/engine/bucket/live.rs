//! What of a bucket lives in a process: the runtime that waits for sockets, and the client.
//!
//! The runtime has no thread: whoever waits for an answer drives it. It is made with the first
//! request, dropped before a fork where nobody is waiting, and left to the parent where somebody
//! is; both sides make a new one.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use object_store::ObjectStore;
use tokio::runtime::{Builder, Runtime};

use super::errors::Problem;
use crate::engine::fork::{Lock, generation};
use crate::engine::wait::Looks;

/// How often somebody who waits looks for an interrupt.
const LOOK: Duration = Duration::from_millis(50);

/// What is alive, of all buckets.
static ALL: Lock<Vec<Weak<Shared>>> = Lock::new(Vec::new());

pub struct Live {
    // In this order: what runs ends before what it runs on.
    pub store: Arc<dyn ObjectStore>,
    runtime: Option<Runtime>,
    /// Of which process, counted in forks.
    generation: u32,
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            if self.generation == generation() {
                runtime.shutdown_background();
            } else {
                // The parent's, with its sockets.
                std::mem::forget(runtime);
            }
        }
    }
}

type Shared = Lock<Option<Arc<Live>>>;

/// Where a bucket keeps what is alive.
#[derive(Default)]
pub struct Slot(Arc<Shared>);

/// How a wait ended.
pub enum Outcome<T> {
    Done(T),
    TimedOut,
    Interrupted,
}

impl Slot {
    pub fn get(
        &self,
        open: impl FnOnce() -> Result<Arc<dyn ObjectStore>, Problem>,
    ) -> Result<Arc<Live>, Problem> {
        let mut held = self.0.lock();
        if let Some(live) = &*held {
            if live.generation == generation() {
                return Ok(live.clone());
            }
            std::mem::forget(held.take());
        }
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Problem::Other(error.to_string()))?;
        let entered = runtime.enter();
        let store = open()?;
        drop(entered);
        let live = Arc::new(Live {
            store,
            runtime: Some(runtime),
            generation: generation(),
        });
        *held = Some(live.clone());
        drop(held);
        let mut all = ALL.lock();
        all.retain(|one| one.strong_count() > 0);
        if !all.iter().any(|one| one.as_ptr() == Arc::as_ptr(&self.0)) {
            all.push(Arc::downgrade(&self.0));
        }
        Ok(live)
    }

    pub fn forget(&self) {
        let held = self.0.lock().take();
        drop(held);
    }
}

impl Live {
    /// Waits for the end of `work`.
    pub fn wait<T>(
        &self,
        work: impl Future<Output = T>,
        mut is_too_long: impl FnMut() -> bool,
    ) -> Outcome<T> {
        let Some(runtime) = &self.runtime else {
            return Outcome::TimedOut;
        };
        runtime.block_on(async {
            // Connections that the server closed meanwhile are seen to be closed.
            tokio::task::yield_now().await;
            let mut work = pin!(work);
            let mut looks = Looks::default();
            loop {
                match select(work, pin!(tokio::time::sleep(LOOK))).await {
                    Either::Left((done, _)) => return Outcome::Done(done),
                    Either::Right(((), same)) => work = same,
                }
                if looks.interrupted() {
                    return Outcome::Interrupted;
                }
                if is_too_long() {
                    return Outcome::TimedOut;
                }
            }
        })
    }
}

/// Before a fork: what nobody is using is closed.
pub fn settle() {
    for one in &*ALL.lock() {
        let Some(shared) = one.upgrade() else {
            continue;
        };
        let Some(mut held) = shared.try_lock() else {
            continue;
        };
        if held
            .as_ref()
            .is_some_and(|live| Arc::strong_count(live) == 1)
        {
            drop(held.take());
        }
    }
}

/// In a forked child: what is still open is the parent's.
pub fn leave_to_parent() {
    for one in &*ALL.lock() {
        let Some(shared) = one.upgrade() else {
            continue;
        };
        if let Some(mut held) = shared.try_lock() {
            std::mem::forget(held.take());
        }
    }
}
