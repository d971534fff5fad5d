//! In place of `drivers`, in builds without the crates that it measures: they are not Linux's, or
//! the feature `bench` is off.

use std::io;

/// Whatever is said to it.
#[derive(Debug, clap::Args)]
pub(crate) struct DriversArgs {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    _any: Vec<String>,
}

/// Says what is missing.
pub(crate) fn run(_: &DriversArgs) -> io::Result<()> {
    let text = "this msgr is not for Linux, or was built without `--features bench`";
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}
