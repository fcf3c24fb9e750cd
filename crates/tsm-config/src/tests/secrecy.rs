//! No secret of a file is ever shown, whatever is wrong with the file.

use proptest::prelude::*;

use super::*;

const PASSWORD: &str = "canaryPasswordCanary";
const DSN: &str = "canaryDsnCanary";

/// The good file, with canaries for the secrets that are free text.
fn with_canaries() -> String {
    edited("a long random password", PASSWORD).replace("/tmp/tsm.sqlite", DSN)
}

/// Pieces of every secret. Base64 in the middle of a key, so that a part shown is noticed too.
fn canaries() -> Vec<&'static str> {
    vec![PASSWORD, DSN, &OWN_PRIVATE[10..30], &OWN_PRIVATE[30..50], "QcV6NRHhpM7UaFaU", "88IU8yrT6+EGVD6v"]
}

#[track_caller]
fn assert_quiet(text: &str) {
    let serving = match parse_here(text) {
        Ok(config) => format!("{config:?} {config:#?} {}", told(&config.warnings)),
        Err(problems) => format!("{problems:?} {}", told(&problems)),
    };
    let embedded = match outside(|outside| parse_embedded_with(text, outside)) {
        Ok(config) => format!("{config:?} {config:#?} {}", told(&config.warnings)),
        Err(problems) => format!("{problems:?} {}", told(&problems)),
    };
    let shown = serving + &embedded;
    for canary in canaries() {
        assert!(!shown.contains(canary), "{canary} is shown:\n{shown}\n--- for\n{text}");
    }
}

#[test]
fn s107_a_good_configuration_shows_no_secret() {
    assert_quiet(&with_canaries());
    good(&with_canaries());
}

#[test]
fn s107_no_damage_to_a_file_makes_it_show_a_secret() {
    let text = with_canaries();
    let lines: Vec<&str> = text.lines().collect();
    let secret_at = |line: &str| canaries().iter().any(|canary| line.contains(canary));
    let mangle: &[fn(&str) -> String] = &[
        |line| line.replace('"', ""),
        |line| line.replacen('"', "", 1),
        |line| line.trim_end_matches('"').to_owned(),
        |line| line.replace(" = ", " "),
        |line| line.replace(" = ", " = = "),
        |line| line.replace(" = \"", "\n\""),
        |line| line.split_once(" = ").map(|(key, value)| format!("{value} = \"{key}\"")).unwrap(),
        |line| line.split_once(" = ").map(|(key, value)| format!("[{value}]\n{key} = 1")).unwrap(),
        |line| line.split_once(" = ").map(|(key, value)| format!("[[Player.{value}]]\n{key} = 1")).unwrap(),
        |line| line.split_once(" = ").map(|(key, value)| format!("{key}.{value} = 1")).unwrap(),
        |line| line.replace(" = \"", " = \"\\q"),
        |line| line.replace(" = \"", " = \"{{ env "),
        |line| line.replace(" = \"", " = [\"") + "]",
        |line| line.replace(" = ", " = { a = ") + " }",
        |line| format!("{line}\n{line}"),
        |line| line.split_once(" = ").map(|(_, value)| format!("x = {value}")).unwrap(),
        |line| line.split_once(" = ").map(|(_, value)| format!("DriverName = {value}")).unwrap(),
        |line| line.split_once(" = ").map(|(_, value)| format!("[Players.3]\nAddress = {value}")).unwrap(),
        |line| line.split_once(" = ").map(|(_, value)| format!("[SDKServer]\nAddress = {value}")).unwrap(),
        |line| {
            line.split_once(" = ").map(|(_, value)| format!("[Session]\nConnectTimeout = {value}")).unwrap()
        },
        |line| line.split_once(" = ").map(|(_, value)| format!("EncryptorKeyFile = {value}")).unwrap(),
        |line| line.split_once(" = ").map(|(_, value)| format!("Index = {value}")).unwrap(),
    ];
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| secret_at(line)) {
        for mangle in mangle {
            let mut damaged: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            damaged[number] = mangle(line);
            assert_quiet(&damaged.join("\n"));
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = parse_here(&text);
    }

    #[test]
    fn text_that_looks_like_toml_never_panics(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40),
    ) {
        let _ = parse_here(&pieces.concat());
    }

    #[test]
    fn s107_a_damaged_file_never_panics_or_shows_a_secret(
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&PIECES[..])), 1..6),
    ) {
        let mut text = with_canaries();
        for (at, piece) in damage {
            let at = text.floor_char_boundary(at.index(text.len()));
            let next = text.ceil_char_boundary(at + 1);
            text.replace_range(at..next, piece);
        }
        assert_quiet(&text);
    }
}

const PIECES: [&str; 41] = [
    "",
    "\n",
    " ",
    "\t",
    "=",
    ".",
    ",",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "{{",
    "}}",
    "#",
    "\\",
    "`",
    "env `KEY`",
    "[Player]",
    "[Players.2]",
    "[Players",
    "[Database]",
    "[[Authentication.APIKeys]]",
    "[DKLS23.Features]",
    "Index",
    "PrivateKey",
    "Port",
    "APIKey",
    "ConnectTimeout",
    "DrainTimeout",
    "true",
    "1",
    "-1e9",
    "99999999999999999999",
    "1979-05-27T07:32:00Z",
    "\u{fc}\0",
];
