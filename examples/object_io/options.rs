//! The command line of `object_io`.

use std::error::Error;

use async_messenger::auth::{Keyring, Method, Mode, Offers};
use async_messenger::mon;
use async_messenger::wire::{AddrVec, AuthName};
use async_messenger::{Credentials, DriverKind};
use zeroize::Zeroizing;

pub(crate) const USAGE: &str = "object_io --mon ADDR [--keyring FILE] [--name client.admin] \
     [--mode crc|secure] [--pool test] [--object NAME] [--size 4MiB] \
     [--driver NAME] [--keep]";

/// Bytes of an object, as Ceph's `osd_max_object_size`.
const SIZE_MAX: usize = 128 << 20;

pub(crate) struct Options {
    pub(crate) monitors: Vec<AddrVec>,
    pub(crate) credentials: Credentials,
    pub(crate) pool: String,
    pub(crate) object: String,
    pub(crate) size: usize,
    pub(crate) driver: DriverKind,
    /// Leave the object where it is.
    pub(crate) keep: bool,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut monitors, mut keyring, mut modes) = (None, None, vec![Mode::CRC, Mode::SECURE]);
        let mut name: AuthName = "client.admin".parse()?;
        let (mut pool, mut object) = ("test".to_owned(), "object_io".to_owned());
        let (mut size, mut keep) = (4 << 20, false);
        let mut driver = DriverKind::default_for_target();
        while let Some(arg) = args.next() {
            if arg == "--keep" {
                keep = true;
                continue;
            }
            let value = args
                .next()
                .ok_or("an option that is unknown, or without a value")?;
            match arg.as_str() {
                "--mon" => monitors = Some(mon::parse_hosts(&value)?),
                "--keyring" => {
                    // Keys are not left in memory.
                    let text = Zeroizing::new(std::fs::read_to_string(value)?);
                    keyring = Some(Keyring::parse(&text)?);
                }
                "--name" => name = value.parse()?,
                "--mode" if value == "crc" => modes = vec![Mode::CRC],
                "--mode" if value == "secure" => modes = vec![Mode::SECURE],
                "--pool" => pool = plain(value)?,
                "--object" => object = plain(value)?,
                "--size" => size = parse_size(&value)?,
                "--driver" => driver = value.parse()?,
                _ => return Err(format!("{arg} {value}: what is that?").into()),
            }
        }
        let credentials = match keyring {
            None => Credentials::none(name),
            Some(keyring) => Credentials::from_keyring(&keyring, name)?
                .offers(Offers::uniform(&[Method::CEPHX], &modes)),
        };
        Ok(Self {
            monitors: monitors.ok_or("where is a monitor?")?,
            credentials,
            pool,
            object,
            size,
            driver,
            keep,
        })
    }
}

/// A name that needs no escapes in JSON.
fn plain(name: String) -> Result<String, String> {
    match name.contains(|c: char| c.is_control() || matches!(c, '"' | '\\')) {
        true => Err(format!("{name:?}: no quotes and backslashes, please")),
        false => Ok(name),
    }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        _ => 0,
    };
    let size = digits.parse().ok().and_then(|n: usize| n.checked_mul(unit));
    let size = size.filter(|size| (1..=SIZE_MAX).contains(size));
    size.ok_or_else(|| format!("{text:?} is no size from 1 to 128MiB, such as 64KiB"))
}
