//! Who we are, and where the monitors are: the command line first, then the `ceph.conf`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use async_messenger::auth::{KEYRING_MAX, Keyring, Method, Mode, Offers};
use async_messenger::messages::Fsid;
use async_messenger::mon;
use async_messenger::wire::{AddrVec, AuthName, EntityName, EntityType};
use async_messenger::{Credentials, ceph_conf_values};

use crate::args::PeerArgs;
use crate::client::no_monitor;
use crate::failure::{Exit, Failure};

/// An identity, with what the `ceph.conf` says about it.
pub(crate) struct Who {
    pub(crate) name: AuthName,
    values: BTreeMap<String, String>,
    keyring: Option<std::path::PathBuf>,
    mode: Option<Mode>,
}

impl Who {
    /// Reads the sections of the file that are ours.
    pub(crate) fn new(args: &PeerArgs, conf: Option<&str>) -> Result<Self, Failure> {
        let name = args.name.clone();
        let full = name.to_string();
        let sections = ["global", &name.kind.to_string(), &full];
        let values = ceph_conf_values(conf.unwrap_or_default(), &sections);
        let values = values.map_err(|error| {
            let what = format!("--conf: {error}");
            Failure::new(Exit::Usage, what, "give a readable ceph.conf, or none")
        })?;
        Ok(Self {
            name,
            values,
            keyring: args.keyring.clone(),
            mode: args.mode,
        })
    }

    /// The name of the messenger; a client gets its number by logging in.
    pub(crate) fn entity(&self) -> EntityName {
        let number = match self.name.kind {
            EntityType::CLIENT => None,
            _ => self.name.id.parse().ok(),
        };
        EntityName::new(self.name.kind, number.unwrap_or(-1))
    }

    /// Where the file says that monitors are.
    pub(crate) fn monitors(&self) -> Result<Vec<AddrVec>, Failure> {
        let host = self.values.get("mon_host").ok_or_else(no_monitor)?;
        mon::parse_hosts(host).map_err(|error| {
            let what = format!("--conf: mon host: {error}");
            Failure::new(Exit::Usage, what, "give an address on the command line")
        })
    }

    /// Which cluster the file is of.
    pub(crate) fn fsid(&self) -> Result<Option<Fsid>, Failure> {
        let parse = |text: &String| {
            text.parse().map_err(|_| {
                let what = format!("--conf: fsid = {text}: that is no id of a cluster");
                Failure::new(Exit::Usage, what, "correct it, or take it out")
            })
        };
        self.values.get("fsid").map(parse).transpose()
    }

    /// What shows who we are: a key, if a keyring has one, else the mere name.
    pub(crate) fn credentials(&self) -> Result<Credentials, Failure> {
        let credentials = match self.keyring()? {
            Some(keyring) => {
                let credentials = Credentials::from_keyring(&keyring, self.name.clone());
                credentials.map_err(|error| {
                    let cure = "name another keyring by --keyring, or another user by --name";
                    Failure::new(Exit::Authentication, format!("keyring: {error}"), cure)
                })?
            }
            None => Credentials::none(self.name.clone()),
        };
        Ok(credentials.offers(self.offers()?))
    }

    fn offers(&self) -> Result<Offers, Failure> {
        let mut offers = Offers::default();
        if let Some(text) = self.values.get("auth_client_required") {
            offers.client_methods =
                words(text, &[("cephx", Method::CEPHX), ("none", Method::NONE)])
                    .ok_or_else(|| unknown("auth client required", text))?;
        }
        let modes = [("crc", Mode::CRC), ("secure", Mode::SECURE)];
        for (key, list) in [
            ("ms_mon_client_mode", &mut offers.mon_client_modes),
            ("ms_client_mode", &mut offers.client_modes),
        ] {
            if let Some(text) = self.values.get(key) {
                *list = words(text, &modes).ok_or_else(|| unknown(key, text))?;
            }
        }
        if let Some(mode) = self.mode {
            // No other one: who asks for secure does not want crc.
            offers.mon_client_modes = vec![mode];
            offers.client_modes = vec![mode];
        }
        Ok(offers)
    }

    /// The keyring that was named, or the first one of the file's that is there.
    fn keyring(&self) -> Result<Option<Keyring>, Failure> {
        if let Some(path) = &self.keyring {
            return read_keyring(path).map(Some);
        }
        let listed = self.values.get("keyring").map(|list| self.expand(list));
        let listed = listed.unwrap_or_default();
        let mut paths = listed.split(',').map(|path| Path::new(path.trim()));
        let found = paths.find(|path| path.exists());
        found.map(read_keyring).transpose()
    }

    /// Puts in what Ceph's variables in paths stand for.
    fn expand(&self, text: &str) -> String {
        text.replace("$cluster", "ceph")
            .replace("$type", &self.name.kind.to_string())
            .replace("$id", &self.name.id)
            .replace("$name", &self.name.to_string())
    }
}

/// Reads a keyring, or says which one cannot be read.
pub(crate) fn read_keyring(path: &Path) -> Result<Keyring, Failure> {
    let text = read(path).map_err(|error| {
        let what = format!("keyring {}: {error}", path.display());
        Failure::new(Exit::Usage, what, "name a readable one by --keyring")
    })?;
    Keyring::parse(&text).map_err(|error| {
        let cure = "give a keyring as `ceph auth get` prints it";
        Failure::new(Exit::Usage, error.to_string(), cure)
    })
}

/// Reads no more than what makes a keyring too long.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bound = KEYRING_MAX as u64 + 1;
    File::open(path)?.take(bound).read_to_string(&mut text)?;
    Ok(text)
}

fn unknown(key: &str, text: &str) -> Failure {
    let what = format!("--conf: {key} = {text}: there is nothing in it that is known here");
    Failure::new(Exit::Usage, what, "correct it, or take it out")
}

/// The words of a list that are known; `None` if there are none.
fn words<T: Copy>(text: &str, known: &[(&str, T)]) -> Option<Vec<T>> {
    let words = text.split([',', ';', ' ', '\t']).map(str::trim);
    let found = words.filter_map(|word| known.iter().find(|(name, _)| *name == word));
    let found: Vec<T> = found.map(|(_, value)| *value).collect();
    (!found.is_empty()).then_some(found)
}
