//! What a whole store holds, by function: how many calls, what they took to compute, and how many
//! bytes of values they need, alone and with others.
//!
//! For stores of millions of calls: 36 bytes for each value that a function needs, and nothing else
//! for each record.

mod by_key;
mod folder;
mod parts;

use std::collections::{BTreeMap, HashMap};

pub use by_key::ByKey;
pub use folder::{Folder, walk};
pub use parts::Values;

use super::digest::Hash;
use super::error::Result;
use super::pickle::{Record, Value};

/// What is known of a function's calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub module: Option<String>,
    pub calls: u64,
    /// How long they ran, as far as that was recorded.
    pub seconds: f64,
    /// When the last one ended, in seconds since 1970.
    pub newest: Option<f64>,
}

/// When a call ended, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    pub seconds: Option<f64>,
    pub stopped: Option<f64>,
}

/// Bytes of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Of those that the calls of no other function need.
    pub alone: u64,
    pub shared: u64,
}

/// What the values of a store take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// In the order of the functions.
    pub functions: Vec<Bytes>,
    pub values: u64,
    pub bytes: u64,
    /// Of the values that calls of several functions need.
    pub shared: u64,
    /// The values that no call needs.
    pub orphans: u64,
    pub orphan_bytes: u64,
}

/// Calls that were read so far.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many records a database has, and what they take, with all arguments if these are asked
    /// for.
    pub records: u64,
    pub record_bytes: u64,
    functions: Vec<Function>,
    numbers: HashMap<String, Vec<(Option<String>, u32)>>,
    /// Whose number was asked for last: calls of one function often follow each other.
    last: usize,
    /// Keys of values, each with the number of a function that needs it.
    needs: ByKey<u32>,
    /// How many of them there may be before those that are there twice go.
    most: usize,
}

/// Calls often share arguments: what is there twice is looked for when there is so much.
const FEW: usize = 1 << 20;

impl Survey {
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The number of a function.
    pub fn number(&mut self, name: &str, module: Option<&str>) -> u32 {
        let last = self.functions.get(self.last);
        if last.is_some_and(|last| last.name == name && last.module.as_deref() == module) {
            return u32::try_from(self.last).unwrap_or(u32::MAX);
        }
        let number = self.number_of(name, module);
        self.last = number as usize;
        number
    }

    fn number_of(&mut self, name: &str, module: Option<&str>) -> u32 {
        let known = self.numbers.get(name).into_iter().flatten();
        let mut known = known.filter(|(known, _)| known.as_deref() == module);
        if let Some((_, number)) = known.next() {
            return *number;
        }
        let number = u32::try_from(self.functions.len()).unwrap_or(u32::MAX);
        let module = module.map(str::to_owned);
        let of_name = self.numbers.entry(name.to_owned()).or_default();
        of_name.push((module.clone(), number));
        self.functions.push(Function {
            name: name.to_owned(),
            module,
            calls: 0,
            seconds: 0.0,
            newest: None,
        });
        number
    }

    /// Counts a call.
    pub fn call(&mut self, function: u32) {
        if let Some(function) = self.functions.get_mut(function as usize) {
            function.calls += 1;
        }
    }

    /// Adds what a call took.
    pub fn took(&mut self, function: u32, times: Times) {
        let Some(function) = self.functions.get_mut(function as usize) else {
            return;
        };
        function.seconds += times.seconds.unwrap_or(0.0);
        if let Some(stopped) = times.stopped {
            let newest = function.newest.unwrap_or(stopped);
            function.newest = Some(newest.max(stopped));
        }
    }

    /// Notes that a call of a function needs a value.
    pub fn need(&mut self, function: u32, key: Hash) {
        self.needs.push(key, function);
        self.look_for_doubles();
    }

    fn settle(&mut self) {
        self.needs.settle(|one, other| one == other);
    }

    /// Adds the calls of another one; the numbers of its functions here.
    pub fn append(&mut self, other: Self) -> Vec<u32> {
        self.records += other.records;
        self.record_bytes += other.record_bytes;
        let mut numbers = Vec::new();
        for each in other.functions {
            let number = self.number(&each.name, each.module.as_deref());
            if let Some(function) = self.functions.get_mut(number as usize) {
                function.calls += each.calls;
                let seconds = Some(each.seconds);
                let stopped = each.newest;
                self.took(number, Times { seconds, stopped });
            }
            numbers.push(number);
        }
        let mut needs = other.needs;
        if numbers.iter().zip(0..).any(|(number, own)| *number != own) {
            needs.change(|function| *function = numbers[*function as usize]);
        }
        self.need_all(needs);
        numbers
    }

    /// Notes keys of values, each with a function that needs it.
    pub fn need_all(&mut self, needs: ByKey<u32>) {
        self.needs.append(needs);
        self.look_for_doubles();
    }

    fn look_for_doubles(&mut self) {
        if self.needs.length() >= self.most.max(FEW) {
            self.settle();
            self.most = 2 * self.needs.length();
        }
    }

    /// Counts a record.
    pub fn add(&mut self, record: &Record<'_>) {
        let function = self.number(record.name, record.module);
        self.call(function);
        self.took(function, times_of(record));
        for key in record.arguments.iter().map(|(_, key)| key) {
            self.need(function, *key);
        }
        if let Some(key) = record.result {
            self.need(function, key);
        }
    }

    /// The needed values that may have parts.
    fn long_ones(&self, folder: &Folder) -> Vec<Hash> {
        let mut needs = self.needs.iter().peekable();
        let entries = folder.entries.iter();
        let long = entries.filter(|(_, size)| *size >= parts::SHORTEST);
        let needed = long.filter(|(key, _)| {
            while needs.next_if(|(needed, _)| needed < key).is_some() {}
            needs.peek().is_some_and(|(needed, _)| needed == key)
        });
        needed.map(|(key, _)| *key).collect()
    }

    /// What the values in `folder`, that of `store`, take. The parts of a value are needed by who
    /// needs it.
    pub fn measure(&mut self, values: &impl Values, folder: &Folder) -> Result<Room> {
        self.settle();
        self.most = 0;
        let long = self.long_ones(folder);
        let more = parts::of_needed(values, folder, &self.needs, long)?;
        if !more.is_empty() {
            for (key, function) in more {
                self.needs.push(key, function);
            }
            self.settle();
        }
        let mut room = Room {
            functions: vec![Bytes::default(); self.functions.len()],
            ..Room::default()
        };
        let mut needs = self.needs.iter().peekable();
        let mut users = Vec::new();
        for (key, size) in folder.entries.iter() {
            room.values += 1;
            room.bytes += size;
            users.clear();
            while needs.next_if(|(needed, _)| needed < key).is_some() {}
            while let Some((_, function)) = needs.next_if(|(needed, _)| needed == key) {
                users.push(*function as usize);
            }
            match users.as_slice() {
                [] => {
                    room.orphans += 1;
                    room.orphan_bytes += size;
                }
                [function] => room.functions[*function].alone += size,
                several => {
                    room.shared += size;
                    for function in several {
                        room.functions[*function].shared += size;
                    }
                }
            }
        }
        Ok(room)
    }
}

/// As the first metadata says that knows when a call ended.
fn times_of(record: &Record<'_>) -> Times {
    for (_, held) in &record.metadata {
        let Value::Dict(items) = held else { continue };
        let held: BTreeMap<&str, &Value<'_>> = items
            .iter()
            .filter_map(|(name, value)| match name {
                Value::Text(name) => Some((*name, value)),
                _ => None,
            })
            .collect();
        if let Some(stopped) = held.get("timestop") {
            return Times {
                seconds: held.get("walltime").and_then(|value| number(value)),
                stopped: number(stopped),
            };
        }
    }
    Times::default()
}

#[expect(clippy::cast_precision_loss, reason = "seconds are far below 2^53")]
fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::files::Store;

    #[test]
    fn room_is_told_by_function() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned(), Duration::from_secs(1));
        for (key, length) in [(1, 10), (2, 20), (3, 30), (4, 40), (5, 50)] {
            store.write(&[key; 32], &vec![b'z'; length]).unwrap();
        }
        // A list of one that is stored apart, under [4; 32].
        let whole = format!("fleche.storage.destructuring {}", "04".repeat(32)) + &"z".repeat(20);
        store.write(&[6; 32], whole.as_bytes()).unwrap();
        let mut survey = Survey::default();
        let (f, g) = (survey.number("f", None), survey.number("f", Some("m")));
        assert_eq!((f, g, survey.number("f", None)), (0, 1, 0));
        for (function, keys) in [(f, &[1_u8, 2, 9][..]), (f, &[1]), (g, &[2, 6])] {
            survey.call(function);
            for key in keys {
                survey.need(function, [*key; 32]);
            }
        }
        let walked = walk(folder.path()).unwrap();
        assert!(walked.blocks >= 200);
        let room = survey.measure(&store, &walked).unwrap();
        let long = u64::try_from(whole.len()).unwrap();
        let bytes = |alone, shared| Bytes { alone, shared };
        assert_eq!(room.functions, [bytes(10, 20), bytes(40 + long, 20)]);
        assert_eq!((room.values, room.bytes), (6, 150 + long));
        assert_eq!((room.shared, room.orphans, room.orphan_bytes), (20, 2, 80));
        assert_eq!(survey.functions()[0].calls, 2);
    }
}
