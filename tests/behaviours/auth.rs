//! What has to be shown, and that it is shown once (session §16.1, §16.7).

use async_messenger::auth::{Method, Mode, Offers, Site};
use async_messenger::inject::{Intercept, Step};
use async_messenger::wire::{AuthName, EntityName, EntityType};
use async_messenger::{Authority, Builder, Credentials, Policy};

use super::peers::{eventually, keys};
use super::{Node, node, node_at, send};

const MODES: &[Mode] = &[Mode::CRC, Mode::SECURE];

fn cephx() -> Offers {
    Offers::uniform(&[Method::CEPHX], MODES)
}

fn without_key() -> Credentials {
    Credentials::none(AuthName::new(EntityType::CLIENT, "test"))
}

fn with_key() -> Credentials {
    without_key().offers(cephx()).service_keys(keys())
}

fn asks_for_cephx() -> Authority {
    let mut site = Site::new(EntityType::OSD, keys());
    site.offers = cephx();
    Authority::new(site)
}

fn client(credentials: Credentials) -> Node {
    node(EntityName::client(-1), (false, false), |builder| {
        let builder = builder.credentials(credentials);
        builder.policy(EntityType::OSD, Policy::lossy_client(0))
    })
}

/// Both kinds of clients try to get in, and one of them does.
fn check(server: &Node, welcome: &Node, refused: &Node) {
    let connection = welcome.connect(server);
    welcome.round_trip(&connection);
    connection.mark_down();
    let before = refused.refusals();
    let denied = refused.connect(server);
    // It may be closed already.
    let _ = denied.send(super::ping());
    eventually("a refusal", || refused.refusals() > before);
    assert!(!denied.is_connected());
    denied.mark_down();
}

#[test]
fn behaviour_15_auth_switch() {
    let authority = asks_for_cephx();
    let server = node(EntityName::osd(0), (true, true), |builder| {
        let builder = builder.authority(authority.clone());
        let builder = builder.require_authorizer(true);
        builder.policy(EntityType::CLIENT, Policy::stateless_server(0))
    });
    let (knows, does_not) = (client(with_key()), client(without_key()));
    check(&server, &knows, &does_not);
    authority.edit(|site| site.offers = Offers::uniform(&[Method::NONE], MODES));
    check(&server, &does_not, &knows);
    authority.edit(|site| site.offers = cephx());
    check(&server, &knows, &does_not);
    for node in [knows, does_not, server] {
        node.end();
    }
}

/// With version 1 a session is taken over by RETRY_GLOBAL, and the connect struct that follows
/// repeats the answer to the challenge, which belongs to the link: the accepting side does not
/// challenge it again, though it is another session that looks at it now.
#[test]
fn there_is_no_second_challenge_after_a_takeover() {
    let v1 = "v1:127.0.0.1:0".parse().expect("an address");
    let keyed = |builder: Builder| {
        let builder = builder.credentials(with_key());
        builder.authority(asks_for_cephx()).require_authorizer(true)
    };
    let server = node_at(EntityName::osd(0), true, Some(&v1), |builder| {
        keyed(builder).policy(EntityType::CLIENT, Policy::stateful_server(0))
    });
    let client = node_at(EntityName::client(-1), false, None, |builder| {
        keyed(builder).policy(EntityType::OSD, Policy::lossless_client(0))
    });
    let to_server = client.connect(&server);
    client.round_trip(&to_server);
    client.steps.stop_at(Step::MessageReceived);
    send(&to_server);
    client.steps.wait_for(Step::MessageReceived);
    send(&to_server);
    client.steps.decide(Step::MessageReceived, Intercept::Fail);
    for node in [&server, &client] {
        eventually("all three messages", || node.messages() == 3);
    }
    let accepted = server.accepted();
    assert_eq!(server.steps.count(&accepted, Step::SendRetryGlobal), 1);
    // One attempt, and its repetition on the same link: a second challenge would have broken it.
    assert_eq!(client.steps.count(&to_server, Step::SendReconnect), 2);
    assert_eq!(client.steps.count(&to_server, Step::StartConnecting), 2);
    let who = accepted.authenticated().expect("it has shown who it is");
    assert!(who.session_key.is_some());
    client.end();
    server.end();
}
