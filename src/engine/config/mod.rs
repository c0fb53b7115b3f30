//! Configuration files: which ones count, what they say, and what their relative paths mean.
//!
//! [`config_paths`] walks from the working directory upwards, [`parse`] reads one file,
//! [`rebase`] makes its relative paths absolute, and [`winners`] says which file each top-level
//! table is taken from. What the tables mean is said where the storages and caches are known.

mod discover;
mod merge;
mod parse;
mod rebase;
mod urls;
mod variables;

use std::path::{Path, PathBuf};

pub use discover::{Host, Surroundings, config_paths};
pub use merge::{Winner, winners};
pub use parse::parse;
pub use rebase::rebase;
pub use urls::{Shape, shape};
pub use variables::{VariableError, escape, expand};

/// Why a configuration file gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    #[error("not UTF-8 text (at byte {0})")]
    NotText(usize),
    #[error("{message} (at line {line}, column {column})")]
    Syntax {
        message: String,
        line: usize,
        column: usize,
    },
    #[error(
        "{value:?} is relative to the folder {folder:?}, whose name is not UTF-8 text; \
         write an absolute path"
    )]
    UnspeakableFolder { value: String, folder: PathBuf },
}

/// Read one file: its tables, relative paths resolved against the file's folder.
pub fn load(path: &Path) -> Result<toml::Table, ConfigError> {
    let mut table = parse(std::fs::read(path)?)?;
    rebase(&mut table, path.parent().unwrap_or(Path::new("")), &Host)?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_rebased() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleche.toml");
        std::fs::write(&path, "[a]\nvalues.root = 'v'\n").unwrap();
        let table = load(&path).unwrap();
        let expected = folder.path().join("v");
        assert_eq!(
            table["a"]["values"]["root"].as_str(),
            Some(expected.to_str().unwrap())
        );
    }

    #[test]
    fn a_missing_file_is_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(&folder.path().join("none.toml")).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable(_)), "{error}");
    }
}
