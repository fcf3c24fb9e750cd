//! The table of settings as documentation.

use std::fmt::Write as _;

use super::settings::{Need, SECTIONS, Setting, Status};

/// Every section and key as Markdown: the reference part of `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = String::new();
    let (built, planned): (Vec<_>, Vec<_>) =
        SECTIONS.iter().partition(|section| section.status == Status::Built);
    for section in built {
        let required = if section.required { " Required." } else { "" };
        push(&mut text, format_args!("### `{}`\n\n{}{required}\n\n", section.header(), section.doc));
        let (built, later): (Vec<&Setting>, Vec<&Setting>) =
            section.settings.iter().partition(|setting| setting.status == Status::Built);
        if !built.is_empty() {
            push(&mut text, format_args!("| key | value | if left out | meaning |\n|---|---|---|---|\n"));
            for setting in built {
                push(&mut text, format_args!("{}\n", row(setting)));
            }
            push(&mut text, format_args!("\n"));
        }
        if !later.is_empty() {
            push(&mut text, format_args!("Known, not built yet: {}.\n\n", names(later)));
        }
    }
    push(&mut text, format_args!("### Sections that are known, but not built yet\n\n"));
    push(&mut text, format_args!("| section | what for | keys |\n|---|---|---|\n"));
    for section in planned {
        let keys = names(section.settings);
        push(&mut text, format_args!("| `{}` | {} | {keys} |\n", section.header(), section.doc));
    }
    text
}

fn row(setting: &Setting) -> String {
    let left_out = match setting.need {
        Need::Required => "required".to_owned(),
        Need::Optional => "-".to_owned(),
        Need::Default(value) => format!("`{value}`"),
    };
    format!("| `{}` | {} | {left_out} | {} |", setting.key, setting.kind.range(), setting.doc)
}

fn names<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> String {
    let names: Vec<String> = settings.into_iter().map(|setting| format!("`{}`", setting.key)).collect();
    names.join(", ")
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("writing to a string cannot fail");
}
