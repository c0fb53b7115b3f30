//! Relative `root` and `url` mean: beside the file that names them.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::ConfigError;
use super::discover::Surroundings;
use super::urls::{Shape, shape};
use super::variables::{escape, expand};

/// Make every relative `root` and `url` in `table`, at any depth, absolute against `folder`.
///
/// What starts with `~`, absolute paths and URLs of other databases than SQLite stay; so does what
/// is to be refused when a cache is made of it. Variables are replaced by their values, as they decide
/// what is relative; every `$` that is left is doubled.
pub fn rebase(
    table: &mut Table,
    folder: &Path,
    around: &impl Surroundings,
) -> Result<(), ConfigError> {
    for (key, value) in table.iter_mut() {
        match value {
            Value::String(text) if key == "root" => {
                *text = rebased_text(text, folder, around, rebase_path)?;
            }
            Value::String(text) if key == "url" => {
                *text = rebased_text(text, folder, around, rebase_url)?;
            }
            other => rebase_nested(other, folder, around)?,
        }
    }
    Ok(())
}

fn rebased_text(
    text: &str,
    folder: &Path,
    around: &impl Surroundings,
    rebase: fn(&str, &Path) -> Result<String, ConfigError>,
) -> Result<String, ConfigError> {
    match expand(text, around) {
        Ok(expanded) => Ok(escape(&rebase(&expanded, folder)?)),
        Err(_) => Ok(text.to_owned()),
    }
}

fn rebase_nested(
    value: &mut Value,
    folder: &Path,
    around: &impl Surroundings,
) -> Result<(), ConfigError> {
    match value {
        Value::Table(table) => rebase(table, folder, around),
        Value::Array(items) => items
            .iter_mut()
            .try_for_each(|item| rebase_nested(item, folder, around)),
        _ => Ok(()),
    }
}

fn rebase_path(text: &str, folder: &Path) -> Result<String, ConfigError> {
    let is_fixed = text.starts_with('~') || Path::new(text).is_absolute();
    if is_fixed || shape(text) == Shape::Url {
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
    if text == ":memory:" || shape(text) == Shape::Mistyped {
        return Ok(text.to_owned());
    }
    if shape(text) == Shape::Path {
        return rebase_path(text, folder);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
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
    let path = rebase_path(path, &quoted(folder))?;
    Ok(format!("{scheme}:///{marker}{path}{query}"))
}

/// A folder as it is written in an SQLite URL, where a question mark would end the path.
fn quoted(folder: &Path) -> Cow<'_, Path> {
    match folder.to_str() {
        Some(text) if text.contains('?') || text.contains('%') => {
            let text = text.replace("%25", "%2525").replace("%3F", "%253F");
            Cow::Owned(text.replace('?', "%3F").into())
        }
        _ => Cow::Borrowed(folder),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    struct Fake;

    impl Surroundings for Fake {
        fn variable(&self, name: &str) -> Option<std::ffi::OsString> {
            let value = match name {
                "ABSOLUTE" => "/a$b",
                "RELATIVE" => "r",
                "HERE" => "sqlite:///calls.db",
                "THERE" => "postgresql://u:p$p@h/db",
                _ => return None,
            };
            Some(value.into())
        }
        fn current_dir(&self) -> Option<PathBuf> {
            None
        }
        fn home_dir(&self) -> Option<PathBuf> {
            None
        }
        fn resolve(&self, _: &Path) -> Option<PathBuf> {
            None
        }
        fn is_file(&self, _: &Path) -> bool {
            false
        }
    }

    fn rebased(key: &str, value: &str) -> String {
        rebased_in("/B", key, value)
    }

    fn rebased_in(folder: &str, key: &str, value: &str) -> String {
        let mut table = Table::new();
        table.insert(key.into(), Value::String(value.into()));
        rebase(&mut table, Path::new(folder), &Fake).unwrap();
        table[key].as_str().unwrap().to_owned()
    }

    #[test]
    fn variables_decide_what_is_relative() {
        for (key, value, expected) in [
            ("root", "$ABSOLUTE/c", "/a$$b/c"),
            ("root", "$RELATIVE/c", "/B/r/c"),
            ("root", "${NONE}/c", "${NONE}/c"),
            ("root", "$$NONE", "/B/$$NONE"),
            ("url", "$ABSOLUTE/c.db", "/a$$b/c.db"),
            ("url", "sqlite:///$RELATIVE/c.db", "sqlite:////B/r/c.db"),
            ("url", "sqlite:///$ABSOLUTE/c.db", "sqlite:////a$$b/c.db"),
            ("url", "$HERE", "sqlite:////B/calls.db"),
            ("url", "$THERE", "postgresql://u:p$$p@h/db"),
            ("url", "postgresql://$NONE@h/db", "postgresql://$NONE@h/db"),
        ] {
            assert_eq!(rebased(key, value), expected, "{value:?}");
        }
    }

    #[test]
    fn folders_with_any_name() {
        assert_eq!(rebased_in("/$B? #%", "root", "x"), "/$$B? #%/x");
        assert_eq!(rebased_in("/B?", "url", "c.db"), "/B?/c.db");
        assert_eq!(
            rebased_in("/B?", "url", "sqlite:///c.db"),
            "sqlite:////B%3F/c.db"
        );
        assert_eq!(
            rebased_in("/B%3F%", "url", "sqlite:///c.db"),
            "sqlite:////B%253F%/c.db"
        );
    }

    #[test]
    fn what_is_no_path_is_left_to_be_refused() {
        for (key, value) in [
            ("root", "s3://bucket/x"),
            ("root", "sqlite:///x"),
            ("url", "postgresql:/h/db"),
            ("url", "sqlite:calls.db"),
            ("url", "nonsense://h/db"),
        ] {
            assert_eq!(rebased(key, value), value);
        }
        assert_eq!(rebased("root", "a:b/c"), "/B/a:b/c");
        assert_eq!(rebased("url", "a:b.db"), "/B/a:b.db");
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
        rebase(&mut table, Path::new("/B"), &Fake).unwrap();
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
        let error = rebase(&mut table, folder, &Fake).unwrap_err().to_string();
        assert!(error.contains("absolute path"), "{error}");
        let mut table: Table = "root = '/x'".parse().unwrap();
        rebase(&mut table, folder, &Fake).unwrap();
    }
}
