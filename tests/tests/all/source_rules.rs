//! Rules that are kept by the text of the sources. Each has a list of places that are allowed, with
//! the reason; a new use fails here, and is either removed or argued for.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{self, production};

const PURE: [&str; 3] = ["tsm-simd", "tsm-crypto", "tsm-protocols"];
const ALL_CRATES: [&str; 12] = [
    "tsm-simd",
    "tsm-crypto",
    "tsm-types",
    "tsm-protocols",
    "tsm-transport",
    "tsm-storage",
    "tsm-node",
    "tsm-sim",
    "tsm-config",
    "tsm-server",
    "tsm-sdk",
    "tsm",
];

/// A file, how many uses it has, and why it may.
type Allowed<'a> = (&'a str, usize, &'a str);

/// Lines with `what`, counted by file, must be the allowed ones, no more and no fewer.
fn assert_only(what: &str, lines: impl Iterator<Item = (String, usize, String)>, allowed: &[Allowed<'_>]) {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, number, line) in lines {
        found.entry(path).or_default().push(format!("{number}: {}", line.trim()));
    }
    for (path, count, reason) in allowed {
        assert!(reason.len() > 10, "{path} has no reason");
        let uses = found.remove(*path).unwrap_or_default();
        assert_eq!(uses.len(), *count, "{what} in {path}, where {count} are argued for: {uses:#?}");
    }
    assert!(found.is_empty(), "{what} outside the allowed places: {found:#?}");
}

/// Whether a line has one of these words as a whole word.
fn has_word(line: &str, words: &[&str]) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.split(|c| !inside(c)).any(|word| words.contains(&word))
}

#[test]
fn s09_hashes_are_called_in_the_transcript_and_where_another_format_asks_for_them() {
    let hashes = ["blake3", "sha2", "sha3", "hmac", "hkdf", "Sha256", "Sha384", "Sha512", "Hmac", "Hkdf"];
    let uses = production(&ALL_CRATES).into_iter().filter(|(_, _, line)| {
        has_word(line, &hashes) || line.contains("aws_lc_rs::digest") || line.contains("aws_lc_rs::hmac")
    });
    let uses: Vec<_> = uses.filter(|(path, _, _)| !path.starts_with("crates/tsm/")).collect();
    assert_only(
        "a raw hash",
        uses.into_iter(),
        &[
            ("crates/tsm-crypto/src/transcript.rs", 4, "the transcript itself"),
            (
                "crates/tsm-crypto/src/derivation.rs",
                3,
                "HMAC-SHA512 of BIP 32; addresses outlive the versions that transcripts carry",
            ),
            ("crates/tsm-crypto/src/xpub.rs", 3, "the fingerprint and checksum of BIP 32's texts"),
            (
                "crates/tsm-crypto/src/identity.rs",
                2,
                "fingerprints are SHA-256 of the DER key, so that openssl shows the same",
            ),
            (
                "crates/tsm-config/src/auth.rs",
                2,
                "API keys are configured as SHA-256, as the format of the file says",
            ),
            ("crates/tsm-config/src/management.rs", 2, "the same for keys of the management port"),
            (
                "crates/tsm-sim/src/invariants.rs",
                1,
                "what simulated callers sign is hashed and verified by a library that is not ours",
            ),
            ("crates/tsm-config/src/secrets.rs", 2, "notices a configured hash of the empty key"),
        ],
    );
    // The command line makes what the configuration wants, and hashes messages for its user.
    let line =
        production(&["tsm"]).into_iter().filter(|(_, _, line)| has_word(line, &["blake3", "hmac", "hkdf"]));
    assert_eq!(line.count(), 0);
}

#[test]
fn s16_no_public_function_takes_a_soundness_parameter() {
    let parameters =
        ["soundness:", "iterations:", "repetitions:", "rounds:", "security_bits:", "challenge_bits:"];
    let taken = production(&PURE).into_iter().filter(|(_, _, line)| {
        line.contains("fn ") && parameters.iter().any(|parameter| line.contains(parameter))
    });
    assert_only("a soundness parameter", taken, &[]);
    // They are constants of the suite.
    let constants: BTreeSet<String> = production(&["tsm-crypto"])
        .into_iter()
        .filter(|(path, _, line)| path.contains("/ot/") && line.contains("const "))
        .map(|(_, _, line)| line)
        .collect();
    for name in ["TREE_DEPTH", "LEAVES"] {
        assert!(constants.iter().any(|line| line.contains(name)), "{name} is not a constant");
    }
}

#[test]
fn s23_lists_are_zipped_only_where_their_lengths_are_fixed() {
    let uses = production(&PURE).into_iter().filter(|(_, _, line)| line.contains(".zip("));
    let fixed = "arrays, or lists whose length their decoder fixes by curve";
    assert_only(
        "`.zip(`",
        uses,
        &[
            ("crates/tsm-protocols/src/per_peer.rs", 1, "asserts that both sides have the same peers"),
            ("crates/tsm-protocols/src/keygen/check.rs", 2, "PerPeer::zip; coefficients were counted by K1"),
            ("crates/tsm-protocols/src/echo.rs", 3, "lengths are compared first, in the lines above"),
            ("crates/tsm-protocols/src/ecdsa/sign/multiply.rs", 1, "PerPeer::zip"),
            ("crates/tsm-protocols/src/ecdsa/sign/check.rs", 3, "PerPeer::zip, and two arrays of two"),
            (
                "crates/tsm-protocols/src/ecdsa/presign/multiply.rs",
                2,
                "PerPeer::zip; both batches were counted by C12",
            ),
            (
                "crates/tsm-protocols/src/ecdsa/presign/commit.rs",
                1,
                "nonces, and the points just made of them",
            ),
            (
                "crates/tsm-protocols/src/ecdsa/presign/acknowledge.rs",
                6,
                "PerPeer::zip; lists were counted by C12",
            ),
            (
                "crates/tsm-crypto/src/curve.rs",
                1,
                "points and the coordinates just made of them, one for each",
            ),
            ("crates/tsm-crypto/src/fixed_base.rs", 1, "a number with room for all bytes of a scalar"),
            (
                "crates/tsm-crypto/src/libsecp256k1.rs",
                2,
                "a table with a line for each digit of a scalar, and the bytes of one",
            ),
            ("crates/tsm-crypto/src/ot/base.rs", 9, fixed),
            ("crates/tsm-crypto/src/ot/batch.rs", 1, "the count fixes the lengths in decoding"),
            ("crates/tsm-crypto/src/ot/bits.rs", 1, fixed),
            ("crates/tsm-crypto/src/ot/columns.rs", 1, "a string has as many blocks as there are sums"),
            ("crates/tsm-crypto/src/ot/extension.rs", 3, fixed),
            ("crates/tsm-crypto/src/ot/gf128.rs", 2, fixed),
            ("crates/tsm-crypto/src/ot/ggm.rs", 2, fixed),
            ("crates/tsm-crypto/src/ot/limbs.rs", 3, fixed),
            ("crates/tsm-crypto/src/ot/pads.rs", 2, fixed),
            ("crates/tsm-crypto/src/ot/setup.rs", 2, fixed),
            ("crates/tsm-crypto/src/ot/rows/portable.rs", 9, fixed),
            ("crates/tsm-crypto/src/ot/vole.rs", 3, fixed),
            ("crates/tsm-simd/src/aes.rs", 3, fixed),
            (
                "crates/tsm-simd/src/clmul.rs",
                3,
                "arrays; factors and blocks, whose number `gf128.rs` compares",
            ),
            ("crates/tsm-simd/src/ifma.rs", 11, fixed),
        ],
    );
}

#[test]
fn s27_nothing_that_peers_reach_panics_by_unwrap_or_macro() {
    let crates = ["tsm-simd", "tsm-crypto", "tsm-protocols", "tsm-transport", "tsm-node", "tsm-types"];
    let forbidden = [".unwrap()", "panic!(", "unreachable!(", "todo!(", "unimplemented!(", ".unwrap_err()"];
    let uses = production(&crates)
        .into_iter()
        .filter(|(_, _, line)| forbidden.iter().any(|word| line.contains(word)));
    assert_only("a panic", uses, &[]);
    // `expect` says why it cannot happen.
    let silent = production(&crates).into_iter().filter(|(_, _, line)| {
        line.split(".expect(\"").skip(1).any(|reason| reason.split('"').next().unwrap_or("").len() < 10)
    });
    assert_only("an `expect` without a reason", silent, &[]);
}

#[test]
fn s27_unsafe_code_is_forbidden_but_in_one_file() {
    let all = sources::all();
    let manifest = |path: &str| {
        let found = all.iter().find(|source| source.path == path);
        found.unwrap_or_else(|| panic!("{path} is missing")).text.clone()
    };
    let workspace = manifest("Cargo.toml");
    assert!(workspace.contains("[workspace.lints.rust]\nunsafe_code = \"forbid\""));
    let members = all.iter().filter(|source| source.path.ends_with("/Cargo.toml"));
    let mut count = 0;
    for member in members {
        count += 1;
        if member.path == "crates/tsm-simd/Cargo.toml" {
            // The workspace's lints, with one word changed.
            let lints = workspace.split("[workspace.lints.rust]").nth(1).expect("the workspace has lints");
            let lints = lints.split("\n# ").next().expect("a text has a first part");
            for line in lints.replace("workspace.", "").replace("\"forbid\"", "\"deny\"").lines() {
                assert!(member.text.contains(line), "{} lacks the lint {line}", member.path);
            }
            continue;
        }
        assert!(
            member.text.contains("[lints]\nworkspace = true"),
            "{} does not inherit the lints",
            member.path
        );
    }
    assert!(count >= 10, "only {count} crates were found");
    let unsafe_lines = production(&ALL_CRATES)
        .into_iter()
        .filter(|(_, _, line)| has_word(line, &["unsafe"]) || line.contains("allow(unsafe_code)"));
    assert_only(
        "unsafe code",
        unsafe_lines,
        &[(
            "crates/tsm-simd/src/x86.rs",
            6,
            "the lint's exception, entering functions for features that were found, two casts of 64 bytes",
        )],
    );
}

#[test]
fn s68_s113_no_forbidden_crate_is_in_the_lock_file() {
    let lock = std::fs::read_to_string(sources::root().join("Cargo.lock")).expect("Cargo.lock is readable");
    let names: BTreeSet<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.contains("k256") && names.len() > 100);
    let forbidden = [
        // Auxiliary RSA settings and timing (S-68, S-109).
        "rsa",
        "cggmp21",
        "cggmp24",
        "multi-party-ecdsa",
        "curv-kzen",
        "unknown_order",
        // Names that resemble multi-party libraries and are something else (S-113).
        "ocelot",
        "scuttlebutt",
        "swanky",
        // One TLS stack.
        "openssl",
        "openssl-sys",
        "native-tls",
    ];
    let found: Vec<&&str> =
        names.iter().filter(|name| forbidden.contains(name) || name.contains("paillier")).collect();
    assert!(found.is_empty(), "forbidden crates: {found:?}");
}

#[test]
fn s113_every_dependency_is_from_the_registry_with_a_checksum() {
    let lock = std::fs::read_to_string(sources::root().join("Cargo.lock")).expect("Cargo.lock is readable");
    for package in lock.split("[[package]]").skip(1) {
        if let Some(source) = package.lines().find_map(|line| line.strip_prefix("source = ")) {
            assert_eq!(source, "\"registry+https://github.com/rust-lang/crates.io-index\"", "{package}");
            assert!(package.contains("checksum = "), "{package}");
        }
    }
}

#[test]
fn s108_variable_time_functions_see_public_values_only() {
    let uses = production(&ALL_CRATES).into_iter().filter(|(_, _, line)| {
        line.contains("vartime") && !line.contains("fn ") && !line.trim().starts_with("use ")
    });
    assert_only(
        "a variable-time call",
        uses,
        &[
            ("crates/tsm-crypto/src/curve.rs", 4, "the definitions of the functions whose names say so"),
            (
                "crates/tsm-crypto/src/dlog.rs",
                1,
                "verifies a proof: statement, commitment and response are sent in clear",
            ),
            (
                "crates/tsm-crypto/src/ecdsa.rs",
                3,
                "verifies a signature, given or joined, or shifts its R: all of it is public",
            ),
            (
                "crates/tsm-crypto/src/ot/gf128.rs",
                1,
                "variable in the challenges, which are public; not in the columns",
            ),
            ("crates/tsm-crypto/src/ot/limbs.rs", 1, "a power of two that depends on the curve alone"),
            (
                "crates/tsm-crypto/src/ot/vole.rs",
                1,
                "whether a received matrix is canonical: the message is the peer's own",
            ),
            (
                "crates/tsm-protocols/src/keygen/check.rs",
                2,
                "commitments to coefficients, and a share number: both public",
            ),
            ("crates/tsm-protocols/src/polynomial.rs", 1, "the same evaluation, in the exponent"),
            (
                "crates/tsm-protocols/src/ecdsa/presign/inputs.rs",
                1,
                "points that a peer has sent, and coefficients of no use once it has",
            ),
            (
                "crates/tsm-protocols/src/ecdsa/presign/online.rs",
                1,
                "δ, a hash of what all signers and callers know; and R' with it",
            ),
            ("crates/tsm-protocols/src/ecdsa/sign/check.rs", 1, "R, which the caller learns"),
        ],
    );
}

#[test]
fn s108_exposed_secrets_are_not_compared_with_operators() {
    let compared = production(&ALL_CRATES).into_iter().filter(|(_, _, line)| {
        ["==", "!="].iter().any(|operator| {
            line.split(operator).collect::<Vec<_>>().windows(2).any(|sides| {
                let left = sides[0].rsplit(['(', '{', '&', '|']).next().unwrap_or("");
                left.trim_end().ends_with("expose()")
                    || sides[0].trim_end().ends_with(".expose()")
                    || sides[1].trim_start().split([' ', ')', ';']).next().unwrap_or("").ends_with(".expose(")
            })
        })
    });
    assert_only(
        "a comparison of a secret",
        compared,
        &[(
            "crates/tsm-storage/src/key.rs",
            1,
            "a text that is no secret, after it was opened: the cipher has compared its tag in constant time",
        )],
    );
}

/// Concatenated, so that this file does not have them.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
const BUILD_MACHINES: [&str; 5] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("C:", "\\Users"),
];

#[test]
fn s113_no_file_has_a_path_of_a_build_machine_or_a_note_to_its_author() {
    let mut found = Vec::new();
    for source in sources::all() {
        for (number, line) in source.text.lines().enumerate() {
            if NOTES.iter().any(|note| has_word(line, &[note]))
                || BUILD_MACHINES.iter().any(|path| line.contains(path))
            {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
