//! What happened in a schedule: who sent what to whom, when, and what became of it.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::faults::Fault;

/// What happened, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Players in the network.
    pub players: u16,
    /// Since the schedule began.
    pub events: Vec<(Duration, Event)>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame was sent.
    Frame {
        /// The sender.
        from: u16,
        /// The receiver.
        to: u16,
        /// What it says.
        what: Saying,
        /// Its length.
        bytes: usize,
        /// A digest of its first bytes, to tell frames apart.
        digest: u32,
        /// When it arrives, counted from now; of repeated frames each.
        arrives: Vec<Duration>,
        /// What befell it.
        faults: Vec<Fault>,
    },
    /// Something at one player, or with all of them.
    At {
        /// Where; everywhere if not given.
        player: Option<u16>,
        /// What.
        what: String,
        /// Whether it was done to the network.
        fault: bool,
    },
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// A session is opened.
    Open(String),
    /// A message of a protocol: session, phase, round.
    Round(String, u8, u8),
    /// A session has ended: session, code.
    End(String, String),
    /// Anything else between engines.
    Other(&'static str),
}

impl fmt::Display for Saying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Saying::Open(session) => write!(f, "open {session}"),
            Saying::Round(session, phase, round) => write!(f, "{session} message {phase}.{round}"),
            Saying::End(session, code) => write!(f, "end {session}: {code}"),
            Saying::Other(what) => f.write_str(what),
        }
    }
}

fn seconds(at: Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

/// What became of a frame.
fn fate(arrives: &[Duration], faults: &[Fault]) -> String {
    let mut text = match arrives {
        [] => "LOST".to_owned(),
        [once] => format!("arrives +{} ms", once.as_millis()),
        [first, more @ ..] => {
            let more: Vec<String> = more.iter().map(|at| format!("+{}", at.as_millis())).collect();
            format!("arrives +{} ms and again {} ms", first.as_millis(), more.join(", "))
        }
    };
    if !faults.is_empty() {
        let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
        let _ = write!(text, " ({})", names.join(", "));
    }
    text
}

impl Timeline {
    /// One line for each event: seconds, who, what.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (at, event) in &self.events {
            let _ = match event {
                Event::Frame { from, to, what, bytes, digest, arrives, faults } => writeln!(
                    text,
                    "{:>9}  {from} -> {to}  {what}, {bytes} bytes #{digest:08x}, {}",
                    seconds(*at),
                    fate(arrives, faults)
                ),
                Event::At { player, what, fault } => {
                    let place = player.map_or_else(|| "all".to_owned(), |player| player.to_string());
                    let mark = if *fault { "!" } else { " " };
                    writeln!(text, "{:>9}  {place:>3} {mark}  {what}", seconds(*at))
                }
            };
        }
        text
    }

    /// A sequence chart, as a page that needs nothing else.
    pub fn html(&self, title: &str) -> String {
        let lane = |player: u16| 120 + 230 * u32::from(player);
        let width = lane(self.players) + 40;
        let height = 60 + 22 * self.events.len();
        let mut svg = String::new();
        for player in 0..self.players {
            let x = lane(player);
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"24\" class=\"who\">player {player}</text>\
                 <line x1=\"{x}\" y1=\"34\" x2=\"{x}\" y2=\"{height}\" class=\"lane\"/>"
            );
        }
        for (row, (at, event)) in self.events.iter().enumerate() {
            let y = 52 + 22 * row;
            let _ = writeln!(svg, "<text x=\"8\" y=\"{y}\" class=\"at\">{}</text>", seconds(*at));
            match event {
                Event::Frame { from, to, what, bytes, arrives, faults, .. } => {
                    let class = match (arrives.is_empty(), faults.is_empty()) {
                        (true, _) => "lost",
                        (false, false) => "hit",
                        (false, true) => "well",
                    };
                    let (start, end) = (lane(*from), lane(*to));
                    // A lost frame stops half-way.
                    let end = if arrives.is_empty() { (start + end) / 2 } else { end };
                    let middle = (lane(*from) + lane(*to)) / 2;
                    let _ = writeln!(
                        svg,
                        "<g class=\"{class}\"><title>{} bytes, {}</title><line x1=\"{start}\" y1=\"{y}\" x2=\"{end}\" \
                         y2=\"{y}\" marker-end=\"url(#{})\"/><text x=\"{middle}\" y=\"{}\">{}</text></g>",
                        bytes,
                        escaped(&fate(arrives, faults)),
                        if arrives.is_empty() { "cross" } else { "tip" },
                        y - 4,
                        escaped(&what.to_string())
                    );
                }
                Event::At { player, what, fault } => {
                    let x = player.map_or(lane(0), lane);
                    let class = if *fault { "fault" } else { "note" };
                    let _ = writeln!(
                        svg,
                        "<circle cx=\"{x}\" cy=\"{}\" r=\"4\" class=\"{class}\"/><text x=\"{}\" y=\"{y}\" \
                         class=\"{class}\">{}</text>",
                        y - 4,
                        x + 10,
                        escaped(what)
                    );
                }
            }
        }
        let title = escaped(title);
        format!(
            "<!doctype html><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>\
             <svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">{MARKERS}\n{svg}</svg>\n"
        )
    }
}

const STYLE: &str = "body,text{font:13px sans-serif}h1{font-size:16px}.lane{stroke:#ccc}.at{fill:#888;font-size:11px}\
    .who{font-weight:bold;text-anchor:middle}g line{stroke:#357}g text{text-anchor:middle;font-size:11px;fill:#357}\
    g.hit line{stroke:#b60}g.hit text{fill:#b60}g.lost line{stroke:#c00;stroke-dasharray:4}g.lost text{fill:#c00}\
    .note{fill:#444;font-size:12px}.fault{fill:#c00;font-size:12px}";

const MARKERS: &str = "<defs><marker id=\"tip\" markerWidth=\"8\" markerHeight=\"8\" refX=\"7\" refY=\"4\" \
    orient=\"auto\"><path d=\"M0,1 L7,4 L0,7\" fill=\"none\" stroke=\"#357\"/></marker><marker id=\"cross\" \
    markerWidth=\"9\" markerHeight=\"9\" refX=\"4\" refY=\"4\"><path d=\"M0,0 L8,8 M8,0 L0,8\" stroke=\"#c00\"/>\
    </marker></defs>";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        let frame = |arrives, faults| Event::Frame {
            from: 0,
            to: 2,
            what: Saying::Round("s7-0".to_owned(), 1, 2),
            bytes: 90,
            digest: 0xab,
            arrives,
            faults,
        };
        let at = Duration::from_millis;
        let crash = Event::At { player: Some(1), what: "died <crash>".to_owned(), fault: true };
        Timeline {
            players: 3,
            events: vec![
                (at(5), frame(vec![at(8), at(90)], vec![Fault::Repeat])),
                (at(1007), frame(vec![], vec![Fault::Loss])),
                (at(1008), crash),
            ],
        }
    }

    #[test]
    fn the_text_says_who_sent_what_to_whom_when_and_what_was_lost() {
        assert_eq!(
            timeline().text(),
            "    0.005  0 -> 2  s7-0 message 1.2, 90 bytes #000000ab, arrives +8 ms and again +90 ms (repeat)\n    \
             1.007  0 -> 2  s7-0 message 1.2, 90 bytes #000000ab, LOST (loss)\n    1.008    1 !  died <crash>\n"
        );
    }

    #[test]
    fn the_chart_has_a_lane_for_each_player_and_a_mark_for_each_event() {
        let page = timeline().html("seed 7 & more");
        assert_eq!(page.matches("class=\"lane\"").count(), 3);
        assert_eq!(page.matches("class=\"at\"").count(), 3);
        assert_eq!(page.matches("class=\"lost\"").count(), 1);
        assert!(page.contains("died &lt;crash&gt;") && page.contains("seed 7 &amp; more"));
    }
}
