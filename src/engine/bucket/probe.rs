//! Whether a server keeps its word on conditional writes, also where several come at once.

use std::sync::Arc;

use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion};

/// How many write at once.
const WRITERS: u8 = 8;

/// In what a server's word does not hold; `None` if it does. Leaves nothing behind.
pub async fn lies(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
) -> object_store::Result<Option<&'static str>> {
    let found = try_all(store, path).await;
    let removed = store.delete(path).await;
    let found = found?;
    removed?;
    Ok(found)
}

async fn try_all(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
) -> object_store::Result<Option<&'static str>> {
    if winners(store, path, &PutMode::Create).await? != 1 {
        return Ok(Some(
            "of several who create an object that must not be there (If-None-Match: *), not one \
             alone succeeds",
        ));
    }
    let meta = store.head(path).await?;
    let read = PutMode::Update(UpdateVersion {
        e_tag: meta.e_tag,
        version: meta.version,
    });
    if winners(store, path, &read).await? != 1 {
        return Ok(Some(
            "of several who replace an object that they have read (If-Match), not one alone \
             succeeds",
        ));
    }
    Ok(None)
}

async fn winners(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    mode: &PutMode,
) -> object_store::Result<usize> {
    let writes = (0..WRITERS).map(|writer| {
        let kind = match mode {
            PutMode::Create => b'c',
            _ => b'u',
        };
        let payload = PutPayload::from(vec![kind, writer]);
        let options: PutOptions = mode.clone().into();
        store.put_opts(path, payload, options)
    });
    let mut winners = 0;
    for written in join_all(writes).await {
        match written {
            Ok(_) => winners += 1,
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(winners)
}
