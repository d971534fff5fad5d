//! The reading side of an open v1 connection (msgr1 §14, §15).
//!
//! Payloads are cut out of the input buffer without copying. A part of at least `LANDING_MIN`
//! bytes that is not complete gets a buffer of its own, so that the rest of it is read to where it
//! stays. All lengths are bounded before anything is allocated, and nothing of a payload is touched
//! before the [`Gate`] has admitted its message.

use bytes::{Buf, Bytes, BytesMut};

use super::{State, signed_parts, tag};
use crate::auth::Signer;
use crate::message::{Message, Segment};
use crate::proto::{Checksums, Decoded, Gate, Incoming, Landing, Limits, Part, ProtoError, Toll};
use crate::wire::header::flags;
use crate::wire::{MsgFooter, MsgHeader, Timespec, crc32c, features};

/// Parts shorter than this wait in the input buffer until they are complete: moving a tail of them
/// costs less than a buffer.
const LANDING_MIN: usize = 32 << 10;

const TAG_LEN: usize = 1;
const STAMP_LEN: usize = 8;

/// Turns bytes into messages and control tags.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    checksums: Checksums,
    limits: Limits,
    signed_footer: bool,
    signer: Option<Signer>,
    header: MsgHeader,
    /// As it came.
    header_bytes: [u8; MsgHeader::LEN],
    /// Front, middle and data of the current message, as far as they are complete.
    parts: [Segment; 3],
    /// How many of `parts` are complete.
    complete: usize,
    landing: Option<Fill>,
    failed: Option<ProtoError>,
}

/// What a tag came to.
enum Tagged {
    Incomplete,
    /// The header has been read.
    Message,
    Control(Incoming),
}

/// A part that is being read into a buffer of its own.
#[derive(Debug)]
struct Fill {
    buf: BytesMut,
    len: usize,
    /// Of the first `summed` bytes.
    crc: u32,
    summed: usize,
}

impl Decoder {
    /// A decoder for a connection with these negotiated features, behind the handshake.
    #[must_use]
    pub fn new(negotiated: u64, checksums: Checksums, limits: Limits) -> Self {
        Self {
            state: State::Opened,
            checksums,
            limits,
            signed_footer: features::has(negotiated, features::MSG_AUTH),
            signer: None,
            header: MsgHeader::default(),
            header_bytes: [0; MsgHeader::LEN],
            parts: Default::default(),
            complete: 0,
            landing: None,
            failed: None,
        }
    }

    /// Has the signature of each message verified (cephx §10.3). Without the feature MSG_AUTH there
    /// are none.
    #[must_use]
    pub fn with_signer(mut self, signer: Option<Signer>) -> Self {
        self.signer = signer.filter(|_| self.signed_footer);
        self
    }

    /// Where in the stream the decoder is; after an error, where it failed.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The buffer that the next bytes of the stream belong to, if it is not the input buffer. While
    /// there is one the input buffer is empty.
    pub fn landing(&mut self) -> Option<Landing<'_>> {
        let fill = self.landing.as_mut()?;
        let wanted = fill.len - fill.buf.len();
        (wanted > 0).then_some(Landing {
            buf: &mut fill.buf,
            wanted,
        })
    }

    /// Payload bytes of the message that is being read, if its payload has been admitted.
    #[must_use]
    pub fn in_message(&self) -> Option<u64> {
        let admitted = matches!(
            self.state,
            State::ReadMessageFront | State::ReadFooterAndDispatch
        );
        admitted.then(|| self.header.size())
    }

    /// Takes the next thing out of `rx`, and out of the [`landing`](Self::landing) buffer.
    ///
    /// # Errors
    /// What is wrong with the peer's bytes; the same again on every later call.
    pub fn decode(
        &mut self,
        rx: &mut BytesMut,
        gate: &mut dyn Gate,
    ) -> Result<Decoded, ProtoError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let decoded = self.step(rx, gate);
        if let Err(error) = &decoded {
            self.failed = Some(error.clone());
        }
        decoded
    }

    fn step(&mut self, rx: &mut BytesMut, gate: &mut dyn Gate) -> Result<Decoded, ProtoError> {
        if self.state == State::Opened {
            match self.tag(rx)? {
                Tagged::Incomplete => return Ok(Decoded::NeedMore),
                Tagged::Control(incoming) => return Ok(Decoded::Incoming(incoming)),
                Tagged::Message => {}
            }
        }
        if !self.admitted(gate) {
            return Ok(Decoded::Throttled);
        }
        if !self.read_parts(rx) {
            return Ok(Decoded::NeedMore);
        }
        match self.footer(rx)? {
            Some(message) => Ok(Decoded::Incoming(Incoming::Message(message))),
            None => Ok(Decoded::NeedMore),
        }
    }

    /// One tag with what belongs to it; for a message the header.
    fn tag(&mut self, rx: &mut BytesMut) -> Result<Tagged, ProtoError> {
        let Some(&tag) = rx.first() else {
            return Ok(Tagged::Incomplete);
        };
        let body = match tag {
            tag::MSG => MsgHeader::LEN,
            tag::ACK | tag::KEEPALIVE2 | tag::KEEPALIVE2_ACK => STAMP_LEN,
            tag::KEEPALIVE | tag::CLOSE => 0,
            other => {
                let what = format!("tag {other} does not exist in an open connection");
                return Err(ProtoError::misbehaved(what));
            }
        };
        if rx.len() < TAG_LEN + body {
            return Ok(Tagged::Incomplete);
        }
        rx.advance(TAG_LEN);
        Ok(match tag {
            tag::MSG => {
                self.begin(rx)?;
                Tagged::Message
            }
            tag::ACK => Tagged::Control(Incoming::Ack(rx.get_u64_le())),
            tag::KEEPALIVE2 => Tagged::Control(Incoming::Keepalive2(stamp(rx))),
            tag::KEEPALIVE2_ACK => Tagged::Control(Incoming::Keepalive2Ack(stamp(rx))),
            tag::KEEPALIVE => Tagged::Control(Incoming::Keepalive),
            _ => Tagged::Control(Incoming::Close),
        })
    }

    fn begin(&mut self, rx: &mut BytesMut) -> Result<(), ProtoError> {
        rx.copy_to_slice(&mut self.header_bytes);
        self.header = MsgHeader::decode(&self.header_bytes, self.checksums.header)?;
        let bounded = |what, len: u32, max: u32| {
            let error = ProtoError::Limit {
                what,
                got: len.into(),
                max: max.into(),
            };
            (len <= max).then_some(()).ok_or(error)
        };
        bounded(
            "front segment",
            self.header.front_len,
            self.limits.front_max,
        )?;
        bounded(
            "middle segment",
            self.header.middle_len,
            self.limits.middle_max,
        )?;
        bounded("data segment", self.header.data_len, self.limits.data_max)?;
        self.complete = 0;
        self.state = State::ThrottleMessage;
        Ok(())
    }

    /// Takes the three shares in their order (msgr1 §15). False: one of them is not to be had.
    fn admitted(&mut self, gate: &mut dyn Gate) -> bool {
        let MsgHeader {
            front_len,
            middle_len,
            data_len,
            ..
        } = self.header;
        let size = u64::from(front_len) + u64::from(middle_len) + u64::from(data_len);
        loop {
            let (toll, next) = match self.state {
                State::ThrottleMessage => (Toll::Messages, State::ThrottleBytes),
                State::ThrottleBytes => (Toll::Bytes, State::ThrottleDispatchQueue),
                State::ThrottleDispatchQueue => (Toll::Dispatch, State::ReadMessageFront),
                _ => return true,
            };
            if !gate.admit(toll, size) {
                return false;
            }
            self.state = next;
        }
    }

    /// Reads front, middle and data. False: not complete.
    fn read_parts(&mut self, rx: &mut BytesMut) -> bool {
        let lens = [
            self.header.front_len,
            self.header.middle_len,
            self.header.data_len,
        ];
        while self.complete < lens.len() {
            let sums = if self.complete == 2 {
                self.checksums.data
            } else {
                self.checksums.header
            };
            let Some(part) = self.read_part(lens[self.complete] as usize, sums, rx) else {
                return false;
            };
            self.parts[self.complete] = part;
            self.complete += 1;
        }
        self.state = State::ReadFooterAndDispatch;
        true
    }

    fn read_part(&mut self, len: usize, sums: bool, rx: &mut BytesMut) -> Option<Segment> {
        if let Some(fill) = &mut self.landing {
            fill.take(rx, sums);
            if fill.buf.len() < fill.len {
                return None;
            }
            let fill = self.landing.take()?;
            return Some(Segment::received(
                fill.buf.freeze(),
                sums.then_some(fill.crc),
            ));
        }
        if len == 0 {
            return Some(Segment::received(Bytes::new(), sums.then_some(0)));
        }
        if rx.len() >= len {
            let bytes = rx.split_to(len).freeze();
            let crc = sums.then(|| crc32c(0, &bytes));
            return Some(Segment::received(bytes, crc));
        }
        if len >= LANDING_MIN {
            let buf = BytesMut::with_capacity(len);
            let mut fill = Fill {
                buf,
                len,
                crc: 0,
                summed: 0,
            };
            fill.take(rx, sums);
            self.landing = Some(fill);
        }
        None
    }

    fn footer(&mut self, rx: &mut BytesMut) -> Result<Option<Message>, ProtoError> {
        let footer = if self.signed_footer {
            take(rx).map(|bytes| MsgFooter::decode(&bytes))
        } else {
            take(rx).map(|bytes| MsgFooter::decode_old(&bytes))
        };
        let Some(footer) = footer else {
            return Ok(None);
        };
        self.check(&footer)?;
        self.state = State::Opened;
        let parts = std::mem::take(&mut self.parts);
        Ok(Some(Message::received(self.header.head, parts)))
    }

    /// The footer's checks in their order (msgr1 §15).
    fn check(&mut self, footer: &MsgFooter) -> Result<(), ProtoError> {
        if footer.flags & flags::COMPLETE == 0 {
            return Err(ProtoError::Aborted);
        }
        let data = self.checksums.data && footer.flags & flags::NOCRC == 0;
        let checks = [
            (Part::Front, self.checksums.header, footer.front_crc),
            (Part::Middle, self.checksums.header, footer.middle_crc),
            (Part::Data, data, footer.data_crc),
        ];
        for ((part, wanted, expected), segment) in checks.into_iter().zip(&mut self.parts) {
            if wanted && segment.crc() != expected {
                return Err(ProtoError::Corrupt {
                    part,
                    expected,
                    got: segment.crc(),
                });
            }
        }
        let Some(signer) = &self.signer else {
            return Ok(());
        };
        let parts = signed_parts(&self.header, &self.header_bytes, footer);
        if !signer.verify(&parts, footer.sig) {
            let text = "the signature of a message does not hold: it was changed on the way, or the \
                        two sides do not have the same session key";
            return Err(ProtoError::AuthDenied(text.into()));
        }
        Ok(())
    }
}

fn stamp(rx: &mut BytesMut) -> Timespec {
    Timespec {
        secs: rx.get_u32_le(),
        nanos: rx.get_u32_le(),
    }
}

/// The next `N` bytes, if they are there.
fn take<const N: usize>(rx: &mut BytesMut) -> Option<[u8; N]> {
    let bytes = *rx.first_chunk()?;
    rx.advance(N);
    Some(bytes)
}

impl Fill {
    /// Moves what `rx` holds of this part, and sums what is new while it is in the cache.
    fn take(&mut self, rx: &mut BytesMut, sums: bool) {
        let staged = rx.len().min(self.len - self.buf.len());
        self.buf.extend_from_slice(&rx.split_to(staged));
        if sums {
            self.crc = crc32c(self.crc, &self.buf[self.summed..]);
            self.summed = self.buf.len();
        }
    }
}
