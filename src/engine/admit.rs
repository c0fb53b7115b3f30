//! Whether a record that was read from a pickle may match a pattern: what SQL decides for the
//! records of a database.
//!
//! As there, a record may pass that does not match, never the other way round: equal values have
//! equal digests, and what that means is the pattern's business.

use super::digest::Hex;
use super::pickle::{Record, Value};
use super::record::{Condition, Filter};

/// Numbers that are nearer than this, relatively, may be equal.
const MARGIN: f64 = 1e-9;

impl Filter {
    /// Whether a record may match.
    pub fn admits(&self, record: &Record<'_>) -> bool {
        let module = record.module.unwrap_or_default();
        is_or_any(self.name.as_ref(), |name| name == record.name)
            && is_or_any(self.module.as_ref(), |name| name == module)
            && is_or_any(self.code_digest.as_ref(), |digest| {
                // A text is matched by its own digest, too.
                matches!(record.code_digest, Some(Value::Text(_)))
                    || is_text(record.code_digest.as_ref(), digest)
            })
            && is_or_any(self.version.as_ref(), |forms| {
                is_version(&record.version, forms)
            })
            && is_or_any(self.result.as_ref(), |digests| {
                record.result.is_some_and(|hash| among(&hash, digests))
            })
            && self.arguments.iter().all(|(name, digests)| {
                record.arguments.iter().any(|(held, hash)| {
                    held == name && is_or_any(digests.as_ref(), |digests| among(hash, digests))
                })
            })
            && self.metadata.iter().all(|(name, members)| {
                member_may(&record.metadata, name, |held| admit_members(held, members))
            })
    }
}

fn is_or_any<T>(wanted: Option<T>, holds: impl FnOnce(T) -> bool) -> bool {
    wanted.is_none_or(holds)
}

fn among(hash: &[u8; 32], digests: &[String]) -> bool {
    let hex = Hex::of(hash);
    digests.iter().any(|digest| digest == hex.as_str())
}

/// Whether this is a string, or a digest, with just these characters.
fn is_text(value: Option<&Value<'_>>, text: &str) -> bool {
    match value {
        Some(Value::Text(held)) => *held == text,
        Some(Value::Digest(hash)) => Hex::of(hash).as_str() == text,
        _ => false,
    }
}

/// Whether a version may be one of those whose forms as JSON are given.
fn is_version(version: &Value<'_>, forms: &[String]) -> bool {
    forms.iter().any(|form| match version {
        Value::None => false,
        Value::Int(number) => form.parse() == Ok(*number),
        // JSON has several ways to write most characters.
        Value::Text(text) => match form.strip_prefix('"').and_then(|f| f.strip_suffix('"')) {
            Some(inner) => inner == *text || inner.contains('\\'),
            None => false,
        },
        _ => true,
    })
}

/// Whether `may` holds for what a dict has under `name`.
fn member_may(
    members: &[(Value<'_>, Value<'_>)],
    name: &str,
    may: impl Fn(&Value<'_>) -> bool,
) -> bool {
    let named = |(key, value): &(_, _)| is_text(Some(key), name) && may(value);
    members.iter().any(named)
}

fn admit_members(held: &Value<'_>, members: &[(String, Condition)]) -> bool {
    let Value::Dict(held) = held else {
        // It has members in a way of its own, or none at all: the pattern will say.
        return true;
    };
    members
        .iter()
        .all(|(name, condition)| member_may(held, name, |value| may_be(value, condition)))
}

fn may_be(value: &Value<'_>, condition: &Condition) -> bool {
    match (condition, value) {
        (Condition::Present, _) | (_, Value::Digest(_)) => true,
        (Condition::Text(text), Value::Text(held)) => held == text,
        (Condition::Number(number), value) => {
            #[expect(
                clippy::cast_precision_loss,
                reason = "what is lost is below the margin"
            )]
            let held = match value {
                Value::Bool(held) => f64::from(u8::from(*held)),
                Value::Int(held) => *held as f64,
                Value::Float(held) => *held,
                _ => return false,
            };
            (held - number).abs() <= number.abs() * MARGIN
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            name: "f",
            module: Some("m"),
            version: Value::Int(3),
            code_digest: Some(Value::Digest([1; 32])),
            arguments: vec![("x", [2; 32]), ("y", [3; 32])],
            result: Some([4; 32]),
            metadata: vec![(
                Value::Text("tags"),
                Value::Dict(vec![
                    (Value::Text("n"), Value::Int(2)),
                    (Value::Text("half"), Value::Float(0.5)),
                    (Value::Text("text"), Value::Text("t")),
                    (Value::Text("named"), Value::Digest([5; 32])),
                ]),
            )],
        }
    }

    fn admits(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        filter.admits(&record())
    }

    fn digest(byte: u8) -> String {
        Hex::of(&[byte; 32]).as_str().to_owned()
    }

    #[test]
    fn everything_passes_no_filter() {
        assert!(admits(|_| {}));
    }

    #[test]
    fn fields_decide() {
        assert!(admits(|filter| filter.name = Some("f".into())));
        assert!(!admits(|filter| filter.name = Some("F".into())));
        assert!(!admits(|filter| filter.module = Some("f".into())));
        assert!(admits(|filter| filter.code_digest = Some(digest(1))));
        assert!(!admits(|filter| filter.code_digest = Some(digest(2))));
        assert!(admits(
            |filter| filter.result = Some(vec![digest(9), digest(4)])
        ));
        assert!(!admits(|filter| filter.result = Some(vec![digest(9)])));
    }

    #[test]
    fn versions_are_json() {
        let forms = |forms: &[&str]| Some(forms.iter().map(|form| (*form).to_owned()).collect());
        assert!(admits(|filter| filter.version = forms(&["3", "3.0"])));
        assert!(!admits(|filter| filter.version = forms(&["\"3\""])));
        let mut filter = Filter {
            version: forms(&["\"1.2\""]),
            ..Filter::default()
        };
        let mut record = record();
        record.version = Value::Text("1.2");
        assert!(filter.admits(&record));
        record.version = Value::Text("1.3");
        assert!(!filter.admits(&record));
        record.version = Value::None;
        assert!(!filter.admits(&record));
        record.version = Value::Text("ü");
        filter.version = forms(&["\"\\u00fc\""]);
        assert!(filter.admits(&record));
    }

    #[test]
    fn arguments_are_present_with_one_of_the_digests() {
        let with = |name: &str, digests: Option<Vec<String>>| {
            admits(|filter| filter.arguments.push((name.to_owned(), digests)))
        };
        assert!(with("x", None));
        assert!(!with("z", None));
        assert!(with("x", Some(vec![digest(9), digest(2)])));
        assert!(!with("x", Some(vec![digest(3)])));
    }

    #[test]
    fn metadata_is_compared_member_by_member() {
        let with = |name: &str, member: &str, condition: Condition| {
            admits(|filter| {
                let members = vec![(member.to_owned(), condition)];
                filter.metadata.push((name.to_owned(), members));
            })
        };
        assert!(with("tags", "n", Condition::Present));
        assert!(!with("tags", "absent", Condition::Present));
        assert!(!with("absent", "n", Condition::Present));
        assert!(with("tags", "n", Condition::Number(2.0)));
        assert!(!with("tags", "n", Condition::Number(2.1)));
        assert!(!with("tags", "text", Condition::Number(2.0)));
        assert!(with("tags", "half", Condition::Number(0.5)));
        assert!(with("tags", "text", Condition::Text("t".into())));
        assert!(!with("tags", "text", Condition::Text("u".into())));
        // It may be the digest of that very text.
        assert!(with("tags", "named", Condition::Text("u".into())));
    }
}
