//! A node's numbers as Prometheus text (exposition format 0.0.4).
//!
//! Labels are operations and error codes, both from our own fixed lists: nothing that a caller, a
//! peer or a key is called is ever written here, and the number of lines is bounded.

use std::fmt::Write as _;

use tsm_node::Metrics;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a node.
pub(crate) fn prometheus_text(metrics: &Metrics) -> String {
    let mut text = String::new();
    head(&mut text, "tsm_sessions_total", "counter", "Requests answered, by operation and outcome.");
    for ((operation, code), number) in &metrics.sessions {
        let code = code.map_or("ok", |code| code.as_str());
        line(&mut text, &format!("tsm_sessions_total{{operation=\"{operation}\",code=\"{code}\"}}"), *number);
    }
    head(&mut text, "tsm_limit_refusals_total", "counter", "Sessions that a limit refused, by the limit.");
    for (limit, number) in &metrics.refusals {
        line(&mut text, &format!("tsm_limit_refusals_total{{limit=\"{limit}\"}}"), *number);
    }
    let links = &metrics.links;
    for (name, kind, help, number) in [
        ("tsm_sessions_live", "gauge", "Sessions that run now.", metrics.live_sessions),
        (
            "tsm_dynamic_keys_ignored_total",
            "counter",
            "Dynamic public keys ignored for the configured one.",
            metrics.ignored_keys,
        ),
        (
            "tsm_dynamic_keys_refused_total",
            "counter",
            "Sessions refused for a dynamic key that conflicts with the configured one.",
            metrics.refused_keys,
        ),
        (
            "tsm_frames_unreadable_total",
            "counter",
            "Frames of peers dropped as junk.",
            metrics.unreadable_frames,
        ),
        (
            "tsm_certificate_frames_dropped_total",
            "counter",
            "Frames about certificates dropped, since a dynamic player sent too many.",
            metrics.certificate_frames_dropped,
        ),
        (
            "tsm_frames_waiting",
            "gauge",
            "Frames that wait for a session to be opened here.",
            metrics.waiting_frames,
        ),
        ("tsm_pairs", "gauge", "Players with which state for signatures is kept.", metrics.pairs),
        ("tsm_pair_set_ups_live", "gauge", "Set-ups of such state that run now.", metrics.live_pair_set_ups),
        ("tsm_pair_set_ups_total", "counter", "Set-ups of such state that worked.", metrics.pair_set_ups),
        ("tsm_pair_set_ups_failed_total", "counter", "Set-ups that failed.", metrics.pair_set_ups_failed),
        ("tsm_pairs_burned_total", "counter", "State destroyed after a failed check.", metrics.pairs_burned),
        (
            "tsm_pairs_forgotten_total",
            "counter",
            "State dropped since its player had left.",
            metrics.pairs_forgotten,
        ),
        (
            "tsm_presignatures",
            "gauge",
            "Unused presignatures that are held, of all keys.",
            metrics.presignatures,
        ),
        (
            "tsm_presignatures_in_the_making",
            "gauge",
            "Presignatures that are being made.",
            metrics.presignatures_in_the_making,
        ),
        ("tsm_presignatures_made_total", "counter", "Presignatures made.", metrics.presignatures_made),
        ("tsm_presignatures_used_total", "counter", "Presignatures used.", metrics.presignatures_used),
        ("tsm_links_up", "gauge", "Players that are connected.", links.up),
        ("tsm_links_parked", "gauge", "Links whose keys no session has named yet.", links.parked_now),
        ("tsm_links_parked_total", "counter", "Links that were parked.", links.parked),
        (
            "tsm_links_parked_displaced_total",
            "counter",
            "Parked links that gave way to newer ones.",
            links.displaced,
        ),
        ("tsm_links_parked_expired_total", "counter", "Parked links that nobody expected.", links.expired),
        (
            "tsm_links_idle_displaced_total",
            "counter",
            "Idle links of dynamic players that gave way to newer ones.",
            links.displaced_idle_links,
        ),
        (
            "tsm_broker_messages_dropped_total",
            "counter",
            "Messages of the broker that were of no use.",
            links.dropped_broker_messages,
        ),
        (
            "tsm_connections_refused_total",
            "counter",
            "Connections beyond what one dynamic player may have.",
            links.refused_connections,
        ),
        (
            "tsm_handshakes_failed_total",
            "counter",
            "Connections that proved no key.",
            links.failed_handshakes,
        ),
        (
            "tsm_sources_blocked_total",
            "counter",
            "Times a source had too many failed handshakes.",
            links.blocked_sources,
        ),
        (
            "tsm_connections_dropped_total",
            "counter",
            "Connections of such sources dropped before TLS.",
            links.dropped_connections,
        ),
    ] {
        head(&mut text, name, kind, help);
        line(&mut text, name, number);
    }
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a string cannot fail");
}

fn line(text: &mut String, name: &str, number: u64) {
    writeln!(text, "{name} {number}").expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsm_types::ErrorCode;

    #[test]
    fn every_line_is_of_the_format_and_every_metric_has_its_help_and_type_before_it() {
        let mut metrics = Metrics::default();
        metrics.sessions.insert(("ecdsa.sign", None), 3);
        metrics.sessions.insert(("ecdsa.sign", Some(ErrorCode::SessionTimeout)), 1);
        metrics.refusals.insert(ErrorCode::TenantKeyLimit, 2);
        metrics.links.up = 7;
        let text = prometheus_text(&metrics);
        let mut described = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                described = rest.split(' ').next().unwrap();
                let kind = rest.split(' ').nth(1).unwrap();
                assert_eq!(kind == "counter", described.ends_with("_total"), "{line}");
            } else if !line.starts_with("# HELP ") {
                let (name, number) = line.rsplit_once(' ').unwrap();
                assert_eq!(name.split('{').next().unwrap(), described, "{line}");
                number.parse::<u64>().unwrap();
            }
        }
        for expected in [
            "tsm_sessions_total{operation=\"ecdsa.sign\",code=\"ok\"} 3\n",
            "tsm_sessions_total{operation=\"ecdsa.sign\",code=\"session.timeout\"} 1\n",
            "tsm_limit_refusals_total{limit=\"tenant.key_limit\"} 2\n",
            "tsm_links_up 7\n",
        ] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
