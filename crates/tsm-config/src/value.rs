//! One value: its type, its templates, its bounds.

use std::time::Duration;

use toml::de::{DeString, DeValue};
use zeroize::Zeroizing;

use super::problem::{Place, ProblemCode, Problems};
use super::settings::{Kind, Setting};
use super::template::{TemplateError, expand, is_template};
use tsm_types::duration;

/// A value within the bounds of its kind.
pub(super) enum Value {
    Text(Zeroizing<String>),
    Integer(i64),
    Duration(Duration),
    Flag(bool),
    Words(Vec<String>),
}

/// The longest word of a list.
const MAX_WORD_BYTES: usize = 64;

/// Reads a value of a setting, or notes why it cannot be one.
pub(super) fn value(
    setting: &Setting,
    raw: DeValue<'_>,
    place: &Place,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Option<Value> {
    let result = match raw {
        DeValue::String(text) => replaced(text, variable)
            .and_then(|(text, was_template)| from_text(setting.kind, text, was_template)),
        DeValue::Integer(number) if matches!(setting.kind, Kind::Integer { .. }) => {
            // Only digits get here: what does not fit is too large or too small.
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map_err(|_| Refusal::OutOfRange).and_then(|number| integer(setting.kind, number))
        }
        DeValue::Boolean(flag) if matches!(setting.kind, Kind::Flag) => Ok(Value::Flag(flag)),
        DeValue::Array(items) if matches!(setting.kind, Kind::List) => {
            let words = items.into_iter().map(|item| match item.into_inner() {
                DeValue::String(word) if word.len() <= MAX_WORD_BYTES => Ok(word.into_owned()),
                DeValue::String(_) => Err(Refusal::TooLong { max_bytes: MAX_WORD_BYTES }),
                other @ (DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_)) => Err(Refusal::Type(type_name(&other))),
            });
            words.collect::<Result<_, _>>().map(Value::Words)
        }
        other @ (DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_)) => Err(Refusal::Type(type_name(&other))),
    };
    result.map_err(|refusal| refusal.note(setting, place, problems)).ok()
}

/// A default of the table of settings.
pub(super) fn default_value(kind: Kind, text: &str) -> Value {
    let value = from_text(kind, Zeroizing::new(text.to_owned()), true);
    value.ok().expect("a test reads every default of the table")
}

/// What a person calls the type of a value.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

enum Refusal {
    Type(&'static str),
    Empty,
    TooLong { max_bytes: usize },
    OutOfRange,
    Duration,
    Template(TemplateError),
}

/// The text with its templates replaced, and whether it had any.
fn replaced(
    text: DeString<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Zeroizing<String>, bool), Refusal> {
    // Taken over rather than copied where the TOML reader made a string of its own.
    let text = Zeroizing::new(text.into_owned());
    if !is_template(&text) {
        return Ok((text, false));
    }
    Ok((expand(&text, variable).map_err(Refusal::Template)?, true))
}

/// A string is a number or a switch only if a template made it: TOML has types of its own for both.
fn from_text(kind: Kind, text: Zeroizing<String>, was_template: bool) -> Result<Value, Refusal> {
    match kind {
        Kind::Text { max_bytes } if text.len() > max_bytes => Err(Refusal::TooLong { max_bytes }),
        Kind::Text { .. } if text.trim().is_empty() => Err(Refusal::Empty),
        Kind::Text { .. } => Ok(Value::Text(text)),
        Kind::Duration { min, max } => {
            let duration = duration::parse(text.trim()).ok_or(Refusal::Duration)?;
            if (min..=max).contains(&duration) {
                Ok(Value::Duration(duration))
            } else {
                Err(Refusal::OutOfRange)
            }
        }
        Kind::Integer { .. } if was_template => {
            integer(kind, text.trim().parse().map_err(|_| Refusal::Type("another text"))?)
        }
        Kind::Flag if was_template => {
            text.trim().parse().map(Value::Flag).map_err(|_| Refusal::Type("another text"))
        }
        Kind::Integer { .. } | Kind::Flag | Kind::List => Err(Refusal::Type("a string")),
    }
}

fn integer(kind: Kind, number: i64) -> Result<Value, Refusal> {
    match kind {
        Kind::Integer { min, max } if (min..=max).contains(&number) => Ok(Value::Integer(number)),
        Kind::Integer { .. } => Err(Refusal::OutOfRange),
        Kind::Text { .. } | Kind::Duration { .. } | Kind::Flag | Kind::List => {
            Err(Refusal::Type("an integer"))
        }
    }
}

impl Refusal {
    fn note(self, setting: &Setting, place: &Place, problems: &mut Problems) {
        let (code, what, hint) = match self {
            Refusal::Type(found) => (
                ProblemCode::WrongType,
                format!("expected {}, found {found}", setting.kind.noun()),
                format!("write {} = {}", setting.key, setting.kind.example()),
            ),
            Refusal::Empty => (
                ProblemCode::Empty,
                "the value is empty".to_owned(),
                format!("leave the line out, or give the value: {}", setting.doc),
            ),
            Refusal::TooLong { max_bytes } => (
                ProblemCode::TooLong,
                format!("the value has more than {max_bytes} bytes"),
                format!("check what was pasted here: {}", setting.doc),
            ),
            Refusal::OutOfRange => (
                ProblemCode::OutOfRange,
                format!("the value is not {}", setting.kind.range()),
                format!("choose a value in this range: {}", setting.doc),
            ),
            Refusal::Duration => (
                ProblemCode::BadDuration,
                "not a duration".to_owned(),
                "write a number with a unit (ms, s, m, h) in quotes, such as \"10s\" or \"1m30s\"".to_owned(),
            ),
            Refusal::Template(TemplateError::Unset(name)) => (
                ProblemCode::UnsetVariable,
                format!("the environment variable {name} is not set (or is not UTF-8)"),
                format!("set {name} where the node is started, or write the value here"),
            ),
            Refusal::Template(TemplateError::NotBuilt) => (
                ProblemCode::NotBuilt,
                "awsSecret templates are known from the documentation, but not built yet in this version"
                    .to_owned(),
                "put the secret into the environment and write {{ env `NAME` }}".to_owned(),
            ),
            Refusal::Template(TemplateError::Malformed) => (
                ProblemCode::BadTemplate,
                "not a template that can be replaced".to_owned(),
                "write {{ env `NAME` }} with a variable's name of letters, digits and underscores".to_owned(),
            ),
        };
        problems.error(code, place, what, &hint);
    }
}

impl Kind {
    /// The type, as a problem names it.
    fn noun(self) -> &'static str {
        match self {
            Kind::Text { .. } => "a string",
            Kind::Integer { .. } => "an integer",
            Kind::Duration { .. } => "a duration as a string",
            Kind::Flag => "true or false",
            Kind::List => "a list of strings",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Kind::Text { .. } => "\"...\", in double quotes",
            Kind::Integer { .. } => "a whole number without quotes",
            Kind::Duration { .. } => "\"10s\", with a unit and in double quotes",
            Kind::Flag => "true or false, without quotes",
            Kind::List => "[\"...\", \"...\"]",
        }
    }

    /// The type with its bounds, as the documentation shows it.
    pub(super) fn range(self) -> String {
        match self {
            Kind::Text { max_bytes } => format!("a string of at most {max_bytes} bytes"),
            Kind::Integer { min, max } => format!("an integer from {min} to {max}"),
            Kind::Duration { min, max } => {
                format!("a duration from {}ms to {}h", min.as_millis(), max.as_secs() / 3600)
            }
            Kind::Flag => "true or false".to_owned(),
            Kind::List => "a list of strings".to_owned(),
        }
    }
}
