//! Tags of frames (msgr2 §2.1).

macro_rules! tags {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub const $name: u8 = $value;
        )*

        /// The name of a tag, if there is one.
        #[must_use]
        pub const fn name(tag: u8) -> Option<&'static str> {
            match tag {
                $($name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

tags! {
    HELLO = 1, "What a side is, and how it sees the other's address.";
    AUTH_REQUEST = 2, "Begins authentication.";
    AUTH_BAD_METHOD = 3, "Refuses it.";
    AUTH_REPLY_MORE = 4, "Asks for more.";
    AUTH_REQUEST_MORE = 5, "Gives more.";
    AUTH_DONE = 6, "Ends authentication.";
    AUTH_SIGNATURE = 7, "Vouches for all that was received before.";
    CLIENT_IDENT = 8, "Asks for a new session.";
    SERVER_IDENT = 9, "Opens a new session.";
    IDENT_MISSING_FEATURES = 10, "Refuses a session for lack of features.";
    SESSION_RECONNECT = 11, "Asks to go on with a session.";
    SESSION_RESET = 12, "There is no such session.";
    SESSION_RETRY = 13, "The session has been reconnected more often.";
    SESSION_RETRY_GLOBAL = 14, "A newer attempt was seen.";
    SESSION_RECONNECT_OK = 15, "Goes on with a session.";
    WAIT = 16, "The own attempt of the acceptor goes first.";
    MESSAGE = 17, "A message.";
    KEEPALIVE2 = 18, "A sign of life that wants an answer.";
    KEEPALIVE2_ACK = 19, "The answer.";
    ACK = 20, "Acknowledges messages.";
    COMPRESSION_REQUEST = 21, "Asks for compression.";
    COMPRESSION_DONE = 22, "Says whether there is compression.";
}

/// The tag in words, for errors.
pub(super) fn describe(tag: u8) -> &'static str {
    name(tag).unwrap_or("a frame of no known tag")
}
