//! Points in time on the wire: 32-bit seconds and nanoseconds (encoding §3).
//! This module does not read a clock.

use std::time::Duration;

use bytes::BufMut;

use super::{DecodeError, Reader};

/// Seconds and nanoseconds since the epoch of whichever clock it was taken from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timespec {
    /// Whole seconds.
    pub secs: u32,
    /// Nanoseconds; a peer may send 1,000,000,000 or more.
    pub nanos: u32,
}

impl Timespec {
    /// Bytes it takes.
    pub const LEN: usize = 8;

    /// Writes the 8 bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u32_le(self.secs);
        out.put_u32_le(self.nanos);
    }

    /// Reads 8 bytes.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            secs: r.u32()?,
            nanos: r.u32()?,
        })
    }
}

/// From a time since the epoch; the seconds are cut to 32 bits, as the wire demands.
impl From<Duration> for Timespec {
    fn from(since_epoch: Duration) -> Self {
        Self {
            secs: since_epoch.as_secs() as u32,
            nanos: since_epoch.subsec_nanos(),
        }
    }
}

impl From<Timespec> for Duration {
    fn from(t: Timespec) -> Self {
        Self::from_secs(t.secs.into()) + Self::from_nanos(t.nanos.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes() {
        let t = Timespec::from(Duration::new(0x1_0000_0002, 7));
        let mut out = Vec::new();
        t.encode(&mut out);
        assert_eq!(out, [2, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(Timespec::decode(&mut Reader::new(&out, "t")), Ok(t));
        assert_eq!(Duration::from(t), Duration::new(2, 7));
        // The largest a peer can send is no overflow.
        let _ = Duration::from(Timespec {
            secs: u32::MAX,
            nanos: u32::MAX,
        });
    }
}
