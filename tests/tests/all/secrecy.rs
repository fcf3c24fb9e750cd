//! Planted secrets are looked for wherever a node leaves bytes: its log at the finest level, its
//! frames, its database, and its failures (rules S-35, S-87, S-107).

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;
use tsm_crypto::CurveId;
use tsm_storage::{Backend, RecordId, RecordKind};
use tsm_tests::frames::{self, BODY, as_it_is};
use tsm_tests::{Network, join, master_password, open_store};
use tsm_transport::memory::Delivery;
use tsm_types::KeyId;

/// Where the log goes.
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A secret, and its name for when it is found.
type Canary = (String, Vec<u8>);

/// Private keys, device secrets, passwords, and the shares of a key.
async fn canaries(network: &Network, key_id: &KeyId) -> Vec<Canary> {
    let mut canaries = Vec::new();
    for player in 0..3 {
        let identity = network.identity(player);
        let der = identity.der().expose();
        // The scalar stands in the DER form wherever the form puts it; any 24 bytes of it will do.
        let scalar = private_scalar(der);
        canaries.push((format!("private key of player {player}"), scalar));
        canaries
            .push((format!("device secret of player {player}"), identity.device_secret().expose().to_vec()));
        canaries.push((format!("master password of player {player}"), master_password(player).into_bytes()));
        canaries.push((format!("share of player {player}"), share(network, player, key_id).await));
    }
    canaries
}

/// The 32 bytes of an OCTET STRING in a P-256 private key.
fn private_scalar(der: &[u8]) -> Vec<u8> {
    let at = der.windows(2).position(|pair| pair == [0x04, 0x20]).expect("an OCTET STRING of 32 bytes");
    der[at + 2..at + 34].to_vec()
}

/// The last field of a key record is the share (docs/formats.md).
async fn share(network: &Network, player: u16, key_id: &KeyId) -> Vec<u8> {
    let store = open_store(player, network.store(player)).await;
    let id = RecordId::new(RecordKind::KeyShare, network.application.as_str(), key_id.as_str());
    let record = store.get(&id).await.unwrap().expect("the node holds a share");
    let bytes = record.bytes.expose();
    let share = bytes[bytes.len() - 32..].to_vec();
    assert_eq!(bytes[bytes.len() - 36..bytes.len() - 32], [32, 0, 0, 0], "the length before the share");
    share
}

/// The forms in which bytes come to be printed.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = secret.iter().map(ToString::to_string).collect();
    // From each of the three places that a byte can have in a group of base64.
    let base64 = (0..3).flat_map(|skip| {
        let whole = &secret[skip..skip + (secret.len() - skip) / 3 * 3];
        [STANDARD_NO_PAD.encode(whole), URL_SAFE_NO_PAD.encode(whole)]
    });
    let texts = [hex.to_uppercase(), hex, list.join(", "), list.join(",")];
    std::iter::once(secret.to_vec()).chain(texts.into_iter().chain(base64).map(String::into_bytes)).collect()
}

fn assert_absent(canaries: &[Canary], haystack: &[u8], place: &str) {
    for (name, secret) in canaries {
        for form in forms(secret) {
            let found = haystack.windows(form.len()).any(|window| window == form);
            assert!(!found, "the {name} is in the {place}");
        }
    }
}

/// Everything that is stored, as a thief of the database sees it.
async fn stored(network: &Network, player: u16) -> Vec<u8> {
    let store = network.store(player);
    let headers = store.key_headers().await.unwrap();
    let records = store.open(&headers).await.unwrap();
    let mut bytes = format!("{headers:?}").into_bytes();
    for kind in RecordKind::ALL {
        for application in [network.application.as_str(), "*"] {
            for id in records.list(*kind, application).await.unwrap() {
                bytes.extend(id.to_string().into_bytes());
                bytes.extend(records.get(&id).await.unwrap().expect("it is listed").0);
            }
        }
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn s35_s87_s107_planted_secrets_are_in_no_log_frame_database_or_failure() {
    let log = Arc::new(Mutex::new(Vec::<u8>::new()));
    let guard = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer({
            let log = log.clone();
            move || Capture(log.clone())
        })
        .finish()
        .set_default();
    let mut network = Network::start(3, 71).await;
    let sent = Arc::new(Mutex::new(Vec::<u8>::new()));
    let record = sent.clone();
    network.links.set_tamper(Box::new(move |frame| {
        record.lock().unwrap().extend(&frame.bytes);
        as_it_is(frame)
    }));
    let mut failures = String::new();

    // What goes well.
    let key = network.make_key(CurveId::Secp256k1, 1).await;
    join(&[7; 32], &network.sign(&network.session("sign", &[0, 1, 2]), &key.key_id, &[7; 32]).await);
    // What goes wrong: a missing key, a lonely caller, spoiled messages at every round, a restart.
    let nobody = KeyId::new("nosuchkey").unwrap();
    failures += &format!("{:?}", network.sign(&network.session("no-key", &[0, 1]), &nobody, &[7; 32]).await);
    for (round, place) in [(1, 0), (1, 150), (2, 10), (2, 100), (2, 2000)] {
        let record = sent.clone();
        network.links.set_tamper(Box::new(move |frame| {
            record.lock().unwrap().extend(&frame.bytes);
            let mut bytes = frame.bytes.clone();
            if frames::round(&bytes).is_some_and(|(_, _, at)| at == round) && bytes.len() > BODY + place {
                bytes[BODY + place] ^= 1;
            }
            vec![Delivery::at_once(bytes)]
        }));
        let session = network.session(&format!("spoiled-{round}-{place}"), &[0, 1, 2]);
        let answers = network.sign(&session, &key.key_id, &[7; 32]).await;
        failures += &format!("{answers:?}");
        let session = network.session(&format!("make-{round}-{place}"), &[0, 1, 2]);
        failures += &format!("{:?}", network.generate_key(&session, CurveId::P256, 1).await);
    }
    network.links.set_tamper(Box::new(as_it_is));
    network.restart(1).await;
    // So many failed checks slow the pairs down for a minute.
    sleep(Duration::from_secs(61)).await;
    join(&[8; 32], &network.sign(&network.session("again", &[0, 1]), &key.key_id, &[8; 32]).await);

    let canaries = canaries(&network, &key.key_id).await;
    drop(guard);
    let log = log.lock().unwrap().clone();
    let text = String::from_utf8_lossy(&log);
    for line in ["key generated", "protocol aborted", "link up", "pair set up"] {
        assert!(text.contains(line), "the log has no {line:?}: it was not captured");
    }
    assert_absent(&canaries, &log, "log");
    assert_absent(&canaries, failures.as_bytes(), "failures");
    let sent = sent.lock().unwrap().clone();
    assert_absent(&canaries, &sent, "frames");
    for player in 0..3 {
        assert_absent(&canaries, &stored(&network, player).await, "database");
    }
}

/// The search finds what is there, in each form.
#[test]
fn a_canary_is_found_in_every_form() {
    let secret: Vec<u8> = (100..132).collect();
    let canaries = [("canary".to_owned(), secret.clone())];
    for form in forms(&secret) {
        let mut haystack = b"before ".to_vec();
        haystack.write_all(&form).unwrap();
        haystack.extend(b" after");
        let found = std::panic::catch_unwind(|| assert_absent(&canaries, &haystack, "haystack"));
        assert!(found.is_err(), "{}", String::from_utf8_lossy(&form));
    }
}
