//! Ping: is anybody there?

use crate::message::{Message, Payload};
use crate::wire::{DecodeError, Put, msgtype};

use super::read_front;

/// A ping, or the answer to it (encoding §16.1). Any data may ride in the data segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MPing {
    /// Nothing in a question. A monitor answers with its health and status, as JSON.
    pub text: Option<String>,
}

impl Payload for MPing {
    const KIND: u16 = msgtype::PING;
    const NAME: &'static str = "ping";
    const VERSION: u16 = 1;
    const COMPAT: u16 = 1;

    fn encode(&self, _features: u64, out: &mut Message) {
        if let Some(text) = &self.text {
            let mut front = Vec::new();
            front.put_string(text);
            out.set_front(front);
            // A monitor sets the text behind the encoder's back, which leaves this unknown.
            out.set_version(Self::VERSION, 0);
        }
    }

    fn decode(message: &Message) -> Result<Self, DecodeError> {
        read_front(message, |r| {
            let text = (!r.is_empty()).then(|| r.string()).transpose()?;
            Ok(Self { text })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::round_trip_but_for;
    use super::*;

    #[test]
    fn question_and_answer() {
        let question = Message::from_payload(&MPing::default(), 0);
        assert_eq!((question.size(), question.head().compat_version), (0, 1));
        assert_eq!(question.decode(), Ok(MPing::default()));

        let text = Some("{}\n".to_owned());
        let answer = round_trip_but_for(&MPing { text }, &[0]);
        assert_eq!(answer.front().to_bytes()[..], b"\x03\0\0\0{}\n"[..]);
        assert_eq!(answer.head().compat_version, 0);
    }
}
