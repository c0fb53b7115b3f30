//! BLAKE3 on several threads.
//!
//! The pool is ours and belongs to one process: rayon's global pool would be without threads, and
//! hang, in a child made by `fork` (process pools of Python make such children).

use std::sync::Arc;

use blake3::Hasher;
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::engine::fork::{self, Lock};

/// Below this one thread is as fast (`docs/decisions.md`).
const THREADS_PAY: usize = 1 << 20;

/// BLAKE3 is bound by memory bandwidth long before a large machine runs out of cores.
const MOST_THREADS: usize = 8;

struct Pool {
    generation: u32,
    threads: Arc<ThreadPool>,
}

static POOL: Lock<Option<Pool>> = Lock::new(None);

/// Feeds `bytes` to `hasher`, on several threads where that pays.
pub fn update(hasher: &mut Hasher, bytes: &[u8]) {
    if bytes.len() >= THREADS_PAY
        && let Some(pool) = pool()
    {
        pool.install(|| hasher.update_rayon(bytes));
    } else {
        hasher.update(bytes);
    }
}

/// Does this with each of the items, on several threads if there is more than one.
pub fn each<T: Send>(items: &mut [T], work: impl Fn(&mut T) + Sync) {
    if items.len() > 1
        && let Some(pool) = pool()
    {
        pool.install(|| items.par_iter_mut().for_each(&work));
    } else {
        for item in items {
            work(item);
        }
    }
}

/// This process's threads; none where it has one core or may not start any.
pub fn pool() -> Option<Arc<ThreadPool>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores == 1 {
        return None;
    }
    let mut slot = POOL.lock();
    let generation = fork::generation();
    if let Some(pool) = slot.as_ref()
        && pool.generation == generation
    {
        return Some(Arc::clone(&pool.threads));
    }
    let threads = ThreadPoolBuilder::new()
        .num_threads(cores.min(MOST_THREADS))
        .thread_name(|i| format!("fleche-hash-{i}"))
        .build()
        .ok()?;
    let threads = Arc::new(threads);
    if let Some(parents) = slot.replace(Pool {
        generation,
        threads: Arc::clone(&threads),
    }) {
        // Its threads stayed in the parent: dropping it here would wait for them.
        std::mem::forget(parents);
    }
    Some(threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_change_nothing() {
        let bytes: Vec<u8> = (0..5_000_000u32).map(|i| i.to_le_bytes()[1]).collect();
        let mut hasher = Hasher::new();
        hasher.update(b"before");
        update(&mut hasher, &bytes);
        let mut single = Hasher::new();
        single.update(b"before").update(&bytes);
        assert_eq!(hasher.finalize(), single.finalize());
    }
}
