//! `msgr ping`: is the monitor well?

use async_messenger::messages::MPing;

use crate::args::{Global, PeerArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};

/// Prints the monitor's own words. A monitor answers without authentication, and without quorum.
pub(crate) fn run(global: &Global, args: &PeerArgs) -> Result<(), Failure> {
    let client = Client::connect(global, args.addr)?;
    let answer: MPing = client.ask(&MPing::default())?;
    match answer.text {
        Some(text) => crate::print(text),
        None => {
            let what = format!("{}: answered the ping without a word", client.peer());
            Err(Failure::new(
                Exit::Refused,
                what,
                "that is no monitor: give a monitor's address",
            ))
        }
    }
}
