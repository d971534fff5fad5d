//! Messages of v1 with signatures (cephx §10.3), and the rest of its open phase.

use async_messenger::auth::{KeyType, Signer};
use async_messenger::message::{Message, TxBatch};
use async_messenger::proto::v1::{Decoder, Encoder, State};
use async_messenger::proto::{Checksums, Decoded, Gate, Incoming, Limits, ProtoError, Toll};
use async_messenger::wire::features::{MSG_AUTH, SUPPORTED};
use bytes::BytesMut;

use super::key;

/// Admits everything but what it is told to hold up.
struct Doorman(Option<Toll>);

impl Gate for Doorman {
    fn admit(&mut self, toll: Toll, _: u64) -> bool {
        self.0 != Some(toll)
    }
}

fn drain(batch: &mut TxBatch) -> BytesMut {
    let mut out = BytesMut::new();
    while !batch.is_empty() {
        let taken = batch.write_to(|slices| {
            slices.iter().for_each(|slice| out.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        taken.expect("a buffer takes all");
    }
    out
}

fn sample() -> Message {
    Message::new(42)
        .with_front(&b"front"[..])
        .with_middle(&b"mid"[..])
        .with_data(&b"data"[..])
}

/// A message as number 3, signed or not.
fn sent(signer: Option<&Signer>, features: u64) -> BytesMut {
    let encoder = Encoder::new(features, Checksums::default()).with_signer(signer.cloned());
    let mut batch = TxBatch::default();
    encoder.message(sample(), 3, &mut batch);
    drain(&mut batch)
}

fn receive(
    signer: Option<&Signer>,
    features: u64,
    mut bytes: BytesMut,
) -> Result<Message, ProtoError> {
    let decoder = Decoder::new(features, Checksums::default(), Limits::default());
    let mut decoder = decoder.with_signer(signer.cloned());
    match decoder.decode(&mut bytes, &mut Doorman(None))? {
        Decoded::Incoming(Incoming::Message(message)) => Ok(message),
        other => panic!("no message but {other:?}"),
    }
}

#[test]
fn signatures_are_made_and_checked_in_every_form() {
    let signer = |kind, byte, v2| Signer::new(&key(kind, byte), v2).expect("it can sign");
    for (form, ours, other) in [
        (
            "aes",
            signer(KeyType::Aes, 1, true),
            signer(KeyType::Aes, 2, true),
        ),
        (
            "old",
            signer(KeyType::Aes, 1, false),
            signer(KeyType::Aes, 2, false),
        ),
        (
            "hmac",
            signer(KeyType::Aes256k, 1, true),
            signer(KeyType::Aes256k, 2, true),
        ),
    ] {
        assert_eq!(
            format!("{ours:?}"),
            format!("Signer({form})"),
            "no key in it"
        );
        let good = sent(Some(&ours), SUPPORTED);
        let came = receive(Some(&ours), SUPPORTED, good.clone()).expect(form);
        assert_eq!(
            (came.head().seq, came.data().to_bytes()),
            (3, "data".into())
        );
        receive(None, SUPPORTED, good.clone()).expect("who has no key does not look");
        let no_signature = sent(None, SUPPORTED);
        assert_eq!(no_signature.len(), good.len(), "the place for it is there");
        let denied = |signer: &Signer, bytes: BytesMut| {
            let error = receive(Some(signer), SUPPORTED, bytes).expect_err(form);
            assert!(
                matches!(error, ProtoError::AuthDenied(_)),
                "{form}: {error}"
            );
            let text = "the signature of a message does not hold";
            assert!(error.to_string().contains(text), "{error}");
        };
        denied(&other, good.clone());
        denied(&ours, no_signature);
        // Eight bytes before the flags at the end.
        for at in good.len() - 9..good.len() - 1 {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            denied(&ours, bad);
        }
        // Without the feature there is no place for a signature, and nobody misses it.
        let short = sent(Some(&ours), SUPPORTED & !MSG_AUTH);
        assert_eq!(short.len(), good.len() - 8);
        receive(Some(&ours), SUPPORTED & !MSG_AUTH, short).expect("not signed");
    }
    let refused = Signer::new(&key(KeyType::Aes256k, 1), false);
    let error = refused
        .expect_err("nobody knows what it would be")
        .to_string();
    assert!(error.contains("without the feature CEPHX_V2"), "{error}");
}

#[test]
fn a_decoder_says_where_it_is() {
    let bytes = sent(None, SUPPORTED);
    let new = || Decoder::new(SUPPORTED, Checksums::default(), Limits::default());
    for (toll, state) in [
        (Toll::Messages, State::ThrottleMessage),
        (Toll::Bytes, State::ThrottleBytes),
        (Toll::Dispatch, State::ThrottleDispatchQueue),
    ] {
        let mut decoder = new();
        let decoded = decoder.decode(&mut bytes.clone(), &mut Doorman(Some(toll)));
        assert!(matches!(decoded, Ok(Decoded::Throttled)));
        assert_eq!((decoder.state(), decoder.in_message()), (state, None));
    }
    let decoder = new();
    assert_eq!(
        (decoder.state(), decoder.in_message()),
        (State::Opened, None)
    );
    // Up to the middle of the front, and then up to the footer.
    for (len, state) in [
        (1 + 53 + 2, State::ReadMessageFront),
        (bytes.len() - 1, State::ReadFooterAndDispatch),
    ] {
        let mut decoder = new();
        let mut rx = BytesMut::from(&bytes[..len]);
        let decoded = decoder.decode(&mut rx, &mut Doorman(None));
        assert!(matches!(decoded, Ok(Decoded::NeedMore)));
        assert_eq!((decoder.state(), decoder.in_message()), (state, Some(12)));
    }
}

#[test]
fn acknowledgements_of_v1() {
    let encoder = Encoder::new(SUPPORTED, Checksums::default());
    let mut batch = TxBatch::default();
    encoder.ack(0x0102_0304, &mut batch);
    let mut bytes = drain(&mut batch);
    assert_eq!(bytes[..], [8, 4, 3, 2, 1, 0, 0, 0, 0]);
    let mut decoder = Decoder::new(SUPPORTED, Checksums::default(), Limits::default());
    let decoded = decoder.decode(&mut bytes, &mut Doorman(None));
    let ack = Decoded::Incoming(Incoming::Ack(0x0102_0304));
    assert_eq!(
        format!("{decoded:?}"),
        format!("{:?}", Ok::<_, ProtoError>(ack))
    );
}

/// The calls that only some callers need do nothing for the others.
#[test]
fn gates_need_not_care() {
    let mut gate = Doorman(None);
    gate.aborted();
    gate.grown(7);
    assert!(gate.admit(Toll::Messages, 1));
}
