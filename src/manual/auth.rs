//! Authentication: who may connect, how that is shown, and the rules behind it by number.
//!
//! # In short
//!
//! A client has a name such as `client.admin` and a secret key, which the monitors know, too. It
//! *logs in* to a monitor: both show that they know the key, without telling it. The monitor gives
//! it *tickets*, one for each kind of daemon, and a *session key* with each. To a daemon it shows
//! the ticket and that it knows the session key; the daemon opens the ticket with a *service
//! secret* that it shares with the monitors. The daemon need not have heard of the client before.
//!
//! | to have | take |
//! |---|---|
//! | a client with a key | [`Credentials::from_keyring`](crate::Credentials::from_keyring) |
//! | a client of a cluster without keys | [`Credentials::none`](crate::Credentials::none) |
//! | a server that clients log in to | [`Authority`](crate::Authority) over a [`Site`] of type mon |
//! | a daemon that takes tickets | the same of another type, with the secrets of its service |
//! | two programs without a monitor | [`Credentials::service_keys`](crate::Credentials::service_keys) and the same key in the keyring of the [`Site`] |
//!
//! A log-in, and a ticket shown to a daemon, with both sides in memory. What goes over a network is
//! in `request`, `More` and `Done`:
//!
//! ```
//! use async_messenger::auth::{AuthAnswer, AuthCx, Keyring, Method, Mode, Site};
//! use async_messenger::auth::{AuthClient, AuthServer, Authenticated};
//! use async_messenger::wire::{AuthName, EntityType, Timespec};
//! use async_messenger::{Authority, Credentials};
//!
//! /// Carries payloads from one side to the other.
//! fn handshake(
//!     client: &mut dyn AuthClient,
//!     server: &mut dyn AuthServer,
//! ) -> Result<Authenticated, Box<dyn std::error::Error>> {
//!     // A program takes these from its clock and from its system's generator.
//!     let now = Timespec { secs: 1_700_000_000, nanos: 0 };
//!     let mut count = 0_u8;
//!     let mut random = |out: &mut [u8]| out.iter_mut().for_each(|byte| {
//!         count = count.wrapping_add(1);
//!         *byte = count;
//!     });
//!     let mut cx = AuthCx { now, random: &mut random };
//!
//!     let request = client.begin(&mut cx)?;
//!     let mut answer = server.begin(&mut cx, &request);
//!     loop {
//!         match answer {
//!             AuthAnswer::More(challenge) => {
//!                 let proof = client.more(&mut cx, &challenge)?;
//!                 answer = server.more(&mut cx, &proof);
//!             }
//!             AuthAnswer::Done { mode, payload, who } => {
//!                 return Ok(client.done(&mut cx, who.global_id, mode, &payload)?);
//!             }
//!             AuthAnswer::Refused { why, .. } => return Err(why.into()),
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keyring = Keyring::parse(
//!     "[client.admin]\n\
//!      key = AQAAEF5fAAAAABAAAAECAwQFBgcICQoLDA0ODw==\n\
//!      caps mon = \"allow *\"\n\
//!      caps osd = \"allow rw\"\n",
//! )?;
//! let name: AuthName = "client.admin".parse()?;
//! let client = Credentials::from_keyring(&keyring, name)?;
//! let mon = Authority::new(Site::new(EntityType::MON, keyring));
//!
//! let who = handshake(&mut *client.client(EntityType::MON), &mut *mon.server(EntityType::CLIENT))?;
//! client.logged_in(&who);
//!
//! // The OSD knows no client, only the secrets of its service.
//! let osd = Authority::new(Site::new(EntityType::OSD, Keyring::new()));
//! osd.set_secrets(mon.edit(|site| site.secrets.clone()));
//! let shown = handshake(&mut *client.client(EntityType::OSD), &mut *osd.server(EntityType::CLIENT))?;
//! assert_eq!(shown.global_id, who.global_id);
//! assert_ne!(shown.session_key, who.session_key);
//! # Ok(())
//! # }
//! ```
//!
//! # What to do when it fails
//!
//! | text | cause and cure |
//! |---|---|
//! | `refused method cephx with -13` | key, name or caps are not what the cluster has (`ceph auth get NAME`), or the type of key is not allowed there any more |
//! | `with -95` | the lists of methods or modes of both sides have nothing in common |
//! | `no valid ticket for osd` | not logged in yet, or the clock of this host is far ahead |
//! | `secret N of osd, which is not known here` | the daemon's own secrets are old; it has to fetch them from a monitor |
//! | `asks for the number N and shows no ticket` | the monitors have lost their secrets, or it is somebody else's number: [`Credentials::forget`](crate::Credentials::forget) and log in again |
//!
//! What was wrong with a proof is in the log of the side that looked at it. The other side is told
//! the same number whatever it was.
//!
//! # The rules, by number
//!
//! Cited as "cephx §6.2" or "aes256k §3". There are gaps where nothing had to be said.
//!
//! ## cephx §1: numbers
//!
//! | what | values |
//! |---|---|
//! | method | 1 none, 2 cephx |
//! | first byte of a payload | 1 to 9: authorizer, 10 to 19: log-in |
//! | request | 0x0100 session key, 0x0200 service tickets, 0x0400 rotating secrets |
//! | service, as a mask | the types of entities: 1 mon, 2 mds, 4 osd, 16 mgr, 32 auth |
//! | error | -13 proof, -22 request, -95 method or mode |
//!
//! ## cephx §3: keys and keyrings
//!
//! A key is `u16` type, time of creation, `u16` length, secret. As text it is that in base64. Line
//! feeds in it are skipped, `-` and `_` stand for `+` and `/`, and what follows padding is ignored.
//! Length 0 is the empty key, whatever the type. We take no other length than that of the type.
//!
//! A keyring is a text file of sections `[client.admin]`; `[global]` is skipped. Properties are
//! `key`, `caps SERVICE` and `auid`, which is skipped; any other makes the file invalid, as in
//! Ceph.
//!
//! ## cephx §4: sealing
//!
//! *Raw-sealed* is the ciphertext of: `u8` 1, `u64` 0xFF009CAD8826AA55, contents. *Sealed* has its
//! `u32` length in front. Who opens it checks the number and skips what follows the contents. For
//! keys of type 1 the cipher is AES-128 in CBC mode with the IV `cephsageyudagreg` and PKCS#7
//! padding; there is no check but the number, so that a later block can be changed without being
//! noticed. A proof is therefore always about random numbers.
//!
//! ## cephx §5: structures
//!
//! Each begins with a version byte where the table of `src/auth/cephx/wire.rs` has one. A ticket as
//! its holder has it is `u64` secret id and a blob; inside, raw-sealed under that secret, are name,
//! number, times, caps and session key. What the holder gets with it, sealed under its own key, is
//! session key and lifetime. A ticket reply is a list of both for several services.
//!
//! ## cephx §6: proofs
//!
//! §6.1, log-in: seal both challenges (server's first) under the key, and XOR the first four words
//! of the result, its length included. §6.2, authorizer: `u8` 1, `u64` number, `u32` service,
//! ticket, and sealed under its session key a random number, whether there is an answer to a
//! challenge, and the challenge plus 1. The service opens the ticket with the secret of that id; an
//! id of all ones means the long-term key of (service, empty id). The number must be that in the
//! ticket; the times in it are not looked at. The first authorizer of a connection is answered by a
//! challenge, raw-sealed, the second one by the random number plus 1, sealed, with the connection
//! secret if the mode is secure.
//!
//! ## cephx §8: log-in
//!
//! `u8` 10, name, number; a challenge; the proof, with the old auth ticket and the mask of services
//! that tickets are wanted for; the auth ticket, sealed under the key of the name, and under the
//! new session key the connection secret and the other tickets.
//!
//! §8.1, client: a ticket is used until its lifetime is over, and renewed when a quarter of that is
//! left. If the clock went back to before it came it is renewed at once, and used meanwhile. We
//! ask for our number again only if we have an auth ticket, valid or not.
//!
//! §8.2, server: an unknown name is challenged like any other. A number that is asked for again
//! must be in the old ticket, which has to open:
//!
//! | number | old ticket | result |
//! |---|---|---|
//! | 0 | none | a new number |
//! | 0 | any | -22 |
//! | given | opens, same number | kept; the new ticket is sealed once more under the old session key |
//! | given | anything else | -13; from clients of old versions it is believed, unless that is switched off |
//!
//! Caps for the monitors must not be empty. Services without a secret are left out.
//!
//! §8.3, later: on the session of a log-in, in v1 and v2 alike, the messages MAuth and MAuthReply
//! carry requests and responses. 0x0100 renews the auth ticket, with a proof about the challenge of
//! the log-in; 0x0200 shows the auth ticket without being challenged and gets tickets; 0x0400 gets
//! a daemon the secrets of its service. A service that the monitor had no ticket for is not asked
//! for again before the next renewal.
//!
//! ## cephx §9: tickets to daemons
//!
//! Authorizer, challenge, authorizer, reply. The daemon then wants caps, but monitors and managers
//! take empty ones. Secrets are three for each service: previous, current, next, each for one
//! lifetime; when the previous one is dropped, the tickets made with it are over. Who has the
//! long-term key of a service can make tickets for it. Monitors do that among each other with the
//! key of `mon.`, and take nothing else from each other.
//!
//! ## cephx §10: in v1
//!
//! §10.1: to a monitor, by messages. MAuth of method 0 with a list of methods, name and number;
//! the monitor takes the highest that both know. Then as in §8, without a connection secret. §10.2:
//! to a daemon, beside the connect message; the answer to a challenge is shown again if the connect
//! message has to be repeated. §10.3: after that each message is signed. With the feature CEPHX_V2
//! the signature is the XOR of the first four words of the ciphertext of CRCs, lengths and the
//! lower half of the sequence number; without it, the first word of the sealed CRCs.
//!
//! ## cephx §11: method none
//!
//! `u8` 10 (to a monitor) or 1, name, number; it is believed. There is no session key, and no mode
//! but crc.
//!
//! ## cephx §12: a server with a keyring
//!
//! [`Site`] is the state for it; [`Authority`](crate::Authority) puts it behind a lock. It needs no
//! other monitor. Its answers to renewals are those of
//! [`SessionServer`](crate::auth::SessionServer).
//!
//! ## cephx §14: robustness
//!
//! Each length is bounded by the bytes around it. Masks of services are looked at for the services
//! that there are. Proofs, challenges and signatures are compared in constant time.
//!
//! ## aes256k §2 to §4: keys of type 2
//!
//! 32 bytes. Each use has a number; encryption and integrity keys are derived from secret and
//! number by HMAC-SHA-384 (RFC 8009 §3). The ciphertext is AES-256 in CBC mode with ciphertext
//! stealing (the last two blocks always swapped) over 16 random bytes and the plaintext, then 24
//! bytes of HMAC-SHA-384 over 16 zeros and the ciphertext. That is compared before anything is
//! decrypted.
//!
//! ## aes256k §5: uses
//!
//! | number | what |
//! |---|---|
//! | 0x03 | connection secret of a log-in |
//! | 0x04 | session key and lifetime, beside a ticket |
//! | 0x05 | auth ticket that is sealed once more |
//! | 0x10, 0x11, 0x12 | authorizer, its challenge, its reply |
//! | 0x20 | rotating secrets |
//! | 0x30 | contents of a ticket |
//!
//! ## aes256k §6: proofs without encryption
//!
//! The proof of a log-in and the signature of v1 XOR the four words of HMAC-SHA-256, keyed with the
//! secret, over the challenges or the block of §10.3. Without CEPHX_V2 there is no signature that
//! two programs would agree on, so it is refused.
//!
//! ## aes256k §7: which type
//!
//! Every key says what it is; nothing is negotiated. The session key of an auth ticket is of the
//! type of the principal's key, that of another ticket of the lower one of that and the secret's.
//!
//! ## aes256k §8: which types may log in
//!
//! [`Site::key_types`](crate::auth::Site::key_types); others get -13 after the challenge. When a
//! cluster replaces all its secrets, clients call
//! [`Session::expire_all`](crate::auth::Session::expire_all) and get new tickets with the old auth
//! ticket.
//!
//! ## msgr2 §7.2: modes
//!
//! Which lists of methods and modes hold between two kinds of entities is in
//! [`Offers::of`](crate::auth::Offers::of). The accepting side takes the first mode of the other's
//! list that is in its own. With method none, only crc counts.
//!
//! # What is not there
//!
//! Kerberos; keys that wait to replace others; reading caps beyond whether there are any.
//!
//! [`Site`]: crate::auth::Site
