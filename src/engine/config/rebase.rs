//! Relative `root` and `url` mean: beside the file that names them.

use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::ConfigError;

/// Make every relative `root` and `url` in `table`, at any depth, absolute against `folder`.
///
/// What starts with `~`, absolute paths and URLs of other databases than SQLite stay.
pub fn rebase(table: &mut Table, folder: &Path) -> Result<(), ConfigError> {
    for (key, value) in table.iter_mut() {
        match value {
            Value::String(text) if key == "root" => *text = rebase_path(text, folder)?,
            Value::String(text) if key == "url" => *text = rebase_url(text, folder)?,
            other => rebase_nested(other, folder)?,
        }
    }
    Ok(())
}

fn rebase_nested(value: &mut Value, folder: &Path) -> Result<(), ConfigError> {
    match value {
        Value::Table(table) => rebase(table, folder),
        Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| rebase_nested(item, folder)),
        _ => Ok(()),
    }
}

fn rebase_path(text: &str, folder: &Path) -> Result<String, ConfigError> {
    if text.starts_with('~') || Path::new(text).is_absolute() {
        return Ok(text.to_owned());
    }
    let mut path = PathBuf::from(folder);
    // `..` stays: what it means depends on links that nobody has looked at yet.
    path.extend(
        Path::new(text)
            .components()
            .filter(|part| *part != Component::CurDir),
    );
    path.into_os_string()
        .into_string()
        .map_err(|_| ConfigError::UnspeakableFolder {
            value: text.to_owned(),
            folder: folder.to_owned(),
        })
}

fn rebase_url(text: &str, folder: &Path) -> Result<String, ConfigError> {
    if text == ":memory:" {
        return Ok(text.to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return rebase_path(text, folder);
    };
    let dialect = scheme.split('+').next().unwrap_or(scheme);
    // The path of a URL starts after its (empty) host: `sqlite:///relative`, `sqlite:////absolute`.
    let Some(location) = rest.strip_prefix('/') else {
        return Ok(text.to_owned());
    };
    if dialect != "sqlite" {
        return Ok(text.to_owned());
    }
    let (path, query) = location
        .find('?')
        .map_or((location, ""), |mark| location.split_at(mark));
    let (marker, path) = path
        .strip_prefix("file:")
        .map_or(("", path), |path| ("file:", path));
    if path.is_empty() || path == ":memory:" {
        return Ok(text.to_owned());
    }
    let path = rebase_path(path, folder)?;
    Ok(format!("{scheme}:///{marker}{path}{query}"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn rebased(key: &str, value: &str) -> String {
        let mut table = Table::new();
        table.insert(key.into(), Value::String(value.into()));
        rebase(&mut table, Path::new("/B")).unwrap();
        table[key].as_str().unwrap().to_owned()
    }

    #[test]
    fn roots() {
        for (value, expected) in [
            ("x", "/B/x"),
            ("./x/./y", "/B/x/y"),
            ("../x", "/B/../x"),
            ("", "/B"),
            (".", "/B"),
            ("/x", "/x"),
            ("~/x", "~/x"),
            ("~user/x", "~user/x"),
        ] {
            assert_eq!(rebased("root", value), expected, "{value:?}");
        }
    }

    #[test]
    fn urls() {
        for (value, expected) in [
            ("calls.db", "/B/calls.db"),
            ("~/calls.db", "~/calls.db"),
            ("/x/calls.db", "/x/calls.db"),
            (":memory:", ":memory:"),
            ("sqlite:///calls.db", "sqlite:////B/calls.db"),
            (
                "sqlite:///../c.db?timeout=5",
                "sqlite:////B/../c.db?timeout=5",
            ),
            (
                "sqlite+pysqlite:///calls.db",
                "sqlite+pysqlite:////B/calls.db",
            ),
            ("sqlite:////x/calls.db", "sqlite:////x/calls.db"),
            ("sqlite:///~/calls.db", "sqlite:///~/calls.db"),
            (
                "sqlite:///file:c.db?uri=true",
                "sqlite:///file:/B/c.db?uri=true",
            ),
            (
                "sqlite:///file::memory:?uri=true",
                "sqlite:///file::memory:?uri=true",
            ),
            ("sqlite:///:memory:", "sqlite:///:memory:"),
            ("sqlite:///", "sqlite:///"),
            ("sqlite://", "sqlite://"),
            ("postgresql://host/db", "postgresql://host/db"),
            ("mysql+pymysql:///db", "mysql+pymysql:///db"),
        ] {
            assert_eq!(rebased("url", value), expected, "{value:?}");
        }
    }

    #[test]
    fn only_roots_and_urls_at_any_depth() {
        let mut table: Table = r#"
            other = "x"
            [[stack]]
            values = { root = "v", type = "pickle" }
            [[stack]]
            type = "ssh"
            workdir = "w"
            [[p.pool]]
            template = "pickle"
            root = "r"
            [default]
            root = true
        "#
        .parse()
        .unwrap();
        rebase(&mut table, Path::new("/B")).unwrap();
        assert_eq!(table["other"].as_str(), Some("x"));
        assert_eq!(table["stack"][0]["values"]["root"].as_str(), Some("/B/v"));
        assert_eq!(table["stack"][1]["workdir"].as_str(), Some("w"));
        assert_eq!(table["p"]["pool"][0]["root"].as_str(), Some("/B/r"));
        assert_eq!(table["default"]["root"].as_bool(), Some(true));
    }

    #[test]
    fn a_folder_that_no_text_can_name() {
        use std::os::unix::ffi::OsStrExt;
        let folder = Path::new(std::ffi::OsStr::from_bytes(b"/\xff"));
        let mut table: Table = "root = 'x'".parse().unwrap();
        let error = rebase(&mut table, folder).unwrap_err().to_string();
        assert!(error.contains("absolute path"), "{error}");
        let mut table: Table = "root = '/x'".parse().unwrap();
        rebase(&mut table, folder).unwrap();
    }
}
