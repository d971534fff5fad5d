//! Which methods and modes are offered to whom, and taken from whom (msgr2 §7.2): a function of
//! what we are, what the peer is, and the configured lists.

use std::fmt::Display;

use crate::wire::EntityType;

use super::{AuthError, Method, Mode};

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

    /// Sets one list by Ceph's name of the option, from its value: words such as `secure crc` or
    /// `cephx, none`. Words that are not known here are passed over, as Ceph does with methods that
    /// it was built without. False: there is no list of this name.
    ///
    /// ```
    /// use async_messenger::auth::{Method, Mode, Offers};
    ///
    /// let mut offers = Offers::default();
    /// assert!(offers.set("ms_client_mode", "secure")?);
    /// assert!(offers.set("auth_client_required", "gss, cephx")?);
    /// assert_eq!(offers.client_modes, [Mode::SECURE]);
    /// assert_eq!(offers.client_methods, [Method::CEPHX]);
    /// assert!(!offers.set("ms_type", "async")?);
    /// # Ok::<(), async_messenger::auth::AuthError>(())
    /// ```
    ///
    /// # Errors
    /// If no word of the value is known. Nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, AuthError> {
        let methods = match name {
            "auth_cluster_required" => Some(&mut self.cluster_methods),
            "auth_service_required" => Some(&mut self.service_methods),
            "auth_client_required" => Some(&mut self.client_methods),
            _ => None,
        };
        if let Some(list) = methods {
            *list = words(name, value, &[Method::CEPHX, Method::NONE])?;
            return Ok(true);
        }
        let modes = match name {
            "ms_mon_cluster_mode" => &mut self.mon_cluster_modes,
            "ms_mon_service_mode" => &mut self.mon_service_modes,
            "ms_mon_client_mode" => &mut self.mon_client_modes,
            "ms_cluster_mode" => &mut self.cluster_modes,
            "ms_service_mode" => &mut self.service_modes,
            "ms_client_mode" => &mut self.client_modes,
            _ => return Ok(false),
        };
        *modes = words(name, value, &[Mode::CRC, Mode::SECURE])?;
        Ok(true)
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

/// The words of a value that are known, in their order.
fn words<T: Copy + Display>(name: &str, value: &str, known: &[T]) -> Result<Vec<T>, AuthError> {
    let words = value.split(|c: char| c == ',' || c == ';' || c.is_whitespace());
    let found = words.filter_map(|word| known.iter().find(|one| one.to_string() == word));
    let found: Vec<T> = found.copied().collect();
    if found.is_empty() {
        let known: Vec<String> = known.iter().map(T::to_string).collect();
        let text = format!(
            "{name} = {value}: none of it is known here, which is {}",
            known.join(" and ")
        );
        return Err(AuthError::Unsupported(text.into()));
    }
    Ok(found)
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
