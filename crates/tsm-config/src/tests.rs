//! A good file, and what the test modules share.

mod bad_files;
mod brokers;
mod deployed;
mod direct;
mod documentation;
mod embedded;
mod good_files;
mod redis;
mod secrecy;

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use tsm_crypto::IdentityPublicKey;
use tsm_types::{Address, Reach};

use super::*;

/// Every built key is in it.
const GOOD: &str = r#"# a comment
[Player]
Index = 1
PrivateKey = "MHcCAQEEIKDf8q1LEUHKADBmq4mTxo7t3gLvgfE6gd26g5qO2cProAoGCCqGSM49AwEHoUQDQgAEzsWqmbQ6uG/G7iqAZQXxoReQk0WE6hGw+I8UMyB3Y6jnoEcyefzKklCCEupMWrsV1l79XBRQrvJTxlqMOQ5ahQ=="

[Players.0]
PublicKey = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0OqvUD8ezIIHktmgrDIRh7bwQ3k9G8HZochWXovvQjCm4wQiJBHunl82I9pbeVLD9fa/40Fv8/NRcYiGh/cyUw=="

[Players.2]
Address = "tcp://tsm-node2:9002"
PublicKey = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/t4PfL0KQQAWpZ1q6CikFXw0GeY3lgTUDt8HPT0Bw3kCJ44jIp8QUYZNCNIO/ofZPNwkKi8i1hffK5wheWbJWA=="

[MPCTCPServer]
Port = 9001
Address = "127.0.0.1"

[SDKServer]
Port = 8001
Address = "::1"

[Database]
DriverName = "sqlite3"
DataSourceName = "/tmp/tsm.sqlite"
EncryptorMasterPassword = "a long random password"
MaxOpenConns = 500
MaxIdleConns = 0

[Authentication]
DynamicAPIKeys = false

[[Authentication.APIKeys]]
APIKey = "QcV6NRHhpM7UaFaU3K9T34ud50/8zCvUvQkUR6oKHAg="
ApplicationID = "demoapp"

[[Authentication.APIKeys]]
APIKey = "88IU8yrT6+EGVD6vMoSAlHq2mjfMBd8IoNSWkh61pn4="
ApplicationID = "another"

[DKLS19.Features]
GenerateKey = true
Reshare = false

[DKLS23]
MinChainPathLength = 2
Bip32CacheSize = 77

[DKLS23.Features]
Sign = true
PublicKey = true
GeneratePresignatures = true
SignWithPresignature = true
ChainCode = true

[Session]
ConnectTimeout = "5s"
SessionTimeout = "1m30s"
DrainTimeout = "3s"
MaxSessions = 20
OutcomeLifetime = "1h"
RejectConflictingDynamicKeys = true
"#;

const OWN_PRIVATE: &str = "MHcCAQEEIKDf8q1LEUHKADBmq4mTxo7t3gLvgfE6gd26g5qO2cProAoGCCqGSM49AwEHoUQDQgAEzsWqmbQ6uG/G7iqAZQXxoReQk0WE6hGw+I8UMyB3Y6jnoEcyefzKklCCEupMWrsV1l79XBRQrvJTxlqMOQ5ahQ==";
const OWN_PUBLIC: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzsWqmbQ6uG/G7iqAZQXxoReQk0WE6hGw+I8UMyB3Y6jnoEcyefzKklCCEupMWrsV1l79XBRQrvJTxlqMOQ5ahQ==";
const PUBLIC_0: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0OqvUD8ezIIHktmgrDIRh7bwQ3k9G8HZochWXovvQjCm4wQiJBHunl82I9pbeVLD9fa/40Fv8/NRcYiGh/cyUw==";
const PUBLIC_2: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE/t4PfL0KQQAWpZ1q6CikFXw0GeY3lgTUDt8HPT0Bw3kCJ44jIp8QUYZNCNIO/ofZPNwkKi8i1hffK5wheWbJWA==";

/// What the tests' environment and files hold.
fn parse_here(text: &str) -> Result<NodeConfig, Vec<ConfigProblem>> {
    outside(|outside| parse_with(text, outside))
}

fn outside<T>(read: impl FnOnce(&Outside<'_>) -> T) -> T {
    let variable = |name: &str| {
        let value = match name {
            "KEY" => OWN_PRIVATE,
            "PORT" => "8123",
            "SWITCH" => "true",
            "PASSWORD" => "from the environment",
            "BRACES" => "{{ env `KEY` }}",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let file = |path: &Path| match path.to_str() {
        Some("/key/line") => Ok(Zeroizing::new(b"from the file\r\n".to_vec())),
        Some("/key/empty") => Ok(Zeroizing::new(b"\n".to_vec())),
        Some("/key/binary") => Ok(Zeroizing::new(vec![0xff, 0xfe])),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    read(&Outside { variable: &variable, file: &file })
}

fn good(text: &str) -> NodeConfig {
    parse_here(text).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

/// [`GOOD`] with something else in the one place where `from` stands.
fn edited(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    GOOD.replace(from, to)
}

fn codes(problems: &[ConfigProblem]) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code.as_str()).collect()
}

fn told(problems: &[ConfigProblem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
