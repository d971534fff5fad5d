//! What was said on a link, read from its recorded bytes by a reader of its own: not by the code
//! under test. `plain` is the reader of v1, [`frames`](super::frames) that of v2.

/// What the accepting side says to who wants a session, in the words of both versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// READY, or SERVER_IDENT: a new session.
    New,
    /// SEQ, which v1 also says of new ones; or SESSION_RECONNECT_OK.
    GoesOn,
    /// RESETSESSION, or SESSION_RESET.
    Reset,
    RetrySession,
    RetryGlobal,
    Wait,
}

impl Reply {
    pub(crate) const ALL: [Self; 6] = [
        Self::New,
        Self::GoesOn,
        Self::Reset,
        Self::RetrySession,
        Self::RetryGlobal,
        Self::Wait,
    ];
}

/// One link, as far as it got.
#[derive(Debug)]
pub(crate) struct Talk {
    /// This side connected.
    pub(crate) dialed: bool,
    pub(crate) replies: Vec<Reply>,
    /// `[the peer's, ours]`, if the sides have told each other what they have got.
    pub(crate) in_seqs: Option<[u64; 2]>,
    /// By which the connecting side named the session to go on with, in v2.
    pub(crate) name: Option<Name>,
    /// What this side sent in the open phase, and what it received.
    pub(crate) sent: Speech,
    pub(crate) received: Speech,
}

/// A session of v2: its two cookies, and how often it has been reconnected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) cookies: [u64; 2],
    pub(crate) connect_seq: u64,
}

/// The complete messages and acknowledgements of one direction.
#[derive(Debug, Default)]
pub(crate) struct Speech {
    pub(crate) seqs: Vec<u64>,
    pub(crate) acks: Vec<u64>,
}

/// Reads from the front; `None` is the end of what was recorded.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    /// A struct that ends in the length of what follows it and one byte of flags.
    fn with_authorizer(&mut self, len: usize) -> Option<&'a [u8]> {
        let head = self.take(len)?;
        self.take(u32_at(head, len - 5))?;
        Some(head)
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> usize {
    let word = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_le_bytes(word) as usize
}

impl Talk {
    /// One that has not got anywhere.
    pub(crate) fn silent(dialed: bool) -> Self {
        Self {
            dialed,
            replies: Vec::new(),
            in_seqs: None,
            name: None,
            sent: Speech::default(),
            received: Speech::default(),
        }
    }

    /// Reads what was spoken in v1.
    pub(crate) fn plain(dialed: bool, [sent, received]: &[Vec<u8>; 2]) -> Self {
        let mut talk = Self::silent(dialed);
        let (mut ours, mut theirs) = (Cursor(sent), Cursor(received));
        if talk.handshake(&mut ours, &mut theirs).is_some() {
            talk.sent.read(&mut ours);
            talk.received.read(&mut theirs);
        }
        talk
    }

    /// `None`: it did not get through.
    fn handshake<'a>(&mut self, ours: &mut Cursor<'a>, theirs: &mut Cursor<'a>) -> Option<()> {
        let (connector, acceptor) = if self.dialed {
            (ours, theirs)
        } else {
            (theirs, ours)
        };
        acceptor.take(9 + 136 + 136)?;
        connector.take(9 + 136)?;
        loop {
            connector.with_authorizer(33)?;
            let reply = match acceptor.with_authorizer(26)?[0] {
                1 => Reply::New,
                2 => Reply::Reset,
                3 => Reply::Wait,
                4 => Reply::RetrySession,
                5 => Reply::RetryGlobal,
                13 => Reply::GoesOn,
                tag => panic!("tag {tag} in a handshake"),
            };
            self.replies.push(reply);
            if reply == Reply::New {
                return Some(());
            }
            if reply == Reply::GoesOn {
                let seqs = [acceptor.u64()?, connector.u64()?];
                self.tell(seqs);
                return Some(());
            }
        }
    }

    /// What the accepting and the connecting side say that they have got.
    pub(crate) fn tell(&mut self, [acceptor, connector]: [u64; 2]) {
        self.in_seqs = Some(if self.dialed {
            [acceptor, connector]
        } else {
            [connector, acceptor]
        });
    }

    /// The handshake was done.
    pub(crate) fn is_open(&self) -> bool {
        self.in_seqs.is_some() || self.replies.last() == Some(&Reply::New)
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
