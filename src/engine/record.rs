//! A call record as databases hold it: digests as text, structured parts as JSON.

/// One record (`fleche.call.DigestedCall`) with the key it is stored under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub key: String,
    pub name: String,
    pub module: Option<String>,
    /// JSON: a text or a number.
    pub version: Option<String>,
    pub code_digest: Option<String>,
    pub result: Option<String>,
    /// Digests by name, in the order of the parameters.
    pub arguments: Vec<(String, String)>,
    /// JSON objects by the metadata's name.
    pub metadata: Vec<(String, String)>,
}

/// What a database can tell of whether a record matches a pattern. It may let records through
/// that do not match, never the other way round: the pattern itself decides in the end.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub name: Option<String>,
    pub module: Option<String>,
    pub code_digest: Option<String>,
    /// The forms that the version may have as JSON.
    pub version: Option<Vec<String>>,
    /// The digests under which the result may be recorded.
    pub result: Option<Vec<String>>,
    /// Arguments that are present, with the digests that they may have; none: whichever.
    pub arguments: Vec<(String, Option<Vec<String>>)>,
    /// Metadata that is present, with conditions on its members.
    pub metadata: Vec<(String, Vec<(String, Condition)>)>,
}

/// A condition on a member of a JSON object.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Present,
    Text(String),
    /// As near as a database reads numbers.
    Number(f64),
}
