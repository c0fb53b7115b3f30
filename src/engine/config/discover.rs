//! Which configuration files count, in which order.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file that the upward walk looks for in every folder.
const FILE_NAME: &str = "fleche.toml";
/// The user's own file, below the XDG configuration folder.
const USER_FILE: &str = "fleche/cache.toml";

/// What discovery asks of the machine; tests answer instead of it.
pub trait Surroundings {
    /// An environment variable, unless unset or empty.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// The working directory, unless it is gone.
    fn current_dir(&self) -> Option<PathBuf>;
    /// What `~` means.
    fn home_dir(&self) -> Option<PathBuf>;
    /// The path with symbolic links resolved, if it exists.
    fn resolve(&self, path: &Path) -> Option<PathBuf>;
    fn is_file(&self, path: &Path) -> bool;
}

/// The machine that we run on.
pub struct Host;

impl Surroundings for Host {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }

    fn current_dir(&self) -> Option<PathBuf> {
        std::env::current_dir().ok()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
    }

    fn resolve(&self, path: &Path) -> Option<PathBuf> {
        path.canonicalize().ok()
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }
}

/// The configuration files that exist, the one that wins first.
///
/// Every `fleche.toml` from the working directory up to `$HOME` (inclusive), or to the root of the
/// file system where the walk does not meet it; then `$XDG_CONFIG_HOME/fleche/cache.toml`.
pub fn config_paths(around: &impl Surroundings) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some(start) = around.current_dir() {
        let home = last_folder(around);
        // The working directory comes with its links resolved, `$HOME` as it was typed.
        let resolved_home = home.as_deref().and_then(|home| around.resolve(home));
        for folder in start.ancestors() {
            let candidate = folder.join(FILE_NAME);
            if around.is_file(&candidate) {
                paths.push(candidate);
            }
            if Some(folder) == home.as_deref() || Some(folder) == resolved_home.as_deref() {
                break;
            }
        }
    }
    if let Some(user_file) = config_home(around).map(|folder| folder.join(USER_FILE))
        && around.is_file(&user_file)
    {
        paths.push(user_file);
    }
    paths
}

/// Where the walk ends: an unset `$HOME` ends it nowhere, whatever the user database says.
fn last_folder(around: &impl Surroundings) -> Option<PathBuf> {
    if cfg!(windows) {
        around.home_dir()
    } else {
        around.variable("HOME").map(PathBuf::from)
    }
}

/// The XDG base directory rules: what is not absolute counts as unset.
fn config_home(around: &impl Surroundings) -> Option<PathBuf> {
    around
        .variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| around.home_dir().map(|home| home.join(".config")))
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[derive(Default)]
    struct Fake {
        variables: HashMap<&'static str, &'static str>,
        cwd: Option<&'static str>,
        links: HashMap<&'static str, &'static str>,
        files: HashSet<&'static str>,
    }

    impl Surroundings for Fake {
        fn variable(&self, name: &str) -> Option<OsString> {
            self.variables
                .get(name)
                .filter(|value| !value.is_empty())
                .map(OsString::from)
        }
        fn current_dir(&self) -> Option<PathBuf> {
            self.cwd.map(PathBuf::from)
        }
        fn home_dir(&self) -> Option<PathBuf> {
            self.variable("HOME").map(PathBuf::from)
        }
        fn resolve(&self, path: &Path) -> Option<PathBuf> {
            let text = path.to_str()?;
            Some(PathBuf::from(*self.links.get(text).unwrap_or(&text)))
        }
        fn is_file(&self, path: &Path) -> bool {
            path.to_str().is_some_and(|path| self.files.contains(path))
        }
    }

    fn found(
        cwd: Option<&'static str>,
        variables: &[(&'static str, &'static str)],
        files: &[&'static str],
    ) -> Vec<String> {
        found_with_links(cwd, variables, files, &[])
    }

    fn found_with_links(
        cwd: Option<&'static str>,
        variables: &[(&'static str, &'static str)],
        files: &[&'static str],
        links: &[(&'static str, &'static str)],
    ) -> Vec<String> {
        let fake = Fake {
            variables: variables.iter().copied().collect(),
            cwd,
            links: links.iter().copied().collect(),
            files: files.iter().copied().collect(),
        };
        config_paths(&fake)
            .into_iter()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn closest_first_up_to_home_inclusive() {
        assert_eq!(
            found(
                Some("/home/u/a/b"),
                &[("HOME", "/home/u")],
                &[
                    "/home/u/a/b/fleche.toml",
                    "/home/u/fleche.toml",
                    "/home/fleche.toml",
                    "/fleche.toml",
                    "/home/u/.config/fleche/cache.toml",
                ],
            ),
            [
                "/home/u/a/b/fleche.toml",
                "/home/u/fleche.toml",
                "/home/u/.config/fleche/cache.toml",
            ]
        );
    }

    #[test]
    fn outside_home_up_to_the_root() {
        let files = ["/fleche.toml", "/data/fleche.toml", "/home/u/fleche.toml"];
        assert_eq!(
            found(Some("/data/x"), &[("HOME", "/home/u")], &files),
            ["/data/fleche.toml", "/fleche.toml"]
        );
    }

    #[test]
    fn without_home_up_to_the_root() {
        let files = ["/fleche.toml", "/.config/fleche/cache.toml"];
        assert_eq!(found(Some("/home/u"), &[], &files), ["/fleche.toml"]);
        assert_eq!(
            found(Some("/home/u"), &[("HOME", "")], &files),
            ["/fleche.toml"]
        );
    }

    #[test]
    fn a_home_behind_a_link_ends_the_walk() {
        assert_eq!(
            found_with_links(
                Some("/data/u/work"),
                &[("HOME", "/home/u")],
                &["/data/u/fleche.toml", "/data/fleche.toml"],
                &[("/home/u", "/data/u")],
            ),
            ["/data/u/fleche.toml"]
        );
    }

    #[test]
    fn xdg_folder_replaces_dot_config() {
        let files = ["/x/fleche/cache.toml", "/home/u/.config/fleche/cache.toml"];
        let home = ("HOME", "/home/u");
        let with = |xdg| found(Some("/"), &[home, ("XDG_CONFIG_HOME", xdg)], &files);
        assert_eq!(with("/x"), ["/x/fleche/cache.toml"]);
        assert_eq!(with(""), ["/home/u/.config/fleche/cache.toml"]);
        assert_eq!(with("relative"), ["/home/u/.config/fleche/cache.toml"]);
    }

    #[test]
    fn a_removed_working_directory_leaves_the_user_file() {
        assert_eq!(
            found(None, &[("HOME", "/h")], &["/h/.config/fleche/cache.toml"]),
            ["/h/.config/fleche/cache.toml"]
        );
    }

    #[test]
    fn home_itself_is_looked_at_once() {
        assert_eq!(
            found(Some("/h"), &[("HOME", "/h")], &["/h/fleche.toml"]),
            ["/h/fleche.toml"]
        );
    }
}
