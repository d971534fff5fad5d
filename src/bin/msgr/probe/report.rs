//! What a probe has found, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use async_messenger::wire::{EntityAddr, EntityType, features};

use crate::json::quoted;

/// What was found; what is missing was not told.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) addr: EntityAddr,
    pub(super) connect: Duration,
    pub(super) version: u8,
    /// The banner as it came.
    pub(super) banner: Vec<u8>,
    /// What the banner of v2 says: supported and required.
    pub(super) words: Option<(u64, u64)>,
    pub(super) entity: Option<EntityType>,
    /// Where it says it is.
    pub(super) own: Option<EntityAddr>,
    /// Where it says we are.
    pub(super) seen: Option<EntityAddr>,
    /// The version of the protocol above v1.
    pub(super) protocol: Option<u32>,
    pub(super) features: Option<u64>,
    pub(super) methods: Vec<String>,
    pub(super) modes: Vec<String>,
    /// Whether a session was opened without any proof.
    pub(super) is_let_in: bool,
    pub(super) refusal: Option<String>,
    pub(super) rtt: Option<Duration>,
}

/// The bits of a v2 banner.
const WORDS: [(u64, &str); 2] = [(1, "revision-1"), (2, "compression")];

impl Report {
    fn words(bits: u64) -> Vec<&'static str> {
        let set = WORDS.iter().filter(|(bit, _)| bits & bit != 0);
        set.map(|(_, name)| *name).collect()
    }

    pub(super) fn as_text(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<12} {value}");
        };
        row("address", self.addr.to_string());
        row("connect", milliseconds(self.connect));
        if let Some(rtt) = self.rtt {
            row("round trip", milliseconds(rtt));
        }
        row("banner", self.banner.escape_ascii().to_string());
        row("version", format!("msgr v{}", self.version));
        if let Some((supported, required)) = self.words {
            row("supports", listed(&Self::words(supported)));
            row("requires", listed(&Self::words(required)));
        }
        if let Some(entity) = self.entity {
            row("type", entity.to_string());
        }
        if let Some(own) = self.own {
            row("it is", own.to_string());
        }
        if let Some(seen) = self.seen {
            row("we are", seen.to_string());
        }
        if let Some(protocol) = self.protocol {
            row("protocol", protocol.to_string());
        }
        row("methods", listed(&self.methods));
        row("modes", listed(&self.modes));
        let let_in = if self.is_let_in { "yes" } else { "no" };
        row("lets us in", let_in.into());
        if let Some(refusal) = &self.refusal {
            row("refusal", refusal.clone());
        }
        if let Some(bits) = self.features {
            row("features", format!("{bits:#x}"));
            let mut line = String::new();
            for name in features::names(bits) {
                if line.len() + name.len() > 80 {
                    row("", std::mem::take(&mut line));
                }
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(name);
            }
            row("", line);
        }
        out
    }

    pub(super) fn as_json(&self) -> String {
        let mut out = String::from("{");
        let mut member = |name: &str, value: String| {
            let comma = if out.len() > 1 { "," } else { "" };
            let _ = write!(out, r#"{comma}"{name}":{value}"#);
        };
        let addr =
            |addr: Option<EntityAddr>| addr.map_or("null".into(), |addr| quoted(&addr.to_string()));
        member("address", addr(Some(self.addr)));
        member("version", self.version.to_string());
        let banner = self.banner.escape_ascii().to_string();
        member("banner", quoted(&banner));
        member(
            "connect_ms",
            format!("{:.3}", self.connect.as_secs_f64() * 1e3),
        );
        let rtt = |rtt: Duration| format!("{:.3}", rtt.as_secs_f64() * 1e3);
        member("round_trip_ms", self.rtt.map_or("null".into(), rtt));
        if let Some((supported, required)) = self.words {
            member("supports", strings(&Self::words(supported)));
            member("requires", strings(&Self::words(required)));
        }
        let entity = self.entity.map(|entity| quoted(&entity.to_string()));
        member("type", entity.unwrap_or("null".into()));
        member("own_address", addr(self.own));
        member("seen_address", addr(self.seen));
        let protocol = self.protocol.map(|protocol| protocol.to_string());
        member("protocol", protocol.unwrap_or("null".into()));
        member("methods", strings(&self.methods));
        member("modes", strings(&self.modes));
        member("let_in", self.is_let_in.to_string());
        let refusal = self.refusal.as_deref().map(quoted);
        member("refusal", refusal.unwrap_or("null".into()));
        // As text: not every reader of JSON has integers of 64 bits.
        let bits = self.features.map(|bits| quoted(&format!("{bits:#x}")));
        member("features", bits.unwrap_or("null".into()));
        let names = self.features.map_or(Vec::new(), features::names);
        member("feature_names", strings(&names));
        out.push('}');
        out
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn listed<S: AsRef<str>>(names: &[S]) -> String {
    if names.is_empty() {
        return "-".into();
    }
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    names.join(", ")
}

fn strings<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name.as_ref())).collect();
    format!("[{}]", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let report = Report {
            version: 2,
            banner: b"ceph v2\n\x10\0".to_vec(),
            words: Some((1, 0)),
            entity: Some(EntityType::MON),
            methods: vec!["cephx".into()],
            refusal: Some("no \"key\"".into()),
            features: Some(features::SUPPORTED),
            rtt: Some(Duration::from_micros(1500)),
            ..Report::default()
        };
        let text = report.as_text();
        for line in [
            "round trip   1.500 ms",
            r"banner       ceph v2\n\x10\x00",
            "supports     revision-1",
            "requires     -",
            "type         mon",
            "methods      cephx",
            "lets us in   no",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
        }
        assert!(text.contains("SERVER_NAUTILUS"), "{text}");
        assert!(text.lines().all(|line| line.len() < 120), "{text}");
        let json = report.as_json();
        for part in [
            r#""version":2,"#,
            r#""round_trip_ms":1.500,"#,
            r#""refusal":"no \"key\"""#,
            r#""supports":["revision-1"]"#,
        ] {
            assert!(json.contains(part), "no {part} in {json}");
        }
    }
}
