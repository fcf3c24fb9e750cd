//! Walks through the TOML of a file beside the table of settings.

use toml::de::{DeTable, DeValue};

use super::Purpose;
use super::document::{Found, Lines};
use super::nearest::nearest;
use super::problem::{Place, ProblemCode, Problems};
use super::settings::{Form, Kind, Need, SECTIONS, Section, Setting, Status};
use super::value::{Value, type_name, value};

/// Reads a file's sections, noting every problem.
pub(super) struct Reader<'a> {
    lines: &'a Lines,
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a mut Problems,
    found: Vec<Found>,
}

impl<'a> Reader<'a> {
    /// `lines` are those of the text that is read; `variable` looks into the environment.
    pub(super) fn new(
        lines: &'a Lines,
        variable: &'a dyn Fn(&str) -> Option<String>,
        problems: &'a mut Problems,
    ) -> Self {
        Reader { lines, variable, problems, found: Vec::new() }
    }

    /// The sections of a file.
    pub(super) fn read(mut self, root: DeTable<'_>, purpose: Purpose) -> Vec<Found> {
        self.missing_sections(&root, purpose);
        self.inside(root, &Position::root(), None);
        self.found
    }

    /// Reads the inside of a section, or of the file as a whole.
    fn inside(&mut self, table: DeTable<'_>, at: &Position, mut found: Option<&mut Found>) {
        for (key, value) in table {
            let line = self.lines.line(key.span().start);
            let name = key.into_inner();
            if at.children().any(|child| child == "N") {
                self.player(&name, line, value.into_inner(), at);
            } else if at.children().any(|child| child == name) {
                self.child(at.join(&name, &name), line, value, None);
            } else if let Some(setting) = at.section().and_then(|section| section.setting(&name)) {
                let place = Place::new(line, at.join(&name, &name).path);
                let value = value_of(setting, value.into_inner(), &place, self.variable, self.problems);
                if let Some(found) = found.as_deref_mut() {
                    found.write(setting.key, place, value);
                }
            } else {
                self.unknown(&name, line, value.get_ref(), at);
            }
        }
    }

    /// `[Players.N]`.
    fn player(&mut self, name: &str, line: usize, value: DeValue<'_>, at: &Position) {
        let digits = !name.is_empty() && name.chars().all(|c| c.is_ascii_digit());
        let index = name.parse::<u16>().ok().filter(|index| index.to_string() == name);
        match index {
            Some(index) => {
                let value = toml::Spanned::new(0..0, value);
                self.child(at.join("N", name), line, value, Some(index));
            }
            None if digits => {
                let place = Place::new(line, at.path.clone());
                self.problems.error(
                    ProblemCode::OutOfRange,
                    &place,
                    "a player's index is a whole number from 0 to 65535 without leading zeros",
                    "number the players 0, 1, 2 and so on, and write [Players.1]",
                );
            }
            None => self.unknown(name, line, &value, at),
        }
    }

    /// A section, a list of sections, or the empty path to one.
    fn child(&mut self, at: Position, line: usize, value: toml::Spanned<DeValue<'_>>, player: Option<u16>) {
        let place = Place::new(line, at.path.clone());
        let section = at.section();
        if let Some(section) = section
            && section.status == Status::NotBuilt
        {
            not_built(&section.header(), &place, self.problems);
            return;
        }
        let form = section.map_or(Form::Table, |section| section.form);
        match (form, value.into_inner()) {
            (Form::Table, DeValue::Table(table)) => self.section(section, table, &at, place, player),
            (Form::List, DeValue::Array(items)) => {
                for (number, item) in items.into_iter().enumerate() {
                    let at = Position { pattern: at.pattern.clone(), path: format!("{}[{number}]", at.path) };
                    let place = Place::new(self.lines.line(item.span().start), at.path.clone());
                    let item = item.into_inner();
                    if let DeValue::Table(table) = item {
                        self.section(section, table, &at, place, None);
                    } else {
                        self.not_a_section(&item, &place, form, &at);
                    }
                }
            }
            (_, other) => self.not_a_section(&other, &place, form, &at),
        }
    }

    fn section(
        &mut self,
        section: Option<&'static Section>,
        table: DeTable<'_>,
        at: &Position,
        place: Place,
        player: Option<u16>,
    ) {
        let Some(section) = section else { return self.inside(table, at, None) };
        // `[Authentication.APIKeys]` brings an `[Authentication]` that has no line of its own: the
        // same to the reader, since nothing in it is required.
        for setting in section.settings.iter().filter(|setting| setting.need == Need::Required) {
            if !table.contains_key(setting.key) {
                self.problems.error(
                    ProblemCode::Missing,
                    &Place { line: place.line, key: format!("{}.{}", at.path, setting.key) },
                    format!("{} needs the key {}", section.header(), setting.key),
                    setting.doc,
                );
            }
        }
        let mut found = Found::new(section, place, player);
        self.inside(table, at, Some(&mut found));
        self.found.push(found);
    }

    fn missing_sections(&mut self, root: &DeTable<'_>, purpose: Purpose) {
        let wanted = |section: &&Section| section.required && section.is_for(purpose);
        for section in SECTIONS.iter().filter(wanted) {
            if !root.contains_key(section.path) {
                self.problems.error(
                    ProblemCode::Missing,
                    &Place::nowhere(section.path),
                    format!("the section {} is missing", section.header()),
                    section.doc,
                );
            }
        }
    }

    fn not_a_section(&mut self, value: &DeValue<'_>, place: &Place, form: Form, at: &Position) {
        let header = match form {
            Form::Table => format!("[{}]", at.path),
            Form::List => format!("[[{}]]", at.pattern),
        };
        self.problems.error(
            ProblemCode::WrongType,
            place,
            format!("expected a section {header}, found {}", type_name(value)),
            &format!("write {header} on a line of its own and the keys under it"),
        );
    }

    fn unknown(&mut self, name: &str, line: usize, value: &DeValue<'_>, at: &Position) {
        let is_section = matches!(value, DeValue::Table(_));
        let code = if is_section { ProblemCode::UnknownSection } else { ProblemCode::UnknownKey };
        let keys = at.section().map_or(&[] as &[Setting], |section| section.settings);
        let known: Vec<&'static str> = at
            .children()
            .filter(|&child| child != "N")
            .chain(keys.iter().map(|setting| setting.key))
            .collect();
        let near = nearest(name, known.iter().copied()).map(|near| at.join(near, near).path);
        let homes = homes_of(name);
        let hint = match &near {
            Some(near) => format!("did you mean {near}?"),
            None if at.pattern == "Players" => {
                "write a section for each player, such as [Players.1]".to_owned()
            }
            None if !homes.is_empty() => format!("this key belongs in {}", homes.join(" or ")),
            None => "remove it; docs/configuration.md lists everything that can stand here".to_owned(),
        };
        let what = if is_section { "there is no such section" } else { "there is no such key here" };
        // A name that resembles nothing we know may be a secret on the wrong side of its `=`: the
        // line says where it is.
        let shown = near.is_some() || !homes.is_empty();
        let path = if shown { at.join(name, name).path } else { at.path.clone() };
        if let Some(near) = near {
            self.problems.meant(&near);
        }
        self.problems.error(code, &Place::new(line, path), what, &hint);
    }
}

/// Where the reader is: the path as the table has it, and as the file has it.
struct Position {
    pattern: String,
    path: String,
}

impl Position {
    fn root() -> Self {
        Position { pattern: String::new(), path: String::new() }
    }

    fn join(&self, pattern: &str, name: &str) -> Self {
        let join = |left: &str, right: &str| match left {
            "" => right.to_owned(),
            left => format!("{left}.{right}"),
        };
        Position { pattern: join(&self.pattern, pattern), path: join(&self.path, name) }
    }

    fn section(&self) -> Option<&'static Section> {
        SECTIONS.iter().find(|section| section.path == self.pattern)
    }

    /// The names that may follow here.
    fn children(&self) -> impl Iterator<Item = &'static str> {
        SECTIONS.iter().filter_map(|section| match self.pattern.as_str() {
            "" => section.path.split('.').next(),
            pattern => section.path.strip_prefix(pattern)?.strip_prefix('.')?.split('.').next(),
        })
    }
}

/// Checks a key against what this version can do, then its value.
fn value_of(
    setting: &Setting,
    raw: DeValue<'_>,
    place: &Place,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Problems,
) -> Option<Value> {
    if setting.status == Status::Built {
        return value(setting, raw, place, variable, problems);
    }
    match (setting.kind, raw) {
        // Switched off is what this version does anyway.
        (Kind::Flag, DeValue::Boolean(false)) => {}
        (Kind::Flag, DeValue::Boolean(true)) => not_built(setting.key, place, problems),
        (Kind::Flag, other) => drop(value(setting, other, place, variable, problems)),
        (Kind::Text { .. } | Kind::Integer { .. } | Kind::Duration { .. } | Kind::List, _) => {
            not_built(setting.key, place, problems);
        }
    }
    None
}

fn not_built(name: &str, place: &Place, problems: &mut Problems) {
    problems.error(
        ProblemCode::NotBuilt,
        place,
        format!("{name} is known from the documentation, but not built yet in this version"),
        "remove it to start this version without it; docs/configuration.md says what is built",
    );
}

/// The sections that have a key with this name.
fn homes_of(name: &str) -> Vec<String> {
    let has = |section: &&Section| section.status == Status::Built && section.setting(name).is_some();
    SECTIONS.iter().filter(has).map(Section::header).collect()
}
