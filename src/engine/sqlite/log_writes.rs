//! A commit, written to the write-ahead log in one system call.
//!
//! SQLite writes the head of each page and the page by themselves: some forty calls for a save,
//! which take a quarter of its time. Here the pages of a commit are put together, and written with
//! its last one, whose head is marked: SQLite makes a commit known after that. Whatever else is done
//! with the log first writes what waits.
//!
//! Only within [`together`]: what a transaction writes before its end may be taken back without a
//! word to the log, and would be written later, over what others have written there since.
//!
//! The files of all others, the database's too, are the system's own.
//!
//! Format of the log: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>; how one file
//! system of SQLite stands before another: <https://www.sqlite.org/vfs.html>.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::slice;
use std::sync::OnceLock;

use rusqlite::ffi::{
    self, SQLITE_ERROR, SQLITE_IOERR, SQLITE_OK, SQLITE_OPEN_WAL, sqlite3_file, sqlite3_io_methods,
    sqlite3_vfs,
};

const NAME: &CStr = c"fleche";

/// The head of a page in the log, which begins with its number and, of a commit's last page, how
/// many pages the database has then; 0 of others.
const HEAD: usize = 24;
const COMMIT: std::ops::Range<usize> = 4..8;

/// No more than this waits: SQLite's own files take less than 128 KiB at a time.
const LONGEST: usize = 1 << 16;

thread_local! {
    static TOGETHER: Cell<bool> = const { Cell::new(false) };
}

/// Ends a transaction of this thread: what that writes into a log is put together.
pub(super) fn together<T>(commit: impl FnOnce() -> T) -> T {
    TOGETHER.set(true);
    let ended = commit();
    TOGETHER.set(false);
    ended
}

/// A log, with the file of the system's behind it in the same memory.
#[repr(C)]
struct LogFile {
    // First, as SQLite knows nothing of the rest.
    methods: *const sqlite3_io_methods,
    /// What waits to be written, and where to.
    waiting: Vec<u8>,
    offset: i64,
    /// Whether the page that comes next is the last of its commit.
    ends: bool,
}

/// The name of the file system; `None` where it cannot be had, and SQLite's own serves.
pub(super) fn name() -> Option<&'static CStr> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    REGISTERED.get_or_init(register).then_some(NAME)
}

/// SQLite's own.
static SYSTEM: OnceLock<System> = OnceLock::new();

struct System(*mut sqlite3_vfs);

// SAFETY: SQLite's own file system stays as it is, where it is, and is for all threads.
unsafe impl Send for System {}
// SAFETY: as above.
unsafe impl Sync for System {}

fn register() -> bool {
    // SAFETY: what is found is valid for ever, and what is registered is never freed.
    unsafe {
        if ffi::sqlite3_initialize() != SQLITE_OK {
            return false;
        }
        let system = ffi::sqlite3_vfs_find(ptr::null());
        let Some(known) = system.as_ref() else {
            return false;
        };
        let (Ok(own), Some(_)) = (c_int::try_from(size_of::<LogFile>()), known.xOpen) else {
            return false;
        };
        SYSTEM.get_or_init(|| System(system));
        let ours = Box::leak(Box::new(sqlite3_vfs {
            szOsFile: known.szOsFile + own,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
            xOpen: Some(open),
            ..*known
        }));
        ffi::sqlite3_vfs_register(ours, 0) == SQLITE_OK
    }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    opened: *mut c_int,
) -> c_int {
    let Some(system) = SYSTEM.get() else {
        return SQLITE_ERROR;
    };
    // SAFETY: the arguments are SQLite's own, for which the system's file system was made; `file`
    // has room for a `LogFile` and, behind it, for one of the system's, and is aligned for both.
    unsafe {
        let Some(open) = (*system.0).xOpen else {
            return SQLITE_ERROR;
        };
        if flags & SQLITE_OPEN_WAL == 0 {
            return open(system.0, path, file, flags, opened);
        }
        (*file).pMethods = ptr::null();
        let inner = behind(file);
        let code = open(system.0, path, inner, flags, opened);
        if code == SQLITE_OK {
            file.cast::<LogFile>().write(LogFile {
                methods: &raw const METHODS,
                waiting: Vec::new(),
                offset: 0,
                ends: false,
            });
        }
        code
    }
}

/// The system's file of a log.
unsafe fn behind(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: `open` had it placed there.
    unsafe { file.cast::<LogFile>().add(1).cast() }
}

/// Calls a method of the system's file.
macro_rules! inner {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let inner = behind($file);
        match (*inner).pMethods.as_ref().and_then(|methods| methods.$method) {
            Some(method) => method(inner $(, $argument)*),
            None => SQLITE_IOERR,
        }
    }};
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    // Of the database's file, and of version 2 and 3.
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Writes what waits.
unsafe fn flush(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite uses a file in one thread at a time; `open` made it a `LogFile`.
    unsafe {
        let log = &mut *file.cast::<LogFile>();
        log.ends = false;
        if !TOGETHER.get() {
            // Of a commit that SQLite has given up.
            log.waiting.clear();
        }
        if log.waiting.is_empty() {
            return SQLITE_OK;
        }
        let (bytes, offset) = (log.waiting.as_ptr(), log.offset);
        // At most `LONGEST`.
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let count = log.waiting.len() as c_int;
        let code = inner!(file, xWrite, bytes.cast(), count, offset);
        // What could not be written is not tried again: SQLite takes the commit back.
        log.waiting.clear();
        code
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: as in `flush`; SQLite gives `count` bytes.
    unsafe {
        let log = &mut *file.cast::<LogFile>();
        let new = slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(count).unwrap_or(0));
        let is_head = new.len() == HEAD;
        let is_last = is_head && new[COMMIT] != [0; 4];
        let end = log.offset + i64::try_from(log.waiting.len()).unwrap_or(0);
        if log.waiting.is_empty() || offset != end || log.waiting.len() + new.len() > LONGEST {
            let code = flush(file);
            if code != SQLITE_OK {
                return code;
            }
            // Heads alone are written anew, too, the last of them of a commit's last page, after
            // which nothing comes: only one that a page follows may wait.
            if !TOGETHER.get() || !is_head || is_last {
                return inner!(file, xWrite, bytes, count, offset);
            }
            log.offset = offset;
        }
        log.waiting.extend_from_slice(new);
        let is_whole = log.ends;
        log.ends = is_last;
        if is_whole { flush(file) } else { SQLITE_OK }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as in `flush`; the file is not used afterwards.
    unsafe {
        let written = flush(file);
        let closed = inner!(file, xClose);
        ptr::drop_in_place(file.cast::<LogFile>());
        (*file).pMethods = ptr::null();
        if written == SQLITE_OK {
            closed
        } else {
            written
        }
    }
}

/// Methods that first write what waits.
macro_rules! after_flush {
    ($($name:ident => $method:ident($($argument:ident: $type:ty),*);)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: the arguments are SQLite's own, for a file that `open` made.
            unsafe {
                let code = flush(file);
                if code == SQLITE_OK { inner!(file, $method $(, $argument)*) } else { code }
            }
        }
    )*};
}

after_flush! {
    read => xRead(bytes: *mut c_void, count: c_int, offset: i64);
    truncate => xTruncate(size: i64);
    sync => xSync(flags: c_int);
    file_size => xFileSize(size: *mut i64);
    file_control => xFileControl(operation: c_int, argument: *mut c_void);
    lock => xLock(level: c_int);
    unlock => xUnlock(level: c_int);
    check_reserved_lock => xCheckReservedLock(result: *mut c_int);
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: for a file that `open` made.
    unsafe { inner!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: for a file that `open` made.
    unsafe { inner!(file, xDeviceCharacteristics) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;
    use rusqlite::{Connection, OpenFlags};

    use super::{name, together};

    #[derive(Clone, Copy, Debug)]
    enum End {
        Together,
        Plain,
        TakenBack,
    }

    type Rows = BTreeMap<u8, Vec<u8>>;

    fn connect(path: &Path, vfs: Option<&std::ffi::CStr>) -> Connection {
        let flags = OpenFlags::default();
        let connection = match vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
            None => Connection::open_with_flags(path, flags),
        };
        let connection = connection.unwrap();
        // Small, so that transactions write before they end.
        let set = "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA cache_size = 4; \
                   CREATE TABLE IF NOT EXISTS rows (key INTEGER PRIMARY KEY, value BLOB)";
        connection.execute_batch(set).unwrap();
        connection
    }

    fn rows(connection: &Connection) -> Rows {
        let check = "PRAGMA integrity_check";
        let whole = connection.query_row(check, [], |row| row.get::<_, String>(0));
        assert_eq!(whole.unwrap(), "ok");
        let mut statement = connection.prepare("SELECT key, value FROM rows").unwrap();
        let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        found.unwrap().collect::<Result<_, _>>().unwrap()
    }

    /// What would be there if all processes were killed now.
    fn left(path: &Path) -> Rows {
        let folder = tempfile::tempdir().unwrap();
        for end in ["", "-wal"] {
            let name = format!("cache.db{end}");
            fs::copy(path.with_file_name(&name), folder.path().join(&name)).unwrap();
        }
        rows(&connect(&folder.path().join("cache.db"), None))
    }

    fn ends() -> impl Strategy<Value = End> {
        prop_oneof![Just(End::Together), Just(End::Plain), Just(End::TakenBack)]
    }

    type Writes = Vec<(u8, u16)>;

    /// Whether ours makes it, what it writes, how it ends, and whether the log is folded then.
    fn transactions() -> impl Strategy<Value = Vec<(bool, Writes, End, bool)>> {
        let writes = prop::collection::vec((0..40_u8, 0..3_000_u16), 1..30);
        let one = (any::<bool>(), writes, ends(), prop::bool::weighted(0.2));
        prop::collection::vec(one, 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_commit_is_whole_for_all_and_survives(transactions in transactions()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cache.db");
            let ours = connect(&path, name());
            let system = connect(&path, None);
            let mut expected = Rows::new();
            for (is_ours, writes, end, folds) in transactions {
                let writer = if is_ours { &ours } else { &system };
                let mut written = expected.clone();
                writer.execute_batch("BEGIN IMMEDIATE").unwrap();
                for (key, size) in writes {
                    let value = vec![key ^ size.to_le_bytes()[0]; usize::from(size)];
                    let statement = "INSERT OR REPLACE INTO rows VALUES (?, ?)";
                    writer.execute(statement, (key, &value)).unwrap();
                    written.insert(key, value);
                }
                prop_assert_eq!(&rows(writer), &written);
                match end {
                    End::Together => together(|| writer.execute_batch("COMMIT")).unwrap(),
                    End::Plain => writer.execute_batch("COMMIT").unwrap(),
                    End::TakenBack => writer.execute_batch("ROLLBACK").unwrap(),
                }
                if !matches!(end, End::TakenBack) {
                    expected = written;
                }
                for reader in [&ours, &system] {
                    prop_assert_eq!(&rows(reader), &expected);
                }
                prop_assert_eq!(&left(&path), &expected);
                if folds {
                    system.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_commit_longer_than_what_waits_is_whole() {
        for page in [512, 2048, 65_536] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cache.db");
            let connection =
                Connection::open_with_flags_and_vfs(&path, OpenFlags::default(), name().unwrap())
                    .unwrap();
            let value = vec![7; 50 * super::LONGEST];
            let set = format!(
                "PRAGMA page_size = {page}; PRAGMA journal_mode = WAL; \
                 CREATE TABLE rows (key INTEGER PRIMARY KEY, value BLOB); BEGIN IMMEDIATE"
            );
            connection.execute_batch(&set).unwrap();
            let statement = "INSERT INTO rows VALUES (1, ?)";
            connection.execute(statement, [&value]).unwrap();
            together(|| connection.execute_batch("COMMIT")).unwrap();
            assert_eq!(left(&path), Rows::from([(1, value)]));
        }
    }
}
