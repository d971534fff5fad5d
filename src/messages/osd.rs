//! Heartbeats between OSDs.

use std::time::Duration;

use bytes::BufMut;

use crate::message::{Message, Payload};
use crate::wire::{DecodeError, Reader, Timespec, msgtype};

use super::{Fsid, read_front};

/// A heartbeat between OSDs (encoding §16.13).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MOSDPing {
    /// The cluster; an OSD ignores pings of others.
    pub fsid: Fsid,
    /// The epoch of the OSD map that the sender has.
    pub map_epoch: u32,
    /// What this is.
    pub op: OsdPingOp,
    /// When the ping was sent, by the wall clock of its sender. The reply echoes it.
    pub ping_stamp: Timespec,
    /// The epoch in which the sender came up.
    pub up_from: u32,
    /// When the ping was sent, by the monotonic clock of its sender. The reply echoes it.
    pub mono_ping_stamp: SignedSpan,
    /// When this message was sent, by the monotonic clock of its sender.
    pub mono_send_stamp: SignedSpan,
    /// An upper bound of the difference between the two clocks, if the sender knows one.
    pub delta_ub: Option<SignedSpan>,
    /// Zero bytes at the end. Large pings find out whether large packets get through.
    pub padding: u32,
}

/// What a heartbeat is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OsdPingOp(pub u8);

impl OsdPingOp {
    /// No longer used.
    pub const HEARTBEAT: Self = Self(0);
    /// No longer used.
    pub const START_HEARTBEAT: Self = Self(1);
    /// The receiver is down, says the sender's map.
    pub const YOU_DIED: Self = Self(2);
    /// No longer used.
    pub const STOP_HEARTBEAT: Self = Self(3);
    /// A question.
    pub const PING: Self = Self(4);
    /// The answer.
    pub const PING_REPLY: Self = Self(5);
}

/// A ping.
impl Default for OsdPingOp {
    fn default() -> Self {
        Self::PING
    }
}

/// A duration that may be negative (encoding §3); both parts have its sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SignedSpan {
    /// Whole seconds, truncated toward zero.
    pub secs: i32,
    /// Nanoseconds.
    pub nanos: i32,
}

impl SignedSpan {
    /// Bytes it takes.
    pub const LEN: usize = 8;

    /// Writes the 8 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_i32_le(self.secs);
        out.put_i32_le(self.nanos);
    }

    /// Reads 8 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            secs: r.i32()?,
            nanos: r.i32()?,
        })
    }
}

/// The seconds are cut to 31 bits, as the wire demands.
impl From<Duration> for SignedSpan {
    fn from(duration: Duration) -> Self {
        Self {
            secs: (duration.as_secs() & 0x7fff_ffff) as i32,
            nanos: duration.subsec_nanos() as i32,
        }
    }
}

impl Payload for MOSDPing {
    const KIND: u16 = msgtype::OSD_PING;
    const NAME: &'static str = "osd_ping";
    const VERSION: u16 = 5;
    const COMPAT: u16 = 4;

    fn encode(&self, _features: u64, out: &mut Message) {
        let mut front = Vec::with_capacity(64 + self.padding as usize);
        self.fsid.encode(&mut front);
        front.put_u32_le(self.map_epoch);
        front.put_u8(self.op.0);
        self.ping_stamp.encode(&mut front);
        front.put_u32_le(self.padding);
        front.put_u32_le(self.up_from);
        self.mono_ping_stamp.encode(&mut front);
        self.mono_send_stamp.encode(&mut front);
        front.put_u8(self.delta_ub.is_some().into());
        if let Some(delta) = &self.delta_ub {
            delta.encode(&mut front);
        }
        front.put_bytes(0, self.padding as usize);
        out.set_front(front);
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            let mut ping = Self {
                fsid: Fsid::decode(r)?,
                map_epoch: r.u32()?,
                op: OsdPingOp(r.u8()?),
                ping_stamp: Timespec::decode(r)?,
                padding: r.u32()?,
                ..Self::default()
            };
            if message.head().version >= 5 {
                ping.up_from = r.u32()?;
                ping.mono_ping_stamp = SignedSpan::decode(r)?;
                ping.mono_send_stamp = SignedSpan::decode(r)?;
                ping.delta_ub = r.bool()?.then(|| SignedSpan::decode(r)).transpose()?;
            }
            r.bytes(ping.padding as usize)?;
            Ok(ping)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, round_trip};
    use super::*;

    fn ping() -> MOSDPing {
        MOSDPing {
            fsid: Fsid([0xa7; 16]),
            map_epoch: 10,
            ping_stamp: Timespec { secs: 1, nanos: 2 },
            up_from: 7,
            mono_ping_stamp: Duration::new(3, 4).into(),
            mono_send_stamp: SignedSpan {
                secs: -5,
                nanos: -6,
            },
            ..MOSDPing::default()
        }
    }

    #[test]
    fn byte_by_byte() {
        let golden = hex(
            "a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7 0a000000 04 0100000002000000 00000000
             07000000 0300000004000000 fbfffffffaffffff 00",
        );
        assert_eq!(round_trip(&ping()).front().to_bytes(), golden);
    }

    #[test]
    fn with_everything() {
        let message = round_trip(&MOSDPing {
            op: OsdPingOp::PING_REPLY,
            delta_ub: Some(SignedSpan { secs: 0, nanos: 9 }),
            padding: 100,
            ..ping()
        });
        assert_eq!(message.front().len(), 33 + 21 + 8 + 100);
    }

    #[test]
    fn version_4_has_no_monotonic_stamps() {
        let mut front = Message::from_payload(&ping(), 0).front().to_bytes();
        front.truncate(33);
        let message = Message::new(MOSDPing::KIND).with_version(4, 4);
        let decoded: MOSDPing = message.with_front(front).decode().expect("v4");
        assert_eq!((decoded.map_epoch, decoded.up_from), (10, 0));
    }
}
