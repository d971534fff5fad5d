//! Feature words: what two peers agree on with 64 bits (encoding §14).
//!
//! Bits were recycled: a feature of incarnation 2 or 3 counts only together with marker bits,
//! so each constant here is a mask and is tested whole, see [`has`].

/// What this library offers to every peer, the word of release 18.2.7.
pub const SUPPORTED: u64 = 0x3F01_CFBF_FFFD_FFFF;

const fn mask(bit: u32, incarnation: u32) -> u64 {
    let marker = match incarnation {
        1 => 0,
        2 => 1 << 57,
        _ => 1 << 57 | 1 << 28,
    };
    1 << bit | marker
}

macro_rules! features {
    ($($name:ident = $bit:literal, $incarnation:literal;)*) => {
        $(
            #[doc = concat!("Bit ", stringify!($bit), ", incarnation ",
                stringify!($incarnation), ".")]
            pub const $name: u64 = mask($bit, $incarnation);
        )*

        const NAMES: &[(u32, &str)] = &[$(($bit, stringify!($name)),)*];
    };
}

/// Whether a feature word has all bits of `mask`.
pub const fn has(features: u64, mask: u64) -> bool {
    features & mask == mask
}

/// The names of the bits that are set; bits without a name are left out, and a bit that several
/// features share has the name of the first.
pub fn names(features: u64) -> Vec<&'static str> {
    let mut out = Vec::new();
    let mut last = None;
    for &(bit, name) in NAMES {
        if features >> bit & 1 == 1 && last != Some(bit) {
            out.push(name);
        }
        last = Some(bit);
    }
    out
}

features! {
    UID = 0, 1;
    NOSRCADDR = 1, 1;
    SERVER_NAUTILUS = 2, 3;
    FLOCK = 3, 1;
    SUBSCRIBE2 = 4, 1;
    MONNAMES = 5, 1;
    RECONNECT_SEQ = 6, 1;
    DIRLAYOUTHASH = 7, 1;
    OBJECTLOCATOR = 8, 1;
    PGID64 = 9, 1;
    INCSUBOSDMAP = 10, 1;
    PGPOOL3 = 11, 1;
    OSDREPLYMUX = 12, 1;
    OSDENC = 13, 1;
    SERVER_KRAKEN = 14, 2;
    MONENC = 15, 1;
    SERVER_OCTOPUS = 16, 3;
    OSD_REPOP_MLCOD = 16, 3;
    OS_PERF_STAT_NS = 17, 3;
    CRUSH_TUNABLES = 18, 1;
    OSD_PGLOG_HARDLIMIT = 19, 2;
    SERVER_PACIFIC = 20, 3;
    SERVER_LUMINOUS = 21, 2;
    RESEND_ON_SPLIT = 21, 2;
    RADOS_BACKOFF = 21, 2;
    OSDMAP_PG_UPMAP = 21, 2;
    CRUSH_CHOOSE_ARGS = 21, 2;
    OSD_FIXED_COLLECTION_LIST = 22, 2;
    MSG_AUTH = 23, 1;
    RECOVERY_RESERVATION_2 = 24, 2;
    CRUSH_TUNABLES2 = 25, 1;
    CREATEPOOLID = 26, 1;
    REPLY_CREATE_INODE = 27, 1;
    SERVER_MIMIC = 28, 2;
    MDSENC = 29, 1;
    OSDHASHPSPOOL = 30, 1;
    SERVER_REEF = 31, 3;
    STRETCH_MODE = 32, 3;
    SERVER_QUINCY = 33, 3;
    RANGE_BLOCKLIST = 34, 3;
    OSD_CACHEPOOL = 35, 1;
    CRUSH_V2 = 36, 1;
    EXPORT_PEER = 37, 1;
    OSDMAP_ENC = 39, 1;
    MDS_INLINE_DATA = 40, 1;
    CRUSH_TUNABLES3 = 41, 1;
    OSD_PRIMARY_AFFINITY = 41, 1;
    MSGR_KEEPALIVE2 = 42, 1;
    OSD_POOLRESEND = 43, 1;
    OSD_FADVISE_FLAGS = 46, 1;
    MDS_QUOTA = 47, 1;
    CRUSH_V4 = 48, 1;
    NEW_OSDOP_ENCODING = 56, 1;
    SERVER_JEWEL = 57, 1;
    MON_STATEFUL_SUB = 57, 1;
    CRUSH_TUNABLES5 = 58, 1;
    NEW_OSDOPREPLY_ENCODING = 58, 1;
    FS_FILE_LAYOUT_V2 = 58, 1;
    MSG_ADDR2 = 59, 1;
    FS_BTIME = 59, 1;
    FS_CHANGE_ATTR = 59, 1;
    OSD_RECOVERY_DELETES = 60, 1;
    CEPHX_V2 = 61, 1;
    RESERVED = 62, 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        let table = [
            (SERVER_NAUTILUS, 0x0200_0000_1000_0004),
            (RECONNECT_SEQ, 0x40),
            (SERVER_OCTOPUS, 0x0200_0000_1001_0000),
            (RESEND_ON_SPLIT, 0x0200_0000_0020_0000),
            (MSG_AUTH, 0x80_0000),
            (SERVER_REEF, 0x0200_0000_9000_0000),
            (SERVER_QUINCY, 0x0200_0002_1000_0000),
            (MSGR_KEEPALIVE2, 0x0400_0000_0000),
            (MSG_ADDR2, 0x0800_0000_0000_0000),
            (CEPHX_V2, 0x2000_0000_0000_0000),
        ];
        for (mask, want) in table {
            assert_eq!(mask, want);
            assert!(has(SUPPORTED, mask));
        }
        assert!(!has(SERVER_NAUTILUS & !(1 << 57), SERVER_NAUTILUS));
        assert!(!has(SUPPORTED, RESERVED) && !has(SUPPORTED, OS_PERF_STAT_NS));
        let missing = [17, 38, 44, 45, 49, 50, 51, 52, 53, 54, 55, 62, 63];
        assert_eq!(
            SUPPORTED,
            !missing.iter().fold(0, |word, bit| word | 1 << bit)
        );
    }

    #[test]
    fn names_of_bits() {
        assert_eq!(names(MSG_AUTH | MSG_ADDR2), ["MSG_AUTH", "MSG_ADDR2"]);
        assert_eq!(names(1 << 38 | 1 << 21), ["SERVER_LUMINOUS"]);
        assert!(names(0).is_empty());
        assert_eq!(names(u64::MAX).len(), 53);
    }
}
