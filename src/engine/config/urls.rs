//! What is written where a path or the URL of a database is expected.

/// The databases whose names begin a URL, however the rest of it is mistyped.
const DATABASES: [&str; 9] = [
    "sqlite",
    "postgresql",
    "postgres",
    "mysql",
    "mariadb",
    "oracle",
    "mssql",
    "cockroachdb",
    "file",
];

/// What a text looks like.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Shape {
    Path,
    Url,
    /// Neither: `postgresql:/host/db`, `sqlite:calls.db`, `mysql//host/db`.
    Mistyped,
}

/// What a text looks like. What begins with `/`, `.` or `~` is a path, whatever follows.
pub fn shape(text: &str) -> Shape {
    if text.starts_with(['/', '.', '~']) {
        return Shape::Path;
    }
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+.-_".contains(byte);
    let (scheme, rest) = text.split_at(text.bytes().take_while(|byte| is_part(byte)).count());
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    if rest.starts_with("://") && is_scheme {
        return Shape::Url;
    }
    let dialect = scheme.split('+').next().unwrap_or(scheme);
    let is_known = DATABASES
        .iter()
        .any(|name| name.eq_ignore_ascii_case(dialect));
    if (is_scheme && rest.starts_with(":/"))
        || text.contains("://")
        || (is_known && [":", ";", "//"].iter().any(|p| rest.starts_with(p)))
    {
        return Shape::Mistyped;
    }
    Shape::Path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        for (text, expected) in [
            ("", Shape::Path),
            ("calls.db", Shape::Path),
            ("/x/postgresql:/y", Shape::Path),
            ("./sqlite:calls.db", Shape::Path),
            ("~/x://y", Shape::Path),
            ("./a://x", Shape::Path),
            ("1:/x", Shape::Path),
            ("1://x", Shape::Mistyped),
            ("://x", Shape::Mistyped),
            ("a b://x", Shape::Mistyped),
            ("a:b.db", Shape::Path),
            ("mysql/calls.db", Shape::Path),
            ("sqlite.db", Shape::Path),
            ("sqlite:///calls.db", Shape::Url),
            ("postgresql+psycopg://h/db", Shape::Url),
            ("nonsense://h", Shape::Url),
            ("postgresql:/h/db", Shape::Mistyped),
            ("postgresq:/h/db", Shape::Mistyped),
            ("postgresql:h/db", Shape::Mistyped),
            ("PostgreSQL;//h/db", Shape::Mistyped),
            ("mysql+pymysql//h/db", Shape::Mistyped),
            ("sqlite:calls.db", Shape::Mistyped),
            ("file:calls.db?mode=ro", Shape::Mistyped),
        ] {
            assert_eq!(shape(text), expected, "{text:?}");
        }
    }
}
