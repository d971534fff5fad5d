//! The v2 handshake: our two sides against each other (`pair`), sides that lie or do not fit
//! (`faults`, `scripted`), real log-ins (`real`), and recordings of real Ceph programs
//! (`recorded`), cut in every way.

#[cfg(feature = "compression")]
mod compression;
mod fake;
mod faults;
mod meeting;
mod pair;
mod real;
mod recorded;
mod scripted;
#[path = "../common/tap.rs"]
mod tap;
#[path = "../common/vectors.rs"]
mod vectors;
#[path = "../common/worked.rs"]
mod worked;

use async_messenger::auth::AuthCx;
use async_messenger::proto::v2::{
    AcceptorParams, Banner, Claim, ConnectorParams, Resume, Standing, Verdict, Wants,
};
use async_messenger::wire::features::SUPPORTED;
use async_messenger::wire::{EntityAddr, EntityName, EntityType, Timespec};

/// Revisions 2.0 and 2.1.
const BANNERS: [Banner; 2] = [
    Banner::REVISION_0,
    Banner {
        supported: 1,
        required: 0,
    },
];

const STANDING: Standing = Standing {
    features: SUPPORTED,
    lossy: false,
    peer: EntityName::osd(1),
};

fn addr(text: &str) -> EntityAddr {
    text.parse().unwrap()
}

/// Hands out an authentication context whose dice always fall the same way.
fn with_cx<T>(act: impl FnOnce(&mut AuthCx<'_>) -> T) -> T {
    let mut random = |bytes: &mut [u8]| bytes.fill(0x5a);
    act(&mut AuthCx {
        now: Timespec::default(),
        random: &mut random,
    })
}

fn connector_params(banner: Banner) -> ConnectorParams {
    ConnectorParams {
        banner,
        name: EntityName::osd(0),
        addrs: "v2:127.0.0.1:6801/11".parse().unwrap(),
        peer_addr: addr("v2:127.0.0.1:6802/22"),
        peer_type: EntityType::OSD,
        features: SUPPORTED,
        required: 0,
        lossy: false,
        global_seq: 3,
        client_cookie: 0xc0,
        resume: None,
        checksums: Default::default(),
        compression: Default::default(),
    }
}

fn resume() -> Resume {
    Resume {
        server_cookie: 0x50,
        connect_seq: 4,
        in_seq: 9,
        standing: STANDING,
    }
}

fn acceptor_params(banner: Banner) -> AcceptorParams {
    AcceptorParams {
        banner,
        entity: EntityType::OSD,
        addrs: "v2:127.0.0.1:6802/22".parse().unwrap(),
        peer_seen: "127.0.0.1:50000".parse().unwrap(),
        checksums: Default::default(),
        compression: Default::default(),
    }
}

/// The verdict that lets it in.
fn open(claim: &Claim) -> Verdict {
    match claim.wants {
        Wants::New { .. } => Verdict::Open {
            addrs: "v2:127.0.0.1:6802/22".parse().unwrap(),
            gid: 1,
            features: SUPPORTED,
            required: 0,
            global_seq: 8,
            lossy: false,
            server_cookie: 0x51,
        },
        Wants::Resume { server_cookie, .. } => Verdict::Resume {
            in_seq: 17,
            server_cookie,
            standing: Standing {
                peer: EntityName::osd(0),
                ..STANDING
            },
        },
    }
}
