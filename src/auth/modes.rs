//! Which methods and modes are offered to whom, and taken from whom (msgr2 §7.2): a function of
//! what we are, what the peer is, and the configured lists.

use crate::wire::EntityType;

use super::{Method, Mode};

/// The configured lists, the preferred first, named as Ceph names its options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offers {
    /// `auth_cluster_required`: daemons among each other.
    pub cluster_methods: Vec<Method>,
    /// `auth_service_required`: daemons towards clients.
    pub service_methods: Vec<Method>,
    /// `auth_client_required`: clients.
    pub client_methods: Vec<Method>,
    /// `ms_mon_cluster_mode`: between a daemon and a monitor or manager.
    pub mon_cluster_modes: Vec<Mode>,
    /// `ms_mon_service_mode`: a monitor or manager towards clients.
    pub mon_service_modes: Vec<Mode>,
    /// `ms_mon_client_mode`: a client towards a monitor or manager.
    pub mon_client_modes: Vec<Mode>,
    /// `ms_cluster_mode`: other daemons among each other.
    pub cluster_modes: Vec<Mode>,
    /// `ms_service_mode`: other daemons towards clients.
    pub service_modes: Vec<Mode>,
    /// `ms_client_mode`: a client towards other daemons.
    pub client_modes: Vec<Mode>,
}

/// Ceph's defaults: cephx, a client also takes none; secure with monitors, else crc.
impl Default for Offers {
    fn default() -> Self {
        let secure_first = vec![Mode::SECURE, Mode::CRC];
        let crc_first = vec![Mode::CRC, Mode::SECURE];
        Self {
            cluster_methods: vec![Method::CEPHX],
            service_methods: vec![Method::CEPHX],
            client_methods: vec![Method::CEPHX, Method::NONE],
            mon_cluster_modes: secure_first.clone(),
            mon_service_modes: secure_first.clone(),
            mon_client_modes: secure_first,
            cluster_modes: crc_first.clone(),
            service_modes: crc_first.clone(),
            client_modes: crc_first,
        }
    }
}

impl Offers {
    /// The same lists for all kinds of peers.
    #[must_use]
    pub fn uniform(methods: &[Method], modes: &[Mode]) -> Self {
        let (methods, modes) = (methods.to_vec(), modes.to_vec());
        Self {
            cluster_methods: methods.clone(),
            service_methods: methods.clone(),
            client_methods: methods,
            mon_cluster_modes: modes.clone(),
            mon_service_modes: modes.clone(),
            mon_client_modes: modes.clone(),
            cluster_modes: modes.clone(),
            service_modes: modes.clone(),
            client_modes: modes,
        }
    }

    /// What `own` offers to `peer`, and takes from it.
    #[must_use]
    pub fn of(&self, own: EntityType, peer: EntityType) -> Offer {
        let is_mon = |kind| kind == EntityType::MON || kind == EntityType::MGR;
        let is_daemon = |kind| is_mon(kind) || kind == EntityType::OSD || kind == EntityType::MDS;
        let (methods, modes) = if !is_daemon(own) {
            let modes = if is_mon(peer) {
                &self.mon_client_modes
            } else {
                &self.client_modes
            };
            (&self.client_methods, modes)
        } else if is_mon(peer) {
            (&self.cluster_methods, &self.mon_cluster_modes)
        } else if is_mon(own) {
            (&self.service_methods, &self.mon_service_modes)
        } else if is_daemon(peer) {
            (&self.cluster_methods, &self.cluster_modes)
        } else {
            (&self.service_methods, &self.service_modes)
        };
        Offer {
            methods: methods.clone(),
            modes: modes.clone(),
        }
    }
}

/// What is offered to one kind of peer, or taken from it; the preferred first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// Ways to show who one is.
    pub methods: Vec<Method>,
    /// Ways to protect frames.
    pub modes: Vec<Mode>,
}

impl Offer {
    /// The modes that go with a method: without keys there is only crc.
    #[must_use]
    pub fn modes_for(&self, method: Method) -> Vec<Mode> {
        let fits = |mode: &&Mode| method != Method::NONE || **mode == Mode::CRC;
        self.modes.iter().filter(fits).copied().collect()
    }

    /// The mode that the accepting side picks: the first of those that the other wants which is
    /// taken here.
    #[must_use]
    pub fn pick(&self, method: Method, wanted: &[Mode]) -> Option<Mode> {
        let taken = self.modes_for(method);
        wanted.iter().find(|mode| taken.contains(mode)).copied()
    }
}
