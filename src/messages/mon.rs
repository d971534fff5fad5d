//! What clients ask monitors, and what they are answered.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};

use crate::message::{Message, Payload};
use crate::wire::features::{self, SUBSCRIBE2};
use crate::wire::{DecodeError, Put, Reader, msgtype};

use super::{Fsid, MonMap, read_front, read_list};

/// What many messages to and from monitors begin with (encoding §16). Clients send the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaxosHead {
    /// The version of the map that the sender has, or 0.
    pub version: u64,
    /// No longer used: -1.
    pub session_mon: i16,
    /// No longer used: 0.
    pub session_mon_tid: u64,
}

impl PaxosHead {
    /// Bytes it takes.
    pub const LEN: usize = 18;

    /// Writes the 18 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.version);
        out.put_i16_le(self.session_mon);
        out.put_u64_le(self.session_mon_tid);
    }

    /// Reads 18 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: r.u64()?,
            session_mon: r.i16()?,
            session_mon_tid: r.u64()?,
        })
    }
}

impl Default for PaxosHead {
    fn default() -> Self {
        Self {
            version: 0,
            session_mon: -1,
            session_mon_tid: 0,
        }
    }
}

/// Asks for the monmap (encoding §16.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MMonGetMap;

impl Payload for MMonGetMap {
    const KIND: u16 = msgtype::MON_GET_MAP;
    const NAME: &'static str = "mon_get_map";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, _out: &mut Message) {}

    fn decode(_message: &Message) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// The monmap, as an answer or because it has changed (encoding §16.3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MMonMap {
    /// The encoded map; [`map`](Self::map) decodes it.
    pub monmap: Bytes,
}

impl MMonMap {
    /// The message with a map, in the form for a peer with these features.
    #[must_use]
    pub fn new(map: &MonMap, features: u64) -> Self {
        let mut monmap = Vec::new();
        map.encode(features, &mut monmap);
        Self {
            monmap: monmap.into(),
        }
    }

    /// The map.
    ///
    /// # Errors
    /// If its bytes make no sense.
    pub fn map(&self) -> Result<MonMap, DecodeError> {
        MonMap::decode(&mut Reader::new(&self.monmap, "monmap"))
    }
}

impl Payload for MMonMap {
    const KIND: u16 = msgtype::MON_MAP;
    const NAME: &'static str = "mon_map";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        front.put_blob(&self.monmap);
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            let monmap = Bytes::copy_from_slice(r.blob()?);
            Ok(Self { monmap })
        })
    }
}

/// What a subscriber wants of one thing (encoding §16.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Subscription {
    /// The first version it wants; 0 is whichever is current.
    pub start: u64,
    /// Whether it wants one version only, not all that follow.
    pub once: bool,
}

/// Subscribes to maps and configuration (encoding §16.4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MMonSubscribe {
    /// What is wanted, by name: `monmap`, `osdmap`, `config`, …
    pub what: BTreeMap<String, Subscription>,
    /// The subscriber's host, by which a monitor chooses its configuration.
    pub hostname: String,
}

/// The one flag of a subscription.
const ONCE: u8 = 1;

impl Payload for MMonSubscribe {
    const KIND: u16 = msgtype::MON_SUBSCRIBE;
    const NAME: &'static str = "mon_subscribe";
    const VERSION: u16 = 3;
    const COMPAT: u16 = 1;

    fn encode(&self, features: u64, out: &mut Message) {
        let old = !features::has(features, SUBSCRIBE2);
        let mut front = Vec::new();
        front.put_count(self.what.len());
        for (what, item) in &self.what {
            front.put_string(what);
            if old {
                front.put_u64_le(0);
                front.put_u64_le(item.start.saturating_sub(1));
                front.put_u8(item.once.into());
            } else {
                front.put_u64_le(item.start);
                front.put_u8(if item.once { ONCE } else { 0 });
            }
        }
        if old {
            out.set_version(0, Self::COMPAT);
        } else {
            front.put_string(&self.hostname);
        }
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        let version = message.head().version;
        let old = version == 0;
        let item_len = if old { 4 + 17 } else { 4 + 9 };
        read_front(message, |r| {
            let what = read_list(r, item_len, |r| {
                let name = r.string()?;
                let (start, once) = if old {
                    r.u64()?;
                    // 0 stands for "has none" as well as for "has version 0".
                    let have = r.u64()?;
                    let start = if have == 0 { 0 } else { have.saturating_add(1) };
                    (start, r.bool()?)
                } else {
                    (r.u64()?, r.u8()? & ONCE != 0)
                };
                Ok((name, Subscription { start, once }))
            })?;
            let hostname = if version >= 3 {
                r.string()?
            } else {
                String::new()
            };
            Ok(Self { what, hostname })
        })
    }
}

/// Confirms a subscription, to old peers only (encoding §16.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MMonSubscribeAck {
    /// After how many seconds the subscription has to be renewed.
    pub interval: u32,
    /// The cluster.
    pub fsid: Fsid,
}

impl Payload for MMonSubscribeAck {
    const KIND: u16 = msgtype::MON_SUBSCRIBE_ACK;
    const NAME: &'static str = "mon_subscribe_ack";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        front.put_u32_le(self.interval);
        self.fsid.encode(&mut front);
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            Ok(Self {
                interval: r.u32()?,
                fsid: Fsid::decode(r)?,
            })
        })
    }
}

/// Asks which version of a map is current (encoding §16.8).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MMonGetVersion {
    /// Chosen by the client; the reply echoes it.
    pub handle: u64,
    /// The map, such as `osdmap`.
    pub what: String,
}

impl Payload for MMonGetVersion {
    const KIND: u16 = msgtype::MON_GET_VERSION;
    const NAME: &'static str = "mon_get_version";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        front.put_u64_le(self.handle);
        front.put_string(&self.what);
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            Ok(Self {
                handle: r.u64()?,
                what: r.string()?,
            })
        })
    }
}

/// Says which version of a map is current (encoding §16.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MMonGetVersionReply {
    /// The question's.
    pub handle: u64,
    /// The current version.
    pub version: u64,
    /// The oldest version that the monitor still has; 0 if it does not say.
    pub oldest_version: u64,
}

impl Payload for MMonGetVersionReply {
    const KIND: u16 = msgtype::MON_GET_VERSION_REPLY;
    const NAME: &'static str = "mon_get_version_reply";
    const VERSION: u16 = 2;
    const COMPAT: u16 = 2;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        front.put_u64_le(self.handle);
        front.put_u64_le(self.version);
        front.put_u64_le(self.oldest_version);
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        let has_oldest = message.head().version >= 2;
        read_front(message, |r| {
            Ok(Self {
                handle: r.u64()?,
                version: r.u64()?,
                oldest_version: if has_oldest { r.u64()? } else { 0 },
            })
        })
    }
}

/// A command for a monitor (encoding §16.9). The message's tid tells the answers apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MMonCommand {
    /// What is common to messages to monitors.
    pub paxos: PaxosHead,
    /// The cluster that is meant; a monitor of another one refuses.
    pub fsid: Fsid,
    /// The command: normally one JSON object, such as `{"prefix":"status"}`.
    pub command: Vec<String>,
    /// What the command works on; the data segment.
    pub input: Bytes,
}

impl Payload for MMonCommand {
    const KIND: u16 = msgtype::MON_COMMAND;
    const NAME: &'static str = "mon_command";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        self.paxos.encode(&mut front);
        self.fsid.encode(&mut front);
        put_strings(&self.command, &mut front);
        out.set_front(front);
        out.set_data(self.input.clone());
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            Ok(Self {
                paxos: PaxosHead::decode(r)?,
                fsid: Fsid::decode(r)?,
                command: read_list(r, 4, Reader::string)?,
                input: message.data().to_bytes(),
            })
        })
    }
}

/// The answer to a command (encoding §16.10), with the command's tid.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MMonCommandAck {
    /// What is common to messages of monitors.
    pub paxos: PaxosHead,
    /// 0, or a negative errno of Linux.
    pub result: i32,
    /// The result in words.
    pub status: String,
    /// The command, as it came.
    pub command: Vec<String>,
    /// What the command gave; the data segment.
    pub output: Bytes,
}

impl Payload for MMonCommandAck {
    const KIND: u16 = msgtype::MON_COMMAND_ACK;
    const NAME: &'static str = "mon_command_ack";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        self.paxos.encode(&mut front);
        front.put_i32_le(self.result);
        front.put_string(&self.status);
        put_strings(&self.command, &mut front);
        out.set_front(front);
        out.set_data(self.output.clone());
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            Ok(Self {
                paxos: PaxosHead::decode(r)?,
                result: r.i32()?,
                status: r.string()?,
                command: read_list(r, 4, Reader::string)?,
                output: message.data().to_bytes(),
            })
        })
    }
}

/// Options for a client, by the monitors (encoding §16.22).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MConfig {
    /// Values of options by their names.
    pub options: BTreeMap<String, String>,
}

impl Payload for MConfig {
    const KIND: u16 = msgtype::CONFIG;
    const NAME: &'static str = "config";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::new();
        front.put_count(self.options.len());
        for (name, value) in &self.options {
            front.put_string(name);
            front.put_string(value);
        }
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            let options = read_list(r, 8, |r| Ok((r.string()?, r.string()?)))?;
            Ok(Self { options })
        })
    }
}

pub(super) fn put_strings<'a>(
    strings: impl IntoIterator<Item = &'a String, IntoIter: ExactSizeIterator>,
    out: &mut Vec<u8>,
) {
    let strings = strings.into_iter();
    out.put_count(strings.len());
    strings.for_each(|s| out.put_string(s));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, round_trip};
    use super::*;

    fn subscribe(what: &str, start: u64, once: bool) -> MMonSubscribe {
        MMonSubscribe {
            what: [(what.into(), Subscription { start, once })].into(),
            hostname: "h".into(),
        }
    }

    #[test]
    fn a_subscription_byte_by_byte() {
        let message = round_trip(&subscribe("monmap", 0, false));
        let golden = hex("01000000 06000000 6d6f6e6d6170 0000000000000000 00 01000000 68");
        assert_eq!(golden.len(), 28);
        assert_eq!(message.front().to_bytes(), golden);
        round_trip(&subscribe("osdmap", 12, true));
    }

    #[test]
    fn subscriptions_of_old_peers() {
        for (start, have) in [(0, 0), (12, 11)] {
            let payload = subscribe("osdmap", start, true);
            let message = Message::from_payload(&payload, 0);
            assert_eq!(message.head().version, 0);
            assert_eq!(message.front().to_bytes()[22], have);
            let decoded: MMonSubscribe = message.decode().expect("just encoded");
            assert_eq!(decoded.what, payload.what);
            assert_eq!(decoded.hostname, "");
        }
        // Version 2 has the new items, and no host name yet.
        let message = Message::from_payload(&subscribe("config", 3, false), SUBSCRIBE2);
        let decoded: MMonSubscribe = message.with_version(2, 1).decode().expect("v2");
        assert_eq!(decoded.what["config"].start, 3);
        assert_eq!(decoded.hostname, "");
    }

    #[test]
    fn round_trips() {
        round_trip(&MMonGetMap);
        round_trip(&MMonMap {
            monmap: Bytes::from_static(b"opaque"),
        });
        round_trip(&MMonSubscribeAck {
            interval: 300,
            fsid: Fsid([7; 16]),
        });
        round_trip(&MMonGetVersion {
            handle: 9,
            what: "osdmap".into(),
        });
        round_trip(&MMonGetVersionReply {
            handle: 9,
            version: 5,
            oldest_version: 1,
        });
        round_trip(&MConfig::default());
        round_trip(&MConfig {
            options: [("a".into(), "1".into()), ("b".into(), String::new())].into(),
        });
    }

    #[test]
    fn commands_carry_bulk_in_the_data_segment() {
        let command = vec![r#"{"prefix":"status"}"#.to_owned()];
        // A cut message has no data, so these are cut without.
        round_trip(&MMonCommand {
            fsid: Fsid([1; 16]),
            command: command.clone(),
            ..MMonCommand::default()
        });
        let ack = MMonCommandAck {
            result: -22,
            status: "command not known".into(),
            command,
            output: Bytes::from_static(b"{}"),
            ..MMonCommandAck::default()
        };
        let message = round_trip(&ack);
        assert_eq!(message.data().to_bytes(), "{}");
    }

    #[test]
    fn an_old_reply_has_no_oldest_version() {
        let payload = MMonGetVersionReply {
            handle: 1,
            version: 2,
            oldest_version: 3,
        };
        let message = Message::from_payload(&payload, 0).with_version(1, 1);
        let decoded: MMonGetVersionReply = message.decode().expect("v1");
        assert_eq!((decoded.version, decoded.oldest_version), (2, 0));
    }
}
