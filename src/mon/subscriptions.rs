//! What is subscribed to, and how far the news have come: plain data.
//!
//! Invariant: a subscription begins behind the last version that came, so that after a change of
//! monitors nothing is missed and little comes twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Error;
use crate::message::Message;
use crate::messages::{MMonSubscribe, Subscription};
use crate::wire::{DecodeError, Reader, msgtype};

/// Takes a message with news; runs on the dispatch thread.
pub(super) type Deliver = Arc<dyn Fn(Message) + Send + Sync>;

/// What monitors tell those who subscribe, and the message by which they do.
const KINDS: &[(&str, u16)] = &[
    ("monmap", msgtype::MON_MAP),
    ("osdmap", msgtype::OSD_MAP),
    ("mgrmap", msgtype::MGR_MAP),
    ("mdsmap", msgtype::MDS_MAP),
    ("fsmap", msgtype::FS_MAP),
    ("fsmap.user", msgtype::FS_MAP_USER),
    ("servicemap", msgtype::SERVICE_MAP),
    ("config", msgtype::CONFIG),
];

/// The monmap, which is always subscribed to.
pub(super) const MONMAP: &str = "monmap";

struct Entry {
    kind: u16,
    item: Subscription,
    deliver: Deliver,
}

/// The subscriptions of a client.
#[derive(Default)]
pub(super) struct Subscriptions {
    entries: BTreeMap<&'static str, Entry>,
}

impl Subscriptions {
    /// Adds one, or replaces the one to the same thing.
    pub(super) fn insert(
        &mut self,
        what: &str,
        item: Subscription,
        deliver: Deliver,
        max: usize,
    ) -> Result<(), Error> {
        let known = KINDS.iter().find(|(name, _)| *name == what);
        let Some((name, kind)) = known else {
            let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
            let text = format!(
                "cannot subscribe to {what:?}; known are {}",
                names.join(", ")
            );
            return Err(Error::misuse(text));
        };
        if self.entries.len() >= max && !self.entries.contains_key(name) {
            let text = format!("there are {max} subscriptions, which is the limit");
            return Err(Error::misuse(text));
        }
        let kind = *kind;
        let entry = Entry {
            kind,
            item,
            deliver,
        };
        self.entries.insert(name, entry);
        Ok(())
    }

    pub(super) fn remove(&mut self, what: &str) {
        self.entries.remove(what);
    }

    /// Up to this version it is here already.
    pub(super) fn have(&mut self, what: &str, version: u64) {
        if let Some(entry) = self.entries.get_mut(what) {
            entry.item.start = entry.item.start.max(version.saturating_add(1));
        }
    }

    /// What is to be asked for of a new session, or of the one there is after a change. The own
    /// monmap is of epoch `monmap`, 0 if there is none.
    pub(super) fn question(&self, monmap: u32, hostname: &str) -> MMonSubscribe {
        let items = self.entries.iter();
        let mut what: BTreeMap<String, Subscription> = items
            .map(|(name, entry)| ((*name).to_owned(), entry.item))
            .collect();
        let start = if monmap == 0 {
            0
        } else {
            u64::from(monmap) + 1
        };
        let own = what
            .entry(MONMAP.to_owned())
            .or_insert(Subscription { start, once: false });
        // The client needs it for itself, whatever the user has seen of it.
        own.start = own.start.min(start);
        own.once = false;
        MMonSubscribe {
            what,
            hostname: hostname.to_owned(),
        }
    }

    /// Who wants this message, if anybody. Takes note of how far it goes.
    pub(super) fn take(&mut self, message: &Message, version: Option<u64>) -> Option<Deliver> {
        let found = self.entries.iter_mut();
        let mut found = found.filter(|(_, entry)| entry.kind == message.kind());
        let (name, entry) = found.next()?;
        let deliver = Arc::clone(&entry.deliver);
        if let Some(version) = version {
            entry.item.start = entry.item.start.max(version.saturating_add(1));
        }
        if entry.item.once {
            let name: &str = name;
            self.entries.remove(name);
        }
        Some(deliver)
    }
}

/// The newest epoch in an osdmap message (encoding §16.14).
pub(super) fn osdmap_epoch(message: &Message) -> Result<Option<u64>, DecodeError> {
    let front = message.front().to_bytes();
    let mut r = Reader::new(&front, "osdmap");
    r.bytes(16)?; // The cluster.
    let mut newest = None;
    // Incremental ones, then full ones.
    for _ in 0..2 {
        for _ in 0..r.count(8)? {
            newest = newest.max(Some(u64::from(r.u32()?)));
            r.blob()?;
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Deliver {
        Arc::new(|_| {})
    }

    #[test]
    fn the_start_follows_what_came() {
        let mut subs = Subscriptions::default();
        let from = |start, once| Subscription { start, once };
        assert!(
            subs.insert("nosuchmap", from(0, false), nobody(), 8)
                .is_err()
        );
        subs.insert("osdmap", from(0, false), nobody(), 1)
            .expect("room");
        assert!(subs.insert("config", from(0, false), nobody(), 1).is_err());
        subs.insert("osdmap", from(5, false), nobody(), 1)
            .expect("replaced");
        subs.insert("config", from(0, true), nobody(), 2)
            .expect("room");

        let mut front = vec![7; 16];
        for (count, epoch) in [(1_u32, 9_u32), (1, 8)] {
            front.extend(count.to_le_bytes());
            front.extend(epoch.to_le_bytes());
            front.extend([1, 0, 0, 0, 0xee]);
        }
        let map = Message::new(msgtype::OSD_MAP).with_front(front.clone());
        assert_eq!(osdmap_epoch(&map), Ok(Some(9)));
        for len in 0..front.len() {
            let cut = Message::new(msgtype::OSD_MAP).with_front(front[..len].to_vec());
            assert!(osdmap_epoch(&cut).is_err(), "{len}");
        }
        assert!(subs.take(&map, Some(9)).is_some());
        assert!(subs.take(&Message::new(msgtype::PING), None).is_none());

        let question = subs.question(3, "here");
        assert_eq!(question.what["osdmap"], from(10, false));
        assert_eq!(question.what["monmap"], from(4, false));
        assert_eq!(question.what["config"], from(0, true));
        subs.have("osdmap", 4);
        assert_eq!(subs.question(0, "").what["osdmap"].start, 10);
        assert_eq!(subs.question(0, "").what["monmap"].start, 0);

        let config = Message::new(msgtype::CONFIG);
        assert!(subs.take(&config, None).is_some());
        assert!(subs.take(&config, None).is_none(), "it was for once");
        subs.remove("osdmap");
        assert_eq!(subs.question(3, "").what.len(), 1);
    }
}
