//! `docs/configuration.md` and the table of settings say the same.

use super::settings::{Need, SECTIONS, Status};
use super::value::default_value;
use super::*;

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn the_documentation_has_every_setting_as_the_code_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (listed, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", reference())).unwrap();
        return;
    }
    assert_eq!(listed, reference(), "renew it with UPDATE_DOCS=1");
}

#[test]
fn the_sample_in_the_documentation_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let (sample, _) = rest.split_once("```").unwrap();
    let sample =
        sample.replace("PLAYER_PRIVATE_KEY", "KEY").replace("/secrets/database-password", "/key/line");
    assert_eq!(good(&sample).warnings, []);
}

#[test]
fn the_table_is_sound() {
    let mut paths = BTreeSet::new();
    for section in SECTIONS {
        assert!(paths.insert(section.path), "{} twice", section.path);
        let mut keys = BTreeSet::new();
        for setting in section.settings {
            assert!(keys.insert(setting.key), "{}.{} twice", section.path, setting.key);
            assert!(!setting.doc.contains('|'), "would break the documentation's table");
            if section.status == Status::NotBuilt {
                assert_eq!(setting.status, Status::NotBuilt);
            }
            if let Need::Default(text) = setting.need {
                // Panics on a default that its own bounds refuse.
                default_value(setting.kind, text);
            }
        }
    }
}
