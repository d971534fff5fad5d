//! What is wrong with an option that was given as text.

use std::error::Error;
use std::fmt;

/// The most characters of a key or a value that an error repeats.
const SHOWN_MAX: usize = 80;

/// Why a text is no configuration: where, which option, its value, and what it may be.
///
/// ```
/// use async_messenger::Config;
///
/// let error = Config::from_ceph_conf("[global]\nms tcp nodelay = often\n").unwrap_err();
/// let said = "line 2: ms_tcp_nodelay = often: not true, false, yes, no, 1 or 0";
/// assert_eq!(error.to_string(), said);
/// assert_eq!(error.line(), Some(2));
/// assert_eq!(error.option(), "ms_tcp_nodelay");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    line: Option<usize>,
    option: String,
    value: String,
    problem: String,
}

impl ConfigError {
    /// About the text as a whole, or the options together.
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self::about("", "", problem)
    }

    pub(super) fn about(option: &str, value: &str, problem: impl Into<String>) -> Self {
        Self {
            line: None,
            option: presentable(option),
            value: presentable(value),
            problem: problem.into(),
        }
    }

    pub(super) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// The line of the file, from 1, if it came from one.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The name of the option as Ceph writes it; empty if it is about none.
    #[must_use]
    pub fn option(&self) -> &str {
        &self.option
    }

    /// The value that was given, shortened if it is long.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// A text from a file, made fit for a line on a terminal.
fn presentable(text: &str) -> String {
    let is_long = text.chars().nth(SHOWN_MAX).is_some();
    let shown = text.chars().take(SHOWN_MAX);
    let shown = shown.map(|c| if c.is_control() { '?' } else { c });
    shown.chain(is_long.then_some('…')).collect()
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            option,
            value,
            problem,
        } = self;
        if let Some(line) = line {
            write!(f, "line {line}: ")?;
        }
        match (option.is_empty(), value.is_empty()) {
            (true, _) => f.write_str(problem),
            (false, true) => write!(f, "{option}: {problem}"),
            (false, false) => write!(f, "{option} = {value}: {problem}"),
        }
    }
}

impl Error for ConfigError {}
