use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{Database, Intent, Journal};
use crate::engine::record::{Condition, Filter, Row};
use crate::engine::schemes::Scheme;

fn memory() -> Database {
    Database::new(None, Journal::WriteAhead, None, Duration::from_secs(60))
}

fn record(key: &str, name: &str, arguments: &[(&str, &str)]) -> Row {
    Row {
        key: key.into(),
        name: name.into(),
        arguments: arguments
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect(),
        ..Row::default()
    }
}

fn matches(database: &Database, filter: &Filter) -> Vec<String> {
    let (mut keys, mut after) = (Vec::new(), Some(String::new()));
    while let Some(start) = after {
        let page = database.query(filter, &start).unwrap();
        keys.extend(page.records.into_iter().map(|record| record.key));
        after = page.after;
    }
    keys
}

#[test]
fn a_record_comes_back() {
    let database = memory();
    let mut saved = record("ab", "f", &[("x", "1"), ("a", "2")]);
    saved.version = Some("\"1.2\"".into());
    saved.metadata = vec![("runtime".into(), "{\"walltime\": 0.5}".into())];
    database.save(&saved, Scheme::Exact).unwrap();
    assert_eq!(database.load("ab").unwrap(), Some(saved.clone()));
    saved.arguments.pop();
    saved.metadata.clear();
    saved.result = Some("cd".into());
    database.save(&saved, Scheme::Exact).unwrap();
    assert_eq!(database.load("ab").unwrap(), Some(saved));
    assert_eq!(database.load_result("ab").unwrap(), Some(Some("cd".into())));
    database.evict("ab").unwrap();
    database.evict("ab").unwrap();
    assert_eq!(database.load("ab").unwrap(), None);
    assert_eq!(database.load_result("ab").unwrap(), None);
}

#[test]
fn the_newest_is_the_one_saved_last() {
    let database = memory();
    for key in ["c", "a", "b", "c"] {
        database
            .save(&record(key, "f", &[]), Scheme::Exact)
            .unwrap();
    }
    assert_eq!(database.list_by_age().unwrap(), ["a", "b", "c"]);
    assert_eq!(database.list().unwrap(), ["a", "b", "c"]);
    assert_eq!(database.candidates("b").unwrap(), ["b"]);
}

#[test]
fn filters_match() {
    let database = memory();
    let mut first = record("a", "f", &[("x", "1"), ("y", "2")]);
    first.metadata = vec![("tags".into(), r#"{"k": "v", "n": 3, "b": true}"#.into())];
    let mut second = record("b", "f", &[("x", "2")]);
    second.metadata = vec![("tags".into(), r#"{"n": NaN}"#.into())];
    database.save(&first, Scheme::Exact).unwrap();
    database.save(&second, Scheme::Exact).unwrap();
    let argument = |name: &str, digests: Option<Vec<&str>>| Filter {
        arguments: vec![(
            name.into(),
            digests.map(|digests| digests.into_iter().map(Into::into).collect()),
        )],
        ..Filter::default()
    };
    assert_eq!(matches(&database, &Filter::default()), ["a", "b"]);
    assert_eq!(
        matches(&database, &argument("x", Some(vec!["1", "9"]))),
        ["a"]
    );
    assert_eq!(matches(&database, &argument("x", None)), ["a", "b"]);
    assert_eq!(matches(&database, &argument("y", None)), ["a"]);
    let tags = |member: &str, condition: Condition| Filter {
        metadata: vec![("tags".into(), vec![(member.into(), condition)])],
        ..Filter::default()
    };
    // The second one is no JSON for SQLite: the filter lets it through.
    assert_eq!(
        matches(&database, &tags("k", Condition::Text("v".into()))),
        ["a", "b"]
    );
    assert_eq!(
        matches(&database, &tags("k", Condition::Text("w".into()))),
        ["b"]
    );
    assert_eq!(
        matches(&database, &tags("n", Condition::Number(3.0))),
        ["a", "b"]
    );
    assert_eq!(
        matches(&database, &tags("n", Condition::Number(4.0))),
        ["b"]
    );
    assert_eq!(matches(&database, &tags("zz", Condition::Present)), ["b"]);
}

#[test]
fn threads_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/calls.db");
    let database = Database::new(
        Some(path.clone()),
        Journal::WriteAhead,
        None,
        Duration::from_secs(60),
    );
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (database, path) = (&database, path.clone());
            scope.spawn(move || {
                let own = Database::new(
                    Some(path),
                    Journal::WriteAhead,
                    None,
                    Duration::from_secs(60),
                );
                for i in 0..25 {
                    let key = format!("{thread}-{i}");
                    let used = if i % 2 == 0 { database } else { &own };
                    used.save(&record(&key, "f", &[("x", &key)]), Scheme::Exact)
                        .unwrap();
                    assert!(used.contains(&key).unwrap());
                }
            });
        }
    });
    assert_eq!(database.list().unwrap().len(), 200);
}

#[test]
fn a_file_that_is_no_database_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("junk.db");
    std::fs::write(
        &path,
        "no database at all, but long enough to be read as one".repeat(10),
    )
    .unwrap();
    let database = Database::new(Some(path), Journal::WriteAhead, None, Duration::ZERO);
    let Err(error) = database.open() else {
        panic!("opened junk");
    };
    assert!(error.is_corrupt());
    assert!(error.to_string().contains("junk.db"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is saved and evicted, the database holds what a map would.
    #[test]
    fn it_is_a_map(steps in prop::collection::vec(
        (0u8..20, prop::option::of(prop::collection::vec(("[a-e]", "[0-9a-f]{4}"), 0..4))), 0..60,
    )) {
        let database = memory();
        let mut expected = BTreeMap::new();
        for (key, arguments) in steps {
            let key = format!("{key:02}");
            match arguments {
                None => {
                    database.evict(&key).unwrap();
                    expected.remove(&key);
                }
                Some(arguments) => {
                    let unique: BTreeMap<_, _> = arguments.into_iter().collect();
                    let arguments: Vec<_> = unique.into_iter().rev().collect();
                    let saved = Row { key: key.clone(), name: "f".into(), arguments, ..Row::default() };
                    database.save(&saved, Scheme::Exact).unwrap();
                    expected.insert(key, saved);
                }
            }
        }
        prop_assert_eq!(database.list().unwrap(), expected.keys().cloned().collect::<Vec<_>>());
        let page = database.query(&Filter::default(), "").unwrap();
        prop_assert_eq!(page.records, expected.into_values().collect::<Vec<_>>());
    }
}

#[test]
fn a_database_knows_the_schemes_of_its_keys() {
    let database = memory();
    let held = || {
        let [exact, sha256] = Scheme::ALL.map(|scheme| database.may_hold(scheme).unwrap());
        (exact, sha256)
    };
    assert_eq!(held(), (false, false));
    database
        .save(&record("a", "f", &[]), Scheme::Exact)
        .unwrap();
    assert_eq!(held(), (true, false));
    database
        .save(&record("b", "f", &[]), Scheme::Sha256)
        .unwrap();
    assert_eq!(held(), (true, true));
    database.hold_only(Scheme::Sha256).unwrap();
    assert_eq!(held(), (false, true));
    let forget = |statement: &'static str| {
        database
            .with("", Intent::Write, |connection| {
                connection.execute(statement, [])
            })
            .unwrap();
    };
    forget("DELETE FROM fleche_schemes");
    assert_eq!(held(), (true, true));
    database
        .save(&record("c", "f", &[]), Scheme::Exact)
        .unwrap();
    assert_eq!(held(), (true, true));
    database.hold_only(Scheme::Exact).unwrap();
    forget("INSERT INTO fleche_schemes VALUES ('unheard of')");
    assert_eq!(held(), (true, true));
}
