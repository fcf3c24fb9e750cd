//! A file as its sections and their values, with every section and key known and every value of its
//! type and in its bounds.
//!
//! [`super::reader`] fills it; what the values mean together is for [`super::read`].

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeTable;

use super::Purpose;
use super::problem::{Place, ProblemCode, Problems};
use super::reader::Reader;
use super::settings::{Need, Section};
use super::value::{Value, default_value};

/// The sections of a file.
pub(super) struct Document {
    found: Vec<Found>,
}

/// A section that the file has.
pub(super) struct Found {
    pub(super) section: &'static Section,
    pub(super) place: Place,
    /// The player's index, for a section of a player.
    pub(super) player: Option<u16>,
    /// Values by key, defaults among them.
    values: BTreeMap<&'static str, Value>,
    /// The keys that the file has, values that were refused among them.
    written: BTreeMap<&'static str, Place>,
}

impl Document {
    /// Reads a text, noting every problem.
    pub(super) fn read(
        text: &str,
        purpose: Purpose,
        variable: &dyn Fn(&str) -> Option<String>,
        problems: &mut Problems,
    ) -> Document {
        let lines = Lines::of(text);
        let (root, syntax) = DeTable::parse_recoverable(text);
        let found = Reader::new(&lines, variable, problems).read(root.into_inner(), purpose);
        for error in &syntax {
            note_syntax_error(text, error, &lines, problems);
        }
        Document { found }
    }

    /// The sections with this path in the table of settings.
    pub(super) fn all(&self, path: &'static str) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |found| found.section.path == path)
    }

    /// The section with this path, if the file has it.
    pub(super) fn one(&self, path: &'static str) -> Option<&Found> {
        self.all(path).next()
    }
}

impl Found {
    /// A text and where it stands.
    pub(super) fn text(&self, key: &str) -> Option<(&str, Place)> {
        match self.values.get(key) {
            Some(Value::Text(text)) => Some((text, self.place_of(key))),
            _ => None,
        }
    }

    /// A number, which the table says fits the type asked for.
    pub(super) fn integer<T: TryFrom<i64>>(&self, key: &str) -> Option<T> {
        match self.values.get(key) {
            Some(Value::Integer(number)) => T::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A duration.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        match self.values.get(key) {
            Some(Value::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    /// A switch.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.values.get(key) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// The words of a list.
    pub(super) fn words(&self, key: &str) -> Option<&[String]> {
        match self.values.get(key) {
            Some(Value::Words(words)) => Some(words),
            _ => None,
        }
    }

    /// Whether the file has the key, even if its value was refused.
    pub(super) fn has(&self, key: &str) -> bool {
        self.written.contains_key(key)
    }

    /// Where the key stands, or its section if it is left out.
    pub(super) fn place_of(&self, key: &str) -> Place {
        match self.written.get(key) {
            Some(place) => place.clone(),
            None => Place { line: self.place.line, key: format!("{}.{key}", self.place.key) },
        }
    }

    /// The section as if the file had its header alone: all defaults.
    pub(super) fn left_out(section: &'static Section) -> Found {
        Found::new(section, Place::nowhere(section.path), None)
    }

    pub(super) fn new(section: &'static Section, place: Place, player: Option<u16>) -> Found {
        let mut values = BTreeMap::new();
        for setting in section.settings {
            if let Need::Default(text) = setting.need {
                values.insert(setting.key, default_value(setting.kind, text));
            }
        }
        Found { section, place, player, values, written: BTreeMap::new() }
    }

    /// Takes what the file has for a key. A value that was refused leaves none, not the default.
    pub(super) fn write(&mut self, key: &'static str, place: Place, value: Option<Value>) {
        self.written.insert(key, place);
        match value {
            Some(value) => self.values.insert(key, value),
            None => self.values.remove(key),
        };
    }
}

fn note_syntax_error(text: &str, error: &toml::de::Error, lines: &Lines, problems: &mut Problems) {
    let line = lines.line(error.span().map_or(text.len(), |span| span.start));
    let template = text.lines().nth(line - 1).is_some_and(|content| content.contains("{{"));
    let hint = match error.message() {
        message if message.contains("duplicate") => "each key and each [Section] may stand only once",
        _ if template => "write a {{ template }} inside quotes, also where a number is wanted",
        _ => "write key = value, with strings in double quotes; see toml.io",
    };
    // The reader's own sentence and not its display, which shows the line.
    problems.error(
        ProblemCode::Syntax,
        &Place::new(line, ""),
        format!("not TOML: {}", error.message()),
        hint,
    );
}

/// Line numbers of byte offsets.
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Lines {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines { starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset)
    }
}
