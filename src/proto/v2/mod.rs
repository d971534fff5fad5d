//! msgr v2, revisions 2.0 and 2.1: banner, hello, authentication, session, then frames.
//!
//! One file per step: [`Connector`] and [`Acceptor`] are the two sides of the handshake
//! (msgr2 §9 to §11), [`Assembler`] and [`Disassembler`] make frames and take them apart
//! (msgr2 §5), [`Control`] is what is in those that are no messages (msgr2 §6), [`Decoder`] and
//! [`Encoder`] are the open phase (msgr2 §11).

mod acceptor;
mod arbitrate;
mod assemble;
mod banner;
mod claim;
mod compression;
mod connector;
mod control;
mod decoder;
mod disassemble;
mod encoder;
mod frame;
mod setup;
mod state;
pub mod tag;

pub use acceptor::{Acceptor, AcceptorEvent, AcceptorParams};
pub use arbitrate::{Attempt, Decision, Existing, Stage, arbitrate, compare};
pub use assemble::{Assembler, Sink};
pub use banner::Banner;
pub use claim::{Claim, Verdict, Wants, vet};
pub use compression::{Algorithm, Algorithms, CompressMode, Compression};
pub use connector::{Connector, ConnectorEvent, ConnectorParams, Resume};
pub use control::{ClientIdent, Control, Reconnect, SIGNATURE_LEN, ServerIdent};
pub use decoder::Decoder;
pub use disassemble::{Body, Bounds, Disassembler, Frame};
pub use encoder::Encoder;
pub use frame::{INLINE_LEN, PREAMBLE_LEN, Preamble, Revision, SEGMENTS_MAX, frame_len};
pub use setup::{Opened, Standing};
pub use state::State;
