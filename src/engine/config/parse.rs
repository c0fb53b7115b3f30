//! From a file's bytes to its tables.

use super::ConfigError;

/// Parse a file as TOML 1.0.
pub fn parse(bytes: Vec<u8>) -> Result<toml::Table, ConfigError> {
    let text = String::from_utf8(bytes)
        .map_err(|error| ConfigError::NotText(error.utf8_error().valid_up_to()))?;
    // Some editors start a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    text.parse::<toml::Table>().map_err(|error| {
        let offset = error.span().map_or(text.len(), |span| span.start);
        let (line, column) = line_and_column(text, offset);
        ConfigError::Syntax {
            message: error.message().trim_end().replace('\n', ", "),
            line,
            column,
        }
    })
}

/// Where a byte of a text is, both counted from 1, columns in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &[u8]) -> String {
        parse(text.to_vec()).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_line_and_column() {
        for (text, place) in [
            ("[a\n", "(at line 1, column 3)"),
            ("a = 1\nb = \n", "(at line 2, column 5)"),
            ("\"ä\" = 1\n'ää' = x\n", "(at line 2, column 8)"),
            ("a = 1\na = 2\n", "(at line 2, column 1)"),
        ] {
            let message = mistake(text.as_bytes());
            assert!(message.ends_with(place), "{text:?}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_named() {
        assert_eq!(mistake(b"a = '\xff'"), "not UTF-8 text (at byte 5)");
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        assert_eq!(parse("\u{feff}a = 1".into()).unwrap().len(), 1);
    }

    #[test]
    fn an_empty_file_has_no_tables() {
        assert!(parse(Vec::new()).unwrap().is_empty());
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        let text = format!("a = {}", "[".repeat(200_000));
        assert!(parse(text.into_bytes()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: Vec<u8>) {
            let _ = parse(bytes);
        }
    }
}
