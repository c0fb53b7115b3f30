//! Short forms of keys: which key a prefix stands for, and the shortest prefix that stands for one.

use super::digest::{DIGEST_LENGTH, Hash};

/// The shortest prefix that is ever looked up or given out, in characters.
pub const SHORTEST: usize = 4;

/// How many of the keys that share a prefix are named when it is ambiguous.
const NAMED: usize = 4;

/// What a prefix stands for among the keys of a store.
#[derive(Debug, PartialEq, Eq)]
pub enum Expansion<'a> {
    Missing,
    One(&'a str),
    Several(Ambiguity<'a>),
}

/// The keys that share a prefix.
#[derive(Debug, PartialEq, Eq)]
pub struct Ambiguity<'a> {
    /// All of them, sorted.
    keys: Vec<&'a str>,
}

impl Ambiguity<'_> {
    /// How many characters tell every one of them from the others.
    pub fn needed(&self) -> usize {
        let pairs = self.keys.windows(2);
        pairs
            .map(|pair| shared(pair[0], pair[1]))
            .max()
            .unwrap_or(0)
            + 1
    }

    /// What to tell the user who gave `prefix`.
    pub fn message(&self, prefix: &str) -> String {
        let named: Vec<_> = self.keys.iter().take(NAMED).collect();
        let named: Vec<_> = named.iter().map(|key| format!("'{key}'")).collect();
        let rest = match self.keys.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "Short digest {prefix} is ambiguous; expands to: [{}]{rest}; need at least {} characters.",
            named.join(", "),
            self.needed()
        )
    }
}

/// The key that `prefix` stands for among `keys`; one key given twice is one key.
pub fn expand<'a>(prefix: &str, keys: impl Iterator<Item = &'a str>) -> Expansion<'a> {
    if prefix.chars().take(SHORTEST).count() < SHORTEST {
        return Expansion::Missing;
    }
    let mut found: Vec<_> = keys.filter(|key| key.starts_with(prefix)).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [] => Expansion::Missing,
        [key] => Expansion::One(key),
        _ => Expansion::Several(Ambiguity { keys: found }),
    }
}

/// The shortest prefix of `key` that no other of the `sorted` keys has; `None` if it is not there.
pub fn shrink<'a>(key: &'a str, sorted: &[&str]) -> Option<&'a str> {
    let first = sorted.partition_point(|other| *other < key);
    if sorted.get(first) != Some(&key) {
        return None;
    }
    let next = sorted[first..].iter().find(|other| **other != key);
    let before = first.checked_sub(1).map(|index| &sorted[index]);
    let neighbours = before.into_iter().chain(next);
    let common = neighbours.map(|other| shared(key, other)).max();
    let length = common.map_or(SHORTEST, |common| SHORTEST.max(common + 1));
    Some(match key.char_indices().nth(length) {
        Some((end, _)) => &key[..end],
        None => key,
    })
}

/// How long the shortest prefix is that tells each key from all others of `sorted`, which are not
/// given twice; `None` for a key that is not there.
pub fn lengths(keys: &[Option<Hash>], sorted: &[Hash]) -> Vec<Option<usize>> {
    let length = |key: &Option<Hash>| {
        let place = sorted.binary_search(key.as_ref()?).ok()?;
        let before = place.checked_sub(1).and_then(|index| sorted.get(index));
        let neighbours = before.into_iter().chain(sorted.get(place + 1));
        let common = neighbours.map(|other| shared_digits(&sorted[place], other));
        let common = common.max().unwrap_or(0);
        Some(DIGEST_LENGTH.min(SHORTEST.max(common + 1)))
    };
    keys.iter().map(length).collect()
}

/// How many leading hex digits two digests share.
fn shared_digits(left: &Hash, right: &Hash) -> usize {
    let pairs = left.iter().zip(right);
    let bytes = pairs.take_while(|(left, right)| left == right).count();
    let half = left.get(bytes).zip(right.get(bytes));
    2 * bytes + usize::from(half.is_some_and(|(left, right)| left >> 4 == right >> 4))
}

/// How many leading characters two keys share.
fn shared(left: &str, right: &str) -> usize {
    let pairs = left.chars().zip(right.chars());
    pairs.take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::digest::Hex;
    use proptest::prelude::*;

    fn key(start: &str) -> String {
        format!("{start:0<64}")
    }

    #[test]
    fn a_prefix_stands_for_the_one_key_that_has_it() {
        let keys = [key("abcd1"), key("abcd20"), key("abcd2011")];
        let expand = |prefix| expand(prefix, keys.iter().map(String::as_str));
        assert_eq!(expand("abcd1"), Expansion::One(&keys[0]));
        assert_eq!(expand("abc"), Expansion::Missing);
        assert_eq!(expand("dead"), Expansion::Missing);
        let Expansion::Several(ambiguity) = expand("abcd") else {
            panic!("three keys share this prefix");
        };
        assert_eq!(ambiguity.needed(), 7);
        assert!(
            ambiguity
                .message("abcd")
                .ends_with("need at least 7 characters.")
        );
    }

    #[test]
    fn one_key_listed_twice_is_not_ambiguous() {
        let keys = [key("abcd"), key("abcd")];
        let keys = keys.iter().map(String::as_str);
        assert!(matches!(expand("abcd", keys), Expansion::One(_)));
    }

    #[test]
    fn shrinking_keeps_four_characters_and_never_passes_the_end() {
        assert_eq!(shrink("abcdef", &["abcdef"]), Some("abcd"));
        assert_eq!(shrink("abcd", &["abcd", "abcdef"]), Some("abcd"));
        assert_eq!(shrink("abcdef", &["abcd", "abcdef"]), Some("abcde"));
        assert_eq!(shrink("ab", &["ab"]), Some("ab"));
        assert_eq!(shrink("dead", &["abcd"]), None);
        assert_eq!(shrink("äöüß€", &["äöüß€"]), Some("äöüß"));
    }

    proptest! {
        #[test]
        fn digests_have_the_prefixes_that_their_texts_have(
            ends in prop::collection::btree_set(0_u32..100_000, 1..50),
            shift in 0_u32..12,
        ) {
            let hash = |end: u32| {
                let mut hash = [0xab; 32];
                hash[..4].copy_from_slice(&(end << shift).to_be_bytes());
                hash
            };
            let mut sorted: Vec<Hash> = ends.into_iter().map(hash).collect();
            sorted.sort_unstable();
            sorted.dedup();
            let texts: Vec<_> = sorted.iter().map(Hex::of).collect();
            let texts: Vec<_> = texts.iter().map(Hex::as_str).collect();
            let absent = [Some([0xff; 32]), None];
            let keys: Vec<_> = sorted.iter().copied().map(Some).chain(absent).collect();
            let found = lengths(&keys, &sorted);
            let expected = texts.iter().map(|text| shrink(text, &texts).map(str::len));
            let expected: Vec<_> = expected.chain([None, None]).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn what_was_shrunk_expands_to_the_same_key(
            keys in prop::collection::btree_set("[ab]{6}", 1..20),
        ) {
            let sorted: Vec<&str> = keys.iter().map(String::as_str).collect();
            for key in &sorted {
                let short = shrink(key, &sorted).unwrap();
                prop_assert_eq!(expand(short, sorted.iter().copied()), Expansion::One(key));
                let shorter = &short[..short.len() - 1];
                let shorter = expand(shorter, sorted.iter().copied());
                prop_assert!(!matches!(shorter, Expansion::One(_)));
            }
        }
    }
}
