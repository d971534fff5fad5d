//! Authentication that proves nothing, in every shape that the handshake has to carry.

use async_messenger::auth::{
    AuthAnswer, AuthClient, AuthCx, AuthError, AuthRefusal, AuthRequest, AuthServer, Authenticated,
    CryptoKey, KeyType, Method, Mode,
};
use async_messenger::wire::{AuthName, EntityType, Timespec};

/// Both sides of an authentication.
pub(crate) type Both = (Box<dyn AuthClient>, Box<dyn AuthServer>);

/// What both sides play.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    /// The methods that the client tries, one after the other.
    pub(crate) methods: Vec<Method>,
    /// The modes that the client offers.
    pub(crate) offers: Vec<Mode>,
    /// The method that the server takes.
    pub(crate) takes: Method,
    /// The mode that it picks.
    pub(crate) picks: Mode,
    /// How often the server asks for more.
    pub(crate) challenges: usize,
    /// The key of each side, if there is one.
    pub(crate) keys: [Option<u8>; 2],
    /// The server is not convinced by the answers to its challenges.
    pub(crate) unconvinced: bool,
    /// Who plays instead.
    pub(crate) real: Option<fn() -> Both>,
}

impl Play {
    /// One without a key, as the method "none".
    pub(crate) fn plain() -> Self {
        Self {
            methods: vec![Method::NONE],
            offers: vec![Mode::CRC],
            takes: Method::NONE,
            picks: Mode::CRC,
            challenges: 0,
            keys: [None, None],
            unconvinced: false,
            real: None,
        }
    }

    /// One with a key and a challenge.
    pub(crate) fn keyed(mode: Mode) -> Self {
        Self {
            methods: vec![Method::CEPHX],
            offers: vec![Mode::SECURE, Mode::CRC],
            takes: Method::CEPHX,
            picks: mode,
            challenges: 1,
            keys: [Some(7), Some(7)],
            unconvinced: false,
            real: None,
        }
    }

    pub(crate) fn client(&self) -> Box<dyn AuthClient> {
        if let Some(real) = self.real {
            return real().0;
        }
        Box::new(Client {
            play: self.clone(),
            tries: 0,
        })
    }

    pub(crate) fn server(&self) -> Box<dyn AuthServer> {
        if let Some(real) = self.real {
            return real().1;
        }
        Box::new(Server {
            play: self.clone(),
            left: self.challenges,
        })
    }

    fn who(&self, side: usize) -> Authenticated {
        let Some(byte) = self.keys[side] else {
            return Authenticated {
                name: AuthName::new(EntityType::OSD, "0"),
                global_id: 77,
                ..Authenticated::default()
            };
        };
        let key = CryptoKey::new(KeyType::Aes, Timespec::default(), [byte; 16][..].into());
        Authenticated {
            name: AuthName::new(EntityType::OSD, "0"),
            global_id: 77,
            session_key: Some(key.expect("16 bytes")),
            connection_secret: super::worked::secret()[..].into(),
            ..Authenticated::default()
        }
    }
}

#[derive(Debug)]
struct Client {
    play: Play,
    tries: usize,
}

impl Client {
    fn request(&mut self) -> Option<AuthRequest> {
        let method = *self.play.methods.get(self.tries)?;
        self.tries += 1;
        Some(AuthRequest {
            method,
            modes: self.play.offers.clone(),
            payload: b"it is me".to_vec(),
        })
    }
}

impl AuthClient for Client {
    fn begin(&mut self, _: &mut AuthCx<'_>) -> Result<AuthRequest, AuthError> {
        Ok(self.request().expect("a method to begin with"))
    }

    fn refused(
        &mut self,
        _: &mut AuthCx<'_>,
        refusal: &AuthRefusal,
    ) -> Result<AuthRequest, AuthError> {
        self.request().ok_or_else(|| AuthError::Refused {
            method: refusal.method,
            result: refusal.result,
            methods: refusal.methods.clone(),
        })
    }

    fn more(&mut self, _: &mut AuthCx<'_>, payload: &[u8]) -> Result<Vec<u8>, AuthError> {
        assert_eq!(payload, b"really?");
        Ok(b"really".to_vec())
    }

    fn done(
        &mut self,
        _: &mut AuthCx<'_>,
        global_id: u64,
        _: Mode,
        payload: &[u8],
    ) -> Result<Authenticated, AuthError> {
        assert_eq!((global_id, payload), (77, &b"come in"[..]));
        Ok(self.play.who(0))
    }
}

#[derive(Debug)]
struct Server {
    play: Play,
    left: usize,
}

impl Server {
    fn next(&mut self) -> AuthAnswer {
        if self.left > 0 {
            self.left -= 1;
            return AuthAnswer::More(b"really?".to_vec());
        }
        AuthAnswer::Done {
            mode: self.play.picks,
            payload: b"come in".to_vec(),
            who: self.play.who(1),
        }
    }

    fn refuse(&self, method: Method, result: i32) -> AuthAnswer {
        AuthAnswer::Refused {
            refusal: AuthRefusal {
                method,
                result,
                methods: vec![self.play.takes],
                modes: vec![self.play.picks],
            },
            why: AuthError::Unsupported("not this way".into()),
        }
    }
}

impl AuthServer for Server {
    fn begin(&mut self, _: &mut AuthCx<'_>, request: &AuthRequest) -> AuthAnswer {
        assert_eq!(request.payload, b"it is me");
        if request.method != self.play.takes {
            return self.refuse(request.method, -95);
        }
        self.next()
    }

    fn more(&mut self, _: &mut AuthCx<'_>, payload: &[u8]) -> AuthAnswer {
        assert_eq!(payload, b"really");
        if self.play.unconvinced {
            return self.refuse(self.play.takes, -13);
        }
        self.next()
    }
}
