//! Environment variables in a `root` or `url`: `$SCRATCH/cache`, `${USER}_cache`.
//!
//! `$$` is a dollar sign, and so is one that neither a name nor a brace follows.

use super::discover::Surroundings;

/// Why a text with variables means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    #[error("the environment variable {0} is not set, or empty; write $$ for a dollar sign")]
    Unknown(String),
    /// Not named: it may be part of a password.
    #[error(
        "an environment variable in its user or password is not set, or empty; \
         write $$ for a dollar sign"
    )]
    UnknownSecret,
    #[error("the environment variable {0} is no UTF-8 text")]
    NotText(String),
    #[error("a brace behind a $ is not closed; write $$ for a dollar sign")]
    Unclosed,
}

/// The text with the values of the variables that it names.
pub fn expand(text: &str, around: &impl Surroundings) -> Result<String, VariableError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(behind) = after.strip_prefix('$') {
            expanded.push('$');
            rest = behind;
            continue;
        }
        let (name, behind) = if let Some(braced) = after.strip_prefix('{') {
            braced.split_once('}').ok_or(VariableError::Unclosed)?
        } else {
            after.split_at(name_length(after))
        };
        if name.is_empty() && !after.starts_with('{') {
            expanded.push('$');
        } else {
            // An empty name, or one with `=` in it, is none that could be set.
            let value = around.variable(name).ok_or_else(|| {
                if text.contains("://") && behind.contains('@') {
                    VariableError::UnknownSecret
                } else {
                    VariableError::Unknown(name.to_owned())
                }
            })?;
            let value = value.into_string();
            expanded.push_str(&value.map_err(|_| VariableError::NotText(name.to_owned()))?);
        }
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// How many bytes of a text's beginning may be the name of a variable.
fn name_length(text: &str) -> usize {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    match text.bytes().next() {
        Some(first) if !first.is_ascii_digit() => {
            text.bytes().take_while(|byte| is_part(byte)).count()
        }
        _ => 0,
    }
}

/// What [`expand`] gives `text` for.
pub fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use super::*;

    struct Fake;

    impl Surroundings for Fake {
        fn variable(&self, name: &str) -> Option<OsString> {
            match name {
                "A" => Some("/a".into()),
                "B_1" => Some("$A".into()),
                #[cfg(unix)]
                "RAW" => Some(std::os::unix::ffi::OsStringExt::from_vec(vec![0xff])),
                _ => None,
            }
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

    #[test]
    fn names_with_and_without_braces() {
        for (text, expanded) in [
            ("", ""),
            ("/plain/ä", "/plain/ä"),
            ("$A/cache", "/a/cache"),
            ("x${A}x$A", "x/ax/a"),
            ("$B_1/x", "$A/x"),
            ("$$A", "$A"),
            ("$$$A", "$/a"),
            ("a$", "a$"),
            ("$5 $- $ä $/", "$5 $- $ä $/"),
        ] {
            assert_eq!(expand(text, &Fake).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn what_is_not_set_is_an_error() {
        let unknown = |name: &str| Err(VariableError::Unknown(name.to_owned()));
        assert_eq!(expand("$NO/x", &Fake), unknown("NO"));
        assert_eq!(expand("$AB", &Fake), unknown("AB"));
        assert_eq!(expand("${}", &Fake), unknown(""));
        assert_eq!(expand("${A-b}", &Fake), unknown("A-b"));
        assert_eq!(expand("${A", &Fake), Err(VariableError::Unclosed));
    }

    #[test]
    fn what_may_be_a_password_is_not_named() {
        let error = expand("postgresql://u:pa$word@h/db", &Fake).unwrap_err();
        assert_eq!(error, VariableError::UnknownSecret);
        let error = expand("postgresql://u@h/$db", &Fake).unwrap_err();
        assert_eq!(error, VariableError::Unknown("db".to_owned()));
    }

    #[cfg(unix)]
    #[test]
    fn values_that_are_no_text() {
        let error = expand("$RAW/x", &Fake).unwrap_err();
        assert_eq!(error, VariableError::NotText("RAW".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn what_is_escaped_comes_back(text: String) {
            proptest::prop_assert_eq!(expand(&escape(&text), &Fake).unwrap(), text);
        }

        #[test]
        fn any_text_is_expanded_or_refused(text in "[$A{}B_1é/]*") {
            let _ = expand(&text, &Fake);
        }
    }
}
