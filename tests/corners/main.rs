//! Places of the protocol and authentication code that no ordinary exchange comes by: names and
//! texts (`names`), signed messages of v1 (`signed`), sides that break rules of authentication
//! (`auth`) and of the v2 handshake (`v2`). No network.

mod auth;
mod names;
mod signed;
mod v2;

use async_messenger::auth::{AuthCx, CryptoKey, KeyType, Secret};
use async_messenger::wire::Timespec;

/// Hands out an authentication context whose dice always fall the same way.
fn with_cx<T>(act: impl FnOnce(&mut AuthCx<'_>) -> T) -> T {
    let mut random = |bytes: &mut [u8]| bytes.fill(0x5a);
    act(&mut AuthCx {
        now: Timespec {
            secs: 1_700_000_000,
            nanos: 0,
        },
        random: &mut random,
    })
}

fn key(kind: KeyType, byte: u8) -> CryptoKey {
    let secret = Secret::from(vec![byte; kind.secret_len()]);
    CryptoKey::new(kind, Timespec::default(), secret).expect("as long as it has to be")
}
