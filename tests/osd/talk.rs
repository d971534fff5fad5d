//! What was said on a link, read from its recorded bytes by a reader of its own: not by the code
//! under test.

/// One link, as far as it got.
#[derive(Debug)]
pub(crate) struct Talk {
    /// This side connected.
    pub(crate) dialed: bool,
    /// Tags of the replies (msgr1 §2), in their order.
    pub(crate) replies: Vec<u8>,
    /// `[the peer's, ours]`, if the sides have told each other what they have got.
    pub(crate) in_seqs: Option<[u64; 2]>,
    /// What this side sent in the open phase, and what it received.
    pub(crate) sent: Speech,
    pub(crate) received: Speech,
}

/// The complete messages and acknowledgements of one direction.
#[derive(Debug, Default)]
pub(crate) struct Speech {
    pub(crate) seqs: Vec<u64>,
    pub(crate) acks: Vec<u64>,
}

pub(crate) const READY: u8 = 1;
pub(crate) const RESETSESSION: u8 = 2;
pub(crate) const RETRY_SESSION: u8 = 4;
pub(crate) const RETRY_GLOBAL: u8 = 5;
pub(crate) const SEQ: u8 = 13;
/// The reply tags that a test wants to see counted.
pub(crate) const REPLIES: [(u8, &str); 6] = [
    (READY, "READY"),
    (RESETSESSION, "RESETSESSION"),
    (3, "WAIT"),
    (RETRY_SESSION, "RETRY_SESSION"),
    (RETRY_GLOBAL, "RETRY_GLOBAL"),
    (SEQ, "SEQ"),
];

/// Reads from the front; `None` is the end of what was recorded.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A struct that ends in the length of what follows it and one byte of flags.
    fn with_authorizer(&mut self, len: usize) -> Option<&'a [u8]> {
        let head = self.take(len)?;
        self.take(u32_at(head, len - 5))?;
        Some(head)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    let word = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(word) as usize
}

impl Talk {
    pub(crate) fn new(dialed: bool, [sent, received]: &[Vec<u8>; 2]) -> Self {
        let mut talk = Self {
            dialed,
            replies: Vec::new(),
            in_seqs: None,
            sent: Speech::default(),
            received: Speech::default(),
        };
        let (mut ours, mut theirs) = (Cursor(sent), Cursor(received));
        if talk.handshake(&mut ours, &mut theirs).is_some() {
            talk.sent.read(&mut ours);
            talk.received.read(&mut theirs);
        }
        talk
    }

    /// `None`: it did not get through.
    fn handshake<'a>(&mut self, ours: &mut Cursor<'a>, theirs: &mut Cursor<'a>) -> Option<()> {
        let dialed = self.dialed;
        let (connector, acceptor) = if dialed {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        acceptor.take(9 + 136 + 136)?;
        connector.take(9 + 136)?;
        loop {
            connector.with_authorizer(33)?;
            let reply = acceptor.with_authorizer(26)?[0];
            self.replies.push(reply);
            if reply == READY {
                return Some(());
            }
            if reply == SEQ {
                let seqs = [acceptor.u64()?, connector.u64()?];
                self.in_seqs = Some(if dialed { seqs } else { [seqs[1], seqs[0]] });
                return Some(());
            }
        }
    }

    /// The handshake was done.
    pub(crate) fn is_open(&self) -> bool {
        self.in_seqs.is_some() || self.replies.last() == Some(&READY)
    }
}

impl Speech {
    fn read(&mut self, from: &mut Cursor<'_>) {
        while self.next(from).is_some() {}
    }

    fn next(&mut self, from: &mut Cursor<'_>) -> Option<()> {
        match from.take(1)?[0] {
            7 => {
                let head = from.take(53)?;
                let payload: usize = [22, 26, 30].map(|at| u32_at(head, at)).iter().sum();
                from.take(payload + 21)?;
                self.seqs.push(Cursor(head).u64()?);
            }
            8 => self.acks.push(from.u64()?),
            14 | 15 => drop(from.take(8)?),
            tag => panic!("tag {tag} in the open phase"),
        }
        Some(())
    }
}
