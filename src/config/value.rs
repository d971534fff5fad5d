//! Options as text: how each kind of value is read, shown and bounded.
//!
//! The forms are Ceph's: sizes take binary suffixes, other numbers decimal ones, times are seconds.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use crate::wire::EntityType;

/// The longest time that an option may say, in seconds: 31 years. A deadline that far away can
/// still be computed.
const SECONDS_MAX: f64 = 1e9;

/// What a value may be, beyond what its type can hold.
#[derive(Clone, Copy, Debug)]
pub(super) enum Range {
    Any,
    Positive,
    /// Both ends included.
    Within(u32, u32),
}

impl Range {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Any => true,
            Self::Positive => value > 0.0,
            Self::Within(low, high) => (f64::from(low)..=f64::from(high)).contains(&value),
        }
    }

    fn check(self, value: f64) -> Result<(), String> {
        if self.holds(value) {
            return Ok(());
        }
        Err(format!("not {self}"))
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Positive => f.write_str("more than 0"),
            Self::Within(low, high) => write!(f, "{low} to {high}"),
        }
    }
}

/// One field, by how it is written.
pub(super) enum Slot<'a> {
    Flag(&'a mut bool),
    /// With decimal suffixes: K is 1000.
    Number(&'a mut dyn Integer),
    /// In bytes, with binary suffixes: K and KiB are 1024.
    Size(&'a mut dyn Integer),
    Seconds(&'a mut Duration),
    Fraction(&'a mut f64),
    Types(&'a mut Vec<EntityType>),
    /// A number that may be absent, as `none`.
    Seed(&'a mut Option<u64>),
    Word(&'a mut dyn Word),
}

impl Slot<'_> {
    /// Takes a value; the error says what it may be.
    pub(super) fn set(self, text: &str, range: Range) -> Result<(), String> {
        match self {
            Self::Flag(field) => *field = flag(text)?,
            Self::Number(field) => field.put(number(text, 1000)?, range)?,
            Self::Size(field) => field.put(number(text, 1024)?, range)?,
            Self::Seconds(field) => *field = seconds(text, range)?,
            Self::Fraction(field) => {
                let value = float(text)?;
                range.check(value)?;
                *field = value;
            }
            Self::Types(field) => *field = types(text)?,
            Self::Seed(field) if text == "none" => *field = None,
            Self::Seed(field) => *field = Some(text.parse().map_err(|_| "not none or a u64")?),
            Self::Word(field) => field.read(text)?,
        }
        Ok(())
    }

    /// Whether the field is in its range.
    pub(super) fn check(&self, range: Range) -> Result<(), String> {
        match self {
            Self::Number(field) | Self::Size(field) => range.check(field.get() as f64),
            Self::Seconds(field) if field.as_secs_f64() > SECONDS_MAX => Err(TOO_LONG.into()),
            Self::Seconds(field) => range.check(field.as_secs_f64()),
            Self::Fraction(field) => range.check(**field),
            _ => Ok(()),
        }
    }

    /// The value, as [`set`](Self::set) takes it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Flag(field) => field.to_string(),
            Self::Number(field) | Self::Size(field) => field.get().to_string(),
            Self::Seconds(field) => {
                let text = format!("{}.{:09}", field.as_secs(), field.subsec_nanos());
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            Self::Fraction(field) => field.to_string(),
            Self::Types(field) => {
                let names: Vec<String> = field.iter().map(EntityType::to_string).collect();
                names.join(" ")
            }
            Self::Seed(field) => field.map_or("none".into(), |seed| seed.to_string()),
            Self::Word(field) => field.show(),
        }
    }
}

/// An integer field of any type.
pub(super) trait Integer {
    fn get(&self) -> i128;

    /// Takes a number that is in the range of the type and this one.
    fn put(&mut self, value: i128, range: Range) -> Result<(), String>;
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl Integer for $ty {
            fn get(&self) -> i128 {
                *self as i128
            }

            fn put(&mut self, value: i128, range: Range) -> Result<(), String> {
                range.check(value as f64)?;
                *self = Self::try_from(value)
                    .map_err(|_| format!("not {} to {}", Self::MIN, Self::MAX))?;
                Ok(())
            }
        }
    )*};
}

integers!(u16 u32 i32 u64 usize);

/// Ceph's way to say "the system's choice": no size is 0.
impl Integer for Option<usize> {
    fn get(&self) -> i128 {
        self.map_or(0, |value| value as i128)
    }

    fn put(&mut self, value: i128, range: Range) -> Result<(), String> {
        let mut number = 0_usize;
        number.put(value, range)?;
        *self = (number > 0).then_some(number);
        Ok(())
    }
}

/// Ceph's way to say "none": a priority below 0.
impl Integer for Option<i32> {
    fn get(&self) -> i128 {
        self.map_or(-1, i128::from)
    }

    fn put(&mut self, value: i128, range: Range) -> Result<(), String> {
        let mut number = 0_i32;
        number.put(value, range)?;
        *self = (number >= 0).then_some(number);
        Ok(())
    }
}

/// A field that is one of some names.
pub(super) trait Word {
    fn read(&mut self, text: &str) -> Result<(), String>;
    fn show(&self) -> String;
}

impl<T> Word for T
where
    T: FromStr<Err: Display> + Display,
{
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

const TOO_LONG: &str = "not at most 1000000000 seconds";

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("not true, false, yes, no, 1 or 0".into()),
    }
}

/// A whole number with a suffix, whose `K` is `kilo`.
fn number(text: &str, kilo: i128) -> Result<i128, String> {
    let is_binary = kilo == 1024;
    let wrong = || match is_binary {
        true => "not a number of bytes, such as 65536, 64K, 64KB or 64KiB".to_owned(),
        false => "not a whole number, such as 65536 or 64K, which is 64000".to_owned(),
    };
    let end = text
        .find(|c: char| !matches!(c, '0'..='9' | '+' | '-'))
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let digits: i128 = digits.parse().map_err(|_| wrong())?;
    let suffix = suffix.trim_start();
    let prefix = match suffix.strip_suffix("iB").or(suffix.strip_suffix('i')) {
        Some(prefix) if is_binary && !prefix.is_empty() => prefix,
        Some(_) => return Err(wrong()),
        None => suffix.strip_suffix('B').unwrap_or(suffix),
    };
    let power = match prefix {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return Err(wrong()),
    };
    digits.checked_mul(kilo.pow(power)).ok_or_else(wrong)
}

fn float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "not a number".to_owned())
}

fn seconds(text: &str, range: Range) -> Result<Duration, String> {
    let value: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds, such as 0.5")?;
    if value > SECONDS_MAX {
        return Err(TOO_LONG.into());
    }
    let value = Duration::try_from_secs_f64(value).map_err(|_| "not 0 or more seconds")?;
    range.check(value.as_secs_f64())?;
    Ok(value)
}

/// Types of peers; Ceph looks for the names anywhere in the text, here they are words.
fn types(text: &str) -> Result<Vec<EntityType>, String> {
    const PEERS: [EntityType; 5] = [
        EntityType::MON,
        EntityType::MDS,
        EntityType::OSD,
        EntityType::CLIENT,
        EntityType::MGR,
    ];
    let mut types = Vec::new();
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    for word in words.filter(|word| !word.is_empty()) {
        let kind = word.parse().ok().filter(|kind| PEERS.contains(kind));
        let kind = kind.ok_or("not a list of mon, mds, osd, client, mgr")?;
        if !types.contains(&kind) {
            types.push(kind);
        }
    }
    Ok(types)
}
