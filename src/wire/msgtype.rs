//! Numbers of message types with the payload versions of release 18.2.7 (encoding §15).
//!
//! The messenger itself treats all types alike; this table is for printing, and for those who
//! write or check payloads. A number that is missing here can still be sent.

/// One row of the table.
struct Kind {
    number: u16,
    name: &'static str,
    versions: Option<(u16, u16)>,
}

macro_rules! kinds {
    ($($name:ident = $number:literal $(, $head:literal $compat:literal)?;)*) => {
        $(
            #[doc = concat!("Message type ", stringify!($number), ".")]
            pub const $name: u16 = $number;
        )*

        const KINDS: &[Kind] = &[$(Kind {
            number: $number,
            name: stringify!($name),
            versions: kinds!(@ $($head $compat)?),
        },)*];
    };
    (@) => { None };
    (@ $head:literal $compat:literal) => { Some(($head, $compat)) };
}

/// The name of a message type, without the `CEPH_MSG_` or `MSG_` that it has in Ceph.
pub fn name(number: u16) -> Option<&'static str> {
    find(number).map(|kind| kind.name)
}

/// The newest payload version of a message type and the oldest that can read it; `None` if the
/// number is unknown or has no payload that 18.2.7 decodes.
pub fn versions(number: u16) -> Option<(u16, u16)> {
    find(number)?.versions
}

fn find(number: u16) -> Option<&'static Kind> {
    let at = KINDS
        .binary_search_by_key(&number, |kind| kind.number)
        .ok()?;
    Some(&KINDS[at])
}

kinds! {
    SHUTDOWN = 1, 1 1;
    PING = 2, 1 1;
    MON_MAP = 4, 1 1;
    MON_GET_MAP = 5, 1 1;
    MON_GET_OSDMAP = 6, 1 1;
    MON_METADATA = 7;
    STATFS = 13, 2 1;
    STATFS_REPLY = 14, 1 1;
    MON_SUBSCRIBE = 15, 3 1;
    MON_SUBSCRIBE_ACK = 16, 1 1;
    AUTH = 17, 1 1;
    AUTH_REPLY = 18, 1 1;
    MON_GET_VERSION = 19, 1 1;
    MON_GET_VERSION_REPLY = 20, 2 2;
    MDS_MAP = 21, 2 1;
    CLIENT_SESSION = 22, 7 1;
    CLIENT_RECONNECT = 23, 5 4;
    CLIENT_REQUEST = 24, 6 1;
    CLIENT_REQUEST_FORWARD = 25, 1 1;
    CLIENT_REPLY = 26, 1 1;
    CLIENT_RECLAIM = 27, 1 1;
    CLIENT_RECLAIM_REPLY = 28, 1 1;
    CLIENT_METRICS = 29, 1 1;
    PAXOS = 40;
    OSD_MAP = 41, 4 3;
    OSD_OP = 42, 8 3;
    OSD_OPREPLY = 43, 8 2;
    WATCH_NOTIFY = 44, 3 1;
    FS_MAP = 45, 1 1;
    FORWARD = 46, 4 4;
    ROUTE = 47, 3 3;
    POOLOP_REPLY = 48, 1 1;
    POOLOP = 49, 4 2;
    MON_COMMAND = 50, 1 1;
    MON_COMMAND_ACK = 51, 1 1;
    LOG = 52, 1 1;
    LOGACK = 53, 1 1;
    KV_DATA = 54, 1 1;
    GETPOOLSTATS = 58, 1 1;
    GETPOOLSTATSREPLY = 59, 2 1;
    MON_GLOBAL_ID = 60, 1 1;
    OSD_BACKOFF = 61, 1 1;
    CONFIG = 62, 1 1;
    GET_CONFIG = 63, 1 1;
    MON_SCRUB = 64, 2 2;
    MON_ELECTION = 65, 9 5;
    MON_PAXOS = 66, 4 3;
    MON_PROBE = 67, 8 5;
    MON_JOIN = 68, 3 2;
    MON_SYNC = 69, 2 2;
    OSD_PING = 70, 5 4;
    OSD_BOOT = 71, 7 7;
    OSD_FAILURE = 72, 4 4;
    OSD_ALIVE = 73, 1 1;
    OSD_MARK_ME_DOWN = 74, 4 3;
    OSD_FULL = 75, 1 1;
    MON_GET_PURGED_SNAPS = 76, 1 1;
    MON_GET_PURGED_SNAPS_REPLY = 77, 1 1;
    OSD_PGTEMP = 78, 2 1;
    OSD_BEACON = 79, 3 1;
    OSD_PG_NOTIFY = 80, 7 7;
    OSD_PG_QUERY = 81, 4 4;
    OSD_PG_LOG = 83, 6 6;
    OSD_PG_REMOVE = 84, 3 3;
    OSD_PG_INFO = 85, 6 6;
    OSD_PG_TRIM = 86, 2 2;
    PGSTATS = 87, 2 1;
    PGSTATSACK = 88, 1 1;
    OSD_PG_CREATE = 89;
    REMOVE_SNAPS = 90, 1 1;
    OSD_SCRUB = 91;
    OSD_SCRUB_RESERVE = 92, 1 1;
    OSD_REP_SCRUB = 93, 9 6;
    OSD_PG_SCAN = 94, 2 2;
    OSD_PG_BACKFILL = 95, 3 3;
    OSD_PG_BACKFILL_REMOVE = 96, 1 1;
    COMMAND = 97, 1 1;
    COMMAND_REPLY = 98, 1 1;
    OSD_BACKFILL_RESERVE = 99, 5 4;
    MDS_BEACON = 100, 8 6;
    MDS_PEER_REQUEST = 101, 1 1;
    MDS_TABLE_REQUEST = 102, 1 1;
    FS_MAP_USER = 103, 1 1;
    OSD_PG_PUSH = 105, 4 2;
    OSD_PG_PULL = 106, 3 2;
    OSD_PG_PUSH_REPLY = 107, 3 2;
    OSD_EC_WRITE = 108, 2 1;
    OSD_EC_WRITE_REPLY = 109, 2 1;
    OSD_EC_READ = 110, 3 1;
    OSD_EC_READ_REPLY = 111, 2 1;
    OSD_REPOP = 112, 3 1;
    OSD_REPOPREPLY = 113, 2 1;
    OSD_PG_UPDATE_LOG_MISSING = 114, 3 1;
    OSD_PG_UPDATE_LOG_MISSING_REPLY = 115, 3 1;
    OSD_PG_CREATED = 116, 1 1;
    OSD_REP_SCRUBMAP = 117, 2 1;
    OSD_PG_RECOVERY_DELETE = 118, 2 1;
    OSD_PG_RECOVERY_DELETE_REPLY = 119, 2 1;
    OSD_PG_CREATE2 = 120, 2 1;
    OSD_SCRUB2 = 121, 1 1;
    OSD_PG_READY_TO_MERGE = 122, 1 1;
    OSD_MARK_ME_DEAD = 123, 1 1;
    OSD_PG_NOTIFY2 = 130, 1 1;
    OSD_PG_QUERY2 = 131, 1 1;
    OSD_PG_INFO2 = 132, 1 1;
    OSD_PG_LEASE = 133, 1 1;
    OSD_PG_LEASE_ACK = 134, 1 1;
    MDS_SCRUB = 135, 1 1;
    MON_PING = 140, 1 1;
    MON_USED_PENDING_KEYS = 141, 1 1;
    OSD_RECOVERY_RESERVE = 150, 3 2;
    OSD_FORCE_RECOVERY = 151, 2 2;
    MDS_RESOLVE = 512, 1 1;
    MDS_RESOLVEACK = 513, 1 1;
    MDS_CACHEREJOIN = 514, 2 1;
    MDS_DISCOVER = 515, 1 1;
    MDS_DISCOVERREPLY = 516, 2 2;
    MDS_INODEUPDATE = 517;
    MDS_DIRUPDATE = 518, 1 1;
    MDS_CACHEEXPIRE = 519, 1 1;
    MDS_DENTRYUNLINK = 520, 1 1;
    MDS_FRAGMENTNOTIFY = 521, 2 1;
    MDS_OFFLOAD_TARGETS = 522, 1 1;
    MDS_DENTRYLINK = 524, 1 1;
    MDS_FINDINO = 525, 1 1;
    MDS_FINDINOREPLY = 526, 1 1;
    MDS_OPENINO = 527, 1 1;
    MDS_OPENINOREPLY = 528, 1 1;
    MDS_SNAPUPDATE = 529, 1 1;
    MDS_FRAGMENTNOTIFYACK = 530, 1 1;
    MDS_LOCK = 768, 1 1;
    MDS_INODEFILECAPS = 769, 1 1;
    CLIENT_CAPS = 784, 12 1;
    CLIENT_LEASE = 785, 1 1;
    CLIENT_SNAP = 786, 1 1;
    CLIENT_CAPRELEASE = 787, 2 1;
    CLIENT_QUOTA = 788, 1 1;
    MDS_EXPORTDIRDISCOVER = 1097, 1 1;
    MDS_EXPORTDIRDISCOVERACK = 1104, 1 1;
    MDS_EXPORTDIRCANCEL = 1105, 1 1;
    MDS_EXPORTDIRPREP = 1106, 1 1;
    MDS_EXPORTDIRPREPACK = 1107, 1 1;
    MDS_EXPORTDIRWARNING = 1108;
    MDS_EXPORTDIRWARNINGACK = 1109;
    MDS_EXPORTDIR = 1110, 1 1;
    MDS_EXPORTDIRACK = 1111, 1 1;
    MDS_EXPORTDIRNOTIFY = 1112, 1 1;
    MDS_EXPORTDIRNOTIFYACK = 1113, 1 1;
    MDS_EXPORTDIRFINISH = 1120, 1 1;
    MDS_EXPORTCAPS = 1136, 2 1;
    MDS_EXPORTCAPSACK = 1137, 1 1;
    MDS_GATHERCAPS = 1138, 1 1;
    MDS_HEARTBEAT = 1280, 1 1;
    MDS_METRICS = 1281, 1 1;
    MDS_PING = 1282, 1 1;
    MDS_SCRUB_STATS = 1283, 1 1;
    TIMECHECK = 1536, 1 1;
    MON_HEALTH = 1537, 1 1;
    NOP = 1543;
    MON_HEALTH_CHECKS = 1544, 1 1;
    TIMECHECK2 = 1545, 1 1;
    MGR_OPEN = 1792, 3 1;
    MGR_CONFIGURE = 1793, 4 1;
    MGR_REPORT = 1794, 9 1;
    MGR_BEACON = 1795, 11 8;
    MGR_MAP = 1796, 1 1;
    MGR_DIGEST = 1797, 1 1;
    MON_MGR_REPORT = 1798, 3 1;
    SERVICE_MAP = 1799, 1 1;
    MGR_CLOSE = 1800, 1 1;
    MGR_COMMAND = 1801, 1 1;
    MGR_COMMAND_REPLY = 1802, 1 1;
    MGR_UPDATE = 1803, 2 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_found() {
        assert!(KINDS.is_sorted_by(|a, b| a.number < b.number));
        assert_eq!(name(PING), Some("PING"));
        assert_eq!(name(OSD_OP), Some("OSD_OP"));
        assert_eq!(versions(OSD_OP), Some((8, 3)));
        assert_eq!((name(PAXOS), versions(PAXOS)), (Some("PAXOS"), None));
        assert_eq!((name(3), versions(0x602)), (None, None));
        assert_eq!(name(MGR_UPDATE), Some("MGR_UPDATE"));
    }
}
