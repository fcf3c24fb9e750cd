//! Files that are refused: each mistake with its code, its line and its key.

use super::*;

/// Replaces `from` in the good file by `to`; expects exactly one problem, at the line where the
/// text after `@` stands, or in the file as a whole.
#[track_caller]
fn refused(from: &str, to: &str, code: &str, at: &str, key: &str) {
    refused_text(&edited(from, to), code, at, key);
}

#[track_caller]
fn refused_text(text: &str, code: &str, at: &str, key: &str) {
    let problems = parse_here(text).expect_err(key);
    let line = text.lines().position(|line| line.contains(at)).map(|index| index + 1);
    let line = if at == NOWHERE { None } else { Some(line.expect("the place is in the file")) };
    let found: Vec<_> =
        problems.iter().map(|problem| (problem.code.as_str(), problem.line, problem.key.as_str())).collect();
    assert_eq!(found, [(code, line, key)], "{}", told(&problems));
    assert!(problems[0].hint.len() > 5 && problems[0].what.len() > 5);
}

const NOWHERE: &str = "nowhere";

/// Every key that is built, with its place in the good file.
const KEYS: &[(&str, &str)] = &[
    ("Player.Index", "Index = 1"),
    ("Player.PrivateKey", "PrivateKey = "),
    ("Players.2.Address", "Address = \"tcp"),
    ("Players.0.PublicKey", "PublicKey = \"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0"),
    ("MPCTCPServer.Port", "Port = 9001"),
    ("MPCTCPServer.Address", "Address = \"127"),
    ("SDKServer.Port", "Port = 8001"),
    ("SDKServer.Address", "Address = \"::1"),
    ("Database.DriverName", "DriverName"),
    ("Database.DataSourceName", "DataSourceName"),
    ("Database.EncryptorMasterPassword", "EncryptorMasterPassword"),
    ("Database.MaxOpenConns", "MaxOpenConns"),
    ("Database.MaxIdleConns", "MaxIdleConns"),
    ("Authentication.APIKeys[0].APIKey", "APIKey = \"QcV6"),
    ("Authentication.APIKeys[1].ApplicationID", "ApplicationID = \"another"),
    ("DKLS19.Features.GenerateKey", "GenerateKey"),
    ("DKLS23.Features.Sign", "Sign = true"),
    ("DKLS23.Features.PublicKey", "PublicKey = true"),
    ("DKLS23.Features.GeneratePresignatures", "GeneratePresignatures"),
    ("DKLS23.Features.SignWithPresignature", "SignWithPresignature"),
    ("DKLS23.Features.ChainCode", "ChainCode"),
    ("DKLS23.MinChainPathLength", "MinChainPathLength"),
    ("DKLS23.Bip32CacheSize", "Bip32CacheSize"),
    ("Session.ConnectTimeout", "ConnectTimeout"),
    ("Session.SessionTimeout", "SessionTimeout"),
    ("Session.DrainTimeout", "DrainTimeout"),
    ("Session.MaxSessions", "MaxSessions"),
    ("Session.OutcomeLifetime", "OutcomeLifetime"),
];

/// The good file with another value for one key.
fn with_value(start: &str, value: &str) -> String {
    let replaced = |line: &str| match line.split_once(" = ") {
        Some((key, _)) if line.starts_with(start) => format!("{key} = {value}\n"),
        _ => format!("{line}\n"),
    };
    GOOD.lines().map(replaced).collect()
}

fn is_text(start: &str) -> bool {
    let line = GOOD.lines().find(|line| line.starts_with(start)).unwrap();
    line.split_once(" = ").unwrap().1.starts_with('"')
}

#[test]
fn every_key_refuses_values_of_other_types() {
    for (key, start) in KEYS {
        let at = start.split(" = ").next().unwrap();
        for value in ["1.5", "1979-05-27", "[1]", "{ a = 1 }"] {
            let text = with_value(start, value);
            refused_text(&text, "config.wrong_type", &format!("{at} = {value}"), key);
        }
        let other = if is_text(start) { "17" } else { "\"17\"" };
        let text = with_value(start, other);
        refused_text(&text, "config.wrong_type", &format!("{at} = {other}"), key);
    }
}

#[test]
fn every_text_has_a_limit_and_is_not_empty() {
    for (key, start) in KEYS.iter().filter(|(_, start)| is_text(start)) {
        let at = start.split(" = ").next().unwrap();
        let long = format!("\"{}\"", "0".repeat(5000));
        let duration = key.starts_with("Session");
        let code = if duration { "config.bad_duration" } else { "config.too_long" };
        refused_text(&with_value(start, &long), code, &format!("{at} = {long}"), key);
        let code = if duration { "config.bad_duration" } else { "config.empty" };
        refused_text(&with_value(start, "\" \""), code, &format!("{at} = \" \""), key);
    }
}

#[test]
fn every_number_has_bounds() {
    for (start, key, values) in [
        ("Index", "Player.Index", ["-1", "65536"]),
        ("Port = 9001", "MPCTCPServer.Port", ["0", "65536"]),
        ("Port = 8001", "SDKServer.Port", ["-8001", "99999999999999999999999999"]),
        ("MaxOpenConns", "Database.MaxOpenConns", ["0", "10001"]),
        ("MaxIdleConns", "Database.MaxIdleConns", ["-1", "0xffff"]),
        ("MaxSessions", "Session.MaxSessions", ["0", "100001"]),
        ("ConnectTimeout", "Session.ConnectTimeout", ["\"99ms\"", "\"61m\""]),
        ("SessionTimeout", "Session.SessionTimeout", ["\"0s\"", "\"1h1s\""]),
        ("DrainTimeout", "Session.DrainTimeout", ["\"61m\"", "\"1h1s\""]),
        ("OutcomeLifetime", "Session.OutcomeLifetime", ["\"25h\"", "\"100000h\""]),
    ] {
        for value in values {
            let at = format!("{} = {value}", start.split(" = ").next().unwrap());
            refused_text(&with_value(start, value), "config.out_of_range", &at, key);
        }
    }
}

#[test]
fn what_is_missing_is_named_with_its_section() {
    let missing = "config.missing";
    refused("Index = 1\n", "", missing, "[Player]", "Player.Index");
    refused("PrivateKey = ", "# PrivateKey = ", missing, "[Player]", "Player.PrivateKey");
    refused("Port = 9001", "", missing, "[MPCTCPServer]", "MPCTCPServer.Port");
    refused("Port = 8001", "", missing, "[SDKServer]", "SDKServer.Port");
    refused("DriverName = \"sqlite3\"", "", missing, "[Database]", "Database.DriverName");
    refused("DataSourceName", "# ", missing, "[Database]", "Database.DataSourceName");
    refused("EncryptorMasterPassword", "# ", missing, "[Database]", "Database.EncryptorMasterPassword");
    let hash = "APIKey = \"QcV6NRHhpM7UaFaU3K9T34ud50/8zCvUvQkUR6oKHAg=\"";
    refused(hash, "", missing, "[[Authentication.APIKeys]]", "Authentication.APIKeys[0].APIKey");
    let at = "[[Authentication.APIKeys]] # 2";
    let second = "[[Authentication.APIKeys]]\nAPIKey = \"88IU8yrT6+EGVD6vMoSAlHq2mjfMBd8IoNSWkh61pn4=\"\nApplicationID = \"another\"";
    refused(
        second,
        &format!("{at}\nAPIKey = \"88IU8yrT6+EGVD6vMoSAlHq2mjfMBd8IoNSWkh61pn4=\""),
        missing,
        at,
        "Authentication.APIKeys[1].ApplicationID",
    );
    refused("[SDKServer]\nPort = 8001\nAddress = \"::1\"", "", missing, NOWHERE, "SDKServer");
}

#[test]
fn an_empty_file_misses_three_sections() {
    for text in ["", "\n\n", "# nothing"] {
        let problems = parse_here(text).unwrap_err();
        assert_eq!(codes(&problems), ["config.missing"; 3]);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["Database", "Player", "SDKServer"]);
    }
}

#[test]
fn an_unknown_key_is_told_its_nearest_neighbour() {
    let unknown = "config.unknown_key";
    for (from, to, at, key, hint) in [
        ("Index = 1", "Index = 1\nIndx = 1", "Indx", "Player.Indx", "did you mean Player.Index?"),
        (
            "MaxSessions",
            "MaxSessions = 1\nMaxSesions",
            "MaxSesions",
            "Session.MaxSesions",
            "did you mean Session.MaxSessions?",
        ),
        ("Sign = true", "sign = true", "sign", "DKLS23.Features.sign", "did you mean DKLS23.Features.Sign?"),
        (
            "# a comment",
            "Port = 1",
            "Port = 1",
            "Port",
            "this key belongs in [MPCTCPServer] or [MPCDirectServer] or [MPCWebSocketServer] or [SDKServer] or \
             [ManagementServer] or [MetricsServer]",
        ),
        (
            "Index = 1",
            "Index = 1\nDriverName = 1",
            "DriverName = 1",
            "Player.DriverName",
            "this key belongs in [Database]",
        ),
        (
            "Index = 1",
            "Index = 1\nFlavour = 1",
            "Flavour",
            "Player",
            "remove it; docs/configuration.md lists everything that can stand here",
        ),
        // Not a name: it may be a secret, and is not shown.
        (
            "Index = 1",
            "Index = 1\n\"hunter2 hunter2\" = 1",
            "hunter2",
            "Player",
            "remove it; docs/configuration.md lists everything that can stand here",
        ),
    ] {
        let text = edited(from, to);
        refused_text(&text, unknown, at, key);
        assert_eq!(parse_here(&text).unwrap_err()[0].hint, hint);
    }
}

#[test]
fn an_unknown_section_is_told_its_nearest_neighbour() {
    for (section, key, hint) in [
        ("[Sesion]", "Sesion", "did you mean Session?"),
        ("[DKLS23.Feature]", "DKLS23.Feature", "did you mean DKLS23.Features?"),
        ("[Players.one]", "Players", "write a section for each player, such as [Players.1]"),
        ("[Kitchen]", "", "remove it; docs/configuration.md lists everything that can stand here"),
    ] {
        let text = format!("{GOOD}{section}\n");
        refused_text(&text, "config.unknown_section", section, key);
        assert_eq!(parse_here(&text).unwrap_err()[0].hint, hint);
    }
}

#[test]
fn a_player_index_has_one_spelling() {
    for name in ["65536", "01", "99999999999999999999"] {
        let text = format!("{GOOD}[Players.{name}]\n");
        refused_text(&text, "config.out_of_range", &format!("[Players.{name}]"), "Players");
    }
    refused_text(&format!("{GOOD}[Players.-1]\n"), "config.unknown_section", "[Players.-1]", "Players");
}

#[test]
fn a_section_must_be_a_section() {
    let wrong = "config.wrong_type";
    refused_text(
        &format!(
            "MPCTCPServer = 1\n{}",
            GOOD.replace("[MPCTCPServer]\nPort = 9001\nAddress = \"127.0.0.1\"", "")
        ),
        wrong,
        "MPCTCPServer = 1",
        "MPCTCPServer",
    );
    let sdk = "[SDKServer]\nPort = 8001\nAddress = \"::1\"";
    refused_text(&format!("SDKServer = 1\n{}", edited(sdk, "")), wrong, "SDKServer = 1", "SDKServer");
    refused("[MPCTCPServer]", "[[MPCTCPServer]]", wrong, "[[MPCTCPServer]]", "MPCTCPServer");
    let single = GOOD[..GOOD.find("[[").unwrap()].to_owned() + "[Authentication.APIKeys]\nAPIKey = \"x\"\n";
    refused_text(&single, wrong, "[Authentication.APIKeys]", "Authentication.APIKeys");
    let inline = GOOD[..GOOD.find("[[").unwrap()].to_owned() + "APIKeys = [1]\n";
    refused_text(&inline, wrong, "APIKeys = [1]", "Authentication.APIKeys[0]");
}

#[test]
fn what_is_known_but_not_built_is_refused_by_name() {
    let later = "config.not_built";
    for section in ["TLSUserAuthentication", "MultiInstance", "SEPH18S", "SEPD19S", "ADN06", "MRZ15"] {
        let text = format!("{GOOD}[{section}]\nPort = 1\nAnything = true\n");
        refused_text(&text, later, &format!("[{section}]"), section);
        assert!(parse_here(&text).unwrap_err()[0].what.starts_with(&format!("[{section}] is known")));
    }
    for (section, at) in [
        ("[[TLSUserAuthentication.Applications]]", "TLSUserAuthentication"),
        ("[SEPD19S.Features]", "SEPD19S"),
        ("[MRZ15.AESFeatures]", "MRZ15"),
    ] {
        refused_text(&format!("{GOOD}{section}\n"), later, section, at);
    }
    refused(
        "Index = 1",
        "Index = 1\nExportWhiteList = [\"*\"]",
        later,
        "ExportWhiteList",
        "Player.ExportWhiteList",
    );
    refused(
        "DynamicAPIKeys = false",
        "DynamicAPIKeys = true",
        later,
        "DynamicAPIKeys",
        "Authentication.DynamicAPIKeys",
    );
    refused(
        "DynamicAPIKeys = false",
        "TokenLifetime = \"5m\"",
        later,
        "TokenLifetime",
        "Authentication.TokenLifetime",
    );
    refused(
        "MinChainPathLength = 2",
        "DeactivatedPlayersCache = \"database\"",
        later,
        "DeactivatedPlayersCache",
        "DKLS23.DeactivatedPlayersCache",
    );
    refused("Reshare = false", "Reshare = true", later, "Reshare", "DKLS19.Features.Reshare");
    refused("Reshare = false", "Reshare = 1", "config.wrong_type", "Reshare", "DKLS19.Features.Reshare");
    refused("sqlite3", "postgres", later, "DriverName", "Database.DriverName");
    refused("sqlite3", "mysql", later, "DriverName", "Database.DriverName");
    refused("sqlite3", "oracle", "config.unknown_choice", "DriverName", "Database.DriverName");
    refused("tcp://tsm-node2:9002", "tcps://tsm-node2:9002", later, "Address = \"tcps", "Players.2.Address");
    refused(
        "a long random password",
        "{{ awsSecret `x` }}",
        later,
        "awsSecret",
        "Database.EncryptorMasterPassword",
    );
    for crypt in ["$1$a", "$5$a", "$6$a", "$2a$a", "$argon2id$a"] {
        let key = "Authentication.APIKeys[0].APIKey";
        refused("QcV6NRHhpM7UaFaU3K9T34ud50/8zCvUvQkUR6oKHAg=", crypt, later, crypt, key);
    }
}

fn der(base64: &str) -> Vec<u8> {
    BASE64.decode(base64).unwrap()
}

#[test]
fn only_whole_public_keys_on_the_three_curves_are_accepted() {
    use elliptic_curve::pkcs8::EncodePublicKey;
    let refused = |bytes: &[u8]| {
        refused(
            PUBLIC_2,
            &BASE64.encode(bytes),
            "config.bad_public_key",
            &BASE64.encode(bytes),
            "Players.2.PublicKey",
        );
    };
    let key = der(PUBLIC_2);
    refused(&[&key, [0].as_slice()].concat());
    refused(&key[..key.len() - 1]);
    refused(&[0x30, 0]);
    let mut off_curve = key.clone();
    *off_curve.last_mut().unwrap() ^= 1;
    refused(&off_curve);
    let secp256k1 = k256::SecretKey::from_slice(&[7; 32]).unwrap();
    refused(secp256k1.public_key().to_public_key_der().unwrap().as_bytes());
    // A private key in the wrong place is told apart.
    let problems = parse_here(&edited(PUBLIC_2, OWN_PRIVATE)).unwrap_err();
    assert_eq!(codes(&problems), ["config.bad_public_key"]);
    assert!(problems[0].hint.contains("PRIVATE"));
}

#[test]
fn only_whole_private_keys_on_the_three_curves_are_accepted() {
    use elliptic_curve::pkcs8::EncodePrivateKey;
    let refused = |bytes: &[u8]| {
        refused(
            OWN_PRIVATE,
            &BASE64.encode(bytes),
            "config.bad_private_key",
            "PrivateKey",
            "Player.PrivateKey",
        );
    };
    let key = der(OWN_PRIVATE);
    refused(&[&key, [0].as_slice()].concat());
    refused(&key[..key.len() - 1]);
    let mut other_public = key.clone();
    *other_public.last_mut().unwrap() ^= 1;
    refused(&other_public);
    let secp256k1 = k256::SecretKey::from_slice(&[7; 32]).unwrap();
    refused(&secp256k1.to_sec1_der().unwrap());
    refused(secp256k1.to_pkcs8_der().unwrap().as_bytes());
    refused(&der(OWN_PUBLIC));
}

#[test]
fn keys_must_be_base64() {
    let code = "config.not_base64";
    for bad in ["!", "MFk", "-----BEGIN PUBLIC KEY-----", "MFkw EwYH"] {
        let at = format!("\"{bad}\"");
        refused(PUBLIC_2, bad, code, &at, "Players.2.PublicKey");
        refused(OWN_PRIVATE, bad, code, &at, "Player.PrivateKey");
    }
}

#[test]
fn every_player_has_a_key_of_its_own() {
    let key = format!("{PUBLIC_0}\" # again");
    let text = edited(&format!("{PUBLIC_2}\""), &key);
    refused_text(&text, "config.duplicate_public_key", "# again", "Players.2.PublicKey");
}

#[test]
fn this_nodes_key_is_its_own() {
    refused(PUBLIC_2, OWN_PUBLIC, "config.own_public_key", OWN_PUBLIC, "Players.2.PublicKey");
    let listed = "PublicKey = \"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0OqvUD8e";
    refused("[Players.0]", "[Players.1]", "config.not_own_public_key", listed, "Players.1.PublicKey");
}

#[test]
fn addresses_are_checked() {
    for bad in [
        "tsm-node2",
        "tsm-node2:0",
        "tsm-node2:70000",
        ":9002",
        "http://tsm-node2:9002",
        "h:1/x",
        "::1:9",
        "h:1?x=1",
        "h:1?connectionPoolSize=0",
        "h:1?connectionLifetime=5",
        "h:1?connectionPoolSize=1&connectionPoolSize=1",
    ] {
        refused("tcp://tsm-node2:9002", bad, "config.bad_address", bad, "Players.2.Address");
    }
    refused(
        "\"127.0.0.1\"",
        "\"localhost\"",
        "config.bad_listen_address",
        "localhost",
        "MPCTCPServer.Address",
    );
    refused("\"::1\"", "\"[::1]:80\"", "config.bad_listen_address", "[::1]:80", "SDKServer.Address");
}

#[test]
fn the_two_servers_do_not_share_a_port() {
    let everywhere = GOOD.replace("Address = \"127.0.0.1\"", "").replace("Port = 8001", "Port = 9001 # SDK");
    refused_text(&everywhere, "config.conflict", "Port = 9001", "MPCTCPServer.Port");
    // On two addresses of the machine they may.
    good(&edited("Port = 8001", "Port = 9001 # SDK"));
}

#[test]
fn api_keys_are_hashes_and_belong_to_one_application() {
    let hash = "QcV6NRHhpM7UaFaU3K9T34ud50/8zCvUvQkUR6oKHAg=";
    let key = "Authentication.APIKeys[0].APIKey";
    for bad in [
        "Node1LoginPassword",
        "QcV6NRHhpM7UaFaU3K9T34ud50/8zCvUvQkUR6oKHA==",
        "QcV6NRHhpM7UaFaU3K9T34ud50/8zCvUvQkUR6oKHAgA",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    ] {
        refused(hash, bad, "config.bad_api_key", bad, key);
    }
    refused(
        "88IU8yrT6+EGVD6vMoSAlHq2mjfMBd8IoNSWkh61pn4=\"",
        &format!("{hash}\" # again"),
        "config.shared_api_key",
        "# again",
        "Authentication.APIKeys[1].APIKey",
    );
    refused(
        "\"another\"",
        "\"an other\"",
        "config.bad_name",
        "an other",
        "Authentication.APIKeys[1].ApplicationID",
    );
    refused(
        "\"another\"",
        "\"an\\tother\"",
        "config.bad_name",
        "an\\tother",
        "Authentication.APIKeys[1].ApplicationID",
    );
}

#[test]
fn exactly_one_password_is_wanted() {
    let line = "EncryptorMasterPassword = \"a long random password\"";
    let file = "EncryptorKeyFile = \"/key/line\"";
    refused(line, &format!("{line}\n{file}"), "config.conflict", file, "Database.EncryptorKeyFile");
    for path in ["/key/none", "/key/empty", "/key/binary"] {
        refused(
            line,
            &format!("EncryptorKeyFile = \"{path}\""),
            "config.bad_key_file",
            path,
            "Database.EncryptorKeyFile",
        );
    }
}

#[test]
fn durations_and_templates_are_checked() {
    for bad in ["10", "10 s", "-1s", "ten seconds", "1d"] {
        refused("\"5s\"", &format!("\"{bad}\""), "config.bad_duration", bad, "Session.ConnectTimeout");
    }
    let key = "Database.EncryptorMasterPassword";
    refused("a long random password", "{{ env `NOT_SET` }}", "config.unset_variable", "NOT_SET", key);
    refused("a long random password", "{{ now }}", "config.bad_template", "now", key);
    refused(
        "Port = 8001",
        "Port = \"{{ env `PASSWORD` }}\"",
        "config.wrong_type",
        "PASSWORD",
        "SDKServer.Port",
    );
    refused(
        "Sign = true",
        "Sign = \"{{ env `PASSWORD` }}\"",
        "config.wrong_type",
        "PASSWORD",
        "DKLS23.Features.Sign",
    );
}

#[test]
fn a_session_is_not_shorter_than_its_beginning() {
    refused("\"1m30s\"", "\"4s\"", "config.conflict", "SessionTimeout", "Session.SessionTimeout");
    // What is left out counts with its default.
    let text = edited("SessionTimeout = \"1m30s\"\n", "").replace("\"5s\"", "\"2m\"");
    refused_text(&text, "config.conflict", "[Session]", "Session.SessionTimeout");
}

#[test]
fn syntax_errors_are_told_with_what_else_is_wrong() {
    refused("Index = 1", "Index = ", "config.syntax", "Index = ", "");
    refused("[SDKServer]", "[SDKServer", "config.syntax", "[SDKServer", "");
    refused("Index = 1", "Index = 1\nIndex = 2", "config.syntax", "Index = 2", "");
    refused("Port = 8001", "Port = {{ env `PORT` }}", "config.syntax", "PORT", "");
    refused("random password\"", "random password", "config.syntax", "EncryptorMasterPassword", "");
    let text = edited("Index = 1", "Index = ").replace("9001", "70000");
    let problems = parse_here(&text).unwrap_err();
    assert_eq!(codes(&problems), ["config.syntax", "config.out_of_range"]);
}

#[test]
fn all_mistakes_of_a_file_are_told_in_its_order() {
    let text = "\
[Player]
Index = -1
PrivateKey = \"????\"

[Players.2]
Adress = \"tsm-node2:9002\"
PublicKey = 7

[Players.x]

[MPCAMQPServer]

[Database]
DriverName = \"postgres\"

[SDKServer]
Port = \"8000\"

[[Authentication.APIKeys]]
APIKey = \"plain\"

[DKLS23.Features]
Reshare = true

[Session]
ConnectTimeout = \"soon\"
";
    let problems = parse_here(text).unwrap_err();
    let found: Vec<_> = problems
        .iter()
        .map(|problem| (problem.line.unwrap(), problem.code.as_str(), problem.key.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (2, "config.out_of_range", "Player.Index"),
            (3, "config.not_base64", "Player.PrivateKey"),
            (6, "config.unknown_key", "Players.2.Adress"),
            (7, "config.wrong_type", "Players.2.PublicKey"),
            (9, "config.unknown_section", "Players"),
            (11, "config.missing", "MPCAMQPServer.ServerURL"),
            (13, "config.missing", "Database.DataSourceName"),
            (13, "config.missing", "Database.EncryptorMasterPassword"),
            (14, "config.not_built", "Database.DriverName"),
            (17, "config.wrong_type", "SDKServer.Port"),
            (19, "config.missing", "Authentication.APIKeys[0].ApplicationID"),
            (20, "config.bad_api_key", "Authentication.APIKeys[0].APIKey"),
            (23, "config.not_built", "DKLS23.Features.Reshare"),
            (26, "config.bad_duration", "Session.ConnectTimeout"),
        ]
    );
}

#[test]
fn a_problem_reads_like_a_sentence_with_advice() {
    let problems = parse_here(&edited("Port = 8001", "Prot = 8001")).unwrap_err();
    assert_eq!(
        told(&problems),
        "line 18: SDKServer.Prot: there is no such key here [config.unknown_key]\n\
         \x20 hint: did you mean SDKServer.Port?\n"
    );
}

#[test]
fn a_huge_file_is_not_read() {
    let problems = parse_here(&"#".repeat(MAX_FILE_BYTES + 1)).unwrap_err();
    assert_eq!(codes(&problems), ["config.too_long"]);
}

#[test]
fn every_code_has_its_own_name() {
    let names: BTreeSet<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), ProblemCode::ALL.len());
}

#[test]
fn a_management_server_that_would_not_do_what_it_says_is_refused() {
    const HASH: &str = "QcV6NRHhpM7UaFaU3K9T34ud50/8zCvUvQkUR6oKHAg=";
    let key = |permissions: &str| {
        format!(
            "{GOOD}[ManagementServer]\nPort = 14401\n[[ManagementServer.APIKeys]]\nAPIKey = \"{HASH}\"\n\
             Permissions = {permissions}\n"
        )
    };
    let at = "ManagementServer.APIKeys[0].Permissions";
    assert!(parse_here(&key("[\"HEALTH\", \"METRICS\", \"TSMINFO\"]")).is_ok());
    refused_text(&key("[\"ROOT\"]"), "config.unknown_choice", "Permissions = ", at);
    refused_text(&key("[\"APIKEY\"]"), "config.not_built", "Permissions = ", at);
    refused_text(&key("[1]"), "config.wrong_type", "Permissions = ", at);
    refused_text(&key("\"HEALTH\""), "config.wrong_type", "Permissions = ", at);
    let keys = format!("{GOOD}[[ManagementServer.APIKeys]]\nAPIKey = \"{HASH}\"\nPermissions = []\n");
    refused_text(&keys, "config.missing", "[[ManagementServer.APIKeys]]", "ManagementServer.Port");

    let older = format!("{GOOD}[MetricsServer]\nPort = 14401\n");
    refused_text(&older, "config.not_built", "[MetricsServer]", "MetricsServer.Prometheus");
    assert!(parse_here(&format!("{older}Prometheus = true\n")).is_ok());
    let both = format!("{GOOD}[ManagementServer]\nPort = 1\n[MetricsServer]\nPort = 2\nPrometheus = true\n");
    refused_text(&both, "config.conflict", "[MetricsServer]", "MetricsServer");
    let port = format!("{GOOD}[ManagementServer]\nPort  = 8001\n");
    refused_text(&port, "config.conflict", "Port  = 8001", "ManagementServer.Port");
}
