//! The states of a v1 connection, by the names that Ceph's logs use, in the numeric order that
//! its fault rules depend on (msgr1 §19 and §21).

use std::fmt;

/// Where a v1 connection stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(u8)]
pub enum State {
    /// Not begun.
    #[default]
    None = 0,
    /// About to open a socket.
    StartConnect = 1,
    /// The socket connects, or our banner goes out.
    Connecting = 2,
    /// Waits for the acceptor's banner and addresses.
    ConnectingWaitBannerAndIdentify = 3,
    /// Connect is sent, or its reply awaited.
    ConnectingSendConnectMsg = 4,
    /// About to send banner and addresses.
    StartAccept = 5,
    /// Waits for the connector's banner, address and connect.
    Accepting = 6,
    /// Waits for the authorizer, decides, or waits for another connect.
    AcceptingWaitConnectMsgAuth = 7,
    /// Has accepted; waits for the connector's sequence number.
    AcceptingHandledConnectMsg = 8,
    /// Open, between messages.
    Opened = 9,
    /// Held back by the limit on messages.
    ThrottleMessage = 10,
    /// Held back by the limit on bytes.
    ThrottleBytes = 11,
    /// Held back by the limit of the dispatch queue.
    ThrottleDispatchQueue = 12,
    /// Reads the segments of a message.
    ReadMessageFront = 13,
    /// Reads the footer.
    ReadFooterAndDispatch = 14,
    /// At an end.
    Closed = 15,
    /// Leaves it to the connection that the peer opens.
    Wait = 16,
    /// Without a socket until there is something to send.
    Standby = 17,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "NONE",
            Self::StartConnect => "START_CONNECT",
            Self::Connecting => "CONNECTING",
            Self::ConnectingWaitBannerAndIdentify => "CONNECTING_WAIT_BANNER_AND_IDENTIFY",
            Self::ConnectingSendConnectMsg => "CONNECTING_SEND_CONNECT_MSG",
            Self::StartAccept => "START_ACCEPT",
            Self::Accepting => "ACCEPTING",
            Self::AcceptingWaitConnectMsgAuth => "ACCEPTING_WAIT_CONNECT_MSG_AUTH",
            Self::AcceptingHandledConnectMsg => "ACCEPTING_HANDLED_CONNECT_MSG",
            Self::Opened => "OPENED",
            Self::ThrottleMessage => "THROTTLE_MESSAGE",
            Self::ThrottleBytes => "THROTTLE_BYTES",
            Self::ThrottleDispatchQueue => "THROTTLE_DISPATCH_QUEUE",
            Self::ReadMessageFront => "READ_MESSAGE_FRONT",
            Self::ReadFooterAndDispatch => "READ_FOOTER_AND_DISPATCH",
            Self::Closed => "CLOSED",
            Self::Wait => "WAIT",
            Self::Standby => "STANDBY",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn order_and_text() {
        assert!(State::ConnectingSendConnectMsg < State::StartAccept);
        assert_eq!(State::Standby as u8, 17);
        let text = State::ConnectingWaitBannerAndIdentify.to_string();
        assert_eq!(text, "CONNECTING_WAIT_BANNER_AND_IDENTIFY");
    }
}
