//! Messages: a head, three segments of bytes, and typed payloads.
//!
//! A [`Message`] is opaque to the messenger: it carries front, middle and data as they are. Users
//! who want types implement [`Payload`]; the types that every peer of a monitor needs are in
//! [`messages`](crate::messages). Nothing here knows of connections or of a protocol version.

mod body;
mod registry;
mod txbatch;

use std::fmt;

pub use body::Segment;
pub use registry::{Registry, Undecodable, UnknownTypes};
pub use txbatch::TxBatch;

use crate::throttle::Permit;
use crate::wire::{DecodeError, DecodeErrorKind, EntityName, MsgHead, msgtype};

/// The priorities that Ceph names (encoding §12); any 16-bit value is legal.
pub mod priority {
    /// Background work.
    pub const LOW: u16 = 64;
    /// What a message without a priority gets.
    pub const DEFAULT: u16 = 127;
    /// Replies of monitors.
    pub const HIGH: u16 = 196;
    /// Heartbeats and replays.
    pub const HIGHEST: u16 = 255;
}

/// A message, sent or received.
///
/// ```
/// use async_messenger::message::Message;
///
/// let message = Message::new(42).with_front(&b"question"[..]).with_data(vec![0; 4096]);
/// assert_eq!(message.size(), 8 + 4096);
/// ```
#[derive(Debug, Default)]
pub struct Message {
    head: MsgHead,
    front: Segment,
    middle: Segment,
    data: Segment,
    /// Shares of the policy's throttles, given back when the message is dropped (session §6).
    permits: [Option<Permit>; 2],
}

impl Message {
    /// An empty message of a type (encoding §15).
    #[must_use]
    #[inline]
    pub fn new(kind: u16) -> Self {
        let head = MsgHead {
            kind,
            version: 1,
            ..MsgHead::default()
        };
        Self {
            head,
            ..Self::default()
        }
    }

    /// A message with a typed payload, encoded for a peer with these features.
    #[must_use]
    pub fn from_payload<P: Payload>(payload: &P, features: u64) -> Self {
        let mut message = Self::new(P::KIND);
        message.head.version = P::VERSION;
        message.head.compat_version = P::COMPAT;
        payload.encode(features, &mut message);
        message
    }

    /// The payload as a type.
    ///
    /// # Errors
    /// If this is a message of another type, needs a newer decoder, or its bytes make no sense.
    pub fn decode<P: Payload>(&self) -> Result<P, DecodeError> {
        if self.head.kind != P::KIND {
            let kind = DecodeErrorKind::Value(self.head.kind.into());
            return Err(DecodeError {
                what: P::NAME,
                kind,
            });
        }
        if self.head.compat_version > P::VERSION {
            let kind = DecodeErrorKind::Value(self.head.compat_version.into());
            return Err(DecodeError {
                what: P::NAME,
                kind,
            });
        }
        P::decode(self)
    }

    #[inline]
    pub(crate) fn received(head: MsgHead, [front, middle, data]: [Segment; 3]) -> Self {
        Self {
            head,
            front,
            middle,
            data,
            permits: [None, None],
        }
    }

    /// The same message, for keeping until the peer has acknowledged it. Shares the bytes, not the
    /// throttles.
    #[inline]
    pub(crate) fn share(&self) -> Self {
        Self {
            head: self.head,
            front: self.front.clone(),
            middle: self.middle.clone(),
            data: self.data.clone(),
            permits: [None, None],
        }
    }

    #[inline]
    pub(crate) fn hold(&mut self, permits: [Option<Permit>; 2]) {
        self.permits = permits;
    }

    /// Sets the front segment, the main payload.
    #[must_use]
    #[inline]
    pub fn with_front(mut self, front: impl Into<Segment>) -> Self {
        self.front = front.into();
        self
    }

    /// Sets the middle segment.
    #[must_use]
    #[inline]
    pub fn with_middle(mut self, middle: impl Into<Segment>) -> Self {
        self.middle = middle.into();
        self
    }

    /// Sets the data segment, the bulk.
    #[must_use]
    #[inline]
    pub fn with_data(mut self, data: impl Into<Segment>) -> Self {
        self.data = data.into();
        self
    }

    /// Sets the transaction id, which a reply echoes.
    #[must_use]
    #[inline]
    pub fn with_tid(mut self, tid: u64) -> Self {
        self.head.tid = tid;
        self
    }

    /// Sets the priority; 0 means the messenger's default ([`priority`]).
    #[must_use]
    #[inline]
    pub fn with_priority(mut self, priority: u16) -> Self {
        self.head.priority = priority;
        self
    }

    /// Sets the payload's version and the oldest version whose decoder can read it (encoding §13).
    #[must_use]
    #[inline]
    pub fn with_version(mut self, version: u16, compat: u16) -> Self {
        self.head.version = version;
        self.head.compat_version = compat;
        self
    }

    /// Header fields. Of a received message: as they came.
    #[must_use]
    #[inline]
    pub fn head(&self) -> &MsgHead {
        &self.head
    }

    #[inline]
    pub(crate) fn head_mut(&mut self) -> &mut MsgHead {
        &mut self.head
    }

    /// The message type (encoding §15).
    #[must_use]
    #[inline]
    pub fn kind(&self) -> u16 {
        self.head.kind
    }

    /// The transaction id.
    #[must_use]
    #[inline]
    pub fn tid(&self) -> u64 {
        self.head.tid
    }

    /// Who sent it.
    #[must_use]
    #[inline]
    pub fn src(&self) -> EntityName {
        self.head.src
    }

    /// The main payload.
    #[must_use]
    #[inline]
    pub fn front(&self) -> &Segment {
        &self.front
    }

    /// The middle payload; only file-system messages use it.
    #[must_use]
    #[inline]
    pub fn middle(&self) -> &Segment {
        &self.middle
    }

    /// The bulk payload.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &Segment {
        &self.data
    }

    /// Takes the bulk payload out.
    #[must_use]
    #[inline]
    pub fn take_data(&mut self) -> Segment {
        std::mem::take(&mut self.data)
    }

    /// Payload bytes: front, middle and data. This is what throttles count.
    #[must_use]
    #[inline]
    pub fn size(&self) -> u64 {
        (self.front.len() + self.middle.len() + self.data.len()) as u64
    }

    /// Copies the payload out of the receive buffer it shares with its neighbours, for whoever
    /// keeps a small message for long: a slice keeps the whole buffer (256 KiB) in memory.
    pub fn compact(&mut self) {
        self.front.compact();
        self.middle.compact();
        self.data.compact();
    }

    #[inline]
    pub(crate) fn segments_mut(&mut self) -> [&mut Segment; 3] {
        [&mut self.front, &mut self.middle, &mut self.data]
    }
}

/// `type(name) tid n from src, front+middle+data bytes`, as in logs.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = msgtype::name(self.head.kind).unwrap_or("unknown");
        write!(
            f,
            "{name}({}) tid {} from {}, {}+{}+{} bytes",
            self.head.kind,
            self.head.tid,
            self.head.src,
            self.front.len(),
            self.middle.len(),
            self.data.len()
        )
    }
}

/// A typed payload of one message type.
///
/// ```
/// use async_messenger::message::{Message, Payload};
/// use async_messenger::wire::{DecodeError, Reader};
///
/// #[derive(Debug, PartialEq)]
/// struct Hello {
///     number: u32,
/// }
///
/// impl Payload for Hello {
///     const KIND: u16 = 0x7001;
///     const NAME: &'static str = "hello";
///     const VERSION: u16 = 1;
///     const COMPAT: u16 = 1;
///
///     fn encode(&self, _features: u64, out: &mut Message) {
///         out.set_front(self.number.to_le_bytes().to_vec());
///     }
///
///     fn decode(message: &Message) -> Result<Self, DecodeError> {
///         let front = message.front().to_bytes();
///         Ok(Self { number: Reader::new(&front, Self::NAME).u32()? })
///     }
/// }
///
/// let message = Message::from_payload(&Hello { number: 7 }, 0);
/// assert_eq!(message.decode::<Hello>().unwrap(), Hello { number: 7 });
/// ```
pub trait Payload: Sized + fmt::Debug + Send + 'static {
    /// The message type (encoding §15).
    const KIND: u16;
    /// The name for logs and errors.
    const NAME: &'static str;
    /// The newest version of the encoding that this type knows (HEAD).
    const VERSION: u16;
    /// The oldest version whose decoder can read what this type writes (COMPAT).
    const COMPAT: u16;

    /// Writes the payload into the segments of `out`, for a peer with these features. The head's
    /// version fields are set already; a type that writes an older encoding changes them.
    fn encode(&self, features: u64, out: &mut Message);

    /// Reads the payload. Only called for this type's `KIND`, and a compatible version.
    ///
    /// # Errors
    /// If the bytes make no sense.
    fn decode(message: &Message) -> Result<Self, DecodeError>;
}

/// For encoders.
impl Message {
    /// Replaces the front segment.
    pub fn set_front(&mut self, front: impl Into<Segment>) {
        self.front = front.into();
    }

    /// Replaces the middle segment.
    pub fn set_middle(&mut self, middle: impl Into<Segment>) {
        self.middle = middle.into();
    }

    /// Replaces the data segment.
    pub fn set_data(&mut self, data: impl Into<Segment>) {
        self.data = data.into();
    }

    /// Replaces the version fields.
    pub fn set_version(&mut self, version: u16, compat: u16) {
        self.head.version = version;
        self.head.compat_version = compat;
    }
}
