//! Reads the pickles of call records without running anything.
//!
//! Pickle is a program for a stack machine (CPython's `pickletools` describes each opcode). A
//! record needs a few opcodes and three classes; a stream that uses anything else is
//! [`Unreadable`] here, which says nothing about it: Python's own `pickle` is asked then.

use smallvec::SmallVec;

use super::digest::{Hash, parse_hex};

/// How deeply the values of a record may be nested in each other, for this reader.
const DEEPEST: usize = 50;

/// The stream is not one that this reader understands.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// A value of a record: what JSON can say, and digests.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Digest(Hash),
    List(Vec<Value<'a>>),
    Tuple(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
}

/// A call record (`fleche.call.DigestedCall`).
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    pub name: &'a str,
    pub module: Option<&'a str>,
    pub version: Value<'a>,
    pub code_digest: Option<Value<'a>>,
    pub arguments: Vec<(&'a str, Hash)>,
    pub result: Option<Hash>,
    pub metadata: Vec<(Value<'a>, Value<'a>)>,
}

impl Value<'_> {
    /// What is nested without end would be dropped, and walked, beyond the end of the stack.
    fn is_deeper_than(&self, levels: usize) -> bool {
        match (self, levels.checked_sub(1)) {
            (Self::List(items) | Self::Tuple(items), Some(levels)) => {
                items.iter().any(|item| item.is_deeper_than(levels))
            }
            (Self::Dict(items), Some(levels)) => items
                .iter()
                .any(|(key, value)| key.is_deeper_than(levels) || value.is_deeper_than(levels)),
            (Self::List(_) | Self::Tuple(_) | Self::Dict(_), None) => true,
            _ => false,
        }
    }
}

/// What may lie on the stack besides values.
#[derive(Debug)]
enum Item<'a> {
    Value(Value<'a>),
    Global(&'a str, &'a str),
    /// A record before its state is set, and with it.
    EmptyRecord,
    Record(Vec<(Value<'a>, Value<'a>)>),
    Mark,
}

/// The record that a pickle holds.
pub fn read_record(pickle: &[u8]) -> Result<Record<'_>, Unreadable> {
    match (Machine {
        rest: pickle,
        stack: SmallVec::new(),
        memo: SmallVec::new(),
    })
    .run()?
    {
        Item::Record(state) => Record::from_state(state),
        _ => Err(Unreadable),
    }
}

impl<'a> Record<'a> {
    fn from_state(state: Vec<(Value<'a>, Value<'a>)>) -> Result<Self, Unreadable> {
        let mut record = Self {
            name: "",
            module: None,
            version: Value::None,
            code_digest: None,
            arguments: Vec::new(),
            result: None,
            metadata: Vec::new(),
        };
        let mut named = false;
        for (field, value) in state {
            match (field, value) {
                (Value::Text("name"), Value::Text(name)) => (record.name, named) = (name, true),
                (Value::Text("module"), Value::Text(module)) => record.module = Some(module),
                (
                    Value::Text("version"),
                    version @ (Value::None | Value::Int(_) | Value::Text(_)),
                ) => {
                    record.version = version;
                }
                (Value::Text("code_digest"), digest @ (Value::Text(_) | Value::Digest(_))) => {
                    record.code_digest = Some(digest);
                }
                (Value::Text("result"), Value::Digest(hash)) => record.result = Some(hash),
                (Value::Text("arguments"), Value::Dict(arguments)) => {
                    for argument in arguments {
                        let (Value::Text(name), Value::Digest(hash)) = argument else {
                            return Err(Unreadable);
                        };
                        record.arguments.push((name, hash));
                    }
                }
                (Value::Text("metadata"), Value::Dict(metadata)) => record.metadata = metadata,
                (Value::Text("module" | "code_digest" | "result"), Value::None) => {}
                _ => return Err(Unreadable),
            }
        }
        if named { Ok(record) } else { Err(Unreadable) }
    }
}

/// What was put down under a number. Containers change after that, so only what never changes is
/// kept; a stream that fetches another thing is not read.
#[derive(Clone, Copy)]
enum Kept<'a> {
    Nothing,
    Text(&'a str),
    Digest(Hash),
    Global(&'a str, &'a str),
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: SmallVec<[Item<'a>; 24]>,
    memo: SmallVec<[Kept<'a>; 64]>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Item<'a>, Unreadable> {
        loop {
            let [opcode] = self.array()?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => drop(self.array::<1>()?), // PROTO
                0x95 => drop(self.array::<8>()?), // FRAME
                b'(' => self.stack.push(Item::Mark),
                b'N' => self.push(Value::None),
                0x88 => self.push(Value::Bool(true)),
                0x89 => self.push(Value::Bool(false)),
                b'K' => {
                    let [number] = self.array()?;
                    self.push(Value::Int(i64::from(number)));
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.array()?);
                    self.push(Value::Int(i64::from(number)));
                }
                b'J' => {
                    let number = i32::from_le_bytes(self.array()?);
                    self.push(Value::Int(i64::from(number)));
                }
                0x8a => self.long()?,
                b'G' => {
                    let number = f64::from_be_bytes(self.array()?);
                    self.push(Value::Float(number));
                }
                0x8c => {
                    let [length] = self.array()?;
                    self.text(usize::from(length))?;
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.text(usize::try_from(length).map_err(|_| Unreadable)?)?;
                }
                b'}' => self.push(Value::Dict(Vec::new())),
                b']' => self.push(Value::List(Vec::new())),
                b')' => self.push(Value::Tuple(Vec::new())),
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => {
                    let items = self.values_above_mark()?;
                    self.push(Value::Tuple(items));
                }
                b'a' => {
                    let item = Self::inner(self.pop_value()?)?;
                    self.list()?.push(item);
                }
                b'e' => {
                    let items = self.values_above_mark()?;
                    self.list()?.extend(items);
                }
                b's' => {
                    let value = Self::inner(self.pop_value()?)?;
                    let key = Self::inner(self.pop_value()?)?;
                    self.dict()?.push((key, value));
                }
                b'u' => self.set_items()?,
                0x94 => {
                    let index = self.memo.len();
                    self.memoize(index)?;
                }
                b'q' => {
                    let [index] = self.array()?;
                    self.memoize(usize::from(index))?;
                }
                b'r' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.memoize(usize::try_from(index).map_err(|_| Unreadable)?)?;
                }
                b'h' => {
                    let [index] = self.array()?;
                    self.fetch(usize::from(index))?;
                }
                b'j' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.fetch(usize::try_from(index).map_err(|_| Unreadable)?)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.stack.push(Item::Global(module, name));
                }
                0x93 => match (self.pop_value()?, self.pop_value()?) {
                    (Value::Text(name), Value::Text(module)) => {
                        self.stack.push(Item::Global(module, name));
                    }
                    _ => return Err(Unreadable),
                },
                0x81 => self.new_object()?,
                b'R' => self.call()?,
                b'b' => match (self.pop_value()?, self.stack.pop()) {
                    (Value::Dict(state), Some(Item::EmptyRecord)) => {
                        self.stack.push(Item::Record(state));
                    }
                    _ => return Err(Unreadable),
                },
                _ => return Err(Unreadable),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Unreadable)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Unreadable)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<&'a str, Unreadable> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or(Unreadable)?;
        let line = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| Unreadable)
    }

    fn text(&mut self, length: usize) -> Result<(), Unreadable> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Unreadable)?;
        self.push(Value::Text(text));
        Ok(())
    }

    fn long(&mut self) -> Result<(), Unreadable> {
        let [length] = self.array()?;
        let bytes = self.take(usize::from(length))?;
        if bytes.len() > 8 {
            return Err(Unreadable);
        }
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut number = [if negative { 0xff } else { 0 }; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(number)));
        Ok(())
    }

    /// A value that goes into a container.
    fn inner(value: Value<'a>) -> Result<Value<'a>, Unreadable> {
        if value.is_deeper_than(DEEPEST) {
            return Err(Unreadable);
        }
        Ok(value)
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(Item::Value(value));
    }

    fn pop(&mut self) -> Result<Item<'a>, Unreadable> {
        self.stack.pop().ok_or(Unreadable)
    }

    fn pop_value(&mut self) -> Result<Value<'a>, Unreadable> {
        match self.pop()? {
            Item::Value(value) => Ok(value),
            _ => Err(Unreadable),
        }
    }

    fn values_above_mark(&mut self) -> Result<Vec<Value<'a>>, Unreadable> {
        let mark = self
            .stack
            .iter()
            .rposition(|item| matches!(item, Item::Mark));
        let mark = mark.ok_or(Unreadable)?;
        let mut values = Vec::with_capacity(self.stack.len() - mark - 1);
        for item in self.stack.drain(mark..).skip(1) {
            match item {
                Item::Value(value) => values.push(Self::inner(value)?),
                _ => return Err(Unreadable),
            }
        }
        Ok(values)
    }

    fn tuple(&mut self, length: usize) -> Result<(), Unreadable> {
        let start = self.stack.len().checked_sub(length).ok_or(Unreadable)?;
        let mut items = Vec::with_capacity(length);
        for item in self.stack.drain(start..) {
            match item {
                Item::Value(value) => items.push(Self::inner(value)?),
                // `defaultdict(dict)`: the factory is the one class that is ever an argument.
                Item::Global("builtins" | "__builtin__", "dict") => items.push(Value::None),
                _ => return Err(Unreadable),
            }
        }
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn list(&mut self) -> Result<&mut Vec<Value<'a>>, Unreadable> {
        match self.stack.last_mut() {
            Some(Item::Value(Value::List(list))) => Ok(list),
            _ => Err(Unreadable),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Value<'a>, Value<'a>)>, Unreadable> {
        match self.stack.last_mut() {
            Some(Item::Value(Value::Dict(dict))) => Ok(dict),
            _ => Err(Unreadable),
        }
    }

    fn set_items(&mut self) -> Result<(), Unreadable> {
        let items = self.values_above_mark()?;
        if items.len() % 2 == 1 {
            return Err(Unreadable);
        }
        let dict = self.dict()?;
        dict.reserve(items.len() / 2);
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            dict.push((key, value));
        }
        Ok(())
    }

    fn memoize(&mut self, index: usize) -> Result<(), Unreadable> {
        let kept = match self.stack.last().ok_or(Unreadable)? {
            Item::Value(Value::Text(text)) => Kept::Text(text),
            Item::Value(Value::Digest(hash)) => Kept::Digest(*hash),
            Item::Global(module, name) => Kept::Global(module, name),
            _ => Kept::Nothing,
        };
        // Numbers are given in order; a stream that jumps ahead is none of a record.
        if index == self.memo.len() {
            self.memo.push(kept);
        } else {
            *self.memo.get_mut(index).ok_or(Unreadable)? = kept;
        }
        Ok(())
    }

    fn fetch(&mut self, index: usize) -> Result<(), Unreadable> {
        self.stack
            .push(match *self.memo.get(index).ok_or(Unreadable)? {
                Kept::Nothing => return Err(Unreadable),
                Kept::Text(text) => Item::Value(Value::Text(text)),
                Kept::Digest(hash) => Item::Value(Value::Digest(hash)),
                Kept::Global(module, name) => Item::Global(module, name),
            });
        Ok(())
    }

    fn new_object(&mut self) -> Result<(), Unreadable> {
        let Value::Tuple(arguments) = self.pop_value()? else {
            return Err(Unreadable);
        };
        match (self.pop()?, arguments.as_slice()) {
            (Item::Global("fleche.call", "DigestedCall"), []) => self.stack.push(Item::EmptyRecord),
            (Item::Global("fleche.digest", "Digest"), [Value::Text(text)]) => {
                let hash = parse_hex(text.as_bytes()).ok_or(Unreadable)?;
                self.push(Value::Digest(hash));
            }
            _ => return Err(Unreadable),
        }
        Ok(())
    }

    fn call(&mut self) -> Result<(), Unreadable> {
        let Value::Tuple(arguments) = self.pop_value()? else {
            return Err(Unreadable);
        };
        match (self.pop()?, arguments.as_slice()) {
            (Item::Global("collections", "defaultdict"), [Value::None]) => {
                self.push(Value::Dict(Vec::new()));
                Ok(())
            }
            _ => Err(Unreadable),
        }
    }
}

#[cfg(test)]
mod tests;
