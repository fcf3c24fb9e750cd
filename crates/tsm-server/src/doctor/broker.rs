//! The message broker: reached, and the rights of a node tried with an inbox of the doctor's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tsm_crypto::identity::Fingerprint;
use tsm_transport::broker::{Arrival, Broker, BrokerConfig, Inbox};

use super::Finding;

/// Connecting, making an inbox, and a message through it.
const LONGEST: Duration = Duration::from_secs(8);

/// A message may be published before the connection is there.
const AGAIN: Duration = Duration::from_millis(200);

/// Returns also the broker to ask players through, if it works.
pub(super) async fn examine(config: BrokerConfig, player: Fingerprint) -> (Option<Arc<dyn Broker>>, Finding) {
    let (section, fixed) = match &config {
        BrokerConfig::Amqp(amqp) => ("[MPCAMQPServer]", amqp.skip_setup),
        BrokerConfig::Redis(_) => ("[MPCRedisServer]", false),
    };
    let subject = format!("message broker of {section}");
    let built = |config: BrokerConfig| config.broker();
    let (tried, to_use) = match (built(config.clone()), built(config)) {
        (Ok(tried), Ok(to_use)) => (tried, to_use),
        (Err(why), _) | (_, Err(why)) => {
            return (None, Finding::fail("broker.not_built", subject, why, "use a build that has it"));
        }
    };
    if fixed {
        // The only queue is the running node's own.
        let found = "not tried: with SkipSetup the one queue of this player belongs to its running node";
        let advice = "see `tsm_links_up`, or the running node's /health";
        return (None, Finding::warn("broker.not_tried", subject, found, advice));
    }
    match round_trip(tried.as_ref(), player).await {
        Ok(took) => {
            let found = format!("an inbox was made, written to and read; a message took {took:.1?}");
            (Some(to_use), Finding::ok("broker.ok", subject, found))
        }
        Err(why) => {
            let advice = format!(
                "correct {section} ServerURL, start the broker, or give its user the rights of docs/brokers.md"
            );
            (None, Finding::fail("broker.unusable", subject, why, advice))
        }
    }
}

/// How long a message to oneself takes.
async fn round_trip(broker: &dyn Broker, player: Fingerprint) -> Result<Duration, String> {
    let mut node = [0; 16];
    getrandom::fill(&mut node).map_err(|error| error.to_string())?;
    let inbox = Inbox::Node(player, node);
    let mut arrivals = broker.subscribe(vec![inbox]);
    let mut said = "it does not answer".to_owned();
    let deadline = Instant::now() + LONGEST;
    while Instant::now() < deadline {
        let begun = Instant::now();
        match timeout(deadline - begun, broker.publish(inbox, b"tsm doctor".to_vec())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                // It is tried again by itself, but a reason is a reason.
                if let Some(trouble) = broker.trouble() {
                    return Err(trouble);
                }
                said = error.to_string();
                sleep(AGAIN).await;
                continue;
            }
            Err(_) => break,
        }
        match timeout(Duration::from_secs(1), arrivals.recv()).await {
            Ok(Some(Arrival::Message(_))) => return Ok(begun.elapsed()),
            Ok(Some(Arrival::Interrupted(why))) => return Err(why),
            Ok(None) => return Err("it ended".to_owned()),
            Err(_) => said = "what is put into an inbox does not come out of it".to_owned(),
        }
    }
    Err(broker.trouble().unwrap_or(said))
}
